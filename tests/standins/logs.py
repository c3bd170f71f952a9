"""A reproduction log of any size, made by one `git fast-import` from a true record."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rpac_ci.log_paths import LOG_REF, run_folder

ASSETS = Path(__file__).parent.parent / "assets"
EXPERIMENTS = 200
FIRST = datetime(2025, 1, 1, tzinfo=UTC)
BETWEEN = timedelta(minutes=50)  # ten thousand runs are a year
OUTCOMES = [
    ("succeeded", "reproduced: identical", 0),
    ("succeeded", "reproduced: within tolerance", 0),
    ("succeeded", "not reproduced", 1),
    ("succeeded", "compared (variant)", 0),
    ("failed", "inconclusive (run failed)", 3),
]


def make_record(number: int, experiments: int = EXPERIMENTS) -> dict[str, Any]:
    """The record of the n-th run: the asset with its own id, times, arguments and results."""
    record: dict[str, Any] = json.loads((ASSETS / "record.json").read_bytes())
    at = FIRST + number * BETWEEN
    noise = hashlib.sha256(str(number).encode()).hexdigest()
    status, outcome, code = OUTCOMES[number % len(OUTCOMES)]
    record |= {
        "run": f"{at:%Y%m%dT%H%M%SZ}-{noise[:8]}",
        "experiment": f"exp-{int(noise[8:12], 16) % experiments:03d}",
    }
    identity = record["identity"]
    identity["args"]["trees"]["value"] = 100 + number % 7 * 50
    identity["seed"] = number % 11
    identity["source"]["commit"] = noise[:40]
    for name in ("pipeline", "science"):
        identity[name] = "sha256:" + hashlib.sha256(f"{name} {number}".encode()).hexdigest()
    around = record["circumstances"]
    around["cloud"] = ("local", "aws", "azure")[number % 3]
    around["started"] = f"{at:%Y-%m-%dT%H:%M:%S}.000Z"
    around["finished"] = f"{at + timedelta(seconds=60 + number % 100):%Y-%m-%dT%H:%M:%S}.500Z"
    for phase in around["phases"]:
        phase["duration_s"] += number % 97 / 10
    record["outcome"]["status"] = status
    record["outcome"]["metrics"]["f1"]["value"] = int(noise[12:16], 16) / 65536
    record["outcome"]["outputs"][0]["sha256"] = noise
    record["verdict"] |= {"outcome": outcome, "exit_code": code}
    return record


def write_log(
    root: Path, runs: int, *, first: int = 0, experiments: int = EXPERIMENTS, ref: str = LOG_REF
) -> None:
    """
    Add runs to the log of a repository, one commit for each, as a real log has it.

    Args:
        root: a repository.
        runs: how many.
        first: number of the first one; a log that goes on has the earlier ones already.
        experiments: over how many experiments they are spread.
        ref: the log's name.
    """
    process = subprocess.Popen(
        ["git", "fast-import", "--quiet", "--done"], cwd=root, stdin=subprocess.PIPE
    )
    assert process.stdin
    exists = subprocess.run(["git", "rev-parse", "-q", "--verify", ref], cwd=root, check=False,
                            capture_output=True).stdout.strip()  # fmt: skip
    with process.stdin as stream:
        for part in _stream(range(first, first + runs), experiments, ref, exists):
            stream.write(part)
    assert process.wait() == 0


def _stream(numbers: range, experiments: int, ref: str, tip: bytes) -> Iterator[bytes]:
    pipeline = (ASSETS / "pipeline.yaml").read_bytes()
    report = (ASSETS / "report.md").read_bytes()
    yield b"feature done\n"
    for number in numbers:
        record = make_record(number, experiments)
        experiment, run = record["experiment"], record["run"]
        message = f"{experiment}: {record['verdict']['outcome']}\n\nRpac-Run: {run}\n"
        yield f"commit {ref}\ncommitter bench <bench@localhost> {number} +0000\n".encode()
        yield _data(message.encode())
        if tip and number == numbers[0]:
            yield b"from %s\n" % tip
        files = {
            "pipeline.yaml": pipeline.replace(b"7", str(number).encode(), 1),
            "record.json": json.dumps(record, indent=2, sort_keys=True).encode() + b"\n",
            "report.md": report.replace(b"exp", run.encode(), 1),
            "source/main.py": f"print({experiment!r})\n".encode() * 20,
            "source/helpers/io.py": b"import json\n" * 30,
            "source/requirements.lock": b"dask==2026.1.0\n" * 40,
        }
        folder = run_folder(experiment, run)
        for path, content in files.items():
            yield f"M 100644 inline {folder}/{path}\n".encode()
            yield _data(content)
    yield b"done\n"


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)
