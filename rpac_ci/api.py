"""
The Python API: what the command line does, as functions for programs and notebooks.

Every function finds the repository from `repository` (a folder in it), raises an `RpacError` with
advice when it cannot do what was asked, and prints nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rpac_ci import (
    artifacts,
    collector,
    comparison,
    experiments,
    garbage,
    inbox,
    open_runs,
    output_comparisons,
    past_runs,
    study_runs,
)
from rpac_ci.canonical import Json, readable_json
from rpac_ci.collector import Collected
from rpac_ci.comparison import RunComparison
from rpac_ci.conclude import Conclusion, conclude
from rpac_ci.driver import Notify, Progress, RunDriver, load_pipeline
from rpac_ci.errors import (
    CancelledError,
    CommandError,
    ExperimentError,
    HistoryError,
    Problem,
    RpacError,
    StorageError,
)
from rpac_ci.experiment_model import EXPERIMENT_FILE
from rpac_ci.filters import parse_filters
from rpac_ci.garbage import Garbage, Kept
from rpac_ci.git import Git
from rpac_ci.inbox import Pushed
from rpac_ci.jobs import Waits
from rpac_ci.log_check import Checked
from rpac_ci.log_check import fsck as check_log
from rpac_ci.open_runs import Advanced, Swept
from rpac_ci.past_runs import PastRun
from rpac_ci.planning import Plan, make_plan, read_record
from rpac_ci.records import (
    ContentComparison,
    Reference,
    ReferenceKind,
    RunRecord,
    Status,
    Verdict,
    as_reference,
)
from rpac_ci.reproduction_log import REPORTS, Entry, ReproductionLog, RunPath
from rpac_ci.sources import ContentCache
from rpac_ci.studies import StudyRecord, axes
from rpac_ci.study_runs import StudyConclusion, StudyPlan
from rpac_ci.workspace import Workspace

PATIENT_INTERRUPTS = 3

__all__ = [
    "Acceptance",
    "Advanced",
    "Checked",
    "Collected",
    "Conclusion",
    "Garbage",
    "Kept",
    "PastRun",
    "Plan",
    "Problem",
    "Progress",
    "Pushed",
    "RpacError",
    "RunComparison",
    "RunRecord",
    "StudyConclusion",
    "StudyPlan",
    "StudyRecord",
    "Swept",
    "Verdict",
    "accept",
    "advance",
    "collect",
    "compare",
    "fetch",
    "fsck",
    "gc",
    "history",
    "logs",
    "plan",
    "plan_study",
    "push",
    "reproduce",
    "show",
    "study",
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
    return make_plan(workspace, target, _one_run(_words(overrides)), allow_dirty=allow_dirty)


def _one_run(words: list[str]) -> list[str]:
    """
    Raises:
        CommandError: a list of values, which makes several runs.
    """
    if axes(words) is not None:
        raise CommandError(f"a list of values is a study: {' '.join(words)}", hint="rpac_ci.study")
    return [word.replace("\\,", ",") for word in words]


def _words(overrides: Sequence[str] | Mapping[str, object]) -> list[str]:
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
    workspace = Workspace.open(repository)
    changes = _one_run(_words(overrides))
    planned = make_plan(workspace, target, changes, allow_dirty=allow_dirty)
    tell = notify or (lambda _: None)
    for remark in planned.remarks:
        tell(Progress(run="", step="plan", status="note", detail=remark))
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


def plan_study(
    target: str,
    overrides: Sequence[str] | Mapping[str, object],
    *,
    repository: Path | str = ".",
    allow_dirty: bool = False,
) -> StudyPlan | None:
    """
    What `study` would do; None when no override holds a list, so that it is one run.

    Args:
        target: `<experiment>`, or `<experiment>@<run>` for a past run.
        overrides: as for `plan`, with lists: `["nodes=1,2", "args.trees=50,150", "repeat=3"]` or
            `{"nodes": [1, 2], "repeat": 3}`.
        repository: a folder in it.
        allow_dirty: accept uncommitted changes in the experiment's files.
    """
    words = _words(overrides)
    found = axes(words)
    if found is None:
        return None
    workspace = Workspace.open(repository)
    return study_runs.plan(workspace, target, words, found, allow_dirty=allow_dirty)


def study(
    planned: StudyPlan,
    *,
    repository: Path | str = ".",
    commit: bool = True,
    notify: Notify | None = None,
    via: str = "api",
) -> StudyConclusion:
    """
    Run a study: all its runs, side by side as far as there is room, and a page over them.

    Runs that fail do not hold up the others. Ctrl-C cancels what is not over, and the page is
    written all the same.

    Args:
        planned: from `plan_study`.
        repository: a folder in it.
        commit: also commit reports and page to the current branch; the log always gets them.
        notify: called with `Progress` as the runs go on.
        via: how it was asked for, for the records.

    Raises:
        RpacError: some runs could not be recorded and stay open; the message says how to go on.
    """
    workspace = Workspace.open(repository)
    target = planned.members[0][0].target
    words = " ".join(["reproduce", str(target), *planned.words])
    request: dict[str, Json] = {"via": via, "actor": None, "words": words}
    tell = notify or (lambda _: None)
    for remark in planned.remarks:
        tell(Progress(run="", step="plan", status="note", detail=remark))
    name = study_runs.start(workspace, planned, request=request, commit=commit)
    with contextlib.suppress(KeyboardInterrupt):
        study_runs.drive(workspace, name, tell)
    if name not in study_runs.finished(workspace):
        raise StorageError(
            f"some runs of the study {name} are still open", hint="go on with: rpac advance --all"
        )
    return study_runs.conclude_study(workspace, name)


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
        advanced = open_runs.advance_all(workspace, notify)
        for name in study_runs.finished(workspace):
            concluded = study_runs.conclude_study(workspace, name)
            advanced.append(Advanced(run=name, status=f"study: {concluded.record.outcome}"))
        return advanced
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
    experiment: str | None = None,
    filters: Sequence[str] = (),
    *,
    repository: Path | str = ".",
    last: int | None = None,
    refs: Sequence[str] = (),
) -> list[PastRun]:
    """
    Past runs, newest first.

    Args:
        experiment: only of this one.
        filters: conditions that all must hold, `["cloud=aws", "metric.accuracy>0.9", "since=7d"]`.
        repository: a folder in it.
        last: at most so many.
        refs: only in these branches, such as `origin/rpac/log`; in every log when empty.

    Returns:
        A row for each, also for those whose record this version cannot read in full: `problem`
        says why. `show` has the whole record.

    Raises:
        CommandError: a filter, the experiment or a branch is not understood.
    """
    conditions = parse_filters(filters, datetime.now(UTC))
    git = Git.discover(Path(repository))
    return past_runs.find(git, experiment, conditions, last=last, refs=refs)


def show(run: str, *, repository: Path | str = ".") -> tuple[RunRecord | StudyRecord, str]:
    """The record of a run, or of a study, and the Markdown of its report."""
    git = Workspace.open(repository).git
    log = ReproductionLog(git)
    if study := study_runs.find(git, run):
        return study_runs.read(git, study)
    path = _find_run(log, run)
    return read_record(log, path), log.read(path, "report.md").decode()


def _find_run(log: ReproductionLog, run: str) -> RunPath:
    experiment, _, name = run.rpartition("@")
    return log.find(name, experiment or None)


def compare(first: str, second: str, *, repository: Path | str = ".") -> RunComparison:
    """
    Put two runs side by side: what differs, what that could explain, their numbers and files.

    Outputs with other bytes are looked into when the store has both.

    Args:
        first: a run, which the other is measured by.
        second: another run.
        repository: a folder in it.
    """
    workspace = Workspace.open(repository)
    log = ReproductionLog(workspace.git)
    paths = _find_run(log, first), _find_run(log, second)
    records = read_record(log, paths[0]), read_record(log, paths[1])
    rules = load_pipeline(log.read(paths[0], "pipeline.yaml")).verify
    reference = Reference(kind=ReferenceKind.RUN, runs=[as_reference(records[0])])
    outputs = [output.to_json() for output in records[1].outcome.outputs]
    found = output_comparisons.compare(
        list(output_comparisons.pairs(rules, reference, outputs, {})),
        run=records[1].run, storage=workspace.storage, cache=ContentCache(workspace.cache),
        folder=workspace.scratch.parent / "compare",
    )  # fmt: skip
    contents = [ContentComparison.model_validate(item) for item in found]
    return comparison.compare(*records, contents)


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


def push(
    remote: str = "origin", *, repository: Path | str = ".", notify: Notify | None = None
) -> Pushed:
    """
    Send what only the local log has to the inbox of a remote, where a collector takes it.

    Args:
        remote: name of the remote.
        repository: a folder in it.
        notify: called with `Progress`.
    """
    git = Workspace.open(repository).git
    return inbox.push(git, remote, notify=_teller("push", notify))


def collect(
    remote: str = "origin", *, repository: Path | str = ".", notify: Notify | None = None
) -> Collected:
    """
    Take everything from the inbox of a remote into its log; any number of collectors may do so.

    Args:
        remote: name of the remote.
        repository: a folder in it.
        notify: called with `Progress`.
    """
    git = Workspace.open(repository).git
    return collector.collect(git, remote, notify=_teller("collect", notify))


def _teller(step: str, notify: Notify | None) -> Callable[[str], None]:
    def tell(text: str) -> None:
        if notify:
            notify(Progress(run="", step=step, status="moving", detail=text))

    return tell


def fsck(
    *, repository: Path | str = ".", outputs: bool = False, notify: Notify | None = None
) -> Checked:
    """
    Check the log: each run's files, digests, code and verdict, and that nothing was ever changed.

    Args:
        repository: a folder in it.
        outputs: also look for the runs' outputs in the store.
        notify: called with `Progress`.
    """
    workspace = Workspace.open(repository)
    storage = workspace.storage if outputs else None
    return check_log(workspace.git, storage=storage, notify=_teller("fsck", notify))


def gc(*, repository: Path | str = ".", dry_run: bool = False) -> tuple[list[Garbage], list[Kept]]:
    """
    Remove from the store what no record, no open run and no study needs.

    Outputs and logs of recorded runs stay, and so do runs that neither the log nor a driver knows.

    Args:
        repository: a folder in it.
        dry_run: only tell.

    Returns:
        What was, or would be, removed, and the runs that are kept although nothing names them.
    """
    workspace = Workspace.open(repository)
    found, kept = garbage.find(workspace)
    if not dry_run:
        garbage.remove(workspace, found)
    return found, kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """An accepted run: the file that says so, and why the branch was left alone, if it was."""

    run: str
    path: str
    branch_commit: str | None
    remark: str


def accept(run: str, *, repository: Path | str = ".", commit: bool = True) -> list[Acceptance]:
    """
    Accept a run, or every run of a study that succeeded, as a reference for later ones.

    Args:
        run: id of a run or a study, or an unambiguous part of it.
        repository: a folder in it.
        commit: also commit the acceptance to the current branch; the log always gets it.

    Raises:
        HistoryError: the run did not succeed, so there is nothing to accept.
    """
    workspace = Workspace.open(repository)
    log = ReproductionLog(workspace.git)
    if where := study_runs.find(workspace.git, run):
        study, _ = study_runs.read(workspace.git, where)
        good = [m.run for m in study.members if m.status == Status.SUCCEEDED]
        paths = [log.find(name, study.experiment) for name in good]
    else:
        paths = [_find_run(log, run)]
    if not paths:
        raise HistoryError(f"no run of the study {run} succeeded", hint="accept a run that did")
    return [_accept(log, path, commit=commit) for path in paths]


def _accept(log: ReproductionLog, path: RunPath, *, commit: bool) -> Acceptance:
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
