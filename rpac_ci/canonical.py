"""
Bytes that are equal when values are equal, and digests over them.

Documents that outlive the code (pipelines, records, events) are written in one of two canonical
forms. Both sort keys, use UTF-8 and LF, end with a newline and refuse NaN and infinities, so
`sha256sum pipeline.yaml` is the pipeline's digest and needs no code of ours.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NewType, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Digest = NewType("Digest", str)  # "sha256:<64 hex digits>"

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_SURROGATES = re.compile("[\ud800-\udfff]")
# JSON leaves these as they are; in a YAML double-quoted string they must be escaped.
_YAML_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def digest(data: bytes) -> Digest:
    """SHA-256 of bytes in the form `sha256:<hex>`."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


_SCALAR = json.JSONEncoder(ensure_ascii=False, allow_nan=False)  # one for all: there are many


def canonical_json(value: Json) -> bytes:
    """
    One line of JSON with sorted keys.

    Raises:
        ValueError: the value holds NaN or an infinity.
    """
    return _dumps(value, separators=(",", ":")) + b"\n"


def readable_json(value: Json) -> bytes:
    """Indented JSON with sorted keys, for documents that people open."""
    return _dumps(value, indent=2) + b"\n"


def canonical_yaml(value: Mapping[str, Json]) -> bytes:
    """
    YAML in block style with sorted keys and scalars written as JSON.

    Our own writer rather than a library's: a library may change its line breaks or quotes in any
    release, and then the same pipeline would have another digest.

    Raises:
        ValueError: the value holds NaN or an infinity.
    """
    return ("\n".join(_yaml_lines(value)) + "\n").encode()


def _dumps(
    value: Json, *, indent: int | None = None, separators: tuple[str, str] | None = None
) -> bytes:
    text = json.dumps(
        value,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=separators,
    )
    # half a surrogate pair has no UTF-8, and can only stand in a string
    return _SURROGATES.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def _yaml_lines(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from _entry(f"{_yaml_key(key)}:", value[key])
    elif isinstance(value, (list, tuple)) and value:
        for item in value:
            yield from _entry("-", item)
    else:
        yield _yaml_scalar(value)


def _entry(lead: str, value: Json) -> Iterator[str]:
    if isinstance(value, (Mapping, list, tuple)) and value:
        yield lead
        for line in _yaml_lines(value):
            yield f"  {line}"
    else:
        yield f"{lead} {_yaml_scalar(value)}"


def _yaml_key(key: str) -> str:
    if _PLAIN_KEY.fullmatch(key) and key.lower() not in _RESERVED:
        return key
    return _yaml_scalar(key)


def _yaml_scalar(value: Json) -> str:
    if isinstance(value, float) and "." not in (shown := repr(value)):
        # readers of YAML 1.1 take 1e-07 for a word
        return shown.replace("e", ".0e") if "e" in shown else json.dumps(value, allow_nan=False)
    text = _SCALAR.encode(value)
    return _YAML_UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
