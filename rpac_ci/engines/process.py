"""The process engine: a plain command on one node."""

from __future__ import annotations

from typing import Any

from rpac_ci.engines.interface import EngineDefaults, NodeContext


class ProcessEngine(EngineDefaults):
    """Nothing to start and nothing to wait for; see `engines.interface.Engine`."""

    multi_node = False

    def facts(self, node: NodeContext) -> dict[str, Any]:
        """Only the name."""
        return {"name": "process"}


ENGINE = ProcessEngine()
