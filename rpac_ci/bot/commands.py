"""Commands of people: who may, what would be done, what is done, and one answer to all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from rpac_ci import policy
from rpac_ci.bot import Context, Handled, Sent, checkouts, comments, write_outputs
from rpac_ci.bot import answers as bot_answers
from rpac_ci.bot import plans as bot_plans
from rpac_ci.bot.facts import planned_facts, sha_asked, spent
from rpac_ci.bot.ledger import (
    LedgerView,
    Spending,
    handled_path,
    month_of,
    plain,
    run_folder,
    ticket_files,
    ticket_folder,
)
from rpac_ci.bot.plans import Asked, Planned
from rpac_ci.bot.tickets import Approved, Dispatch, Ticket
from rpac_ci.bot.tickets import Handled as HandledComment
from rpac_ci.command_table import help_text
from rpac_ci.commands import Approve, Command, Help, Plan, Reproduce
from rpac_ci.comment_commands import CommandLine, ParsedComment, parse_comment, parse_line
from rpac_ci.driver import load_pipeline
from rpac_ci.errors import CommandError, GitHubError, RpacError
from rpac_ci.events import timestamp
from rpac_ci.github.answers import PullInfo
from rpac_ci.github.events import CommandDispatched, CommentCreated, Person, Repository
from rpac_ci.policy import Action, Decision, Facts, Kind
from rpac_ci.run import new_run_id
from rpac_ci.site_config import SiteConfig
from rpac_ci.source_trees import SourceFile
from rpac_ci.workspace import Workspace

PULL_REF = "refs/rpac/pull"


class AlreadyHandledError(RpacError):
    """Another job has handled this comment."""


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


def comment(context: Context, event: CommentCreated) -> Handled:
    """
    Handle a new comment that may hold commands.

    Args:
        context: of the event.
        event: the comment.
    """
    config, problem = context.settle()
    known = config.bots if config else []
    speaks = event.author.id if event.app is None else event.app
    if (event.author.is_bot or event.app is not None) and speaks not in known:
        return Handled(code="bot", message="comments of bots hold no commands")
    limit = config.commands_per_comment if config else 5
    parsed = parse_comment(event.body, limit=limit)
    request = Request(
        via="comment",
        person=event.author,
        sender_is_author=event.author.id == event.sender.id,
        number=event.number,
        is_pull=event.is_pull,
        comment=event.comment_id,
        created_at=event.created_at,
        repository=_repository(event.repository),
        state=event.state,
        locked=event.locked,
    )
    return _run(Session(context=context, request=request, config=config, problem=problem), parsed)


def dispatched(context: Context, event: CommandDispatched) -> Handled:
    """
    Handle a command that was sent without a comment.

    Args:
        context: of the event.
        event: the command.
    """
    if event.ref not in (context.default_branch, f"refs/heads/{context.default_branch}"):
        message = f"commands are sent for the branch {context.default_branch}"
        return Handled(code="not-default-branch", message=message, exit_code=4)
    config, problem = context.settle()
    try:
        line = CommandLine(command=parse_line(event.command), text=event.command, line=1)
        parsed = ParsedComment(commands=(line,))
    except CommandError as exc:
        parsed = ParsedComment(problems=tuple(exc.message.splitlines()))
    request = Request(
        via=event.via.value,
        person=event.sender,
        sender_is_author=True,
        number=None,
        is_pull=False,
        comment=None,
        created_at=context.now,
        repository=_repository(event.repository),
    )
    return _run(Session(context=context, request=request, config=config, problem=problem), parsed)


def _repository(found: Repository) -> policy.Repository:
    return policy.Repository(
        default_branch=found.default_branch, archived=found.archived, private=found.private
    )


def _run(session: Session, parsed: ParsedComment) -> Handled:
    context, request = session.context, session.request
    first = policy.admit(_facts(session, "help", role=None))
    if first.kind is Kind.IGNORE or first.code == "comment-too-old":
        return Handled(code=first.code, message=first.message)
    if request.comment is not None:
        context.github.react(request.comment, "eyes")
    session.works = [
        Work(command=item.command, text=item.text, run=new_run_id())
        for item in parsed.commands or parsed.understood
    ]
    session.role = context.github.role(request.person.login, request.person.id).name
    for work in session.works:
        if (decision := policy.admit(_facts(session, work.command.verb))).kind is not Kind.PROCEED:
            _refuse(work, decision)
    admitted = [work for work in session.works if work.decision is None]
    if parsed.problems:
        problems = [*parsed.problems, *_other_problems(session, admitted)]
        told = comments.misread(problems, parsed.hints)
        return _reply(session, [told], Handled(code="misread", message=problems[0]))
    try:
        sent = _runs(session, [w for w in admitted if isinstance(w.command, _RUNS)])
    except AlreadyHandledError as exc:
        return Handled(code="already-handled", message=exc.message)
    for work in admitted:
        if not isinstance(work.command, _RUNS):
            _say(session, work)
    codes = [work.code for work in session.works]
    handled = Handled(code=codes[0], message="", sent=sent, codes=codes)
    return _reply(session, [work.section for work in session.works if work.section], handled)


_RUNS = (Reproduce, Plan, Approve)
_STARTS = (Reproduce, Plan)


# --- what is known, and what is decided ---------------------------------------------------------


def _facts(session: Session, verb: str, **more: object) -> Facts:
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


def _refuse(work: Work, decision: Decision) -> None:
    work.decision = decision
    if decision.kind is not Kind.IGNORE:
        work.section = comments.refused(work.text, decision.code, decision.message, decision.hint)


# --- runs ---------------------------------------------------------------------------------------


def _runs(session: Session, works: Sequence[Work]) -> list[Sent]:
    """Plan, decide, write down and announce what starts a run."""
    if not works:
        return []
    try:
        _look(session, works)
        if any(work.problem for work in works):
            for work in works:
                work.section = work.section or comments.held_back(work.text)
            return []
        session.context.ledger.write(
            f"comment {session.request.comment or session.context.host.run_id}",
            lambda view: _decide_all(session, works, view),
        )
    except AlreadyHandledError:
        raise
    except RpacError as exc:
        for work in works:
            if not (work.problem or (work.decision and work.decision.kind is Kind.REFUSE)):
                work.decision = None  # nothing came of it, and no plan is stored
                work.section = comments.problem(work.text, exc)
        return []
    # what the ledger has is to be run, whatever goes wrong with telling it
    context, begun = session.context, [work for work in works if work.dispatch]
    context.sent = [_sent(work) for work in begun]
    write_outputs(context.host, context.sent)
    context.sent = [_announce(session, work) for work in begun]
    write_outputs(context.host, context.sent)
    return context.sent


def _look(session: Session, works: Sequence[Work]) -> None:
    """Fetch the commit that is meant, plan on it, and see whether it still is what is meant."""
    context, number = session.context, session.request.number
    git = context.workspace.git
    if session.request.is_pull:
        ref = f"{PULL_REF}/{number}"
        context.ledger.fetch(f"+refs/pull/{number}/head:{ref}")
        session.head = git.resolve(ref) or ""
    else:
        context.ledger.fetch()
        session.head = git.resolve("HEAD") or ""
    if starts := [work for work in works if isinstance(work.command, _STARTS)]:
        with checkouts.detached(context.workspace, session.head) as there:
            for work in starts:
                _plan(session, work, there)
    if session.request.is_pull:
        # after planning, immediately before anything is decided: a push meanwhile is seen
        assert number is not None
        session.pull = context.github.pull(number)
        for work in starts:
            if work.ticket:
                bound = {"base": session.pull.base_ref}
                work.ticket = work.ticket.model_copy(update=bound).signed()


def _plan(session: Session, work: Work, there: Workspace) -> None:
    command, request, context = work.command, session.request, session.context
    assert isinstance(command, _STARTS)
    words = list(command.words)
    if session.config and session.config.cloud and not command.target.run:
        named = any(word.startswith("cloud=") for word in words)
        words += [] if named else [f"cloud={session.config.cloud}"]
    asked = Asked(
        via=request.via,
        repository=context.repository,
        pull=request.number if request.is_pull else None,
        comment=request.comment,
        actor=request.person.id,
        head=session.head,
        at=context.now,
    )
    try:
        work.planned = bot_plans.make(there, asked, str(command.target), words)
        work.ticket = work.planned.ticket.signed()
    except RpacError as exc:
        work.problem = exc
        work.section = comments.problem(work.text, exc)


def _other_problems(session: Session, works: Sequence[Work]) -> list[str]:
    """What else is wrong in a comment with mistakes, so that people need not find it one by one."""
    starts = [work for work in works if isinstance(work.command, _STARTS)]
    if not starts:
        return []
    try:
        _look(session, starts)
    except RpacError:
        return []  # it is said when the comment is written again
    return [
        f"{work.text}: {work.problem.message}"
        + (f"; {work.problem.hint}" if work.problem.hint else "")
        for work in starts
        if work.problem
    ]


def _decide_all(session: Session, works: Sequence[Work], view: LedgerView) -> Sequence[SourceFile]:
    """
    What goes to the ledger, decided on what it holds right now.

    Raises:
        AlreadyHandledError: the comment is in it.
    """
    context, request = session.context, session.request
    if request.comment is not None and view.handled(request.comment, request.created_at):
        raise AlreadyHandledError("the comment was handled before")
    spending = view.spending(month_of(context.now))
    used: set[str] = set()  # plans that this comment has approved already
    files: list[SourceFile] = []
    for work in works:
        work.dispatch, work.section = None, ""
        decision = _decide(session, work, view, spending, used)
        work.decision = decision
        if decision.kind in (Kind.REFUSE, Kind.IGNORE):
            _refuse(work, decision)
            continue
        assert work.ticket is not None
        shown = isinstance(work.command, Plan) or decision.kind is Kind.ASK
        if work.planned:
            source = work.planned.plan.source
            content = work.planned.plan.pipeline.to_bytes()
            files += ticket_files(work.ticket, content, source)
        if shown:
            assert work.planned is not None
            ask = "" if isinstance(work.command, Plan) else decision.message
            work.section = comments.plan(work.ticket, work.planned.plan, ask=ask)
            continue
        work.dispatch = _dispatch(session, work)
        files += _dispatch_files(session, work)
        spending = _plus(spending, work.dispatch)
        used.add(work.ticket.id)
    return [*files, _handled(session, works)] if files and request.comment is not None else files


def _decide(
    session: Session, work: Work, view: LedgerView, spending: Spending, used: set[str]
) -> Decision:
    known = spent(spending, session.request.person.id)
    if isinstance(work.command, Approve):
        work.ticket = view.ticket(work.command.plan)
        if work.ticket:  # it counts as the spending of whoever asked for it
            known = spent(spending, work.ticket.requester)
        approval = _approval(session, view, work.ticket, used) if work.ticket else None
        return policy.decide(_facts(session, work.command.verb, spent=known, approval=approval))
    assert work.ticket is not None
    planned = planned_facts(work.ticket, session.config)
    more = {"spent": known, "planned": planned, "sha_asked": sha_asked(work.command)}
    return policy.decide(_facts(session, work.command.verb, **more))


def _approval(
    session: Session, view: LedgerView, ticket: Ticket, used: set[str]
) -> policy.Approval:
    git, request = session.context.workspace.git, session.request
    pipeline = load_pipeline(view.pipeline(ticket.id))
    fresh = checkouts.tree_without_reports(git, session.head) == ticket.tree
    own = ticket.repository == session.context.repository
    base = session.pull.base_ref if session.pull else None
    return policy.Approval(
        plan=planned_facts(ticket, session.config),
        pull=ticket.pull if own else -1,
        made_at=datetime.fromisoformat(ticket.made_at),
        used=ticket.id in used or view.approved(ticket.id) is not None,
        stale=not fresh,
        digest_ok=pipeline.digest == ticket.pipeline
        and view.source(ticket.id).sha256 == pipeline.source.sha256,
        requester=ticket.requester,
        base_changed=request.is_pull and ticket.base not in (None, base),
    )


def _dispatch(session: Session, work: Work) -> Dispatch:
    context, request, ticket = session.context, session.request, work.ticket
    assert ticket is not None
    approved = isinstance(work.command, Approve)
    return Dispatch(
        run=work.run,
        ticket=ticket.id,
        experiment=ticket.experiment,
        cloud=ticket.cloud,
        pull=ticket.pull,
        issue=request.number,
        comment=request.comment,
        actor=ticket.requester,
        approved_by=request.person.id if approved else None,
        reserved_usd=planned_facts(ticket, session.config).worst_case or 0.0,
        at=timestamp(context.now),
        minutes=ticket.minutes,
        workflow_run=context.host.run_id,
    )


def _dispatch_files(session: Session, work: Work) -> list[SourceFile]:
    assert work.dispatch is not None
    files = [plain(f"{run_folder(work.run)}/dispatch.json", work.dispatch.to_bytes())]
    if isinstance(work.command, Approve):
        request = session.request
        approved = Approved(
            ticket=work.dispatch.ticket,
            run=work.run,
            actor=request.person.id,
            comment=request.comment,
            at=work.dispatch.at,
        )
        name = f"{ticket_folder(approved.ticket)}/approved.json"
        files.append(plain(name, approved.to_bytes()))
    return files


def _handled(session: Session, works: Sequence[Work]) -> SourceFile:
    context, request = session.context, session.request
    assert request.comment is not None
    document = HandledComment(
        comment=request.comment,
        actor=request.person.id,
        at=timestamp(context.now),
        workflow_run=context.host.run_id,
        codes=[work.code for work in works],
        runs=[work.run for work in works if work.dispatch],
        tickets=[work.ticket.id for work in works if work.ticket],
    )
    return plain(handled_path(request.comment, request.created_at), document.to_bytes())


def _plus(spending: Spending, dispatch: Dispatch) -> Spending:
    cost, who = dispatch.reserved_usd, dispatch.actor
    return Spending(
        month=spending.month + cost,
        persons={**spending.persons, who: spending.persons.get(who, 0.0) + cost},
        clouds={**spending.clouds, dispatch.cloud: spending.clouds.get(dispatch.cloud, 0.0) + cost},
    )


def _announce(session: Session, work: Work) -> Sent:
    """Tell that a run was sent off. It goes on also where that cannot be told."""
    context, dispatch, ticket = session.context, work.dispatch, work.ticket
    assert dispatch is not None
    assert ticket is not None
    links = context.links()
    body = comments.started(dispatch, ticket, links, "waiting for a machine", context.now)
    said = check = None
    try:
        if session.request.number is not None:
            marker = comments.run_marker(work.run)
            said = context.github.comment(session.request.number, body, marker).id
        if ticket.pull is not None:
            check = context.github.open_check(
                comments.check_name(ticket.experiment), ticket.head, "waiting for a machine",
                body, work.run, links.workflow,
            )  # fmt: skip
    except GitHubError as exc:
        context.warn(f"{work.run} goes on, but that could not be told: {exc.message}")
    return replace(_sent(work), comment=said, check=check)


def _sent(work: Work) -> Sent:
    assert work.dispatch is not None
    return Sent(run=work.run, name=work.dispatch.experiment, minutes=work.dispatch.minutes)


# --- everything else ----------------------------------------------------------------------------


def _say(session: Session, work: Work) -> None:
    """Do what starts no run, and put the answer down."""
    work.decision = policy.admit(_facts(session, work.command.verb))
    if isinstance(work.command, Help):
        roles = {verb: str(role) for verb, role in (session.config or SiteConfig()).roles.items()}
        work.section = help_text(work.command.topic, roles=roles)
        return
    try:
        work.section = bot_answers.answer(
            session.context,
            work.command,
            number=session.request.number,
            is_pull=session.request.is_pull,
            config=session.config or SiteConfig(),
        )
    except RpacError as exc:
        work.decision = None
        work.section = comments.problem(work.text, exc)


def _reply(session: Session, sections: Sequence[str], handled: Handled) -> Handled:
    """One answer for all that was asked, where it was asked."""
    context, request = session.context, session.request
    if not sections:
        return handled
    body = "\n\n---\n\n".join(sections)
    handled.message = body
    context.host.summary(body)
    if request.comment is None or request.number is None:
        handled.exit_code = 0 if handled.sent or not _failed(session) else 4
        return handled
    marker = comments.answer_marker(request.comment)
    if not context.github.find_comment(request.number, marker, since=request.created_at):
        context.github.comment(request.number, body, marker)
    return handled


def _failed(session: Session) -> bool:
    return any(
        work.decision is None or work.decision.kind in (Kind.REFUSE, Kind.ASK)
        for work in session.works
    )
