"""
Words of a command, the same in a comment and in a terminal: `<verb> <arguments>`.

`parse_words` makes one typed command of them; `Overrides` holds the `key=value` words, checked for
form. Whether they fit an experiment is decided where that is known (`overriding.change`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from rpac_ci.command_keys import KEY_WORDS, KEYS, REPEAT
from rpac_ci.command_table import VERBS, Argument, Kind, Verb, near, topic_of
from rpac_ci.errors import CommandError
from rpac_ci.study_words import split

_RUN = r"[0-9A-Za-z][0-9A-Za-z-]{3,39}"
_EXPERIMENT = r"[a-z0-9][a-z0-9-]{0,62}"
_TARGET = re.compile(rf"({_EXPERIMENT})(?:@({_RUN}))?")
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
    region: str | None = None
    runtime: str | None = None
    engine: str | None = None
    nodes: int | None = None
    machine: str | None = None
    cpus: int | None = None
    memory: int | None = None  # MiB
    gpus: int | None = None
    spot: bool | None = None
    image: str | None = None  # name@sha256:…
    seed: int | None = None
    time: int | None = None  # s
    cost: float | None = None  # USD
    sha: str | None = None  # beginning of the commit that is meant
    args: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    data: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    words: tuple[str, ...] = ()


# --- one type for each command ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reproduce:
    """Run an experiment, or a past run, with changes on top."""

    verb: ClassVar[str] = "reproduce"
    target: Target
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Show what `Reproduce` would do."""

    verb: ClassVar[str] = "plan"
    target: Target
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Approve:
    """Run what the plan of this id says."""

    verb: ClassVar[str] = "approve"
    plan: str


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept a run or a study as a reference."""

    verb: ClassVar[str] = "accept"
    run: str


@dataclass(frozen=True, slots=True)
class Status:
    """Show one run, or every open run."""

    verb: ClassVar[str] = "status"
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a run."""

    verb: ClassVar[str] = "cancel"
    run: str


@dataclass(frozen=True, slots=True)
class History:
    """List past runs that are as the filters say."""

    verb: ClassVar[str] = "history"
    experiment: str | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compare:
    """Put two runs side by side."""

    verb: ClassVar[str] = "compare"
    first: str
    second: str
    unfair: bool | None = None  # also ratios that are not fair


@dataclass(frozen=True, slots=True)
class Help:
    """Explain a command, the keys, or everything."""

    verb: ClassVar[str] = "help"
    topic: str | None = None


Command: TypeAlias = (
    Reproduce | Plan | Approve | Accept | Status | Cancel | History | Compare | Help
)
TYPES: Mapping[str, Callable[..., Command]] = MappingProxyType(
    {
        kind.verb: kind
        for kind in (Reproduce, Plan, Approve, Accept, Status, Cancel, History, Compare, Help)
    }
)


def parse_words(words: Sequence[str]) -> Command:
    """
    One command of its words, the verb first and without a slash.

    Unlike a terminal's, values must not be empty: `args.name=` in a comment is a slip.

    Raises:
        CommandError: with every problem found, one a line, and the usage as hint.
    """
    name = words[0] if words else ""
    if name not in VERBS:
        meant = near(name[:80], VERBS)
        known = f", did you mean {meant!r}?" if meant else ""
        raise CommandError(
            f"there is no command {name[:80]!r}{known}", hint=f"commands: {' '.join(VERBS)}"
        )
    verb, problems = VERBS[name], list[str]()
    values = _arguments(verb, list(words[1:]), problems)
    if problems:
        raise CommandError("\n".join(dict.fromkeys(problems)), hint=f"usage: {verb.usage}")
    return TYPES[name](*values)


def _arguments(verb: Verb, words: list[str], problems: list[str]) -> list[object]:
    values: list[object] = []
    for argument in verb.arguments:
        if not argument.kind.takes_the_rest and (not words or _is_absent(argument, words[0])):
            values.append(None)
            if argument.required:
                problems.append(f"expected {argument.kind} after {verb.name!r}")
            continue
        given = words if argument.kind.takes_the_rest else words[:1]
        words = words[len(given) :]
        try:
            values.append(_READERS[argument.kind](given))
        except CommandError as exc:
            problems += exc.message.split("\n")
    problems += [f"got {word[:80]!r}, expected nothing more" for word in words]
    return values


def _is_absent(argument: Argument, word: str) -> bool:
    """Whether an optional argument is left out: the word in its place is one of the filters."""
    from rpac_ci.filters import is_filter

    return argument.kind is Kind.EXPERIMENT and not argument.required and is_filter(word)


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


def _text(pattern: str, expected: str) -> Callable[[Sequence[str]], str]:
    def read(words: Sequence[str]) -> str:
        if not re.fullmatch(pattern, words[0]):
            raise CommandError(f"got {words[0][:80]!r}, expected {expected}")
        return words[0]

    return read


def _filters(words: Sequence[str]) -> tuple[str, ...]:
    from datetime import UTC, datetime

    from rpac_ci.filters import parse_filters

    parse_filters(words, datetime(2100, 1, 1, tzinfo=UTC))  # ages are only checked for form
    return tuple(words)


def _changes(words: Sequence[str]) -> tuple[str, ...]:
    pairs = [word.partition("=") for word in words]
    empty = [key for key, _, value in pairs if key.startswith(("args.", "data.")) and not value]
    problems = [*_problems(words), *(f"{key[:80]}: the value is empty" for key in empty)]
    if problems:
        raise CommandError("\n".join(problems))
    return tuple(words)


def _unfair(words: Sequence[str]) -> bool:
    key, _, value = words[0].partition("=")
    if key != "unfair" or value not in ("true", "false"):
        raise CommandError(f"got {words[0][:80]!r}, expected unfair=true or nothing more")
    return value == "true"


_READERS: Mapping[Kind, Callable[[Sequence[str]], object]] = MappingProxyType(
    {
        Kind.TARGET: lambda words: parse_target(words[0]),
        Kind.EXPERIMENT: _text(_EXPERIMENT, "the id of an experiment, such as exp-42"),
        Kind.RUN: _text(_RUN, "the id of a run, or four or more letters of one end of it"),
        Kind.PLAN: _text("[0-9a-f]{16}", "the 16 lower-case hex digits of a plan"),
        Kind.TOPIC: lambda words: topic_of(words[0]),
        Kind.OVERRIDES: _changes,
        Kind.FILTERS: _filters,
        Kind.UNFAIR: _unfair,
    }
)


# --- key=value ----------------------------------------------------------------------------------


def parse_overrides(words: Sequence[str]) -> Overrides:
    """
    Read the `key=value` words of one run, so without lists and `repeat`.

    Raises:
        CommandError: with every problem found, one a line.
    """
    values: dict[str, object] = {}
    nested: dict[str, dict[str, str]] = {"args": {}, "data": {}}
    if problems := _read_words(words, values, nested):
        raise CommandError("\n".join(problems), hint=f"keys: {KEY_WORDS}")
    return Overrides(**values, **nested, words=tuple(words))  # type: ignore[arg-type]


def _problems(words: Sequence[str]) -> list[str]:
    """What is wrong with words among which may be lists and `repeat`."""
    found, problems = split(words)
    one = [*found.fixed, *(f"{key}={values[0]}" for key, values in found.values.items())]
    problems += _read_words(one, {}, {"args": {}, "data": {}})
    for key, values in found.values.items():
        for value in values[1:]:
            problems += _read_words([f"{key}={value}"], {}, {"args": {}, "data": {}})
    return problems


def _read_words(
    words: Sequence[str], values: dict[str, object], nested: dict[str, dict[str, str]]
) -> list[str]:
    problems = []
    for word in words:
        try:
            _read_word(word, values, nested)
        except ValueError as exc:
            problems.append(str(exc))
    return problems


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
        meant = near(shown, KEYS)
        raise ValueError(f"unknown key {shown!r}{f', did you mean {meant!r}?' if meant else ''}")
    if key in values:
        raise ValueError(f"{key} is given twice")
    try:
        values[key] = KEYS[key].read(value)
    except ValueError as exc:
        raise ValueError(f"{key}: {exc}, for example {KEYS[key].shown_example}") from exc
    if key == REPEAT:
        raise ValueError(f"{REPEAT} makes a study of several runs, expected words of one run")
