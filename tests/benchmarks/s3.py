"""Files brought to S3 (`uploads`) against `aws s3 sync`; S3 is a stand-in in memory for both."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.uploads import Remote, measure, python_with
from tests.benchmarks.uploads import stage as stage_files
from tests.standins import aws
from tests.standins.memory_s3 import MemoryS3


def main() -> None:
    """Measure it, or say why not."""
    programs = python_with("awscli")
    if programs is None:
        print("s3: awscli cannot be installed, skipped")
        return
    theirs = f"s3://{aws.BUCKET}/theirs"
    sync = [str(programs / "aws"), "s3", "sync", "--only-show-errors"]
    with server() as gate:

        def empty() -> None:
            gate.store = MemoryS3()

        measure(
            Remote(
                name="S3", tool="sync", cloud="aws", site=lambda: json.dumps(_site("ours")),
                command=lambda files: [*sync, str(files), theirs], environment=environment(gate),
                empty=empty, begin=gate.calls.clear, asked=lambda: gate.count("s3"),
                sent=lambda: sum(call.size for call in gate.calls),
            )
        )  # fmt: skip


def stage(folder: Path, cache: Path) -> None:
    """Bring the files of a folder to the bucket, as the first step of a run does."""
    stage_files(folder, cache, "aws", _site("runs"))


def _site(prefix: str) -> dict[str, object]:
    return {
        "region": aws.REGION, "name": "lab", "store": f"s3://{aws.BUCKET}/{prefix}",
        "repository": "localhost:1/rpac", "subnets": ["subnet-12345678"],
        "security_groups": ["sg-12345678"],
        "instance_profile": "arn:aws:iam::123456789012:instance-profile/lab",
        "job_role": "arn:aws:iam::123456789012:role/lab",
    }  # fmt: skip


def environment(gate: aws.Gate) -> dict[str, str]:
    """What leads clients to the stand-in."""
    return {
        **aws.KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{gate.server_port}",
        "AWS_DEFAULT_REGION": aws.REGION, "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # bodies as they are, without frames
    }  # fmt: skip


@contextmanager
def server() -> Iterator[aws.Gate]:
    """S3 in memory, and nothing else of AWS."""
    gate = aws.Gate("127.0.0.1", 0)
    gate.store = MemoryS3()
    threading.Thread(target=gate.serve_forever, daemon=True).start()
    try:
        yield gate
    finally:
        gate.shutdown()
        gate.server_close()
