"""
Where a run was made, what its nodes were and what they cost by the hour; how long it took. Values
that a record holds, so that another run can be compared with it when catalogs have changed.
"""

from __future__ import annotations

from typing import Any

from rpac_ci.catalog.machines import Machine
from rpac_ci.documents import Model
from rpac_ci.pipeline import MachineChange, Target


class NodePrice(Model):
    """The price that a run's cost was reckoned with."""

    per_hour: float  # of one node
    currency: str = "USD"
    region: str
    spot: bool
    date: str  # ISO 8601, of the price
    source: str

    def __str__(self) -> str:
        kind = "spot" if self.spot else "on demand"
        return (
            f"{self.per_hour:.10g} {self.currency} per node-hour, {kind} in {self.region}, "
            f"as of {self.date} ({self.source})"
        )


class MachineSpec(Model):
    """What the catalog said of each node's machine."""

    cpus: int  # vCPUs
    memory_mib: int
    arch: str
    gpus: int = 0
    gpu_kind: str | None = None
    gpu_memory_mib: int = 0


class Placement(Model):
    """Which machines of a cloud a run had."""

    region: str | None = None
    machine: str | None = None
    mode: str | None = None
    spot: bool = False
    endpoint: str | None = None  # of a server that speaks the provider's API, but is not its own
    spec: MachineSpec | None = None
    price: NodePrice | None = None
    change: MachineChange | None = None  # against the run that is repeated


class Performance(Model):
    """How long a run took and what it cost, in seconds and USD."""

    cloud: str
    nodes: int
    command_s: float | None  # the command alone
    total_s: float | None  # from the run's first event to everything released
    cost_usd: float | None
    hardware: str | None = None  # as the nodes saw it
    oversubscribed: bool = False
    placement: Placement | None = None

    @property
    def machine(self) -> Machine | None:
        """As a value of the catalog; None where no catalog has it."""
        placed = self.placement
        if placed is None or placed.spec is None or placed.machine is None:
            return None
        return Machine(cloud=self.cloud, name=placed.machine, **placed.spec.to_json())  # type: ignore[arg-type]


def bought(target: Target) -> dict[str, Any]:
    """What the catalog of this version says of a target's machine, for the event log."""
    from rpac_ci import catalog

    if target.machine is None or target.cloud not in catalog.CLOUDS:
        return {}
    known = catalog.load(target.cloud)
    machine = known.machines.get(target.machine)
    price = known.price(target.machine, target.region, spot=target.spot)
    told: dict[str, Any] = {}
    if machine is not None:
        names = MachineSpec.model_fields
        told["spec"] = MachineSpec(**{name: getattr(machine, name) for name in names}).to_json()
    if price is not None:
        told["price"] = NodePrice(
            per_hour=price.usd_per_hour, region=price.region, spot=price.spot, date=price.date,
            source=price.source,
        ).to_json()  # fmt: skip
    return told


def placement(
    target: Target,
    change: MachineChange | None,
    *,
    endpoint: str | None,
    told: dict[str, Any],
) -> Placement | None:
    """
    Of a run that is over; None for one on this machine that repeats none of another cloud.

    Args:
        target: of its pipeline.
        change: of its machine, by its lineage.
        endpoint: that was spoken to instead of the provider's own.
        told: by `bought`, when the run was released.
    """
    if target.machine is None and change is None and endpoint is None:
        return None
    return Placement.model_validate(
        {
            "region": target.region,
            "machine": target.machine,
            "mode": target.mode.value if target.mode else None,
            "spot": target.spot,
            "endpoint": endpoint,
            "spec": told.get("spec"),
            "price": told.get("price"),
            "change": change,
        }
    )
