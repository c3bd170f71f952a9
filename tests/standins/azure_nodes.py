"""Nodes of Azure Batch that are none: a task is over once what it would leave is in the store."""

from __future__ import annotations

import threading

from rpac_ci.storage import Storage
from tests.standins.aws_nodes import Nodes
from tests.standins.azure.tasks import Order


class NoNodes:
    """A runner of tasks that runs nothing."""

    def __init__(self, storage: Storage) -> None:
        """
        Args:
            storage: the runs' store.
        """
        self._nodes = Nodes(storage)

    def prepare(self, image: str) -> None:
        """Nothing is to be had."""

    def start(self, order: Order) -> _Written:
        """Write what a node leaves, meanwhile."""
        return _Written(self._nodes, order.environment["RPAC_RUN"])


class _Written:
    def __init__(self, nodes: Nodes, run: str) -> None:
        self._writing = threading.Thread(target=nodes.end, args=[run], daemon=True)
        self._writing.start()

    def poll(self) -> int | None:
        return None if self._writing.is_alive() else 0

    def kill(self) -> None:
        self._writing.join()

    def output(self, name: str) -> bytes:
        return b"rpac node: $ python main.py\n" if name == "stderr.txt" else b""
