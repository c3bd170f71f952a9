"""
What Spark is told: `spark-defaults.conf` of one node, readable by its owner alone.

It is the only file that holds the run's secret. The same file serves the daemons, by
SPARK_CONF_DIR, and the application, which so needs no argument to find the cluster. An application
may set otherwise what it likes; the record shows what it really ran with (`spark_events.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rpac_ci.engines.interface import NodeContext
from rpac_ci.node.determinism import ALWAYS, THREAD_LIMITS

LEAST_MIB = 2048  # of a node; Spark refuses heaps below 450 MiB
_DAEMONS_MIB = 512  # master and worker, each a heap of 128 MiB and as much around it
_DRIVER_MOST_MIB = 8192
# How many parts data is cut into decides in which order numbers are added up, so it must hang
# neither on nodes nor on processors. Adaptive execution chooses it anew from sizes and statistics.
PARTS = 32
_DETERMINISTIC: Mapping[str, str] = {
    "spark.default.parallelism": str(PARTS),
    "spark.sql.shuffle.partitions": str(PARTS),
    "spark.sql.adaptive.enabled": "false",
    "spark.speculation": "false",
}


@dataclass(frozen=True, slots=True)
class Memory:
    """Heaps of the driver and of each executor (MiB)."""

    driver: int
    executor: int

    @classmethod
    def of_node(cls, mib: int) -> Memory:
        """
        Thirds of what the daemons leave, since on main all of it runs at once: the driver's heap,
        the executor's, and what is outside of heaps: Java's own, and the Python processes. The
        other nodes leave the driver's part empty, so that executors are alike. A large node's
        driver has a limit, and the executor half of the rest.
        """
        rest = max(LEAST_MIB, mib) - _DAEMONS_MIB
        driver = min(rest // 3, _DRIVER_MOST_MIB)
        return cls(driver, (rest - driver) // 2)


def write(node: NodeContext, master: str, *, version: str) -> Path:
    """
    Write a node's configuration.

    Args:
        node: the node.
        master: URL of the master.
        version: of pyspark.

    Returns:
        The folder, for SPARK_CONF_DIR.
    """
    folder = node.folder / "conf"
    folder.mkdir(exist_ok=True)
    for name in ("events", "local", "tmp", "work"):
        (node.folder / name).mkdir(exist_ok=True)
    properties = {
        "spark.master": master,
        **_security(node, version),
        **_places(node),
        **_layout(node),
        **(_DETERMINISTIC if node.spec.deterministic else {}),
        **_executor_environment(node),
    }
    lines = [f"{name} {_escaped(value)}\n" for name, value in sorted(properties.items())]
    incoming = folder / "spark-defaults.conf.new"
    with os.fdopen(os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(lines)
    incoming.replace(folder / "spark-defaults.conf")
    return folder


def cipher(version: str) -> str:
    """How traffic is encrypted: authenticated where this version of Spark can do that."""
    return "AES/GCM/NoPadding" if int(version.partition(".")[0]) >= 4 else "AES/CTR/NoPadding"


def _security(node: NodeContext, version: str) -> dict[str, str]:
    return {
        "spark.authenticate": "true",
        "spark.authenticate.secret": node.secret["secret"],
        "spark.network.crypto.enabled": "true",
        "spark.network.crypto.cipher": cipher(version),
        "spark.master.rest.enabled": "false",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.ui.killEnabled": "false",
    }


def _places(node: NodeContext) -> dict[str, str]:
    """Addresses and folders; what is announced must be true, so no port may be moved."""
    java = f"-XX:-UsePerfData -XX:ActiveProcessorCount={node.spec.cpus}"
    return {
        "spark.driver.host": node.address,
        "spark.driver.bindAddress": node.address,
        "spark.port.maxRetries": "0",
        "spark.driver.defaultJavaOptions": java,
        "spark.executor.defaultJavaOptions": java,
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": (node.folder / "events").as_uri(),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
    }


def _layout(node: NodeContext) -> dict[str, str]:
    """One executor on each worker with all its processors, and no task before all are there."""
    spec, memory = node.spec, Memory.of_node(node.spec.memory_mib)
    return {
        "spark.driver.memory": f"{memory.driver}m",
        "spark.executor.memory": f"{memory.executor}m",
        "spark.executor.cores": str(spec.cpus),
        "spark.cores.max": str(spec.cpus * spec.nodes),
        "spark.dynamicAllocation.enabled": "false",
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": f"{max(1, int(spec.waits.ready))}s",
        "spark.worker.timeout": str(max(1, int(spec.waits.heartbeat))),
    }


def _executor_environment(node: NodeContext) -> dict[str, str]:
    """Variables of executors and their Python: one thread for each of the tasks at work."""
    variables = dict.fromkeys(THREAD_LIMITS, "1")
    if node.spec.deterministic:
        variables |= ALWAYS
    return {f"spark.executorEnv.{name}": value for name, value in variables.items()}


def _escaped(value: str) -> str:
    """A value in Java's format of properties."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")
