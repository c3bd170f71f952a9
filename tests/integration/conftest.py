"""Parts of the stories: the command line as a person uses it, and what it may leave behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from rpac_ci import cli
from tests.standins import oidc
from tests.standins.github import GitHubServer
from tests.standins.oidc import Issuer


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def study(self) -> str:
        """The id of the study that the command made."""
        return next(line.split()[1] for line in self.out.splitlines() if line.startswith("study "))


class Terminal:
    """Types `rpac …` in a repository."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, *words: str) -> Answer:
        """Run a command to its end, in this process: starting Python takes longer than most."""
        out, err = io.StringIO(), io.StringIO()
        before, handler = Path.cwd(), signal.getsignal(signal.SIGTERM)
        os.chdir(self.root)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = cli.run(list(words))
        finally:
            os.chdir(before)
            signal.signal(signal.SIGTERM, handler)
        return Answer(code, out.getvalue(), err.getvalue())

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and leave it running, as a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "rpac_ci", *words],
            cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def last(self, experiment: str | None = None) -> dict[str, Any]:
        """The newest record."""
        return self.record(self.runs(*([experiment] if experiment else []))[0])

    def record(self, run: str | None = None) -> dict[str, Any]:
        """The record of a run, by default of the newest."""
        record: dict[str, Any] = self("show", run or self.runs()[0], "--json").json
        return record

    def runs(self, *words: str) -> list[str]:
        """Ids of runs, newest first."""
        return [row["run"] for row in self("history", *words, "--json", "-n", "99").json]

    def folder(self) -> str:
        """The newest run's folder."""
        row = self("history", "--json", "-n", "1").json[0]
        return f"reports/{row['experiment']}/{row['run'][:4]}-{row['run'][4:6]}/{row['run']}"

    def marked(self) -> list[psutil.Process]:
        """Live processes of any run of this repository."""
        store = (self.root / ".rpac" / "store").resolve().as_uri()
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("RPAC_STORE") == store
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def left_over(self) -> dict[str, list[str]]:
        """Everything a finished run must not leave."""
        store = self.root / ".rpac" / "store"
        folders = [*(self.root / ".rpac" / "local").glob("*"), *store.glob("open/*")]
        return {
            "processes": [" ".join(process.cmdline()) for process in self.marked()],
            "folders": [str(path) for path in folders],
            "secrets": [str(path) for path in store.glob("runs/*/secret")],
        }


NOTHING: dict[str, list[str]] = {"processes": [], "folders": [], "secrets": []}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[GitHubServer]:
    """GitHub, which must not have been asked for what it does not know."""
    with GitHubServer(tmp_path / "github") as server:
        yield server
        assert not server.violations, "\n".join(map(str, server.violations))


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Where jobs on GitHub get tokens of their own."""
    with oidc.serve() as found:
        yield found


@pytest.fixture
def rpac(repository: Path) -> Iterator[Terminal]:
    terminal = Terminal(repository)
    yield terminal
    for process in terminal.marked():
        process.kill()


def until(what: Callable[[], Any], limit_s: float = 30) -> Any:
    """The first true answer, or a failure."""
    deadline, pause = time.monotonic() + limit_s, threading.Event()
    while not (answer := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.005)  # what is waited for needs the processor
    return answer
