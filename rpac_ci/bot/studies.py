"""
Studies that a comment asks for: a list of values becomes several runs, each dispatched and recorded
like any other, and one page over them when the last one is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from rpac_ci.bot import Context, beside, comments
from rpac_ci.bot import commit_back as branches
from rpac_ci.bot.ledger import plain, study_path
from rpac_ci.bot.session import STARTS, Session, StudyPart, Work
from rpac_ci.bot.tickets import StudyMember, StudyOrder
from rpac_ci.collector import collect
from rpac_ci.commands import Plan
from rpac_ci.errors import CommandError, RpacError
from rpac_ci.inbox import push
from rpac_ci.log_paths import REPORTS
from rpac_ci.planning import make_plan
from rpac_ci.policy import Kind
from rpac_ci.reproduction_log import ReproductionLog
from rpac_ci.run import new_run_id
from rpac_ci.side_by_side import KEY, Column, SideBySide, refused
from rpac_ci.source_trees import SourceFile
from rpac_ci.studies import Planned
from rpac_ci.study_runs import entry_of
from rpac_ci.study_words import axes, changes_of, members
from rpac_ci.workspace import Workspace

MOST = 16  # runs of one study in a comment


def expand(session: Session, work: Work, there: Workspace) -> list[Work]:
    """
    The runs that a command stands for: itself, or one for each combination of its values.

    Args:
        session: of the event.
        work: a command that plans.
        there: a workspace on the commit that is meant.
    """
    command = work.command
    if not isinstance(command, STARTS):
        return [work]
    kept = [word for word in command.words if not word.startswith("sha=")]
    pinned = tuple(word for word in command.words if word.startswith("sha="))
    try:
        found = axes(kept)
        if found is None:
            return [work]
        if found.members > MOST:
            raise CommandError(
                f"a study of {found.members} runs; {MOST} are the most in a comment",
                hint="rpac reproduce in a terminal takes more",
            )
        definition = make_plan(there, str(command.target), ()).pipeline
        words = members(found, definition)
    except RpacError as exc:
        work.problem, work.section = exc, comments.problem(work.text, exc)
        return [work]
    now = session.context.now  # ids a millisecond apart: they sort in the order of the study
    study, *runs = (new_run_id(now + timedelta(milliseconds=n)) for n in range(len(words) + 1))
    return [
        Work(
            command=replace(command, words=(*own, *pinned)),
            text=f"{work.text} ({number} of {len(words)})",
            run=run,
            part=StudyPart(
                study=study,
                words=command.words,
                changes=changes_of(own, found),
                number=number,
                count=len(words),
            ),
        )
        for number, (own, run) in enumerate(zip(words, runs, strict=True), 1)
    ]


def side_by_side(works: Sequence[Work]) -> list[str]:
    """For each plan of several clouds a table of them, above the plans themselves."""
    parts: dict[str, list[Work]] = {}
    for work in works:
        if is_beside(work):
            assert work.part
            parts.setdefault(work.part.study, []).append(work)
    return [
        beside.plans(SideBySide(columns=[_column(work) for work in some]))
        for some in parts.values()
    ]


def is_beside(work: Work) -> bool:
    """Whether it is one of the clouds that a plan shows side by side, which stops no other one."""
    return (
        isinstance(work.command, Plan)
        and work.part is not None
        and list(work.part.changes) == [KEY]
    )


def _column(work: Work) -> Column:
    assert work.part
    cloud, decision = work.part.changes[KEY], work.decision
    if work.problem:
        return refused(cloud, work.problem)
    if work.planned is None or (decision and decision.kind is Kind.REFUSE):
        message, hint = (decision.message, decision.hint) if decision else ("", "")
        return Column(cloud=cloud, reason=message, hint=hint)
    return Column(cloud=cloud, plan=work.planned.plan)


def order_files(session: Session, works: Sequence[Work]) -> list[SourceFile]:
    """The ledger's files about the studies among runs that are dispatched."""
    parts: dict[str, list[Work]] = {}
    for work in works:
        if work.part and work.dispatch:
            parts.setdefault(work.part.study, []).append(work)
    return [_order_file(session, study, some) for study, some in parts.items()]


def _order_file(session: Session, study: str, works: Sequence[Work]) -> SourceFile:
    first = works[0]
    assert first.part is not None
    assert first.dispatch is not None
    kept = [word for word in first.part.words if not word.startswith("sha=")]
    order = StudyOrder(
        study=study,
        experiment=first.dispatch.experiment,
        words=kept,
        members=[
            StudyMember(run=work.run, changes=dict(work.part.changes))
            for work in works
            if work.part
        ],
        pull=first.dispatch.pull,
        issue=session.request.number,
    )
    return plain(study_path(study), order.to_bytes())


def finish_all(context: Context) -> list[str]:
    """Write every page that is due and not there; returns what was done, for people."""
    orders = context.ledger.view().studies()
    done = [order for order in orders if finish(context, order)]
    return [f"{order.study}: page over {len(order.members)} runs" for order in done]


def finish(context: Context, order: StudyOrder) -> bool:
    """
    Write the page of a study whose runs are all in the log, and tell it.

    Returns:
        Whether that was done just now; False also when it is there already.

    Raises:
        RpacError: the log does not take it; the timer tries again.
    """
    git = context.workspace.git
    tip = git.resolve("refs/remotes/origin/rpac/log")
    folder = f"{REPORTS}/{order.experiment}/studies/{order.study}"
    places = [
        f"{tip}:{REPORTS}/{order.experiment}/{m.run[:4]}-{m.run[4:6]}/{m.run}/record.json"
        for m in order.members
    ]
    there = git.objects([f"{tip}:{folder}/study.json", *places]) if tip else [None]
    if tip is None or there[0] is not None or None in there[1:]:
        return False
    log = ReproductionLog(git)
    planned = [Planned(run=member.run, changes=member.changes) for member in order.members]
    record, entry = entry_of(log, order.study, order.experiment, order.words, planned)
    log.add(entry)
    push(git)
    collect(git)
    context.ledger.fetch()
    tip = git.resolve("refs/remotes/origin/rpac/log") or ""
    branch, commit, why = "", None, "it was not asked for on a pull request"
    if order.pull is not None:
        pull = context.github.pull(order.pull)
        target = branches.target(context.github, pull, context.workspace.config.commit_back)
        branch, why = target.branch, target.why
        if not why:
            done = branches.commit_back(git, tip, folder, branch, message=entry.message)
            commit, why = done.commit, done.why
    if order.issue is not None:
        links = replace(context.links(), log_commit=tip, folder=folder)
        where = comments.where_it_is(links, branch, commit, why)
        body = comments.study_finished(record, links, where=where, at=context.now)
        marker = comments.study_marker(order.study)
        found = context.github.find_comment(order.issue, marker)
        if found:
            context.github.edit_comment(found.id, body, marker)
        else:
            context.github.comment(order.issue, body, marker)
    return True
