"""
How the command ended where it runs as ranks on all nodes: well when all have, else like the first
that failed. What ranks say that only miss a peer is no cause, and neither is a node's silence a
fault of the command.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rpac_ci.jobs import Keys
from rpac_ci.node.roll_call import RollCall
from rpac_ci.storage import Storage

AFTERSHOCK_S = 3.0  # peers of a rank that failed notice it within about a second


class RankEnds:
    """Main's knowledge of the ends of all nodes' ranks."""

    def __init__(self, storage: Storage, keys: Keys, nodes: int, roll_call: RollCall) -> None:
        """
        Args:
            storage: the run's store.
            keys: the run's keys.
            nodes: how many nodes have ranks.
            roll_call: which of them live.
        """
        self._storage, self._keys, self._nodes = storage, keys, nodes
        self._roll_call = roll_call
        self._noticed: float | None = None  # when the first failure was

    def look(self) -> dict[str, Any] | None:
        """
        How the command ended, or None while that is open.

        Returns:
            `code` and `log` of the first that failed by the store's clock, `lost`: the nodes that
            have not been heard of since.
        """
        ends = self._read()
        failed = [end for _, end in sorted(ends.values(), key=lambda end: end[0]) if end["code"]]
        if not failed:
            return {"code": 0, "lost": []} if len(ends) == self._nodes else None
        now = time.monotonic()
        self._noticed = self._noticed or now
        missing = [index for index in range(1, self._nodes) if index not in ends]
        lost = [index for index in self._roll_call.lost() if index in missing]
        silent = [index for index in missing if not self._heard(index)]
        if set(silent) - set(lost) or (missing and now - self._noticed < AFTERSHOCK_S):
            return None
        return {**failed[0], "lost": lost}

    def _heard(self, index: int) -> bool:
        return self._roll_call.heard_since(index, self._noticed or 0.0)

    def _read(self) -> Mapping[int, tuple[Any, dict[str, Any]]]:
        folder = self._keys.ended(0).rpartition("/")[0] + "/"
        written = {entry.key: entry.modified for entry in self._storage.list(folder)}
        ends = {}
        for index in range(self._nodes):
            key = self._keys.ended(index)
            if key in written and (end := self._storage.get_json(key)):
                ends[index] = (written[key], end)
        return ends
