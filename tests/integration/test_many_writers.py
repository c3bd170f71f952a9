"""
Sixteen writers, killed at random moments and started again: every run is in the log once.

What is killed is everything a writer has started; a server lives on, as the one of a remote does.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from rpac_ci.collector import collect
from rpac_ci.git import Git
from rpac_ci.inbox import push
from rpac_ci.log_paths import LOG_REF
from rpac_ci.reproduction_log import ReproductionLog
from tests.conftest import ROOT, WriteExperiment, git
from tests.entries import contents, expected, make_bare, make_clone, run_entry
from tests.integration.conftest import Terminal, until

pytestmark = pytest.mark.slow  # a minute and more

WRITERS = 16
RUNS = 3
LIVES = 3  # the last one is not cut short
LIMIT_S = 240

WRITE = """\
import pathlib, sys
from rpac_ci import ref_writer
from rpac_ci.git import Git
from rpac_ci.inbox import push
from rpac_ci.reproduction_log import ReproductionLog
from tests.entries import run_entry
ref_writer.STALE_S = 1.0
git = Git(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
for run in sys.argv[3:]:
    ReproductionLog(git).add(run_entry(run))
    if sys.argv[2] == "push":
        push(git)
"""
COLLECT = """\
import pathlib, select, sys
from rpac_ci.collector import collect
from rpac_ci.git import Git
git = Git(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
while not pathlib.Path(sys.argv[2]).exists():
    collect(git)
    select.select([], [], [], 0.05)
"""


def run_ids(writer: int) -> list[str]:
    return [
        f"2026010{1 + number}T0000{writer:02d}Z-{writer:03x}{number:05x}" for number in range(RUNS)
    ]


def everything() -> dict[str, bytes]:
    return expected(*(run_entry(run) for writer in range(WRITERS) for run in run_ids(writer)))


class Killed(threading.Thread):
    """A process that is killed and started again, until its last life ends by itself."""

    def __init__(self, script: str, *words: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.argv = [sys.executable, "-c", script, *words]
        self.random = random.Random(seed)
        self.process: subprocess.Popen[str] | None = None
        self.kills = 0
        self.said = ""
        self.start()

    def run(self) -> None:
        for life in range(LIVES):
            self.process = subprocess.Popen(
                self.argv, cwd=ROOT, text=True, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            assert self.process.stdout is not None
            self.process.stdout.readline()  # what comes before it is only Python starting
            limit = LIMIT_S if life == LIVES - 1 else self.random.uniform(0, 1.5)
            try:
                self.process.wait(limit)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.kills += 1
            self.said = self.process.communicate()[1]
            if self.process.returncode >= 0:
                return


def finish(threads: Sequence[Killed]) -> None:
    for thread in threads:
        thread.join(LIMIT_S)
    ends = [(t.process.returncode if t.process else None, t.said) for t in threads]
    assert ends == [(0, "")] * len(threads)


def nobody_is_at(path: Path) -> bool:
    """Whether no process has a path among its words: servers live longer than their clients."""
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    return not any(str(path) in line for line in lines)


def check_log(root: Path, revision: str) -> None:
    assert contents(root, revision) == everything()
    assert git(root, "rev-list", "--count", revision) == str(WRITERS * RUNS), "each run once"
    assert git(root, "rev-list", "--min-parents=2", revision) == "", "one line"
    others = git(
        root, "log", "--format=", "--name-status", "--no-renames", "--diff-filter=a", revision
    )
    assert others == "", "files are only ever added"
    assert git(root, "fsck", "--strict", "--no-dangling", "--no-progress") == ""


def of_a_server_of_its_own(clone: Path) -> Path:
    """Let the server's part of fetch and push live on when the client is killed."""
    for side in ("uploadpack git-upload-pack", "receivepack git-receive-pack"):
        key, program = side.split()
        git(clone, "config", f"remote.origin.{key}", f"setsid {program}")
    return clone


def test_writers_with_clones_of_their_own_and_two_collectors(tmp_path: Path) -> None:
    bare = make_bare(tmp_path / "shared")
    clones = [
        of_a_server_of_its_own(make_clone(bare, tmp_path / str(n))) for n in range(WRITERS + 2)
    ]
    writers = [Killed(WRITE, str(clones[n]), "push", *run_ids(n), seed=n) for n in range(WRITERS)]
    stop = tmp_path / "stop"
    collectors = [Killed(COLLECT, str(clone), str(stop), seed=99) for clone in clones[WRITERS:]]
    finish(writers)
    stop.touch()
    finish(collectors)
    assert sum(thread.kills for thread in (*writers, *collectors)) >= WRITERS // 2
    until(lambda: nobody_is_at(bare))

    collected = collect(Git(clones[0]))

    check_log(bare, LOG_REF)
    assert git(bare, "for-each-ref", "--format=%(refname)") == LOG_REF, "no inbox, no conflict"
    assert collected.tip == git(bare, "rev-parse", LOG_REF)
    for clone in clones[:WRITERS]:
        pushed = push(Git(clone))
        assert (pushed.sent, pushed.waiting, pushed.conflicts, pushed.unfit) == ([], [], [], {})
        assert git(clone, "rev-parse", LOG_REF) == collected.tip


def test_writers_in_one_repository(repository: Path) -> None:
    writers = [Killed(WRITE, str(repository), "keep", *run_ids(n), seed=n) for n in range(WRITERS)]
    finish(writers)
    check_log(repository, LOG_REF)
    assert len(ReproductionLog(Git(repository)).runs()) == WRITERS * RUNS
    left = {path.name for path in (repository / ".git").rglob("*.lock")}
    assert left <= {"packed-refs.lock"}
    assert not list((repository / ".git").glob("fast_import_crash_*"))


def test_a_run_as_it_is_made_goes_to_the_shared_log(
    rpac: Terminal, tmp_path: Path, write_experiment: WriteExperiment
) -> None:
    bare = make_bare(tmp_path / "shared")
    git(rpac.root, "remote", "add", "origin", bare.as_uri())
    write_experiment()
    assert rpac("reproduce", "quick").code == 0
    [run] = rpac.runs()
    assert rpac("accept", run).code == 0
    assert push(Git(rpac.root)).sent == [run, f"accepted-{run}"]
    collected = collect(Git(rpac.root))
    assert (collected.added, collected.quarantined) == ([run, f"accepted-{run}"], {})
    assert contents(bare, LOG_REF) == contents(rpac.root, LOG_REF)
