"""
Parts of the attack tests: the bot in this process, which is faster than a child, and a look at all
that it may have changed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rpac_ci import bot
from rpac_ci.bot import Context, finish, jobs
from rpac_ci.errors import RpacError
from rpac_ci.git import Git
from rpac_ci.github.actions import Host
from rpac_ci.github.client import GitHub
from rpac_ci.github.git_access import authenticate
from rpac_ci.workspace import Workspace
from tests.integration.lab import Lab

LEDGER = "rpac/ledger"


@dataclass
class Reaction:
    """What the bot did about one event."""

    code: str
    codes: list[str] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)  # as the workflow gets them
    message: str = ""
    log: str = ""  # what the job printed
    exit_code: int = 0


class Target(Lab):
    """A lab under attack."""

    def handle(
        self, name: str, payload: Mapping[str, Any], *, attempt: int = 1, later_s: float = 0.0,
        raw: bytes | None = None,
    ) -> Reaction:  # fmt: skip
        """
        The first job of a workflow, in this process and without waiting between requests.

        Args:
            name: of the event.
            payload: of the event.
            attempt: of the workflow's run.
            later_s: the job's clock is so far ahead.
            raw: bytes of the event's file, in place of the payload.
        """
        with self._job(name, payload, attempt) as (host, checkout):
            if raw is not None:
                host.event_path.write_bytes(raw)
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                try:
                    done = bot.handle(
                        host, checkout, github=impatient(host),
                        now=datetime.now(UTC) + timedelta(seconds=later_s),
                    )  # fmt: skip
                except RpacError as exc:  # as the command line tells it
                    return Reaction("error", message=exc.message, log=printed.getvalue(),
                                    exit_code=int(exc.exit_code))  # fmt: skip
            runs = [one.to_json() for one in done.sent]
            return Reaction(done.code, done.codes, runs, done.message, printed.getvalue(),
                            done.exit_code)  # fmt: skip

    def tells(self, user: Any, place: Any, body: str, **more: Any) -> Reaction:
        """Somebody comments; what the bot does about it, without the jobs that follow."""
        return self.handle("issue_comment", self.runner.said(place, user, body), **more)

    def conclude(self, one: Mapping[str, Any], results: Path | None) -> finish.Finished:
        """The job that writes down what the run's job left, in this process."""
        with self._job("schedule", self.hub.schedule_event(), 1) as (host, checkout):
            context = Context(
                host=host, workspace=Workspace.at(Git.discover(checkout)),
                github=impatient(host), now=datetime.now(UTC), repository=self.hub.main.id,
                default_branch="",
            )  # fmt: skip
            with contextlib.redirect_stdout(io.StringIO()):
                done = finish.finish(
                    context, one["run"], results, comment=one["comment"], check=one["check"]
                )
            assert isinstance(done, finish.Finished)
            return done

    def fetched(self, run: str) -> Path:
        """What the run's job gets to work on."""
        with self._job("schedule", self.hub.schedule_event(), 1) as (_, checkout):
            return jobs.fetch(Workspace.at(Git.discover(checkout)), run).root

    @contextlib.contextmanager
    def _job(
        self, name: str, payload: Mapping[str, Any], attempt: int
    ) -> Iterator[tuple[Host, Path]]:
        number = self.hub.next_id("attack", 5000)
        environment = self.runner.environment(name, payload, number, attempt)
        checkout = self.runner.checkout(environment)
        before = dict(os.environ)
        try:
            os.environ.clear()
            os.environ.update(environment)
            host = Host.read(os.environ)
            authenticate(os.environ, host)
            yield host, checkout
        finally:
            os.environ.clear()
            os.environ.update(before)

    # --- what there is ----------------------------------------------------------------------------

    def refs(self) -> dict[str, str]:
        """Every ref of the repository but the ledger's, with what it points to."""
        out = self.hub.main.bare.git("for-each-ref", "--format=%(refname) %(objectname)")
        refs = dict(line.split() for line in out.decode().splitlines())
        refs.pop(f"refs/heads/{LEDGER}", None)
        return refs

    def ledger(self, prefix: str = "") -> dict[str, bytes]:
        """Files of the ledger below a folder."""
        return self.hub.files(LEDGER, prefix)

    def dispatched(self) -> list[str]:
        """Ids of the runs that the ledger has, in order of time."""
        return sorted(p.split("/")[2] for p in self.ledger("runs/") if p.endswith("dispatch.json"))

    def tickets(self) -> list[dict[str, Any]]:
        """Plans that the ledger has."""
        found = self.ledger("plans/").items()
        return [json.loads(raw) for path, raw in found if path.endswith("/ticket.json")]


def impatient(host: Host) -> GitHub:
    """The API without waiting between tries."""
    return GitHub(host.api_url, host.token, host.repository, sleep=lambda _: None)
