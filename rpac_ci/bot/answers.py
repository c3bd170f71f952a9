"""What the bot does and says about commands that start no run."""

from __future__ import annotations

from datetime import UTC, datetime

from rpac_ci import past_runs
from rpac_ci.api.past import accept_in_log, compare_in
from rpac_ci.bot import Context, Sent, beside, comments
from rpac_ci.bot import commit_back as branches
from rpac_ci.bot.ledger import LedgerView, open_dispatches, plain, run_folder
from rpac_ci.bot.tickets import Cancelled, Dispatch, Settlement
from rpac_ci.bot.wording import moment
from rpac_ci.collector import collect
from rpac_ci.commands import Accept, Cancel, Command, Compare, History, Status
from rpac_ci.errors import HistoryError, RunNotFoundError
from rpac_ci.events import timestamp
from rpac_ci.filters import parse_filters
from rpac_ci.history_table import history_table
from rpac_ci.inbox import push
from rpac_ci.site_config import SiteConfig
from rpac_ci.workspace import LOCAL

LAST = 15


def answer(
    context: Context, command: Command, *, actor: int, comment: int | None, number: int | None,
    is_pull: bool, config: SiteConfig,
) -> str:  # fmt: skip
    """
    Do one command and say what came of it.

    Args:
        context: of the event.
        command: that starts no run.
        actor: who asks.
        comment: in which.
        number: of the issue or pull request.
        is_pull: which of the two.
        config: of the default branch.

    Raises:
        RpacError: it cannot be done, and why.
    """
    ledger = context.ledger
    ledger.fetch()
    view = ledger.view()
    match command:
        case Status():
            return _status(view, command.run, number)
        case History():
            filters = parse_filters(command.words, context.now)
            git = context.workspace.git
            runs = past_runs.find(git, command.experiment, filters, last=LAST)
            return comments.block("The newest first:", history_table(runs, filters))
        case Compare():
            there, unfair = context.workspace, bool(command.unfair)
            found = compare_in(there, command.first, command.second, unfair=unfair)
            return beside.runs(found)
        case Cancel():
            return _cancel(context, view, command.run, actor=actor, comment=comment)
        case Accept():
            return _accept(context, command.run, number if is_pull else None, config)
        case _:
            raise AssertionError(f"{command.verb} starts a run")


def _status(view: LedgerView, run: str | None, number: int | None) -> str:
    known = [item for month in view.months()[:3] for item in view.runs(month).values()]
    wanted = [
        (dispatch, settled)
        for dispatch, settled in known
        if (run in (None, "") and dispatch.issue == number) or (run and _means(dispatch.run, run))
    ]
    if run and not wanted:
        raise RunNotFoundError(f"no run {run!r} was asked for here", hint="/history lists them all")
    newest = sorted(wanted, key=lambda item: item[0].run, reverse=True)
    return comments.statuses([_row(*item) for item in newest[:LAST]])


def _row(dispatch: Dispatch, settled: Settlement | None) -> dict[str, str]:
    return {
        "run": dispatch.run,
        "experiment": dispatch.experiment,
        "state": settled.outcome if settled else "under way",
        "at": moment(datetime.fromisoformat(dispatch.at).astimezone(UTC)),
    }


def _means(run: str, part: str) -> bool:
    return run.startswith(part) or run.endswith(part)


def write_cancelled(context: Context, note: Cancelled) -> None:
    """Note in the ledger that a run is to stop."""
    file = plain(f"{run_folder(note.run)}/cancelled.json", note.to_bytes())
    context.ledger.write(
        f"cancel {note.run}", lambda view: [] if view.cancelled(note.run) else [file]
    )


def sent(dispatch: Dispatch) -> Sent:
    """A run that was dispatched, for a job to go on with."""
    return Sent(
        run=dispatch.run, name=dispatch.experiment, minutes=dispatch.minutes, cloud=dispatch.cloud
    )


def _cancel(
    context: Context, view: LedgerView, part: str, *, actor: int, comment: int | None
) -> str:
    under_way = open_dispatches(view)
    found = [run for run in under_way if _means(run, part)]
    if len(found) != 1:
        what = "means several runs" if found else "is no run that is under way"
        raise RunNotFoundError(f"{part!r} {what}", hint="/status lists those that are")
    dispatch = under_way[found[0]]
    if dispatch.cloud != LOCAL:  # its job is long gone: another one stops it
        note = Cancelled(run=dispatch.run, actor=actor, comment=comment, at=timestamp(context.now))
        write_cancelled(context, note)
        context.sent.append(sent(dispatch))
        return comments.cancelling(dispatch.run, [])
    if dispatch.workflow_run is None:
        raise HistoryError(f"the ledger does not say which job has {dispatch.run}")
    if not context.github.cancel_workflow(dispatch.workflow_run):
        raise HistoryError(
            f"the job of {dispatch.run} is over already", hint="the timer says what became of it"
        )
    others = [
        run
        for run, other in under_way.items()
        if run != dispatch.run and other.workflow_run == dispatch.workflow_run
    ]
    return comments.cancelling(dispatch.run, others)


def _accept(context: Context, run: str, pull: int | None, config: SiteConfig) -> str:
    """A reference is a file of the log; it goes to the pull request's branch too where it may."""
    git = context.workspace.git
    accepted = accept_in_log(context.workspace, run)
    push(git)
    collect(git)
    context.ledger.fetch()
    tip = git.resolve("refs/remotes/origin/rpac/log") or ""
    lines = []
    for one in accepted:
        branch, commit, why = "", None, "nothing asked for it on a pull request"
        if pull is not None:
            target = branches.target(context.github, context.github.pull(pull), config.commit_back)
            branch, why = target.branch, target.why
            if not why:
                message = f"{one.path.split('/')[1]}: accept {one.run}\n"
                done = branches.commit_back(git, tip, one.path, branch, message=message)
                commit, why = done.commit, done.why
        links = comments.Links(repository=context.address, log_commit=tip, folder=one.path)
        where = comments.where_it_is(links, branch, commit, why)
        lines.append(comments.accepted(one.run, where))
    return "\n\n".join(lines)
