"""
Processes inside the cluster are killed (SIGKILL) at every stage of a run: the end is bounded, the
verdict true, and nothing is left.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT, WriteExperiment, campaign, git
from tests.integration.conftest import Terminal
from tests.standins.aftermath import LIMIT_S, ended, rpac_with, the_promise_holds
from tests.standins.faults import Faults, end_all, start
from tests.standins.waiting import until

pytestmark = pytest.mark.slow  # a minute and more

OUTCOMES = {
    "completed": (0, "reproduced: identical"),
    "command failed": (3, "inconclusive (run failed)"),
    "worker lost": (3, "inconclusive (run failed)"),
    "engine failed": (5, "could not run"),
    "node lost": (5, "could not run"),
    "runner lost": (5, "could not run"),
    "staging failed": (5, "could not run"),
    "world incomplete": (5, "could not run"),
}


@pytest.fixture(autouse=True)
def _no_driver_outlives_its_test() -> Iterator[None]:
    yield
    end_all()


# --- one node: main is killed around each thing it does -------------------------------------------

BEFORE_THE_RESULT = [
    "create main.json",
    "create nodes/00000.json",
    "phase join",
    "put world.json",
    "phase prepare",
    "put prepared/00000.json",
    "phase engine",
    "create engine.json",
    "phase command",
    "start command",
    "phase upload",
    "put outputs/<sha256>",
]
AFTER_THE_RESULT = ["put done", "put final/00000.json"]
RESULT = "create result.json"
MOMENTS = [
    *[(f"{w} {name}", "runner lost") for name in BEFORE_THE_RESULT for w in ("before", "after")],
    (f"before {RESULT}", "runner lost"),
    (f"after {RESULT}", "completed"),
    *[(f"{w} {name}", "completed") for name in AFTER_THE_RESULT for w in ("before", "after")],
]


def test_the_list_of_what_main_does_is_complete(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    """Who adds an operation to the node program must add it here, and so test a kill around it."""
    write_experiment()
    journal = tmp_path / "journal"
    rpac_with(rpac, "reproduce", "quick", faults=Faults(nodes={0: Faults(journal=str(journal))}))
    expected = [*BEFORE_THE_RESULT, RESULT, *AFTER_THE_RESULT]
    assert journal.read_text().splitlines() == expected


@pytest.mark.parametrize(
    ("moment", "reason"),
    [  # the world before an operation is, but for a moment, the one after the operation before it
        pytest.param(m, r, marks=[pytest.mark.nightly] if m.startswith("before") else [], id=m)
        for m, r in MOMENTS
    ],
)
def test_what_counts_is_whether_main_has_stored_a_result(
    rpac: Terminal, write_experiment: WriteExperiment, moment: str, reason: str
) -> None:
    write_experiment()
    base = git(rpac.root, "rev-parse", "HEAD")
    faults = Faults(nodes={0: Faults(at=moment)})
    answer = rpac_with(rpac, "reproduce", "quick", faults=faults)
    code, outcome = OUTCOMES[reason]
    assert answer.returncode == code, answer.stdout + answer.stderr
    record = the_promise_holds(rpac, outcome, base=base)
    assert record["outcome"]["reason"] == reason


# --- a Dask cluster of two nodes ------------------------------------------------------------------

YAML = """\
id: squares
title: Squares on a cluster
engine: {name: dask, on_worker_loss: LOSS}
command: [python, main.py, "{outputs}"]
environment: {lock: requirements.lock, python: "3.11"}
resources: {nodes: 2, cpus: 1, memory: 512 MiB}
verify:
  total: {expect: 285}
limits: {time: 5 min}
"""
MAIN = """\
import json, pathlib, sys, time
from distributed import Client

def square(n):
    return n * n

if __name__ == "__main__":
    client = Client(timeout=60)
    print("waiting", flush=True)
    while not pathlib.Path("GO").exists():
        time.sleep(0.02)
    metrics = {"total": sum(client.gather(client.map(square, range(10))))}
    pathlib.Path(sys.argv[1], "metrics.json").write_text(json.dumps(metrics))
"""
WAITS = {"stop": 2.0, "logs": 3.0, "heartbeat": 30.0}

# how a run is held in each phase: a node stops itself there; the command waits for a file
HOLDS = {
    "join": {1: Faults(at="before create nodes/00001.json", do="stop")},
    "prepare": {1: Faults(at="before put prepared/00001.json", do="stop")},
    "engine": {1: Faults(at="before start worker", do="stop")},
    "command": {},
    "upload": {0: Faults(at="after phase upload", do="stop")},
}
# victim, phase, waits that are to run out -> reason of the run's end. The waits leave a busy
# machine the time to get as far as the phase.
TABLE: list[tuple[str, str, dict[str, float], str]] = [
    ("main", "join", {}, "runner lost"),
    ("the other node", "join", {"join": 15.0}, "world incomplete"),
    ("main", "prepare", {}, "runner lost"),
    ("the other node", "prepare", {"prepare": 15.0}, "staging failed"),
    ("main", "engine", {}, "runner lost"),
    ("the other node", "prepare", {"heartbeat": 10.0}, "node lost"),
    ("the other node", "engine", {"ready": 30.0, "heartbeat": 90.0}, "engine failed"),
    ("the other node", "engine", {"heartbeat": 10.0}, "node lost"),
    ("scheduler", "engine", {}, "engine failed"),
    ("nanny of main", "engine", {}, "engine failed"),
    ("main", "command", {}, "runner lost"),
    ("the other node", "command", {}, "completed"),  # its worker goes on
    ("scheduler", "command", {}, "engine failed"),
    ("worker of main", "command", {}, "completed"),  # its nanny starts another
    ("worker of the other", "command", {}, "completed"),
    ("nanny of main", "command", {}, "completed"),  # the other worker does it all
    ("nanny of the other", "command", {}, "completed"),
    ("both nannies", "command", {"lonely": 30.0}, "worker lost"),
    ("command", "command", {}, "command failed"),
    ("main", "upload", {}, "runner lost"),
    ("the other node", "upload", {}, "completed"),
    ("nanny of the other", "upload", {}, "completed"),
]
LOSSES = {"worker of main", "worker of the other", "nanny of main", "nanny of the other"}
NODE, NANNY = "rpac_ci.node", "distributed.cli.dask_worker"
VICTIMS: dict[str, list[tuple[str, str]]] = {
    "main": [("0", NODE)],
    "the other node": [("1", NODE)],
    "scheduler": [("0", "distributed.cli.dask_scheduler")],
    "nanny of main": [("0", NANNY)],
    "nanny of the other": [("1", NANNY)],
    "both nannies": [("0", NANNY), ("1", NANNY)],
    "worker of main": [("0", "worker")],
    "worker of the other": [("1", "worker")],
    "command": [("0", "main.py")],
}


class Cluster:
    """A run of the squares on two nodes whose command waits for `go`."""

    def __init__(
        self, rpac: Terminal, write_experiment: WriteExperiment, go: Path, *, loss: str = "tolerate"
    ) -> None:
        lock = (ROOT / "experiments" / "eddy-census" / "requirements.lock").read_text()
        files = {"main.py": MAIN.replace("GO", str(go)), "requirements.lock": lock}
        write_experiment("squares", YAML.replace("LOSS", loss), files)
        self.rpac = rpac
        self.base = git(rpac.root, "rev-parse", "HEAD")
        self._go = go
        self.driver: subprocess.Popen[str]

    def start(self, nodes: dict[int, Faults], waits: dict[str, float]) -> None:
        """Start the run, with faults in its nodes."""
        faults = Faults(waits={**WAITS, **waits}, nodes=nodes)
        self.driver = start(self.rpac.root, "reproduce", "squares", faults=faults)

    def hold(self, phase: str) -> None:
        """Wait until the run is held in a phase."""
        if phase == "upload":
            self._go.touch()
        self.until(lambda: self._file("phase.json", "name") == phase)
        for index in HOLDS[phase]:
            self.until(partial(self._is_stopped, str(index)))
        if phase == "command":
            self.until(lambda: self._log("waiting"))

    def kill(self, victim: str) -> None:
        """Kill a process, as soon as it is there; wait for the scheduler to see a worker go."""
        lost_before = self.lost()
        for index, name in VICTIMS[victim]:
            self.until(partial(self.find, index, name)).kill()
        if victim in LOSSES and self._file("phase.json", "name") == "command":
            self.until(lambda: self.lost() > lost_before)

    def go_on(self) -> None:
        """Let the command end, and stopped nodes go on."""
        self._go.touch()
        for index in ("0", "1"):
            if node := self.find(index, NODE):
                node.resume()

    def until(self, what: Callable[[], Any]) -> Any:
        def alive_and() -> Any:
            if self.driver.poll() is not None:
                raise AssertionError("the run is over:\n" + "\n".join(self.driver.communicate()))
            return what()

        return until(alive_and, limit_s=LIMIT_S)

    def find(self, index: str, name: str) -> psutil.Process | None:
        """A process of a node."""
        for process in self.rpac.marked():
            try:
                line = process.cmdline()
                # a worker is a child of its nanny, under a name that says nothing
                is_it = name in line or (name == "worker" and "--multiprocessing-fork" in line)
                if is_it and process.environ()["RPAC_NODE_INDEX"] == index:
                    return process
            except psutil.Error:
                continue
        return None

    def lost(self) -> int:
        """Workers that the scheduler has seen go."""
        journals = self.rpac.root.glob(".rpac/local/*/node-0/engine/workers.jsonl")
        return sum(path.read_text().count('"remove"') for path in journals)

    def _is_stopped(self, index: str) -> bool:
        node = self.find(index, NODE)
        return node is not None and node.status() == psutil.STATUS_STOPPED

    def _file(self, name: str, field: str) -> Any:
        for path in self.rpac.root.glob(f".rpac/store/runs/*/attempt/1/{name}"):
            try:
                return json.loads(path.read_text())[field]
            except ValueError:
                continue
        return None

    def _log(self, text: str) -> bool:
        parts = self.rpac.root.glob(".rpac/store/runs/*/attempt/1/logs/00000/command/*.txt")
        return any(text in part.read_text() for part in parts)


def the_end(cluster: Cluster, reason: str) -> dict[str, Any]:
    """The record, when the run has ended as it should."""
    answer = ended(cluster.driver)
    code, outcome = OUTCOMES[reason]
    assert answer.returncode == code, answer.stdout + answer.stderr
    record = the_promise_holds(cluster.rpac, outcome, base=cluster.base)
    assert record["outcome"]["reason"] == reason
    return record


@pytest.mark.parametrize(
    ("victim", "phase", "waits", "reason"),
    campaign(TABLE, every=3),
    ids=[f"{victim} at {phase}" for victim, phase, _, _ in TABLE],
)
def test_a_process_is_killed(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path,
    victim: str, phase: str, waits: dict[str, float], reason: str,
) -> None:  # fmt: skip
    cluster = Cluster(rpac, write_experiment, tmp_path / "go")
    cluster.start(HOLDS[phase], waits)
    cluster.hold(phase)
    cluster.kill(victim)
    if reason in ("completed", "runner lost") or phase == "engine":
        cluster.go_on()
    record = the_end(cluster, reason)
    if reason == "completed":
        expected = int(victim in LOSSES and phase == "command")
        assert record["circumstances"]["workers"]["lost"] == expected


def test_a_worker_that_is_killed_before_it_has_connected(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    cluster = Cluster(rpac, write_experiment, tmp_path / "go")
    cluster.start({1: Faults(at="after start worker", do="kill it")}, {"ready": 12.0})
    the_end(cluster, "engine failed")


@pytest.mark.parametrize("victim", sorted(LOSSES))
def test_a_killed_worker_fails_the_run_where_the_experiment_says_so(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path, victim: str
) -> None:
    cluster = Cluster(rpac, write_experiment, tmp_path / "go", loss="fail")
    cluster.start({}, {})
    cluster.hold("command")
    cluster.kill(victim)
    assert the_end(cluster, "worker lost")["circumstances"]["workers"]["lost"] >= 1


def test_without_driver_and_main_the_other_node_ends_by_itself(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    cluster = Cluster(rpac, write_experiment, tmp_path / "go")
    cluster.start({}, {"heartbeat": 10.0})
    cluster.hold("command")
    cluster.driver.kill()
    cluster.driver.communicate()
    main = cluster.find("0", NODE)
    assert main is not None
    main.kill()
    until(lambda: "1" not in node_indices(rpac), limit_s=LIMIT_S)
    answer = rpac_with(rpac, "advance", "--all")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    record = the_promise_holds(rpac, "could not run", base=cluster.base)
    assert record["outcome"]["reason"] == "runner lost"


def node_indices(rpac: Terminal) -> set[str]:
    """Nodes of which a process is alive."""
    found = set()
    for process in rpac.marked():
        with contextlib.suppress(psutil.Error):
            found.add(process.environ()["RPAC_NODE_INDEX"])
    return found
