"""
What Azure is asked for, as pure values in the JSON of its REST.

A plan shows the requests with `${…}` for what an account or a run decides; `driver` sends the same
ones with everything filled in.

- A *pool* belongs to one run and has its nodes from the beginning to the end: a fixed number of
  machines, one task at a time on each, which may talk to each other. It is made through the
  management plane, since only there it gets an identity.
- A *job* on that pool has as many tasks as there are nodes. It ends by itself once all of them
  have ended, or after its longest time; in an empty job that would be at once, so it is told when
  the tasks are there.
- A *task* is a container that has the machine's network. Azure Batch gives nodes no rank; each
  task is told its own, and a task that the service starts again finds its place taken.

Pool and job have one name, which says run and attempt, and metadata that say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rpac_ci.site_clouds import AzureSite

RUN, ATTEMPT, NAME = "rpac-run", "rpac-attempt", "rpac-name"  # of metadata
RESIZE_S = 900  # a pool that has not all of its nodes by then gets no more
LIMIT_NODES: Mapping[str, int] = {"batch_service": 100, "user_subscription": 80}
PROGRAM = "/opt/rpac/bin/python"  # of our images, as in their entry point
COMMAND = "-P -m rpac_ci.node"
# a task runs as a user of the machine, whom no image knows, and Spark needs a user with a name
_NAMES = "/etc/passwd:/etc/passwd:ro"
_SHARED_MEMORY = 0.5  # of a node's memory, for /dev/shm: Docker's 64 MiB stop data loaders


@dataclass(frozen=True, slots=True)
class Symbols:
    """An account's values by their names in `rpac.yaml`."""

    name: str = "${site.azure.name}"
    identity: str = "${site.azure.identity}"
    identity_client_id: str = "${site.azure.identity_client_id}"
    subnet: str = "${site.azure.subnet}"
    registry: str = "${site.azure.registry}"


Account: TypeAlias = AzureSite | Symbols


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineImage:
    """A system that nodes boot, and the agent that goes with it."""

    publisher: str = "${image.publisher}"
    offer: str = "${image.offer}"
    sku: str = "${image.sku}"
    version: str = "${image.version}"
    agent: str = "${image.agent}"

    def reference(self) -> dict[str, str]:
        """As a pool names it."""
        return {
            "publisher": self.publisher, "offer": self.offer, "sku": self.sku,
            "version": self.version,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """One run's nodes; values of a run may be symbols."""

    run: str
    attempt: str
    image: str  # of the containers
    machine: str
    nodes: int
    memory_mib: int  # of a machine, what a job may have
    spot: bool
    limit_s: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def name(self, account: Account) -> str:
        """Of pool and job."""
        return f"{account.name}-{self.run}-{self.attempt}"

    def _metadata(self, account: Account) -> list[dict[str, str]]:
        values = {NAME: account.name, RUN: self.run, ATTEMPT: self.attempt}
        return [{"name": name, "value": value} for name, value in values.items()]

    def pool(self, account: Account, system: MachineImage) -> dict[str, Any]:
        """Body of the management plane's `Pool_Create`."""
        containers: dict[str, Any] = {
            "type": "DockerCompatible",
            "containerImageNames": [self.image],  # pulled before a node counts as ready
        }
        if isinstance(account, Symbols) or account.registry.endswith(".azurecr.io"):
            # any other registry is read by everybody
            identity = {"resourceId": account.identity}
            containers["containerRegistries"] = [
                {"registryServer": account.registry, "identityReference": identity}
            ]
        properties: dict[str, Any] = {
            "vmSize": self.machine,
            "deploymentConfiguration": {
                "virtualMachineConfiguration": {
                    "imageReference": system.reference(),
                    "nodeAgentSkuId": system.agent,
                    "containerConfiguration": containers,
                }
            },
            "scaleSettings": {
                "fixedScale": {
                    "targetDedicatedNodes": 0 if self.spot else self.nodes,
                    "targetLowPriorityNodes": self.nodes if self.spot else 0,
                    "resizeTimeout": f"PT{RESIZE_S // 60}M",
                }
            },
            "interNodeCommunication": "Enabled" if self.nodes > 1 else "Disabled",
            "taskSlotsPerNode": 1,
            "taskSchedulingPolicy": {"nodeFillType": "Spread"},
            "metadata": self._metadata(account),
        }
        if account.subnet:
            properties["networkConfiguration"] = {"subnetId": account.subnet}
        identity_of_nodes = {
            "type": "UserAssigned", "userAssignedIdentities": {account.identity: {}},
        }  # fmt: skip
        return {"identity": identity_of_nodes, "properties": properties}

    def job(self, account: Account) -> dict[str, Any]:
        """Body of `Job_Add`."""
        return {
            "id": self.name(account),
            "poolInfo": {"poolId": self.name(account)},
            "constraints": {"maxWallClockTime": f"PT{self.limit_s}S", "maxTaskRetryCount": 0},
            "onAllTasksComplete": "noaction",
            "metadata": self._metadata(account),
        }

    def task(self, account: Account, index: int | str) -> dict[str, Any]:
        """An item of `Task_AddCollection`."""
        variables = {
            **self.environment,
            "AZURE_CLIENT_ID": account.identity_client_id,  # whose tokens the node asks for
            "RPAC_NODE_INDEX": str(index),
        }
        shared_memory = int(self.memory_mib * _SHARED_MEMORY)
        return {
            "id": task_id(index),
            "commandLine": COMMAND,
            "containerSettings": {
                "imageName": self.image,
                "containerRunOptions": (
                    f"--entrypoint {PROGRAM} --network host --init --shm-size {shared_memory}m "
                    f"--volume {_NAMES}"
                ),
                "workingDirectory": "containerImageDefault",
            },
            "environmentSettings": [
                {"name": name, "value": value} for name, value in sorted(variables.items())
            ],
            # nothing is started again behind our back, but for nodes that come back from the dead
            "constraints": {"maxTaskRetryCount": 0},
            "requiredSlots": 1,
        }


ENDS_ITSELF: Mapping[str, str] = {"onAllTasksComplete": "terminatejob"}  # body of `Job_Patch`


def task_id(index: int | str) -> str:
    """The task that is the node of this index."""
    return f"node-{index:05d}" if isinstance(index, int) else f"node-{index}"
