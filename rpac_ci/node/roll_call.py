"""Which of the other nodes are alive, by their heartbeats in the store and main's own clock."""

from __future__ import annotations

import time
from typing import Any

from rpac_ci.jobs import Keys
from rpac_ci.storage import Storage


class RollCall:
    """Main's list of the nodes that follow it. Only changes count: no two clocks are compared."""

    def __init__(self, storage: Storage, keys: Keys, nodes: int, *, limit_s: float) -> None:
        """
        Args:
            storage: the run's store.
            keys: the run's keys.
            nodes: how many there are, main included.
            limit_s: a node that is silent for longer is lost.
        """
        self._storage = storage
        self._folder = keys.beat(0).rpartition("/")[0] + "/"
        self._index = {keys.beat(index): index for index in range(1, nodes)}
        self._limit_s = limit_s
        now = time.monotonic()
        self._heard = dict.fromkeys(self._index.values(), now)
        self._beats: dict[int, Any] = {}
        self._looked = now - limit_s

    def look(self) -> None:
        """Read the heartbeats, if it is time for that."""
        now = time.monotonic()
        if not self._index or now - self._looked < self._limit_s / 10:
            return
        self._looked = now
        for entry in self._storage.list(self._folder):
            index = self._index.get(entry.key)
            if index is not None and self._beats.get(index) != entry.modified:
                self._beats[index] = entry.modified
                self._heard[index] = now

    def lost(self) -> list[int]:
        """Nodes that have been silent for too long, as of the last look."""
        return sorted(i for i, at in self._heard.items() if self._looked - at > self._limit_s)

    def heard_since(self, index: int, moment: float) -> bool:
        """Whether a node has given a sign of life after a moment of main's clock."""
        return self._heard[index] > moment
