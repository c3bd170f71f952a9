"""What containers cost: the way to the command on two nodes, against processes; sizes of images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.__main__ import RPAC, commit, show

YAML = """\
id: nothing
title: Two nodes that do nothing
engine: dask
command: [python, main.py, "{outputs}"]
environment: {lock: requirements.lock}
resources: {nodes: 2, cpus: 1, memory: 1 GiB}
"""
MAIN = "import pathlib, sys; pathlib.Path(sys.argv[1], 'metrics.json').write_text('{}')\n"
ROOT = Path(__file__).parents[2]


def main(repository: Path, times: int = 5) -> None:
    """Print the difference, and a line for each image that is here."""
    listed = subprocess.run([*RPAC, "images", "list", "--json"], check=False, capture_output=True)
    images = json.loads(listed.stdout) if listed.returncode == 0 else []
    if not any(image["name"].startswith("rpac/dask:") for image in images):
        print("containers: no Docker engine, or no images (rpac images build)")
        return
    for image in images:
        print(f"image {image['name']:<38} {image['size'] / 2**20:7.0f} MiB")
    lock = (ROOT / "images" / "dask" / "requirements.lock").read_bytes()
    files: dict[str, str | bytes] = {
        "experiment.yaml": YAML,
        "main.py": MAIN,
        "requirements.lock": lock,
    }
    commit(repository, "nothing", files)
    docker, process = ([_start(repository, r) for _ in range(times + 1)] for r in RUNTIMES)
    show("2 containers, submit to joined; 2 processes", docker[1:], process[1:])


RUNTIMES = ("docker", "process")


def _start(repository: Path, runtime: str) -> float:
    """Seconds from the request to start the nodes until all of them have joined."""
    argv = [*RPAC, "reproduce", "nothing", f"runtime={runtime}", "--json"]
    done = subprocess.run(argv, cwd=repository, check=True, capture_output=True)
    shown = subprocess.run(
        [*RPAC, "show", json.loads(done.stdout)["run"], "--json"],
        cwd=repository, check=True, capture_output=True,
    )  # fmt: skip
    phases = {p["name"]: p for p in json.loads(shown.stdout)["circumstances"]["phases"]}
    joined: float = phases["join"]["start_s"] + phases["join"]["duration_s"]
    return joined - float(phases["provision"]["start_s"])


if __name__ == "__main__":
    sys.exit("part of: python -m tests.benchmarks")
