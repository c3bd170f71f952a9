"""Whether an SVG is only a drawing: whoever opens it must not run what an experiment put there."""

from __future__ import annotations

import re
from xml.parsers import expat

_ACTIVE = {"script", "foreignobject", "iframe", "object", "embed", "handler", "audio", "video"}
_OUTSIDE = re.compile(r"@import|url\(\s*[\"']?(?!#|data:image/(png|jpeg|gif);)", re.IGNORECASE)
_INSIDE = re.compile(r"\s*(#|data:image/(png|jpeg|gif);)", re.IGNORECASE)
_CODE = re.compile(r"\s*(javascript|vbscript|data:text)", re.IGNORECASE)


class _RefusedError(Exception):
    """Something that a drawing does not need."""


def is_still(content: bytes) -> bool:
    """
    True for a well-formed SVG without scripts, event handlers, entities and outside references.

    Whatever is not understood is refused.
    """
    parser = expat.ParserCreate()
    styles: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2].casefold()
        if local in _ACTIVE:
            raise _RefusedError(name)
        for key, value in attributes.items():
            _check_attribute(key.rpartition(":")[2].casefold(), value)

    def refuse(*_: object) -> None:
        raise _RefusedError("entity or processing instruction")

    parser.StartElementHandler = start
    parser.CharacterDataHandler = styles.append
    parser.EntityDeclHandler = refuse
    parser.ProcessingInstructionHandler = refuse
    try:
        parser.Parse(content, True)
    except (_RefusedError, expat.ExpatError, ValueError):
        return False
    return not _OUTSIDE.search("".join(styles))


def _check_attribute(name: str, value: str) -> None:
    """
    Raises:
        _RefusedError: it could run something, or fetch it.
    """
    link = name in ("href", "src") and not _INSIDE.match(value)
    if name.startswith("on") or link or _CODE.match(value) or _OUTSIDE.search(value):
        raise _RefusedError(name)
