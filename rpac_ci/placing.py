"""
Where a pipeline goes: what is wanted of a cloud, the machine in place of a recorded one. Pure, but
for reading the catalog.

A past run keeps its machine. Where that cannot be had, because the run goes to another cloud or
the machine is retired, the one that comes nearest to it is taken, and `Lineage.machine` says how
near that is. An author's machine for the cloud, or one in the command, goes before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rpac_ci import catalog, clouds
from rpac_ci.catalog import mapping
from rpac_ci.catalog.equivalents import differences, nearest
from rpac_ci.catalog.machines import Grade, Machine
from rpac_ci.commands import Overrides
from rpac_ci.experiment_model import CloudChoice
from rpac_ci.pipeline import (
    Definition,
    EnvironmentKind,
    MachineChange,
    Pipeline,
    Target,
    Wanted,
)
from rpac_ci.site_config import SiteConfig


def place(
    before: Definition, after: Definition, overrides: Overrides, site: SiteConfig
) -> tuple[Target, MachineChange | None]:
    """
    The target of a pipeline.

    Args:
        before: an experiment's definition, or a past pipeline.
        after: it with the overrides on top.
        overrides: of the command.
        site: settings that a cloud's planner may go by.

    Returns:
        The target, and how its machine differs from the recorded one; None where there is no
        recorded one, or it is the same.

    Raises:
        PipelineError: the cloud cannot serve it.
    """
    wanted = _wanted(before, after, overrides)
    planner = clouds.planner(wanted.cloud)
    mapping.check(wanted, after, available=clouds.PLANNERS, runtimes=planner.capabilities.runtimes)
    past = before.target if isinstance(before, Pipeline) else None
    if past and not overrides.machine and before.resources == after.resources:
        wanted = _with_equivalent(past, wanted, after, site)
    target = planner.settle(after, wanted, site)
    return target, _change(past, target) if past else None


def _wanted(before: Definition, after: Definition, overrides: Overrides) -> Wanted:
    """A command's word first, then a past run's, then the author's."""
    recorded = before.target if isinstance(before, Pipeline) else None
    cloud = overrides.cloud or (recorded or Target()).cloud
    here = recorded is not None and recorded.cloud == cloud
    past = recorded if recorded and here else Target(cloud=cloud)
    author = _author(after, cloud)
    same_need = before.resources == after.resources
    by_image = after.environment.kind is EnvironmentKind.IMAGE
    known_runtime = past.runtime if here else None  # those of another cloud are not its own
    return Wanted(
        cloud=cloud,
        runtime=overrides.runtime or ("docker" if by_image else known_runtime),
        region=overrides.region or past.region,
        machine=overrides.machine or (past.machine if same_need else None) or author.machine,
        mode=past.mode or author.mode,
        spot=next(
            (s for s in (overrides.spot, past.spot or None, author.spot) if s is not None), None
        ),
    )


def _author(definition: Definition, cloud: str) -> CloudChoice:
    choices: Mapping[str, CloudChoice] = dict(definition.clouds.items())
    return choices.get(cloud, CloudChoice())


def _with_equivalent(past: Target, wanted: Wanted, after: Definition, site: SiteConfig) -> Wanted:
    """What is wanted, with a machine in place of the recorded one where that cannot be had."""
    recorded = _machine(past)
    if recorded is None or wanted.cloud not in catalog.CLOUDS:
        return wanted
    elsewhere = wanted.cloud != past.cloud
    if elsewhere and wanted.machine is not None:  # by the author, for this cloud
        return wanted
    if not elsewhere and not recorded.retired:
        return wanted
    allowed = site.allow.machines.get(wanted.cloud)
    choice = nearest(recorded, after.resources, wanted.cloud, allowed=allowed, region=wanted.region)
    return replace(wanted, machine=choice.machine.name)


def _machine(target: Target) -> Machine | None:
    """By the catalog; None where there is none to choose, or the catalog has it no more."""
    if target.machine is None or target.cloud not in catalog.CLOUDS:
        return None
    return catalog.load(target.cloud).machines.get(target.machine)


def _change(past: Target, now: Target) -> MachineChange | None:
    """How the machine differs from the recorded one."""
    if (past.cloud, past.machine) == (now.cloud, now.machine):
        return None
    before, after = _machine(past), _machine(now)
    recorded = " ".join(filter(None, (past.cloud, past.machine)))
    if before is None or after is None:
        told = {target.cloud: _untold(target) for target in (past, now)}
        return MachineChange(
            recorded=recorded, grade=Grade.D.value, differs=[t for t in told.values() if t]
        )
    return MachineChange(
        recorded=recorded,
        grade=catalog.fidelity(before, after).value,
        differs=differences(before, after),
        substituted=before.retired,
    )


def _untold(target: Target) -> str:
    """Why nothing is known of a machine."""
    if _machine(target) is not None:
        return ""
    if target.machine is None:
        return f"cloud={target.cloud} has whatever machine is there"
    return f"{target.machine} is not in the catalog of {target.cloud}"
