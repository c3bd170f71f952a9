"""A Dask job of about 20 s: under rpac on two nodes, and on a bare `LocalCluster` of equal size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from rpac_ci import environments
from tests.benchmarks.__main__ import RPAC, commit, run, show

ROOT = Path(__file__).parents[2]
# the same script on both: the cluster is there before the clock starts
JOB = """\
import json, os, pathlib, sys, time
from distributed import Client, LocalCluster

def work(n):
    total = 0
    for i in range(6_000_000):
        total += i * n % 7
    return total

if __name__ == "__main__":
    bare = "DASK_SCHEDULER_ADDRESS" not in os.environ
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with Client(LocalCluster(**options)) if bare else Client() as client:
        client.wait_for_workers(2)
        began = time.perf_counter()
        sums = client.gather(client.map(work, range(100), pure=False))
        seconds = time.perf_counter() - began
    out = pathlib.Path(sys.argv[1])
    (out / "metrics.json").write_text(json.dumps({"checksum": sum(sums)}))
    (out / "seconds.txt").write_text(str(seconds))
"""
YAML = """\
id: job
title: Work for two nodes
engine: dask
command: [python, job.py, "{outputs}"]
environment: {lock: requirements.lock}
resources: {nodes: 2, cpus: 1, memory: 1 GiB}
outputs: [metrics.json, seconds.txt]
"""


def main(repository: Path, times: int = 3) -> None:
    """Print the ratio of the command's own time, and what rpac adds from start to commit."""
    lock = (ROOT / "experiments" / "eddy-census" / "requirements.lock").read_bytes()
    files: dict[str, str | bytes] = {
        "experiment.yaml": YAML,
        "job.py": JOB,
        "requirements.lock": lock,
    }
    folder = commit(repository, "job", files)
    python = environments.ensure(
        lock, python=None, cache=Path(os.environ["RPAC_CACHE"])
    ).interpreter
    ours, bare, wall = [], [], []
    for _ in range(times):
        run(str(python), "job.py", str(repository.parent), cwd=folder)
        bare.append(float((repository.parent / "seconds.txt").read_text()))
        began = time.perf_counter()
        argv = [*RPAC, "reproduce", "job", "--json"]
        done = subprocess.run(argv, cwd=repository, check=True, capture_output=True)
        wall.append(time.perf_counter() - began)
        name = json.loads(done.stdout)["run"]
        fetched = repository.parent / name
        run(*RPAC, "fetch", name, str(fetched), cwd=repository)
        ours.append(float((fetched / "seconds.txt").read_text()))
    show("Dask job on two nodes, LocalCluster", ours, bare)
    show("  the same from start to commit, its command", wall, ours)


if __name__ == "__main__":
    sys.exit("part of: python -m tests.benchmarks")
