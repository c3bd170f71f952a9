"""
Words of a command, as typed in a terminal: `<experiment>[@<run>] [key=value …]`.

`Overrides` holds what was asked, checked for form; whether it fits the experiment is decided
where the experiment is known (`pipeline.change`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from rpac_ci import quantities
from rpac_ci.errors import CommandError

_TARGET = re.compile(r"([a-z0-9][a-z0-9-]{0,62})(?:@([0-9A-Za-z-]{4,40}))?")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
MAX_VALUE = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """What to reproduce: an experiment as it is now, or one run of it."""

    experiment: str
    run: str | None = None

    def __str__(self) -> str:
        return f"{self.experiment}@{self.run}" if self.run else self.experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Changes asked for in a command; None means "as the experiment says"."""

    cloud: str | None = None
    runtime: str | None = None
    nodes: int | None = None
    cpus: int | None = None
    memory: int | None = None  # MiB
    gpus: int | None = None
    seed: int | None = None
    time: int | None = None  # s
    cost: float | None = None  # USD
    args: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    data: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    words: tuple[str, ...] = ()


def _word(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", text):
        raise ValueError(f"got {text!r}, expected a lower-case word")
    return text


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise ValueError(f"got {text!r}, expected a whole number")
    return int(text)


def _count(text: str) -> int:
    if (number := _integer(text)) < 1:
        raise ValueError(f"got {text!r}, expected at least 1")
    return number


# one table of keys: form, example
KEYS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "cloud": (_word, "cloud=local"),
    "runtime": (_word, "runtime=process"),
    "nodes": (_count, "nodes=4"),
    "cpus": (_count, "cpus=2"),
    "memory": (quantities.parse_memory, "memory=8GiB"),
    "gpus": (_integer, "gpus=1"),
    "seed": (_integer, "seed=7"),
    "time": (quantities.parse_duration, "time=30min"),
    "cost": (quantities.parse_cost, "cost=5USD"),
    "args.<name>": (str, "args.trees=300"),
    "data.<name>": (str, "data.scenes=https://…"),
}


def parse_target(text: str) -> Target:
    """`exp-42` or `exp-42@20260102T030405Z-0a1b2c3d`; a part of the run's id will do."""
    match = _TARGET.fullmatch(text)
    if not match:
        name, at, _ = text.partition("@")
        runs = f"rpac history {name} lists the runs; a part of an id has four letters or more"
        raise CommandError(
            f"got {text[:80]!r}, expected <experiment> or <experiment>@<run>",
            hint=runs if at and _TARGET.fullmatch(name) else "rpac reproduce eddy-census nodes=2",
        )
    return Target(match[1], match[2])


def parse_overrides(words: Sequence[str]) -> Overrides:
    """
    Read `key=value` words.

    Raises:
        CommandError: with every problem found, one a line.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    nested: dict[str, dict[str, str]] = {"args": {}, "data": {}}
    for word in words:
        try:
            _read_word(word, values, nested)
        except ValueError as exc:
            problems.append(str(exc))
    if problems:
        raise CommandError("\n".join(problems), hint="keys: " + " ".join(KEYS))
    return Overrides(**values, **nested, words=tuple(words))  # type: ignore[arg-type]


def _read_word(word: str, values: dict[str, object], nested: dict[str, dict[str, str]]) -> None:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise ValueError(f"got {word[:80]!r}, expected key=value")
    if len(value) > MAX_VALUE or not value.isprintable():
        raise ValueError(f"{key[:80]}: expected at most {MAX_VALUE} printable characters")
    family, _, name = key.partition(".")
    if family in nested and name:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{key[:80]}: {name[:80]!r} is not a name")
        if name in nested[family]:
            raise ValueError(f"{key} is given twice")
        nested[family][name] = value
        return
    if key not in KEYS:
        shown = key[:80]
        near = difflib.get_close_matches(shown, KEYS, n=1, cutoff=0.7)
        known = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown key {shown!r}{known}")
    if key in values:
        raise ValueError(f"{key} is given twice")
    try:
        values[key] = KEYS[key][0](value)
    except ValueError as exc:
        raise ValueError(f"{key}: {exc}, for example {KEYS[key][1]}") from exc
