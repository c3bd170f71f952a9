"""
Runs on a provider's machines, in jobs that may enter the cloud and may not write in the repository.

Such a job executes nothing of a pull request. It takes runs as far as they go without waiting, and
hands over what their events say to the job that may write. Whoever comes later goes on: the timer,
a function in the cloud, a person at a terminal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rpac_ci import open_runs
from rpac_ci.api.runs import drive_attached
from rpac_ci.bot import handover
from rpac_ci.bot import jobs as bot_jobs
from rpac_ci.bot.ledger import Ledger, LedgerView, recent_runs
from rpac_ci.bot.tickets import Dispatch
from rpac_ci.conclude import close
from rpac_ci.driver import Notify, Progress, RunDriver
from rpac_ci.errors import PolicyError, RpacError
from rpac_ci.events import Driver, EventLog, timestamp
from rpac_ci.run import Step, Wait, fold
from rpac_ci.workspace import Workspace

SUBMITTING = timedelta(minutes=60)  # that the job behind a dispatch has for itself
SIDE_BY_SIDE = 8
_GIT = threading.Lock()  # one checkout at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """How far a run is, or what was left of one; `problem` says why it could not go on."""

    run: str
    status: str
    problem: str = ""


def submit(
    workspace: Workspace, run: str, results: Path, *,
    enter: Callable[[str], AbstractContextManager[None]], notify: Notify | None = None,
) -> Looked:  # fmt: skip
    """
    Bring a dispatched run on its way, hand over how far it is, and leave.

    One that somebody has cancelled is stopped and taken to its release instead. An interrupt
    cancels the run, too.

    Args:
        workspace: a checkout of the default branch, with its settings.
        run: that was dispatched.
        results: folder to write to.
        enter: signs this job in to a cloud, for as long as it lasts.
        notify: called as the run goes on.

    Raises:
        PolicyError: it is over.
        RpacError: it cannot be brought here, or nobody is let into the cloud.
    """
    ledger = Ledger(workspace.git)
    ledger.fetch()
    view = ledger.view()
    dispatch = bot_jobs.read_order(view, run).dispatch
    if view.settled(run):
        raise PolicyError(f"{run} is over", hint="a job that is run again runs nothing again")
    with enter(dispatch.cloud):
        return _go_on(workspace, view, dispatch, results, notify or (lambda _: None))


def look_after(
    workspace: Workspace, cloud: str, results: Path, now: datetime, notify: Notify | None = None
) -> Sequence[Looked]:
    """
    Go on with every run that was sent to a cloud, and remove there what is left of others.

    Args:
        workspace: a checkout of the default branch, with its settings.
        cloud: whose runs are meant.
        results: folder to write to; in it one for each run that is not settled.
        now: the time.
        notify: called as runs go on.

    Raises:
        RpacError: nobody is let into the cloud, or its store cannot be listed.
    """
    ledger = Ledger(workspace.git)
    ledger.fetch()
    view = ledger.view()
    place = workspace.on(cloud)
    still_open = set(place.storage.names("open/"))
    log = workspace.git.resolve("refs/remotes/origin/rpac/log") or ""
    todo: list[Dispatch] = []
    for run, (dispatch, settled) in recent_runs(view).items():
        if dispatch.cloud == cloud and settled is None:
            todo.append(dispatch)
        elif dispatch.cloud == cloud and run in still_open:
            close(place, run, log, None)

    def look(dispatch: Dispatch) -> Looked:
        folder = results / dispatch.run
        try:
            return _look(workspace, view, dispatch, folder, now, notify or (lambda _: None))
        except Exception as exc:  # noqa: BLE001 - the others are to be looked after, too
            said = exc.message if isinstance(exc, RpacError) else f"internal error, {exc!r}"
            return Looked(run=dispatch.run, status="still open", problem=workspace.public(said))

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        looked = list(pool.map(look, todo))
    swept = [one for one in open_runs.sweep(workspace, dry_run=False, only=cloud) if one.done]
    return [*looked, *(Looked(run=s.run, status=f"{s.what}: {s.action}") for s in swept)]


def _look(
    workspace: Workspace, view: LedgerView, dispatch: Dispatch, folder: Path, now: datetime,
    notify: Notify,
) -> Looked:  # fmt: skip
    """One run of many: gone on with, left to the job that has it, or given up."""
    place = workspace.on(dispatch.cloud)
    events = EventLog(place.storage, dispatch.run).read()
    if Step.SUBMIT in fold(events).results:
        return _go_on(workspace, view, dispatch, folder, notify)
    age = now - datetime.fromisoformat(dispatch.at)
    if age < SUBMITTING:
        return Looked(run=dispatch.run, status="is being submitted")
    if age < timedelta(minutes=dispatch.minutes) + SUBMITTING:
        return _go_on(workspace, view, dispatch, folder, notify)  # that job is gone
    if not events:
        message = f"it did not come to its submit within {dispatch.minutes} min"
        handover.export_lost(dispatch.run, folder, message, timestamp(now.astimezone(UTC)))
        return Looked(run=dispatch.run, status="never submitted, given up")
    return _go_on(workspace, view, dispatch, folder, notify, stop="it was not submitted in time")


def _go_on(
    workspace: Workspace, view: LedgerView, dispatch: Dispatch, folder: Path, notify: Notify, *,
    stop: str = "",
) -> Looked:  # fmt: skip
    """Take a run as far as it goes without waiting; to its release where it is to be stopped."""
    run, last = dispatch.run, "under way"

    def told(event: Progress) -> None:
        nonlocal last
        last = event.detail if event.status == "moving" else f"{event.step} {event.status}"
        notify(event)

    place = workspace.on(dispatch.cloud)
    if Step.STAGE not in fold(EventLog(place.storage, run).read()).results:
        with _GIT:  # what lies beside the experiment is staged, too
            place = bot_jobs.fetch(workspace, run)
    driver = RunDriver(place, run, notify=told, me=Driver.elsewhere())
    if (cancelled := view.cancelled(run)) and not stop:
        stop = f"asked for by the account {cancelled.actor}"
    if stop:
        driver.cancel(stop)
    problem = ""
    try:
        decision = driver.drive(wait=bool(stop), watch=bool(stop))
        if isinstance(decision, Wait):
            last = f"another driver is at {decision.step}"
    except KeyboardInterrupt:
        driver.cancel("its job on GitHub was cancelled")
        drive_attached(driver)
    except RpacError as exc:
        problem = place.public("; ".join(filter(None, (exc.message, exc.hint))))
    handover.export(place, run, folder, now=last, problem=problem)
    return Looked(run=run, status=last, problem=problem)
