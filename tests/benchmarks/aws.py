"""
A study of 100 runs on AWS where every request takes 200 ms, against the chain of one run.

A study may take as long as the requests of one run one after the other, or as AWS documents it to
take so many calls: 50 in a second (service quotas of AWS Batch). AWS is moto's Batch behind a gate
that holds the answers, and S3 in memory; nodes leave their results at once.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rpac_ci.storage import Storage
from tests.benchmarks.__main__ import RPAC, commit, run, show
from tests.standins import aws
from tests.standins.aws_nodes import Nodes
from tests.standins.memory_s3 import MemoryS3

RUNS, LATENCY_S, RATE = 100, 0.2, 50
IMAGE = "registry.example.org/lab/far@sha256:" + "5" * 64
YAML = f"""\
id: far
title: Nothing but requests
engine: process
command: [python, main.py, "{{outputs}}"]
environment: {{image: "{IMAGE}"}}
verify: {{level: {{expect: 7}}}}
"""


def main(repository: Path, times: int = 3) -> None:
    """Print until all jobs are submitted, and until all runs are recorded."""
    commit(repository, "far", {"experiment.yaml": YAML, "main.py": ""})
    with tempfile.TemporaryDirectory() as folder, aws.serve(Path(folder), docker=False) as account:
        store = account.gate.store = MemoryS3()
        account.gate.after = Nodes(Storage("memory:///", backend=store.objects)).hear
        account = replace(account, site={**account.site, "store": f"s3://{aws.BUCKET}"})
        (repository / "rpac.yaml").write_text(account.settings())
        before = dict(os.environ)
        os.environ.update(account.environment)
        try:
            _measured(repository, account, "repeat=1")  # makes the shape
            account.gate.latency_s = LATENCY_S
            one = [_measured(repository, account, "repeat=1") for _ in range(times)]
            many = [_measured(repository, account, f"repeat={RUNS}") for _ in range(times)]
        finally:
            os.environ.clear()
            os.environ.update(before)
            (repository / "rpac.yaml").unlink()
    for n, until in enumerate(("all are submitted", "all are recorded")):
        show(f"{RUNS} runs on AWS until {until}; one", [m[n] for m in many], [o[n] for o in one])
    calls, objects = many[-1][2:]
    print(f"  {calls} calls of AWS ({calls / RATE:.1f} s at {RATE}/s), {objects} requests to S3")


def _measured(
    repository: Path, account: aws.AwsStandin, words: str
) -> tuple[float, float, int, int]:
    """Seconds until the last job was submitted and until the end; calls, requests to the store."""
    account.gate.calls.clear()
    began = time.monotonic()
    run(*RPAC, "reproduce", "far", "cloud=aws", words, "--quiet", cwd=repository)
    ended = time.monotonic()
    calls = account.gate.calls
    submitted = max(call.at for call in calls if call.action == "submitjob") + LATENCY_S
    store = sum(call.service == "s3" for call in calls)
    return submitted - began, ended - began, len(calls) - store, store
