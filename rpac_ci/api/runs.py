"""Plan, run and go on with runs; `api.studies` does it with many of them."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rpac_ci import experiments, open_runs
from rpac_ci.canonical import Json
from rpac_ci.driver import Notify, Progress, RunDriver
from rpac_ci.errors import (
    CancelledError,
    CloudError,
    CommandError,
    ExperimentError,
    HistoryError,
    Problem,
    RunNotFoundError,
    StorageError,
)
from rpac_ci.events import EventLog
from rpac_ci.experiment_model import EXPERIMENT_FILE
from rpac_ci.jobs import Waits
from rpac_ci.open_runs import Advanced, OpenRun, Swept
from rpac_ci.planning import Plan, make_plan
from rpac_ci.references import read_record
from rpac_ci.reproduction_log import ReproductionLog
from rpac_ci.study_words import axes
from rpac_ci.workspace import Workspace

if TYPE_CHECKING:
    from rpac_ci.conclude import Conclusion

PATIENT_INTERRUPTS = 3


def validate(paths: Sequence[Path | str] = (), *, repository: Path | str = ".") -> list[Problem]:
    """
    Check experiments.

    Args:
        paths: YAML files or folders of experiments; all of the repository when empty.
        repository: a folder in it.

    Returns:
        Every problem found, none when all is well.

    Raises:
        CommandError: a path is not there.
    """
    workspace = Workspace.open(repository)
    problems: list[Problem] = []
    files: list[Path] = []
    for path in [Path(p) for p in paths] or [workspace.experiments]:
        try:
            files += _experiment_files(path)
        except ExperimentError as exc:
            problems += exc.problems
    for file in files:
        try:
            experiments.load(file.resolve(), root=workspace.root.resolve())
        except ExperimentError as exc:
            problems += exc.problems
    return problems


def _experiment_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / EXPERIMENT_FILE).is_file():
        return [path / EXPERIMENT_FILE]
    if not path.is_dir():
        raise CommandError(f"there is no {path}", hint="start an experiment with: rpac new <id>")
    return list(experiments.find(path).values())


def plan(
    target: str,
    overrides: Sequence[str] | Mapping[str, object] = (),
    *,
    repository: Path | str = ".",
    allow_dirty: bool = False,
) -> Plan:
    """
    What `reproduce` would do, without doing it.

    Args:
        target: `<experiment>`, or `<experiment>@<run>` for a past run.
        overrides: changes, `["nodes=4", "args.trees=300"]` or `{"nodes": 4, "args.trees": 300}`.
        repository: a folder in it.
        allow_dirty: accept uncommitted changes in the experiment's files.
    """
    workspace = Workspace.open(repository)
    return make_plan(workspace, target, _one_run(words_of(overrides)), allow_dirty=allow_dirty)


def _one_run(words: list[str]) -> list[str]:
    """
    Raises:
        CommandError: a list of values, which makes several runs.
    """
    if axes(words) is not None:
        raise CommandError(f"a list of values is a study: {' '.join(words)}", hint="rpac_ci.study")
    return [word.replace("\\,", ",") for word in words]


def words_of(overrides: Sequence[str] | Mapping[str, object]) -> list[str]:
    """Overrides as the words of a command; lists of values with commas."""
    if isinstance(overrides, Mapping):
        return [f"{key}={_word(value)}" for key, value in overrides.items()]
    return list(overrides)


def _word(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_word, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace(",", "\\,")


def reproduce(
    target: str,
    overrides: Sequence[str] | Mapping[str, object] = (),
    *,
    repository: Path | str = ".",
    allow_dirty: bool = False,
    commit: bool = True,
    notify: Notify | None = None,
    waits: Waits | None = None,
    via: str = "api",
) -> Conclusion:
    """
    Run an experiment or a past run, judge it, and add it to the log.

    Ctrl-C (KeyboardInterrupt) asks the nodes to stop; the run is then released and recorded as
    cancelled, and this function returns as usual. Only the fourth one leaves at once.

    Args:
        target: `<experiment>`, or `<experiment>@<run>` for a past run, exactly.
        overrides: changes on top, as for `plan`.
        repository: a folder in it.
        allow_dirty: accept uncommitted changes; the difference is kept with the run.
        commit: also commit the report to the current branch; the log always gets it.
        notify: called with `Progress` as the run goes on.
        waits: limits of the nodes' waits, mostly for tests.
        via: how it was asked for, for the record.

    Returns:
        The verdict, the record, and where the report is.

    Raises:
        RpacError: nothing was run, or the run could not be recorded; the message says which, and
            how to go on.
    """
    tell = notify or (lambda _: None)
    workspace, log = _started(
        target, overrides, repository=repository, allow_dirty=allow_dirty, commit=commit,
        tell=tell, waits=waits, via=via,
    )  # fmt: skip
    with _stays_open(log.run):
        driver = RunDriver(workspace, log.run, notify=_ahead(tell), log=log)
        drive_attached(driver)
        from rpac_ci.conclude import conclude

        return conclude(workspace, log.run, log=log)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A run that was left once its nodes were on their way."""

    run: str
    cloud: str
    conclusion: Conclusion | None = None  # of one that ended before


def submit(
    target: str,
    overrides: Sequence[str] | Mapping[str, object] = (),
    *,
    repository: Path | str = ".",
    allow_dirty: bool = False,
    commit: bool = True,
    notify: Notify | None = None,
    waits: Waits | None = None,
    via: str = "api",
) -> Submitted:
    """
    Start an experiment or a past run and leave; `advance` judges it and adds it to the log.

    The nodes need nobody who waits for them. Those of the local cloud live as long as this machine
    does; what comes after them is done by whoever advances the run. Ctrl-C asks the run to stop,
    and it stays open.

    Args:
        target: as for `reproduce`, and so are the others.
        overrides: changes on top.
        repository: a folder in it.
        allow_dirty: accept uncommitted changes; the difference is kept with the run.
        commit: also commit the report to the current branch, when it is there.
        notify: called with `Progress` as the run goes on.
        waits: limits of the nodes' waits, mostly for tests.
        via: how it was asked for, for the record.

    Returns:
        The run, and its conclusion where its nodes could not be started.

    Raises:
        RpacError: nothing was run, or the run could not be recorded; the message says which, and
            how to go on.
    """
    workspace, log = _started(
        target, overrides, repository=repository, allow_dirty=allow_dirty, commit=commit,
        tell=notify or (lambda _: None), waits=waits, via=via,
    )  # fmt: skip
    run = log.run
    with _stays_open(run):
        if open_runs.submit(workspace, run, notify, log=log):
            return Submitted(run=run, cloud=workspace.cloud)
        from rpac_ci.conclude import conclude

        there = conclude(workspace, run, log=log)
        return Submitted(run=run, cloud=workspace.cloud, conclusion=there)


def _started(
    target: str, overrides: Sequence[str] | Mapping[str, object], *, repository: Path | str,
    allow_dirty: bool, commit: bool, tell: Notify, waits: Waits | None, via: str,
) -> tuple[Workspace, EventLog]:  # fmt: skip
    """The workspace of a new run's cloud, and the run's events."""
    workspace = Workspace.open(repository)
    changes = _one_run(words_of(overrides))
    planned = make_plan(workspace, target, changes, allow_dirty=allow_dirty)
    for remark in planned.remarks:
        tell(Progress(run="", step="plan", status="note", detail=remark))
    words = " ".join(["reproduce", str(planned.target), *changes])
    request: dict[str, Json] = {"via": via, "actor": None, "words": words}
    log = open_runs.start(workspace, planned, request=request, commit=commit, waits=waits)
    return workspace.on(planned.pipeline.target.cloud), log


@contextlib.contextmanager
def _stays_open(run: str) -> Iterator[None]:
    """Whatever keeps a run from its end says how to go on with it."""
    try:
        yield
    except KeyboardInterrupt:
        raise CancelledError(
            "interrupted before the run was released and recorded",
            hint=f"it stays open; take it to its end with: rpac advance {run}",
        ) from None
    except (CloudError, HistoryError, StorageError) as exc:
        if f"rpac advance {run}" not in exc.hint:
            exc.hint = f"{exc.hint}; then rpac advance {run}".removeprefix("; ")
        raise


def _ahead(tell: Notify) -> Notify:
    """While the nodes start, import what is needed only when they are done."""

    def told(event: Progress) -> None:
        tell(event)
        if (event.step, event.status) == ("watch", "started"):
            threading.Thread(target=importlib.import_module, args=["rpac_ci.conclude"]).start()

    return told


def drive_attached(driver: RunDriver) -> None:
    """Drive from a terminal: an interrupt cancels the run, and the driver sees it released."""
    interrupts = 0
    while True:
        try:
            driver.drive()
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > PATIENT_INTERRUPTS:
                raise
            driver.cancel("interrupted (Ctrl-C)")
        else:
            return


def advance(
    run: str | None = None,
    *,
    repository: Path | str = ".",
    wait: bool = False,
    notify: Notify | None = None,
) -> list[Advanced]:
    """
    Go on with what another driver left.

    Args:
        run: one open run; every open run when None. Runs that a live driver holds are left to it.
        repository: a folder in it.
        wait: for live drivers, too, until they are done with what they are at.
        notify: called with `Progress` as the runs go on.

    Raises:
        RunNotFoundError: there is no such run.
    """
    workspace = Workspace.open(repository)
    if run is None:
        from rpac_ci import study_runs

        advanced = open_runs.advance_all(workspace, notify, wait=wait)
        for name in study_runs.finished(workspace):
            concluded = study_runs.conclude_study(workspace, name)
            advanced.append(Advanced(run=name, status=f"study: {concluded.record.outcome}"))
        return advanced
    if found := open_runs.locate(workspace, run):
        return [open_runs.advance(workspace, found, notify, wait=wait)]
    log = ReproductionLog(workspace.git)
    record = read_record(log, log.find(run))
    assert record.verdict is not None
    status, code = f"over already: {record.verdict.outcome}", record.verdict.exit_code
    return [Advanced(run=record.run, status=status, exit_code=code)]


def status(run: str | None = None, *, repository: Path | str = ".") -> list[OpenRun]:
    """
    Runs that are not over, oldest first, and how far they are.

    Args:
        run: only this one; a part of its id will do.
        repository: a folder in it.

    Raises:
        RunNotFoundError: there is no such open run.
    """
    workspace = Workspace.open(repository)
    if run is None:
        return [open_runs.look(workspace, name) for name in open_runs.names(workspace)]
    found = open_runs.locate(workspace, run)
    if found is None:
        raise RunNotFoundError(
            f"there is no open run {run!r}", hint="rpac history lists the others"
        )
    return [open_runs.look(workspace, found)]


def cancel(run: str, *, repository: Path | str = ".") -> str:
    """
    Ask an open run to stop; it is released and recorded by whoever drives it, or `advance`.

    Args:
        run: its id, or a part of it.
        repository: a folder in it.

    Returns:
        Its whole id.

    Raises:
        RunNotFoundError: there is no such open run.
    """
    return open_runs.cancel(Workspace.open(repository), run, "asked for by rpac cancel")


def sweep(*, repository: Path | str = ".", dry_run: bool = False) -> list[Swept]:
    """
    Find what runs left behind that are over, and remove it.

    Runs that are still open are named and left alone: `advance` takes them to their end.

    Args:
        repository: a folder in it.
        dry_run: only tell.
    """
    return open_runs.sweep(Workspace.open(repository), dry_run=dry_run)
