"""The plan of Azure: machine and region settled, requests in symbols, the price."""

from __future__ import annotations

from typing import Any

from rpac_ci import catalog
from rpac_ci.clouds import provider_plans
from rpac_ci.clouds.azure.requests import (
    ENDS_ITSELF,
    LIMIT_NODES,
    RESIZE_S,
    Gang,
    MachineImage,
    Symbols,
)
from rpac_ci.clouds.interface import Capabilities
from rpac_ci.errors import PipelineError
from rpac_ci.experiment_model import Mode, Resources
from rpac_ci.jobs import PROTOCOL, Waits, longest_s
from rpac_ci.pipeline import Definition, Pipeline, Target, Wanted
from rpac_ci.site_config import SiteConfig

CLOUD = "azure"
DEFAULT_REGION = "eastus"  # of a plan where no account is set up yet


class AzurePlanner:
    """Plans for Azure Batch; needs neither SDK nor account."""

    # all nodes are there when the tasks are made: they wait for nothing
    capabilities = Capabilities(
        runtimes=("docker",), gpus=True, max_nodes=max(LIMIT_NODES.values()), poll_s=5.0,
        queue_s=RESIZE_S,
    )  # fmt: skip

    def settle(self, definition: Definition, wanted: Wanted, site: SiteConfig) -> Target:
        """A machine for the need, dedicated unless asked otherwise; see `Planner.settle`."""
        if wanted.runtime not in (None, "docker"):
            raise PipelineError(
                f"cloud=azure has no runtime {wanted.runtime!r}", hint="leave out runtime=…"
            )
        if wanted.mode is Mode.MNP:
            raise PipelineError(
                "cloud=azure has no mode mnp", hint="leave out clouds.azure.mode, or take gang"
            )
        need, account = definition.resources, site.clouds.azure
        owner = account.pool_allocation_mode if account else "batch_service"
        if need.nodes > LIMIT_NODES[owner]:
            raise PipelineError(
                f"{need.nodes} nodes that talk to each other, in one pool of Azure Batch",
                hint=f"at most {LIMIT_NODES[owner]}",
            )
        if wanted.spot and owner != "user_subscription":
            raise PipelineError(
                "Azure Batch has spot machines only where they are those of one's own subscription",
                hint="leave out spot=true, or use a Batch account made in the mode "
                "UserSubscription (clouds.azure.pool_allocation_mode in rpac.yaml)",
            )
        region = _region(wanted.region, account.location if account else None, site)
        choice = catalog.choose(
            need, CLOUD, machine=wanted.machine, allowed=site.allow.machines.get(CLOUD),
            region=region,
        )  # fmt: skip
        return Target(
            cloud=CLOUD, runtime="docker", region=region, machine=choice.machine.name,
            spot=bool(wanted.spot),
        )  # fmt: skip

    def render(self, definition: Definition, target: Target) -> list[dict[str, Any]]:
        """Pool, job, tasks, and how they go; see `Planner.render`."""
        account = Symbols()
        gang = gang_of(
            definition.resources, target, run="${run}", attempt="${attempt}",
            image=definition.environment.image or "${site.image}",
            limit_s=int(longest_s(definition.limits.time, Waits())),
            environment={
                "RPAC_RUN": "${run}",
                "RPAC_ATTEMPT": "${attempt}",
                "RPAC_NODES": str(definition.resources.nodes),
                "RPAC_PROTOCOL": str(PROTOCOL),
                "RPAC_STORE": "${site.azure.store}",
            },
        )  # fmt: skip
        name = gang.name(account)
        return [
            {
                "step": "provision",
                "create_pool": {"poolName": name, **gang.pool(account, MachineImage())},
            },
            {
                "step": "submit",
                "create_job": gang.job(account),
                "create_tasks": {
                    "tasks": definition.resources.nodes, "each": gang.task(account, "${node}"),
                },
                "update_job": dict(ENDS_ITSELF),
            },
            {"step": "release", "delete_job": {"jobId": name}, "delete_pool": {"poolId": name}},
        ]  # fmt: skip

    def price(self, pipeline: Pipeline) -> tuple[float, float] | None:
        """By the catalog; see `provider_plans.price`."""
        return provider_plans.price(pipeline)


def gang_of(
    need: Resources, target: Target, *, run: str, attempt: str, image: str, limit_s: int,
    environment: dict[str, str],
) -> Gang:  # fmt: skip
    """The nodes of a run, each on a machine of its own."""
    machine = catalog.load(CLOUD).machines[target.machine or ""]
    return Gang(
        run=run, attempt=attempt, image=image, machine=machine.name, nodes=need.nodes,
        memory_mib=machine.usable_mib, spot=target.spot, limit_s=limit_s, environment=environment,
    )  # fmt: skip


def _region(wanted: str | None, of_account: str | None, site: SiteConfig) -> str:
    region = wanted or of_account or DEFAULT_REGION
    if of_account and region != of_account:
        raise PipelineError(
            f"region={region} is not where this repository's Batch account is",
            hint=f"region={of_account}, or name an account there in rpac.yaml (clouds.azure)",
        )
    provider_plans.check_region(CLOUD, region, site)
    return region


PLANNER = AzurePlanner()
