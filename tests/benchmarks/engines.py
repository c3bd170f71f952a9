"""
Engines on two nodes, under rpac and by their own launchers: how long until the first task is done,
and how long a command takes.

*First task*: from the start of the cluster's first process until two workers, or two ranks, have
done something together. Under rpac that is the phase `engine` and what the command needs until
then; by hand it is Dask's `LocalCluster`, Spark's `start-master` and `start-worker`, `torchrun` and
`horovodrun`. Both have the same environment, so the time to import a library is on both sides.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rpac_ci import engines, environments
from rpac_ci.jobs import EngineName
from tests.benchmarks.__main__ import RPAC, commit, run, show

ROOT = Path(__file__).parents[2]
LOCKS = {"dask": "eddy-census", "spark": "causality", "torchrun": "eddy-classification",
         "horovod": "eddy-classification"}  # fmt: skip
ROUNDS = 100_000_000  # of the work between two clocks

# one script for all: it notes when its first task is done, and how long the work behind it takes
JOB = """\
import json, os, pathlib, sys, time

def work(rounds):
    total = 0
    for i in range(rounds):
        total += i % 7
    return total

def first_task(kind, out):
    if kind == "dask":
        from distributed import Client, LocalCluster
        bare = "DASK_SCHEDULER_ADDRESS" not in os.environ
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        client = Client(LocalCluster(**options)) if bare else Client()
        client.wait_for_workers(2)
        client.gather(client.map(abs, range(2), pure=False))
        return client.close
    if kind == "spark":
        from pyspark.sql import SparkSession
        spark = SparkSession.builder.getOrCreate()
        assert spark.sparkContext.parallelize(range(2), 2).map(abs).sum() == 1
        return spark.stop
    import torch
    if kind == "horovod":
        import horovod.torch as hvd
        hvd.init()
        hvd.allreduce(torch.ones(1), name="one")
        return hvd.shutdown
    import torch.distributed as dist
    dist.init_process_group("gloo")
    dist.all_reduce(torch.ones(1))
    return dist.destroy_process_group

if __name__ == "__main__":
    kind, rounds, out = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    close = first_task(kind, out)
    first = time.time()
    began = time.perf_counter()
    work(rounds)
    seconds = time.perf_counter() - began
    close()
    if os.environ.get("RANK", os.environ.get("HOROVOD_RANK", "0")) == "0":
        (out / "times.json").write_text(json.dumps({"first": first, "seconds": seconds}))
        (out / "metrics.json").write_text("{}")
"""
YAML = """\
id: NAME
title: First task and work
engine: NAME
command: [python, job.py, NAME, "ROUNDS", "{outputs}"]
environment: {lock: requirements.lock, indexes: ["https://download.pytorch.org/whl/cpu"]}
resources: {nodes: 2, cpus: 1, memory: 2 GiB}
outputs: [metrics.json, times.json]
"""


def main(repository: Path, times: int = 5) -> None:
    """Print, for each engine, both ratios."""
    for name in LOCKS:
        python = _experiment(repository, name)
        pairs = [(under_rpac(repository, name), _by_hand(name, python)) for _ in range(times)]
        for number, what in enumerate((f"{name}: start to first task, 2 nodes", "  its work")):
            show(what, *([pair[side][number] for pair in pairs] for side in (0, 1)))


def _experiment(repository: Path, name: str) -> str:
    """The experiment of an engine, committed; the interpreter of its environment."""
    lock = (ROOT / "experiments" / LOCKS[name] / "requirements.lock").read_bytes()
    text = YAML.replace("NAME", name).replace("ROUNDS", str(ROUNDS))
    commit(repository, name, {"experiment.yaml": text, "job.py": JOB, "requirements.lock": lock})
    info = environments.ensure(
        lock, python=None, cache=Path(os.environ["RPAC_CACHE"]),
        from_source=engines.load(name).from_source, horovod=name == EngineName.HOROVOD,
    )  # fmt: skip
    return str(info.interpreter)


def under_rpac(repository: Path, name: str) -> tuple[float, float]:
    """Seconds to the first task and of the work."""
    done = subprocess.run(
        [*RPAC, "reproduce", name, "--json"], cwd=repository, check=True, capture_output=True
    )
    identity = json.loads(done.stdout)["run"]
    shown = subprocess.run(
        [*RPAC, "show", identity, "--json"], cwd=repository, check=True, capture_output=True
    )
    around = json.loads(shown.stdout)["circumstances"]
    [engine] = [phase for phase in around["phases"] if phase["name"] == "engine"]
    from datetime import datetime

    began = datetime.fromisoformat(around["started"]).timestamp() + engine["start_s"]
    with tempfile.TemporaryDirectory() as out:
        run(*RPAC, "fetch", identity, f"{out}/outputs", cwd=repository)
        times = json.loads(Path(out, "outputs", "times.json").read_text())
    return times["first"] - began, times["seconds"]


def _by_hand(name: str, python: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as out:
        Path(out, "job.py").write_text(JOB)
        began = time.time()
        LAUNCHERS[name](python, [str(Path(out, "job.py")), name, str(ROUNDS), out], Path(out))
        times: dict[str, Any] = json.loads(Path(out, "times.json").read_text())
    return times["first"] - began, times["seconds"]


def _environment(python: str, **more: str) -> dict[str, str]:
    programs = str(Path(python).parent)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        **more,
    }


def _dask(python: str, job: list[str], _: Path) -> None:
    subprocess.run([python, *job], check=True, env=_environment(python), capture_output=True)


def _torchrun(python: str, job: list[str], _: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    agent = [python, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
             "--master-addr", "127.0.0.1", "--master-port", str(port)]  # fmt: skip
    children = [
        subprocess.Popen(
            [*agent, "--node-rank", str(rank), *job], env=_environment(python),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]  # fmt: skip
    assert [child.wait() for child in children] == [0, 0]


def _horovod(python: str, job: list[str], _: Path) -> None:
    launcher = str(Path(python).with_name("horovodrun"))
    argv = [python, launcher, "-np", "2", "--gloo", python, *job]
    subprocess.run(argv, check=True, env=_environment(python), capture_output=True)


def _spark(python: str, job: list[str], folder: Path) -> None:
    [home] = Path(python).parent.parent.glob("lib/python3*/site-packages/pyspark")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    conf = folder / "conf"
    conf.mkdir()
    master = f"spark://127.0.0.1:{port}"
    (conf / "spark-defaults.conf").write_text(f"spark.master {master}\nspark.ui.enabled false\n")
    variables = _environment(
        python, SPARK_HOME=str(home), SPARK_CONF_DIR=str(conf), SPARK_LOG_DIR=str(folder / "logs"),
        SPARK_PID_DIR=str(folder / "pids"), SPARK_WORKER_DIR=str(folder / "work"),
        SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=python, PYTHONHASHSEED="0",
    )  # fmt: skip

    def daemon(action: str, name: str, number: int, *arguments: str) -> None:
        """What `start-master.sh` and `start-worker.sh` do; pyspark comes without them."""
        kind = f"org.apache.spark.deploy.{name.lower()}.{name}"
        script = str(home / "sbin" / "spark-daemon.sh")
        argv = ["bash", script, action, kind, str(number), *arguments]
        subprocess.run(argv, check=True, env=variables, capture_output=True)

    try:
        daemon("start", "Master", 1, "--host", "127.0.0.1", "--port", port, "--webui-port", "0")
        for number in (1, 2):
            daemon("start", "Worker", number, "--cores", "1", "--memory", "1g",
                   "--webui-port", "0", master)  # fmt: skip
        subprocess.run([python, *job], check=True, env=variables, capture_output=True)
    finally:
        for number in (1, 2):
            daemon("stop", "Worker", number)
        daemon("stop", "Master", 1)


LAUNCHERS: dict[str, Callable[[str, list[str], Path], None]] = {
    "dask": _dask,
    "spark": _spark,
    "torchrun": _torchrun,
    "horovod": _horovod,
}

if __name__ == "__main__":
    sys.exit("part of: python -m tests.benchmarks")
