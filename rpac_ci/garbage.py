"""
What the store of a repository may forget: everything that no record in the log, no open run and no
study needs. Outputs and logs of recorded runs stay; so does whatever is not understood.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from rpac_ci.events import EventLog
from rpac_ci.jobs import Keys, content_key
from rpac_ci.reproduction_log import ReproductionLog
from rpac_ci.storage import Entry, Storage
from rpac_ci.workspace import Workspace

YOUNG = timedelta(hours=1)  # somebody may be about to name it


class Why(StrEnum):
    """Why an object is not needed."""

    EVENTS = "events of a run that is in the log"
    NODES = "messages between the nodes of a run that is in the log"
    SOURCE = "source archive that no open run needs"
    FORGOTTEN = "start of a run that never came to an event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """One object that may go."""

    key: str
    size: int
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A run in the store that neither the log nor anybody who drives it knows."""

    run: str
    size: int


def find(workspace: Workspace) -> tuple[list[Garbage], list[Kept]]:
    """What may go, and what is kept although nothing names it."""
    storage = workspace.storage
    now = _now(storage)
    everything = [e for family in ("control/", "runs/", "content/") for e in storage.list(family)]
    # read after the listing: a run's marker is there before anything else of it
    still_open = set(storage.names("open/"))
    recorded = {path.run for path in ReproductionLog(workspace.git).runs()}
    needed = {_source_of(storage, run) for run in still_open}
    garbage: list[Garbage] = []
    kept: dict[str, int] = {}
    by_run: dict[str, list[Entry]] = {}
    for entry in everything:
        family, _, rest = entry.key.partition("/")
        if family == "content":
            if entry.key not in needed and now - entry.modified > YOUNG:
                garbage.append(_garbage(entry, Why.SOURCE))
        else:
            by_run.setdefault(rest.partition("/")[0], []).append(entry)
    for run, entries in sorted(by_run.items()):
        if run in still_open:
            continue
        if run in recorded:
            garbage += _of_recorded(run, entries)
        elif _forgotten(run, entries, now):
            garbage += [_garbage(entry, Why.FORGOTTEN) for entry in entries]
        else:
            kept[run] = sum(entry.size for entry in entries)
    return garbage, [Kept(run=run, size=size) for run, size in sorted(kept.items())]


def _now(storage: Storage) -> datetime:
    """The store's time, without leaving anything behind."""
    now = storage.now("clock")
    storage.delete("clock")
    return now


def remove(workspace: Workspace, garbage: Sequence[Garbage]) -> int:
    """Remove objects; returns how many bytes that freed."""
    storage, freed = workspace.storage, 0
    for item in garbage:
        if item.why is Why.SOURCE:  # a run that is just starting may have put it there again
            entry = storage.head(item.key)
            if entry is None or _now(storage) - entry.modified <= YOUNG:
                continue
        storage.delete(item.key)
        freed += item.size
    return freed


def _of_recorded(run: str, entries: Sequence[Entry]) -> Iterator[Garbage]:
    """Of a run in the log everything but its outputs and logs: the record says the rest."""
    keys = Keys(run)
    for entry in entries:
        if entry.key.startswith(keys.control):
            yield _garbage(entry, Why.EVENTS)
        elif not entry.key.startswith((keys.outputs, f"{keys.attempt_folder}logs/")):
            yield _garbage(entry, Why.NODES)


def _forgotten(run: str, entries: Sequence[Entry], now: datetime) -> bool:
    """Nothing was ever done for it, and nobody has touched it for a while."""
    events = f"{Keys(run).control}events/"
    acted = any(entry.key.startswith((events, "runs/")) for entry in entries)
    return not acted and all(now - entry.modified > YOUNG for entry in entries)


def _source_of(storage: Storage, run: str) -> str:
    events = EventLog(storage, run).read()
    return content_key(events[0].body["source_archive"]) if events else ""


def _garbage(entry: Entry, why: Why) -> Garbage:
    return Garbage(key=entry.key, size=entry.size, why=why)
