"""
`python -m tests.benchmarks.bot`: what the bot costs for one comment, in processes of their own.

GitHub is the stand-in on this machine. "Our own time" of `/reproduce` is the wall time of the
process less what it waits for the API and for git commands that talk to the server; other git
commands count as ours. Nothing is asserted: a table is for reading.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.__main__ import RPAC, show, timed

TIMES = 7
REMOTE = ("fetch", "push", "ls-remote")
# `rpac bot`, with a clock around what it waits for
_CLOCKED = """\
import time
began = time.perf_counter()
import atexit, json, sys
from rpac_ci.git import Git
from rpac_ci.github import client
spent = {"api": 0.0, "git server": 0.0, "git here": 0.0}
def clocked(owner, name, kind):
    original = getattr(owner, name)
    def timed(*words, **more):
        since = time.perf_counter()
        try:
            return original(*words, **more)
        finally:
            spent[kind(words)] += time.perf_counter() - since
    setattr(owner, name, timed)
clocked(client, "_sent", lambda _: "api")  # below it nothing is imported
clocked(Git, "run", lambda words: "git server" if words[1] in REMOTE else "git here")
def told():
    print(json.dumps(spent | {"all": time.perf_counter() - began}), file=sys.stderr)
atexit.register(told)
from rpac_ci.__main__ import main
sys.argv = ["rpac", "bot"]
main()
"""


@dataclass
class Spent:
    """Seconds of each repetition, by what they were spent on."""

    wall: list[float] = field(default_factory=list)  # of the process, Python's start included
    parts: dict[str, list[float]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)  # of the last one

    @property
    def own(self) -> list[float]:
        """Wall time without what GitHub took."""
        away = zip(self.parts["api"], self.parts["git server"], strict=True)
        return [wall - sum(waits) for wall, waits in zip(self.wall, away, strict=True)]


def processor_time(action: Callable[[], object], times: int = TIMES) -> list[float]:
    """Seconds of processor time, user and system, that children of each repetition took."""
    action()
    seconds = []
    for _ in range(times):
        before = os.times()
        action()
        after = os.times()
        seconds.append(
            after.children_user + after.children_system
            - before.children_user - before.children_system
        )  # fmt: skip
    return seconds


def line(what: str, seconds: list[float]) -> None:
    """A line of figures that have nothing to be compared with."""
    median, low, high = statistics.median(seconds), min(seconds), max(seconds)
    print(f"{what:<44} {median:7.3f} s [{low:.3f}, {high:.3f}]")


def main() -> None:
    """Print what comments without and with a command cost."""
    from tests.integration.lab import Lab
    from tests.standins.github import GitHubServer

    os.environ.setdefault("GIT_CONFIG_SYSTEM", os.devnull)
    with tempfile.TemporaryDirectory() as name, GitHubServer(Path(name) / "github") as hub:
        os.environ["RPAC_CACHE"] = str(Path(name) / "cache")
        lab = Lab(hub, Path(name))
        pull = lab.pull()
        _without_command(lab, pull)
        found = _reproduce(lab, pull)
    line("/reproduce to dispatch, whole process", found.wall)
    line("/reproduce to dispatch, our own time", found.own)
    for part in ("api", "git server", "git here"):
        line(f"/reproduce to dispatch, of it {part}", found.parts[part])
    print(f"{'/reproduce to dispatch, requests':<44} {len(found.requests):7}")


def _without_command(lab: Any, pull: Any) -> None:
    environment, checkout = _job(lab, lab.runner.said(pull, lab.author, "Looks good to me."))

    def bot() -> None:
        subprocess.run([*RPAC, "bot"], cwd=checkout, env=environment, check=True,
                       capture_output=True)  # fmt: skip

    def bare() -> None:
        subprocess.run([sys.executable, "-c", "pass"], cwd=checkout, env=environment, check=True)

    asked = len(lab.hub.requests)
    show("comment without a command, python -c pass", timed(bot), timed(bare))
    show("the same in processor time", processor_time(bot), processor_time(bare))
    assert len(lab.hub.requests) == asked, "nothing was asked"


def _reproduce(lab: Any, pull: Any) -> Spent:
    found = Spent()
    script = f"REMOTE = {REMOTE!r}\n{_CLOCKED}"
    for number in range(TIMES + 1):
        payload = lab.runner.said(pull, lab.author, "/reproduce quick")
        environment, checkout = _job(lab, payload)
        asked = len(lab.hub.requests)
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=checkout, env=environment, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        wall = time.perf_counter() - began
        if not number:
            continue
        found.wall.append(wall)
        for part, seconds in json.loads(done.stderr.splitlines()[-1]).items():
            found.parts.setdefault(part, []).append(seconds)
        found.requests = lab.hub.counted()[asked:]
    return found


def _job(lab: Any, payload: Mapping[str, Any]) -> tuple[dict[str, str], Path]:
    environment: dict[str, str] = lab.runner.environment("issue_comment", payload, 900)
    return environment, lab.runner.checkout(environment)


if __name__ == "__main__":
    main()
