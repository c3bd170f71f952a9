"""
Filters of past runs: words such as `cloud=aws`, `since=7d` or `metric.accuracy>0.9`. Pure.

All words must hold. What a run does not have never matches, also not with `!=`: a run without the
metric `x` is neither in `metric.x=1` nor in `metric.x!=1`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rpac_ci.errors import CommandError
from rpac_ci.quantities import parse_cost, parse_duration

if TYPE_CHECKING:
    from rpac_ci.past_runs import PastRun

_WORD = re.compile(r"([^=!<>~]+)(!=|>=|<=|=|>|<|~)(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_AGE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) ?(min|h|d|w)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_AGE_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
)
_MAX_VALUE = 1024
_EQUAL = ("=", "!=")
_TEXTUAL = (*_EQUAL, "~")
_NUMERIC = (*_EQUAL, *_ORDER)

QUOTES = "words with > or < need quotes in a shell: 'metric.accuracy>0.9'"


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition: a key as it was written, an operator, and the value to compare with."""

    key: str
    op: str
    wanted: Any
    _kind: Kind
    _get: Callable[[PastRun], Any]

    def value(self, run: PastRun) -> Any:
        """What a run has under the key; None where it has nothing."""
        return self._get(run)

    def matches(self, run: PastRun) -> bool:
        """Whether a run is as asked."""
        value = self._get(run)
        if value is None:
            return False
        if self.op in _ORDER:
            return self._kind.ordered(value) and _ORDER[self.op](value, self.wanted)
        if self.op == "~":
            return str(self.wanted).casefold() in _written(value).casefold()
        return self._kind.same(value, self.wanted) == (self.op == "=")


class Kind(NamedTuple):
    """How the values of a key are read and compared."""

    operators: Sequence[str]
    read: Callable[[str], Any]  # raises ValueError with what is right
    same: Callable[[Any, Any], bool] = operator.eq
    limit: Callable[[str], Any] | None = None  # reads what comes after > or <, if not `read`
    ordered: Callable[[Any], bool] = lambda _: True  # whether a run's value has an order


class Key(NamedTuple):
    """One key: where a run has it, and an example."""

    kind: Kind
    get: Callable[[PastRun, str], Any]  # the run, and the name behind the dot
    example: str


def parse_filters(words: Sequence[str], now: datetime) -> list[Filter]:
    """
    Read the words of a question about past runs.

    Args:
        words: `key OP value`; OP is one of = != > >= < <= and ~ (contains).
        now: what ages such as `7d` are counted from.

    Raises:
        CommandError: with every problem found, one a line.
    """
    filters: list[Filter] = []
    problems: list[str] = []
    for word in words:
        try:
            filters.append(_read(word, now))
        except ValueError as exc:
            problems.append(str(exc))
    if problems:
        raise CommandError("\n".join(problems), hint=f"keys: {' '.join(KEYS)}\n{QUOTES}")
    return filters


def is_filter(word: str) -> bool:
    """Whether a word is meant as a filter and not as the name of an experiment."""
    return not re.fullmatch(r"[A-Za-z0-9_-]+", word)


def _read(word: str, now: datetime) -> Filter:
    match = _WORD.fullmatch(word)
    if not match:
        raise ValueError(f"got {word[:80]!r}, expected key=value, such as cloud=aws")
    key, op, text = match[1].strip(), match[2], match[3].strip()
    family, _, name = key.partition(".")
    known = KEYS.get(f"{family}.<name>" if name else key)
    if known is None:
        raise ValueError(f"unknown key {key[:80]!r}{_meant(key)}")
    if not text or len(text) > _MAX_VALUE or not text.isprintable():
        raise ValueError(f"{key}: expected a value, for example {known.example}")
    if op not in known.kind.operators:
        right = " ".join(known.kind.operators)
        raise ValueError(f"{key}: got {op}, expected one of {right}, for example {known.example}")
    if key in _BOUNDS:
        op, wanted = _bound(key, text, now)
    else:
        wanted = _wanted(key, op, text, known)
    get = known.get
    return Filter(key, op, wanted, known.kind, lambda run: get(run, name))


def _wanted(key: str, op: str, text: str, known: Key) -> Any:
    if op == "~":
        return text
    read = known.kind.limit if op in _ORDER and known.kind.limit else known.kind.read
    try:
        return read(text)
    except ValueError as exc:
        raise ValueError(f"{key}{op}: {exc}, for example {known.example}") from exc


def _meant(key: str) -> str:
    """What somebody may have meant by a key that does not exist."""
    import difflib

    family, dot, name = key.partition(".")
    families = [known.partition(".")[0] for known in KEYS if known.endswith("<name>")]
    if dot and (near := difflib.get_close_matches(family, families, n=1)):
        return f", did you mean '{near[0]}.{name or '<name>'}'?"
    if near := difflib.get_close_matches(key, [*KEYS, *families], n=1, cutoff=0.7):
        return f", did you mean {near[0] + ('.<name>' if near[0] in families else '')!r}?"
    return f", did you mean 'metric.{key[:60]}' or 'args.{key[:60]}'?"


# --- values -------------------------------------------------------------------------------------


def _number(text: str) -> int | float:
    if len(text) > 40 or not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"got {text[:80]!r}, expected a number")
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else float(text)


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise ValueError(f"got {text[:80]!r}, expected a whole number")
    return int(text)


def _seconds(text: str) -> float:
    return _number(text) if _NUMBER.fullmatch(text) else parse_duration(text)


def _dollars(text: str) -> float:
    return _number(text) if _NUMBER.fullmatch(text) else parse_cost(text)


def _same_scalar(value: Any, text: str) -> bool:
    """A number is compared as one; true, false and text as they are written."""
    if _is_number(value) and _NUMBER.fullmatch(text):
        return bool(value == _number(text))
    return _written(value) == text


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same_text(value: str, wanted: str) -> bool:
    return value.casefold() == wanted.casefold()


def _same_verdict(value: str, wanted: str) -> bool:
    """`reproduced` is every verdict that begins with this word; `not reproduced` does not."""
    beginning, rest = value[: len(wanted)], value[len(wanted) :]
    return _same_text(beginning, wanted) and not rest[:1].isalnum()


def _same_digest(value: str, wanted: str) -> bool:
    return value.startswith(wanted)


def _same_run(value: str, wanted: str) -> bool:
    """As everywhere, a part of a run's id from its beginning or end will do."""
    return value.startswith(wanted) or value.endswith(wanted)


def _digest(text: str) -> str:
    digits = text.lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{4,64}", digits):
        raise ValueError(f"got {text[:80]!r}, expected four or more hexadecimal digits")
    return digits


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


_BOUNDS = {"since": ">=", "until": "<="}


def _bound(key: str, text: str, now: datetime) -> tuple[str, datetime]:
    """`since` is from the beginning of a day, `until` to its end; times without a zone are UTC."""
    try:
        if match := _AGE.fullmatch(text):
            return _BOUNDS[key], now - timedelta(**{_AGE_UNITS[match[2]]: float(match[1])})
        at = _moment(text)
        assert at is not None
        if key == "until" and _DATE.fullmatch(text):
            return "<", at + timedelta(days=1)
    except (ValueError, OverflowError) as exc:
        raise ValueError(
            f"{key}: got {text[:80]!r}, expected a date, a time or an age, for example "
            f"{key}=2026-01-31, {key}=2026-01-31T12:00Z, {key}=12h, {key}=7d or {key}=2w"
        ) from exc
    return _BOUNDS[key], at


TEXT = Kind(_TEXTUAL, str, _same_text)
VERDICT = Kind(_TEXTUAL, str, _same_verdict)
DIGEST = Kind(_TEXTUAL, _digest, _same_digest)
RUN = Kind(_TEXTUAL, str, _same_run)
WHOLE = Kind(_NUMERIC, _whole)
NUMBER = Kind(_NUMERIC, _number)
SECONDS = Kind(_NUMERIC, _seconds)
DOLLARS = Kind(_NUMERIC, _dollars)
SCALAR = Kind((*_NUMERIC, "~"), str, _same_scalar, _number, _is_number)
TIME = Kind(("=",), str)


def _metric(run: PastRun, name: str) -> float | None:
    """The value of a metric; of a sample its mean."""
    value: float | None = run.metrics.get(name, {}).get("value")
    return value


KEYS: Mapping[str, Key] = MappingProxyType(
    {
        "cloud": Key(TEXT, lambda run, _: run.cloud, "cloud=aws"),
        "engine": Key(TEXT, lambda run, _: run.engine, "engine=dask"),
        "runtime": Key(TEXT, lambda run, _: run.runtime, "runtime=process"),
        "verdict": Key(VERDICT, lambda run, _: run.outcome, "verdict=reproduced"),
        "status": Key(TEXT, lambda run, _: run.status, "status=failed"),
        "grade": Key(TEXT, lambda run, _: run.grade, "grade=A"),
        "nodes": Key(WHOLE, lambda run, _: run.nodes, "nodes>=2"),
        "seed": Key(WHOLE, lambda run, _: run.seed, "seed=7"),
        "since": Key(TIME, lambda run, _: _moment(run.started), "since=7d"),
        "until": Key(TIME, lambda run, _: _moment(run.started), "until=2026-01-31"),
        "commit": Key(DIGEST, lambda run, _: run.commit, "commit=1a2b3c4"),
        "reproduces": Key(RUN, lambda run, _: run.reproduces, "reproduces=0a1b2c3d"),
        "study": Key(TEXT, lambda run, _: run.study, "study=20260102T030405Z-0a1b2c3d"),
        "actor": Key(WHOLE, lambda run, _: run.actor, "actor=4711"),
        "origin": Key(TEXT, lambda run, _: run.origin, "origin=bot"),
        "via": Key(TEXT, lambda run, _: run.via, "via=cli"),
        "cost": Key(DOLLARS, lambda run, _: run.cost_usd, "cost<5"),
        "duration": Key(SECONDS, lambda run, _: run.duration_s, "duration>10min"),
        "args.<name>": Key(SCALAR, lambda run, name: run.args.get(name), "args.trees=150"),
        "data.<name>": Key(DIGEST, lambda run, name: run.data.get(name), "data.scenes=9f2c1a"),
        "metric.<name>": Key(NUMBER, _metric, "metric.accuracy>0.9"),
    }
)
