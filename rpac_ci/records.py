"""
Run record: what was asked, how it was done, what came out.

Made from events only and without a clock, so any writer at any time makes the same bytes. Paths of
machines, host names and users have no place in it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from rpac_ci.canonical import Json, canonical_json, digest, readable_json
from rpac_ci.documents import Model
from rpac_ci.experiment_model import Arg, ArgRole, Engine
from rpac_ci.pipeline import EnvironmentRef, Pipeline, SourceRef, science
from rpac_ci.placement import Performance, Placement
from rpac_ci.training import TrainingRecord


class Status(StrEnum):
    """How a run ended, before its result is judged."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COULD_NOT_RUN = "could not run"
    CANCELLED = "cancelled"


class MetricValue(Model):
    """One number and its unit, if it has one."""

    value: int | float
    unit: str | None = None


class SampleValue(Model):
    """One number for several seeds; the metric of the same name is its mean."""

    values: list[int | float]
    seeds: list[int] | None = None


class DataIdentity(Model):
    """An input with the bytes that were used, and who had fixed them beforehand."""

    uri: str
    sha256: str | None
    size: int | None
    pinned_by: Literal["author", "run"]


class Identity(Model):
    """What was asked."""

    pipeline: str
    science: str
    source: SourceRef
    command: list[str]
    engine: Engine
    environment: EnvironmentRef
    data: dict[str, DataIdentity]
    args: dict[str, Arg]
    seed: int | None
    rules: str  # digest of the verify block
    reproduces: str | None
    changes: dict[str, str]


class Request(Model):
    """Who asked, how, and in which words."""

    via: str
    actor: int | None = None  # numeric id where there is one
    words: str = ""
    study: str | None = None  # that the run is a member of


class Phase(Model):
    """A stretch of time in seconds since the run was made; `watch` holds the node's own phases."""

    name: str
    start_s: float
    duration_s: float
    inside: str | None = None


class Circumstances(Model):
    """How it was done; none of this should change the result."""

    requested: Request
    rpac: str
    cloud: str
    runtime: str
    nodes: list[dict[str, Any]]
    workers: dict[str, Any]
    engine: dict[str, Any]
    python: str | None
    packages: dict[str, str]
    determinism: dict[str, str]
    remarks: list[str]
    images: dict[str, str] = Field(default_factory=dict)  # of containers: what for -> id
    hashed_lock: bool = False  # every package was checked against a hash in the lock
    oversubscribed: bool = False  # more processors asked for than there are
    placement: Placement | None = None  # which machines of a cloud
    started: str
    finished: str
    phases: list[Phase]


class OutputFile(Model):
    """One declared output."""

    path: str
    size: int
    sha256: str
    folder: bool = False  # kept as one ZIP, of which size and hash are


class ContentComparison(Model):
    """What comparing one output with a reference's file found, beyond equality of bytes."""

    path: str
    reference: str  # a run, or `data.<name>`
    agreement: str
    note: str = ""
    max_abs: float | None = None
    max_rel: float | None = None
    differing: int | None = None
    total: int | None = None
    variable: str | None = None


class Outcome(Model):
    """What came out."""

    status: Annotated[Status, Field(strict=False)]
    reason: str
    message: str
    hint: str = ""
    exit_code: int | None
    metrics: dict[str, MetricValue]
    metrics_problem: str
    samples: dict[str, SampleValue] = Field(default_factory=dict)
    training: TrainingRecord | None = None
    training_problem: str = ""
    outputs: list[OutputFile]
    comparisons: list[ContentComparison] = Field(default_factory=list)
    extra: list[str]
    log_tail: str
    cost_usd: float | None


class ReferenceRun(Model):
    """A past run to compare with."""

    run: str
    science: str
    metrics: dict[str, MetricValue]
    outputs: dict[str, str]  # path -> sha256
    summary: dict[str, Any]  # its circumstances, see `summary`
    seed: int | None = None
    samples: dict[str, SampleValue] = Field(default_factory=dict)
    performance: Performance | None = None


class ReferenceKind(StrEnum):
    """Where the reference comes from, in the order of precedence."""

    RUN = "run"
    EXPECT = "expect"
    ACCEPTED = "accepted"
    NONE = "none"


class Reference(Model):
    """What a run is compared with; settled when the run is made."""

    kind: Annotated[ReferenceKind, Field(strict=False)]
    science: str | None = None  # of the experiment without overrides, for declared values
    runs: list[ReferenceRun] = Field(default_factory=list)
    changed: dict[str, list[Any]] = Field(default_factory=dict)  # dotted key -> [before, after]
    remarks: list[str] = Field(default_factory=list)
    rules_changed: list[str] = Field(default_factory=list)  # since the first result was known


class Agreement(StrEnum):
    """What one comparison found, best first."""

    IDENTICAL = "identical"
    SAME_CONTENT = "same content"  # other bytes
    WITHIN_TOLERANCE = "within tolerance"
    EQUIVALENT = "statistically equivalent"
    DIFFERENT = "different"
    MISSING = "missing"
    EXTRA = "extra"  # the reference has no such file
    NOT_COMPARED = "not compared"


GOOD = (
    Agreement.IDENTICAL,
    Agreement.SAME_CONTENT,
    Agreement.WITHIN_TOLERANCE,
    Agreement.EQUIVALENT,
)
BAD = (Agreement.DIFFERENT, Agreement.MISSING)


class Check(Model):
    """One comparison."""

    name: str
    kind: Literal["metric", "file", "output"]
    required: bool
    agreement: Annotated[Agreement, Field(strict=False)]
    rule: str
    expected: int | float | str | None = None
    observed: int | float | str | None = None
    difference: float | None = None
    p_value: float | None = None  # of a statistical rule, adjusted for all of them
    unit: str | None = None
    note: str = ""


class Verdict(Model):
    """Whether the run agrees with its reference, and the exit code that says so."""

    outcome: str
    exit_code: int
    reason: str
    variant: bool
    reference: str
    checks: list[Check]
    grade: str | None = None  # the worst of `grades`; None where nothing was run
    grades: dict[str, str] = Field(default_factory=dict)  # what is graded -> "B: why"


class RunRecord(Model):
    """`record.json`."""

    schema_: Annotated[Literal["rpac/record/1"], Field(alias="schema")] = "rpac/record/1"
    run: str
    experiment: str
    title: str
    identity: Identity
    circumstances: Circumstances
    outcome: Outcome
    reference: Reference
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, Json]:
        """Plain values; a run on this machine says nothing of machines of a cloud."""
        around = self.circumstances.without_defaults(["placement"])
        return {**super().to_json(), "circumstances": around}

    def to_bytes(self) -> bytes:
        """The bytes of `record.json`."""
        return readable_json(self.to_json())


_ELSEWHERE = ("name", "versions", "threads_per_worker", "protocol")  # of the engine's facts


def summary(record: RunRecord) -> dict[str, Any]:
    """What people compare first in two runs, flat: what was asked, and how it was done."""
    identity, around = record.identity, record.circumstances
    operational = ArgRole.OPERATIONAL
    flat: dict[str, Any] = {
        "code": identity.source.sha256,
        "code.commit": identity.source.commit,
        "command": " ".join(identity.command),
        "engine": identity.engine.name.value,
        "environment.lock": identity.environment.lock_sha256,
        "environment.image": identity.environment.image,
        "image": around.images.get("nodes"),
        "seed": identity.seed,
        "cloud": around.cloud,
        "runtime": around.runtime,
        "nodes": len(around.nodes) or None,
        "workers": around.workers.get("seen"),
        "threads": around.engine.get("threads_per_worker"),
        "python": around.python,
        "rpac": around.rpac,
    }
    if (placed := around.placement) is not None:
        flat |= {"region": placed.region, "instance": placed.machine, "endpoint": placed.endpoint}
        flat["spot"] = placed.spot or None
    for key in ("cpu", "kernel", "system", "machine"):
        flat[key] = ", ".join(sorted({str(node.get(key)) for node in around.nodes})) or None
    gpus = [str(gpu.get("name")) for node in around.nodes for gpu in node.get("gpus") or ()]
    flat["gpus"] = ", ".join(sorted(gpus)) or None
    flat |= {
        f"layout.{name}": value for name, value in around.engine.items() if name not in _ELSEWHERE
    }
    for name, arg in identity.args.items():
        flat[f"operational.{name}" if arg.role is operational else f"args.{name}"] = arg.value
    flat |= {f"data.{name}": data.sha256 for name, data in identity.data.items()}
    flat |= {f"engine.{n}": v for n, v in around.engine.get("versions", {}).items()}
    flat |= {f"determinism.{name}": value for name, value in around.determinism.items()}
    flat |= {f"packages.{name}": version for name, version in around.packages.items()}
    return {key: value for key, value in flat.items() if value is not None}


def as_reference(record: RunRecord, *, packages: bool = True) -> ReferenceRun:
    """
    A past run in the form that others are compared with.

    Args:
        record: of the past run.
        packages: with the version of each package, or, for one of many, a digest of them all.
    """
    flat = summary(record)
    if not packages:
        flat = {key: value for key, value in flat.items() if not key.startswith("packages.")}
        flat["packages"] = digest(canonical_json(record.circumstances.packages))
    return ReferenceRun(
        run=record.run,
        science=record.identity.science,
        metrics=record.outcome.metrics,
        outputs={output.path: output.sha256 for output in record.outcome.outputs},
        summary=flat,
        seed=record.identity.seed,
        samples=record.outcome.samples,
        performance=performance(record),
    )


def has_its_science(record: RunRecord, pipeline: Pipeline) -> bool:
    """Whether the science digest is what the pipeline and the bytes that were read give."""
    read = record.identity.data.items()
    observed = {name: data.sha256 for name, data in read if data.sha256}
    return science(pipeline, observed).digest == record.identity.science


def performance(record: RunRecord) -> Performance:
    """How long a run took and what it cost."""
    around = record.circumstances
    command = [p.duration_s for p in around.phases if p.name == "command" and p.inside]
    span = datetime.fromisoformat(around.finished) - datetime.fromisoformat(around.started)
    return Performance(
        cloud=around.cloud,
        nodes=len(around.nodes),
        command_s=command[0] if command else None,
        total_s=round(max(0.0, span.total_seconds()), 3),
        cost_usd=record.outcome.cost_usd,
        hardware="; ".join(sorted({_hardware(node) for node in around.nodes})) or None,
        oversubscribed=around.oversubscribed,
        placement=around.placement,
    )


def _hardware(node: dict[str, Any]) -> str:
    gpus = ", ".join(str(gpu.get("name")) for gpu in node.get("gpus") or ())
    memory = int(node.get("memory_total_mib") or 0) / 1024
    seen = f"{node.get('cpu')}, {node.get('cpus_online')} online, {memory:.1f} GiB"
    return f"{seen}, {gpus}" if gpus else seen
