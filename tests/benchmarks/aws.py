"""
A study on AWS that is far away (`dispatch`): moto's Batch behind a gate that holds the answers, and
S3 in memory. AWS documents 50 calls in a second (service quotas of AWS Batch).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from rpac_ci.storage import Storage
from tests.benchmarks.dispatch import Calls, Far, measure
from tests.standins import aws
from tests.standins.aws_nodes import Nodes
from tests.standins.memory_s3 import MemoryS3

RATE = 50


def main(repository: Path) -> None:
    """Measure it."""
    with tempfile.TemporaryDirectory() as folder, aws.serve(Path(folder), docker=False) as account:
        gate = account.gate
        store = gate.store = MemoryS3()
        gate.after = Nodes(Storage("memory:///", backend=store.objects)).hear
        site = {**account.site, "store": f"s3://{aws.BUCKET}"}

        def slow_down(seconds: float) -> None:
            gate.latency_s = seconds

        def control() -> Calls:
            return [(call.action, call.at) for call in gate.calls if call.service != "s3"]

        far = Far(
            name="AWS", settings=replace(account, site=site).settings(),
            environment=account.environment, slow_down=slow_down, begin=gate.calls.clear,
            control=control, stored=lambda: sum(c.service == "s3" for c in gate.calls),
            submits="submitjob", allowed_s=lambda calls: f"{len(calls) / RATE:.1f} s at {RATE}/s",
        )  # fmt: skip
        measure(repository, far)
