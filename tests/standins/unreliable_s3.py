"""S3 for whole runs: an endpoint that other processes can use, failing again and again, or slow."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Sequence
from typing import ClassVar

from tests.standins.faulty_s3 import Fault, FaultyS3


class UnreliableS3(FaultyS3):
    """A `FaultyS3` that fails by a pattern, which starts anew with each `behave`."""

    # a store's URL tells apart the processes of two stores: tests that run side by side, each with
    # a server of its own, must not share it
    _buckets: ClassVar[itertools.count[int]] = itertools.count(1000 * os.getpid())

    def __init__(self) -> None:
        super().__init__()
        self.behave()

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._proxy.server_port}"

    def behave(
        self,
        *,
        writes: Sequence[Fault | None] = (),
        away: range = range(0),
        delay_s: float = 0.0,
    ) -> None:
        """
        Say how it fails from now on.

        Args:
            writes: what happens to writes, one after the other, again and again.
            away: numbers of the requests, from now on, that are answered with an error only.
            delay_s: how long every answer takes.
        """
        self._pattern = itertools.cycle(writes or [None])
        self._away = away
        self._delay_s = delay_s
        self._asked = itertools.count()
        self.spoiled = 0  # requests that did not get a plain answer

    def _next_fault(self, method: str) -> Fault | None:
        away = next(self._asked) in self._away
        fault = Fault.ERROR_500 if away else next(self._pattern) if method == "PUT" else None
        self.spoiled += fault is not None
        return fault

    def _ask_moto(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        threading.Event().wait(self._delay_s)
        return super()._ask_moto(method, path, headers, body)
