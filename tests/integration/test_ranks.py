"""
Ranks on real nodes: torchrun and Horovod start them, and what becomes of a run when one of them, or
a whole node, is lost. Real torch, real Gloo, processes with addresses of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT, WriteExperiment, git
from tests.integration.conftest import NOTHING, Terminal
from tests.standins.aftermath import LIMIT_S, ended, said, the_promise_holds
from tests.standins.faults import Faults, end_all, start
from tests.standins.waiting import until

# the first of them builds the environment, Horovod included
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ENGINES = ["torchrun", "horovod"]
WAITS = {"stop": 2.0, "logs": 3.0, "heartbeat": 20.0}

YAML = """\
id: sums
title: Sums over ranks
engine: {name: ENGINE, ranks: 2}
command: [python, main.py, "{args.mode}", "{outputs}"]
environment:
  lock: requirements.lock
  python: "3.11"
  indexes: ["https://download.pytorch.org/whl/cpu"]
args: {mode: {value: plain, role: operational}}
seed: 7
resources: {nodes: 2, cpus: 2, memory: 1 GiB}
outputs: [metrics.json, ranks.json]
verify:
  total: {expect: 3}
  distinct_draws: {expect: 2}
limits: {time: LIMIT}
"""
MAIN = """\
import json, os, pathlib, random, signal, sys, time
import torch

mode, out = sys.argv[1:]
if "HOROVOD_RANK" in os.environ:
    import horovod.torch as hvd

    hvd.init()
    rank, size = hvd.rank(), hvd.size()
    gather, done = (lambda tensor: hvd.allgather(tensor)), hvd.shutdown
else:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()

    def gather(tensor):
        found = [torch.zeros_like(tensor) for _ in range(size)]
        dist.all_gather(found, tensor)
        return torch.cat(found)

    done = dist.destroy_process_group

print(f"rank {rank} of {size} is up", flush=True)
if rank == 1 and mode == "fail":
    print("rank 1 gives up", flush=True)
    sys.exit(9)
if mode == "hang":
    pathlib.Path(out, "waiting").touch()
    while True:
        time.sleep(0.1)
values = gather(torch.tensor([float(rank + 1)]))
draws = gather(torch.rand(1)).tolist()
nodes = gather(torch.tensor([float(os.environ["RPAC_NODE_INDEX"])])).tolist()
done()
if rank == 0:
    told = {
        "draws": draws, "nodes": nodes, "hash": hash("sea level"), "random": random.random(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "threads": torch.get_num_threads(), "known": os.environ.get("RPAC_DETERMINISTIC"),
    }
    pathlib.Path(out, "ranks.json").write_text(json.dumps(told))
    metrics = {"total": float(values.sum()), "distinct_draws": len(set(draws))}
    pathlib.Path(out, "metrics.json").write_text(json.dumps(metrics))
"""


def lock() -> str:
    """That of an experiment, whose environment the other tests need too."""
    return (ROOT / "experiments" / "eddy-classification" / "requirements.lock").read_text()


def sums(write: WriteExperiment, engine: str, limit: str = "5 min") -> None:
    yaml = YAML.replace("ENGINE", engine).replace("LIMIT", limit)
    write("sums", yaml, {"main.py": MAIN, "requirements.lock": lock()})


def told(rpac: Terminal, run: str, folder: Path) -> Any:
    """What rank 0 wrote of itself."""
    assert rpac("fetch", run, str(folder)).code == 0
    return json.loads((folder / "ranks.json").read_text())


@pytest.fixture(autouse=True)
def _no_driver_outlives_its_test() -> Iterator[None]:
    yield
    end_all()


# --- it works -------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_ranks_are_the_same_science_on_one_node_and_on_two(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path, engine: str
) -> None:
    sums(write_experiment, engine)
    two = rpac("reproduce", "sums")
    assert two.code == 0, two.out + two.err
    record = rpac.last()
    around = record["circumstances"]
    assert [node["index"] for node in around["nodes"]] == [0, 1]
    assert around["engine"]["ranks"] == 2
    assert around["engine"]["ranks_per_node"] == 1
    assert around["engine"]["versions"]["torch"] == around["packages"]["torch"]
    assert around["determinism"]["seeds"] == "7 + rank"
    assert told(rpac, record["run"], tmp_path / "two")["nodes"] == [0.0, 1.0]

    one = rpac("reproduce", f"sums@{record['run']}", "nodes=1")
    assert one.code == 0, one.out + one.err
    again = rpac.last()
    assert again["verdict"]["outcome"] == "reproduced: identical"
    assert not again["verdict"]["variant"]
    assert again["identity"]["science"] == record["identity"]["science"]
    on_one, on_two = (told(rpac, r["run"], tmp_path / r["run"]) for r in (again, record))
    assert on_one["nodes"] == [0.0, 0.0]
    assert on_one["draws"] == on_two["draws"]
    assert on_one["random"] == on_two["random"]
    compared = rpac("compare", record["run"], again["run"])
    assert "layout.ranks_per_node" in compared.out
    assert rpac.left_over() == NOTHING


def test_another_engine_is_a_variant_and_the_reason_is_said(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    sums(write_experiment, "horovod")
    assert rpac("reproduce", "sums").code == 0
    first = rpac.last()["run"]
    planned = rpac("plan", f"sums@{first}", "engine=torchrun")
    assert "engine.name: horovod → torchrun" in planned.out
    answer = rpac("reproduce", f"sums@{first}", "engine=torchrun")
    assert answer.code == 0, answer.out + answer.err
    record = rpac.last()
    assert record["verdict"]["outcome"] == "compared (variant)"
    assert record["circumstances"]["engine"]["name"] == "torchrun"
    report = rpac("show", record["run"]).out
    assert "horovod" in report
    assert "torchrun" in report
    compared = rpac("compare", first, record["run"])
    assert compared.code == 0
    assert "horovod" in compared.out
    assert "torchrun" in compared.out


def test_switches_are_set_and_can_be_left_out(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    sums(write_experiment, "torchrun")
    assert rpac("reproduce", "sums", "nodes=1").code == 0
    first = told(rpac, rpac.last()["run"], tmp_path / "first")
    assert first["deterministic"]
    assert first["warn_only"]
    assert first["known"] == "1"
    assert first["threads"] == 1  # two processors, two ranks
    yaml = YAML.replace("ENGINE, ranks: 2", "torchrun, ranks: 2, deterministic: false")
    files = {"main.py": MAIN, "requirements.lock": lock()}
    write_experiment("sums", yaml.replace("LIMIT", "5 min"), files)
    rpac("reproduce", "sums", "nodes=1")
    record = rpac.last()
    second = told(rpac, record["run"], tmp_path / "second")
    assert not second["deterministic"]
    assert second["known"] is None
    assert record["circumstances"]["determinism"] == {"threads": "1", "deterministic": "false"}


# --- it does not ----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_the_rank_that_failed_first_is_named_and_its_log_shown(
    rpac: Terminal, write_experiment: WriteExperiment, engine: str
) -> None:
    sums(write_experiment, engine)
    base = git(rpac.root, "rev-parse", "HEAD")
    answer = rpac("reproduce", "sums", "args.mode=fail")
    assert answer.code == 3, answer.out + answer.err
    record = the_promise_holds(rpac, "inconclusive (run failed)", base=base)
    assert record["outcome"]["reason"] == "command failed"
    assert "on node 1" in record["outcome"]["message"]
    assert "rank 1 gives up" in record["outcome"]["log_tail"]
    if engine == "horovod":  # torchrun's agent has an exit code of its own
        assert record["outcome"]["exit_code"] == 9


def test_what_torchrun_says_of_a_failure_hides_no_word_of_the_rank(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    """Two ranks under one agent: behind their own words it prints a traceback and a summary."""
    sums(write_experiment, "torchrun")
    answer = rpac("reproduce", "sums", "nodes=1", "args.mode=fail")
    assert answer.code == 3, answer.out + answer.err
    told = rpac.last()["outcome"]["log_tail"].splitlines()
    assert "rank 1 gives up" in told  # before what rank 0 says, who misses it
    assert "failed (exitcode: 9) local_rank: 1" in told[-1]


class Hanging:
    """A run whose ranks wait for ever."""

    def __init__(self, rpac: Terminal, waits: dict[str, float]) -> None:
        self.rpac = rpac
        self.base = git(rpac.root, "rev-parse", "HEAD")
        faults = Faults(waits={**WAITS, **waits})
        self.driver = start(rpac.root, "reproduce", "sums", "args.mode=hang", faults=faults)
        until(self._waiting, limit_s=LIMIT_S)

    def _waiting(self) -> bool:
        assert self.driver.poll() is None, self.driver.communicate()
        found = self.rpac.root.glob(".rpac/local/*/node-*/outputs/waiting")
        return len(list(found)) == 2

    def of_node(self, index: str, name: str = "") -> list[psutil.Process]:
        """Processes of a node, the deepest last."""
        found = []
        for process in self.rpac.marked():
            mine = process.environ().get("RPAC_NODE_INDEX") == index
            if mine and (not name or name in process.cmdline()):
                found.append(process)
        return found

    def end(self, reason: str, code: int, outcome: str) -> dict[str, Any]:
        """The record, when the run has ended as it should."""
        answer = ended(self.driver)
        assert answer.returncode == code, said(answer)
        record = the_promise_holds(self.rpac, outcome, base=self.base)
        assert record["outcome"]["reason"] == reason
        return record


@pytest.mark.parametrize("engine", ENGINES)
def test_a_rank_is_killed(rpac: Terminal, write_experiment: WriteExperiment, engine: str) -> None:
    sums(write_experiment, engine)
    run = Hanging(rpac, {})
    rank = [p for p in run.of_node("1", "main.py") if p.name().startswith("python")][-1]
    rank.kill()
    run.end("command failed", 3, "inconclusive (run failed)")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_node_is_lost_with_all_its_processes(
    rpac: Terminal, write_experiment: WriteExperiment, engine: str
) -> None:
    sums(write_experiment, engine)
    run = Hanging(rpac, {})
    for process in run.of_node("1"):
        process.kill()
    record = run.end("node lost", 5, "could not run")
    assert "node 1 was lost" in record["outcome"]["message"]


def test_main_is_lost(rpac: Terminal, write_experiment: WriteExperiment) -> None:
    sums(write_experiment, "torchrun")
    run = Hanging(rpac, {})
    [main] = run.of_node("0", "rpac_ci.node")
    main.kill()
    run.end("runner lost", 5, "could not run")


def test_ranks_that_hang_meet_the_time_limit(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    sums(write_experiment, "torchrun", limit="45 s")
    run = Hanging(rpac, {})
    record = run.end("time limit", 3, "inconclusive (run failed)")
    assert "45 s" in record["outcome"]["message"]


def test_a_node_that_never_comes_is_named(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    sums(write_experiment, "torchrun")
    base = git(rpac.root, "rev-parse", "HEAD")
    never = Faults(at="before create nodes/00001.json", do="stop")
    faults = Faults(waits={**WAITS, "join": 8.0}, nodes={1: never})
    answer = ended(start(rpac.root, "reproduce", "sums", faults=faults))
    assert answer.returncode == 5, said(answer)
    record = the_promise_holds(rpac, "could not run", base=base)
    assert record["outcome"]["reason"] == "world incomplete"
    assert "missing 1" in record["outcome"]["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nodes=3"], "2 ranks do not spread evenly over 3 nodes"),
        (["engine=process"], "engine process runs on one node, 2 are asked for"),
        (["engine=torchrum"], "did you mean 'torchrun'?"),
    ],
)
def test_refused_before_anything_is_started(
    rpac: Terminal, write_experiment: WriteExperiment, words: list[str], message: str
) -> None:
    sums(write_experiment, "torchrun")
    answer = rpac("plan", "sums", *words)
    assert answer.code == 2
    assert message in answer.err
