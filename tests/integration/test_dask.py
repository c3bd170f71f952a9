"""Real Dask clusters of several processes, in an environment built from a lock."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, WriteExperiment, git
from tests.integration.conftest import NOTHING, Terminal, until
from tests.standins.aftermath import rpac_with, said
from tests.standins.faults import Faults

pytestmark = pytest.mark.slow

LOCK = (ROOT / "experiments" / "eddy-census" / "requirements.lock").read_text()

YAML = """\
id: squares
title: Squares on a cluster
engine: ENGINE
command: [python, main.py, "{args.mode}", "{outputs}"]
environment: {lock: requirements.lock, python: "3.11"}
args: {mode: plain}
resources: {nodes: 2, cpus: 1, memory: 512 MiB}
verify:
  total: {expect: 285}
limits: {time: 2 min}
"""
MAIN = """\
import json, os, pathlib, sys, time
from distributed import Client
from helper import square

def work(n, mode, marker):
    if mode == "kill" and n == 5 and not pathlib.Path(marker).exists():
        pathlib.Path(marker).touch()
        os.kill(os.getpid(), 9)
    return square(n)

if __name__ == "__main__":
    mode, out = sys.argv[1:]
    client = Client(timeout=30)
    marker = str(pathlib.Path("marker").absolute())
    workers = client.scheduler_info()["workers"].values()
    print("workers", sorted(w["name"] for w in workers), flush=True)
    if mode == "wait":
        time.sleep(300)
    total = sum(client.gather(client.map(work, range(10), mode=mode, marker=marker)))
    metrics = {"total": total}
    pathlib.Path(out, "metrics.json").write_text(json.dumps(metrics))
"""
FILES = {
    "main.py": MAIN,
    "helper.py": "def square(n):\n    return n * n\n",
    "requirements.lock": LOCK,
}


def squares(engine: str = "dask") -> str:
    return YAML.replace("ENGINE", engine)


def test_the_asked_workers_are_proved_and_the_traffic_is_encrypted(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment("squares", squares(), FILES)
    answer = rpac("reproduce", "squares")
    assert answer.code == 0, answer.out + answer.err
    around = rpac.last()["circumstances"]
    assert around["workers"] == {"asked": 2, "seen": 2, "alive": 2, "lost": 0}
    assert around["engine"]["protocol"] == "tls"
    assert around["engine"]["versions"]["distributed"] == around["packages"]["distributed"]
    assert rpac("logs", rpac.last()["run"]).out == "workers ['node-0', 'node-1']\n"
    assert "Registered" in rpac("logs", rpac.last()["run"], "--node", "1", "--role", "worker").out
    assert rpac.left_over() == NOTHING


def test_a_lost_worker_is_recorded_and_the_result_stands(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment("squares", squares(), FILES)
    answer = rpac("reproduce", "squares", "args.mode=kill")
    assert answer.code == 0, answer.out + answer.err
    record = rpac.last()
    assert record["circumstances"]["workers"]["lost"] == 1
    assert record["outcome"]["metrics"]["total"]["value"] == 285


def test_a_lost_worker_fails_the_run_where_the_experiment_says_so(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment("squares", squares("{name: dask, on_worker_loss: fail}"), FILES)
    answer = rpac("reproduce", "squares", "args.mode=kill")
    assert (answer.code, rpac.last()["outcome"]["reason"]) == (3, "worker lost"), answer.out
    assert rpac.left_over() == NOTHING


@pytest.mark.parametrize("ahead_s", [600.0, -600.0])
def test_a_node_whose_clock_is_ten_minutes_off(
    rpac: Terminal, write_experiment: WriteExperiment, ahead_s: float
) -> None:
    """No two clocks are compared: heartbeats count by their changes, waits by own seconds."""
    write_experiment("squares", squares(), FILES)
    faults = Faults(nodes={1: Faults(clock_s=ahead_s)}, waits={"heartbeat": 20.0})
    answer = rpac_with(rpac, "reproduce", "squares", faults=faults)
    assert answer.returncode == 0, said(answer)
    assert rpac.last()["circumstances"]["workers"]["lost"] == 0


@pytest.mark.parametrize(
    ("victim", "code", "reason"),
    [
        ("distributed.cli.dask_scheduler", 5, "engine failed"),
        ("rpac_ci.node", 5, "runner lost"),
        ("main.py", 3, "command failed"),
    ],
)
def test_whatever_is_killed_the_run_ends_truthfully(
    rpac: Terminal, write_experiment: WriteExperiment, victim: str, code: int, reason: str
) -> None:
    write_experiment("squares", squares(), FILES)
    driver = rpac.start("reproduce", "squares", "args.mode=wait")
    logs = rpac.root / ".rpac" / "store" / "runs"
    until(lambda: any(logs.glob("*/attempt/1/logs/00000/command/*.txt")), 60)
    next(p for p in rpac.marked() if victim in p.cmdline()).kill()
    out, err = driver.communicate(timeout=120)
    assert (driver.returncode, rpac.last()["outcome"]["reason"]) == (code, reason), out + err
    assert rpac.left_over() == NOTHING


def test_who_has_not_the_keys_of_the_run_cannot_connect(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment("squares", squares(), FILES)
    driver = rpac.start("reproduce", "squares", "args.mode=wait")
    logs = rpac.root / ".rpac" / "store" / "runs"
    until(lambda: any(logs.glob("*/attempt/1/logs/00000/command/*.txt")), 60)
    command = next(p for p in rpac.marked() if "main.py" in p.cmdline())
    address = command.environ()["DASK_SCHEDULER_ADDRESS"]
    assert address.startswith("tls://127.0.0.2:")
    plain = (
        "import sys; from distributed import Client\n"
        "try: Client(sys.argv[1].replace('tls', 'tcp'), timeout=3)\n"
        "except OSError: sys.exit(42)"
    )
    python = command.environ()["PATH"].split(os.pathsep)[0] + "/python"
    done = subprocess.run([python, "-c", plain, address], capture_output=True, check=False)
    assert done.returncode == 42, done.stderr
    driver.terminate()
    driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert rpac.left_over() == NOTHING


def test_the_eddy_census_is_reproduced_on_one_two_and_three_nodes(
    rpac: Terminal, repository: Path
) -> None:
    shutil.copytree(
        ROOT / "experiments" / "eddy-census", repository / "experiments" / "eddy-census"
    )
    git(repository, "add", "experiments")
    git(repository, "commit", "--quiet", "--message", "add the census")
    first = rpac("reproduce", "eddy-census")
    assert first.code == 0, first.out + first.err
    run = rpac.last()["run"]
    for nodes in ("1", "3"):
        answer = rpac("reproduce", f"eddy-census@{run}", f"nodes={nodes}", "memory=1GiB")
        assert "reproduced: identical" in answer.out, answer.out + answer.err
        record = rpac.last()
        assert record["circumstances"]["workers"]["seen"] == int(nodes)
        same = {c["name"]: c["agreement"] for c in record["verdict"]["checks"]}
        assert same["eddies.csv"] == "identical", "bit for bit, whatever the number of workers"
    variant = rpac("reproduce", "eddy-census", "args.ow_threshold=0.3")
    assert "compared (variant)" in variant.out
    assert [p.name for p in (repository / "reports").iterdir()] == ["eddy-census"]
