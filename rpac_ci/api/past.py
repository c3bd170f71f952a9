"""What has been run: list, show, compare, fetch, accept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rpac_ci import artifacts, comparison, output_comparisons, past_runs, study_runs
from rpac_ci.canonical import readable_json
from rpac_ci.comparison import RunComparison
from rpac_ci.driver import load_pipeline
from rpac_ci.errors import HistoryError
from rpac_ci.filters import parse_filters
from rpac_ci.git import Git
from rpac_ci.log_paths import REPORTS, RunPath
from rpac_ci.past_runs import PastRun
from rpac_ci.records import (
    ContentComparison,
    Reference,
    ReferenceKind,
    RunRecord,
    Status,
    as_reference,
    has_its_science,
)
from rpac_ci.references import read_record
from rpac_ci.reproduction_log import Entry, ReproductionLog
from rpac_ci.sources import ContentCache
from rpac_ci.studies import StudyRecord
from rpac_ci.workspace import Workspace


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


def compare(
    first: str, second: str, *, repository: Path | str = ".", unfair: bool = False
) -> RunComparison:
    """
    Put two runs side by side: what differs, what that could explain, their numbers and files.

    Outputs with other bytes are looked into when the store has both.

    Args:
        first: a run, which the other is measured by.
        second: another run.
        repository: a folder in it.
        unfair: also give ratios of times and costs that are not fair, with the reasons.
    """
    return compare_in(Workspace.open(repository), first, second, unfair=unfair)


def compare_in(
    workspace: Workspace, first: str, second: str, *, unfair: bool = False
) -> RunComparison:
    """`compare` in a workspace that is open already."""
    log = ReproductionLog(workspace.git)
    paths = _find_run(log, first), _find_run(log, second)
    records = read_record(log, paths[0]), read_record(log, paths[1])
    pipelines = [load_pipeline(log.read(path, "pipeline.yaml")) for path in paths]
    rules = pipelines[0].verify
    reference = Reference(kind=ReferenceKind.RUN, runs=[as_reference(records[0])])
    outputs = [output.to_json() for output in records[1].outcome.outputs]
    found = output_comparisons.compare(
        list(output_comparisons.pairs(rules, reference, outputs, {})),
        run=records[1].run, storage=workspace.storage, cache=ContentCache(workspace.cache),
        folder=workspace.scratch.parent / "compare",
    )  # fmt: skip
    contents = [ContentComparison.model_validate(item) for item in found]
    proved = (has_its_science(records[0], pipelines[0]), has_its_science(records[1], pipelines[1]))
    return comparison.compare(*records, contents, proved=proved, unfair=unfair)


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
    workspace = workspace.on(record.circumstances.cloud)
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
    workspace, name = artifacts.find_logged(workspace, run)
    return artifacts.follow_log(workspace, name, node, role, follow=follow, alive=alive)


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
    return accept_in_log(Workspace.open(repository), run, commit=commit)


def accept_in_log(workspace: Workspace, run: str, *, commit: bool = False) -> list[Acceptance]:
    """`accept` in a workspace that is open already, by default without the current branch."""
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
