"""
Pipeline: an experiment resolved, with every input pinned. Pure: no files, no network, no clock.

`define` fills an experiment's definition with what was looked up, `overriding.change` puts
overrides on top of one (an experiment's, or a past pipeline's), `compile_pipeline` renders it for
a cloud.

Two identities. The *pipeline digest* is the SHA-256 of the canonical bytes: all that was asked. The
*science digest* covers only what may change the result; equal science digests make a
reproduction, other ones a variant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from rpac_ci.canonical import Digest, Json, canonical_json, canonical_yaml, digest
from rpac_ci.commands import Overrides
from rpac_ci.documents import ExperimentId, Hex256, Model
from rpac_ci.errors import PipelineError
from rpac_ci.experiment_model import (
    Arg,
    ArgRole,
    CloudChoices,
    Data,
    Engine,
    Environment,
    EquivalenceRule,
    Experiment,
    FileRule,
    GitSource,
    Limits,
    Mode,
    Resources,
    Rule,
)
from rpac_ci.site_config import SiteConfig
from rpac_ci.source_trees import SourceTree


class Level(StrEnum):
    """How strongly the bytes of an input are known before the run; the first is the strongest."""

    CONTENT = "content"  # a SHA-256 that is checked while reading
    PUBLISHER = "publisher"  # a checksum of the archive that offers it, checked likewise
    LOCATOR = "locator"  # a name only; the run notes the hash that it saw


class SourceRef(Model):
    """Which code: the digest counts, commit and tree help people to find it."""

    sha256: str
    commit: str | None = None
    tree: str | None = None
    git: str | None = None  # URL, when the code is in another repository
    dirty: str | None = None  # digest of the difference to the commit


class EnvironmentKind(StrEnum):
    """Where the software comes from."""

    VENV = "venv"  # the lock, installed
    IMAGE = "image"  # a container image by digest
    HOST = "host"  # nothing declared: whatever the machine, or the engine's image, has


class EnvironmentRef(Model):
    """Which software: the lock's hash and the interpreter, or an image by digest."""

    kind: Annotated[EnvironmentKind, Field(strict=False)]
    lock: str | None = None
    lock_sha256: Hex256 | None = None
    python: str | None = None
    indexes: list[str] = Field(default_factory=list)
    image: str | None = None


class DataRef(Data):
    """Which input, and how strongly its bytes are known beforehand."""

    level: Annotated[Level, Field(strict=False)]
    pinned_by: Literal["author", "run"] | None = None  # who named the bytes; None: nobody yet


class Target(Model):
    """Where it runs."""

    cloud: str = "local"
    runtime: str = "process"
    region: str | None = None
    machine: str | None = None  # the cloud's name of each node's machine
    mode: Annotated[Mode, Field(strict=False)] | None = None
    spot: bool = False

    def to_json(self) -> dict[str, Json]:
        """Without what a cloud has no choice of."""
        return self.without_defaults(("region", "machine", "mode", "spot"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of a cloud; None leaves it to the cloud's planner."""

    cloud: str
    runtime: str | None = None
    region: str | None = None
    machine: str | None = None
    mode: Mode | None = None
    spot: bool | None = None


class MachineChange(Model):
    """How the machine differs from that of the run that is repeated."""

    recorded: str  # cloud and machine
    grade: Literal["A", "B", "C", "D"]  # of `catalog.fidelity`
    differs: list[str] = Field(default_factory=list)  # what of it, in words
    substituted: bool = False  # the recorded machine is retired

    def __str__(self) -> str:
        verb = "substitutes the retired" if self.substituted else "in place of"
        what = f": {', '.join(self.differs)}" if self.differs else ""
        return f"grade {self.grade}, {verb} {self.recorded}{what}"


class Lineage(Model):
    """The run this pipeline was made from, and the changes put on top (key -> value as typed)."""

    reproduces: str | None = None
    changes: dict[str, str] = Field(default_factory=dict)
    machine: MachineChange | None = None  # where it is not the recorded one


class Definition(Model):
    """The neutral part: what is computed, from what, and how it is judged."""

    id: ExperimentId
    title: str
    source: SourceRef
    command: list[str]
    engine: Engine
    environment: EnvironmentRef
    args: dict[str, Arg]
    data: dict[str, DataRef]
    seed: int | None
    resources: Resources
    outputs: list[str]
    verify: dict[str, Rule]
    limits: Limits
    clouds: CloudChoices = Field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Plain values under their document names."""
        return {
            **self.without_defaults(("clouds",)),
            "engine": self.engine.without_defaults(("ranks", "deterministic")),
            "environment": self.environment.without_defaults(("indexes", "image")),
            "verify": {name: rule_json(rule) for name, rule in self.verify.items()},
            "data": {name: ref.without_defaults(["checksum"]) for name, ref in self.data.items()},
        }


class Pipeline(Definition):
    """A definition for one target, with its lineage and the provider's symbolic requests."""

    schema_: Annotated[Literal["rpac/pipeline/1"], Field(alias="schema")] = "rpac/pipeline/1"
    target: Target
    lineage: Lineage
    requests: list[dict[str, Any]]

    def to_json(self) -> dict[str, Json]:
        """Plain values under their document names."""
        return {
            **super().to_json(),
            "target": self.target.to_json(),
            "lineage": self.lineage.without_defaults(["machine"]),
        }

    def to_bytes(self) -> bytes:
        """Canonical YAML: equal pipelines give equal bytes."""
        return canonical_yaml(self.to_json())

    @property
    def digest(self) -> Digest:
        """SHA-256 of `to_bytes()`, that is `sha256sum pipeline.yaml`."""
        return digest(self.to_bytes())


def rule_json(rule: Rule) -> dict[str, Json]:
    """A rule as it stands in a pipeline."""
    later = ("abs_tol", "rel_tol", "expect", "variables", "ignore", "equal_nan", "key")
    return rule.without_defaults(later if isinstance(rule, FileRule) else ())


def define(experiment: Experiment, source: SourceTree) -> Definition:
    """
    The definition of an experiment at a state of its code.

    Raises:
        PipelineError: the lock is not among the source's files.
    """
    wanted = experiment.environment
    lock = source.read(wanted.lock) if wanted.lock else None
    if wanted.lock and lock is None:
        raise PipelineError(f"the lock {wanted.lock!r} is not among the source's files")
    return Definition(
        id=experiment.id,
        title=experiment.title,
        source=SourceRef(
            sha256=source.sha256,
            commit=source.commit,
            tree=source.tree,
            git=experiment.source.git if isinstance(experiment.source, GitSource) else None,
            dirty=digest(source.diff) if source.diff is not None else None,
        ),
        command=experiment.command,
        engine=experiment.engine,
        environment=environment_ref(wanted, lock),
        args=experiment.args,
        data={name: data_ref(data) for name, data in experiment.data.items()},
        seed=experiment.seed,
        resources=experiment.resources,
        outputs=experiment.outputs,
        verify=experiment.verify,
        limits=experiment.limits,
        clouds=experiment.clouds,
    )


def environment_ref(wanted: Environment, lock: bytes | None) -> EnvironmentRef:
    """What is declared, with the hash of the lock's bytes."""
    if wanted.image:
        return EnvironmentRef(kind=EnvironmentKind.IMAGE, image=wanted.image)
    return EnvironmentRef(
        kind=EnvironmentKind.VENV if lock is not None else EnvironmentKind.HOST,
        lock=wanted.lock,
        lock_sha256=hashlib.sha256(lock).hexdigest() if lock is not None else None,
        python=wanted.python,
        indexes=wanted.indexes,
    )


def data_ref(data: Data) -> DataRef:
    """An input as it is declared, and how strongly its bytes are known by that."""
    level = Level.PUBLISHER if data.checksum else Level.LOCATOR
    level = Level.CONTENT if data.sha256 else level
    fields = {name: getattr(data, name) for name in Data.model_fields}
    return DataRef(**fields, level=level, pinned_by=None if level is Level.LOCATOR else "author")


def pin(definition: Definition, observed: Mapping[str, str]) -> Definition:
    """The definition with inputs pinned to the hashes (hex) that an earlier run saw."""
    data = {}
    for name, ref in definition.data.items():
        seen = {"sha256": observed.get(name), "level": Level.CONTENT, "pinned_by": "run"}
        data[name] = ref if ref.sha256 or name not in observed else ref.model_copy(update=seen)
    return definition.model_copy(update={"data": data})


def total_ranks(definition: Definition) -> int | None:
    """Ranks on all nodes, which decide how data is split; None for engines that have none."""
    if not definition.engine.name.collective:
        return None
    need = definition.resources
    return definition.engine.ranks or need.nodes * max(1, need.gpus)


def compile_pipeline(
    definition: Definition,
    *,
    overrides: Overrides | None = None,
    reproduces: str | None = None,
    site: SiteConfig | None = None,
) -> Pipeline:
    """
    Make the exact pipeline for a target.

    Args:
        definition: of an experiment, or a past pipeline.
        overrides: changes on top, among them the target's cloud and runtime.
        reproduces: the run that this repeats.
        site: settings that a cloud's planner may go by: its region, the machines that are allowed.

    Raises:
        CommandError: the overrides do not fit the definition.
        PipelineError: the cloud or engine cannot serve it; said before anything is started.
    """
    from rpac_ci import clouds, engines
    from rpac_ci.overriding import change
    from rpac_ci.placing import place

    overrides = overrides or Overrides()
    changed = change(definition, overrides)
    neutral = {name: getattr(changed, name) for name in Definition.model_fields}
    engines.check(Definition(**neutral))
    target, machine = place(definition, changed, overrides, site or SiteConfig())
    asked = (word.split("=", 1) for word in overrides.words)
    return Pipeline(
        **neutral,
        target=target,
        lineage=Lineage(
            reproduces=reproduces,
            # `sha` says which commit is meant: it is checked, and changes nothing
            changes=dict(sorted((key, value) for key, value in asked if key != "sha")),
            machine=machine,
        ),
        requests=clouds.planner(target.cloud).render(changed, target),
    )


@dataclass(frozen=True, slots=True)
class Science:
    """What may change the result, and the digest over it."""

    document: Mapping[str, Json]

    @property
    def digest(self) -> Digest:
        """Equal for runs that should give equal results."""
        return digest(canonical_json(self.document))


def science(definition: Definition, observed: Mapping[str, str] | None = None) -> Science:
    """
    The scientific identity of a definition.

    Args:
        definition: of an experiment, or a pipeline.
        observed: hashes (hex) the run saw, for inputs that are not pinned.
    """
    seen = observed or {}
    scientific = {n: a.value for n, a in definition.args.items() if a.role is ArgRole.SCIENTIFIC}
    environment = definition.environment
    ranks = total_ranks(definition)
    return Science(
        {
            **({"ranks": ranks} if ranks is not None else {}),
            "source": definition.source.sha256,
            "command": list(definition.command),
            "engine": definition.engine.name.value,
            "environment": [
                environment.kind.value,
                environment.image or environment.lock_sha256,
                environment.python,
            ],
            "data": {
                name: ref.sha256 or seen.get(name) or ref.uri
                for name, ref in definition.data.items()
            },
            "args": scientific,
            "seed": None if varies_by_seed(definition) else definition.seed,
        }
    )


def varies_by_seed(definition: Definition) -> bool:
    """Whether the experiment is about results over seeds, so that no one seed is its science."""
    return any(isinstance(rule, EquivalenceRule) for rule in definition.verify.values())


def differences(before: Definition, after: Definition) -> dict[str, tuple[Json, Json]]:
    """Dotted key -> (before, after) of everything that differs between two definitions."""
    old = _flat(_comparable(before))
    new = _flat(_comparable(after))
    keys = sorted(key for key in old.keys() | new.keys() if not key.endswith(".pinned_by"))
    return {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}


def _comparable(definition: Definition) -> Mapping[str, Json]:
    return {
        k: v for k, v in definition.to_json().items() if k not in ("schema", "lineage", "requests")
    }


def _flat(value: Json, prefix: str = "") -> dict[str, Json]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Json] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return flat
