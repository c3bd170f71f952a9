"""
Pools: made once for each run, looked at until all their nodes are ready, deleted and seen gone.

A pool that could not have all of its nodes is steady all the same, so they are counted. A pool that
is being deleted keeps its name until it is gone, and nobody but us deletes one: machines of a pool
that is forgotten cost money for ever.

There is no limit of Azure's own on a pool's life. A formula (autoscale) could let it have no nodes
past some moment, but Microsoft says that pools whose nodes talk to each other do not give up nodes
that way (https://github.com/MicrosoftDocs/azure-docs/pull/104566), and formulas are looked at every
five minutes at best. A pool made by a job, which goes with it, cannot have an identity. So the job
has a wall clock, which ends the tasks, and the pool is deleted by whoever releases or sweeps.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rpac_ci.clouds.azure import paces
from rpac_ci.clouds.azure.boards import NodeBoard, PoolBoard
from rpac_ci.clouds.azure.clients import Azure
from rpac_ci.clouds.azure.errors import code_of, error_of, translated
from rpac_ci.clouds.azure.requests import RESIZE_S, MachineImage
from rpac_ci.clouds.azure.systems import Systems
from rpac_ci.errors import CapacityError, CloudError, ProvisioningError
from rpac_ci.quantities import format_duration

if TYPE_CHECKING:
    from azure.batch.models import BatchNode, BatchPool

START_S = 1200.0  # of nodes, with the pull of the image
GONE_S = 600.0
READY = ("idle", "running")
NODE = ["id", "state", "errors", "allocationTime", "virtualMachineInfo"]  # what is asked of one
BROKEN = ("unusable", "starttaskfailed", "preempted", "offline", "deallocated")

Body = Callable[[MachineImage], dict[str, Any]]


class Pools:
    """The pools of one Batch account."""

    def __init__(self, azure: Azure, systems: Systems, board: PoolBoard, nodes: NodeBoard) -> None:
        """
        Args:
            azure: the account.
            systems: that its machines can boot.
            board: of its pools, which all runs of this process look at.
            nodes: the same of their nodes.
        """
        self._azure = azure
        self._systems = systems
        self._board = board
        self._nodes = nodes

    def get(self, name: str) -> BatchPool | None:
        """A pool, also one that is being deleted; None when there is none."""
        try:
            with translated("looking at the pool"):
                return self._azure.batch.get_pool(name)
        except CloudError as exc:
            if code_of(exc) == "PoolNotFound":
                return None
            raise

    def nodes(self, name: str) -> list[BatchNode]:
        """The nodes of a pool, none when it is gone."""
        try:
            with translated("looking at the nodes"):
                return list(self._azure.batch.list_nodes(name, select=NODE))
        except CloudError as exc:
            if code_of(exc) == "PoolNotFound":
                return []
            raise

    def named(self, prefix: str) -> list[tuple[str, dict[str, str]]]:
        """Pools whose names begin so, also those being deleted, with their metadata."""
        with translated("listing pools"):
            found = self._azure.batch.list_pools(
                filter=f"startswith(id,'{prefix}')", select=["id", "state", "metadata"]
            )
            return [(pool.id, {m.name: m.value for m in pool.metadata or []}) for pool in found]

    def ensure(self, name: str, body: Body) -> None:
        """
        Have the pool, which may be that of an earlier try: made first and looked for then.

        Raises:
            QuotaError: the account may have no more pools.
            ProvisioningError: no image of machines will do.
            CloudError: Azure does not take it.
        """
        wanted = body(self._systems.newest())
        try:
            self._create(name, wanted)
        except CloudError:
            # of another driver, of an earlier try, or of a first try of the SDK's
            found = self.get(name)
            if found is None:
                raise
            if found.state == "deleting":
                self._until_gone(name)  # its name is taken until then
                self._create(name, wanted)

    def _create(self, name: str, body: dict[str, Any]) -> None:
        from azure.core import MatchConditions

        account = self._azure.account
        with translated("making the pool"):
            self._azure.managed.pool.create(
                account.resource_group, account.account, name, body,
                match_condition=MatchConditions.IfMissing,
            )  # fmt: skip

    def until_ready(
        self, name: str, wanted: int, *, stopped: Callable[[], bool]
    ) -> list[BatchNode]:
        """
        The nodes, once all of them are ready.

        Args:
            name: of the pool.
            wanted: so many.
            stopped: whether nobody wants them any more.

        Raises:
            CapacityError: there are not so many machines.
            QuotaError: the account may not have so many.
            ProvisioningError: one of them does not come up.
            CloudError: they are no longer wanted, or somebody has deleted the pool.
        """
        steady_s: float | None = None
        for passed in paces.until(RESIZE_S + START_S):
            if passed and stopped():  # who comes here has just looked
                raise CloudError("stopped while waiting for machines", transient=True)
            pool = self._look(name)
            if pool is None or pool.state == "deleting":
                raise CloudError(f"somebody has deleted the pool {name}", transient=True)
            if pool.allocation_state != "steady":
                continue
            steady_s = passed if steady_s is None else steady_s
            if not self._nodes.are_starting(name, wanted):
                nodes = self.nodes(name)
                if len(nodes) < wanted:
                    raise _too_few(pool, len(nodes), wanted)
                if broken := [node for node in nodes if node.state in BROKEN]:
                    hint = "try again: it may be the machine"
                    raise ProvisioningError(_why(broken[0]), hint=hint)
                if all(node.state in READY for node in nodes):
                    return nodes
            if passed - steady_s > START_S:
                break
        if steady_s is None:
            raise CapacityError(
                f"Azure has not said within {format_duration(RESIZE_S + START_S)} whether there "
                f"are {wanted} machines", hint="another machine, region or time may do",
            )  # fmt: skip
        raise ProvisioningError(
            f"not all of {wanted} nodes have started within {format_duration(START_S)}",
            hint="is the image very large, or its registry out of the nodes' reach?",
        )

    def delete(self, name: str) -> None:
        """Delete it; silent when that has been done already."""
        try:
            with translated("deleting the pool"):
                self._azure.send("DELETE", f"/pools/{name}")
        except CloudError as exc:
            if code_of(exc) not in ("PoolNotFound", "PoolBeingDeleted"):
                raise

    def is_gone(self, name: str, limit_s: float = GONE_S) -> bool:
        """Whether it is no longer there, at the latest after the limit."""
        gone = any(self._look(name) is None for _ in paces.until(limit_s))
        self._board.forget(name)
        self._nodes.forget(name)
        return gone

    def _look(self, name: str) -> BatchPool | None:
        """What the list says, which is a moment old; of what is not in it, what Azure says now."""
        return self._board.look(name) or self.get(name)

    def _until_gone(self, name: str) -> None:
        if not self.is_gone(name):
            raise CloudError(
                f"the pool {name} is still being deleted", hint="try again later", transient=True
            )


def used_s(nodes: list[BatchNode], until: datetime) -> float:
    """Seconds of machines, from their allocation on."""
    ages = [(until - node.allocation_time).total_seconds() for node in nodes]
    return sum(max(0.0, age) for age in ages)


def booted(nodes: list[BatchNode]) -> list[str]:
    """The systems that the nodes have booted, as Azure writes them: down to the exact version."""
    images = [node.virtual_machine_info.image_reference for node in nodes]
    return sorted(
        {
            f"{image.publisher}:{image.offer}:{image.sku}:{image.exact_version or image.version}"
            for image in images
            if image
        }
    )


def _too_few(pool: BatchPool, there: int, wanted: int) -> CloudError:
    errors = pool.resize_errors or []
    said = "; ".join(f"{error.code}: {error.message}" for error in errors)
    code = next((error.code for error in errors if error.code), "") or ""
    came = f"{there} of {wanted} machines came" + (f" ({said})" if said else "")
    return error_of(code, came)


def _why(node: BatchNode) -> str:
    errors = "; ".join(f"{error.code}: {error.message}" for error in node.errors or [])
    return f"a node is {node.state.value if hasattr(node.state, 'value') else node.state}" + (
        f" ({errors})" if errors else ""
    )
