"""
GitHub Actions as far as the bot can tell: each job of the workflows in a fresh checkout of the
default branch, as child processes with a real event file, environment, outputs and artifacts.

What the jobs do stands in `.github/workflows/`; `test_workflows` checks that both say the same.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rpac_ci.github.oidc import ENTRANCES
from tests.standins import forked
from tests.standins.github import GitHubServer

LIMIT_S = 120.0
BUILD_S = 500.0  # of a job that may have to build an image
# what `rpac bot` does, with another clock
_LATER = """\
import datetime, os, pathlib, sys
from rpac_ci import bot
from rpac_ci.github import actions
from rpac_ci.github import git_access as github_git
host = actions.Host.read(os.environ)
github_git.authenticate(os.environ, host)
now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=float(sys.argv[1]))
handled = bot.handle(host, pathlib.Path(), now=now)
bot.write_outputs(host, handled.sent, handled.clouds)
print(handled.code, handled.message)
"""
# `rpac` with another clock for what it compares with the ledger's times
_CLOCK = """\
import datetime, sys
from rpac_ci.bot import cloud_jobs
from rpac_ci.cli import run
ahead = datetime.timedelta(seconds=float(sys.argv.pop(1)))
real = cloud_jobs.look_after
cloud_jobs.look_after = lambda w, c, r, now, *more: real(w, c, r, now + ahead, *more)
sys.exit(run(sys.argv[1:]))
"""
_SECRETS = ("GITHUB_TOKEN", "GH_TOKEN", "RPAC_PUSH_TOKEN")


@dataclass
class Step:
    """What one command of a job said."""

    code: int
    out: str
    err: str


@dataclass
class Workflow:
    """One run of a workflow."""

    number: int
    decide: Step
    runs: list[dict[str, Any]] = field(default_factory=list)
    concluded: list[Step] = field(default_factory=list)
    summary: str = ""
    clouds: list[str] = field(default_factory=list)

    @property
    def run(self) -> str:
        """The only run that it sent off."""
        (one,) = self.runs
        return str(one["run"])


@dataclass
class Upkeep:
    """One run of the timer's workflow."""

    look: Workflow
    looked: Mapping[str, Step]  # the jobs that entered clouds
    tell: Step | None

    @property
    def clouds(self) -> Step:
        """The only job that entered a cloud."""
        (one,) = self.looked.values()
        return one


class Runner:
    """Runs workflows for events of a stand-in GitHub."""

    def __init__(self, hub: GitHubServer, root: Path) -> None:
        self.hub, self.root = hub, root
        self.root.mkdir(parents=True, exist_ok=True)
        self.later_s = 0.0  # the clock of the timer's jobs is so far ahead
        self.submitted: Step | None = None  # what the last job that entered a cloud said
        self._number = 1000
        # what the jobs' tokens may do; a test may take a right away
        self.rights = {
            "contents": "write", "pull_requests": "write", "issues": "write", "checks": "write",
            "actions": "write", "metadata": "read",
        }  # fmt: skip
        self.app: dict[str, str] | None = None  # rights of a GitHub App's token for pushes
        # what SDKs of clouds find in the jobs that may enter one, with the way to an OIDC token
        self.cloud: dict[str, str] = {}

    # --- workflows ------------------------------------------------------------------------------

    def handle(
        self, name: str, payload: Mapping[str, Any], *, attempt: int = 1, number: int | None = None,
        later_s: float = 0.0,
    ) -> Workflow:  # fmt: skip
        """The first job alone: `rpac bot`; `later_s`: its clock is so far ahead."""
        if number is None:
            self._number += 1
            number = self._number
        environment = self.environment(name, payload, number, attempt)
        checkout = self.checkout(environment)
        if later_s:
            done = self._child([str(later_s)], checkout, environment, code=_LATER)
        else:
            done = self.rpac(checkout, environment, "bot")
        outputs = self._outputs(environment)
        summary = Path(environment["GITHUB_STEP_SUMMARY"])
        return Workflow(
            number=number,
            decide=done,
            runs=json.loads(outputs.get("runs") or "[]"),
            clouds=json.loads(outputs.get("clouds") or "[]"),
            summary=summary.read_text() if summary.exists() else "",
        )

    def workflow(self, name: str, payload: Mapping[str, Any]) -> Workflow:
        """Everything that an event starts, to its end."""
        found = self.handle(name, payload)
        for one in found.runs:
            does = self.run_job if one["cloud"] == "local" else self.submit_job
            results = does(one["run"], payload, found.number)
            found.concluded.append(self.commit_job(one, results, payload, found.number))
        return found

    def upkeep(self, name: str = "schedule", payload: Mapping[str, Any] | None = None) -> Upkeep:
        """The workflow of the timer, without the runs that it starts."""
        payload = payload or self.hub.schedule_event()
        found = self.handle(name, payload, later_s=self.later_s)
        looked, artifacts = {}, []
        for cloud in found.clouds:
            environment = self._cloud_environment(payload, found.number, cloud)
            checkout = self.checkout(environment)
            results = checkout.parent / "results"
            words = ["bot", "look-after", cloud, "--out", str(results)]
            looked[cloud] = self._rpac_later(checkout, environment, *words)
            artifacts += [self._artifact(results)] if results.exists() else []
        if not artifacts:
            return Upkeep(found, looked, None)
        environment = self.environment(name, payload, found.number)
        checkout = self.checkout(environment)
        taken = checkout.parent / "results"
        for artifact in artifacts:
            shutil.copytree(artifact, taken, symlinks=True, dirs_exist_ok=True)
        told = self.rpac(checkout, environment, "bot", "conclude", "--results", str(taken))
        return Upkeep(found, looked, told)

    def comment(self, place: Any, user: Any, body: str) -> Workflow:
        """A person writes a comment; all that follows."""
        return self.workflow("issue_comment", self.said(place, user, body))

    def said(self, place: Any, user: Any, body: str) -> dict[str, Any]:
        """A person writes a comment; the event."""
        comment = self.hub.comment(place, user, body)
        event: dict[str, Any] = self.hub.event("issue_comment", comment=comment)
        return event

    # --- jobs -----------------------------------------------------------------------------------

    def run_job(
        self, run: str, payload: Mapping[str, Any], number: int, *, interrupt_after: str = ""
    ) -> Path | None:
        """The job without rights; returns its artifact, or None where it left none."""
        environment = self.environment(
            "issue_comment", payload, number, rights={"contents": "read"}
        )
        checkout = self.checkout(environment)
        fetched = self.rpac(checkout, environment, "bot", "fetch", run)
        if fetched.code:
            return None
        bare = {name: value for name, value in environment.items() if name not in _SECRETS}
        bare.pop("GIT_CONFIG_COUNT", None)
        results = checkout.parent / "results"
        words = ["bot", "run", run, "--out", str(results)]
        if interrupt_after:
            command = [sys.executable, "-m", "rpac_ci", *words]
            self._interrupt(command, checkout, bare, interrupt_after)
        else:
            self.rpac(checkout, bare, *words)
        return self._artifact(results) if results.exists() else None

    def submit_job(self, run: str, payload: Mapping[str, Any], number: int) -> Path | None:
        """The job that enters a cloud; returns its artifact, or None where it left none."""
        environment = self._cloud_environment(payload, number)
        checkout = self.checkout(environment)
        results = checkout.parent / "results"
        self.submitted = self.rpac(
            checkout, environment, "bot", "submit", run, "--out", str(results), limit_s=BUILD_S
        )
        return self._artifact(results) if results.exists() else None

    def _cloud_environment(
        self, payload: Mapping[str, Any], number: int, only: str | None = None
    ) -> dict[str, str]:
        """Of a job that may enter one cloud, or whichever its run goes to."""
        rights = {"contents": "read", "packages": "write"}
        found = self.environment("schedule", payload, number, rights=rights) | self.cloud
        others = {n for c, e in ENTRANCES.items() if only not in (c, None) for n in e.variables}
        return {name: value for name, value in found.items() if name not in others}

    def commit_job(
        self, one: Mapping[str, Any], results: Path | None, payload: Mapping[str, Any], number: int,
        *, job: str = "success",
    ) -> Step:  # fmt: skip
        """The job that writes down what the run's job left."""
        environment = self.environment("issue_comment", payload, number)
        if self.app is not None:
            environment["RPAC_PUSH_TOKEN"] = self.hub.token(self.app)
        words = ["bot", "conclude", one["run"], "--job", job]
        words += ["--results", str(results)] if results else []
        for name in ("comment", "check"):
            if one.get(name) is not None:
                words += [f"--{name}", str(one[name])]
        return self.rpac(self.checkout(environment), environment, *words)

    # --- parts ----------------------------------------------------------------------------------

    def environment(
        self, name: str, payload: Mapping[str, Any], number: int, attempt: int = 1,
        rights: Mapping[str, str] | None = None,
    ) -> dict[str, str]:  # fmt: skip
        """The variables of one job, in a folder of its own."""
        folder = self.root / f"job-{len(list(self.root.iterdir())):04d}-{os.urandom(3).hex()}"
        folder.mkdir()
        token = self.hub.token(dict(rights or self.rights))
        variables = self.hub.environment(name, payload, token, folder)
        kept = {
            n: os.environ[n]
            for n in ("PATH", "HOME", "RPAC_CACHE", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM",
                      "LANG", "TMPDIR", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG",
                      "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_FIND_LINKS", "PIP_CERT",
                      "UV_FIND_LINKS", "PYTHONPATH", "PYTHONWARNINGS")
            if n in os.environ
        }  # fmt: skip
        variables["GITHUB_RUN_ID"], variables["GITHUB_RUN_ATTEMPT"] = str(number), str(attempt)
        return kept | {k: str(v) for k, v in variables.items()} | {"RPAC_TEST_FOLDER": str(folder)}

    def checkout(self, environment: Mapping[str, str]) -> Path:
        """What actions/checkout makes: the default branch, one commit deep, without credentials."""
        folder = Path(environment["RPAC_TEST_FOLDER"]) / "checkout"
        address = f"{environment['GITHUB_SERVER_URL']}/{environment['GITHUB_REPOSITORY']}"
        header = self.hub.basic(environment["GITHUB_TOKEN"])
        subprocess.run(
            ["git", "-c", f"http.extraheader={header}", "clone",
             "--quiet", "--depth=1", address, str(folder)],
            check=True, capture_output=True, env=dict(environment), timeout=LIMIT_S,
        )  # fmt: skip
        return folder

    def rpac(
        self, checkout: Path, environment: Mapping[str, str], *words: str, limit_s: float = LIMIT_S
    ) -> Step:
        """Run `rpac` in a checkout to its end."""
        return self._child(words, checkout, environment, limit_s=limit_s)

    def _rpac_later(self, checkout: Path, environment: Mapping[str, str], *words: str) -> Step:
        """The same with a clock that is ahead."""
        return self._child([str(self.later_s), *words], checkout, environment, code=_CLOCK)

    def _child(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], *,
        limit_s: float = LIMIT_S, code: str = forked.RPAC,
    ) -> Step:  # fmt: skip
        done = forked.run(
            words, folder, environment, limit_s=limit_s, code=code, started=self._started
        )
        return Step(done.returncode, done.stdout, done.stderr)

    def _started(self, group: int) -> None:
        """A step has begun, as a group of processes."""

    def _interrupt(
        self, command: list[str], folder: Path, environment: Mapping[str, str], after: str
    ) -> None:
        """Start a command, and cancel its job as the runner does once a line was printed."""
        child = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert child.stderr is not None
        deadline = time.monotonic() + LIMIT_S
        for line in child.stderr:
            if after in line or time.monotonic() > deadline:
                break
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=LIMIT_S)

    def _artifact(self, results: Path) -> Path:
        """Through the store of artifacts: another machine gets a copy."""
        copy = results.parent / "artifact"
        shutil.copytree(results, copy, symlinks=True)
        return copy

    def _outputs(self, environment: Mapping[str, str]) -> dict[str, str]:
        path = Path(environment["GITHUB_OUTPUT"])
        text = path.read_text() if path.exists() else ""
        return dict(re.findall(r"^(\w+)<<(?:\S+)\n(.*?)\n\S+$", text, re.MULTILINE | re.DOTALL))
