"""Commands that lead to a run: planned, decided, written to the ledger, sent off and announced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from rpac_ci import policy
from rpac_ci.bot import Sent, checkouts, comments, plan_comments, studies, write_outputs
from rpac_ci.bot import plans as bot_plans
from rpac_ci.bot.answers import sent
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
from rpac_ci.bot.plans import Asked
from rpac_ci.bot.session import STARTS, Session, StudyPart, Work, facts_of, refuse
from rpac_ci.bot.tickets import Approved, Dispatch, Ticket
from rpac_ci.bot.tickets import Handled as HandledComment
from rpac_ci.commands import Approve, Plan
from rpac_ci.driver import load_pipeline
from rpac_ci.errors import GitHubError, PolicyError, RpacError
from rpac_ci.events import timestamp
from rpac_ci.locators import FileLocator, parse_locator
from rpac_ci.pipeline import Pipeline
from rpac_ci.policy import Decision, Kind
from rpac_ci.source_trees import SourceFile
from rpac_ci.workspace import LOCAL, Workspace

PULL_REF = "refs/rpac/pull"


class AlreadyHandledError(RpacError):
    """Another job has handled this comment."""


def start_runs(session: Session, works: list[Work]) -> None:
    """
    Plan, decide, write down and announce what starts a run.

    Args:
        session: of the event.
        works: the commands; one that stands for several runs is replaced by them.
    """
    if not works:
        return
    try:
        _look(session, works)
        if any(work.problem and not studies.is_beside(work) for work in works):
            for work in works:
                work.section = work.section or comments.held_back(work.text)
            return
        works = [work for work in works if not work.problem]
        if not works:
            return
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
        return
    # what the ledger has is to be run, whatever goes wrong with telling it
    context, begun = session.context, [work for work in works if work.dispatch]
    context.sent = [_sent(work) for work in begun]
    write_outputs(context.host, context.sent)
    context.sent = [_announce(session, work) for work in begun]
    write_outputs(context.host, context.sent)


def _look(session: Session, works: list[Work]) -> None:
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
    starts = [work for work in works if isinstance(work.command, STARTS)]
    if starts:
        with checkouts.detached(context.workspace, session.head) as there:
            for work in starts:
                parts = studies.expand(session, work, there)
                for known in (works, session.works):
                    if work in known:
                        known[known.index(work) : known.index(work) + 1] = parts
            starts = [w for w in works if isinstance(w.command, STARTS) and not w.problem]
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
    assert isinstance(command, STARTS)
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
        study = work.part.study if work.part else None
        work.planned = bot_plans.make(there, asked, str(command.target), words, study=study)
        _check_data(work.planned.plan.pipeline)
        work.ticket = work.planned.ticket.signed()
    except RpacError as exc:
        work.problem = exc
        work.section = comments.problem(work.text, exc)


def _check_data(pipeline: Pipeline) -> None:
    """
    Raises:
        PolicyError: a job that may enter the cloud would hand a file of its own to the nodes.
    """
    for name, ref in pipeline.data.items() if pipeline.target.cloud != LOCAL else ():
        locator = parse_locator(ref.uri)
        if isinstance(locator, FileLocator) and locator.path.startswith("/"):
            raise PolicyError(
                f"data.{name}: {ref.uri} would be a file of the job's own machine",
                hint="put it beside the experiment, or name where anybody can read it",
            )


def other_problems(session: Session, works: Sequence[Work]) -> list[str]:
    """What else is wrong in a comment with mistakes, so that people need not find it one by one."""
    starts = [work for work in works if isinstance(work.command, STARTS)]
    if not starts:
        return []
    session.works = starts
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
    _hold_back(session, works, view, spending)
    for work in works:
        if work.decision and work.decision.code == "study-asks":
            continue
        work.dispatch, work.section = None, ""
        decision = _decide(session, work, view, spending, used)
        work.decision = decision
        if decision.kind in (Kind.REFUSE, Kind.IGNORE):
            refuse(work, decision)
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
            work.section = plan_comments.plan(work.ticket, work.planned.plan, ask=ask)
            continue
        work.dispatch = _dispatch(session, work)
        files += _dispatch_files(session, work)
        spending = _plus(spending, work.dispatch)
        used.add(work.ticket.id)
    files += studies.order_files(session, works)
    return [*files, _handled(session, works)] if files and request.comment is not None else files


def _hold_back(
    session: Session, works: Sequence[Work], view: LedgerView, spending: Spending
) -> None:
    """Of a study all runs are sent off or none: one that has to wait holds back the others."""
    for work in works:
        if work.part is None or isinstance(work.command, Plan):
            continue
        decision = _decide(session, work, view, spending, set())
        if decision.kind is Kind.ASK:
            why = f"a study is not approved as one: {decision.message}"
            decision = Decision(kind=Kind.REFUSE, code="study-asks", message=why, hint=_ONE_BY_ONE)
            for other in works:
                if other.part:
                    refuse(other, decision)


_ONE_BY_ONE = "ask for its runs one at a time"


def _decide(
    session: Session, work: Work, view: LedgerView, spending: Spending, used: set[str]
) -> Decision:
    known = spent(spending, session.request.person.id)
    if isinstance(work.command, Approve):
        work.ticket = view.ticket(work.command.plan)
        if work.ticket:  # it counts as the spending of whoever asked for it
            known = spent(spending, work.ticket.requester)
        approval = _approval(session, view, work.ticket, used) if work.ticket else None
        return policy.decide(facts_of(session, work.command.verb, spent=known, approval=approval))
    assert work.ticket is not None
    planned = planned_facts(work.ticket, session.config)
    more = {"spent": known, "planned": planned, "sha_asked": sha_asked(work.command)}
    return policy.decide(facts_of(session, work.command.verb, **more))


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
    if work.part:
        return _announce_study(session, work, work.part)
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


def _announce_study(session: Session, work: Work, part: StudyPart) -> Sent:
    """One comment for all runs of a study, with the first of them."""
    context, ticket = session.context, work.ticket
    assert ticket is not None
    if part.number == 1 and session.request.number is not None:
        body = comments.study_started(
            part.study, part.words, part.count, ticket, context.links(), context.now
        )
        try:
            marker = comments.study_marker(part.study)
            context.github.comment(session.request.number, body, marker)
        except GitHubError as exc:
            context.warn(f"{part.study} goes on, but that could not be told: {exc.message}")
    return _sent(work)


def _sent(work: Work) -> Sent:
    assert work.dispatch is not None
    return sent(work.dispatch)
