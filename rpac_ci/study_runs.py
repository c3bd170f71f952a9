"""
Studies at work: every run made at once, driven side by side as far as the clouds have room, one
page at the end. A study that is interrupted is taken to its end by `rpac advance`, like a run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from rpac_ci import clouds, open_runs
from rpac_ci.canonical import Json
from rpac_ci.conclude import conclude
from rpac_ci.driver import Notify, Progress, RunDriver, load_pipeline
from rpac_ci.errors import HistoryError, RpacError
from rpac_ci.events import EventLog
from rpac_ci.formats.study import figures, page
from rpac_ci.git import Git
from rpac_ci.git_writing import GitWriter
from rpac_ci.jobs import RunId
from rpac_ci.log_paths import REPORTS
from rpac_ci.pipeline import Pipeline
from rpac_ci.planning import Plan, make_plan, make_plans, power_remarks
from rpac_ci.quantities import count
from rpac_ci.records import RunRecord
from rpac_ci.references import parse_record
from rpac_ci.reproduction_log import Entry, ReproductionLog
from rpac_ci.run import new_run_id
from rpac_ci.studies import Planned, StudyRecord, build
from rpac_ci.study_words import MAX_MEMBERS, Axes, changes_of, members
from rpac_ci.workspace import Workspace

_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """The plans of all runs; each of them was found possible."""

    words: Sequence[str]
    members: Sequence[tuple[Plan, dict[str, str]]]  # plan, what of the lists it has
    remarks: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConclusion:
    """What became of a study, and where it can be read."""

    record: StudyRecord
    folder: str
    log_commit: str
    branch_commit: str | None
    remark: str = ""


def plan(
    workspace: Workspace, target: str, words: Sequence[str], found: Axes, *, allow_dirty: bool
) -> StudyPlan:
    """
    Plan every run, so that one that is not possible stops the study before anything is started.

    Raises:
        RpacError: as `planning.make_plan`.
    """
    base = make_plan(workspace, target, (), allow_dirty=allow_dirty)
    commands = list(members(found, base.pipeline))
    made = make_plans(workspace, target, commands, allow_dirty=allow_dirty)
    plans = [(one, changes_of(own, found)) for one, own in zip(made, commands, strict=True)]
    seeds: dict[str, set[int | None]] = {}
    for one, _ in plans:
        seeds.setdefault(one.science, set()).add(one.pipeline.seed)
    most = max(map(len, seeds.values()))
    return StudyPlan(
        words=words,
        members=plans,
        remarks=power_remarks(base.pipeline, base.reference, most),
    )


def start(
    workspace: Workspace, planned: StudyPlan, *, request: dict[str, Json], commit: bool
) -> tuple[str, Mapping[str, EventLog]]:
    """
    Make all runs; from here on any driver can take the study to its end.

    Returns:
        Its id, and the events of its runs, for a driver that goes on at once.
    """
    now = datetime.now(UTC)  # ids a millisecond apart: they sort in the order of the study
    study, *runs = (
        new_run_id(now + timedelta(milliseconds=n)) for n in range(len(planned.members) + 1)
    )
    plans = [plan for plan, _ in planned.members]
    workspace.storage.create_json(
        _key(study),
        {
            "experiment": plans[0].pipeline.id,
            "words": list(planned.words),
            "commit": commit,
            "members": [
                {"run": run, "changes": changes}
                for run, (_, changes) in zip(runs, planned.members, strict=True)
            ],
        },
    )
    asked = {**request, "study": study}

    def make(run: RunId, one: Plan) -> EventLog:
        return open_runs.start(workspace, one, run=run, request=asked, commit=commit)

    first = make(runs[0], plans[0])  # its code is that of most others, and then in the store
    with ThreadPoolExecutor(MAX_MEMBERS) as pool:
        logs = [first, *pool.map(make, runs[1:], plans[1:])]
    return study, {log.run: log for log in logs}


def drive(
    workspace: Workspace, study: str, notify: Notify, logs: Mapping[str, EventLog] | None = None
) -> None:
    """
    Take every run of a study to its end, as many side by side as there is room for.

    An interrupt cancels what is under way and what has not begun, and is raised again when all of
    it is released and recorded; a second one leaves at once.

    Args:
        workspace: of the repository.
        study: its id.
        notify: called with `Progress` as the runs go on.
        logs: events of runs that were just made.
    """
    runs = [member["run"] for member in _open(workspace, study)["members"]]
    homes = open_runs.homes(workspace)
    mine = [run for run in runs if run in homes]
    told = _Told(notify, study, runs)
    logs = logs or {}
    drivers = {
        run: RunDriver(homes[run], run, notify=told.moving, log=logs.get(run)) for run in mine
    }
    gate, writer = _Gate(), GitWriter(workspace.git)

    def member(run: str) -> None:
        with gate.enter(_share(homes[run], run)):
            drivers[run].drive()
        conclusion = conclude(homes[run], run, writer=writer, log=drivers[run].log)
        told.over(run, conclusion.verdict.outcome)

    def cancel(run: str) -> None:
        drivers[run].cancel("interrupted (Ctrl-C)")

    futures: dict[str, Future[None]] = {}

    def follow() -> None:
        for run in mine:
            if run not in futures:
                futures[run] = _apart(member, run)
        _wait(futures.values())

    try:
        follow()
    except KeyboardInterrupt:
        still = open_runs.homes(workspace)
        with ThreadPoolExecutor(MAX_MEMBERS) as pool:
            list(pool.map(cancel, (run for run in mine if run in still)))
        follow()  # those that had not begun must be released and recorded, too
        raise
    for run, future in futures.items():
        error = future.exception()
        if isinstance(error, RpacError):  # it stays open; the others have gone on
            told.over(run, f"still open: {error.message}")
        elif error is not None:
            raise error


def _apart(work: Callable[[str], None], run: str) -> Future[None]:
    """Work in a thread that does not hold up the end of the program, as those of a pool would."""
    future: Future[None] = Future()

    def target() -> None:
        try:
            work(run)
        except BaseException as exc:  # noqa: BLE001 - told by whoever waits
            future.set_exception(exc)
        else:
            future.set_result(None)

    threading.Thread(target=target, daemon=True, name=f"run {run}").start()
    return future


def _wait(futures: Iterable[Future[None]]) -> None:
    """
    Wait in short turns: a signal is heard between them.

    For one after the other, since every turn takes the locks of all that are waited for.
    """
    for future in futures:
        while wait([future], timeout=_POLL_S).not_done:
            continue


def conclude_study(workspace: Workspace, study: str) -> StudyConclusion:
    """
    Write the page of a study whose runs are over, to the log and the current branch.

    Raises:
        HistoryError: git does not take it; the study stays open.
    """
    plan = _open(workspace, study)
    history = ReproductionLog(workspace.git)
    planned = [Planned(run=m["run"], changes=m["changes"]) for m in plan["members"]]
    record, entry = entry_of(history, study, plan["experiment"], plan["words"], planned)
    log_commit = history.add(entry)
    branch, remark = history.publish(entry) if plan["commit"] else (None, "left alone as asked")
    workspace.storage.delete(_key(study))
    return StudyConclusion(
        record=record, folder=entry.folder, log_commit=log_commit, branch_commit=branch,
        remark=remark,
    )  # fmt: skip


def entry_of(
    history: ReproductionLog,
    study: str,
    experiment: str,
    words: Sequence[str],
    planned: Sequence[Planned],
) -> tuple[StudyRecord, Entry]:
    """The page of a study whose runs are in the log: its record, and what goes to the log."""
    records, pipeline = _records(history, experiment, planned)
    record = build(
        study=study, experiment=experiment, words=words, planned=planned, records=records,
        pipeline=pipeline,
    )  # fmt: skip
    drawn = figures(record)
    entry = Entry(
        folder=f"{REPORTS}/{experiment}/studies/{study}",
        files={
            "study.json": record.to_bytes(),
            "study.md": page(record, figures=sorted(drawn)).encode(),
            **{name: drawing.encode() for name, drawing in drawn.items()},
        },
        subject=f"{experiment}: study of {count(len(planned), 'run')}: {record.outcome}",
        trailers=[("Rpac-Study", study), ("Rpac-Experiment", experiment)],
        source={},
    )
    return record, entry


def finished(workspace: Workspace) -> list[str]:
    """Studies without a page, none of whose runs is open any more."""
    studies = list(workspace.storage.names("studies/"))
    still = open_runs.homes(workspace) if studies else {}
    return [
        study
        for study in studies
        if not any(member["run"] in still for member in _open(workspace, study)["members"])
    ]


def find(git: Git, name: str) -> tuple[str, str] | None:
    """
    A study in the log, by its id or an unambiguous part of it.

    Returns:
        The log's ref and the study's folder; None when no study, or more than one, is meant.
    """
    found: dict[str, tuple[str, str]] = {}
    for ref, tip in ReproductionLog(git).tips().items():
        experiments = git.text("ls-tree", "-d", "--name-only", tip, f"{REPORTS}/").splitlines()
        folders = [f"{experiment}/studies/" for experiment in experiments]
        listed = git.text("ls-tree", "-d", "--name-only", tip, *folders) if folders else ""
        for folder in listed.splitlines():
            study = folder.rpartition("/")[2]
            if name and (study.startswith(name) or study.endswith(name)):
                found.setdefault(study, (ref, folder))
    return found.get(name) or (next(iter(found.values())) if len(found) == 1 else None)


def read(git: Git, where: tuple[str, str]) -> tuple[StudyRecord, str]:
    """A study's record and its page."""
    ref, folder = where
    record, text = git.blobs(f"{ref}:{folder}/{name}" for name in ("study.json", "study.md"))
    if record is None or text is None:
        raise HistoryError(f"{folder} is not complete in the log")
    return StudyRecord.model_validate_json(record), text.decode()


def _records(
    history: ReproductionLog, experiment: str, planned: Sequence[Planned]
) -> tuple[dict[str, RunRecord], Pipeline | None]:
    wanted = {p.run for p in planned}
    paths = {path.run: path for path in history.runs(experiment) if path.run in wanted}
    listed = [paths[run] for run in sorted(paths)]
    raw = history.records(listed)
    records = {path.run: parse_record(one, path.run) for path, one in zip(listed, raw, strict=True)}
    pipeline = None
    for path in list(paths.values())[:1]:
        pipeline = load_pipeline(history.read(path, "pipeline.yaml"))
    return records, pipeline


def _open(workspace: Workspace, study: str) -> dict[str, Any]:
    plan: dict[str, Any] = workspace.storage.get_json(_key(study))
    return plan


def _key(study: str) -> str:
    return f"studies/{study}"


def _share(workspace: Workspace, run: str) -> Fraction:
    """The part of a cloud's room that a run takes."""
    from rpac_ci.driver import read_pipeline

    pipeline = read_pipeline(workspace, run)
    cloud = clouds.load(pipeline.target.cloud, workspace)
    return Fraction(1, cloud.room(pipeline.resources, pipeline.target))


class _Gate:
    """Lets so many in that their shares together are at most one."""

    def __init__(self) -> None:
        self._taken = Fraction(0)
        self._changed = threading.Condition()

    @contextmanager
    def enter(self, share: Fraction) -> Iterator[None]:
        """Wait for room, hold it for the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken + share <= 1)
            self._taken += share
        try:
            yield
        finally:
            with self._changed:
                self._taken -= share
                self._changed.notify_all()


class _Told:
    """Progress of many runs in few lines."""

    def __init__(self, notify: Notify, study: str, runs: Sequence[str]) -> None:
        self._notify = notify
        self._study = study
        self._number = {run: n for n, run in enumerate(runs, 1)}
        self._over = 0

    def moving(self, event: Progress) -> None:
        """What one run is at just now."""
        self._tell("moving", f"run {self._number[event.run]}: {event.step} {event.detail}".strip())

    def over(self, run: str, outcome: str) -> None:
        """One run is over."""
        self._over += 1
        where = f"run {self._number[run]} of {len(self._number)}"
        self._tell("note", f"{where}, {run}: {outcome}")

    def _tell(self, status: str, detail: str) -> None:
        self._notify(Progress(run=self._study, step="study", status=status, detail=detail))
