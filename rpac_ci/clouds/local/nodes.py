"""
What the two runtimes of the local cloud have in common: one interface.

A runtime looks after the nodes alone; `driver.LocalCloud` promises memory, keeps the runs' folders
and proves a release.
"""

from __future__ import annotations

from typing import Any, Protocol

from rpac_ci.clouds.interface import Leftover, Observation
from rpac_ci.jobs import JobSpec


class Nodes(Protocol):
    """Nodes of one kind; the methods promise what those of `clouds.interface.Cloud` do."""

    kinds: tuple[str, ...]  # of the leftovers that are its own

    def prepare(self, spec: JobSpec) -> dict[str, Any]:
        """
        Make ready what the nodes need, or nothing.

        Returns:
            Facts for the record.

        Raises:
            CloudError: they cannot be started here; the message says why.
        """
        ...

    def submit(self, spec: JobSpec, environment: dict[str, str]) -> dict[str, Any]:
        """See `Cloud.submit`."""
        ...

    def observe(self, spec: JobSpec, submitted: dict[str, Any]) -> Observation:
        """See `Cloud.observe`."""
        ...

    def node_log(self, spec: JobSpec, index: int) -> str:
        """See `Cloud.node_log`."""
        ...

    def stop(self, spec: JobSpec, *, grace_s: float) -> None:
        """See `Cloud.stop`."""
        ...

    def remove(self, spec: JobSpec) -> dict[str, int]:
        """End and remove all of a run's nodes; counts what is left of each kind afterwards."""
        ...

    def used_mib(self) -> dict[str, int]:
        """Memory in use now, by the name of the run's folder."""
        ...

    def leftovers(self) -> list[Leftover]:
        """See `Cloud.leftovers`; without the folders."""
        ...

    def discard(self, leftover: Leftover) -> None:
        """See `Cloud.discard`."""
        ...
