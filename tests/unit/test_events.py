"""The event log: numbered once, without gaps, claimed by one driver at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from rpac_ci import open_runs
from rpac_ci.driver import RunDriver
from rpac_ci.errors import StorageError
from rpac_ci.events import Driver, Event, EventLog, Kind, is_gone, timestamp
from rpac_ci.jobs import Keys, RunId
from rpac_ci.planning import make_plan
from rpac_ci.run import Step, Take, fold
from rpac_ci.steps import Steps
from rpac_ci.storage import Entry, Storage
from rpac_ci.workspace import Workspace
from tests.conftest import ROOT, WriteExperiment
from tests.standins.waiting import until

RUN = "20260102T030405Z-0a1b2c3d"
KEYS = Keys(RUN)
FOLDER = f"{KEYS.control}events/"


@pytest.fixture
def log(storage: Storage) -> EventLog:
    return EventLog(storage, RUN)


def on_disk(tmp_path: Path, key: str) -> Path:
    """Where the `storage` fixture keeps an object."""
    return tmp_path / "store" / key


# --- numbers ------------------------------------------------------------------------------------


def test_events_are_appended_one_after_the_other(log: EventLog, storage: Storage) -> None:
    assert log.read() == []
    assert log.append(Kind.CREATED, {"a": 1}, after=0)
    assert log.append(Kind.CANCEL, {"why": "näh"}, after=1)
    assert not log.append(Kind.COMMITTED, {}, after=1), "the number is taken"
    expected = [(1, Kind.CREATED, {"a": 1}), (2, Kind.CANCEL, {"why": "näh"})]
    for reader in (log, EventLog(storage, RUN)):
        assert [(e.number, e.kind, e.body) for e in reader.read()] == expected
    assert EventLog(storage, "20260102T030405Z-ffffffff").read() == []


def test_two_writers_of_equal_words_do_not_take_each_other_for_themselves(
    storage: Storage,
) -> None:
    first, second = EventLog(storage, RUN), EventLog(storage, RUN)
    assert first.append(Kind.CANCEL, {}, after=0)
    assert not second.append(Kind.CANCEL, {}, after=0)


@pytest.mark.parametrize(
    "name", ["00000003.json", "00000002.txt", "notes.md", "2.json", "sub/00000002.json"]
)
def test_gaps_and_foreign_files_are_refused(log: EventLog, storage: Storage, name: str) -> None:
    log.append(Kind.CREATED, {}, after=0)
    storage.put(FOLDER + name, b'{"kind":"cancel","at":"","body":{}}')
    with pytest.raises(StorageError, match="gaps or foreign files") as caught:
        log.read()
    assert "nothing was done" in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b'"word"', b'{"kind":"cancel"}', b'{"kind":"new","at":"","body":{}}'],
)
def test_an_event_that_is_none_is_refused_in_words(
    log: EventLog, storage: Storage, content: bytes
) -> None:
    storage.put(f"{FOLDER}00000001.json", content)
    with pytest.raises(StorageError):
        log.read()


class CountingStorage(Storage):
    """Counts what is read."""

    reads = 0

    def get(self, key: str) -> bytes | None:
        self.reads += 1
        return super().get(key)


def test_an_event_is_read_once(tmp_path: Path) -> None:
    storage = CountingStorage(tmp_path.as_uri())
    log, writer = EventLog(storage, RUN), EventLog(storage, RUN)
    for number in range(5):
        writer.append(Kind.CANCEL, {"n": number}, after=number)
    assert len(log.read()) == len(log.read()) == 5
    assert storage.reads == 5
    writer.append(Kind.COMMITTED, {}, after=5)
    assert log.read()[-1].kind is Kind.COMMITTED
    assert storage.reads == 6
    assert writer.read() == log.read(), "but for what it has written itself"
    assert storage.reads == 6


class ListingStorage(CountingStorage):
    """Counts listings, too."""

    listings = 0

    def list(self, prefix: str) -> list[Entry]:
        self.listings += 1
        return super().list(prefix)


def test_who_follows_a_log_lists_it_once_and_asks_nothing_behind_its_own_event(
    tmp_path: Path,
) -> None:
    storage = ListingStorage(tmp_path.as_uri())
    other, log = EventLog(Storage(tmp_path.as_uri()), RUN), EventLog(storage, RUN)
    other.append(Kind.CREATED, {}, after=0)
    assert len(log.follow()) == 1
    other.append(Kind.CANCEL, {"n": 2}, after=1)
    other.append(Kind.CANCEL, {"n": 3}, after=2)
    assert [event.number for event in log.follow()] == [1, 2, 3]
    assert log.append(Kind.CANCEL, {"n": 4}, after=3)
    asked = storage.reads
    assert len(log.follow()) == 4
    assert (storage.listings, storage.reads) == (1, asked)


def test_who_was_not_first_learns_it_from_its_own_append(storage: Storage) -> None:
    other, log = EventLog(storage, RUN), EventLog(storage, RUN)
    log.append(Kind.CREATED, {}, after=0)
    other.append(Kind.CANCEL, {"why": "other"}, after=1)
    assert len(log.follow()) == 1, "behind its own event it asks nothing"
    assert not log.append(Kind.CLAIM, {}, after=1)
    assert log.follow()[-1].body == {"why": "other"}
    assert not log.append(Kind.CLAIM, {}, after=1)
    assert len(log.follow()) == 2


def test_a_log_that_is_no_longer_known_in_full_is_followed_from_where_it_was(
    storage: Storage,
) -> None:
    log = EventLog(storage, RUN)
    assert (log.known, log.follow()) == ([], [])
    EventLog(storage, RUN).append(Kind.CREATED, {}, after=0)
    assert log.known == []
    assert log.follow() == log.known != []


def test_what_a_reader_got_it_may_change(log: EventLog) -> None:
    log.append(Kind.CREATED, {}, after=0)
    log.read().clear()
    assert len(log.read()) == 1


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678_999, tzinfo=UTC), "2026-01-02T03:04:05.678Z"),
        (datetime(2026, 12, 31, tzinfo=UTC), "2026-12-31T00:00:00.000Z"),
    ],
)
def test_timestamps_are_utc_with_milliseconds(moment: datetime, text: str) -> None:
    assert timestamp(moment) == text


# --- leases -------------------------------------------------------------------------------------


# a process that says which driver it is, and lives as long as nobody writes to it
DRIVER = """\
import json
from rpac_ci.events import Driver
print(json.dumps(Driver.this().to_json()), flush=True)
input()
"""


@pytest.fixture
def child() -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process of this machine, and the driver that it is."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
        process.kill()


def abroad() -> dict[str, Any]:
    """A driver on a machine that cannot be looked at from here."""
    return {"nonce": "abroad", "host": "elsewhere", "pid": os.getpid(), "started": 0.0}


def claim(log: EventLog, driver: dict[str, Any], lease_s: float = 60.0) -> Event:
    body = {"step": "stage", "driver": driver, "lease_s": lease_s}
    assert log.append(Kind.CLAIM, body, after=len(log.read()))
    return log.read()[-1]


def test_a_claim_ends_with_its_driver(
    log: EventLog, child: tuple[subprocess.Popen[str], dict[str, Any]]
) -> None:
    process, driver = child
    event = claim(log, driver)
    assert not log.lease_is_over(event), "it lives"
    process.kill()
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert log.lease_is_over(event), "it has ended, although its parent has not noticed yet"
    process.wait()
    assert log.lease_is_over(event)


def test_my_own_claim_stands(log: EventLog) -> None:
    assert not is_gone(Driver.this().to_json())
    assert not log.lease_is_over(claim(log, Driver.this().to_json()))


def test_a_process_that_got_the_number_of_a_dead_driver_is_not_that_driver(log: EventLog) -> None:
    me = Driver.this()
    assert log.lease_is_over(claim(log, {**me.to_json(), "started": me.started - 100}))


@pytest.mark.parametrize(
    ("claim_age", "renewal_age", "over"),
    [(0, None, False), (50, None, False), (70, None, True), (900, 0, False), (900, 70, True)],
)
def test_a_foreign_driver_is_believed_as_long_as_its_lease_runs(
    log: EventLog,
    storage: Storage,
    tmp_path: Path,
    claim_age: int,
    renewal_age: int | None,
    over: bool,
) -> None:
    event = claim(log, abroad(), lease_s=60)
    now = storage.now("clock").timestamp()
    ages = {f"{FOLDER}00000001.json": claim_age}
    if renewal_age is not None:
        storage.put(f"{KEYS.control}leases/abroad", b"")
        ages[f"{KEYS.control}leases/abroad"] = renewal_age
    for key, age in ages.items():
        os.utime(on_disk(tmp_path, key), (now - age, now - age))
    assert log.lease_is_over(event) is over


def test_the_clock_that_counts_is_the_stores(log: EventLog) -> None:
    event = claim(log, abroad())
    for at in ("2001-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"):
        liar = Event(number=event.number, kind=event.kind, at=at, body=event.body)
        assert not log.lease_is_over(liar)


def test_a_lease_is_renewed_while_the_step_goes_on(log: EventLog, storage: Storage) -> None:
    me = Driver.this()
    key = f"{KEYS.control}leases/{me.nonce}"
    with log.lease(me, lease_s=0.04):
        until(lambda: storage.head(key))
        first = storage.now(f"{KEYS.control}clock")
        until(lambda: (entry := storage.head(key)) and entry.modified > first)
    ended = storage.head(key)
    assert ended is not None
    with pytest.raises(ZeroDivisionError), log.lease(me):
        _ = 1 / 0
    assert storage.head(key) == ended, "nobody renews it any more"


class Unwell(Storage):
    """Fails to write the first three times."""

    failures = 3

    def put(self, key: str, data: bytes) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageError("no")
        super().put(key, data)


def test_a_renewal_that_fails_is_tried_again(tmp_path: Path) -> None:
    storage, me = Unwell(tmp_path.as_uri()), Driver.this()
    with EventLog(storage, RUN).lease(me, lease_s=0.04):
        until(lambda: storage.head(f"{KEYS.control}leases/{me.nonce}"))


# --- zombies ------------------------------------------------------------------------------------


@pytest.fixture
def run(workspace: Workspace, write_experiment: WriteExperiment) -> RunId:
    """A run that nobody has begun."""
    write_experiment()
    planned = make_plan(workspace, "quick", [])
    return RunId(open_runs.start(workspace, planned, request={"via": "test"}).run)


def expire(workspace: Workspace, event: Event, run: str) -> None:
    """Make the store say that an event was written long ago."""
    path = workspace.root / ".rpac" / "store" / Keys(run).control / "events"
    os.utime(path / f"{event.number:08d}.json", (1, 1))


def test_a_driver_that_was_away_for_too_long_drops_its_result(
    workspace: Workspace, run: RunId, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = RunDriver(workspace, run), RunDriver(workspace, run)
    log = EventLog(workspace.storage, run)

    def take(_: Steps, step: Step) -> dict[str, Any]:
        monkeypatch.setattr(Steps, "take", lambda *_: {"by": "quick"})
        expire(workspace, log.read()[-1], run)
        assert quick.advance() == Take(Step.STAGE), "the lease is over: it is taken again"
        return {"by": "slow"}

    monkeypatch.setattr(Steps, "take", take)
    slow.advance()

    assert [event.kind for event in log.read()] == ["created", "claim", "claim", "done"]
    assert fold(log.read()).results == {Step.STAGE: {"by": "quick"}}


def test_a_result_is_dropped_while_another_is_at_it(
    workspace: Workspace, run: RunId, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(workspace.storage, run)

    def take(_: Steps, step: Step) -> dict[str, Any]:
        claim(log, abroad())
        return {"by": "slow"}

    monkeypatch.setattr(Steps, "take", take)
    RunDriver(workspace, run).advance()
    assert [event.kind for event in log.read()] == ["created", "claim", "claim"]


def test_a_result_survives_an_event_that_came_between(
    workspace: Workspace, run: RunId, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(workspace.storage, run)

    def take(_: Steps, step: Step) -> dict[str, Any]:
        assert log.append(Kind.CANCEL, {"why": "enough"}, after=2)
        return {"by": "driver"}

    monkeypatch.setattr(Steps, "take", take)
    RunDriver(workspace, run).advance()
    assert [event.kind for event in log.read()] == ["created", "claim", "cancel", "done"]
    assert fold(log.read()).results == {Step.STAGE: {"by": "driver"}}


def test_a_live_claim_is_respected(workspace: Workspace, run: RunId) -> None:
    log = EventLog(workspace.storage, run)
    claim(log, abroad())
    said: list[str] = []
    driver = RunDriver(workspace, run, notify=lambda progress: said.append(progress.status))
    driver.advance()
    assert said == ["waiting"]
    assert len(log.read()) == 2
