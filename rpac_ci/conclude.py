"""
The end of a run: events -> record -> verdict -> report -> git. Needs a checkout, so no function in
a cloud does it. Safe to repeat and to do twice at once: everything but git is pure, and git's log
takes a run only once.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from rpac_ci.driver import read_pipeline
from rpac_ci.events import Event, EventLog, Kind
from rpac_ci.formats.markdown import TIMELINE, report
from rpac_ci.formats.timeline import timeline
from rpac_ci.formats.training import CURVES, training_curves
from rpac_ci.git_writing import GitWriter
from rpac_ci.jobs import Keys, content_key
from rpac_ci.log_paths import run_folder
from rpac_ci.pipeline import Pipeline
from rpac_ci.quantities import count
from rpac_ci.recording import build
from rpac_ci.records import OutputFile, RunRecord, Verdict
from rpac_ci.reproduction_log import Entry
from rpac_ci.run import fold
from rpac_ci.verdict import judge
from rpac_ci.workspace import LOCAL, Place, Workspace

ROOM_BYTES = 128 * 1024  # of a run in git; figures get what the documents leave of it
MAX_FOREIGN_SOURCE = 2**20
_FIGURES = (".png", ".svg", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What became of a run, and where it can be read."""

    run: str
    record: RunRecord
    verdict: Verdict
    folder: str  # in git, from the top of the repository
    log_commit: str
    branch_commit: str | None
    remark: str = ""  # why the branch was left alone


def conclude(
    workspace: Workspace,
    run: str,
    *,
    writer: GitWriter | None = None,
    log: EventLog | None = None,
) -> Conclusion:
    """
    Judge a run that is released, and add it to the log and the current branch.

    Args:
        workspace: whose store holds the run.
        run: its id.
        writer: of those that several runs share.
        log: of the driver that has released it, which knows the events.

    Raises:
        HistoryError: git does not take it; the run stays open, and `rpac advance` tries again.
    """
    storage, keys = workspace.storage, Keys(run)
    log = log or EventLog(storage, run)
    events = log.known or log.read()
    state = fold(events)
    pipeline = read_pipeline(workspace, run)
    record = judged(run, pipeline, events)
    entry = entry_of(
        record,
        pipeline,
        storage.get_fixed(keys.pipeline) or pipeline.to_bytes(),
        diff=storage.get(keys.diff) if pipeline.source.dirty else None,
        read=lambda output: storage.get(f"{keys.outputs}{output.sha256}"),
        source=_source(workspace, pipeline, state.created["source_archive"]),
    )
    assert record.verdict is not None
    writer = writer or GitWriter(workspace.git)
    written = writer.write(entry, publish=state.created.get("commit", True))
    close(workspace, run, written.log_commit, written.branch_commit, log=log)
    return Conclusion(
        run=run, record=record, verdict=record.verdict, folder=entry.folder,
        log_commit=written.log_commit, branch_commit=written.branch_commit, remark=written.remark,
    )  # fmt: skip


def close(
    place: Place,
    run: str,
    log_commit: str,
    branch_commit: str | None,
    *,
    log: EventLog | None = None,
) -> None:
    """Note in the store that a run is in the log: it is no longer open."""
    events, keys = log or EventLog(place.storage, run), Keys(run)
    state = fold(events.follow())
    if state.created and state.committed is None:
        body = {"log": log_commit, "branch": branch_commit}
        events.append(Kind.COMMITTED, body, after=state.number)
    # functions leave no notice here
    notice = [keys.notice] if place.cloud != LOCAL else []
    place.storage.delete(*notice, keys.open)


def judged(run: str, pipeline: Pipeline, events: Sequence[Event]) -> RunRecord:
    """The record of a run that is released, with its verdict."""
    record = build(run, pipeline, [event for event in events if event.kind is not Kind.COMMITTED])
    return record.model_copy(update={"verdict": judge(pipeline, record)})


def entry_of(
    record: RunRecord,
    pipeline: Pipeline,
    pipeline_bytes: bytes,
    *,
    diff: bytes | None = None,
    read: Callable[[OutputFile], bytes | None],
    source: Mapping[str, tuple[str, bytes]],
) -> Entry:
    """
    What goes to the log.

    Args:
        record: with its verdict.
        pipeline: of the run.
        pipeline_bytes: as they were stored.
        diff: what was not committed when it was made.
        read: gives an output's content, or None where it is not kept.
        source: the code, path -> mode and content.
    """
    files = {
        "pipeline.yaml": pipeline_bytes,
        "record.json": record.to_bytes(),
        TIMELINE: timeline(record.circumstances.phases, title=f"phases of {record.run}").encode(),
    }
    training = record.outcome.training
    if training is not None and training.curves:
        files[CURVES] = training_curves(training).encode()
    if diff is not None and len(diff) <= ROOM_BYTES // 2:
        files["dirty.diff"] = diff
    candidates = _figure_names(record)
    longest = len(report(record, pipeline, figures=sorted(candidates)).encode())
    room = ROOM_BYTES - longest - sum(map(len, files.values()))
    figures = _figures(candidates, read, room=room)
    files |= figures
    files["report.md"] = report(record, pipeline, figures=sorted(figures)).encode()
    return Entry(
        folder=run_folder(record.experiment, record.run),
        files=files,
        subject=_subject(record),
        trailers=_trailers(record),
        source=source,
    )


def _figure_names(record: RunRecord) -> dict[str, OutputFile]:
    """Where a figure would stand beside the report -> the output it is."""
    return {
        f"figures/{output.path.removeprefix('figures/')}": output
        for output in record.outcome.outputs
        if PurePosixPath(output.path).suffix.lower() in _FIGURES
    }


def _figures(
    candidates: dict[str, OutputFile], read: Callable[[OutputFile], bytes | None], *, room: int
) -> dict[str, bytes]:
    """Figures small enough for git; the others are in the store, by hash."""
    figures: dict[str, bytes] = {}
    for name, output in candidates.items():
        if output.size > room or name in (TIMELINE, CURVES):
            continue
        data = read(output)
        if data is not None:
            figures[name] = data
            room -= len(data)
    return figures


def _source(workspace: Workspace, pipeline: Pipeline, archive: str) -> dict[str, tuple[str, bytes]]:
    """The code itself, so that the log alone is enough to run it again."""
    data = workspace.storage.get_fixed(content_key(archive)) or b""
    if not data or (pipeline.source.git and len(data) > MAX_FOREIGN_SOURCE):
        return {}  # a pinned commit of another repository can be fetched again
    files = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            files[member.name] = ("100755" if member.mode & 0o100 else "100644", content.read())
    return files


def message(record: RunRecord) -> str:
    """What a commit of a run's report says."""
    trailers = "\n".join(f"{key}: {value}" for key, value in _trailers(record))
    return f"{_subject(record)}\n\n{trailers}\n"


def _subject(record: RunRecord) -> str:
    assert record.verdict is not None
    around = record.circumstances
    where = f"{around.cloud}, {count(len(around.nodes), 'node')}"
    return f"{record.experiment}: {record.verdict.outcome} ({where})"


def _trailers(record: RunRecord) -> list[tuple[str, str]]:
    assert record.verdict is not None
    asked = record.circumstances.requested
    trailers = [
        ("Rpac-Run", record.run),
        ("Rpac-Experiment", record.experiment),
        ("Rpac-Pipeline", record.identity.pipeline),
        ("Rpac-Cloud", record.circumstances.cloud),
        ("Rpac-Verdict", record.verdict.outcome),
        ("Rpac-Requested-By", asked.via if asked.actor is None else str(asked.actor)),
    ]
    if record.identity.reproduces:
        trailers.insert(2, ("Rpac-Reproduces", record.identity.reproduces))
    return trailers
