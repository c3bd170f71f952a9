"""
The bot: an event of GitHub -> decisions -> what is written to ledger, comments and checks.

`handle` is started once for each event, in a job of the default branch's code. It never executes
anything of a pull request: experiments are read as data, runs are only dispatched to jobs that have
no rights (`jobs`). Whatever goes wrong is said where the question was asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rpac_ci.errors import RpacError
from rpac_ci.git import Git
from rpac_ci.github import events as github_events
from rpac_ci.github.actions import Host
from rpac_ci.github.events import (
    Advance,
    CommandDispatched,
    CommentCreated,
    Ignored,
    PullChanged,
    Scheduled,
)

if TYPE_CHECKING:
    from rpac_ci.bot.comments import Links
    from rpac_ci.bot.ledger import Ledger
    from rpac_ci.github.client import GitHub
    from rpac_ci.site_config import SiteConfig
    from rpac_ci.workspace import Workspace

NOBODY = 0  # the actor of a schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A run for the jobs that come next."""

    run: str
    name: str
    minutes: int
    cloud: str
    comment: int | None = None
    check: int | None = None

    def to_json(self) -> dict[str, str | int | None]:
        """As the workflow's matrix has it."""
        return {
            "run": self.run, "name": self.name, "minutes": self.minutes, "cloud": self.cloud,
            "comment": self.comment, "check": self.check,
        }  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Handled:
    """What became of an event."""

    code: str
    message: str
    sent: list[Sent] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)  # of each command, in order
    clouds: Sequence[str] = ()  # whose runs are to be looked after
    exit_code: int = 0


@dataclass(slots=True, kw_only=True)
class Context:
    """What every handler needs; made once for an event."""

    host: Host
    workspace: Workspace
    github: GitHub
    now: datetime
    repository: int
    default_branch: str
    sent: list[Sent] = field(default_factory=list)  # runs that go on, whatever comes next

    @property
    def ledger(self) -> Ledger:
        """The ledger on the remote."""
        from rpac_ci.bot.ledger import Ledger

        return Ledger(self.workspace.git)

    @property
    def address(self) -> str:
        """Of the repository, for people."""
        return f"{self.host.server_url}/{self.host.repository}"

    def links(self) -> Links:
        """Addresses of what this job is about."""
        from rpac_ci.bot.comments import Links

        return Links(repository=self.address, workflow=self.host.run_url)

    def warn(self, message: str) -> None:
        """Put a warning on the page of this job."""
        from rpac_ci.github.actions import Level, annotation

        self.say(annotation(Level.WARNING, message))

    def say(self, line: str) -> None:
        """Print a line for the runner, which reads annotations from the job's log."""
        print(line, flush=True)

    def settle(self, commit: str = "HEAD") -> tuple[SiteConfig | None, str]:
        """Take the settings of a trusted commit; without them, None and what is wrong."""
        from rpac_ci.site_config import read_site

        git = self.workspace.git
        try:
            config = read_site(git, git.resolve(commit) or commit)
        except RpacError as exc:
            return None, exc.message
        self.workspace = replace(self.workspace, config=config)
        return config, ""


def handle(
    host: Host,
    root: Path,
    *,
    github: GitHub | None = None,
    now: datetime | None = None,
) -> Handled:
    """
    Handle the event that started this job.

    Args:
        host: the job.
        root: a checkout of the default branch.
        github: the API; made from `host` when None.
        now: the time; the clock's when None.

    Raises:
        RpacError: it could not even be said what went wrong.
    """
    event = host.event()
    now = now or datetime.now(UTC)
    if isinstance(event, Ignored):
        return Handled(code=event.code, message=event.message)
    if isinstance(event, CommentCreated) and (nothing := _without_command(event)):
        return nothing
    context = _context(host, root, event, github, now)
    match event:
        case CommentCreated():
            from rpac_ci.bot import commands

            try:
                return commands.comment(context, event)
            except Exception as exc:
                _say_failure(context, event, exc)
                raise
        case CommandDispatched():
            from rpac_ci.bot import commands

            return commands.dispatched(context, event)
        case PullChanged():
            from rpac_ci.bot import pulls

            return pulls.changed(context, event)
        case Advance() | Scheduled():
            from rpac_ci.bot import upkeep

            return upkeep.upkeep(context)


def _say_failure(context: Context, event: CommentCreated, exc: Exception) -> None:
    """Silence would be worse than an answer that knows little."""
    from rpac_ci.bot import comments
    from rpac_ci.errors import RpacError

    error = (
        exc if isinstance(exc, RpacError) else RpacError(f"internal error, {type(exc).__name__}")
    )
    marker = comments.answer_marker(event.comment_id)
    going_on = [one.run for one in context.sent]
    body = comments.broken(error, context.host.run_url, going_on)
    try:
        if not context.github.find_comment(event.number, marker, since=event.created_at):
            context.github.comment(event.number, body, marker)
    except RpacError as again:
        context.warn(f"what went wrong could not be told: {again.message}")


def write_outputs(host: Host, sent: Sequence[Sent], clouds: Sequence[str] = ()) -> None:
    """Hand the runs to the workflow, and the clouds that have some already."""
    if host.output is not None:
        host.set_output("runs", json.dumps([one.to_json() for one in sent]))
        if clouds:
            host.set_output("clouds", json.dumps(clouds))


def _without_command(event: CommentCreated) -> Handled | None:
    """The answer to nearly all comments: no import, no request."""
    from rpac_ci.comment_commands import is_own, parse_comment

    if is_own(event.body):
        return Handled(code="own-comment", message="the bot does not listen to itself")
    parsed = parse_comment(event.body)
    if not parsed.commands and not parsed.problems:
        return Handled(code="no-command", message="the comment holds no command")
    return None


def _context(
    host: Host,
    root: Path,
    event: github_events.Event,
    github: GitHub | None,
    now: datetime,
) -> Context:
    if github is None:
        from rpac_ci.github.client import GitHub

        github = GitHub(host.api_url, host.token, host.repository)
    repository = getattr(event, "repository", None)
    if repository is None:
        info = github.repository()
        number, branch = info.id, info.default_branch
    else:
        number, branch = repository.id, repository.default_branch
    from rpac_ci.workspace import Workspace

    return Context(
        host=host, workspace=Workspace.at(Git.discover(root)), github=github, now=now,
        repository=number, default_branch=branch,
    )  # fmt: skip
