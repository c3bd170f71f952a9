"""
N nodes that know only an object store agree on who is main and who takes part.

Create-if-absent elects: the first to create `main.json` is main, the first to create
`nodes/<index>.json` is that node. A second process under the same name, for example one that a
provider started again after a recovery, finds another nonce there and must go.
"""

from __future__ import annotations

from typing import Any

from rpac_ci.jobs import Keys
from rpac_ci.storage import Storage


class StrayNodeError(Exception):
    """Another process already is this node."""


def elect(storage: Storage, keys: Keys, *, nonce: str, index: int | None) -> bool:
    """
    Whether this process is main.

    Args:
        storage: the run's store.
        keys: the run's keys.
        nonce: this process's own random word.
        index: the provider's hint; with hints only node 0 stands for election.

    Raises:
        StrayNodeError: node 0 is taken by another process.
    """
    if index not in (None, 0):
        return False
    won = storage.create_json(keys.main, {"nonce": nonce})
    if not won and index == 0:
        raise StrayNodeError("node 0 is another process")
    return won


def register(
    storage: Storage,
    keys: Keys,
    *,
    nonce: str,
    index: int | None,
    facts: dict[str, Any],
    nodes: int,
) -> int:
    """
    Take a place among the nodes.

    Returns:
        The node's index: the hint, or the first that is free.

    Raises:
        StrayNodeError: the place, or every place, is taken.
    """
    # without hints main is whoever was elected, and it takes place 0 itself
    for place in [index] if index is not None else range(1, nodes):
        if storage.create_json(keys.node(place), {**facts, "index": place, "nonce": nonce}):
            return place
    raise StrayNodeError(f"node {'?' if index is None else index} is another process")


def registered(storage: Storage, keys: Keys, nodes: int) -> list[dict[str, Any]] | None:
    """All registrations in order of their index, or None while some are missing."""
    found = [storage.get_json(keys.node(index)) for index in range(nodes)]
    return None if None in found else found
