"""
The Spark engine: a standalone cluster, its master on main and one worker on every node.

All programs are those of the pyspark in the experiment's environment; a node needs Java besides.
Whoever connects must hold the run's secret, and all traffic is encrypted. The command finds the
cluster by SPARK_CONF_DIR, so `SparkSession.builder.getOrCreate()` without arguments is enough. On
each worker runs one executor with all processors of the node; modules of the experiment's folder
can be imported there, but its working folder is its own: hand absolute paths to tasks.

Sums of floating-point numbers behind a shuffle still hang on the order in which its blocks come
in, which Spark does not fix: such results are compared with a tolerance.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from rpac_ci.engines import installed, spark_conf, spark_events, spark_java
from rpac_ci.engines.interface import EngineDefaults, NodeContext, Role
from rpac_ci.engines.spark_master import NOW_AND_THEN_S, SOON_S, Master
from rpac_ci.errors import CloudError, PipelineError
from rpac_ci.node.determinism import THREAD_LIMITS

if TYPE_CHECKING:
    from rpac_ci.pipeline import Definition

_DRIVER = "org.apache.spark.deploy.SparkSubmit"
_LAST_WORDS_S = 30.0  # of a busy machine; an idle one needs one


@dataclass(frozen=True, slots=True)
class _Cluster:
    """What main knows of its cluster."""

    master: Master
    events: spark_events.EventLogs


class SparkEngine(EngineDefaults):
    """See `engines.interface.Engine`."""

    packages = ("pyspark",)
    from_source = ("pyspark",)

    def __init__(self) -> None:
        self._clusters: dict[Path, _Cluster] = {}  # by the folder of main

    def check(self, definition: Definition) -> None:
        """Refuse nodes with too little memory."""
        memory, least = definition.resources.memory, spark_conf.LEAST_MIB
        if memory < least:
            raise PipelineError(
                f"engine spark needs {least} MiB on each node, {memory} MiB are asked for",
                hint=f"memory={least // 1024}GiB: main holds the driver beside an executor",
            )

    def new_secret(self) -> dict[str, str]:
        """One word that all processes of the cluster share."""
        return {"secret": secrets.token_hex(32)}

    def main_roles(self, node: NodeContext) -> list[Role]:
        """The master, on free ports of main's address."""
        master = Master(node.address)
        self._clusters[node.folder] = _Cluster(
            master, spark_events.EventLogs(node.folder / "events")
        )
        arguments = ["--host", node.address, "--port", str(master.port)]
        arguments += ["--webui-port", str(master.web_port)]
        return [_daemon(node, master.url, "master", arguments)]

    def announce(self, node: NodeContext) -> dict[str, Any] | None:
        """The master's URL, once it listens."""
        master = self._clusters[node.folder].master
        return {"master": master.url} if master.listens() else None

    def worker_roles(self, node: NodeContext, announced: Mapping[str, Any]) -> list[Role]:
        """One worker, with the processors and the memory that the node has."""
        arguments = [
            "--host", node.address, "--port", "0", "--webui-port", "0",
            "--cores", str(node.spec.cpus), "--memory", f"{node.spec.memory_mib}m",
            "--work-dir", str(node.folder / "work"), announced["master"],
        ]  # fmt: skip
        return [_daemon(node, announced["master"], "worker", arguments)]

    def ready(self, node: NodeContext) -> bool:
        """As many workers as nodes have come."""
        master = self._clusters[node.folder].master
        return master.workers(every_s=SOON_S)["alive"] >= node.spec.nodes

    def workers(self, node: NodeContext) -> Mapping[str, Any]:
        """By the master's account; an executor that was lost alone counts as a worker lost."""
        counts = {"seen": 0, "alive": 0, "lost": 0}
        if cluster := self._clusters.get(node.folder):
            counts = cluster.master.workers(every_s=NOW_AND_THEN_S)
            lost = sum(len(application.lost) for application in cluster.events.read())
            counts["lost"] = max(counts["lost"], lost)
        return {"asked": node.spec.nodes, **counts}

    def command_environment(
        self, node: NodeContext, announced: Mapping[str, Any]
    ) -> dict[str, str]:
        """Enough for `SparkSession.builder.getOrCreate()`."""
        python = dict.fromkeys(("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"), node.interpreter)
        return {**_environment(node, _home(node)), **python}

    def facts(self, node: NodeContext) -> dict[str, Any]:
        """Versions and layout, as the applications have written them down."""
        _let_drivers_end()
        cluster = self._clusters.get(node.folder)
        found = spark_events.facts(cluster.events.read() if cluster else [])
        memory = spark_conf.Memory.of_node(node.spec.memory_mib)
        versions = installed.versions(node.interpreter, ("pyspark", "py4j"))
        return {
            **found,
            "name": "spark",
            "versions": {**versions, **_python(node), **found["versions"]},
            "executor_memory_mib": memory.executor,
            "driver_memory_mib": memory.driver,
        }


def _home(node: NodeContext) -> Path:
    packages = installed.site_packages(node.interpreter)
    if packages is None or not (packages / "pyspark" / "jars").is_dir():
        raise CloudError(
            "engine spark finds no pyspark in the experiment's environment",
            hint="add pyspark==… to the lock",
        )
    return packages / "pyspark"


def _python(node: NodeContext) -> dict[str, str]:
    """The version of Python, as its virtual environment has it written down."""
    try:
        text = (Path(node.interpreter).parent.parent / "pyvenv.cfg").read_text()
    except OSError:
        return {}
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+\.\d+)", text, re.MULTILINE)
    return {"python": found[1]} if found else {}


def _daemon(node: NodeContext, master: str, name: str, arguments: list[str]) -> Role:
    """`master` or `worker`, with its configuration in place."""
    java, home = spark_java.find(), _home(node)
    version = installed.versions(node.interpreter, ("pyspark",))["pyspark"]
    spark_conf.write(node, master, version=version)
    main_class = f"org.apache.spark.deploy.{name}.{name.capitalize()}"
    argv = spark_java.daemon(java, home, node.folder / "tmp", main_class, arguments)
    # executors inherit the worker's
    threads = dict.fromkeys(THREAD_LIMITS, "1")
    return Role(name=name, argv=argv, environment={**threads, **_environment(node, home)})


def _environment(node: NodeContext, home: Path) -> dict[str, str]:
    """What all of Spark's programs are told. No name of a host is ever looked up."""
    core = next((home / "jars").glob("spark-core_*.jar")).name  # spark-core_2.13-4.3.0.jar
    return {
        "SPARK_SCALA_VERSION": core.removeprefix("spark-core_").partition("-")[0],
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(node.folder / "conf"),
        "SPARK_LOCAL_IP": node.address,
        "SPARK_LOCAL_HOSTNAME": node.address,
        "SPARK_LOCAL_DIRS": str(node.folder / "local"),
    }


def _let_drivers_end() -> None:
    """
    Wait for drivers whose command has ended: they are writing the last of their event log.

    Such a driver's Java has lost its parent, so it has become a child of this process.
    """
    orphans = []
    for child in psutil.Process().children():
        try:
            if _DRIVER in child.cmdline():
                orphans.append(child)
        except psutil.Error:
            continue
    psutil.wait_procs(orphans, timeout=_LAST_WORDS_S)


ENGINE = SparkEngine()
