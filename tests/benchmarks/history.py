"""
`rpac history` against the bare git commands that find and read the same records.

Logs of 1,000 and 10,000 runs are made once and kept in the system's folder for temporary files.
They are packed as `git gc` packs a log that grew run by run. Also by itself:
`python -m tests.benchmarks.history`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rpac_ci.filters import parse_filters
from rpac_ci.git import Git
from rpac_ci.past_runs import find
from tests.benchmarks.__main__ import RPAC, run, show
from tests.standins import logs

ALL = ["metric.f1>2"]  # matches no run, so every row is looked at


def repository(runs: int) -> Path:
    """A repository with a log of so many runs, from the last time if nothing changed."""
    made_of = [Path(logs.__file__), *sorted(logs.ASSETS.iterdir())]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in made_of)).hexdigest()[:12]
    root = Path(tempfile.gettempdir()) / f"rpac-benchmark-log-{runs}-{digest}"
    if not root.exists():
        with tempfile.TemporaryDirectory(dir=root.parent) as name:
            new = Path(name) / "repository"
            run("git", "init", "--quiet", str(new))
            logs.write_log(new, runs)
            run("git", "repack", "-a", "-d", "-f", "--quiet", cwd=new)
            new.rename(root)
    return root


def bare(root: Path, below: str) -> None:
    """List and read the records below a folder of the log."""
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "rpac/log", below],
        cwd=root, check=True, capture_output=True,
    ).stdout  # fmt: skip
    wanted = [path for path in listed.splitlines() if path.endswith(b"/record.json")]
    names = b"".join(b"rpac/log:%s\n" % path for path in wanted)
    subprocess.run(
        ["git", "cat-file", "--batch"], cwd=root, check=True, capture_output=True, input=names
    )


def measure(runs: int) -> None:
    root = repository(runs)
    git, everything = Git(root), parse_filters(ALL, datetime.now(UTC))

    def rpac(*words: str) -> None:
        run(*RPAC, "history", *words, cwd=root)

    def cold(*words: str) -> None:
        shutil.rmtree(root / ".rpac", ignore_errors=True)
        rpac(*words)

    def last() -> None:
        run("git", "log", "-20", "--format=%s", "rpac/log", cwd=root)

    def one() -> None:
        bare(root, "reports/exp-001/")

    def every() -> None:
        bare(root, "reports/")

    within = "  without process and imports"
    compare(f"{runs}: rpac history -n 20, git log -20", lambda: rpac("-n", "20"), last)
    compare(within, lambda: find(git, last=20), last)
    compare("  one experiment, ls-tree + cat-file", lambda: rpac("exp-001"), one)
    compare(within, lambda: find(git, "exp-001"), one)
    compare("  a filter on all, cold, ls-tree + cat-file", lambda: cold(*ALL), every, 5)
    compare("  a filter on all, warm", lambda: rpac(*ALL), every, 5)
    compare(within, lambda: find(git, None, everything), every, 5)


def compare(
    what: str, ours: Callable[[], object], theirs: Callable[[], object], times: int = 7
) -> None:
    """Both in turns, so that whatever else the machine does falls on both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    ours()
    theirs()
    for _ in range(times):
        for action, taken in zip((ours, theirs), seconds, strict=True):
            began = time.perf_counter()
            action()
            taken.append(time.perf_counter() - began)
    show(what, *seconds)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # as installed: a package has its bytecode, a working tree may be kept from having it
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        compare(
            "python -c 'import click', python -c pass",
            lambda: run(sys.executable, "-c", "import click"),
            lambda: run(sys.executable, "-c", "pass"),
        )
        for runs in (1_000, 10_000):
            measure(runs)
        del os.environ["PYTHONPYCACHEPREFIX"]


if __name__ == "__main__":
    main()
