"""
A study of 100 runs in a cloud where every request takes 200 ms, against the chain of one run.

A study may take as long as the requests of one run one after the other, or as the cloud documents
it to take so many calls. The cloud is a stand-in that holds its answers, its store is in memory,
and nodes leave their results at once.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tests.benchmarks.__main__ import RPAC, commit, run, show

RUNS, LATENCY_S = 100, 0.2
_EXPERIMENT = "far"
IMAGE = "registry.example.org/lab/far@sha256:" + "5" * 64
YAML = f"""\
id: {_EXPERIMENT}
title: Nothing but requests
engine: process
command: [python, main.py, "{{outputs}}"]
environment: {{image: "{IMAGE}"}}
verify: {{level: {{expect: 7}}}}
"""
Calls: TypeAlias = Sequence[tuple[str, float]]  # action and when, in seconds


@dataclass(frozen=True, kw_only=True)
class Far:
    """A cloud that is far away."""

    name: str
    settings: str  # rpac.yaml
    environment: Mapping[str, str]
    slow_down: Callable[[float], None]  # seconds of each request from now on
    begin: Callable[[], None]  # forget what was asked
    control: Callable[[], Calls]  # what the cloud was asked since
    stored: Callable[[], int]  # how often its store was asked since
    submits: str  # the action that submits a run
    allowed_s: Callable[[Calls], str]  # what the documented rate says of so many calls


def measure(repository: Path, far: Far, times: int = 3) -> None:
    """Print until all runs are submitted, and until all are recorded."""
    if not (repository / "experiments" / _EXPERIMENT).exists():
        commit(repository, _EXPERIMENT, {"experiment.yaml": YAML, "main.py": ""})
    (repository / "rpac.yaml").write_text(far.settings)
    before = dict(os.environ)
    os.environ.update(far.environment)
    try:
        _measured(repository, far, "repeat=1")  # makes what is kept for later runs
        far.slow_down(LATENCY_S)
        one = [_measured(repository, far, "repeat=1") for _ in range(times)]
        many = [_measured(repository, far, f"repeat={RUNS}") for _ in range(times)]
        told = far.allowed_s(far.control())
    finally:
        os.environ.clear()
        os.environ.update(before)
        (repository / "rpac.yaml").unlink()
    for n, until in enumerate(("all are submitted", "all are recorded")):
        title = f"{RUNS} runs on {far.name} until {until}; one"
        show(title, [m[n] for m in many], [o[n] for o in one])
    # where the machine is slower than the cloud, this is what the time goes to
    title = f"{RUNS} runs on {far.name}, processor time; one"
    show(title, [m[2] for m in many], [o[2] for o in one])
    calls, objects = many[-1][3:]
    print(f"  {calls} calls of {far.name} ({told}), {objects} requests to its store")


def _measured(repository: Path, far: Far, words: str) -> tuple[float, float, float, int, int]:
    """
    Seconds until the last job was submitted, until the end, and of rpac's processor time; calls,
    and requests to the store.
    """
    far.begin()
    began, before = time.monotonic(), _spent_s()
    cloud = f"cloud={far.name.lower()}"
    run(*RPAC, "reproduce", _EXPERIMENT, cloud, words, "--quiet", cwd=repository)
    ended = time.monotonic()
    calls = far.control()
    submitted = max(at for action, at in calls if action == far.submits) + LATENCY_S
    spent = _spent_s() - before
    return submitted - began, ended - began, spent, len(calls), far.stored()


def _spent_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
