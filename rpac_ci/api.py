"""
The Python API: what the command line does, as functions for programs and notebooks.

Every function finds the repository from `repository` (a folder in it), raises an `RpacError` with
advice when it cannot do what was asked, and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rpac_ci import artifacts, experiments, open_runs
from rpac_ci.canonical import Json, readable_json
from rpac_ci.conclude import Conclusion, conclude
from rpac_ci.driver import Notify, Progress, RunDriver
from rpac_ci.errors import (
    CancelledError,
    CommandError,
    ExperimentError,
    HistoryError,
    Problem,
    RpacError,
)
from rpac_ci.experiment_model import EXPERIMENT_FILE
from rpac_ci.jobs import Waits
from rpac_ci.open_runs import Advanced, Swept
from rpac_ci.planning import Plan, make_plan, parse_record, read_record
from rpac_ci.records import RunRecord, Status, Verdict
from rpac_ci.reproduction_log import REPORTS, Entry, ReproductionLog, RunPath
from rpac_ci.workspace import Workspace

PATIENT_INTERRUPTS = 3

__all__ = [
    "Acceptance",
    "Advanced",
    "Conclusion",
    "Plan",
    "Problem",
    "Progress",
    "RpacError",
    "RunRecord",
    "Swept",
    "Verdict",
    "accept",
    "advance",
    "fetch",
    "history",
    "logs",
    "plan",
    "reproduce",
    "show",
    "sweep",
    "validate",
]


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
    return make_plan(workspace, target, _words(overrides), allow_dirty=allow_dirty)


def _words(overrides: Sequence[str] | Mapping[str, object]) -> list[str]:
    if isinstance(overrides, Mapping):
        return [
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in overrides.items()
        ]
    return list(overrides)


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
    workspace = Workspace.open(repository)
    changes = _words(overrides)
    planned = make_plan(workspace, target, changes, allow_dirty=allow_dirty)
    words = " ".join(["reproduce", str(planned.target), *changes])
    request: dict[str, Json] = {"via": via, "actor": None, "words": words}
    run = open_runs.start(workspace, planned, request=request, commit=commit, waits=waits)
    try:
        _drive_attached(RunDriver(workspace, run, notify=notify))
        return conclude(workspace, run)
    except KeyboardInterrupt:
        raise CancelledError(
            "interrupted before the run was released and recorded",
            hint=f"it stays open; take it to its end with: rpac advance {run}",
        ) from None
    except HistoryError as exc:
        exc.hint = f"{exc.hint}; then rpac advance {run}".removeprefix("; ")
        raise


def _drive_attached(driver: RunDriver) -> None:
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
    run: str | None = None, *, repository: Path | str = ".", notify: Notify | None = None
) -> list[Advanced]:
    """
    Go on with what another driver left.

    Args:
        run: one open run; every open run when None. Runs that a live driver holds are left to it.
        repository: a folder in it.
        notify: called with `Progress` as the runs go on.

    Raises:
        RunNotFoundError: there is no such run.
    """
    workspace = Workspace.open(repository)
    if run is None:
        return open_runs.advance_all(workspace, notify)
    if found := open_runs.locate(workspace, run):
        return [open_runs.advance(workspace, found, notify)]
    log = ReproductionLog(workspace.git)
    record = read_record(log, log.find(run))
    assert record.verdict is not None
    status, code = f"over already: {record.verdict.outcome}", record.verdict.exit_code
    return [Advanced(run=record.run, status=status, exit_code=code)]


def sweep(*, repository: Path | str = ".", dry_run: bool = False) -> list[Swept]:
    """
    Find what runs left behind that are over, and remove it.

    Runs that are still open are named and left alone: `advance` takes them to their end.

    Args:
        repository: a folder in it.
        dry_run: only tell.
    """
    return open_runs.sweep(Workspace.open(repository), dry_run=dry_run)


def history(
    experiment: str | None = None, *, repository: Path | str = ".", last: int | None = None
) -> list[RunRecord]:
    """
    Records of past runs, newest first.

    Args:
        experiment: only of this one.
        repository: a folder in it.
        last: at most so many.
    """
    workspace = Workspace.open(repository)
    log = ReproductionLog(workspace.git)
    paths = log.runs(experiment)[::-1][:last]
    if experiment and not paths:
        experiments.locate(workspace.experiments, experiment)  # or say which names there are
    ordered = sorted(paths)  # git reads objects fastest in the order they were written
    records = [
        parse_record(raw, path.run) for path, raw in zip(ordered, log.records(ordered), strict=True)
    ]
    return records[::-1]


def show(run: str, *, repository: Path | str = ".") -> tuple[RunRecord, str]:
    """The record of a run and the Markdown of its report."""
    log = ReproductionLog(Workspace.open(repository).git)
    path = _find_run(log, run)
    return read_record(log, path), log.read(path, "report.md").decode()


def _find_run(log: ReproductionLog, run: str) -> RunPath:
    experiment, _, name = run.rpartition("@")
    return log.find(name, experiment or None)


def fetch(
    run: str, destination: Path | str | None = None, *, repository: Path | str = "."
) -> list[Path]:
    """
    Copy a run's outputs out of the store, every byte checked.

    Args:
        run: its id, or an unambiguous part of it.
        destination: folder to copy into; `<run>/` here when None.
        repository: a folder in it.

    Returns:
        The files written.

    Raises:
        SourceError: the store does not hold them (any more), or they are damaged.
    """
    workspace = Workspace.open(repository)
    log = ReproductionLog(workspace.git)
    where = _find_run(log, run)
    record = read_record(log, where)
    folder = Path(destination) if destination is not None else Path(where.run)
    return [
        artifacts.fetch_output(workspace, where, output, folder)
        for output in record.outcome.outputs
    ]


def logs(
    run: str,
    *,
    repository: Path | str = ".",
    node: int = 0,
    role: str = "command",
    follow: bool = False,
    alive: Callable[[], bool] | None = None,
) -> Iterator[str]:
    """
    The log of a run, piece by piece.

    Args:
        run: an open or past run of this repository's store.
        repository: a folder in it.
        node: index of the node.
        role: `command`, or a role of the engine such as `scheduler` or `worker`.
        follow: go on until the run is over.
        alive: says whether to go on following; by default while the run is open.
    """
    workspace = Workspace.open(repository)
    name = artifacts.find_logged(workspace, run)
    return artifacts.follow_log(workspace, name, node, role, follow=follow, alive=alive)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """An accepted run: the file that says so, and why the branch was left alone, if it was."""

    run: str
    path: str
    branch_commit: str | None
    remark: str


def accept(run: str, *, repository: Path | str = ".", commit: bool = True) -> Acceptance:
    """
    Accept a run as a reference for later ones.

    Args:
        run: its id, or an unambiguous part of it.
        repository: a folder in it.
        commit: also commit the acceptance to the current branch; the log always gets it.

    Raises:
        HistoryError: the run did not succeed, so there is nothing to accept.
    """
    workspace = Workspace.open(repository)
    log = ReproductionLog(workspace.git)
    path = _find_run(log, run)
    record = read_record(log, path)
    if record.outcome.status is not Status.SUCCEEDED:
        raise HistoryError(
            f"{path.run} ended as {record.outcome.status}: it cannot be a reference",
            hint="accept a run that succeeded",
        )
    content = readable_json(
        {
            "schema": "rpac/acceptance/1",
            "run": path.run,
            "experiment": record.experiment,
            "science": record.identity.science,
            "pipeline": record.identity.pipeline,
        }
    )
    entry = Entry(
        folder=f"{REPORTS}/{record.experiment}/accepted",
        files={f"{path.run}.json": content},
        subject=f"{record.experiment}: accept {path.run}",
        trailers=[("Rpac-Accepted", path.run), ("Rpac-Experiment", record.experiment)],
        source={},
    )
    log.add(entry)
    branch, remark = log.publish(entry) if commit else (None, "left alone as asked")
    file = f"{entry.folder}/{path.run}.json"
    return Acceptance(run=path.run, path=file, branch_commit=branch, remark=remark)
