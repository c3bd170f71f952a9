"""
What a store may forget: everything that no record in the log, no open run and no study needs.
Outputs and logs of recorded runs stay; so does whatever is not understood.

The store of this machine has the runs of one clone. One in a bucket is shared: drivers elsewhere go
on while it is looked at, and their runs may not be in this clone's log. There, only what nobody has
touched for `CONTENT_KEPT` goes, and it is looked at once more just before. A driver that finds its
input in the store puts it there again when it is half as old (`staging.py`), and has marked its run
as open before: so by the time when the input may go, the run is known to need it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from rpac_ci.events import EventLog
from rpac_ci.jobs import CONTENT_KEPT, Keys, content_key
from rpac_ci.reproduction_log import ReproductionLog
from rpac_ci.run import Step, fold
from rpac_ci.storage import Entry, Storage
from rpac_ci.workspace import LOCAL, Workspace

YOUNG = timedelta(hours=1)  # somebody may be about to name it
CLOCK = "clock"  # object to read the store's time off; it stays, since others may be at it, too
BATCH = 500  # objects between two looks at what open runs need


class Why(StrEnum):
    """Why an object is not needed."""

    EVENTS = "events of a run that is in the log"
    NODES = "messages between the nodes of a run that is in the log"
    CONTENT = "code or input that no open run needs"
    FORGOTTEN = "start of a run that never came to an event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """One object that may go."""

    key: str
    size: int
    modified: datetime  # by the store's clock
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A run in the store that neither the log nor anybody who drives it knows."""

    run: str
    size: int


def find(workspace: Workspace) -> tuple[list[Garbage], list[Kept]]:
    """What may go, and what is kept although nothing names it."""
    storage, here = workspace.storage, workspace.cloud == LOCAL
    now = storage.now(CLOCK)
    young, fresh = (YOUNG, timedelta()) if here else (CONTENT_KEPT, CONTENT_KEPT)
    everything = [e for family in ("control/", "runs/", "content/") for e in storage.list(family)]
    # read after the listing: a run's marker is there before anything else of it
    still_open = set(storage.names("open/"))
    recorded = {path.run for path in ReproductionLog(workspace.git).runs()}
    needed = _needed(storage, still_open)
    garbage: list[Garbage] = []
    kept: dict[str, int] = {}
    by_run: dict[str, list[Entry]] = {}
    for entry in everything:
        family, _, rest = entry.key.partition("/")
        if family == "content":
            if entry.key not in needed and now - entry.modified > young:
                garbage.append(_garbage(entry, Why.CONTENT))
        else:
            by_run.setdefault(rest.partition("/")[0], []).append(entry)
    for run, entries in sorted(by_run.items()):
        if run in still_open:
            continue
        if run in recorded:
            if all(now - entry.modified >= fresh for entry in entries):
                garbage += _of_recorded(run, entries)
        elif _forgotten(run, entries, now - young):
            garbage += [_garbage(entry, Why.FORGOTTEN) for entry in entries]
        else:
            kept[run] = sum(entry.size for entry in entries)
    return garbage, [Kept(run=run, size=size) for run, size in sorted(kept.items())]


def remove(workspace: Workspace, garbage: Sequence[Garbage]) -> list[Garbage]:
    """
    Remove objects; what has become needed meanwhile stays.

    May be ended at any moment and called again: what is left is found again.

    Returns:
        Those that were removed.
    """
    storage = workspace.storage
    removed: list[Garbage] = []
    for first in range(0, len(garbage), BATCH):
        some = garbage[first : first + BATCH]
        if any(item.why is Why.CONTENT for item in some):
            needed = _needed(storage, storage.names("open/"))
            some = [i for i in some if i.why is not Why.CONTENT or _is_idle(storage, i, needed)]
        storage.delete(*(item.key for item in some))
        removed += some
    return removed


def _is_idle(storage: Storage, item: Garbage, needed: set[str]) -> bool:
    """No run that has started since needs it, or has put it there again."""
    if item.key in needed:
        return False
    entry = storage.head(item.key)
    return entry is not None and entry.modified == item.modified


def _needed(storage: Storage, still_open: Iterator[str] | set[str]) -> set[str]:
    """Keys of the code of open runs, and of the inputs of those that have staged theirs."""
    needed = set()
    for run in still_open:
        if events := EventLog(storage, run).read():
            needed.add(content_key(events[0].body["source_archive"]))
            staged = fold(events).results.get(Step.STAGE) or {}
            needed |= {content_key(item["sha256"]) for item in staged.get("data", {}).values()}
    return needed


def _of_recorded(run: str, entries: Sequence[Entry]) -> Iterator[Garbage]:
    """Of a run in the log everything but its outputs and logs: the record says the rest."""
    keys = Keys(run)
    for entry in entries:
        if entry.key.startswith(keys.control):
            yield _garbage(entry, Why.EVENTS)
        elif not entry.key.startswith((keys.outputs, f"{keys.attempt_folder}logs/")):
            yield _garbage(entry, Why.NODES)


def _forgotten(run: str, entries: Sequence[Entry], before: datetime) -> bool:
    """Nothing was ever done for it, and nobody has touched it for a while."""
    events = f"{Keys(run).control}events/"
    acted = any(entry.key.startswith((events, "runs/")) for entry in entries)
    return not acted and all(entry.modified < before for entry in entries)


def _garbage(entry: Entry, why: Why) -> Garbage:
    return Garbage(key=entry.key, size=entry.size, modified=entry.modified, why=why)
