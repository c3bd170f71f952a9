"""The plan of AWS: machine, mode and region settled, requests in symbols, the price."""

from __future__ import annotations

from typing import Any

from rpac_ci import catalog
from rpac_ci.clouds import provider_plans
from rpac_ci.clouds.aws.requests import MAX_WAIT_S, Job, Shape, Symbols
from rpac_ci.clouds.interface import Capabilities
from rpac_ci.errors import PipelineError
from rpac_ci.experiment_model import Mode, Resources
from rpac_ci.jobs import PROTOCOL, Waits, longest_s
from rpac_ci.pipeline import Definition, Pipeline, Target, Wanted
from rpac_ci.site_config import SiteConfig

CLOUD = "aws"
DEFAULT_REGION = "us-east-1"  # of a plan where no account is set up yet


class AwsPlanner:
    """Plans for AWS Batch; needs neither SDK nor account."""

    capabilities = Capabilities(
        runtimes=("docker",), gpus=True, max_nodes=1000, poll_s=5.0, queue_s=MAX_WAIT_S
    )

    def settle(self, definition: Definition, wanted: Wanted, site: SiteConfig) -> Target:
        """A machine for the need, `gang` unless asked otherwise; see `Planner.settle`."""
        if wanted.runtime not in (None, "docker"):
            raise PipelineError(
                f"cloud=aws has no runtime {wanted.runtime!r}", hint="leave out runtime=…"
            )
        need, mode = definition.resources, wanted.mode or Mode.GANG
        if need.nodes > self.capabilities.max_nodes:
            raise PipelineError(
                f"{need.nodes} nodes in one job of AWS Batch",
                hint=f"at most {self.capabilities.max_nodes}",
            )
        if wanted.spot and mode is Mode.MNP:
            raise PipelineError(
                "spot machines never start in the mode mnp: the run would wait for ever",
                hint="leave out spot=true, or clouds.aws.mode: gang, which has spot",
            )
        account = site.clouds.aws
        if account and mode is Mode.MNP and not account.private_subnets:
            raise PipelineError(
                "the mode mnp needs a private subnet: its nodes get no public address",
                hint="rpac setup aws --nat makes one for rpac.yaml; or take mode: gang",
            )
        region = _region(wanted.region, account.region if account else None, site)
        choice = catalog.choose(
            need, CLOUD, machine=wanted.machine, allowed=site.allow.machines.get(CLOUD),
            region=region,
        )  # fmt: skip
        if wanted.spot and not choice.machine.spot:
            raise PipelineError(f"{choice.machine} is not to be had as a spot machine")
        return Target(
            cloud=CLOUD, runtime="docker", region=region, machine=choice.machine.name, mode=mode,
            spot=bool(wanted.spot),
        )  # fmt: skip

    def render(self, definition: Definition, target: Target) -> list[dict[str, Any]]:
        """Shape, definition, job, and how they go; see `Planner.render`."""
        assert target.machine
        assert target.mode
        account = Symbols()
        shape = Shape(machine=target.machine, mode=target.mode, spot=target.spot)
        job = job_of(
            definition.resources, target, run="${run}", attempt="${attempt}",
            image=definition.environment.image or "${site.image}",
            limit_s=int(longest_s(definition.limits.time, Waits())),
            environment={
                "AWS_REGION": "${site.aws.region}",
                "RPAC_RUN": "${run}",
                "RPAC_ATTEMPT": "${attempt}",
                "RPAC_NODES": str(definition.resources.nodes),
                "RPAC_PROTOCOL": str(PROTOCOL),
                "RPAC_STORE": "${site.aws.store}",
            },
        )  # fmt: skip
        named = "${site.aws.name}-${shape}"
        return [
            {
                "step": "provision",
                "create_compute_environment": {
                    "computeEnvironmentName": named, **shape.environment(account)
                },
                "create_job_queue": {"jobQueueName": named, **shape.queue(account, named)},
            },
            {
                "step": "submit",
                "register_job_definition": job.definition(account),
                "submit_job": job.submission(account, named),
            },
            {
                "step": "release",
                "terminate_job": {"jobId": "${job}"},
                "deregister_job_definition": {"jobDefinition": "${definition}"},
            },
        ]  # fmt: skip

    def price(self, pipeline: Pipeline) -> tuple[float, float] | None:
        """By the catalog; see `provider_plans.price`."""
        return provider_plans.price(pipeline)


def job_of(
    need: Resources, target: Target, *, run: str, attempt: str, image: str, limit_s: int,
    environment: dict[str, str],
) -> Job:  # fmt: skip
    """The nodes of a run, each on a machine of its own."""
    machine = catalog.load(CLOUD).machines[target.machine or ""]
    assert target.mode
    return Job(
        run=run, attempt=attempt, image=image, mode=target.mode, nodes=need.nodes,
        cpus=machine.cpus, memory_mib=machine.usable_mib, gpus=machine.gpus, limit_s=limit_s,
        environment=environment,
    )  # fmt: skip


def _region(wanted: str | None, of_account: str | None, site: SiteConfig) -> str:
    region = wanted or of_account or DEFAULT_REGION
    if of_account and region != of_account:
        raise PipelineError(
            f"region={region} is not where this repository has its store and network",
            hint=f"region={of_account}, or set up another region: rpac setup aws",
        )
    provider_plans.check_region(CLOUD, region, site)
    return region


PLANNER = AwsPlanner()
