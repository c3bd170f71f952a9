"""
Whether the SDK's own models know a body: every key has a place in them, every value reads back as
what it was, and nothing that they demand is missing.

The SDK itself is lenient: it keeps keys that it does not know, and values that it cannot read.
"""

from __future__ import annotations

import datetime
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

_DURATION = re.compile(r"^P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$")
_MOMENT = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
_NAMED = re.compile(r"_models\.(\w+)")
# that the models demand, and the service leaves out by their own words
_ABSENT = ("BatchNode.ipv6Address",)


def problems(model: type[Any], body: Any, *, sent: bool, whole: bool = True) -> list[str]:
    """
    What is wrong with a body, empty when nothing is.

    Args:
        model: a class of `azure.batch.models` or `azure.mgmt.batch.models`.
        body: JSON.
        sent: by a client, who may not set what is read-only; else it is an answer.
        whole: everything that an answer must have is to be there (no `$select`).
    """
    return list(_problems(model, body, model.__name__, sent, whole))


def _problems(model: type[Any], body: Any, place: str, sent: bool, whole: bool) -> Iterator[str]:
    if not isinstance(body, Mapping):
        yield f"{place} is {type(body).__name__}, not an object"
        return
    read = model(body)  # also picks the subclass by the discriminator, where there is one
    fields = {field._rest_name: (name, field) for name, field in read._attr_to_rest_field.items()}
    hints = _hints(type(read))
    for key, value in body.items():
        where = f"{place}.{key}"
        if key not in fields:
            if not key.startswith("odata."):
                yield f"{where} is unknown"
            continue
        name, field = fields[key]
        if sent and field._visibility == ["read"]:
            yield f"{where} is read-only"
        found = getattr(read, name)
        yield from _kinds(hints.get(name), found, value, where, type(read))
        yield from _values(found, value, where, sent, whole)
    for key, (name, field) in fields.items():
        readable = not sent or field._visibility != ["read"]
        needed = whole and readable and not _is_optional(hints.get(name))
        if needed and key not in body and f"{model.__name__}.{key}" not in _ABSENT:
            yield f"{place}.{key} is missing"


def _kinds(hint: Any, read: Any, value: Any, place: str, model: type[Any]) -> Iterator[str]:
    """Where the SDK gives up silently: words of a fixed list, moments, durations."""
    said = str(hint)
    for kind, meant in ((datetime.datetime, "datetime.datetime"), (datetime.timedelta, "delta")):
        if meant in said and not isinstance(read, kind):
            yield f"{place} is no {kind.__name__}: {value!r}"
    if "str" in said and isinstance(read, str):
        module = sys.modules[model.__module__.rpartition(".")[0]]
        for name in _NAMED.findall(said):
            words = getattr(module, name)
            if issubclass(words, Enum) and value not in {word.value for word in words}:
                yield f"{place} is none of {name}: {value!r}"


def _values(read: Any, value: Any, place: str, sent: bool, whole: bool) -> Iterator[str]:
    """A value as the SDK has read it, and as it was."""
    if value is None:
        yield f"{place} is null"
    elif hasattr(read, "_attr_to_rest_field"):
        yield from _problems(type(read), value, place, sent, whole)
    elif isinstance(read, list):
        for number, (one, was) in enumerate(zip(read, value, strict=True)):
            yield from _values(one, was, f"{place}[{number}]", sent, whole)
    elif isinstance(read, datetime.datetime):
        if not _MOMENT.match(str(value)):
            yield f"{place} is no moment: {value!r}"
    elif isinstance(read, datetime.timedelta):
        if not _DURATION.match(str(value)):
            yield f"{place} is no duration: {value!r}"
    elif isinstance(read, Enum):
        if read.value != value:
            yield f"{place} is {value!r}, which reads as {read.value!r}"
    elif isinstance(value, str) and (_MOMENT.match(value) or _DURATION.match(value)):
        pass  # in a free text
    elif isinstance(read, Mapping):
        if read != value:
            yield f"{place} reads as another mapping"
    elif type(read) is not type(value) or read != value:
        yield f"{place} is {value!r}, which reads as {read!r}"


def _hints(model: type[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in reversed(model.__mro__):
        found |= getattr(one, "__annotations__", {})
    return found


def _is_optional(hint: Any) -> bool:
    return hint is None or type(None) in typing.get_args(hint) or "Optional" in str(hint)
