"""The local cloud's plan: what one machine can serve, and the processes it will start."""

from __future__ import annotations

from typing import Any

from rpac_ci.clouds.interface import Capabilities
from rpac_ci.errors import PipelineError
from rpac_ci.jobs import PROTOCOL
from rpac_ci.pipeline import Definition, Pipeline, Target


class LocalPlanner:
    """Plans for process groups on one machine."""

    capabilities = Capabilities(runtimes=("process",), gpus=False, max_nodes=64)

    def render(self, definition: Definition, target: Target) -> list[dict[str, Any]]:
        """One folder and one process group for each node; see `Planner.render`."""
        can, need = self.capabilities, definition.resources
        if target.runtime not in can.runtimes:
            raise PipelineError(
                f"cloud=local has no runtime {target.runtime!r}",
                hint=f"runtimes: {', '.join(can.runtimes)}",
            )
        if need.gpus and not can.gpus:
            raise PipelineError("cloud=local offers no GPUs in this version", hint="gpus=0")
        if need.nodes > can.max_nodes:
            raise PipelineError(
                f"{need.nodes} nodes on one machine", hint=f"at most {can.max_nodes}"
            )
        return [
            {
                "step": "provision",
                "nodes": need.nodes,
                "cpus": need.cpus,
                "memory_mib": need.memory,
                "scratch": "${site.local.scratch}/${run}-${attempt}/node-${index}",
            },
            {
                "step": "submit",
                "argv": ["${site.local.python}", "-m", "rpac_ci.node"],
                "environment": {
                    "RPAC_RUN": "${run}",
                    "RPAC_ATTEMPT": "${attempt}",
                    "RPAC_NODES": str(need.nodes),
                    "RPAC_NODE_INDEX": "${index}",
                    "RPAC_STORE": "${site.store}",
                    "RPAC_PROTOCOL": str(PROTOCOL),
                },
            },
            {"step": "release", "scratch": "${site.local.scratch}/${run}-${attempt}"},
        ]

    def price(self, pipeline: Pipeline) -> tuple[float, float] | None:
        """Nothing: the machine is there anyway."""
        return 0.0, 0.0


PLANNER = LocalPlanner()
