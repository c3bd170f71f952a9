"""
What the bot would decide about an event, without any network: for trying settings and commands.

What only GitHub knows is assumed and named: the person's role, and that the pull request is open
and of the repository's own branch, at the commit that is checked out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rpac_ci import policy
from rpac_ci.bot import Handled
from rpac_ci.bot import plans as bot_plans
from rpac_ci.bot.facts import planned_facts, sha_asked
from rpac_ci.bot.plans import Asked
from rpac_ci.bot.tickets import Ticket
from rpac_ci.commands import Approve, Command, Plan, Reproduce
from rpac_ci.comment_commands import parse_comment, parse_line
from rpac_ci.errors import CommandError, RpacError
from rpac_ci.github.events import (
    CommandDispatched,
    CommentCreated,
    Ignored,
    Person,
    read_event,
)
from rpac_ci.policy import Action, Facts, Kind
from rpac_ci.workspace import Workspace


def dry_run(path: Path, kind: str, *, role: str, root: Path | None = None) -> Handled:
    """
    Decide about an event from its file.

    Args:
        path: of the event's JSON.
        kind: such as `issue_comment`.
        role: assumed of the person who asks.
        root: a folder of the repository; here when None.

    Raises:
        RpacError: not in a repository, or its settings have mistakes.
    """
    event = read_event(kind, path.read_bytes())
    if isinstance(event, Ignored):
        return Handled(code=event.code, message=event.message)
    if isinstance(event, CommentCreated):
        parsed = parse_comment(event.body)
        if parsed.problems:
            return Handled(code="misread", message="\n".join(parsed.problems), exit_code=2)
        commands: list[Command] = [item.command for item in parsed.commands]
        person, number = event.author, event.number if event.is_pull else None
        same = event.author.id == event.sender.id
    elif isinstance(event, CommandDispatched):
        try:
            commands = [parse_line(event.command)]
        except CommandError as exc:
            return Handled(code="misread", message=exc.message, exit_code=2)
        person, number, same = event.sender, None, True
    else:
        told = f"{kind} holds no command; what its job looks at is in git: try rpac validate"
        return Handled(code="no-command", message=told)
    if not commands:
        return Handled(code="no-command", message="the comment holds no command")
    workspace = Workspace.open(root or Path())
    assumed = _Assumed(
        workspace=workspace,
        event=event,
        person=person,
        number=number,
        role=role,
        head=workspace.git.resolve("HEAD") or "",
        same=same,
    )
    lines, codes = [f"assumed: role {role}, commit {assumed.head[:12]}, nothing spent yet"], []
    for command in commands:
        code, said = _decide(assumed, command)
        codes.append(code)
        lines.append(f"/{command.verb}: {said}")
    return Handled(code=codes[0], message="\n".join(lines), codes=codes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Assumed:
    workspace: Workspace
    event: CommentCreated | CommandDispatched
    person: Person
    number: int | None
    role: str
    head: str
    same: bool


def _decide(assumed: _Assumed, command: Command) -> tuple[str, str]:
    """Code and words of the decision about one command."""
    decision = policy.admit(_facts(assumed, command, None))
    if decision.kind is Kind.PROCEED and isinstance(command, Reproduce | Plan):
        now = datetime.now(UTC)
        asked = Asked(
            via="comment", repository=assumed.event.repository.id, pull=assumed.number,
            comment=None, actor=assumed.person.id, head=assumed.head, at=now,
        )  # fmt: skip
        try:
            planned = bot_plans.make(
                assumed.workspace, asked, str(command.target), command.words
            ).ticket.signed()
        except RpacError as exc:
            return "failed", exc.message
        decision = policy.decide(_facts(assumed, command, planned))
    elif decision.kind is Kind.PROCEED and isinstance(command, Approve):
        return decision.code, "whether the plan can be approved is in the ledger on GitHub"
    hint = f"; {decision.hint}" if decision.hint else ""
    return decision.code, f"{decision.kind}: {decision.message}{hint}"


def _facts(assumed: _Assumed, command: Command, ticket: Ticket | None) -> Facts:
    config, event, now = assumed.workspace.config, assumed.event, datetime.now(UTC)
    pull = None
    if assumed.number is not None:
        pull = policy.Pull(
            number=assumed.number, author=assumed.person.id, state="open", merged=False,
            draft=False, locked=False, fork=False, head_sha=assumed.head,
            head_repository=event.repository.full_name, base_ref=event.repository.default_branch,
            default_branch=event.repository.default_branch,
        )  # fmt: skip
    return Facts(
        config=config, config_problem="", verb=command.verb,
        person=policy.Person(
            id=assumed.person.id, login=assumed.person.login, kind=assumed.person.kind,
            role=assumed.role,
        ),
        sender_is_author=assumed.same,
        action=Action.CREATED if isinstance(event, CommentCreated) else Action.DISPATCHED,
        repository=policy.Repository(
            default_branch=event.repository.default_branch, archived=event.repository.archived,
            private=event.repository.private,
        ),
        pull=pull, sha_asked=sha_asked(command), head_moved=False,
        planned=planned_facts(ticket, config) if ticket else None,
        spent=policy.Spent(month=0.0, person=0.0), approval=None, now=now, attempt=1,
        comment_age_s=0.0,
    )  # fmt: skip
