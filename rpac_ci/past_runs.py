"""
Past runs as rows: what one wants to list and to filter of each, from whatever record it has.

Records are read as plain JSON, so those of older and newer versions are rows as far as they can be
understood, and a broken one spoils nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import chain, islice
from math import fsum, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from rpac_ci.errors import CommandError
from rpac_ci.filters import KEYS, QUOTES, Filter
from rpac_ci.git import Git
from rpac_ci.log_paths import RunPath
from rpac_ci.origins import BOT, UNVERIFIED, dispatched
from rpac_ci.reproduction_log import ReproductionLog

if TYPE_CHECKING:
    from rpac_ci.history_index import HistoryIndex

READABLE = ("rpac/record/1",)  # schemas that this version understands in full

_FEW = 100  # records that are sooner read from git than looked up
_CHUNK = 2000  # rows at a time, so that memory does not grow with the log
_BATCH = 500  # records that one git process reads

Facts: TypeAlias = dict[str, Any]  # fields of a row that stand in its record
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run of the log; None and {} where its record says nothing, or nothing understood."""

    run: str
    experiment: str
    refs: tuple[str, ...] = ()  # the logs that have it
    origin: str | None = None  # `bot`, or `unverified`; None where the repository has no bot
    problem: str = ""  # why this version cannot read the record in full
    schema: str | None = None
    title: str = ""
    outcome: str | None = None  # of the verdict, or the status
    exit_code: int | None = None  # of the verdict
    status: str | None = None
    variant: bool | None = None
    grade: str | None = None
    reason: str | None = None
    cloud: str | None = None
    runtime: str | None = None
    engine: str | None = None
    nodes: int | None = None
    seed: int | None = None
    started: str | None = None
    finished: str | None = None
    duration_s: float | None = None
    cost_usd: float | None = None
    via: str | None = None
    actor: int | None = None
    study: str | None = None
    commit: str | None = None  # of the source
    dirty: bool | None = None
    pipeline: str | None = None
    science: str | None = None
    rules: str | None = None
    reproduces: str | None = None
    args: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    changes: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)  # name -> sha256
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # value, unit, values, …

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {name: getattr(self, name) for name in _FIELDS} | {"refs": list(self.refs)}


_FIELDS = tuple(item.name for item in fields(PastRun))
_LAYOUT = 1  # to be counted up when facts are made from records in another way
_VERSION = repr((_LAYOUT, _FIELDS, READABLE))  # facts of another version are not these facts


def find(
    git: Git,
    experiment: str | None = None,
    filters: Sequence[Filter] = (),
    *,
    last: int | None = None,
    refs: Sequence[str] = (),
) -> list[PastRun]:
    """
    Past runs that are as asked, newest first.

    Args:
        git: the repository.
        experiment: only of this one.
        filters: all of them must hold.
        last: at most so many.
        refs: only in these refs; in every log when empty.

    Raises:
        CommandError: there is no such experiment or ref.
        HistoryError: git cannot be read.
    """
    log = ReproductionLog(git)
    paths = log.newest_first(experiment, refs)
    first = next(paths, None)
    if first is None:
        if experiment is not None:
            _check_known(experiment, git.root, log.experiments())
        return []
    paths = chain([first], paths)
    own = dispatched(git)
    if last is not None and last <= _FEW and not filters:
        return list(islice(_with_origin(_rows(log, paths, None, last), own), last))
    from rpac_ci.history_index import HistoryIndex

    with HistoryIndex(git.root, version=_VERSION) as index:
        rows = _with_origin(_rows(log, paths, index, _BATCH if filters else last or _CHUNK), own)
        return list(islice((row for row in rows if _holds(filters, row)), last))


def _with_origin(rows: Iterator[PastRun], own: frozenset[str] | None) -> Iterator[PastRun]:
    """Rows that say who sent them off, where there is a bot's ledger to tell."""
    if own is None:
        return rows
    return (replace(row, origin=BOT if row.run in own else UNVERIFIED) for row in rows)


def _holds(filters: Sequence[Filter], row: PastRun) -> bool:
    return all(condition.matches(row) for condition in filters)


def _check_known(name: str, root: Path, logged: Sequence[str]) -> None:
    """An experiment without runs is one all the same; otherwise say which names there are."""
    import difflib

    from rpac_ci import experiments
    from rpac_ci.workspace import Workspace

    known = sorted({*logged, *experiments.find(Workspace.open(root).experiments)})
    if name in known:
        return
    if name in {key.partition(".")[0] for key in KEYS}:
        hint = f"{name!r} is a key of filters; {QUOTES}"
    elif near := difflib.get_close_matches(name, known, n=1):
        hint = f"did you mean {near[0]!r}?"
    else:
        some = ", ".join([*known[:20], "…"] if len(known) > 20 else known)
        hint = f"experiments here: {some or f'none; start one with: rpac new {name}'}"
    raise CommandError(
        f"there is no experiment {name!r}, neither in files nor in the log", hint=hint
    )


# --- rows ---------------------------------------------------------------------------------------


def _rows(
    log: ReproductionLog, paths: Iterator[RunPath], index: HistoryIndex | None, size: int
) -> Iterator[PastRun]:
    """
    Rows of runs in their order; folders without a record have none.

    Args:
        log: has the records.
        paths: newest first; a run that several logs have in different states comes several times.
        index: what is known of them.
        size: how many to begin with; those who stop early have read little more than they took.
    """
    before = ""
    while chunk := list(islice(paths, min(size, _CHUNK))):
        facts = index.get([path.tree for path in chunk]) if index else {}
        unknown = sorted(path for path in chunk if path.tree not in facts)
        if unknown:
            fresh = dict(_read(log, unknown))
            if index:
                index.put(fresh)
            facts |= fresh
        for path in chunk:
            known = facts[path.tree]
            if known is not None and path.run != before:
                before = path.run
                yield PastRun(run=path.run, experiment=path.experiment, refs=path.refs, **known)
        size *= 2


def _read(log: ReproductionLog, paths: Sequence[RunPath]) -> Iterator[tuple[str, Facts | None]]:
    """Facts from the records in git, in time order: git unpacks them fastest in that order."""
    for at in range(0, len(paths), _BATCH):
        batch = paths[at : at + _BATCH]
        for path, content in zip(batch, log.contents(batch), strict=True):
            yield path.tree, None if content is None else understand(content)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse)


def understand(content: bytes) -> Facts:
    """
    What a record says, as far as this version understands it.

    Returns:
        Fields of `PastRun`, without those of which the record says nothing.
    """
    try:
        raw = _JSON.decode(content.decode())
    except (ValueError, RecursionError) as exc:
        return {"problem": f"the record is not JSON: {str(exc)[:100]}"}
    if not isinstance(raw, dict):
        return {"problem": "the record is not a JSON object"}
    schema = _text(raw.get("schema"))
    identity, outcome, verdict = (_part(raw, name) for name in ("identity", "outcome", "verdict"))
    status = _text(outcome.get("status"))
    facts = {
        "schema": schema,
        "title": _text(raw.get("title")) or "",
        "problem": _problem(schema, status),
        "outcome": _text(verdict.get("outcome")) or status,
        "exit_code": _whole(verdict.get("exit_code")),
        "status": status,
        "variant": _flag(verdict.get("variant")),
        "grade": _text(verdict.get("grade")),
        "reason": _text(verdict.get("reason")) or _text(outcome.get("reason")),
        "cost_usd": _number(outcome.get("cost_usd")),
        "metrics": _metrics(_part(outcome, "metrics"), _part(outcome, "samples")),
        **_asked(identity),
        **_done(_part(raw, "circumstances")),
    }
    return {name: value for name, value in facts.items() if value not in (None, "", {})}


def _problem(schema: str | None, status: str | None) -> str:
    if schema is None:
        return "the record names no schema"
    if schema not in READABLE:
        return f"written by another version of rpac ({schema})"
    return "" if status else "the record does not say how the run ended"


def _asked(identity: Facts) -> Facts:
    source = _part(identity, "source")
    args = {name: _value_of(item) for name, item in _part(identity, "args").items()}
    data = {
        name: _text(item.get("sha256"))
        for name, item in _part(identity, "data").items()
        if isinstance(item, dict)
    }
    changes = {name: _text(text) for name, text in _part(identity, "changes").items()}
    return {
        "engine": _text(_part(identity, "engine").get("name")),
        "seed": _whole(identity.get("seed")),
        "commit": _text(source.get("commit")),
        "dirty": bool(source["dirty"]) if "dirty" in source else None,
        **{name: _text(identity.get(name)) for name in _IDENTITY_TEXTS},
        "args": _present(args),
        "data": _present(data),
        "changes": _present(changes),
    }


_IDENTITY_TEXTS = ("pipeline", "science", "rules", "reproduces")


def _done(around: Facts) -> Facts:
    asked, nodes = _part(around, "requested"), around.get("nodes")
    started, finished = _time(around.get("started")), _time(around.get("finished"))
    duration = None
    if started and finished:
        duration = round((finished[1] - started[1]).total_seconds(), 3)
    return {
        "cloud": _text(around.get("cloud")),
        "runtime": _text(around.get("runtime")),
        "nodes": len(nodes) if isinstance(nodes, list) else None,
        "started": started and started[0],
        "finished": finished and finished[0],
        "duration_s": duration,
        "via": _text(asked.get("via")),
        "actor": _whole(asked.get("actor")),
        "study": _text(asked.get("study")),
    }


def _metrics(metrics: Facts, samples: Facts) -> Facts:
    """Name -> value and unit; of a sample also values and seeds, and the mean as its value."""
    found = {}
    for name, item in (metrics | {k: v for k, v in samples.items() if k not in metrics}).items():
        given = item if isinstance(item, dict) else {"value": item}
        sample = given if "values" in given else _part(samples, name)
        metric = {"value": _number(given.get("value")), "unit": _text(given.get("unit"))}
        metric |= _sample(sample)
        if metric["value"] is not None:
            found[_clean(name)] = metric
    return found


def _sample(sample: Facts) -> Facts:
    listed, seeds = sample.get("values"), sample.get("seeds")
    values = [_number(value) for value in listed] if isinstance(listed, list) else []
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(values):
        return {}
    known = seeds if isinstance(seeds, list) and None not in map(_whole, seeds) else None
    return {"value": fsum(numbers) / len(numbers), "values": numbers, "seeds": known}


# --- parts of a record, None where they are not what they should be -------------------------------


def _part(raw: Facts, name: str) -> Facts:
    value = raw.get(name)
    return value if isinstance(value, dict) else {}


def _clean(text: str) -> str:
    """Text that may be printed: records come from others, terminals obey control characters."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _text(value: object) -> str | None:
    return _clean(value) if isinstance(value, str) else None


def _number(value: object) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if isinstance(value, int) or isfinite(value) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _value_of(item: object) -> bool | int | float | str | None:
    """The value of an argument; its role makes no difference here."""
    value = item.get("value") if isinstance(item, dict) else item
    if isinstance(value, bool | str):
        return _clean(value) if isinstance(value, str) else value
    return _number(value)


def _present(values: Mapping[str, T | None]) -> dict[str, T]:
    return {_clean(name): value for name, value in values.items() if value is not None}


def _time(value: object) -> tuple[str, datetime] | None:
    """A time as it is written, and as one; without a zone it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return value, at if at.tzinfo else at.replace(tzinfo=UTC)
