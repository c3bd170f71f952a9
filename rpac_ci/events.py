"""
The event log of a run: numbered objects made by create-if-absent, in `control/<run>/events/`.

Only drivers append, always at last-read + 1; a reader refuses gaps, and who goes on from a log that
it has read asks for what is new. What a driver is about to do to a provider it announces by a
claim; a claim may be superseded once its lease has run out by the store's clock, or at once when
its driver was a process of this machine and is gone.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from rpac_ci import processes
from rpac_ci.canonical import Json, canonical_json
from rpac_ci.errors import StorageError
from rpac_ci.jobs import Keys
from rpac_ci.storage import Storage

LEASE_S = 60.0


class Kind(StrEnum):
    """What an event says."""

    CREATED = "created"
    CLAIM = "claim"
    DONE = "done"
    FAILED = "failed"
    CANCEL = "cancel"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact about a run; `at` is the writer's clock (UTC) and orders nothing."""

    number: int
    kind: Kind
    at: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The process that moves a run: a nonce, and enough to see whether it still lives."""

    nonce: str
    host: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> Driver:
        """This process."""
        pid = os.getpid()
        return cls(
            nonce=secrets.token_hex(8), host=processes.host(), pid=pid,
            started=processes.started(pid) or 0.0,
        )  # fmt: skip

    @classmethod
    def elsewhere(cls) -> Driver:
        """
        This process where ids of processes mean nothing, such as copies of one virtual machine:
        whether it still lives, only its lease says.
        """
        nonce = secrets.token_hex(8)
        return cls(nonce=nonce, host=f"nowhere/{nonce}", pid=0, started=0.0)

    def to_json(self) -> dict[str, Json]:
        """As plain values."""
        return {"nonce": self.nonce, "host": self.host, "pid": self.pid, "started": self.started}


def is_gone(claimant: dict[str, Any]) -> bool:
    """Whether a driver was a process of this machine and has ended; False when not known."""
    if claimant.get("host") != processes.host():
        return False
    return bool(processes.started(claimant["pid"]) != claimant["started"])


class EventLog:
    """The events of one run."""

    def __init__(self, storage: Storage, run: str) -> None:
        self._storage = storage
        self._keys = Keys(run)
        self._folder = f"{self._keys.control}events/"
        self._events: list[Event] = []
        self._is_ours = False  # the last event, and nothing was asked for since

    @property
    def run(self) -> str:
        """Whose events these are."""
        return self._keys.run

    @property
    def known(self) -> list[Event]:
        """Events that were read or written here so far."""
        return list(self._events)

    def read(self) -> list[Event]:
        """
        All events in order; those read before are not read again.

        Raises:
            StorageError: an event is missing between others.
        """
        names = self._names()
        if names is None:
            names = self._names()  # a listing may miss what is added meanwhile
        if names is None:
            raise StorageError(
                f"the event log of {self._keys.run} has gaps or foreign files",
                hint="something outside rpac wrote to the store; nothing was done",
            )
        self._is_ours = False
        missing = range(len(self._events) + 1, len(names) + 1)
        values = self._storage.get_all_json([self._key(number) for number in missing])
        for number, value in zip(missing, values, strict=True):
            if value is None:
                raise StorageError(f"event {number} of {self._keys.run} has vanished")
            self._events.append(self._parse(number, value))
        return list(self._events)

    def follow(self) -> list[Event]:
        """
        All events in order, as far as is needed to go on from here.

        What others have added is asked for by its number, which costs a tenth of a listing. Right
        behind an event of our own nothing is asked for: whoever goes on appends the next one, and
        learns then whether somebody else was first.

        Raises:
            StorageError: see `read`.
        """
        if not self._events:
            return self.read()
        if self._is_ours:
            self._is_ours = False
            return self.known
        number = len(self._events) + 1
        while (value := self._storage.get_json(self._key(number))) is not None:
            self._events.append(self._parse(number, value))
            number += 1
        return self.known

    def _names(self) -> list[str] | None:
        """The events' names when they are numbered without a gap."""
        names = sorted(self._storage.names(self._folder))
        return names if names == [f"{n:08d}.json" for n in range(1, len(names) + 1)] else None

    def _parse(self, number: int, value: Any) -> Event:
        try:
            kind, at, body = Kind(value["kind"]), value["at"], value["body"]
            datetime.fromisoformat(at)
        except (KeyError, TypeError, ValueError) as exc:
            raise StorageError(
                f"event {number} of {self._keys.run} is not one that this version knows",
                hint="a newer rpac may have written it",
            ) from exc
        return Event(number=number, kind=kind, at=at, body=body)

    def append(self, kind: Kind, body: dict[str, Any], *, after: int) -> bool:
        """
        Add an event as number `after + 1`.

        Returns:
            False when the number is taken: someone else was first, so read and decide again.
        """
        value: dict[str, Json] = {
            "kind": kind.value,
            "at": timestamp(),
            "body": body,
            "nonce": secrets.token_hex(8),
        }
        written = canonical_json(value)
        self._is_ours = False
        if not self._storage.create(self._key(after + 1), written):
            return False
        if after == len(self._events):  # what is known need not be read
            self._events.append(self._parse(after + 1, json.loads(written)))
            self._is_ours = True
        return True

    def _key(self, number: int) -> str:
        return f"{self._folder}{number:08d}.json"

    def lease_is_over(self, claim: Event) -> bool:
        """Whether nobody holds the claim any more."""
        driver = claim.body["driver"]
        if is_gone(driver):
            return True
        age = self._age_s(self._key(claim.number), self._lease(driver["nonce"]))
        return bool(age > claim.body["lease_s"])

    def age_s(self, event: Event) -> float:
        """How long ago an event was written, in seconds of the store's clock."""
        return self._age_s(self._key(event.number))

    def _age_s(self, *keys: str) -> float:
        written = [entry.modified for key in keys if (entry := self._storage.head(key))]
        now = self._storage.now(f"{self._keys.control}clock")
        return (now - max(written)).total_seconds() if written else float("inf")

    @contextmanager
    def lease(self, driver: Driver, lease_s: float = LEASE_S) -> Iterator[None]:
        """Keep our claims alive while a step takes its time."""
        stop = threading.Event()

        def renew() -> None:
            while not stop.wait(lease_s / 4):
                try:
                    self._storage.put(self._lease(driver.nonce), b"")
                except StorageError:
                    continue  # the next renewal may succeed; the lease says how long there is

        thread = threading.Thread(target=renew, daemon=True, name="lease")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _lease(self, nonce: str) -> str:
        return f"{self._keys.control}leases/{nonce}"


def timestamp(moment: datetime | None = None) -> str:
    """UTC with milliseconds, `2026-01-02T03:04:05.678Z`."""
    moment = moment or datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
