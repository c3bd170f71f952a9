"""The process engine: a plain command on one node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpac_ci.engines.interface import NodeContext, Role


class ProcessEngine:
    """Nothing to start and nothing to wait for; see `engines.interface.Engine`."""

    multi_node = False
    packages: tuple[str, ...] = ()

    def new_secret(self) -> dict[str, str]:
        """None is needed."""
        return {}

    def main_roles(self, node: NodeContext) -> list[Role]:
        """None."""
        return []

    def announce(self, node: NodeContext) -> dict[str, Any] | None:
        """Ready at once."""
        return {}

    def worker_roles(self, node: NodeContext, announced: Mapping[str, Any]) -> list[Role]:
        """None."""
        return []

    def ready(self, node: NodeContext) -> bool:
        """Always."""
        return True

    def workers(self, node: NodeContext) -> Mapping[str, Any]:
        """There are none."""
        return {}

    def command_environment(
        self, node: NodeContext, announced: Mapping[str, Any]
    ) -> dict[str, str]:
        """Nothing beyond what every command gets."""
        return {}

    def facts(self, node: NodeContext) -> dict[str, Any]:
        """Only the name."""
        return {"name": "process"}


ENGINE = ProcessEngine()
