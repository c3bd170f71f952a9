"""What must hold after any fault, once `rpac advance` has gone on with the run."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import git
from tests.integration.conftest import NOTHING, Terminal
from tests.standins.faults import Faults, start
from tests.standins.waiting import until

LIMIT_S = 90.0  # for any command, however busy the machine is


def rpac_with(
    rpac: Terminal, *words: str, faults: Faults | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command with faults to its end, in a process of its own."""
    return ended(start(rpac.root, *words, faults=faults))


def said(answer: subprocess.CompletedProcess[str]) -> str:
    """All that a command said, for a failed test."""
    return f"exit {answer.returncode}\n{answer.stdout}\n{answer.stderr}"


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """A process once it has ended; one that does not is killed, and the test fails."""
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it did not end:\n{out}\n{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def stopped(process: subprocess.Popen[str]) -> None:
    """Wait until a process has stopped itself."""
    watched = psutil.Process(process.pid)

    def is_stopped() -> bool:
        if watched.status() == psutil.STATUS_ZOMBIE:
            out, err = process.communicate()
            raise AssertionError(f"it ended and was to stop:\n{out}\n{err}")
        return watched.status() == psutil.STATUS_STOPPED

    until(is_stopped, limit_s=LIMIT_S)


def go_on(process: subprocess.Popen[str]) -> None:
    """Let a stopped process go on."""
    process.send_signal(signal.SIGCONT)


def the_promise_holds(rpac: Terminal, outcome: str, *, base: str) -> dict[str, Any]:
    """
    One record and one commit of one run, nothing left over, and nothing more to be done.

    Args:
        rpac: the repository.
        outcome: the verdict that is true.
        base: commit of the branch before the run.

    Returns:
        The record.
    """
    root = rpac.root
    [record] = records(root)
    assert record["verdict"]["outcome"] == outcome, record["outcome"]
    assert git(root, "rev-list", "--count", "rpac/log") == "1"
    subjects = git(root, "log", "--format=%(trailers:key=Rpac-Run,valueonly)", f"{base}..HEAD")
    assert subjects.split() == [record["run"]]
    assert min([phase["duration_s"] for phase in record["circumstances"]["phases"]]) >= 0
    nothing_is_left(rpac)
    return record


def records(root: Path) -> list[dict[str, Any]]:
    """Every record in the log, as it stands in git."""
    if not git(root, "for-each-ref", "refs/heads/rpac/log"):
        return []
    paths = git(root, "ls-tree", "-r", "--name-only", "rpac/log").splitlines()
    return [
        json.loads(git(root, "show", f"rpac/log:{path}"))
        for path in paths
        if path.endswith("/record.json")
    ]


def nothing_is_left(rpac: Terminal) -> None:
    """No process, folder, secret or marker; git is clean and whole; nothing changes any more."""
    assert rpac.left_over() == NOTHING
    assert git(rpac.root, "status", "--porcelain") == ""
    assert git(rpac.root, "fsck", "--strict", "--no-dangling", "--no-progress") == ""
    before = _everything(rpac.root)
    again, swept = rpac("advance", "--all"), rpac("sweep")
    assert (again.code, again.out) == (0, "no open runs\n")
    assert (swept.code, swept.out) == (0, "nothing is left over\n")
    assert _everything(rpac.root) == before


def _everything(root: Path) -> tuple[str, dict[str, int]]:
    """Refs of git, and every file that rpac keeps with the time of its last change."""
    files = {
        str(path): path.stat().st_mtime_ns for path in (root / ".rpac").rglob("*") if path.is_file()
    }
    return git(root, "for-each-ref"), files
