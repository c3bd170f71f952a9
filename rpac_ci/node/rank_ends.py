"""
How the command ended where it runs as ranks on all nodes: well when all have, else like the first
that failed. What ranks say that only miss a peer is no cause, and neither is a node's silence a
fault of the command.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rpac_ci.jobs import Keys
from rpac_ci.node.roll_call import RollCall
from rpac_ci.storage import Storage

AFTERSHOCK_S = 3.0  # peers of a rank that failed notice it within about a second; so do logs
_TAIL_BYTES = 8192


class RankEnds:
    """Main's knowledge of the ends of all nodes' ranks."""

    def __init__(
        self, storage: Storage, keys: Keys, nodes: int, roll_call: RollCall,
        *, aftershocks: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """
        Args:
            storage: the run's store.
            keys: the run's keys.
            nodes: how many nodes have ranks.
            roll_call: which of them live.
            aftershocks: what ranks say in the end that only miss a peer.
        """
        self._storage, self._keys, self._nodes = storage, keys, nodes
        self._roll_call = roll_call
        self._aftershocks = [text.encode() for text in aftershocks]
        self._noticed: float | None = None  # when the first failure was

    def look(self) -> dict[str, Any] | None:
        """
        How the command ended, or None while that is open.

        Returns:
            `code` and `log` of the first that failed by the store's clock, and not for want of
            another; `lost`: the nodes that have not been heard of since.
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
        if set(silent) - set(lost) or now - self._noticed < AFTERSHOCK_S:
            return None
        first = next((end for end in failed if not self._missed_a_peer(end)), failed[0])
        return {**first, "lost": lost}

    def _missed_a_peer(self, end: dict[str, Any]) -> bool:
        """Who waits for a peer may end before the peer itself has, so the order is not enough."""
        node, _, role = end["log"].partition("/")
        if not self._aftershocks or not node.isdigit():
            return False
        parts = self._storage.list(self._keys.log(int(node), role))[-2:]
        tail = b"".join(self._storage.get(part.key) or b"" for part in parts)[-_TAIL_BYTES:]
        return any(text in tail for text in self._aftershocks)

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
