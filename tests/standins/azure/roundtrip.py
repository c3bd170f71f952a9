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
from dataclasses import dataclass
from enum import Enum
from functools import cache
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
    kind: Any = type(read)
    keys = _keys(kind)
    for name, value in body.items():
        where = f"{place}.{name}"
        key = keys.get(name)
        if key is None:
            if not name.startswith("odata."):
                yield f"{where} is unknown"
            continue
        if sent and key.read_only:
            yield f"{where} is read-only"
        found = getattr(read, key.attribute)
        yield from _kinds(key, found, value, where)
        yield from _values(found, value, where, sent, whole)
    for name, key in keys.items():
        needed = whole and not key.optional and not (sent and key.read_only)
        if needed and name not in body and f"{model.__name__}.{name}" not in _ABSENT:
            yield f"{place}.{name} is missing"


@dataclass(frozen=True)
class _Key:
    """What a model says of one key."""

    attribute: str
    read_only: bool
    optional: bool
    kinds: tuple[type[Any], ...]  # moments, durations
    words: Mapping[str, frozenset[str]]  # name of a fixed list -> what is in it


@cache
def _keys(model: type[Any]) -> Mapping[str, _Key]:
    """Of a model that has been used before; what its hints say is read once."""
    hints, module = _hints(model), sys.modules[model.__module__.rpartition(".")[0]]
    found = {}
    for attribute, field in model._attr_to_rest_field.items():
        hint = hints.get(attribute)
        said = str(hint)
        kinds = ((datetime.datetime, "datetime.datetime"), (datetime.timedelta, "delta"))
        named = [getattr(module, n, None) for n in _NAMED.findall(said)] if "str" in said else []
        found[field._rest_name] = _Key(
            attribute=attribute, read_only=field._visibility == ["read"],
            optional=_is_optional(hint), kinds=tuple(k for k, meant in kinds if meant in said),
            words={
                one.__name__: frozenset(word.value for word in one)
                for one in named
                if isinstance(one, type) and issubclass(one, Enum)
            },
        )  # fmt: skip
    return found


def _kinds(key: _Key, read: Any, value: Any, place: str) -> Iterator[str]:
    """Where the SDK gives up silently: words of a fixed list, moments, durations."""
    for kind in key.kinds:
        if not isinstance(read, kind):
            yield f"{place} is no {kind.__name__}: {value!r}"
    if isinstance(read, str):
        for name, words in key.words.items():
            if value not in words:
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
