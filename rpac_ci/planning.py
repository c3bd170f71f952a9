"""
What will be done and what it will be compared with, settled before anything is started.

Reads the experiment or a past run, and the log in git; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import stdev

from rpac_ci import catalog, clouds, engines, experiments, source_trees
from rpac_ci import pipeline as pipelines
from rpac_ci.canonical import Digest
from rpac_ci.checks import pooled
from rpac_ci.commands import Overrides, Target, parse_overrides, parse_target
from rpac_ci.driver import load_pipeline
from rpac_ci.equivalence import MIN_SEEDS, Sample, power, seeds_needed
from rpac_ci.errors import CommandError, HistoryError, PolicyError
from rpac_ci.experiment_model import Compare, EquivalenceRule, FileRule
from rpac_ci.locators import FileLocator, parse_locator
from rpac_ci.log_paths import RunPath
from rpac_ci.pipeline import DataRef, Definition, Pipeline, compile_pipeline, differences, science
from rpac_ci.quantities import count
from rpac_ci.records import (
    Identity,
    Reference,
    ReferenceKind,
    Status,
    as_reference,
    has_its_science,
)
from rpac_ci.references import accepted_or_declared, read_record
from rpac_ci.reproduction_log import ReproductionLog
from rpac_ci.source_trees import SourceTree
from rpac_ci.sources import ContentCache
from rpac_ci.traffic import Transfer, transfers
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
    price: tuple[float, float] | None = (0.0, 0.0)  # USD at least and at most; None: not known
    transfers: list[Transfer] = field(default_factory=list)  # not in the price
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
    return make_plans(workspace, target, [words], allow_dirty=allow_dirty)[0]


def make_plans(
    workspace: Workspace,
    target: str,
    commands: Sequence[Sequence[str]],
    *,
    allow_dirty: bool = False,
) -> list[Plan]:
    """
    `make_plan` for several commands that differ in their overrides.

    What does not hang on these is read once, so that all plans are of the same code.
    """
    wanted, overrides = parse_target(target), [parse_overrides(words) for words in commands]
    for meant in {one.sha for one in overrides}:
        _check_commit(workspace, meant)
    if wanted.run:
        settle = _of_run(workspace, wanted)
    else:
        settle = _of_experiment(workspace, wanted, allow_dirty=allow_dirty)
    return [settle(one) for one in overrides]


def _check_commit(workspace: Workspace, meant: str | None) -> None:
    """
    Hold a command to the commit that its writer has seen.

    Raises:
        CommandError: HEAD is another one.
    """
    if meant is None:
        return
    head = workspace.git.resolve("HEAD^{commit}") or "no commit"
    if not head.startswith(meant):
        raise CommandError(
            f"sha={meant} is not the commit that would be used: {head}",
            hint="look at what has changed since, then name the new commit or leave out sha=",
        )


def _of_experiment(
    workspace: Workspace, target: Target, *, allow_dirty: bool
) -> Callable[[Overrides], Plan]:
    path = experiments.locate(workspace.experiments, target.experiment)
    file = experiments.load(path, root=workspace.root)
    source = source_trees.of_experiment(
        workspace.git, file, allow_dirty=allow_dirty, cache=workspace.cache
    )
    definition = pipelines.define(file.experiment, source)
    _check_readers(definition)
    reference = accepted_or_declared(workspace, target.experiment, definition)

    def settle(overrides: Overrides) -> Plan:
        pipeline = compile_pipeline(definition, overrides=overrides, site=workspace.config)
        changed = {
            k: list(v) for k, v in differences(definition, pipeline).items() if k != "target"
        }
        declared = {k: v for k, v in changed.items() if not k.startswith("target.")}
        return Plan(
            target=target,
            pipeline=pipeline,
            source=source,
            folder=file.folder.relative_to(workspace.root).as_posix(),
            reference=reference.model_copy(update={"changed": declared}),
            science=science(pipeline).digest,
            variant=_is_variant(reference, pipeline),
            price=_price(pipeline),
            transfers=_transfers(pipeline, file.folder, workspace.cache, None),
            remarks=[*engines.remarks(pipeline), *power_remarks(pipeline, reference, 1)],
        )

    return settle


def _of_run(workspace: Workspace, target: Target) -> Callable[[Overrides], Plan]:
    assert target.run
    history = ReproductionLog(workspace.git)
    path = history.find(target.run, target.experiment)
    past = load_pipeline(history.read(path, "pipeline.yaml"))
    record = read_record(history, path)
    observed = {n: data.sha256 for n, data in record.identity.data.items() if data.sha256}
    # a run that is no reference pins nothing: declared values hold for what its author declared
    succeeded = record.outcome.status is Status.SUCCEEDED
    definition = pipelines.pin(past, observed) if succeeded else past
    _check_readers(past)
    source = _past_source(workspace, path, past)
    known = experiments.find(workspace.experiments)
    file = known.get(target.experiment)
    folder = file.parent if file else workspace.experiments / target.experiment

    def settle(overrides: Overrides) -> Plan:
        pipeline = compile_pipeline(
            definition, overrides=overrides, reproduces=path.run, site=workspace.config
        )
        remarks = []
        if not has_its_science(record, past):
            remarks.append("science: this version of rpac computes another digest for the past run")
        if not overrides.words and pipeline.requests != past.requests:
            remarks.append("compiler: this version of rpac renders the stored pipeline differently")
        changed = {k: list(v) for k, v in differences(definition, pipeline).items()}
        if succeeded:
            runs = [as_reference(record)]
            reference = Reference(
                kind=ReferenceKind.RUN, runs=runs, changed=changed, remarks=remarks
            )
        else:
            # it is compared with what that run would have been compared with
            status = record.outcome.status
            remarks.append(f"run {path.run} itself ended as {status}: not a reference")
            update = {"remarks": remarks, "changed": {**record.reference.changed, **changed}}
            reference = record.reference.model_copy(update=update)
        return Plan(
            target=Target(target.experiment, path.run),
            pipeline=pipeline,
            source=source,
            folder=folder.relative_to(workspace.root).as_posix(),
            reference=reference,
            science=science(pipeline).digest,
            variant=_is_variant(reference, pipeline),
            price=_price(pipeline),
            transfers=_transfers(pipeline, folder, workspace.cache, record.identity),
            remarks=[
                *remarks,
                *engines.remarks(pipeline),
                *power_remarks(pipeline, reference, 1),
            ],
        )

    return settle


def _price(pipeline: Pipeline) -> tuple[float, float] | None:
    """
    What a run costs by the catalog, held against the experiment's own limit.

    Raises:
        PolicyError: it may cost more, or nobody knows what it costs.
    """
    price, limit = clouds.planner(pipeline.target.cloud).price(pipeline), pipeline.limits.cost
    if limit is None or (price is not None and price[1] <= limit):
        return price
    if price is None:
        where = ", ".join(filter(None, (pipeline.target.machine, pipeline.target.region)))
        raise PolicyError(
            f"the price of {where} is not known, and the run may cost at most {limit:g} USD",
            hint=f"rpac catalog show {pipeline.target.cloud} has the known ones; or leave out cost",
        )
    raise PolicyError(
        f"the run may cost up to {price[1]:.2f} USD, its limit is {limit:g} USD",
        hint="raise cost= or limits.cost, ask for less, or lower time=",
    )


def _transfers(
    pipeline: Pipeline, folder: Path, cache: Path, past: Identity | None
) -> list[Transfer]:
    """What will be moved, with the sizes that are known without asking anybody."""
    priced = pipeline.target.region or any(r.uri.startswith("s3:") for r in pipeline.data.values())
    sizes = {}
    for name, ref in pipeline.data.items():
        read = past.data.get(name) if past else None
        size = read.size if read and read.uri == ref.uri else _size(ref, folder, cache)
        if size is not None:
            sizes[name] = size
    return transfers(pipeline, catalog.load("aws") if priced else None, sizes)


def _size(ref: DataRef, folder: Path, cache: Path) -> int | None:
    """Of a file beside the experiment, or of content that an earlier run has left here."""
    locator = parse_locator(ref.uri)
    path = folder / locator.path if isinstance(locator, FileLocator) else None
    if path is None and ref.sha256:
        path = ContentCache(cache).path_of(ref.sha256)
    return path.stat().st_size if path and path.is_file() else None


def power_remarks(pipeline: Pipeline, reference: Reference, seeds: int) -> list[str]:
    """
    How likely each statistical rule gives an answer, told before anything is run.

    Args:
        pipeline: with the rules.
        reference: whose spread is taken for the new one's.
        seeds: that will be run.
    """
    remarks = []
    for name, rule in pipeline.verify.items():
        if isinstance(rule, EquivalenceRule):
            remarks.append(f"{name}: {_power(name, rule, reference, seeds)}")
    return remarks


def _power(name: str, rule: EquivalenceRule, reference: Reference, seeds: int) -> str:
    if reference.kind is not ReferenceKind.RUN and rule.expect is not None:
        sample: Sample | None = Sample(tuple(map(float, rule.expect)))
    else:
        sample = pooled(name, reference.runs)
    values = sample.by_seed().values if sample else ()
    runs = count(seeds, "seed")
    if len(values) < MIN_SEEDS or not (spread := stdev(values)):
        least = seeds_needed(None, spread=1.0, margin=1.0, alpha=rule.alpha)
        return (
            f"{runs}; the reference has {count(len(values), 'seed')} and no spread to go by "
            f"({least} on each side for a margin of one standard deviation)"
        )
    chance = power((len(values), seeds), spread=spread, margin=rule.margin, alpha=rule.alpha)
    needed = seeds_needed(len(values), spread=spread, margin=rule.margin, alpha=rule.alpha)
    enough = f"{needed} needed for 80 %" if needed else "no number of seeds is enough"
    return (
        f"{runs} against {len(values)} of the reference: {100 * chance:.0f} % chance of a clear "
        f"answer ({enough}; spread {spread:.3g}, margin {rule.margin:g})"
    )


def _check_readers(definition: Definition) -> None:
    """
    Refuse rules that could not be judged afterwards.

    Raises:
        CommandError: a package is missing, or the kind of file is not known.
    """
    rules = definition.verify
    statistical = [name for name, r in rules.items() if isinstance(r, EquivalenceRule)]
    if statistical and find_spec("scipy") is None:
        from rpac_ci.contents.kinds import INSTALL

        raise CommandError(f"{statistical[0]}: a margin needs scipy", hint=INSTALL)
    if any(isinstance(r, FileRule) and r.compare is not Compare.BYTES for r in rules.values()):
        from rpac_ci import output_comparisons

        output_comparisons.check_readers(rules)


def _is_variant(reference: Reference, pipeline: Pipeline) -> bool:
    """As far as it can be told before inputs that nobody pinned are read."""
    now = science(pipeline).digest
    return is_variant(reference, asked=now, observed=now)


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
