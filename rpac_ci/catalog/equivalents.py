"""
The machine that comes nearest to another one, of another cloud or in place of a retired one.

Among the machines that serve the need it is the best grade of fidelity, then the least difference
in GPUs, processors and memory, then the cheaper one in the region; then the name decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rpac_ci.catalog.choosing import Choice, choose, is_allowed, lacks
from rpac_ci.catalog.machines import Catalog, Grade, Machine, fidelity

if TYPE_CHECKING:
    from rpac_ci.experiment_model import Resources

_MIB_A_CPU = 10 * 1024  # the weights of `choosing`, for too little as for too much


def nearest(
    recorded: Machine,
    need: Resources,
    cloud: str,
    *,
    allowed: Sequence[str] | None = None,
    region: str | None = None,
) -> Choice:
    """
    The machine of a cloud that comes nearest to the one of a recorded run.

    A retired machine's own replacement goes first, where it serves and is allowed.

    Args:
        recorded: of the past run, of any cloud.
        need: of each node, which the machine must serve as well.
        cloud: to choose from.
        allowed: patterns of names, as for `choose`; None allows all.
        region: where prices are compared; without it they are not.

    Returns:
        With the grade of fidelity to the recorded machine.

    Raises:
        PipelineError: as `choose`: there is no such cloud, or nothing serves.
    """
    from rpac_ci.catalog.files import load

    known = load(cloud)
    serving = [
        machine
        for machine in known.machines.values()
        if not machine.retired
        and not machine.burstable
        and is_allowed(machine, allowed)
        and not lacks(machine, need, recorded.arch)
    ]
    if not serving:
        return choose(need, cloud, allowed=allowed, arch=recorded.arch, region=region)
    own = recorded.replaced_by if recorded.cloud == cloud else None
    best = min(serving, key=lambda m: (m.name != own, *_rank(m, recorded, known, region)))
    return Choice(machine=best, grade=fidelity(recorded, best))


def _rank(
    machine: Machine, recorded: Machine, known: Catalog, region: str | None
) -> tuple[Grade, int, int, float, str]:
    gpus = abs(machine.gpu_memory_mib - recorded.gpu_memory_mib)
    size = _MIB_A_CPU * abs(machine.cpus - recorded.cpus)
    size += abs(machine.memory_mib - recorded.memory_mib)
    price = known.price(machine.name, region)
    usd = price.usd_per_hour if price else float("inf")
    return fidelity(recorded, machine), gpus, size, usd, machine.name


def differences(before: Machine, after: Machine) -> list[str]:
    """What two machines do not have in common, in words; empty with grade A."""
    return list(_differences(before, after))


def _differences(before: Machine, after: Machine) -> Iterator[str]:
    pairs = (
        ("cpus", str(before.cpus), str(after.cpus)),
        ("memory", f"{before.memory_mib / 1024:g} GiB", f"{after.memory_mib / 1024:g} GiB"),
        ("architecture", before.arch, after.arch),
        ("GPUs", _gpus(before), _gpus(after)),
    )
    for name, old, new in pairs:
        if old != new:
            yield f"{name} {old} → {new}"


def _gpus(machine: Machine) -> str:
    if not machine.gpus:
        return "none"
    return f"{machine.gpus} × {machine.gpu_kind} of {machine.gpu_memory_mib / 1024:g} GiB"
