"""Real Spark clusters of several processes, in an environment built from a lock."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import WriteExperiment, asset
from tests.integration.conftest import NOTHING, Terminal
from tests.standins.faults import Faults, end_all, start
from tests.standins.waiting import until

# each cluster is six Java machines, and a busy processor has other things to do, too
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

YAML = """\
id: squares
title: Squares on a cluster
engine: {name: spark, on_worker_loss: LOSS}
command: [python, main.py, "{args.mode}", "{outputs}"]
environment: {lock: requirements.lock, python: "3.11"}
args: {mode: plain}
resources: {nodes: 2, cpus: 1, memory: 2 GiB}
verify:
  total: {expect: 285}
limits: {time: 10 min}
"""
MAIN = """\
import json, os, pathlib, sys, time
from functools import partial
from pyspark import SparkContext
from helper import square

SWITCHES = ("PYTHONHASHSEED", "TZ", "SOURCE_DATE_EPOCH", "OMP_NUM_THREADS")

def work(mode, numbers):
    if mode == "wait":
        pathlib.Path("STARTED").touch()
        while not pathlib.Path("GO").exists():
            time.sleep(0.02)
    for number in numbers:
        yield square(number)

def about(_):
    return [os.environ["SPARK_LOCAL_IP"], *(os.environ[name] for name in SWITCHES)]

if __name__ == "__main__":
    mode, out = sys.argv[1:]
    context = SparkContext.getOrCreate()
    metrics = {"total": context.parallelize(range(10), 4).mapPartitions(partial(work, mode)).sum()}
    if mode == "plain":
        print("executors", sorted(context.parallelize(range(2), 2).map(about).collect()))
        from pyspark.sql import SparkSession
        spark = SparkSession.builder.getOrCreate()
        groups = spark.range(100).selectExpr("id % 3 AS k").groupBy("k").count()
        metrics["groups"] = groups.count()
        metrics["parts"] = groups.rdd.getNumPartitions()
    pathlib.Path(out, "metrics.json").write_text(json.dumps(metrics))
    if mode == "fail":
        sys.exit(3)
"""
# Spark needs longer for everything than its limits here; `lonely` is what a test waits for
WAITS = {"ready": 240.0, "stop": 5.0, "logs": 5.0, "lonely": 5.0}
LIMIT_S = 900.0
MASTER, WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"


@pytest.fixture(autouse=True)
def _no_driver_outlives_its_test() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture(autouse=True)
def _java_compiles_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To compile better what runs for seconds takes a third of a story's processor time."""
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    if java is None:
        return  # the story says what is missing
    program = tmp_path / "java" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{java}" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(program.parents[1]))


class Cluster:
    """A run of the squares on two nodes, whose tasks wait for `go`."""

    def __init__(
        self, rpac: Terminal, write_experiment: WriteExperiment, folder: Path, loss: str
    ) -> None:
        self.rpac, self._go, self._started = rpac, folder / "go", folder / "started"
        code = MAIN.replace("GO", str(self._go)).replace("STARTED", str(self._started))
        lock = asset("pyspark.lock").read_text()
        files = {"main.py": code, "requirements.lock": lock}
        files["helper.py"] = "def square(n):\n    return n * n\n"
        write_experiment("squares", YAML.replace("LOSS", loss), files)

    def run(self, mode: str) -> dict[str, Any]:
        """A run from start to end."""
        self.start(mode)
        return self.end()

    def start(self, mode: str = "wait") -> None:
        """Start a run."""
        words = ("reproduce", "squares", f"args.mode={mode}")
        self.driver = start(self.rpac.root, *words, faults=Faults(waits=WAITS))

    def until(self, what: Any) -> Any:
        """Wait for something while the run goes on."""

        def alive_and() -> Any:
            if self.driver.poll() is not None:
                raise AssertionError("the run is over:\n" + "\n".join(self.driver.communicate()))
            return what()

        return until(alive_and, limit_s=LIMIT_S)

    def until_tasks_run(self) -> None:
        """Wait for the first task."""
        self.until(self._started.exists)

    def kill(self, name: str, node: str) -> None:
        """Kill one of Spark's daemons."""
        self.until(partial(self.find, name, node)).kill()

    def find(self, name: str, node: str = "0") -> psutil.Process | None:
        """A process of a node."""
        for process in self.rpac.marked():
            try:
                if name in process.cmdline() and process.environ()["RPAC_NODE_INDEX"] == node:
                    return process
            except psutil.Error:
                continue
        return None

    def go_on(self) -> None:
        """Let the tasks end."""
        self._go.touch()

    def log(self, role: str) -> str:
        """What a process of main has said."""
        folder = next(self.rpac.root.glob(f".rpac/store/runs/*/attempt/1/logs/00000/{role}"))
        return "".join(part.read_text() for part in sorted(folder.glob("*.txt")))

    def end(self) -> dict[str, Any]:
        """The record, once the run has ended and left nothing."""
        out, err = self.driver.communicate(timeout=LIMIT_S)
        assert self.rpac.left_over() == NOTHING, out + err
        return {**self.rpac.last(), "exit": self.driver.returncode}


@pytest.fixture
def cluster(rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path) -> Cluster:
    return Cluster(rpac, write_experiment, tmp_path, "tolerate")


def test_a_session_without_arguments_is_the_cluster_whoever_has_sparks_usual_ports(
    cluster: Cluster,
) -> None:
    with ExitStack() as stack:
        for port in (7077, 8080, 8081):
            taken = stack.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.2", port))
            taken.listen()
        record = cluster.run("plain")
    assert record["exit"] == 0, record["outcome"]
    around = record["circumstances"]
    assert around["workers"] == {"asked": 2, "seen": 2, "alive": 2, "lost": 0}
    engine = around["engine"]
    assert engine["versions"]["spark"] == around["packages"]["pyspark"]
    assert {"java", "scala", "python"} <= set(engine["versions"])
    settings = ("parallelism", "shuffle_partitions", "adaptive")
    assert [engine[name] for name in settings] == ["32", "32", "false"]
    assert (engine["executors"], engine["executors_lost"]) == (2, 0)
    values = {name: metric["value"] for name, metric in record["outcome"]["metrics"].items()}
    assert values == {"total": 285, "groups": 3, "parts": 32}
    same = ["0", "UTC", "315532800", "1"]
    executors = [["127.0.0.2", *same], ["127.0.0.3", *same]]
    assert f"executors {executors}" in cluster.log("command")


def test_the_exit_of_the_command_is_the_truth_and_its_tasks_are_recorded(cluster: Cluster) -> None:
    record = cluster.run("fail")
    outcome = record["outcome"]
    assert (record["exit"], outcome["reason"], outcome["exit_code"]) == (3, "command failed", 3)
    assert record["circumstances"]["engine"]["tasks"] == 4


def test_a_lost_worker_is_recorded_and_the_result_stands(cluster: Cluster) -> None:
    cluster.start()
    cluster.until_tasks_run()
    cluster.kill(WORKER, "1")
    cluster.until(lambda: "Removing worker" in cluster.log("master"))
    cluster.go_on()
    record = cluster.end()
    assert record["exit"] == 0, record["outcome"]
    assert record["circumstances"]["workers"] == {"asked": 2, "seen": 2, "alive": 1, "lost": 1}
    assert record["circumstances"]["engine"]["executors_lost"] == 1


def test_a_lost_worker_fails_the_run_where_the_experiment_says_so(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    cluster = Cluster(rpac, write_experiment, tmp_path, "fail")
    cluster.start()
    cluster.until_tasks_run()
    cluster.kill(WORKER, "1")
    record = cluster.end()
    assert (record["exit"], record["outcome"]["reason"]) == (3, "worker lost")


def test_without_any_worker_the_run_ends_where_spark_would_wait_for_ever(cluster: Cluster) -> None:
    cluster.start()
    cluster.until_tasks_run()
    for node in ("0", "1"):
        cluster.kill(WORKER, node)
    record = cluster.end()
    assert (record["exit"], record["outcome"]["reason"]) == (3, "worker lost")
    assert record["circumstances"]["workers"] == {"asked": 2, "seen": 2, "alive": 0, "lost": 2}


def test_without_its_master_the_run_ends(cluster: Cluster) -> None:
    cluster.start()
    cluster.until_tasks_run()
    cluster.kill(MASTER, "0")
    record = cluster.end()
    assert (record["exit"], record["outcome"]["reason"]) == (5, "engine failed")
    assert "master ended with exit code 137" in record["outcome"]["message"]


STRANGER = """\
import sys
from pyspark.sql import SparkSession
options = {"spark.authenticate": "true", "spark.authenticate.secret": "guessed",
           "spark.network.crypto.enabled": "true", "spark.driver.host": "127.0.0.1",
           "spark.ui.enabled": "false", "spark.driver.memory": "512m"}
builder = SparkSession.builder.master(sys.argv[1])
for name, value in options.items():
    builder = builder.config(name, value)
print("sum", builder.getOrCreate().sparkContext.parallelize(range(3), 1).sum())
"""


def test_the_secret_is_nowhere_to_be_seen_and_who_lacks_it_is_refused(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.start()
    cluster.until_tasks_run()
    [kept] = cluster.rpac.root.glob(".rpac/store/runs/*/secret")
    secret = json.loads(kept.read_text())["secret"]
    assert all(secret not in " ".join(process.cmdline()) for process in cluster.rpac.marked())
    command = cluster.find("main.py")
    assert command is not None
    assert secret not in str(command.environ())
    holders = {path for path in files(cluster.rpac.root / ".rpac") if holds(path, secret)}
    configurations = set(cluster.rpac.root.glob(".rpac/local/*/node-*/engine/conf/*.conf"))
    assert len(configurations) == 2
    assert holders == {kept, *configurations}
    assert {stat.S_IMODE(path.stat().st_mode) for path in configurations} == {0o600}

    environment = {"PATH": os.environ["PATH"], "PYSPARK_PYTHON": cluster_python(command)}
    words = configurations.pop().read_text().split()
    url = next(word for word in words if word.startswith("spark://"))
    done = subprocess.run(
        [cluster_python(command), "-c", STRANGER, url],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "sum" not in done.stdout
    cluster.go_on()
    assert cluster.end()["exit"] == 0
    assert secret not in "".join(cluster.log(role) for role in ("master", "worker", "command"))


def cluster_python(command: psutil.Process) -> str:
    """The interpreter of the experiment's environment."""
    return command.environ()["PYSPARK_PYTHON"]


def files(folder: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def holds(path: Path, text: str) -> bool:
    """Whether a file, if it is still there, holds a text."""
    try:
        return text.encode() in path.read_bytes()
    except FileNotFoundError:
        return False


def test_a_node_without_java_says_what_to_install(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    record = cluster.run("plain")
    assert (record["exit"], record["outcome"]["reason"]) == (5, "engine failed")
    assert "needs Java 17 or later on every node" in record["outcome"]["message"]
