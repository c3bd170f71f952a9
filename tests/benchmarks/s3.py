"""
Files brought to S3 against `aws s3 sync`: many small ones, and a large one; then the same again.

S3 is a stand-in in memory (`standins.memory_s3`), the same for both. Small files are inputs
(`data:`) of one pipeline, more than one `experiment.yaml` has room for: that is some three
thousand. What is printed is the CPU time of the client, then its requests and the bytes it sent.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.__main__ import show
from tests.standins import aws
from tests.standins.memory_s3 import MemoryS3

SMALL, SMALL_BYTES, LARGE_BYTES = 10_000, 4096, 2 * 2**30
# the step of a run that brings its inputs, in a process of its own
STAGE = """\
import sys
from pathlib import Path
from tests.benchmarks.s3 import stage
stage(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""


def main(times: int = 3) -> None:
    """Print a line for each of four cases, or why there is none."""
    command = _aws()
    if command is None:
        print("s3: awscli cannot be installed, skipped")
        return
    with tempfile.TemporaryDirectory() as name, server() as gate:
        folder = Path(name)
        for what, sizes, rounds in (
            (f"{SMALL:,} files of 4 KiB to S3", [SMALL_BYTES] * SMALL, times),
            ("one file of 2 GiB to S3", [LARGE_BYTES], 1),
        ):
            files = folder / "files"
            _fill(files, sizes)
            first, again = [], []
            for _ in range(rounds):
                gate.store = MemoryS3()
                cache = tempfile.mkdtemp(dir=folder)
                ours = [sys.executable, "-c", STAGE, str(files), cache, f"s3://{aws.BUCKET}/ours"]
                bare = [*command, "s3", "sync", "--only-show-errors", str(files)]
                bare.append(f"s3://{aws.BUCKET}/theirs")
                pairs = [(_cost(gate, ours), _cost(gate, bare)) for _ in range(2)]
                first.append(pairs[0])
                again.append(pairs[1])
                subprocess.run(["rm", "-rf", cache], check=True)
            for title, pairs in ((what, first), ("  the same again", again)):
                show(f"{title}: CPU", [o[0] for o, _ in pairs], [b[0] for _, b in pairs])
                for who, (_, asked, sent) in zip(("rpac", "sync"), pairs[-1], strict=True):
                    print(f"    {who}: {_told(asked)}; {sent / 2**20:,.1f} MiB")
            subprocess.run(["rm", "-rf", str(files)], check=True)


def stage(folder: Path, cache: Path, store: str) -> None:
    """Bring the files of a folder to a store, as the first step of a run does."""
    from rpac_ci.commands import parse_overrides
    from rpac_ci.experiment_model import Experiment
    from rpac_ci.pipeline import compile_pipeline, define
    from rpac_ci.site_config import SiteConfig
    from rpac_ci.source_trees import make
    from rpac_ci.staging import Staging
    from rpac_ci.workspace import Place

    account = {
        "region": aws.REGION, "name": "lab", "store": store, "repository": "localhost:1/rpac",
        "subnets": ["subnet-12345678"], "security_groups": ["sg-12345678"],
        "instance_profile": "arn:aws:iam::123456789012:instance-profile/lab",
        "job_role": "arn:aws:iam::123456789012:role/lab",
    }  # fmt: skip
    site = SiteConfig.model_validate({"clouds": {"aws": account}})
    inputs = {f"f{path.stem}": {"uri": f"file:{path.name}"} for path in sorted(folder.iterdir())}
    experiment = Experiment.model_validate(
        {
            "id": "files", "title": "Files", "engine": "process", "command": ["true"],
            "environment": {"image": "localhost:1/rpac@sha256:" + "5" * 64}, "data": inputs,
        }
    )  # fmt: skip
    pipeline = compile_pipeline(
        define(experiment, make([])), overrides=parse_overrides(["cloud=aws"]), site=site
    )
    place = Place(root=folder, config=site, cache=cache, cloud="aws")
    created = {"folder": "."}
    Staging(
        place,
        pipeline,
        created,
        lambda _, __: None,
        clock="control/clock",
        images="localhost:1/rpac",
    ).all()


def _told(asked: Counter[str]) -> str:
    return ", ".join(f"{count:,} {action}" for action, count in sorted(asked.items()))


def _fill(folder: Path, sizes: list[int]) -> None:
    folder.mkdir()
    for number, size in enumerate(sizes):
        with (folder / f"{number:05d}.bin").open("wb") as file:
            while size > 0:
                size -= file.write(os.urandom(min(size, 2**24)))


def _cost(gate: aws.Gate, argv: list[str]) -> tuple[float, Counter[str], int]:
    """CPU seconds of a command, its requests by method, and the bytes that it sent."""
    gate.calls.clear()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True, env={**os.environ, **environment(gate)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, gate.count("s3"), sum(call.size for call in gate.calls)


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


def _aws() -> list[str] | None:
    """The command `aws` of the package `awscli`, in an environment of its own."""
    folder = Path(os.environ["RPAC_CACHE"]) / "awscli"
    program = folder / "bin" / "aws"
    if not program.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(folder / "bin" / "pip"), "install", "--quiet", "awscli"]
            subprocess.run(pip, check=True, capture_output=True, timeout=300)
        except (OSError, subprocess.SubprocessError):
            return None
    return [str(program)]
