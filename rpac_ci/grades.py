"""
Grades: how firmly code, data, software and machines of a run are known. Pure.

    A  fixed beforehand, down to the byte
    B  fixed by content, with something left open that is named
    C  only seen by the run, not fixed by anybody
    D  not known

A verdict claims no more than its inputs allow: data that nobody fixed cannot show that a declared
value is reproduced (`weak_inputs`). The other grades are told beside the verdict.
"""

from __future__ import annotations

from rpac_ci.pipeline import EnvironmentKind, Level, Pipeline
from rpac_ci.records import ReferenceKind, RunRecord


def grade(pipeline: Pipeline, record: RunRecord) -> dict[str, str]:
    """What is graded -> grade and reason, `B: …`."""
    return {
        "code": _code(record),
        "data": min_grade([_data(pipeline, record, name) for name in pipeline.data]),
        "environment": _environment(pipeline, record),
        "hardware": _hardware(record),
    }


def min_grade(grades: list[str]) -> str:
    """The weakest of several; A when there are none."""
    return max(grades, default="A: no inputs")


def weak_inputs(pipeline: Pipeline, record: RunRecord) -> str:
    """Why the data are known too weakly to judge by; empty when they are not."""
    unseen = [name for name, data in record.identity.data.items() if data.sha256 is None]
    if unseen:
        return f"the bytes of {', '.join(unseen)} are not known"
    open_ = [name for name, ref in pipeline.data.items() if ref.level is Level.LOCATOR]
    if open_ and record.reference.kind is ReferenceKind.EXPECT:
        seen = record.identity.data[open_[0]].sha256
        return f"the bytes of {', '.join(open_)} are not pinned (seen: sha256 {seen})"
    return ""


def _code(record: RunRecord) -> str:
    source = record.identity.source
    if source.dirty:
        return "B: with changes that were not committed, kept as dirty.diff"
    return "A: by content" if source.commit is None else "A: by commit and content"


def _data(pipeline: Pipeline, record: RunRecord, name: str) -> str:
    ref, seen = pipeline.data[name], record.identity.data[name]
    if seen.sha256 is None:
        return f"D: {name} by name only"
    if ref.level is Level.LOCATOR:
        return f"C: {name} was hashed by this run, nobody had fixed it"
    if ref.level is Level.PUBLISHER:
        return f"B: {name} by its publisher's checksum"
    if ref.pinned_by == "run":
        return f"B: {name} by SHA-256, as an earlier run saw it"
    return "A: by SHA-256"


def _environment(pipeline: Pipeline, record: RunRecord) -> str:
    wanted = pipeline.environment
    contained = bool(record.circumstances.images)
    if wanted.kind is EnvironmentKind.IMAGE:
        return "A: an image by digest"
    if wanted.kind is EnvironmentKind.HOST:
        if contained:
            return "C: none declared, what the engine's image held"
        return "D: none declared, whatever the machine had"
    if not record.circumstances.packages:
        return "C: a lock; what was installed is not recorded"
    if not record.circumstances.hashed_lock:
        return f"C: a lock without hashes; system libraries are the {_owner(contained)}"
    return f"B: a lock with hashes; system libraries are the {_owner(contained)}"


def _owner(contained: bool) -> str:
    return "image's, of which the id is kept" if contained else "machine's"


def _hardware(record: RunRecord) -> str:
    around = record.circumstances
    if not around.nodes:
        return "D: no node has said what it is"
    if around.oversubscribed:
        return "D: more processors were asked for than there are; timings say nothing"
    return "B: as the nodes saw it; the machine may have had other work"
