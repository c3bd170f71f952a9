"""
Azure at work: N nodes as N tasks of one job of Azure Batch, on a pool of their own.

Prerequisites: the extra `azure`; `clouds.azure` in rpac.yaml, which `rpac setup azure` writes; and
credentials where azure-identity looks for them (`az login`, the variables `AZURE_…`, a managed
identity). A store's own endpoint in `AZURE_STORAGE_ENDPOINT` is told to the nodes.

    rpac reproduce exp-42 cloud=azure nodes=2

Everything of a run is named by it, so that a second driver finds what a first has made.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from rpac_ci import catalog
from rpac_ci.canonical import Json
from rpac_ci.clouds.azure.batch_jobs import BatchJobs
from rpac_ci.clouds.azure.boards import NodeBoard, PoolBoard
from rpac_ci.clouds.azure.clients import ENDPOINT, Azure
from rpac_ci.clouds.azure.plan import CLOUD, gang_of
from rpac_ci.clouds.azure.pools import GONE_S, Pools, booted, used_s
from rpac_ci.clouds.azure.quotas import Quotas
from rpac_ci.clouds.azure.requests import NAME, RUN, Gang
from rpac_ci.clouds.azure.systems import Systems
from rpac_ci.clouds.interface import Leftover, Observation, Provisioned
from rpac_ci.errors import (
    CapacityError,
    CloudError,
    CommandError,
    ProvisioningError,
    QuotaError,
)
from rpac_ci.experiment_model import Resources
from rpac_ci.jobs import JobSpec, JobState, Keys, longest_s
from rpac_ci.pipeline import Target

if TYPE_CHECKING:
    from rpac_ci.site_clouds import AzureSite
    from rpac_ci.storage import Storage
    from rpac_ci.workspace import Place

UNKNOWN_ROOM = 4  # jobs side by side, where quotas cannot be read
MOST = 1000  # whatever quotas say
# where a stand-in for Azure is, for the nodes: addresses, never credentials
PASSED_ON = ("AZURE_STORAGE_ENDPOINT",)
_CONNECTING = threading.Lock()


class AzureCloud:
    """Nodes on Azure; see `clouds.interface.Cloud`."""

    def __init__(self, shared: Shared, account: AzureSite, storage: Storage) -> None:
        """
        Args:
            shared: by all runs of this process.
            account: what the repository uses of Azure.
            storage: the runs' store, where nodes are asked to stop.
        """
        self._azure = shared.azure
        self._quotas = shared.quotas
        self._pools = Pools(shared.azure, shared.systems, shared.pools, shared.nodes)
        self._jobs = BatchJobs(shared.azure, shared.nodes)
        self._account = account
        self._storage = storage

    @property
    def image_repository(self) -> str | None:
        """Where nodes pull their image from."""
        return self._account.repository

    def room(self, resources: Resources, target: Target) -> int:
        """As many as quotas allow in an account that nobody else uses."""
        quota = self._quotas.known()
        if quota is None:
            return UNKNOWN_ROOM
        machine = target.machine or ""
        limits = [quota.pools, quota.jobs, MOST]
        if (cores := quota.cores_for(machine, spot=target.spot)) is not None:
            limits.append(cores // (resources.nodes * _cpus(machine)))
        return max(1, min(n for n in limits if n is not None))

    def provision(self, spec: JobSpec) -> Provisioned:
        """A pool with all of its nodes ready, or none at all."""
        gang = self._gang(spec, {})
        name, cancel = gang.name(self._account), Keys(spec.run).cancel
        cores = spec.nodes * _cpus(gang.machine)
        self._quotas.check(gang.machine, cores, spot=spec.spot)
        try:
            self._pools.ensure(name, lambda system: gang.pool(self._account, system))
            nodes = self._pools.until_ready(
                name, spec.nodes, stopped=lambda: self._storage.head(cancel) is not None
            )
        except (CapacityError, ProvisioningError, QuotaError):
            with contextlib.suppress(CloudError):  # the release will say what cannot be deleted
                self._delete_pool(spec, name)
            raise
        facts: dict[str, Any] = {
            "region": self._account.location, "machine": gang.machine, "pool": name,
            "spot": spec.spot,
        }  # fmt: skip
        remarks = [f"the nodes have booted {', '.join(booted(nodes))}"]
        if endpoint := self._azure.endpoint():
            facts["endpoint"] = endpoint
            remarks.append(f"not Azure itself: a server that speaks its API, at {endpoint}")
        return Provisioned(facts=facts, remarks=tuple(remarks))

    def submit(self, spec: JobSpec, environment: dict[str, str]) -> dict[str, Any]:
        """The job with a task for every node; those of an earlier try are left alone."""
        gang = self._gang(spec, environment)
        name = gang.name(self._account)
        tasks = [gang.task(self._account, index) for index in range(spec.nodes)]
        self._jobs.ensure(name, gang.job(self._account), tasks)
        return {"job": name, "pool": name}

    def observe(self, spec: JobSpec, submitted: dict[str, Any]) -> Observation:
        """From the states of all tasks."""
        if not submitted:
            return Observation(state=JobState.UNKNOWN)
        return self._jobs.observe(submitted["job"])

    def node_log(self, spec: JobSpec, index: int) -> str:
        """What the node's task has written; only while there is a node."""
        return self._jobs.log(self._name(spec), index)

    def stop(self, spec: JobSpec, *, grace_s: float) -> None:
        """The nodes are asked by way of the store; then the job is terminated."""
        name = self._name(spec)
        if self._jobs.get(name) is None:
            return
        asked: dict[str, Json] = {"why": "stopped by rpac", "stopped": True}
        self._storage.create_json(Keys(spec.run).cancel, asked)
        if self._jobs.observe(name).state is JobState.RUNNING:
            self._jobs.until_over(name, grace_s)
        self._jobs.terminate(name, "stopped by rpac")
        self._jobs.until_over(name, grace_s)

    def release(self, spec: JobSpec) -> dict[str, Any]:
        """Job and pool deleted, and seen to be gone."""
        name = self._name(spec)
        self._jobs.delete(name)
        used = self._delete_pool(spec, name)
        if not self._jobs.is_gone(name, GONE_S):
            raise CloudError(f"the job {name} is still being deleted", transient=True)
        return {"left": {"jobs": 0, "pools": 0}, "cost_usd": self._cost(spec, used)}

    def leftovers(self) -> list[Leftover]:
        """Pools and jobs of any run of this repository, also those being deleted."""
        prefix = f"{self._account.name}-"
        named = {"job": self._jobs.named(prefix), "pool": self._pools.named(prefix)}
        return [
            Leftover(run=metadata[RUN], kind=kind, name=name)
            for kind, found in named.items()
            for name, metadata in found
            if metadata.get(NAME) == self._account.name and RUN in metadata
        ]

    def idle(self, needed: Iterable[Target]) -> list[Leftover]:
        """Nothing: every pool belongs to a run."""
        return []

    def discard(self, leftover: Leftover) -> None:
        """Delete it, and see it gone."""
        things: Pools | BatchJobs = self._pools if leftover.kind == "pool" else self._jobs
        things.delete(leftover.name)
        if not things.is_gone(leftover.name, GONE_S):
            what = f"the {leftover.kind} {leftover.name} is still being deleted"
            raise CloudError(what, transient=True)

    # --- parts ----------------------------------------------------------------------------------

    def _name(self, spec: JobSpec) -> str:
        return f"{self._account.name}-{spec.run}-{spec.attempt}"

    def _gang(self, spec: JobSpec, environment: dict[str, str]) -> Gang:
        if not spec.machine:
            raise CloudError(f"the job of {spec.run} names no machine of Azure")
        target = Target(cloud=CLOUD, runtime="docker", machine=spec.machine, spot=spec.spot)
        need = Resources(
            nodes=spec.nodes, cpus=spec.cpus, memory=spec.memory_mib, gpus=spec.gpus
        )  # fmt: skip
        variables = {
            **{name: os.environ[name] for name in PASSED_ON if os.environ.get(name)},
            **environment,
        }
        if environment:
            variables["RPAC_STORE"] = self._account.store
        return gang_of(
            need, target, run=spec.run, attempt=str(spec.attempt), image=spec.image or "",
            limit_s=int(longest_s(spec.time_limit_s, spec.waits)), environment=variables,
        )  # fmt: skip

    def _delete_pool(self, spec: JobSpec, name: str) -> float | None:
        """
        Delete the pool, see it gone, and write down what its nodes were used for.

        Returns:
            Seconds of its nodes, where that was written down now.
        """
        used = None
        if nodes := self._pools.nodes(name):
            # who comes later, after a crash for instance, has no nodes to look at any more
            now = self._storage.now(f"{Keys(spec.run).control}clock")
            seconds = used_s(nodes, now)
            if self._storage.create_json(_used(spec), {"seconds": seconds}):
                used = seconds
        self._pools.delete(name)
        if not self._pools.is_gone(name):
            raise CloudError(
                f"the pool {name} is still being deleted", hint="try again later", transient=True
            )
        return used

    def _cost(self, spec: JobSpec, seconds: float | None) -> float | None:
        """Time of the machines at the catalog's price; None where there is no price."""
        region = self._account.location
        price = catalog.load(CLOUD).price(spec.machine or "", region, spot=spec.spot)
        if price is None:
            return None
        if seconds is None:  # an earlier try may have written it down
            used = self._storage.get_json(_used(spec))
            seconds = used["seconds"] if used else None
        return 0.0 if seconds is None else catalog.usd(price, seconds)


def _cpus(machine: str) -> int:
    return catalog.load(CLOUD).machines[machine].cpus


def _used(spec: JobSpec) -> str:
    """Key of the time that machines were there, all together."""
    return f"{Keys(spec.run).control}used/{spec.attempt}"


@dataclass(frozen=True, slots=True)
class Shared:
    """What the runs of one process share: clients, and what they know of the account."""

    azure: Azure
    quotas: Quotas
    systems: Systems
    pools: PoolBoard
    nodes: NodeBoard


@cache
def _shared(account: AzureSite, _endpoint: str | None) -> Shared:
    """Another endpoint is another cloud."""
    azure = Azure(account)
    return Shared(azure, Quotas(azure), Systems(azure), PoolBoard(azure), NodeBoard(azure))


def connect(workspace: Place) -> AzureCloud:
    """
    Azure for the runs of a workspace.

    Raises:
        RpacError: the workspace's settings name no account, or the SDK is not installed.
    """
    account = workspace.config.clouds.azure
    if account is None:
        raise CommandError(
            "rpac.yaml names nothing on Azure (clouds.azure)",
            hint="rpac setup azure makes what is needed and writes it there",
        )
    with _CONNECTING:  # threads of a study come at once, and are to share what is known
        shared = _shared(account, os.environ.get(ENDPOINT))
    return AzureCloud(shared, account, workspace.storage)
