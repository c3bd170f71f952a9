"""
The end of a dispatched run on GitHub: into the log, onto the branch, and said where it was asked
for. Started by the job after the run, and by the timer for runs whose jobs are gone. Of a run that
goes on elsewhere, it is said how far it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from rpac_ci.bot import NOBODY, Context, comments
from rpac_ci.bot import commit_back as branches
from rpac_ci.bot import jobs as bot_jobs
from rpac_ci.bot.answers import write_cancelled
from rpac_ci.bot.comments import Links
from rpac_ci.bot.jobs import Going, Order, Written
from rpac_ci.bot.ledger import plain, run_folder
from rpac_ci.bot.tickets import Cancelled, Settlement
from rpac_ci.errors import GitHubError, RpacError
from rpac_ci.events import timestamp
from rpac_ci.formats.markdown import TIMELINE
from rpac_ci.github.answers import PullInfo
from rpac_ci.log_entries import EntryName
from rpac_ci.records import RunRecord
from rpac_ci.references import read_record
from rpac_ci.reproduction_log import ReproductionLog

# what a check run says; only these let a required check pass
GIVE_UP = timedelta(days=3)  # to tell people who cannot be told
_PASSED = re.compile(r"reproduced|baseline|compared")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What became of a run, and what could not be done about it."""

    record: RunRecord
    log_commit: str
    branch_commit: str | None
    remark: str

    @property
    def outcome(self) -> str:
        """Of its verdict."""
        assert self.record.verdict is not None
        return self.record.verdict.outcome


def finish(
    context: Context,
    run: str,
    results: Path | None,
    *,
    cancelled: bool = False,
    comment: int | None = None,
    check: int | None = None,
    starts_checks: bool = False,
) -> Finished | Going:
    """
    Write down what became of a run, and tell it. May be repeated.

    Args:
        context: of the job; its repository is a checkout of the default branch.
        run: that was dispatched.
        results: what the run's job left; None when nothing came.
        cancelled: that job was told to stop.
        comment: that follows the run; looked for when None.
        check: the check run; another one is made when None.
        starts_checks: pushes are made with a token that starts checks.

    Raises:
        RpacError: the run is not in the log, nor in its inbox; that was told, too.
    """
    ledger = context.ledger
    ledger.fetch()
    context.settle()
    order = bot_jobs.read_order(ledger.view(), run)
    try:
        written = bot_jobs.conclude(
            context.workspace, order, results, cancelled=cancelled, now=context.now
        )
    except RpacError as exc:
        _tell(context, order, comments.not_recorded(run, exc), comment)
        raise
    if isinstance(written, Going):
        _going(context, order, written, comment, cancelled=cancelled)
        return written
    before = _last_verdict(context, order) if order.dispatch.rerun else None
    pull = _pull(context, order)
    branch, commit, why = _to_branch(context, order, written, pull, starts_checks=starts_checks)
    links = replace(context.links(), log_commit=written.log_commit, folder=written.folder)
    where = comments.where_it_is(links, branch, commit, why or written.why)
    figures = _figures(context, written)
    body = comments.finished(written.record, links, where=where, at=context.now, figures=figures)
    context.host.summary(body)
    told = _tell(context, order, body, comment)
    told = _check(context, order, written.record, body, check) and told
    if order.dispatch.rerun:
        _compare_with_last(context, written, before, links)
    asked = datetime.fromisoformat(order.dispatch.at)
    if told or context.now > asked + GIVE_UP:  # else the timer says it again
        _settle(context, order, written)
    _study(context, order)
    return Finished(
        record=written.record, log_commit=written.log_commit, branch_commit=commit, remark=why
    )


def _going(
    context: Context, order: Order, going: Going, comment: int | None, *, cancelled: bool
) -> None:
    """How far a run is that goes on; an interrupted job has not ended it, so another one will."""
    if cancelled:
        note = Cancelled(run=order.run, actor=NOBODY, comment=None, at=timestamp(context.now))
        write_cancelled(context, note)
    body = comments.started(
        order.dispatch, order.ticket, context.links(), going.phase, context.now,
        problem=going.problem,
    )  # fmt: skip
    context.host.summary(body)
    if going.problem:
        context.warn(f"{order.run}: {going.problem}")
    _tell(context, order, body, comment)


def finish_all(
    context: Context, results: Path, *, starts_checks: bool = False
) -> dict[str, Finished | Going | RpacError]:
    """
    Do the same for every run of which a job has left something.

    Args:
        context: of the job.
        results: a folder with one for each run.
        starts_checks: pushes are made with a token that starts checks.
    """
    done: dict[str, Finished | Going | RpacError] = {}
    for folder in sorted(results.iterdir()):
        if not EntryName.is_run(folder.name) or folder.is_symlink():
            continue
        try:
            done[folder.name] = finish(context, folder.name, folder, starts_checks=starts_checks)
        except RpacError as exc:  # the others are to be told, too
            done[folder.name] = exc
    return done


def _study_of(order: Order) -> str | None:
    name = order.ticket.created["requested"].get("study")
    return str(name) if name else None


def _study(context: Context, order: Order) -> None:
    """The page over a study, with the last of its runs."""
    name = _study_of(order)
    found = context.ledger.view().study(name) if name else None
    if found is None:
        return
    from rpac_ci.bot import studies

    try:
        studies.finish(context, found)
    except RpacError as exc:
        context.warn(f"the page of {name} could not be written: {exc.message}")


def _figures(context: Context, written: Written) -> list[str]:
    """Figures that the log has beside the report; the timeline says little in a comment."""
    if not written.log_commit:
        return []
    files = context.workspace.git.ls_tree(written.log_commit, f"{written.folder}/figures")
    names = [file.path.removeprefix(f"{written.folder}/") for file in files]
    return [name for name in names if name != TIMELINE]


def _pull(context: Context, order: Order) -> PullInfo | None:
    if order.dispatch.pull is None:
        return None
    try:
        return context.github.pull(order.dispatch.pull)
    except GitHubError as exc:
        context.warn(f"the pull request cannot be read: {exc.message}")
        return None


def _to_branch(
    context: Context,
    order: Order,
    written: Written,
    pull: PullInfo | None,
    *,
    starts_checks: bool,
) -> tuple[str, str | None, str]:
    """The report to the pull request's branch: branch, commit, and why there is none."""
    if order.dispatch.pull is None:
        return "", None, "it was not asked for on a pull request"
    if pull is None:
        return "", None, "the pull request could not be read"
    if not written.log_commit:
        return pull.head_ref, None, written.why
    try:
        config = context.workspace.config
        target = branches.target(
            context.github, pull, config.commit_back, starts_checks=starts_checks
        )
        if target.why:
            return pull.head_ref, None, target.why
        done = branches.commit_back(
            context.workspace.git, written.log_commit, written.folder, target.branch,
            message=_message(written.record),
        )  # fmt: skip
    except RpacError as exc:
        return pull.head_ref, None, exc.message
    return target.branch, done.commit, done.why


def _message(record: RunRecord) -> str:
    from rpac_ci.conclude import message

    return message(record)


def _tell(context: Context, order: Order, body: str, comment: int | None) -> bool:
    """The one comment about the run; where it was deleted, another one. Whether it was told."""
    number, marker = order.dispatch.issue, comments.run_marker(order.run)
    if number is None or _study_of(order):  # a study has one comment for all its runs
        return True
    try:
        if comment is None:
            found = context.github.find_comment(number, marker)
            comment = found.id if found else None
        if comment is not None:
            try:
                context.github.edit_comment(comment, body, marker)
            except GitHubError as exc:
                if exc.status not in (403, 404, 410):
                    raise
            else:
                return True
        context.github.comment(number, body, marker)
    except GitHubError as exc:
        context.warn(f"what became of {order.run} could not be told: {exc.message}")
        return exc.status in (404, 410)  # nobody is left to be told
    return True


def _check(context: Context, order: Order, record: RunRecord, body: str, check: int | None) -> bool:
    verdict = record.verdict
    assert verdict is not None
    if order.dispatch.pull is None or _study_of(order):
        return True
    try:
        name = comments.check_name(order.ticket.experiment)
        if check is None:
            check = context.github.find_check(name, order.ticket.head, order.run)
        if check is None:
            check = context.github.open_check(
                name, order.ticket.head,
                verdict.outcome, body, order.run, context.host.run_url,
            )  # fmt: skip
        context.github.update_check(
            check, title=_title(f"{verdict.outcome}: {verdict.reason}"), summary=body,
            conclusion=conclusion(verdict.outcome),
        )  # fmt: skip
    except GitHubError as exc:
        context.warn(f"the check of {order.run} could not be written: {exc.message}")
        return exc.status in (404, 422)  # the commit is gone
    return True


def _title(text: str) -> str:
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:200]


def conclusion(outcome: str) -> str:
    """
    A verdict in the words of check runs.

    Where nothing is known the check asks for somebody: `neutral` would count as passed.
    """
    if _PASSED.match(outcome):
        return "success"
    if outcome == "inconclusive (cancelled)":
        return "cancelled"
    return "failure" if outcome == "not reproduced" else "action_required"


def _settle(context: Context, order: Order, written: Written) -> None:
    """The reservation gives way to what the run has cost."""
    record = written.record
    assert record.verdict is not None
    settlement = Settlement(
        run=order.run, outcome=record.verdict.outcome, cost_usd=record.outcome.cost_usd
    )
    file = plain(f"{run_folder(order.run)}/settled.json", settlement.to_bytes())
    context.ledger.write(
        f"settle {order.run}", lambda view: [] if view.settled(order.run) else [file]
    )


def _last_verdict(context: Context, order: Order) -> str | None:
    """How the run before this one came out, of those that say anything about the result."""
    log = ReproductionLog(context.workspace.git)
    for path in log.newest_first(order.pipeline.id):
        if path.run >= order.run:
            continue
        try:
            verdict = read_record(log, path).verdict
        except RpacError:
            continue
        if verdict and (verdict.outcome.startswith("reproduced") or verdict.outcome == _NOT):
            return verdict.outcome
    return None


_NOT = "not reproduced"


def _compare_with_last(
    context: Context, written: Written, before: str | None, links: Links
) -> None:
    """A scheduled run that comes out otherwise than the last one opens an issue."""
    verdict = written.record.verdict
    assert verdict is not None
    if before is None or (before == _NOT) == (verdict.outcome == _NOT):
        return
    if not verdict.outcome.startswith("reproduced") and verdict.outcome != _NOT:
        return
    title, body = comments.verdict_changed(written.record, before, links, context.now)
    marker = f"<!-- rpac:changed={written.record.run} -->"
    try:
        context.github.issue(title, body, marker)
    except GitHubError as exc:
        context.warn(f"the changed verdict could not be reported: {exc.message}")
