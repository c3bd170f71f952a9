"""
What every cloud promises, in two halves.

A `Planner` is pure: it says what the cloud can do and renders the provider's requests in symbolic
form, for the pipeline. A `Cloud` acts. Each of its operations

- belongs to one (run, attempt), whose names and tags find again what was made before a crash;
- may be called twice with the effect of once, and by another process than the first;
- returns soon: it never waits for a job to end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from rpac_ci.experiment_model import Resources
from rpac_ci.jobs import JobSpec, JobState
from rpac_ci.pipeline import Definition, Pipeline, Target, Wanted
from rpac_ci.site_config import SiteConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a cloud can serve; more is refused while planning, before anything costs money."""

    runtimes: tuple[str, ...]
    gpus: bool
    max_nodes: int
    poll_s: float = 0.25  # between two looks at a run, once it has gone on for a while
    queue_s: float = 0.0  # longest wait for machines behind the submit


class Planner(Protocol):
    """The pure half of a cloud."""

    capabilities: Capabilities

    def settle(self, definition: Definition, wanted: Wanted, site: SiteConfig) -> Target:
        """
        Decide what was left open: runtime, region, machine, mode.

        Raises:
            PipelineError: the cloud cannot serve the definition, or has no such choice; said
                before anything costs money.
        """
        ...

    def render(self, definition: Definition, target: Target) -> list[dict[str, Any]]:
        """
        The provider's requests, one per step, in symbolic form: `${site.…}` stands for every
        value of an account or machine.
        """
        ...

    def price(self, pipeline: Pipeline) -> tuple[float, float] | None:
        """What a run costs at least and at most, in USD; None where no price is known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the provider says about a job right now."""

    state: JobState
    detail: str = ""
    waiting: bool = False  # for machines: none has been there yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Something that a run left on the provider."""

    run: str  # empty for what is kept for later runs
    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """What was made ready, and what a reader of the report should know about it."""

    facts: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


class Cloud(Protocol):
    """The acting half of a cloud."""

    @property
    def image_repository(self) -> str | None:
        """Where nodes pull images from; None where this machine's engine starts them itself."""
        ...

    def room(self, resources: Resources, target: Target) -> int:
        """How many jobs of this size fit side by side on such machines; at least 1."""
        ...

    def provision(self, spec: JobSpec) -> Provisioned:
        """
        Get machines, or nothing.

        May wait for them, for minutes where a cloud must have them before nodes can start; then it
        gives up soon once the run is to be cancelled.

        Raises:
            CapacityError: there are not enough of them; nothing is left allocated.
            ProvisioningError: they could not be made ready.
        """
        ...

    def submit(self, spec: JobSpec, environment: dict[str, str]) -> dict[str, Any]:
        """
        Start the node program on every machine; those already started are left alone.

        Args:
            spec: the job, already in the store.
            environment: the node contract's variables (`RPAC_…`).

        Returns:
            The provider's names of what was started, as JSON.
        """
        ...

    def observe(self, spec: JobSpec, submitted: dict[str, Any]) -> Observation:
        """The job's state by the provider's account; UNKNOWN when it does not know the job."""
        ...

    def node_log(self, spec: JobSpec, index: int) -> str:
        """What the node program itself printed, as far as the provider has it; else empty."""
        ...

    def stop(self, spec: JobSpec, *, grace_s: float) -> None:
        """Ask the nodes to end, wait up to `grace_s`, then end them. Silent when they are gone."""
        ...

    def release(self, spec: JobSpec) -> dict[str, Any]:
        """
        Free everything of this run and prove it.

        Returns:
            `left`: counts of what is still there after the release, all zero; `cost_usd`: what
            the run has cost, or None when the price is not known.

        Raises:
            CloudError: something is still there.
        """
        ...

    def leftovers(self) -> list[Leftover]:
        """What runs of this store have on the provider, whether they are over or not."""
        ...

    def idle(self, needed: Iterable[Target]) -> list[Leftover]:
        """
        What is kept for later runs and was not used for long; it belongs to no run.

        Args:
            needed: targets of the open runs; what serves one of them is not idle.
        """
        ...

    def discard(self, leftover: Leftover) -> None:
        """
        Remove one of the leftovers or of what is idle; silent when it is gone.

        Raises:
            CloudError: it cannot be removed, or has come into use.
        """
        ...
