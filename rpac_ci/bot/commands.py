"""Commands of people: who may, what is done, and one answer to all of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from rpac_ci import policy
from rpac_ci.bot import Context, Handled, comments, studies
from rpac_ci.bot import answers as bot_answers
from rpac_ci.bot.dispatching import AlreadyHandledError, other_problems, start_runs
from rpac_ci.bot.session import RUNS, Request, Session, Work, facts_of, refuse
from rpac_ci.command_table import help_text
from rpac_ci.commands import Help
from rpac_ci.comment_commands import CommandLine, ParsedComment, parse_comment, parse_line
from rpac_ci.errors import CommandError, RpacError
from rpac_ci.github.events import CommandDispatched, CommentCreated, Repository
from rpac_ci.policy import Kind
from rpac_ci.run import new_run_id
from rpac_ci.site_config import SiteConfig


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
    first = policy.admit(facts_of(session, "help", role=None))
    if first.kind is Kind.IGNORE or first.code == "comment-too-old":
        if first.code == "repeated-attempt":
            _break_silence(session)
        return Handled(code=first.code, message=first.message)
    if request.comment is not None:
        context.github.react(request.comment, "eyes")
    session.works = [
        Work(command=item.command, text=item.text, run=new_run_id())
        for item in parsed.commands or parsed.understood
    ]
    session.role = context.github.role(request.person.login, request.person.id).name
    for work in session.works:
        decision = policy.admit(facts_of(session, work.command.verb))
        if decision.kind is not Kind.PROCEED:
            refuse(work, decision)
    admitted = [work for work in session.works if work.decision is None]
    if parsed.problems:
        problems = [*parsed.problems, *other_problems(session, admitted)]
        told = comments.misread(problems, parsed.hints)
        return _reply(session, [told], Handled(code="misread", message=problems[0]))
    try:
        start_runs(session, [w for w in admitted if isinstance(w.command, RUNS)])
    except AlreadyHandledError as exc:
        return Handled(code="already-handled", message=exc.message)
    for work in admitted:
        if not isinstance(work.command, RUNS):
            _say(session, work)
    codes = [work.code for work in session.works]
    handled = Handled(code=codes[0], message="", sent=context.sent, codes=codes)
    sections = [work.section for work in session.works if work.section]
    return _reply(session, [*studies.side_by_side(session.works), *sections], handled)


def _break_silence(session: Session) -> None:
    """A job that is started again does nothing again; where the first one died, it says so."""
    context, request = session.context, session.request
    young = context.now - request.created_at < timedelta(hours=48)
    if request.comment is None or request.number is None or not young:
        return
    context.ledger.fetch()
    handled = context.ledger.view().handled(request.comment, request.created_at)
    marker = comments.answer_marker(request.comment)
    if handled and handled.runs:
        return  # they have comments of their own
    if not context.github.find_comment(request.number, marker, since=request.created_at):
        context.github.comment(request.number, comments.not_again(), marker)


def _say(session: Session, work: Work) -> None:
    """Do what starts no run, and put the answer down."""
    work.decision = policy.admit(facts_of(session, work.command.verb))
    if isinstance(work.command, Help):
        roles = {verb: str(role) for verb, role in (session.config or SiteConfig()).roles.items()}
        work.section = help_text(work.command.topic, roles=roles)
        return
    try:
        work.section = bot_answers.answer(
            session.context,
            work.command,
            actor=session.request.person.id,
            comment=session.request.comment,
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
