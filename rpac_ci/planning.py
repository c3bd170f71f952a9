"""
What will be done and what it will be compared with, settled before anything is started.

Reads the experiment or a past run, and the log in git; writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rpac_ci import experiments, source_trees
from rpac_ci import pipeline as pipelines
from rpac_ci.canonical import Digest
from rpac_ci.commands import Overrides, Target, parse_overrides, parse_target
from rpac_ci.driver import load_pipeline
from rpac_ci.errors import HistoryError
from rpac_ci.experiment_model import FileRule, MetricRule
from rpac_ci.pipeline import Definition, Pipeline, compile_pipeline, differences, science
from rpac_ci.records import (
    Reference,
    ReferenceKind,
    RunRecord,
    Status,
    as_reference,
)
from rpac_ci.reproduction_log import ReproductionLog, RunPath
from rpac_ci.source_trees import SourceTree
from rpac_ci.verdict import is_variant
from rpac_ci.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pipeline, its code, and what its result will be compared with."""

    target: Target
    pipeline: Pipeline
    source: SourceTree
    folder: str  # of the experiment, from the top of the repository
    reference: Reference
    science: Digest
    variant: bool
    remarks: list[str] = field(default_factory=list)


def make_plan(
    workspace: Workspace, target: str, words: Sequence[str], *, allow_dirty: bool = False
) -> Plan:
    """
    Settle what a command asks for.

    Args:
        workspace: the repository.
        target: `<experiment>` or `<experiment>@<run>`.
        words: `key=value` overrides.
        allow_dirty: accept changes in the experiment's files that are not committed.

    Raises:
        CommandError, ExperimentError, PolicyError, PipelineError, HistoryError: what was asked
            cannot be done, and why.
    """
    wanted, overrides = parse_target(target), parse_overrides(words)
    if wanted.run:
        return _plan_run(workspace, wanted, overrides)
    return _plan_experiment(workspace, wanted, overrides, allow_dirty=allow_dirty)


def _plan_experiment(
    workspace: Workspace, target: Target, overrides: Overrides, *, allow_dirty: bool
) -> Plan:
    path = experiments.locate(workspace.experiments, target.experiment)
    file = experiments.load(path, root=workspace.root)
    source = source_trees.of_experiment(
        workspace.git, file, allow_dirty=allow_dirty, cache=workspace.cache
    )
    definition = pipelines.define(file.experiment, source)
    pipeline = compile_pipeline(definition, overrides=overrides)
    reference = _reference(workspace, target.experiment, definition)
    changed = {k: list(v) for k, v in differences(definition, pipeline).items() if k != "target"}
    declared = {k: v for k, v in changed.items() if not k.startswith("target.")}
    return Plan(
        target=target,
        pipeline=pipeline,
        source=source,
        folder=file.folder.relative_to(workspace.root).as_posix(),
        reference=reference.model_copy(update={"changed": declared}),
        science=science(pipeline).digest,
        variant=_is_variant(reference, pipeline),
    )


def _plan_run(workspace: Workspace, target: Target, overrides: Overrides) -> Plan:
    assert target.run
    history = ReproductionLog(workspace.git)
    path = history.find(target.run, target.experiment)
    past = load_pipeline(history.read(path, "pipeline.yaml"))
    record = read_record(history, path)
    observed = {n: data.sha256 for n, data in record.identity.data.items() if data.sha256}
    # a run that is no reference pins nothing: declared values hold for what its author declared
    succeeded = record.outcome.status is Status.SUCCEEDED
    definition = pipelines.pin(past, observed) if succeeded else past
    source = _past_source(workspace, path, past)
    pipeline = compile_pipeline(definition, overrides=overrides, reproduces=path.run)
    remarks = []
    if not overrides.words and pipeline.requests != past.requests:
        remarks.append("compiler: this version of rpac renders the stored pipeline differently")
    if succeeded:
        changed = {k: list(v) for k, v in differences(definition, pipeline).items()}
        reference = Reference(
            kind=ReferenceKind.RUN, runs=[as_reference(record)], changed=changed, remarks=remarks
        )
    else:
        # it is compared with what that run would have been compared with
        remarks.append(f"run {path.run} itself ended as {record.outcome.status}: not a reference")
        changed = {k: list(v) for k, v in differences(definition, pipeline).items()}
        update = {"remarks": remarks, "changed": {**record.reference.changed, **changed}}
        reference = record.reference.model_copy(update=update)
    known = experiments.find(workspace.experiments)
    file = known.get(target.experiment)
    folder = file.parent if file else workspace.experiments / target.experiment
    return Plan(
        target=Target(target.experiment, path.run),
        pipeline=pipeline,
        source=source,
        folder=folder.relative_to(workspace.root).as_posix(),
        reference=reference,
        science=science(pipeline).digest,
        variant=_is_variant(reference, pipeline),
        remarks=remarks,
    )


def _is_variant(reference: Reference, pipeline: Pipeline) -> bool:
    """As far as it can be told before inputs that nobody pinned are read."""
    now = science(pipeline).digest
    return is_variant(reference, asked=now, observed=now)


def _reference(workspace: Workspace, experiment: str, definition: Definition) -> Reference:
    """Declared values, else the accepted runs, else none; never silently the last run."""
    history = ReproductionLog(workspace.git)
    accepted = [as_reference(read_record(history, path)) for path in history.accepted(experiment)]
    declared = any(
        (isinstance(rule, MetricRule) and rule.expect is not None)
        or (isinstance(rule, FileRule) and rule.sha256 is not None)
        for rule in definition.verify.values()
    )
    if declared:
        own = science(definition).digest
        same = [run for run in accepted if run.science == own]
        return Reference(kind=ReferenceKind.EXPECT, science=own, runs=same)
    if accepted:
        return Reference(kind=ReferenceKind.ACCEPTED, runs=accepted)
    return Reference(kind=ReferenceKind.NONE)


def read_record(history: ReproductionLog, path: RunPath) -> RunRecord:
    """
    The record of a run in the log.

    Raises:
        HistoryError: it does not fit the schema, for instance since a newer rpac wrote it.
    """
    raw = next(history.records([path]))
    return parse_record(raw, path.run)


def parse_record(raw: dict[str, Any], run: str) -> RunRecord:
    """A record from its JSON; see `read_record`."""
    from pydantic import ValidationError

    try:
        return RunRecord.model_validate(raw)
    except ValidationError as exc:
        schema = raw.get("schema")
        raise HistoryError(
            f"the record of {run} (schema {schema}) cannot be read: {exc.errors()[0]['msg']}",
            hint="a newer version of rpac may have written it",
        ) from exc


def _past_source(workspace: Workspace, path: RunPath, past: Pipeline) -> SourceTree:
    """The code of a past run, from the log alone."""
    tree = source_trees.of_tree(workspace.git, path.ref, f"{path.folder}/source")
    if not tree.files and past.source.git and past.source.commit:
        from rpac_ci.experiment_model import GitSource

        pinned = GitSource(git=past.source.git, commit=past.source.commit)
        tree = source_trees.of_repository(pinned, workspace.cache)
    if tree.sha256 != past.source.sha256:
        raise HistoryError(
            f"the code kept with {path.run} is not the code it ran: "
            f"{tree.sha256}, expected {past.source.sha256}"
        )
    return tree
