"""What Spark is told and what it says, without starting it."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rpac_ci.engines import spark_conf, spark_events, spark_java
from rpac_ci.engines.interface import NodeContext
from rpac_ci.engines.spark import SparkEngine
from rpac_ci.engines.spark_master import Master
from rpac_ci.errors import CloudError, PipelineError
from rpac_ci.jobs import JobSpec, RunId
from tests.standins.web import Server, serve
from tests.unit.builders import RUN, definition


def spec(**keys: Any) -> JobSpec:
    """A job of two nodes."""
    values: dict[str, Any] = {
        "run": RunId(RUN), "attempt": 1, "experiment": "exp", "engine": "spark",
        "on_worker_loss": "tolerate", "command": ["python", "main.py"], "args": {}, "data": [],
        "source": "", "outputs": [], "seed": None, "nodes": 2, "cpus": 4, "memory_mib": 8192,
        "time_limit_s": 60.0,
    }  # fmt: skip
    return JobSpec(**values | keys)


def node(folder: Path, **keys: Any) -> NodeContext:
    """Main, with its own files in a folder."""
    return NodeContext(
        spec=spec(**keys), index=0, address="127.0.0.1", interpreter="/usr/bin/python",
        folder=folder, secret={"secret": "5e" * 32},
    )  # fmt: skip


def properties(node: NodeContext, version: str = "4.3.0") -> dict[str, str]:
    """What the written configuration says."""
    folder = spark_conf.write(node, "spark://127.0.0.1:20000", version=version)
    lines = (folder / "spark-defaults.conf").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines)


# --- configuration --------------------------------------------------------------------------------


def test_the_configuration_is_its_owners_alone(tmp_path: Path) -> None:
    assert properties(node(tmp_path))["spark.authenticate.secret"] == "5e" * 32
    path = tmp_path / "conf" / "spark-defaults.conf"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_application_takes_the_whole_cluster(tmp_path: Path) -> None:
    told = properties(node(tmp_path, nodes=3, cpus=4))
    assert (told["spark.executor.cores"], told["spark.cores.max"]) == ("4", "12")
    assert told["spark.scheduler.minRegisteredResourcesRatio"] == "1.0"


def test_how_data_is_cut_hangs_on_no_machine(tmp_path: Path) -> None:
    names = ("spark.default.parallelism", "spark.sql.shuffle.partitions")
    small, large = (properties(node(tmp_path, nodes=n, cpus=n)) for n in (1, 64))
    assert [small[name] for name in names] == [large[name] for name in names]
    assert small["spark.sql.adaptive.enabled"] == "false"


def test_without_determinism_spark_chooses(tmp_path: Path) -> None:
    told = properties(node(tmp_path, deterministic=False))
    assert not {"spark.sql.adaptive.enabled", "spark.executorEnv.TZ"} & set(told)
    assert told["spark.executorEnv.OMP_NUM_THREADS"] == "1"


def test_what_java_would_take_for_an_escape_is_escaped(tmp_path: Path) -> None:
    odd = replace(node(tmp_path), secret={"secret": "a\\b"})
    assert properties(odd)["spark.authenticate.secret"] == "a\\\\b"


@pytest.mark.parametrize(("version", "mode"), [("3.5.1", "CTR"), ("4.3.0", "GCM")])
def test_traffic_is_authenticated_where_spark_can(tmp_path: Path, version: str, mode: str) -> None:
    assert mode in properties(node(tmp_path), version)["spark.network.crypto.cipher"]


@pytest.mark.parametrize(
    ("mib", "driver", "executor"),
    [(2048, 512, 512), (8192, 2560, 2560), (65536, 8192, 28416)],
)
def test_memory_is_shared_by_daemons_driver_executor_and_python(
    mib: int, driver: int, executor: int
) -> None:
    memory = spark_conf.Memory.of_node(mib)
    assert (memory.driver, memory.executor) == (driver, executor)
    assert 512 + memory.driver + 2 * memory.executor <= mib


def test_too_little_memory_is_refused_before_anything_is_started() -> None:
    engine = SparkEngine()
    engine.check(definition(engine="spark", resources={"memory": "2 GiB"}))
    with pytest.raises(PipelineError, match="2048 MiB on each node, 1024 MiB are asked") as caught:
        engine.check(definition(engine="spark", resources={"memory": "1 GiB"}))
    assert "memory=2GiB" in caught.value.hint


def test_every_run_has_a_secret_of_its_own() -> None:
    first, second = (SparkEngine().new_secret()["secret"] for _ in range(2))
    assert first != second
    assert len(bytes.fromhex(first)) == 32


# --- Java -----------------------------------------------------------------------------------------


def java_that_says(folder: Path, text: str) -> dict[str, str]:
    """Variables of a node whose `java` says so."""
    program = folder / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{text}' >&2\n")
    program.chmod(0o755)
    return {"JAVA_HOME": str(folder)}


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_java_of_java_home_is_taken(tmp_path: Path, version: str) -> None:
    variables = java_that_says(tmp_path, f'openjdk version "{version}" 2025-04-15')
    assert spark_java.find(variables) == str(tmp_path / "bin" / "java")


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ('java version "1.8.0_391"', "is Java 8"),
        ('openjdk version "11.0.2" 2019-01-15', "is Java 11"),
        ("install a runtime first", "is no Java"),
    ],
)
def test_an_old_java_is_refused(tmp_path: Path, says: str, found: str) -> None:
    with pytest.raises(CloudError, match=found) as caught:
        spark_java.find(java_that_says(tmp_path, says))
    assert "openjdk-17" in caught.value.hint


def test_a_java_home_without_java_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="is no Java"):
        spark_java.find({"JAVA_HOME": str(tmp_path)})


# --- the master's account -------------------------------------------------------------------------


@pytest.fixture
def web() -> Any:
    with serve() as server:
        yield server


def master(web: Server) -> Master:
    """A master whose page is the server's `/json/`."""
    made = Master("127.0.0.1")
    made.web_port = web.server_port
    return made


def say(web: Server, **states: str) -> None:
    """Let the master's page show workers in these states."""
    workers = [{"id": name, "state": state} for name, state in states.items()]
    body = json.dumps({"aliveworkers": 0, "workers": workers}).encode()

    def page(request: Any) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(body)

    web.pages["/json/"] = page


def test_a_worker_that_was_away_stays_lost(web: Server) -> None:
    asked = master(web)
    say(web, a="ALIVE", b="ALIVE")
    assert asked.workers(every_s=0) == {"seen": 2, "alive": 2, "lost": 0}
    say(web, a="ALIVE", b="DEAD")
    assert asked.workers(every_s=0) == {"seen": 2, "alive": 1, "lost": 1}
    say(web, a="ALIVE", b="ALIVE", c="ALIVE")
    assert asked.workers(every_s=0) == {"seen": 3, "alive": 3, "lost": 1}


def test_a_master_that_does_not_answer_counts_as_before(web: Server) -> None:
    asked = master(web)
    say(web, a="ALIVE")
    before = asked.workers(every_s=0)
    del web.pages["/json/"]
    assert asked.workers(every_s=0) == before
    asked.web_port = 1
    assert asked.workers(every_s=0) == before


def test_the_master_is_not_asked_at_every_poll(web: Server) -> None:
    asked = master(web)
    say(web, a="ALIVE")
    for _ in range(20):
        asked.workers(every_s=3600)
    assert web.asked["/json/"] == 1


# --- event logs -----------------------------------------------------------------------------------

ENVIRONMENT = {
    "Event": "SparkListenerEnvironmentUpdate",
    "JVM Information": {"Java Version": "17.0.15 (Debian)", "Scala Version": "version 2.13.18"},
    "Spark Properties": {"spark.default.parallelism": "32", "spark.sql.adaptive.enabled": "false"},
}
START = {"Event": "SparkListenerLogStart", "Spark Version": "4.3.0"}
END = {"Event": "SparkListenerApplicationEnd", "Timestamp": 1}


def executor(number: str, cores: int = 2) -> dict[str, Any]:
    info = {"Host": "127.0.0.2", "Total Cores": cores}
    return {"Event": "SparkListenerExecutorAdded", "Executor ID": number, "Executor Info": info}


def removed(number: str) -> dict[str, Any]:
    return {"Event": "SparkListenerExecutorRemoved", "Executor ID": number}


def task(reason: str = "Success") -> dict[str, Any]:
    end = {"Reason": reason}
    return {"Event": "SparkListenerTaskEnd", "Stage ID": 0, "Task End Reason": end}


def query(**changed: str) -> dict[str, Any]:
    name = "org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart"
    return {"Event": name, "modifiedConfigs": {"spark.sql." + k: v for k, v in changed.items()}}


def write_log(path: Path, *events: dict[str, Any]) -> None:
    """Append events as Spark writes them: one JSON object a line, without spaces."""
    with path.open("a") as file:
        file.writelines(json.dumps(event, separators=(",", ":")) + "\n" for event in events)


def test_the_record_says_what_an_application_really_did(tmp_path: Path) -> None:
    log = tmp_path / "app-1"
    write_log(log, START, executor("0"), executor("1"), ENVIRONMENT, task(), task("TaskKilled"))
    write_log(log, query(**{"shuffle.partitions": "7"}), removed("1"), task(), END, removed("0"))
    assert spark_events.facts(spark_events.EventLogs(tmp_path).read()) == {
        "versions": {"spark": "4.3.0", "java": "17.0.15", "scala": "2.13.18"},
        "applications": 1,
        "executors": 2,
        "executors_lost": 1,
        "threads_per_worker": 2,
        "tasks": 3,
        "tasks_failed": 1,
        "parallelism": "32",
        "shuffle_partitions": "7",
        "adaptive": "false",
    }


def test_a_setting_that_changes_on_the_way_has_all_its_values(tmp_path: Path) -> None:
    write_log(tmp_path / "app-1", START, ENVIRONMENT, END)
    write_log(tmp_path / "app-2", START, ENVIRONMENT, query(**{"adaptive.enabled": "true"}), END)
    found = spark_events.facts(spark_events.EventLogs(tmp_path).read())
    assert (found["applications"], found["adaptive"]) == (2, "false, true")


def test_a_log_is_read_while_it_is_written_and_renamed(tmp_path: Path) -> None:
    logs, running = spark_events.EventLogs(tmp_path), tmp_path / "app-1.inprogress"
    write_log(running, START, task())
    with running.open("a") as file:
        file.write('{"Event":"SparkListenerTask')
    assert [application.tasks for application in logs.read()] == [1]
    with running.open("a") as file:
        file.write('End","Task End Reason":{"Reason":"Success"}}\n')
    running.rename(tmp_path / "app-1")
    assert [(a.tasks, a.failed) for a in logs.read()] == [(2, 0)]


def test_a_command_that_starts_no_application_has_facts_too(tmp_path: Path) -> None:
    found = SparkEngine().facts(node(tmp_path))
    assert (found["name"], found["applications"], found["tasks"]) == ("spark", 0, 0)
    assert SparkEngine().workers(node(tmp_path)) == {"asked": 2, "seen": 0, "alive": 0, "lost": 0}
