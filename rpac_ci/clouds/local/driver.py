"""
The local cloud at work: N nodes on this machine, as processes or as containers.

Prerequisites: Linux (macOS as far as it goes: one address for all nodes, no subreaper); for
`runtime=docker` a Docker engine on this machine that the user may talk to, and the engine's image.
GPUs are those that `nvidia-smi` lists; each is promised to one run at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpac_ci.clouds.interface import Leftover, Observation, Provisioned
from rpac_ci.clouds.local import folders, machine
from rpac_ci.clouds.local.docker_nodes import DockerNodes
from rpac_ci.clouds.local.folders import Promise, RunFolders
from rpac_ci.clouds.local.nodes import Nodes
from rpac_ci.clouds.local.process_nodes import ProcessNodes
from rpac_ci.errors import CapacityError, CloudError
from rpac_ci.jobs import JobSpec

if TYPE_CHECKING:
    from rpac_ci.experiment_model import Resources
    from rpac_ci.pipeline import Target
    from rpac_ci.workspace import Place


class LocalCloud:
    """Nodes on this machine; see `clouds.interface.Cloud`."""

    def __init__(self, scratch: Path, store_url: str) -> None:
        """
        Args:
            scratch: folder for the nodes' own folders.
            store_url: the store whose runs are ours; tells apart the nodes of two stores.
        """
        self._folders = RunFolders(scratch)
        self._runtimes: Mapping[str, Nodes] = {
            "process": ProcessNodes(self._folders, store_url),
            "docker": DockerNodes(self._folders, store_url),
        }

    @property
    def image_repository(self) -> None:
        """The nodes' Docker engine is the one that makes the images."""
        return None

    def room(self, resources: Resources, target: Target) -> int:
        """As many as there are processors and free memory for."""
        cores = machine.cores() // (resources.nodes * resources.cpus)
        return max(1, min(cores, machine.free_mib() // (resources.nodes * resources.memory)))

    def provision(self, spec: JobSpec) -> Provisioned:
        """Memory and GPUs are never promised twice, processors may be shared."""
        nodes = self._nodes(spec)
        with self._folders.alone():
            others = self._folders.promises()
            own = others.pop(self._folders.run(spec).name, None)
            self._check_memory(spec, others)
            gpus = own.gpus if own else _free_gpus(spec, others)
            facts = nodes.prepare(spec)
            promise = Promise(
                runtime=spec.runtime, memory_mib=spec.nodes * spec.memory_mib, gpus=gpus
            )
            try:
                self._folders.make(spec, promise)
            except CloudError:
                nodes.remove(spec)
                raise
        cores = machine.cores()
        return Provisioned(facts={"cores": cores, **facts}, remarks=_remarks(spec, cores))

    def submit(self, spec: JobSpec, environment: dict[str, str]) -> dict[str, Any]:
        """Start the nodes that are not there yet."""
        return self._nodes(spec).submit(spec, environment)

    def observe(self, spec: JobSpec, submitted: dict[str, Any]) -> Observation:
        """Whether main is alive; how the job ended is in its result."""
        return self._nodes(spec).observe(spec, submitted)

    def node_log(self, spec: JobSpec, index: int) -> str:
        """The node program's own output."""
        return self._nodes(spec).node_log(spec, index)

    def stop(self, spec: JobSpec, *, grace_s: float) -> None:
        """Ask the nodes to end, then kill whatever is left of them."""
        self._nodes(spec).stop(spec, grace_s=grace_s)

    def release(self, spec: JobSpec) -> dict[str, Any]:
        """Remove nodes and folders, and count what remains."""
        folder = self._folders.run(spec)
        left = self._nodes(spec).remove(spec)
        folders.remove(folder)
        left["folders"] = int(folder.exists())
        if any(left.values()):
            raise CloudError(f"{spec.run} still has {left} on this machine")
        return {"left": left, "cost_usd": 0.0}

    def leftovers(self) -> list[Leftover]:
        """Processes, containers, networks and folders of any run of this store, in that order."""
        found = [left for nodes in self._runtimes.values() for left in nodes.leftovers()]
        found += (
            Leftover(run=name.rpartition("-")[0], kind="folder", name=name)
            for name in self._folders.names()
        )
        return found

    def idle(self, needed: Iterable[Target]) -> list[Leftover]:
        """Nothing is kept for later runs."""
        return []

    def discard(self, leftover: Leftover) -> None:
        """Remove one of them."""
        if leftover.kind == "folder":
            folders.remove(self._folders.scratch / Path(leftover.name).name)
        for nodes in self._runtimes.values():
            if leftover.kind in nodes.kinds:
                nodes.discard(leftover)

    def _nodes(self, spec: JobSpec) -> Nodes:
        if spec.runtime not in self._runtimes:
            raise CloudError(
                f"cloud=local has no runtime {spec.runtime!r}",
                hint=f"runtimes: {', '.join(self._runtimes)}",
            )
        return self._runtimes[spec.runtime]

    def _check_memory(self, spec: JobSpec, others: Mapping[str, Promise]) -> None:
        """
        Raises:
            CapacityError: what is free is promised to other runs, which do not use it yet.
        """
        used: dict[str, int] = {}
        for runtime in {promise.runtime for promise in others.values()} & set(self._runtimes):
            used |= self._runtimes[runtime].used_mib()
        promised = sum(
            max(0, promise.memory_mib - used.get(name, 0)) for name, promise in others.items()
        )
        available = machine.free_mib() - promised
        if spec.nodes * spec.memory_mib > available:
            raise CapacityError(
                f"{spec.nodes} × {spec.memory_mib} MiB of memory are asked for and "
                f"{max(0, available)} MiB are free and not promised to other runs",
                hint="ask for less, for example memory=1GiB; rpac sweep names what is left over",
            )


def _free_gpus(spec: JobSpec, others: Mapping[str, Promise]) -> tuple[str, ...]:
    """
    GPUs for all nodes, none of them promised to another run.

    Raises:
        CapacityError: there are not enough.
    """
    wanted = spec.nodes * spec.gpus
    if not wanted:
        return ()
    there = machine.gpus()
    taken = {gpu for promise in others.values() for gpu in promise.gpus}
    free = [gpu for gpu in there if gpu not in taken]
    if wanted > len(free):
        raise CapacityError(
            f"{spec.nodes} × {spec.gpus} GPUs are asked for and {len(free)} of the {len(there)} "
            "that nvidia-smi lists on this machine are free",
            hint="ask for fewer, for example gpus=0; rpac status names the runs that have them",
        )
    return tuple(free[:wanted])


def _remarks(spec: JobSpec, cores: int) -> tuple[str, ...]:
    wanted = spec.nodes * spec.cpus
    if wanted <= cores:
        return ()
    return (
        f"{wanted} cpus are asked for and this machine has {cores}: "
        "timings say nothing about another machine",
    )


def connect(workspace: Place) -> LocalCloud:
    """The local cloud for the runs of a workspace."""
    return LocalCloud(workspace.scratch, workspace.storage.url)
