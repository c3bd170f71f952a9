"""What is known about one event with commands: who asks, where, and how far each command is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rpac_ci import policy
from rpac_ci.bot import Context, comments
from rpac_ci.bot.plans import Planned
from rpac_ci.bot.tickets import Dispatch, Ticket
from rpac_ci.commands import Approve, Command, Plan, Reproduce
from rpac_ci.errors import RpacError
from rpac_ci.github.answers import PullInfo
from rpac_ci.github.events import Person
from rpac_ci.policy import Action, Decision, Facts, Kind
from rpac_ci.site_config import SiteConfig

RUNS = (Reproduce, Plan, Approve)  # commands that lead to a run
STARTS = (Reproduce, Plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asks, and where; what of it is a fact of the event."""

    via: str
    person: Person
    sender_is_author: bool
    number: int | None  # of the issue or pull request
    is_pull: bool
    comment: int | None
    created_at: datetime
    repository: policy.Repository
    state: str = "open"  # of the issue or pull request, by the event
    locked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPart:
    """Which run of which study a command has become."""

    study: str
    words: tuple[str, ...]  # of the command, with its lists
    changes: Mapping[str, str]
    number: int  # from 1
    count: int


@dataclass(slots=True, kw_only=True)
class Work:
    """One command on its way."""

    command: Command
    text: str
    run: str
    planned: Planned | None = None
    ticket: Ticket | None = None  # what would be run
    decision: Decision | None = None
    dispatch: Dispatch | None = None
    section: str = ""
    problem: RpacError | None = None  # why it cannot be planned
    part: StudyPart | None = None

    @property
    def code(self) -> str:
        """Why it went as it went."""
        return self.decision.code if self.decision else "failed"


@dataclass(slots=True, kw_only=True)
class Session:
    """Everything about one event with commands."""

    context: Context
    request: Request
    config: SiteConfig | None
    problem: str
    role: str | None = None
    head: str = ""
    pull: PullInfo | None = None
    works: list[Work] = field(default_factory=list)


def facts_of(session: Session, verb: str, **more: object) -> Facts:
    """
    What the policy is told about one command.

    Args:
        session: what is known so far.
        verb: of the command.
        more: facts that only some commands have, and others than the session's.
    """
    context, request = session.context, session.request
    facts: dict[str, object] = {
        "config": session.config,
        "config_problem": session.problem,
        "verb": verb,
        "person": policy.Person(
            id=request.person.id,
            login=request.person.login,
            kind=request.person.kind,
            role=more.pop("role", session.role),  # type: ignore[arg-type]
        ),
        "sender_is_author": request.sender_is_author,
        "action": Action.CREATED if request.comment is not None else Action.DISPATCHED,
        "repository": request.repository,
        "pull": _pull_facts(session),
        "sha_asked": None,
        "head_moved": bool(session.pull and session.pull.head_sha != session.head),
        "planned": None,
        "spent": None,
        "approval": None,
        "now": context.now,
        "attempt": context.host.run_attempt,
        "comment_age_s": (context.now - request.created_at).total_seconds(),
    }
    return Facts(**{**facts, **more})  # type: ignore[arg-type]


def _pull_facts(session: Session) -> policy.Pull | None:
    pull, request = session.pull, session.request
    if pull is None and request.is_pull and request.number is not None:
        # what the event says is enough to refuse early; it is read again before anything is run
        return policy.Pull(
            number=request.number, author=0, state=request.state, merged=False, draft=False,
            locked=request.locked, fork=False, head_sha="0" * 40, head_repository="",
            base_ref="", default_branch=session.context.default_branch,
        )  # fmt: skip
    if pull is None:
        return None
    return policy.Pull(
        number=pull.number, author=pull.author_id, state=pull.state, merged=pull.merged,
        draft=pull.draft, locked=pull.locked, fork=pull.fork, head_sha=pull.head_sha,
        head_repository=pull.head_repository, base_ref=pull.base_ref,
        default_branch=session.context.default_branch,
    )  # fmt: skip


def refuse(work: Work, decision: Decision) -> None:
    """Put down that a command is not done, and why; what is to be ignored is not answered."""
    work.decision = decision
    if decision.kind is not Kind.IGNORE:
        work.section = comments.refused(work.text, decision.code, decision.message, decision.hint)
