"""
What AWS Batch is asked for, as pure values in the JSON of its API.

A plan shows the requests with `${…}` for what an account or a run decides; `driver` sends the same
ones with everything filled in.

- A *shape* is reusable empty capacity: a compute environment with no machine in it (`minvCpus 0`)
  and its queue, for one machine type, named by a hash of all that they are. An account has room for
  50 of each, and deleting them takes minutes, so they are shared by runs and cost nothing idle.
- `gang` starts N nodes as one array job, each asking for a whole machine: spot and public subnets
  are allowed. `mnp` starts one multi-node parallel job, which AWS refuses neither on spot machines
  nor in public subnets and then leaves waiting for ever: `plan` refuses both.
- The definition of a job belongs to one run, so that everything a run has is found by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rpac_ci.canonical import Json, canonical_json, digest
from rpac_ci.experiment_model import Mode
from rpac_ci.site_clouds import AwsSite

RUN, ATTEMPT, NAME = "rpac:run", "rpac:attempt", "rpac:name"  # tags
SHAPE_VERSION = "1"  # of the shapes below: part of their names
MAX_VCPUS = 1024  # of all runs on one shape together
MAX_WAIT_S = 3600  # for machines: the queue gives a job up that waits longer for a known reason
_WAIT_REASONS = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
    "MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS",
)
# hint of the node's place: AWS sets one of these, not in a container of a single job
INDEX_VARIABLES: Mapping[Mode, str] = {
    Mode.GANG: "AWS_BATCH_JOB_ARRAY_INDEX",
    Mode.MNP: "AWS_BATCH_JOB_NODE_INDEX",
}
_SHARED_MEMORY = 0.5  # of a node's memory, for /dev/shm: Docker's 64 MiB stop data loaders


@dataclass(frozen=True, slots=True)
class Symbols:
    """An account's values by their names in `rpac.yaml`."""

    name: str = "${site.aws.name}"
    subnets: str = "${site.aws.subnets}"
    private_subnets: str = "${site.aws.private_subnets}"
    security_groups: str = "${site.aws.security_groups}"
    instance_profile: str = "${site.aws.instance_profile}"
    job_role: str = "${site.aws.job_role}"
    execution_role: str = "${site.aws.execution_role}"
    service_role: str = "${site.aws.service_role}"


Account: TypeAlias = AwsSite | Symbols


def log_group(account: Account) -> str:
    """Where the words of the nodes' programs go."""
    return f"/rpac/{account.name}/jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A kind of machine, and how it is had."""

    machine: str
    mode: Mode
    spot: bool

    def environment(self, account: Account) -> dict[str, Any]:
        """Body of CreateComputeEnvironment, without its name."""
        subnets = account.subnets if self.mode is Mode.GANG else account.private_subnets
        request: dict[str, Any] = {
            "type": "MANAGED",
            "state": "ENABLED",
            "computeResources": {
                "type": "SPOT" if self.spot else "EC2",
                "allocationStrategy": (
                    "SPOT_PRICE_CAPACITY_OPTIMIZED" if self.spot else "BEST_FIT_PROGRESSIVE"
                ),
                "minvCpus": 0,
                "maxvCpus": MAX_VCPUS,
                "instanceTypes": [self.machine],
                "subnets": subnets,
                "securityGroupIds": account.security_groups,
                "instanceRole": account.instance_profile,
                # encrypted disks, no metadata without a token: of the account's stack
                "launchTemplate": {
                    "launchTemplateName": f"{account.name}-nodes",
                    "version": "$Default",
                },
                "tags": {NAME: account.name},
            },
            "tags": {NAME: account.name},
        }
        if account.service_role:
            request["serviceRole"] = account.service_role
        return request

    def queue(self, account: Account, environment: str) -> dict[str, Any]:
        """Body of CreateJobQueue, without its name."""
        actions = [
            {"reason": reason, "state": "RUNNABLE", "maxTimeSeconds": MAX_WAIT_S,
             "action": "CANCEL"}
            for reason in _WAIT_REASONS
        ]  # fmt: skip
        return {
            "state": "ENABLED",
            "priority": 1,
            "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": environment}],
            "jobStateTimeLimitActions": actions,
            "tags": {NAME: account.name},
        }

    def name(self, account: Account) -> str:
        """Of environment and queue: says what they are, so that another setting is another one."""
        content: list[Json] = [SHAPE_VERSION, self.environment(account), self.queue(account, "")]
        return f"{account.name}-{digest(canonical_json(content)).removeprefix('sha256:')[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run's nodes; values of a run may be symbols."""

    run: str
    attempt: str
    image: str
    mode: Mode
    nodes: int
    cpus: int  # of the machine: each node has one for itself
    memory_mib: int  # what of it a container may have
    gpus: int
    limit_s: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def name(self, account: Account) -> str:
        """Of definition and job."""
        return f"{account.name}-{self.run}-{self.attempt}"

    def _tags(self, account: Account) -> dict[str, str]:
        return {NAME: account.name, RUN: self.run, ATTEMPT: self.attempt}

    def definition(self, account: Account) -> dict[str, Any]:
        """Body of RegisterJobDefinition."""
        container = self._container(account)
        request: dict[str, Any] = {
            "jobDefinitionName": self.name(account),
            "platformCapabilities": ["EC2"],
            # nothing is started again behind our back: a second attempt is another attempt of ours
            "retryStrategy": {"attempts": 1},
            "timeout": {"attemptDurationSeconds": self.limit_s},
            "propagateTags": True,
            "tags": self._tags(account),
        }
        if self.mode is Mode.GANG:
            return {**request, "type": "container", "containerProperties": container}
        group = {"targetNodes": "0:", "container": container}
        nodes = {"numNodes": self.nodes, "mainNode": 0, "nodeRangeProperties": [group]}
        return {**request, "type": "multinode", "nodeProperties": nodes}

    def _container(self, account: Account) -> dict[str, Any]:
        requirements = {"VCPU": self.cpus, "MEMORY": self.memory_mib, "GPU": self.gpus}
        variables = {**self.environment}
        if self.nodes > 1 or self.mode is Mode.MNP:
            variables["RPAC_NODE_INDEX_FROM"] = INDEX_VARIABLES[self.mode]
        container: dict[str, Any] = {
            "image": self.image,
            "jobRoleArn": account.job_role,
            "privileged": False,
            "resourceRequirements": [
                {"type": kind, "value": str(amount)}
                for kind, amount in requirements.items()
                if amount
            ],
            "environment": [{"name": n, "value": v} for n, v in sorted(variables.items())],
            "linuxParameters": {
                "initProcessEnabled": True,
                "sharedMemorySize": int(self.memory_mib * _SHARED_MEMORY),
            },
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {"awslogs-group": log_group(account)},
            },
        }
        if account.execution_role:
            container["executionRoleArn"] = account.execution_role
        return container

    def submission(self, account: Account, queue: str) -> dict[str, Any]:
        """Body of SubmitJob."""
        request: dict[str, Any] = {
            "jobName": self.name(account),
            "jobQueue": queue,
            "jobDefinition": self.name(account),
            "propagateTags": True,
            "tags": self._tags(account),
        }
        if self.mode is Mode.GANG and self.nodes > 1:
            request["arrayProperties"] = {"size": self.nodes}
        return request
