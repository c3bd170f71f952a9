"""
torchrun on one GPU, under rpac and by hand, in the same environment: how long until the first
all-reduce is done, and how long a command that only multiplies takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from rpac_ci import environments
from tests.benchmarks.__main__ import commit, show
from tests.benchmarks.engines import under_rpac
from tests.integration.test_gpu import list_gpus, lock

# one script for both; a single product would be over before the GPU's clock is up
JOB = """\
import json, os, pathlib, sys, time
import torch
import torch.distributed as dist

torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")
one = torch.ones(1, device="cuda")
dist.all_reduce(one)
torch.cuda.synchronize()
first = time.time()
matrix = torch.randn(8192, 8192, device="cuda")
began = time.perf_counter()
for _ in range(100):
    product = matrix @ matrix
torch.cuda.synchronize()
seconds = time.perf_counter() - began
dist.destroy_process_group()
out = pathlib.Path(sys.argv[1])
(out / "times.json").write_text(json.dumps({"first": first, "seconds": seconds}))
(out / "metrics.json").write_text("{}")
"""
YAML = """\
id: gpu
title: First task and work on a GPU
engine: torchrun
command: [python, job.py, "{outputs}"]
environment: {lock: requirements.lock}
resources: {gpus: 1, memory: 2 GiB}
outputs: [metrics.json, times.json]
"""


def main(repository: Path, times: int = 5) -> None:
    """Print both ratios, or why there are none."""
    gpus = list_gpus()
    if isinstance(gpus, str):
        print(f"gpu: not measured: {gpus}")
        return
    text = lock()
    commit(repository, "gpu", {"experiment.yaml": YAML, "job.py": JOB, "requirements.lock": text})
    cache = Path(os.environ["RPAC_CACHE"])
    python = str(environments.ensure(text.encode(), python=None, cache=cache).interpreter)
    _by_hand(python)  # the first reads gigabytes of libraries from the disk
    pairs = [(under_rpac(repository, "gpu"), _by_hand(python)) for _ in range(times)]
    print(f"{gpus[0]['name']}, driver {gpus[0]['driver']}")
    for number, what in enumerate(("gpu: start to first task, torchrun", "  its work")):
        show(what, *([pair[side][number] for pair in pairs] for side in (0, 1)))


def _by_hand(python: str) -> tuple[float, float]:
    """Seconds to the first task and of the work, by `torchrun` alone."""
    with tempfile.TemporaryDirectory() as out:
        job = Path(out, "job.py")
        job.write_text(JOB)
        began = time.time()
        subprocess.run(
            [python, "-m", "torch.distributed.run", "--nproc-per-node", "1",
             "--master-addr", "127.0.0.1", "--master-port", "29411", str(job), out],
            check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        told = json.loads(Path(out, "times.json").read_text())
    return told["first"] - began, told["seconds"]
