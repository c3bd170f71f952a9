"""Things of the account as the two planes of its API show them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.standins.azure.state import Job, Json, Node, Pool, Task

_STATES = (
    "creating", "idle", "offline", "preempted", "rebooting", "reimaging", "running", "starting",
    "startTaskFailed", "leavingPool", "unknown", "unusable", "waitingForStartTask", "deallocated",
    "deallocating", "upgradingOS",
)  # fmt: skip


def pool(found: Pool, url: str) -> Json:
    """A pool in the data plane."""
    asked, (dedicated, spot) = found.asked["properties"], found.targets
    machine = dict(found.machine)
    machine["nodeAgentSKUId"] = machine.pop("nodeAgentSkuId")
    if "containerConfiguration" in machine:
        containers = dict(machine["containerConfiguration"])
        containers["type"] = "dockerCompatible"
        machine["containerConfiguration"] = containers
    shown: Json = {
        "id": found.id, "url": f"{url}/pools/{found.id}", "eTag": found.etag,
        "lastModified": found.at, "creationTime": found.created, "state": found.state,
        "stateTransitionTime": found.at, "allocationState": found.allocation.state,
        "allocationStateTransitionTime": found.allocation.at, "vmSize": asked["vmSize"],
        "virtualMachineConfiguration": machine,
        "resizeTimeout": asked["scaleSettings"]["fixedScale"].get("resizeTimeout", "PT15M"),
        "currentDedicatedNodes": len(found.nodes) if dedicated else 0,
        "currentLowPriorityNodes": len(found.nodes) if spot else 0,
        "targetDedicatedNodes": dedicated, "targetLowPriorityNodes": spot,
        "enableAutoScale": False,
        "enableInterNodeCommunication": asked.get("interNodeCommunication") == "Enabled",
        "taskSlotsPerNode": asked.get("taskSlotsPerNode", 1),
        "metadata": asked.get("metadata", []),
    }  # fmt: skip
    if found.errors:
        shown["resizeErrors"] = found.errors
    return shown


def managed_pool(found: Pool, resource: str) -> Json:
    """A pool in the management plane."""
    gone = found.state == "deleting"
    return {
        "id": resource, "name": found.id, "type": "Microsoft.Batch/batchAccounts/pools",
        "etag": found.etag, "identity": found.asked["identity"],
        "properties": {
            **found.asked["properties"],
            "provisioningState": "Deleting" if gone else "Succeeded",
            "allocationState": found.allocation.state.capitalize(),
            "creationTime": found.created, "lastModified": found.at,
        },
    }  # fmt: skip


def node(found: Node, of: Pool, url: str) -> Json:
    """A node of a pool."""
    number = of.nodes.index(found)
    image = dict(of.machine["imageReference"])
    image["exactVersion"] = f"{image['sku'][:2]}.{image['sku'][2:]}.2026100101"
    shown: Json = {
        "id": found.id, "url": f"{url}/pools/{of.id}/nodes/{found.id}", "state": found.state,
        "schedulingState": "enabled", "stateTransitionTime": found.at,
        "lastBootTime": found.created, "allocationTime": found.created,
        "ipAddress": f"10.0.0.{4 + number}", "affinityId": f"TVM:{found.id}",
        "vmSize": of.asked["properties"]["vmSize"], "totalTasksRun": 0,
        "isDedicated": bool(of.targets[0]), "virtualMachineInfo": {"imageReference": image},
    }  # fmt: skip
    if found.error:
        shown["errors"] = [{"code": "NodeUnusable", "message": found.error}]
    return shown


def counts(of: Pool) -> Json:
    """How many nodes of a pool are in which state."""
    found = Counter(node.state.lower() for node in of.nodes)
    said = {state: found[state.lower()] for state in _STATES} | {"total": len(of.nodes)}
    none = dict.fromkeys(said, 0)
    dedicated, spot = (said, none) if of.targets[0] else (none, said)
    return {"poolId": of.id, "dedicated": dedicated, "lowPriority": spot}


def job(found: Job, url: str) -> Json:
    """A job."""
    info: Json = {"startTime": found.created, "poolId": found.pool}
    if found.reason:
        info["terminateReason"] = found.reason
    if found.ended:
        info["endTime"] = found.ended
    return {
        "onAllTasksComplete": "noaction", "onTaskFailure": "noaction", "priority": 0,
        **found.asked, "url": f"{url}/jobs/{found.asked['id']}", "eTag": found.etag,
        "lastModified": found.at, "creationTime": found.created, "state": found.state,
        "stateTransitionTime": found.at, "executionInfo": info,
    }  # fmt: skip


def task(found: Task, of: Job, url: str) -> Json:
    """A task of a job."""
    shown: Json = {
        **found.asked, "url": f"{url}/jobs/{of.asked['id']}/tasks/{found.id}",
        "eTag": found.etag, "lastModified": found.at, "creationTime": found.created,
        "state": found.state, "stateTransitionTime": found.at, "executionInfo": found.info,
    }  # fmt: skip
    if found.node:
        shown["nodeInfo"] = {
            "affinityId": f"TVM:{found.node.id}", "poolId": of.pool, "nodeId": found.node.id,
        }  # fmt: skip
    return shown


def select(shown: Json, names: str | None) -> Json:
    """What `$select` names of it."""
    wanted = names.split(",") if names else None
    return {key: value for key, value in shown.items() if wanted is None or key in wanted}


def error(code: str, message: str, *, managed: bool) -> Any:
    """An error, as each plane has it."""
    if managed:
        return {"error": {"code": code, "message": message}}
    value = {"lang": "en-US", "value": f"{message}\nRequestId:0\nTime:2026-01-02T03:04:05Z"}
    return {"odata.metadata": "https://standin/$metadata#error", "code": code, "message": value}
