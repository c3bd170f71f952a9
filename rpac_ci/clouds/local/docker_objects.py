"""
Containers and networks of the runs of one store: found by their labels, removed without a fuss.

What is gone already, or is being removed by somebody else, is no error here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rpac_ci.clouds.local import containers
from rpac_ci.clouds.local.docker_engine import Client, GoneError, TakenError, translated
from rpac_ci.errors import ProvisioningError
from rpac_ci.jobs import JobSpec

LOG_LINES = 10_000
_AT_ONCE = 16
T = TypeVar("T")


def owner_of(store_url: str) -> str:
    """What labels say of a store: enough to tell two apart, and no path."""
    return hashlib.sha256(store_url.encode()).hexdigest()[:16]


def side_by_side(work: Callable[[T], object], items: Iterable[T]) -> None:
    """All of the work, also where a part of it fails; then the first failure."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(work, item) for item in items]:
            done.result()


class DockerObjects:
    """The engine's objects that are a store's own."""

    def __init__(self, client: Client, owner: str) -> None:
        """
        Args:
            client: of the engine.
            owner: the store's word in labels.
        """
        self.client = client
        self._owner = owner

    def containers(self, spec: JobSpec | None = None) -> list[dict[str, Any]]:
        """Containers of one attempt of a run, or of all runs, by name; also those that ended."""
        with translated("looking for containers"):
            found = self.client.containers(all=True, filters={"label": self._labels(spec)})
        return sorted(found, key=lambda c: str(c["Names"]))

    def networks(self, spec: JobSpec | None = None) -> list[dict[str, Any]]:
        """Networks of one attempt of a run, or of all runs."""
        with translated("looking for networks"):
            return self.client.networks(filters={"label": self._labels(spec)})

    def inspect(self, name: str) -> dict[str, Any] | None:
        """
        One container; None when there is none.

        Raises:
            ProvisioningError: it belongs to somebody else.
        """
        try:
            with translated(f"looking at the container {name}"):
                found = self.client.inspect_container(name)
        except GoneError:
            return None
        if found["Config"]["Labels"].get(containers.OWNER) != self._owner:
            raise alien(name, "container")
        return found

    def log(self, name: str) -> str:
        """The last lines that a container has printed; empty when there is none."""
        try:
            with translated("reading a node's log"):
                return self.client.logs(name, tail=LOG_LINES).decode("utf-8", "replace")
        except (GoneError, TakenError):
            return ""

    def kill(self, container: str, number: int) -> None:
        """Send a signal to the first process of a container."""
        try:
            with translated("asking a container to end"):
                self.client.kill(container, number)
        except (GoneError, TakenError):
            return

    def remove_container(self, container: str) -> None:
        """Kill and remove a container, and its unnamed volumes."""
        try:
            with translated("removing a container"):
                self.client.remove_container(container, v=True, force=True)
        except (GoneError, TakenError):
            return

    def remove_network(self, network: str) -> None:
        """Remove a network that nothing is on any more."""
        try:
            with translated("removing a network"):
                self.client.remove_network(network)
        except (GoneError, TakenError):
            return

    def _labels(self, spec: JobSpec | None) -> list[str]:
        labels = {containers.OWNER: self._owner}
        if spec is not None:
            labels |= containers.labels(spec.run, str(spec.attempt), self._owner)
        return [f"{name}={value}" for name, value in labels.items()]


def is_running(found: dict[str, Any]) -> bool:
    """Whether a listed container has processes."""
    return found["State"] in ("running", "paused", "restarting")


def folder_name(found: dict[str, Any]) -> str:
    """Name of the run's folder that a listed container or network belongs to."""
    labels = found["Labels"]
    return f"{labels[containers.RUN]}-{labels[containers.ATTEMPT]}"


def alien(name: str, kind: str) -> ProvisioningError:
    """What to say when somebody else has taken a name."""
    return ProvisioningError(
        f"there is a {kind} {name} that is not ours", hint=f"docker {kind} rm {name}, if you may"
    )
