"""
The Python API: what the command line does, as functions for programs and notebooks.

Every function finds the repository from `repository` (a folder in it), raises an `RpacError` with
advice when it cannot do what was asked, and prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rpac_ci import __version__, experiments
from rpac_ci.canonical import Json, readable_json
from rpac_ci.conclude import Conclusion, conclude
from rpac_ci.driver import Notify, RunDriver
from rpac_ci.errors import (
    CommandError,
    ExperimentError,
    HistoryError,
    Problem,
    RpacError,
    RunNotFoundError,
    SourceError,
)
from rpac_ci.events import EventLog, Kind, is_gone
from rpac_ci.history import REPORTS, Entry, History, RunPath
from rpac_ci.jobs import Keys, RunId, Waits, content_key
from rpac_ci.planning import Plan, make_plan, parse_record, read_record
from rpac_ci.records import RunRecord, Status, Verdict
from rpac_ci.run import Conclude, Over, Step, Take, Wait, fold, new_run_id
from rpac_ci.steps import archive_digest, read_log
from rpac_ci.workspace import Workspace

__all__ = [
    "Conclusion",
    "Plan",
    "RpacError",
    "RunRecord",
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
    if (path / experiments.EXPERIMENT_FILE).is_file():
        return [path / experiments.EXPERIMENT_FILE]
    if not path.is_dir():
        raise CommandError(f"there is no {path}", hint="start an experiment with: rpac new <id>")
    return list(experiments.find(path).values())


def plan(
    target: str,
    overrides: Sequence[str] = (),
    *,
    repository: Path | str = ".",
    allow_dirty: bool = False,
) -> Plan:
    """
    What `reproduce` would do, without doing it.

    Args:
        target: `<experiment>`, or `<experiment>@<run>` for a past run.
        overrides: `key=value` changes, for example `["nodes=4", "args.trees=300"]`.
        repository: a folder in it.
        allow_dirty: accept uncommitted changes in the experiment's files.
    """
    return make_plan(Workspace.open(repository), target, overrides, allow_dirty=allow_dirty)


def reproduce(
    target: str,
    overrides: Sequence[str] = (),
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
    cancelled, and this function returns as usual.

    Args:
        target: `<experiment>`, or `<experiment>@<run>` for a past run, exactly.
        overrides: `key=value` changes on top.
        repository: a folder in it.
        allow_dirty: accept uncommitted changes; the difference is kept with the run.
        commit: also commit the report to the current branch; the log always gets it.
        notify: called with `Progress` as the run goes on.
        waits: limits of the nodes' waits, mostly for tests.
        via: how it was asked for, for the record.

    Returns:
        The verdict, the record, and where the report is.
    """
    workspace = Workspace.open(repository)
    planned = make_plan(workspace, target, overrides, allow_dirty=allow_dirty)
    words = " ".join(["reproduce", str(planned.target), *overrides])
    request: dict[str, Json] = {"via": via, "actor": None, "words": words}
    run = start(workspace, planned, request=request, commit=commit, waits=waits)
    driver = RunDriver(workspace, run, notify=notify)
    _drive_attached(driver)
    return conclude(workspace, run)


def start(
    workspace: Workspace,
    planned: Plan,
    *,
    request: dict[str, Json],
    commit: bool = True,
    waits: Waits | None = None,
) -> RunId:
    """Make a run of a plan: from here on any driver can take it to its end."""
    storage, run = workspace.storage, new_run_id()
    keys, archive = Keys(run), planned.source.archive()
    storage.put(keys.open, b"")  # first, so that whatever happens next is found
    storage.put(content_key(archive_digest(archive)), archive)
    storage.put(keys.pipeline, planned.pipeline.to_bytes())
    if planned.source.diff is not None:
        storage.put(keys.diff, planned.source.diff)
    created: dict[str, Json] = {
        "pipeline": planned.pipeline.digest,
        "source_archive": archive_digest(archive),
        "folder": planned.folder,
        "requested": request,
        "rpac": __version__,
        "reference": planned.reference.to_json(),
        "commit": commit,
    }
    if waits:
        created["waits"] = {name: getattr(waits, name) for name in Waits.__dataclass_fields__}
    EventLog(storage, run).append(Kind.CREATED, created, after=0)
    return run


def _drive_attached(driver: RunDriver) -> None:
    """Drive from a terminal: an interrupt cancels the run, and the driver sees it released."""
    interrupts = 0
    while True:
        try:
            driver.drive()
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 3:
                raise
            driver.cancel("interrupted (Ctrl-C)")
        else:
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """What became of one open run."""

    run: str
    status: str
    conclusion: Conclusion | None = None


def advance(
    run: str | None = None, *, repository: Path | str = ".", notify: Notify | None = None
) -> list[Advanced]:
    """
    Go on with what another driver left.

    Args:
        run: one open run; every open run when None. Runs that a live driver holds are left to it.
        repository: a folder in it.
        notify: called with `Progress` as the runs go on.
    """
    workspace = Workspace.open(repository)
    if run is None:
        return [_advance_one(workspace, name, notify) for name in open_runs(workspace)]
    known = open_runs(workspace)
    found = [name for name in known if name == run or name.startswith(run) or name.endswith(run)]
    if len(found) == 1:
        return [_advance_one(workspace, found[0], notify)]
    if found:
        raise RunNotFoundError(f"{run!r} means several open runs", hint=", ".join(found))
    log = History(workspace.git)
    record = read_record(log, log.find(run))
    outcome = record.verdict.outcome if record.verdict else record.outcome.status
    return [Advanced(run=record.run, status=f"over already: {outcome}")]


def open_runs(workspace: Workspace) -> list[str]:
    """Runs that are not committed yet, oldest first."""
    return list(workspace.storage.names("open/"))


def _advance_one(workspace: Workspace, run: str, notify: Notify | None) -> Advanced:
    if not EventLog(workspace.storage, run).read():
        _forget(workspace, run)
        return Advanced(run=run, status="never started, forgotten")
    driver = RunDriver(workspace, run, notify=notify)
    while True:
        match driver.advance():
            case Wait(step):
                return Advanced(run=run, status=f"another driver is at {step}")
            case Conclude() | Over():
                conclusion = conclude(workspace, run)
                status = conclusion.verdict.outcome
                return Advanced(run=run, status=status, conclusion=conclusion)
            case Take(Step.WATCH):
                time.sleep(0.2)
            case Take():
                pass


def _forget(workspace: Workspace, run: str) -> None:
    """A run whose driver died before its first event: nothing was done yet."""
    storage, keys = workspace.storage, Keys(run)
    storage.delete(*(entry.key for entry in storage.list(keys.control)), keys.open)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """Something a run had left, and what was done about it."""

    run: str
    what: str
    action: str


def sweep(*, repository: Path | str = ".", dry_run: bool = False) -> list[Swept]:
    """
    Find what runs left behind that are over, and remove it.

    Runs that are still open are named and left alone: `advance` takes them to their end.

    Args:
        repository: a folder in it.
        dry_run: only tell.
    """
    from rpac_ci import clouds

    workspace = Workspace.open(repository)
    cloud = clouds.load("local", workspace)
    still_open = set(open_runs(workspace))
    swept = []
    for left in cloud.leftovers():
        if left.run in still_open:
            action = f"kept: the run is open, rpac advance {left.run} ends it"
        else:
            action = "found" if dry_run else "removed"
            if not dry_run:
                cloud.discard(left)
        swept.append(Swept(run=left.run, what=f"{left.kind} {left.name}", action=action))
    for run in sorted(still_open):
        if not any(item.run == run for item in swept):
            state = _liveness(workspace, run)
            swept.append(Swept(run=run, what=f"open run, {state}", action=f"rpac advance {run}"))
    return swept


def _liveness(workspace: Workspace, run: str) -> str:
    state = fold(EventLog(workspace.storage, run).read())
    if state.claim and not is_gone(state.claim.body["driver"]):
        return "its driver may be at work"
    return "no driver is at it"


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
    log = History(Workspace.open(repository).git)
    paths = log.runs(experiment)[::-1][:last]
    ordered = sorted(paths)  # git reads objects fastest in the order they were written
    records = [
        parse_record(raw, path.run) for path, raw in zip(ordered, log.records(ordered), strict=True)
    ]
    return records[::-1]


def show(run: str, *, repository: Path | str = ".") -> tuple[RunRecord, str]:
    """The record of a run and the Markdown of its report."""
    log = History(Workspace.open(repository).git)
    path = _find_run(log, run)
    return read_record(log, path), log.read(path, "report.md").decode()


def _find_run(log: History, run: str) -> RunPath:
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
    import hashlib

    workspace = Workspace.open(repository)
    log = History(workspace.git)
    record = read_record(log, _find_run(log, run))
    folder = Path(destination) if destination is not None else Path(record.run)
    keys, written = Keys(record.run), []
    for output in record.outcome.outputs:
        path = folder / output.path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise SourceError(f"the output {output.path} would leave {folder}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not workspace.storage.get_file(f"{keys.outputs}{output.sha256}", path):
            raise SourceError(
                f"{output.path} of {record.run} is not in this repository's store",
                hint="fetch it where the run was made, or make it again: "
                f"rpac reproduce {record.experiment}@{record.run}",
            )
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != output.sha256:
            path.unlink()
            raise SourceError(f"{output.path} in the store has sha256 {found}, not {output.sha256}")
        written.append(path)
    return written


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
    name = _find_logged(workspace, run)
    prefix = Keys(name).log(node, role)
    is_alive = alive or (lambda: workspace.storage.head(Keys(name).open) is not None)
    seen = 0
    while True:
        goes_on = follow and is_alive()
        parts = len(workspace.storage.list(prefix))
        if parts > seen:
            yield read_log(workspace, name, node, role, start=seen)
            seen = parts
        if not goes_on:
            return
        time.sleep(0.5)


def _find_logged(workspace: Workspace, run: str) -> str:
    name = run.rpartition("@")[2]
    stored = {key.split("/")[0] for key in workspace.storage.names("runs/")}
    found = sorted(n for n in stored if n == name or n.startswith(name) or n.endswith(name))
    if len(found) != 1:
        what = "means several runs" if found else "has no logs in this repository's store"
        raise RunNotFoundError(f"{run!r} {what}", hint="rpac history lists the runs")
    return found[0]


def accept(run: str, *, repository: Path | str = ".") -> Entry:
    """
    Accept a run as a reference for later ones.

    Raises:
        HistoryError: the run did not succeed, so there is nothing to accept.
    """
    workspace = Workspace.open(repository)
    log = History(workspace.git)
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
    log.publish(entry)
    return entry
