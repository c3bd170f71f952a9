"""
Nodes as containers, on a network of their run (`containers.py` says what they may).

Containers and networks have names and labels of their run, so a crash between making one and
writing that down loses nothing, and two drivers cannot make it twice. The engine must run on this
machine and not rootless, since folders are mounted by their path and written by their owner. GPUs
are asked for as Docker documents it; that has not been tried on a machine that has some.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rpac_ci.clouds.interface import Leftover, Observation
from rpac_ci.clouds.local import containers, docker_engine, machine
from rpac_ci.clouds.local.containers import Node, Site
from rpac_ci.clouds.local.docker_engine import (
    Client,
    EngineSilentError,
    GoneError,
    TakenError,
    translated,
)
from rpac_ci.clouds.local.docker_handover import hand_over, node_of, site_of, store_folder
from rpac_ci.clouds.local.docker_objects import (
    DockerObjects,
    alien,
    folder_name,
    is_running,
    owner_of,
    side_by_side,
)
from rpac_ci.clouds.local.folders import RunFolders
from rpac_ci.errors import ProvisioningError
from rpac_ci.jobs import PROTOCOL, JobSpec, JobState

KILL_S = 10.0  # a killed container has ended by then
PATIENCE_S = 60.0  # an engine that is silent for longer is not waited for
_KILLED = 128 + signal.SIGKILL
_STATES = {
    "created": JobState.PENDING,
    "running": JobState.RUNNING,
    "paused": JobState.RUNNING,
    "restarting": JobState.RUNNING,
    "exited": JobState.FAILED,  # SUCCEEDED when its exit code says so
    "dead": JobState.FAILED,
}


class DockerNodes:
    """See `nodes.Nodes`."""

    kinds: tuple[str, ...] = ("container", "network")

    def __init__(
        self,
        folders: RunFolders,
        store_url: str,
        connect: Callable[[], Client] = docker_engine.connect,
    ) -> None:
        """
        Args:
            folders: of the runs.
            store_url: the store whose runs are ours; it must be a folder of this machine.
            connect: gives a client of the engine, or raises `EngineSilentError`.
        """
        self._folders = folders
        self._store_url = store_url
        self._owner = owner_of(store_url)
        self._connect = connect

    def prepare(self, spec: JobSpec) -> dict[str, Any]:
        """See that engine and image are there, and make the run's network."""
        store_folder(self._store_url)
        ours = self._ours()
        with translated("asking for the engine's version"):
            version = ours.client.version()["Version"]
        _check_image(ours.client, spec)
        self._make_network(ours, spec)
        return {"docker": version}

    def submit(self, spec: JobSpec, environment: dict[str, str]) -> dict[str, Any]:
        """Make and start, side by side, the containers that are not there yet."""
        ours = self._ours()
        there = {found["Names"][0][1:]: found["State"] for found in ours.containers(spec)}
        names = [_name(spec, index) for index in range(spec.nodes)]
        missing = [n for n, name in enumerate(names) if there.get(name, "created") == "created"]
        if missing:
            site = site_of(
                spec, folder=self._folders.run(spec), store_url=self._store_url,
                cache=Path(environment.get("RPAC_CACHE", "")), owner=self._owner,
            )  # fmt: skip
            self._make_network(ours, spec)
            hand_over(spec, site)
            nodes = [node_of(spec, index, self._folders, environment) for index in missing]
            side_by_side(lambda node: _start(ours, site, node), nodes)
        ids = {found["Names"][0][1:]: found["Id"] for found in ours.containers(spec)}
        return {"nodes": [{"index": n, "container": ids.get(name)} for n, name in enumerate(names)]}

    def observe(self, spec: JobSpec, submitted: dict[str, Any]) -> Observation:
        """Whether main's container runs, and how it ended; a silent engine is waited for."""
        try:
            found = self._ours().inspect(_name(spec, 0))
        except EngineSilentError as exc:
            return _SILENCE.observe(exc)
        _SILENCE.over()
        if found is None:
            return Observation(
                state=JobState.UNKNOWN, detail="there is no container of the main node"
            )
        return _observation(found["State"])

    def node_log(self, spec: JobSpec, index: int) -> str:
        """The end of what the container has printed, of which the engine keeps some MiB."""
        try:
            return self._ours().log(_name(spec, index))
        except EngineSilentError:
            return ""

    def stop(self, spec: JobSpec, *, grace_s: float) -> None:
        """Ask the containers' first processes to end, then kill the containers."""
        ours = self._ours()
        for number, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_S)):
            running = [found["Id"] for found in ours.containers(spec) if is_running(found)]
            if not running:
                return
            side_by_side(partial(ours.kill, number=number), running)
            deadline = time.monotonic() + limit_s
            while any(map(is_running, ours.containers(spec))) and time.monotonic() < deadline:
                time.sleep(0.05)

    def remove(self, spec: JobSpec) -> dict[str, int]:
        """Remove containers and network and count what remains."""
        try:
            ours = self._ours()
        except EngineSilentError:
            if self._folders.promise(self._folders.run(spec).name):
                raise
            return {"containers": 0, "networks": 0}  # it never came as far as to make one
        side_by_side(lambda found: ours.remove_container(found["Id"]), ours.containers(spec))
        side_by_side(lambda found: ours.remove_network(found["Id"]), ours.networks(spec))
        return {
            "containers": len(ours.containers(spec)),
            "networks": len(ours.networks(spec)),
        }

    def used_mib(self) -> dict[str, int]:
        """What the containers of each run hold now, as far as they can be seen."""
        used: dict[str, int] = {}
        with contextlib.suppress(EngineSilentError):
            ours = self._ours()
            for listed in filter(is_running, ours.containers()):
                found, where = ours.inspect(listed["Id"]), folder_name(listed)
                pid = found["State"]["Pid"] if found else 0
                used[where] = used.get(where, 0) + (machine.used_mib(pid) if pid else 0)
        return used

    def leftovers(self) -> list[Leftover]:
        """
        Containers and networks of any run of this store.

        Raises:
            EngineSilentError: they cannot be looked for, and a run has used the engine.
        """
        used = any(promise.runtime == "docker" for promise in self._folders.promises().values())
        if not (used or docker_engine.may_be_there()):
            return []
        try:
            return [left for left, _ in self._listed(self._ours())]
        except EngineSilentError:
            if used:
                raise
            return []

    def discard(self, leftover: Leftover) -> None:
        """Remove the container or the network."""
        ours = self._ours()
        remove = {"container": ours.remove_container, "network": ours.remove_network}
        for left, id_ in self._listed(ours):
            if left == leftover:
                remove[left.kind](id_)

    def _ours(self) -> DockerObjects:
        return DockerObjects(self._connect(), self._owner)

    def _listed(self, ours: DockerObjects) -> list[tuple[Leftover, str]]:
        """All of this store's, containers first: a network goes when nothing is on it."""
        found = [("container", c["Names"][0][1:], c) for c in ours.containers()]
        found += [("network", n["Name"], n) for n in ours.networks()]
        return [
            (Leftover(run=item["Labels"][containers.RUN], kind=kind, name=name), item["Id"])
            for kind, name, item in found
        ]

    def _make_network(self, ours: DockerObjects, spec: JobSpec) -> None:
        if ours.networks(spec):
            return
        request = containers.network(spec.run, str(spec.attempt), self._owner)
        try:
            with translated("making the run's network"):
                ours.client.create_network(**request)
        except TakenError:
            if not ours.networks(spec):
                raise alien(request["name"], "network") from None


def _name(spec: JobSpec, index: int) -> str:
    return containers.container_name(spec.run, str(spec.attempt), str(index))


def _start(ours: DockerObjects, site: Site, node: Node) -> None:
    """One container; by its name it is there once, whoever made it."""
    name = containers.container_name(site.run, site.attempt, node.index)
    request = containers.container(site, node)
    deadline = time.monotonic() + docker_engine.TIMEOUT_S
    while not (found := ours.inspect(name)):
        try:
            with translated(f"making node {node.index}'s container"):
                ours.client.create_container_from_config(request, name)
        except TakenError:  # a name is taken a moment before there is a container to be seen
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    if found["State"]["Status"] == "created":
        with translated(f"starting node {node.index}'s container"):
            ours.client.start(name)


def _check_image(client: Client, spec: JobSpec) -> None:
    """
    Raises:
        ProvisioningError: the image is not here, is another one, or speaks another protocol.
    """
    build = f"build it: rpac images build {spec.engine}"
    if not spec.image:
        raise ProvisioningError("the job names no image for its containers", hint=build)
    try:
        with translated(f"looking for the image {spec.image}"):
            found = client.inspect_image(spec.image)
    except GoneError:
        raise ProvisioningError(f"the image {spec.image} is not here", hint=build) from None
    if found["Id"] != spec.image:
        raise ProvisioningError(f"got the image {found['Id']}, expected {spec.image}", hint=build)
    speaks = (found["Config"].get("Labels") or {}).get(containers.PROTOCOL_LABEL, "unknown")
    if speaks != str(PROTOCOL):
        raise ProvisioningError(
            f"the image {spec.image} speaks protocol {speaks} of the node program, "
            f"this version of rpac {PROTOCOL}",
            hint=build,
        )


def _observation(state: dict[str, Any]) -> Observation:
    status, code = state["Status"], state["ExitCode"]
    found = _STATES.get(status, JobState.UNKNOWN)
    if found is not JobState.FAILED:
        return Observation(state=found, detail=f"the main node's container is {status}")
    if state["OOMKilled"] and code:
        detail = "the main node's container ran out of memory"
    elif code == _KILLED:
        detail = "the main node's container was killed (signal 9)"
    else:
        detail = f"the main node's container ended with exit code {code}"
    return Observation(state=found if code else JobState.SUCCEEDED, detail=detail)


class _Silence:
    """How long the engine has not answered, over all looks of this process."""

    def __init__(self) -> None:
        self._since: float | None = None

    def over(self) -> None:
        """It has answered."""
        self._since = None

    def observe(self, exc: EngineSilentError) -> Observation:
        """It has not: the job may go on all the same."""
        self._since = self._since or time.monotonic()
        waited = time.monotonic() - self._since
        state = JobState.PENDING if waited < PATIENCE_S else JobState.UNKNOWN
        return Observation(state=state, detail=exc.message)


_SILENCE = _Silence()
