"""
What Azure says about pools and their nodes, asked for all runs of this process together.

A list of the repository's pools is one request. Nodes are listed pool by pool; their *counts* by
state are one request for all pools of the account. Microsoft says that counts may come behind, so
nothing is decided by them: they only tell when it is worth the while to look closely.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rpac_ci.clouds.azure.clients import Azure
from rpac_ci.clouds.azure.errors import translated
from rpac_ci.clouds.board import Board
from rpac_ci.errors import CredentialsError, SignInError

if TYPE_CHECKING:
    from azure.batch.models import BatchPool

TRUST_S = 60.0  # for so long counts alone say that a run goes on
BUSY, FREE, BROKEN = (
    ("running",), ("idle",), ("unusable", "startTaskFailed", "preempted", "offline", "deallocated"),
)  # fmt: skip


class PoolBoard(Board["BatchPool"]):
    """The pools of a repository: state, allocation, and what a resize has met."""

    def __init__(self, azure: Azure) -> None:
        prefix = f"{azure.account.name}-"

        def ask(_: frozenset[str]) -> dict[str, BatchPool]:
            with translated("looking at the pools"):
                found = azure.batch.list_pools(
                    filter=f"startswith(id,'{prefix}')",
                    select=["id", "state", "allocationState", "resizeErrors"],
                )
                return {pool.id: pool for pool in found}

        super().__init__(ask)


class NodeBoard:
    """How many nodes of each pool are in which state, about."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self._board = Board(self._ask)
        self._noting = threading.Lock()
        self._at_work_since: dict[str, float] = {}

    def are_starting(self, pool: str, wanted: int) -> bool:
        """Whether some of the nodes are on their way still, and all others well."""
        counts = self._board.look(pool)
        if counts is None or counts["total"] < wanted:
            return False
        ready = sum(counts[state] for state in (*BUSY, *FREE))
        return ready < counts["total"] and not any(counts[state] for state in BROKEN)

    def are_at_work(self, pool: str) -> bool:
        """Whether a task runs on one of them; now and then a close look is asked for instead."""
        counts, now = self._board.look(pool), time.monotonic()
        busy = counts is not None and any(counts[state] for state in BUSY)
        with self._noting:
            since = self._at_work_since.setdefault(pool, now)
            if not busy or now - since > TRUST_S:
                del self._at_work_since[pool]
                return False
        return True

    def forget(self, pool: str) -> None:
        """Nobody watches this pool any more."""
        self._board.forget(pool)
        with self._noting:
            self._at_work_since.pop(pool, None)

    def _ask(self, _: frozenset[str]) -> dict[str, Mapping[str, int]]:
        try:
            with translated("counting nodes"):
                # the service has no filter for more than one pool
                return {
                    pool["poolId"]: _sums(pool.get("dedicated"), pool.get("lowPriority"))
                    for pool in self._azure.listed("/nodecounts")
                }
        except SignInError:
            raise
        except CredentialsError:  # who may not count looks closely each time
            return {}


def _sums(*kinds: Mapping[str, int] | None) -> dict[str, int]:
    states = ("total", *BUSY, *FREE, *BROKEN)
    return {state: sum(kind.get(state, 0) for kind in kinds if kind) for state in states}
