"""The local cloud's plan: what one machine can serve, and the nodes that it will start."""

from __future__ import annotations

from typing import Any

from rpac_ci.clouds.interface import Capabilities
from rpac_ci.clouds.local import containers
from rpac_ci.errors import PipelineError
from rpac_ci.jobs import PROTOCOL
from rpac_ci.pipeline import Definition, EnvironmentKind, Pipeline, Target, Wanted
from rpac_ci.site_config import SiteConfig

_SCRATCH = "${site.local.scratch}/${run}-${attempt}"


class LocalPlanner:
    """Plans for processes and containers on one machine; needs no engine of either."""

    capabilities = Capabilities(runtimes=("process", "docker"), gpus=True, max_nodes=64)

    def settle(self, definition: Definition, wanted: Wanted, site: SiteConfig) -> Target:
        """Nothing to choose but the runtime; what else is asked for, the mapping has refused."""
        runtime = wanted.runtime or "process"
        if runtime not in self.capabilities.runtimes:
            raise PipelineError(
                f"cloud=local has no runtime {runtime!r}",
                hint=f"runtimes: {', '.join(self.capabilities.runtimes)}",
            )
        if definition.environment.kind is EnvironmentKind.IMAGE and runtime != "docker":
            raise PipelineError(
                f"environment.image needs containers, and runtime={runtime} has none",
                hint="runtime=docker",
            )
        if definition.resources.nodes > self.capabilities.max_nodes:
            raise PipelineError(
                f"{definition.resources.nodes} nodes on one machine",
                hint=f"at most {self.capabilities.max_nodes}",
            )
        return Target(cloud="local", runtime=runtime)

    def render(self, definition: Definition, target: Target) -> list[dict[str, Any]]:
        """One folder, and one process group or container, for each node; see `Planner.render`."""
        docker = target.runtime == "docker"
        start = _containers(definition) if docker else _processes(definition)
        release: dict[str, Any] = {"step": "release", "scratch": _SCRATCH}
        if docker:
            release["network"] = containers.run_name("${run}", "${attempt}")
        return [_machines(definition, docker=docker), start, release]

    def price(self, pipeline: Pipeline) -> tuple[float, float] | None:
        """Nothing: the machine is there anyway."""
        return 0.0, 0.0


def _machines(definition: Definition, *, docker: bool) -> dict[str, Any]:
    need = definition.resources
    request: dict[str, Any] = {
        "step": "provision",
        "nodes": need.nodes,
        "cpus": need.cpus,
        "memory_mib": need.memory,
        "scratch": f"{_SCRATCH}/node-${{index}}",
    }
    if need.gpus:
        request["gpus"] = need.gpus
    if docker:
        request["network"] = containers.network("${run}", "${attempt}", "${site.store.id}")
    return request


def _processes(definition: Definition) -> dict[str, Any]:
    variables = {**_contract(definition), "RPAC_NODE_INDEX": "${index}"}
    if definition.resources.gpus:
        variables["CUDA_VISIBLE_DEVICES"] = "${site.local.gpus}"
    return {
        "step": "submit",
        "argv": ["${site.local.python}", "-m", "rpac_ci.node"],
        "environment": {**variables, "RPAC_STORE": "${site.store}"},
    }


def _containers(definition: Definition) -> dict[str, Any]:
    need = definition.resources
    site = containers.Site(
        run="${run}",
        attempt="${attempt}",
        owner="${site.store.id}",
        image=definition.environment.image or "${site.image}",
        user="${site.user}",
        scratch=_SCRATCH,
        store="${site.store}",
        cache="${site.cache}",
        source="${source}",
        inputs=[f"${{data.{name}}}" for name in sorted(definition.data)],
    )
    node = containers.Node(
        index="${index}",
        cpus=need.cpus,
        memory_mib=need.memory,
        gpus=["${site.local.gpus}"] if need.gpus else (),
        environment=_contract(definition),
    )
    return {
        "step": "submit",
        "name": containers.container_name("${run}", "${attempt}", "${index}"),
        "container": containers.container(site, node),
    }


def _contract(definition: Definition) -> dict[str, str]:
    return {
        "RPAC_RUN": "${run}",
        "RPAC_ATTEMPT": "${attempt}",
        "RPAC_NODES": str(definition.resources.nodes),
        "RPAC_PROTOCOL": str(PROTOCOL),
    }


PLANNER = LocalPlanner()
