"""
The jobs of one dispatched run on GitHub: `fetch` and `run` where the experiment's code is executed,
with no secret and no right to write; `conclude` where results are data and may be written down.
`bot.cloud_jobs` takes the place of the first two for runs on a provider's machines.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rpac_ci import open_runs
from rpac_ci.api.runs import drive_attached
from rpac_ci.bot import checkouts, handover
from rpac_ci.bot.ledger import Ledger, LedgerView
from rpac_ci.bot.tickets import Dispatch, Ticket
from rpac_ci.collector import collect
from rpac_ci.conclude import entry_of, judged
from rpac_ci.driver import Notify, RunDriver, load_pipeline
from rpac_ci.errors import HistoryError, PolicyError, RpacError, RunNotFoundError
from rpac_ci.events import Event, Kind, timestamp
from rpac_ci.git import Git
from rpac_ci.inbox import push
from rpac_ci.log_entries import EntryFile, EntryName, check_entry
from rpac_ci.log_paths import RunPath, run_folder
from rpac_ci.pipeline import Pipeline
from rpac_ci.records import RunRecord
from rpac_ci.references import parse_record, read_record
from rpac_ci.reproduction_log import Entry, ReproductionLog
from rpac_ci.run import Step, fold
from rpac_ci.source_trees import SourceTree
from rpac_ci.verdict import judge
from rpac_ci.workspace import LOCAL, Workspace

MAX_FOREIGN_SOURCE = 2**20
GIVE_UP = timedelta(days=7)  # on a cloud that lets nobody in, after a run should have been over


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A dispatched run with all that the ledger says about it."""

    dispatch: Dispatch
    ticket: Ticket
    pipeline: Pipeline
    pipeline_bytes: bytes
    source: SourceTree

    @property
    def run(self) -> str:
        """The run's id."""
        return self.dispatch.run


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """A run on a provider's machines that is not over; `problem` says what needs somebody."""

    phase: str
    problem: str = ""

    @property
    def outcome(self) -> str:
        """It has none yet."""
        return f"under way: {self.problem or self.phase}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A run that is judged, and where the log has it ("" while it waits in the inbox)."""

    record: RunRecord
    folder: str
    log_commit: str
    why: str = ""  # it is not in the log yet


def read_order(view: LedgerView, run: str) -> Order:
    """
    What was dispatched under a run's id, every hash checked.

    Raises:
        RunNotFoundError: nothing.
        HistoryError: the ledger contradicts itself.
    """
    dispatch = view.dispatch(run) if EntryName.is_run(run) else None
    if dispatch is None:
        raise RunNotFoundError(f"no run {run!r} was dispatched")
    ticket = view.ticket(dispatch.ticket)
    if ticket is None:
        raise HistoryError(f"the ledger has no plan {dispatch.ticket} for {run}")
    content = view.pipeline(ticket.id)
    pipeline, source = load_pipeline(content), view.source(ticket.id)
    if pipeline.digest != ticket.pipeline or source.sha256 != pipeline.source.sha256:
        raise HistoryError(f"pipeline or code of the plan {ticket.id} are not what was planned")
    return Order(
        dispatch=dispatch, ticket=ticket, pipeline=pipeline, pipeline_bytes=content, source=source
    )


def folder_of(workspace: Workspace, run: str) -> Path:
    """Where the jobs of one run work: a checkout of the planned commit."""
    return workspace.root / ".rpac" / "bot" / run / "tree"


def fetch(workspace: Workspace, run: str) -> Workspace:
    """
    Bring a dispatched run here, ready to be driven; the last thing that needs the network of git.

    Returns:
        The workspace that the run is in, with the store of its cloud.

    Raises:
        RpacError: it was not dispatched, or its commit cannot be had.
    """
    ledger = Ledger(workspace.git)
    ledger.fetch()
    order = read_order(ledger.view(), run)
    if ledger.view().settled(run):
        raise PolicyError(f"{run} is over", hint="a job that is run again runs nothing again")
    _fetch_commit(workspace.git, order.ticket)
    root = folder_of(workspace, run)
    if not root.exists():
        workspace.storage  # noqa: B018 - makes .rpac/, which git ignores
        root.parent.mkdir(parents=True, exist_ok=True)
        checkouts.add(workspace.git, order.ticket.head, root)
    there = replace(workspace, root=root, git=Git(root)).on(order.dispatch.cloud)
    open_runs.make(
        there, run, dict(order.ticket.created), order.pipeline_bytes, order.source.archive()
    )
    return there


def _fetch_commit(git: Git, ticket: Ticket) -> None:
    """
    Raises:
        HistoryError: nobody has the commit any more.
    """
    if git.resolve(f"{ticket.head}^{{commit}}"):
        return
    wanted = [ticket.head, *([f"refs/pull/{ticket.pull}/head"] if ticket.pull else [])]
    for name in wanted:  # a branch may be gone; its pull request still has the commit
        with contextlib.suppress(HistoryError):
            git.run(
                "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1",
                "--recurse-submodules=no", "origin", name, timeout_s=600,
            )  # fmt: skip
        if git.resolve(f"{ticket.head}^{{commit}}"):
            return
    raise HistoryError(
        f"the commit {ticket.head} cannot be fetched",
        hint="its branch was rewritten after the run was asked for: ask again",
    )


def run(workspace: Workspace, name: str, results: Path, notify: Notify | None = None) -> None:
    """
    Take a fetched run to its release, and hand over what came out. An interrupt cancels it.

    Args:
        workspace: in which it was fetched.
        name: of the run.
        results: folder to write to.
        notify: called as the run goes on.

    Raises:
        RpacError: it could not be driven to its end; what there is, is handed over all the same.
    """
    root = folder_of(workspace, name)
    there = replace(workspace, root=root, git=Git(root))
    try:
        drive_attached(RunDriver(there, name, notify=notify))
    finally:
        handover.export(there, name, results)


def conclude(
    workspace: Workspace, order: Order, results: Path | None, *, cancelled: bool, now: datetime
) -> Written | Going:
    """
    Judge what a job left, and add it to the log. May be repeated: a run is judged once.

    A run on a provider's machines whose job left before its end is left alone.

    Args:
        workspace: a checkout of the repository, with ledger and log fetched.
        order: from the ledger.
        results: what the job left; None when nothing is there.
        cancelled: the job was told to stop.
        now: for a job that left nothing.
    """
    log = ReproductionLog(workspace.git)
    folder = run_folder(order.pipeline.id, order.run)
    if found := _in_log(log, order):
        return _written(workspace.git, order, read_record(log, found), folder)
    made = _judge(order, results, cancelled=cancelled, now=now)
    if isinstance(made, Going):
        return made
    record, entry = made
    log.add(entry)
    _send(workspace.git, order.run)
    with contextlib.suppress(RpacError):  # it waits in the inbox; the next collector takes it
        collect(workspace.git)
        Ledger(workspace.git).fetch()
    return _written(workspace.git, order, record, folder)


def _judge(
    order: Order, results: Path | None, *, cancelled: bool, now: datetime
) -> tuple[RunRecord, Entry] | Going:
    """Record and entry of what the job left; of a lost run where that is no use."""
    dispatched = datetime.fromisoformat(order.dispatch.at)
    first = Event(
        number=1, kind=Kind.CREATED, at=order.dispatch.at, body=dict(order.ticket.created)
    )
    due = dispatched + timedelta(minutes=order.dispatch.minutes)
    elsewhere = order.dispatch.cloud != LOCAL
    try:
        until = now if elsewhere else min(now, due + timedelta(hours=24))
        told = handover.read(results, order.run, order.pipeline, since=dispatched, until=until)
        events = [first, *told.events]
        if elsewhere and not fold(events).ended:
            return Going(phase=told.now or "under way", problem=_trouble(events) or told.problem)
        return _made(order, events, results)
    except handover.HandoverError as exc:
        message = exc.message
    except Exception as exc:  # noqa: BLE001 - what fits the schema may still make no sense
        message = f"the job's results make no record: {type(exc).__name__}"
    if elsewhere and now < due + GIVE_UP:
        return Going(phase="nothing new is known", problem=f"{message}; the timer looks again")
    late = now >= due
    if late:
        message += f", and did not end within its {order.dispatch.minutes} min"
    lost = _nothing(message, cancelled=cancelled and not late, now=now)
    return _made(order, [first, *lost], None)


def _trouble(events: Sequence[Event]) -> str:
    """What has gone wrong last, unless something came after it."""
    last = next((e for e in reversed(events) if e.kind is not Kind.CLAIM), None)
    if last is None or last.kind is not Kind.FAILED:
        return ""
    said = f"{last.body['step']} failed: {last.body['message']}"
    if last.body["step"] == Step.RELEASE:
        said = f"its machines may still be there and cost money: {said}"
    return f"{said}; {last.body['hint']}" if last.body["hint"] else said


def _made(order: Order, events: Sequence[Event], results: Path | None) -> tuple[RunRecord, Entry]:
    """
    Raises:
        HandoverError: the log would not take it.
    """
    record = judged(order.run, order.pipeline, events)
    entry = entry_of(
        record,
        order.pipeline,
        order.pipeline_bytes,
        read=lambda output: handover.output(results, output) if results else None,
        source=_source(order),
    )
    files = [
        EntryFile(f"{entry.folder}/{name}", "100644", name, "blob", len(content))
        for name, content in entry.files.items()
    ]
    if problems := check_entry(order.run, files, entry.files.__getitem__):
        raise handover.HandoverError(f"the log would not take the results: {problems[0]}")
    return record, entry


def _send(git: Git, run: str) -> None:
    """
    Raises:
        HistoryError: the remote does not take the run, however often it is asked.
    """
    for pause in (1.0, 5.0, 15.0, 0.0):
        try:
            pushed = push(git)
        except HistoryError:
            if not pause:
                raise
            time.sleep(pause)
        else:
            if why := pushed.unfit.get(run):
                raise HistoryError(f"the log does not take {run}: {'; '.join(why)}")
            return


def _in_log(log: ReproductionLog, order: Order) -> RunPath | None:
    try:
        return log.find(order.run, order.pipeline.id)
    except RunNotFoundError:
        return None


def _written(git: Git, order: Order, record: RunRecord, folder: str) -> Written:
    tip = git.resolve("refs/remotes/origin/rpac/log")
    raw = next(git.blobs([f"{tip}:{folder}/record.json"])) if tip else None
    if tip is None or raw is None:
        why = "it waits in the inbox for the collector"
        return Written(record=record, folder=folder, log_commit="", why=why)
    # somebody else may have sent this run to the inbox: what is in the log counts, judged anew
    there = parse_record(json.loads(raw), order.run)
    verdict = judge(order.pipeline, there)
    why = "" if there.verdict == verdict else "its verdict in the log is not the one it has"
    there = there.model_copy(update={"verdict": verdict})
    return Written(record=there, folder=folder, log_commit=tip, why=why)


def _nothing(message: str, *, cancelled: bool, now: datetime) -> Sequence[Event]:
    events = handover.lost(f"runner lost: {message}", timestamp(now.astimezone(UTC)))
    if not cancelled:
        return events
    why = {"why": "the job was cancelled on GitHub"}
    cancel = Event(number=2, kind=Kind.CANCEL, at=events[0].at, body=why)
    return [cancel, *(replace(event, number=event.number + 1) for event in events)]


def _source(order: Order) -> Mapping[str, tuple[str, bytes]]:
    size = sum(len(file.content) for file in order.source.files)
    if order.pipeline.source.git and size > MAX_FOREIGN_SOURCE:
        return {}  # a pinned commit of another repository can be fetched again
    return {file.path: (file.mode, file.content) for file in order.source.files}
