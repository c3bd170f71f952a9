"""
Which machine of a cloud serves an experiment's resources. Pure, but for reading the catalog.

1. Considered is what the catalog lists and the settings allow, of the right architecture, neither
   retired nor burstable: a machine that slows down when its credits are spent repeats no timing.
2. It must have the processors, and the memory in its usable part. The number of GPUs must be equal:
   more of them change the experiment.
3. The least excess is taken: ten times the vCPUs plus the GiB that nobody asked for. Among equals
   it is the cheaper one in the region, what has no known price last; then the name decides.
4. Where nothing serves, the three nearest are named with what each lacks.

A machine may be named instead: then it is that one, checked against the need and the settings.
Source of the weights: those by which Nextflow picks a size on Azure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from rpac_ci.catalog.machines import Catalog, Grade, Machine, fidelity
from rpac_ci.errors import PipelineError
from rpac_ci.quantities import count, format_bytes

if TYPE_CHECKING:
    from rpac_ci.experiment_model import Resources

_MIB_A_CPU = 10 * 1024  # what one vCPU weighs against memory
_MIB_A_GPU = 100 * _MIB_A_CPU  # of what lacks, GPUs come first
_NEAREST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """
    The machine of each node.

    Its grade is the fidelity to the machine that was named, so A unless a retired one was
    substituted; where none was named the need is met, and it is A too.
    """

    machine: Machine
    grade: Grade = Grade.A
    remarks: tuple[str, ...] = ()


def choose(
    need: Resources,
    cloud: str,
    *,
    machine: str | None = None,
    allowed: Sequence[str] | None = None,
    arch: str = "x86_64",
    region: str | None = None,
    substitute: bool = False,
) -> Choice:
    """
    The machine for each node of an experiment.

    Args:
        need: of each node; memory in MiB.
        machine: the cloud's name of a machine that is wanted, whatever would be the best.
        allowed: patterns of names, as in `allow: {machines: …}`; None allows all.
        region: where prices are compared; without it they are not.
        substitute: take what replaces a retired `machine`, if it serves, and say so.

    Raises:
        PipelineError: there is no such cloud or machine, nothing serves, or it is not allowed.
    """
    from rpac_ci.catalog.files import load

    known = load(cloud)
    if machine is not None:
        found = _find(known, machine, need, allowed)
        return _named(need, found, known, allowed, arch, substitute)
    there = [m for m in known.machines.values() if not m.retired and not m.burstable]
    ranked = sorted(there, key=lambda m: rank(m, need, known, region))
    serving = [m for m in ranked if not lacks(m, need, arch)]
    best = next((m for m in serving if is_allowed(m, allowed)), None)
    if best is not None:
        return Choice(machine=best)
    permitted = [m for m in there if is_allowed(m, allowed)]
    raise _nothing(need, known, permitted, serving, arch)


def is_allowed(machine: Machine, allowed: Sequence[str] | None) -> bool:
    """Whether one of the patterns fits the machine's name."""
    return allowed is None or any(fnmatchcase(machine.name, pattern) for pattern in allowed)


def rank(
    machine: Machine, need: Resources, known: Catalog, region: str | None
) -> tuple[int, float, str]:
    """By what a machine that serves is compared, the least first: excess, price, name."""
    excess = _MIB_A_CPU * (machine.cpus - need.cpus) + machine.usable_mib - need.memory
    price = known.price(machine.name, region)
    return excess, price.usd_per_hour if price else float("inf"), machine.name


def lacks(machine: Machine, need: Resources, arch: str = "x86_64") -> list[str]:
    """Why a machine does not serve, in words; empty when it does."""
    return list(_missing(machine, need, arch))


def _missing(machine: Machine, need: Resources, arch: str) -> Iterator[str]:
    if machine.arch != arch:
        yield f"is {machine.arch}, not {arch}"
    if machine.gpus != need.gpus:
        has = count(machine.gpus, "GPU") if machine.gpus else "no GPU"
        yield f"has {has}, not {need.gpus or 'none'}"
    if machine.cpus < need.cpus:
        yield f"lacks {count(need.cpus - machine.cpus, 'cpu')}"
    if machine.usable_mib < need.memory:
        usable, short = format_bytes(machine.usable_mib << 20), need.memory - machine.usable_mib
        yield f"lacks {format_bytes(short << 20)} of memory (usable: {usable})"


def _distance(machine: Machine, need: Resources, arch: str) -> tuple[bool, int, int, str]:
    lacking = _MIB_A_CPU * max(0, need.cpus - machine.cpus)
    lacking += max(0, need.memory - machine.usable_mib)
    excess = _MIB_A_CPU * max(0, machine.cpus - need.cpus) + machine.memory_mib
    return (
        machine.arch != arch,
        lacking + _MIB_A_GPU * abs(need.gpus - machine.gpus),
        excess,
        machine.name,
    )


def _nothing(
    need: Resources, known: Catalog, permitted: list[Machine], serving: list[Machine], arch: str
) -> PipelineError:
    """That nothing serves: what comes nearest, and what would serve if it were allowed."""
    hint = "ask for less, or name a machine"
    if serving:
        hint = f"{serving[0].name} would serve, but the settings do not allow it"
    if not permitted:
        return PipelineError(f"the settings allow no machine of {known.cloud}", hint=hint)
    nearest = sorted(permitted, key=lambda m: _distance(m, need, arch))[:_NEAREST]
    misses = [f"{machine.name} {' and '.join(lacks(machine, need, arch))}" for machine in nearest]
    return PipelineError(
        f"no machine of {known.cloud} has {_shown(need)} for a node: {'; '.join(misses)}", hint=hint
    )


def _shown(need: Resources) -> str:
    gpus = f" and {count(need.gpus, 'GPU')}" if need.gpus else ""
    return f"{count(need.cpus, 'cpu')}, {format_bytes(need.memory << 20)} of usable memory{gpus}"


# --- a machine by its name ----------------------------------------------------------------------


def _find(known: Catalog, name: str, need: Resources, allowed: Sequence[str] | None) -> Machine:
    from rpac_ci.command_table import near

    if name in known.machines:
        return known.machines[name]
    names = {known_name.lower(): known_name for known_name in known.machines}
    meant = names.get(near(name[:80], names) or "")
    raise PipelineError(
        f"the catalog of {known.cloud} has no machine {name[:80]!r}"
        + (f", did you mean {meant!r}?" if meant else ""),
        hint=_elsewhere(known.cloud, name, need, allowed)
        or f"rpac catalog show {known.cloud} lists them",
    )


def _elsewhere(cloud: str, name: str, need: Resources, allowed: Sequence[str] | None) -> str:
    """What comes nearest to a machine of another cloud, where the name is one's."""
    from rpac_ci.catalog.equivalents import nearest
    from rpac_ci.catalog.files import CLOUDS, load

    for other in CLOUDS:
        if machine := load(other).machines.get(name):
            choice = nearest(machine, need, cloud, allowed=allowed)
            there = f"machine={choice.machine.name}, grade {choice.grade}"
            return f"it is a machine of {other}; what comes nearest to it is {there}"
    return ""


def _named(
    need: Resources, machine: Machine, known: Catalog, allowed: Sequence[str] | None,
    arch: str, substitute: bool,
) -> Choice:  # fmt: skip
    grade, remarks = Grade.A, []
    if machine.retired:
        wanted, machine, grade = machine, *_replacement(machine, known, substitute)
        remarks.append(f"{wanted.name} is retired: substituted by {machine}, grade {grade}")
    if not is_allowed(machine, allowed):
        raise PipelineError(
            f"the machine {machine.name} of {known.cloud} is not allowed",
            hint=f"the settings allow {', '.join(allowed or ()) or 'none'}",
        )
    if missing := lacks(machine, need, arch):
        raise PipelineError(
            f"the machine {machine} {' and '.join(missing)}",
            hint=f"a node needs {_shown(need)}; without machine= the catalog finds one",
        )
    if machine.burstable:
        remarks.append(f"{machine.name} slows down when its credits are spent: timings say little")
    return Choice(machine=machine, grade=grade, remarks=tuple(remarks))


def _replacement(machine: Machine, known: Catalog, substitute: bool) -> tuple[Machine, Grade]:
    if machine.replaced_by is None:
        raise PipelineError(
            f"the machine {machine} of {known.cloud} is retired, and nothing takes its place",
            hint=f"rpac catalog show {known.cloud} lists what there is",
        )
    other = known.machines[machine.replaced_by]
    grade = fidelity(machine, other)
    if not substitute:
        raise PipelineError(
            f"the machine {machine} of {known.cloud} is retired",
            hint=f"{other} takes its place, grade {grade}: machine={other.name}",
        )
    return other, grade
