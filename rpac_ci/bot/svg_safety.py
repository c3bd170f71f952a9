"""Whether an SVG is only a drawing: whoever opens it must not run what an experiment put there."""

from __future__ import annotations

import re
from xml.parsers import expat

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
# what plot libraries say about the file itself; nobody draws it
_ABOUT = {
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://creativecommons.org/ns#",
    "http://purl.org/dc/elements/1.1/",
}
_DRAWN = {
    "svg", "g", "defs", "symbol", "use", "path", "rect", "circle", "ellipse", "line", "polyline",
    "polygon", "text", "tspan", "textPath", "title", "desc", "metadata", "style", "image", "marker",
    "clipPath", "mask", "pattern", "linearGradient", "radialGradient", "stop", "filter",
    "feGaussianBlur", "feOffset", "feBlend", "feColorMatrix", "feFlood", "feComposite", "feMerge",
    "feMergeNode", "switch",
}  # fmt: skip
_LINKS = {
    "href",
    "src",
    "srcset",
    "action",
    "formaction",
    "ping",
    "content",
    "data",
    "values",
    "to",
}
_INSIDE = re.compile(r"#[\w.:-]*|data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
# addresses and escapes in styles; `url(#gradient)` is a part of the drawing itself
_STYLE = re.compile(r"\\|@import|image-set|src\s*\(|expression|url\((?!\s*[\"']?#)", re.IGNORECASE)
_CODE = re.compile(r"(java|vb|live)script:|data:text", re.IGNORECASE)


class _RefusedError(Exception):
    """Something that a drawing does not need."""


def is_still(content: bytes) -> bool:
    """
    True for a well-formed SVG without scripts, event handlers, entities and outside references.

    Whatever is not known to be harmless is refused.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    styles: list[str] = []
    inside: list[str] = []  # elements that are open

    def start(name: str, attributes: dict[str, str]) -> None:
        inside.append(name)
        space, _, local = name.rpartition(" ")
        if space in _ABOUT:
            return
        if space != _SVG or local not in _DRAWN:
            raise _RefusedError(name)
        for key, value in attributes.items():
            _check_attribute(key.rpartition(" ")[2].casefold(), value)

    def refuse(*_: object) -> None:
        raise _RefusedError("entity or processing instruction")

    parser.StartElementHandler = start

    def text(content: str) -> None:
        if inside[-1:] == [f"{_SVG} style"]:
            styles.append(content)

    parser.CharacterDataHandler = text
    parser.EndElementHandler = lambda _: inside.pop()
    parser.EntityDeclHandler = refuse
    parser.ProcessingInstructionHandler = refuse
    try:
        parser.Parse(content, True)
    except (_RefusedError, expat.ExpatError, ValueError):
        return False
    return not _STYLE.search("".join(styles))


def _check_attribute(name: str, value: str) -> None:
    """
    Raises:
        _RefusedError: it could run something, or fetch it.
    """
    plain = re.sub(r"[\x00-\x20]", "", value)
    outside = name in _LINKS and not _INSIDE.fullmatch(plain)
    if name.startswith("on") or outside or _CODE.search(plain) or _STYLE.search(value):
        raise _RefusedError(name)
