"""
Is the log what it says it is? Every run is checked against itself: its files, its digests, its
code, its verdict; then what runs say of each other, and that nothing was ever changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from pydantic import ValidationError

from rpac_ci import log_entries, source_trees
from rpac_ci.driver import load_pipeline
from rpac_ci.errors import RpacError
from rpac_ci.git import Git, TreeEntry
from rpac_ci.jobs import Keys
from rpac_ci.log_entries import EntryName
from rpac_ci.log_paths import LOG_REF, REPORTS
from rpac_ci.pipeline import Pipeline, science
from rpac_ci.records import RunRecord
from rpac_ci.reproduction_log import ReproductionLog
from rpac_ci.storage import Storage
from rpac_ci.verdict import judge

RECORD_SCHEMA = "rpac/record/1"
_Sources: TypeAlias = "dict[frozenset[tuple[str, str, str]], str]"


class Severity(StrEnum):
    """What a finding means."""

    ERROR = "error"  # the log does not say what happened
    WARNING = "warning"  # it may be right, and cannot be checked or found by this version


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Finding:
    """Something in the log that is not as it should be."""

    where: str  # path in the log
    what: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was looked at, and what was found."""

    runs: int
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    folder: str
    files: Mapping[str, TreeEntry]  # path below the folder
    record: RunRecord
    pipeline: Pipeline


def fsck(
    git: Git, *, storage: Storage | None = None, notify: Callable[[str], None] = lambda _: None
) -> Checked:
    """
    Check every log of a repository.

    Args:
        git: the repository.
        storage: look there for the outputs of runs, too.
        notify: told what is being checked.
    """
    runs: dict[str, _Run] = {}
    sources: _Sources = {}  # files -> digest: most are alike
    documents: dict[str, tuple[str, str]] = {}  # run -> object of its record, ref
    findings: list[Finding] = []
    for ref, tip in ReproductionLog(git).tips().items():
        notify(f"{ref}: reading")
        entries, files = _entries(git, tip, findings)
        notify(f"{ref}: {len(entries)} entries")
        for name, found in _read_runs(git, entries, files, findings):
            findings += _check_run(git, found, sources)
            findings += _same_everywhere(name.run, found, ref, documents)
            runs.setdefault(name.run, found)
        findings += _never_changed(git, ref, tip)
        findings += _accepted(entries, runs)
    findings += _links(runs)
    findings += _on_the_branch(git, runs)
    if storage:
        notify("outputs in the store")
        findings += _outputs(storage, runs)
    return Checked(runs=len(runs), findings=sorted(set(findings)))


def _entries(
    git: Git, tip: str, findings: list[Finding]
) -> tuple[dict[EntryName, list[str]], dict[str, TreeEntry]]:
    """The entries of a log that are fit to be there; the others become findings."""
    files = {file.path: file for file in git.ls_tree(tip)}
    entries, others = log_entries.of_paths(files)
    findings += [Finding(where=path, what="does not belong to the log") for path in others]
    named = {str(name): [files[path] for path in paths] for name, paths in entries.items()}
    for name, problems in log_entries.check_entries(git, named).items():
        findings += [Finding(where=name, what=problem) for problem in problems]
    return entries, files


def _read_runs(
    git: Git,
    entries: Mapping[EntryName, list[str]],
    files: Mapping[str, TreeEntry],
    findings: list[Finding],
) -> Iterator[tuple[EntryName, _Run]]:
    """Runs whose documents this version understands, in the order of time."""
    wanted = [(n, paths) for n, paths in entries.items() if n.kind == "run"]
    places = [log_entries.EntryName.place(paths[0]) for _, paths in wanted]
    both = [f"{place}/{name}" for place in places for name in ("record.json", "pipeline.yaml")]
    contents = git.blobs(files[path].oid if path in files else path for path in both)
    for (name, paths), place in zip(wanted, places, strict=True):
        record, pipeline = next(contents), next(contents)
        if record is None or pipeline is None:
            continue  # told already
        try:
            raw = json.loads(record)
            if raw.get("schema") != RECORD_SCHEMA:
                findings.append(_unknown(place, f"schema {raw.get('schema')}"))
                continue
            found = _Run(
                folder=place,
                files={path.removeprefix(f"{place}/"): files[path] for path in paths},
                record=RunRecord.model_validate(raw),
                pipeline=load_pipeline(pipeline),
            )
        except (ValidationError, RpacError, ValueError, AttributeError) as exc:
            first = str(exc).splitlines()[0]
            findings.append(Finding(where=place, what=f"cannot be read: {first}"))
            continue
        if hashlib.sha256(pipeline).hexdigest() != found.record.identity.pipeline[7:]:
            what = "pipeline.yaml is not the pipeline that the record names"
            findings.append(Finding(where=place, what=what))
        yield name, found


def _unknown(place: str, what: str) -> Finding:
    return Finding(
        where=place, what=f"{what}: a newer rpac may have written it", severity=Severity.WARNING
    )


def _check_run(git: Git, run: _Run, sources: _Sources) -> Iterator[Finding]:
    """A run against itself."""
    record, pipeline, where = run.record, run.pipeline, run.folder
    observed = {n: data.sha256 for n, data in record.identity.data.items() if data.sha256}
    if science(pipeline, observed).digest != record.identity.science:
        yield Finding(where=where, what="the science digest does not follow from the pipeline")
    if "report.md" not in run.files:
        yield Finding(where=where, what="report.md is missing", severity=Severity.WARNING)
    yield from _source(git, run, sources)
    if record.verdict is None:
        yield Finding(where=where, what="the record has no verdict")
        return
    try:
        again = judge(pipeline, record).outcome
    except ImportError as exc:  # scipy, which only some rules need
        what = f"cannot be judged again: {exc}"
    else:
        what = f"judged {record.verdict.outcome!r}, by this version {again!r}"
        if again == record.verdict.outcome:
            return
    yield Finding(where=where, what=what, severity=Severity.WARNING)


def _source(git: Git, run: _Run, sources: _Sources) -> Iterator[Finding]:
    """The code that is kept is the code that ran."""
    files = [file for path, file in run.files.items() if path.startswith("source/")]
    source = run.pipeline.source
    if not files:
        if not source.git:
            yield Finding(where=run.folder, what="the code is not kept")
        return
    top = f"{run.folder}/source/"
    key = frozenset((file.path.removeprefix(top), file.mode, file.oid) for file in files)
    if key not in sources:
        contents = git.blobs(oid for _, _, oid in sorted(key))
        sources[key] = source_trees.SourceTree(
            files=tuple(
                source_trees.SourceFile(path, mode == "100755", blob or b"")
                for (path, mode, _), blob in zip(sorted(key), contents, strict=True)
            )
        ).sha256
    if sources[key] != source.sha256:
        yield Finding(where=f"{run.folder}/source", what="is not the code that ran")


def _same_everywhere(
    run: str, found: _Run, ref: str, known: dict[str, tuple[str, str]]
) -> Iterator[Finding]:
    oid = found.files["record.json"].oid
    before, where = known.setdefault(run, (oid, ref))
    if before != oid:
        yield Finding(where=found.folder, what=f"has other content in {ref} than in {where}")


def _never_changed(git: Git, ref: str, tip: str) -> Iterator[Finding]:
    """Files of a log are only ever added."""
    out = git.run(
        "log", "-z", "--format=", "--name-only", "--diff-filter=DMRT", "--no-renames", tip
    )
    for path in sorted(set(filter(None, out.decode("utf-8", "replace").split("\0")))):
        yield Finding(
            where=path.strip("\n"), what=f"was changed or removed in the history of {ref}"
        )


def _accepted(
    entries: Mapping[EntryName, list[str]], runs: Mapping[str, _Run]
) -> Iterator[Finding]:
    known = {name.run for name in entries if name.kind == "run"} | runs.keys()
    for name, paths in entries.items():
        if name.kind == "accepted" and name.run not in known:
            yield Finding(where=paths[0], what="accepts a run that is not in the log")


def _links(runs: Mapping[str, _Run]) -> Iterator[Finding]:
    """Runs that are named by others; a log that was fetched in part may lack them."""
    for run in runs.values():
        named = {reference.run for reference in run.record.reference.runs}
        named |= {run.record.identity.reproduces} - {None}  # type: ignore[arg-type]
        for missing in sorted(named - runs.keys()):
            what = f"names the run {missing}, which is not in the log"
            yield Finding(where=run.folder, what=what, severity=Severity.WARNING)


def _on_the_branch(git: Git, runs: Mapping[str, _Run]) -> Iterator[Finding]:
    """Reports on the current branch are those of the log."""
    head = git.resolve("HEAD")
    if head is None or git.maybe("symbolic-ref", "--quiet", "HEAD") == LOG_REF:
        return
    known = {run.folder: run for run in runs.values()}
    for file in git.ls_tree(head, REPORTS):
        folder, _, name = file.path.rpartition("/")
        run = known.get(folder)
        if name in ("record.json", "pipeline.yaml") and run and run.files[name].oid != file.oid:
            yield Finding(where=file.path, what="is not on this branch as it is in the log")


def _outputs(storage: Storage, runs: Mapping[str, _Run]) -> Iterator[Finding]:
    """Outputs that the store still has are of the size that the record says."""
    for run in runs.values():
        for output in run.record.outcome.outputs:
            entry = storage.head(f"{Keys(run.record.run).outputs}{output.sha256}")
            if entry is None:
                what = f"{output.path} is not in this repository's store"
                yield Finding(where=run.folder, what=what, severity=Severity.WARNING)
            elif entry.size != output.size:
                what = f"{output.path} is damaged in the store: {entry.size} bytes"
                yield Finding(where=run.folder, what=what)
