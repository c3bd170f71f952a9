"""
Run record: what was asked, how it was done, what came out. Pure: pipeline + events -> record.

Made from events only and without a clock, so any writer at any time makes the same bytes. Paths of
machines, host names and users have no place in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from rpac_ci.canonical import Json, canonical_json, digest, readable_json
from rpac_ci.events import Event, Kind
from rpac_ci.experiment_model import Arg, Engine, Model
from rpac_ci.jobs import Reason
from rpac_ci.pipeline import EnvironmentRef, Pipeline, SourceRef, science
from rpac_ci.run import RunState, Step, fold


class Status(StrEnum):
    """How a run ended, before its result is judged."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COULD_NOT_RUN = "could not run"
    CANCELLED = "cancelled"


STATUS_OF: Mapping[Reason, Status] = {
    Reason.COMPLETED: Status.SUCCEEDED,
    Reason.COMMAND_FAILED: Status.FAILED,
    Reason.TIME_LIMIT: Status.FAILED,
    Reason.WORKER_LOST: Status.FAILED,
    Reason.CANCELLED: Status.CANCELLED,
    Reason.WORLD_INCOMPLETE: Status.COULD_NOT_RUN,
    Reason.ENGINE_FAILED: Status.COULD_NOT_RUN,
    Reason.STAGING_FAILED: Status.COULD_NOT_RUN,
    Reason.RUNNER_LOST: Status.COULD_NOT_RUN,
}


class MetricValue(Model):
    """One number and its unit, if it has one."""

    value: int | float
    unit: str | None = None


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
    started: str
    finished: str
    phases: list[Phase]


class OutputFile(Model):
    """One declared output."""

    path: str
    size: int
    sha256: str


class Outcome(Model):
    """What came out."""

    status: Annotated[Status, Field(strict=False)]
    reason: str
    message: str
    hint: str = ""
    exit_code: int | None
    metrics: dict[str, MetricValue]
    metrics_problem: str
    outputs: list[OutputFile]
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


class Agreement(StrEnum):
    """What one comparison found, best first."""

    IDENTICAL = "identical"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERENT = "different"
    MISSING = "missing"
    NOT_COMPARED = "not compared"


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

    def to_bytes(self) -> bytes:
        """The bytes of `record.json`."""
        return readable_json(self.to_json())


def build(run: str, pipeline: Pipeline, events: Sequence[Event]) -> RunRecord:
    """The record of a run that is over, still without its verdict."""
    state = fold(events)
    staged = state.results.get(Step.STAGE, {})
    collected = state.results.get(Step.COLLECT, {})
    observed = {name: item["sha256"] for name, item in staged.get("data", {}).items()}
    return RunRecord(
        run=run,
        experiment=pipeline.id,
        title=pipeline.title,
        identity=_identity(pipeline, state.created["pipeline"], staged, observed),
        circumstances=_circumstances(pipeline, state, staged, collected, events),
        outcome=_outcome(state, collected),
        reference=Reference.model_validate(state.created["reference"]),
    )


def _identity(
    pipeline: Pipeline, pipeline_digest: str, staged: dict[str, Any], observed: Mapping[str, str]
) -> Identity:
    seen = staged.get("data", {})
    rules: Json = {name: rule.to_json() for name, rule in pipeline.verify.items()}
    return Identity(
        pipeline=pipeline_digest,
        science=science(pipeline, observed).digest,
        source=pipeline.source,
        command=pipeline.command,
        engine=pipeline.engine,
        environment=pipeline.environment,
        data={
            name: DataIdentity(
                uri=ref.uri,
                sha256=seen.get(name, {}).get("sha256") or ref.sha256,
                size=seen.get(name, {}).get("size"),
                pinned_by=ref.pinned_by or "run",
            )
            for name, ref in pipeline.data.items()
        },
        args=pipeline.args,
        seed=pipeline.seed,
        rules=digest(canonical_json(rules)),
        reproduces=pipeline.lineage.reproduces,
        changes=pipeline.lineage.changes,
    )


def _circumstances(
    pipeline: Pipeline,
    state: RunState,
    staged: dict[str, Any],
    collected: dict[str, Any],
    events: Sequence[Event],
) -> Circumstances:
    environment = staged.get("environment") or {}
    return Circumstances(
        requested=Request.model_validate(state.created["requested"]),
        rpac=state.created["rpac"],
        cloud=pipeline.target.cloud,
        runtime=pipeline.target.runtime,
        nodes=collected.get("nodes", []),
        workers=collected.get("workers", {}),
        engine=collected.get("engine", {}),
        python=environment.get("python"),
        packages=environment.get("packages", {}),
        determinism=collected.get("determinism", {}),
        remarks=state.results.get(Step.PROVISION, {}).get("remarks", []),
        started=state.created_at,
        finished=_finished(events),
        phases=_phases(state, collected, events),
    )


def _finished(events: Sequence[Event]) -> str:
    """When everything was released; what comes after is bookkeeping."""
    released = [e.at for e in events if e.kind is Kind.DONE and e.body["step"] == Step.RELEASE]
    return (released or [events[-1].at])[-1]


def _phases(state: RunState, collected: dict[str, Any], events: Sequence[Event]) -> list[Phase]:
    def since(at: str) -> float:
        start = datetime.fromisoformat(state.created_at)
        return max(0.0, (datetime.fromisoformat(at) - start).total_seconds())

    phases: list[Phase] = []
    begun: dict[str, float] = {}
    for event in events:
        step = event.body.get("step", "")
        if event.kind is Kind.CLAIM:
            begun.setdefault(step, since(event.at))
        elif event.kind in (Kind.DONE, Kind.FAILED):
            end = since(event.at)
            start = begun.pop(step, end)
            phases.append(_phase(step, start, end - start))
            if step == Step.SUBMIT:
                begun[Step.WATCH] = end
    watch = next((p.start_s for p in phases if p.name == Step.WATCH), None)
    if watch is not None:
        phases += [
            _phase(p["name"], watch + p["start_s"], p["duration_s"], inside=Step.WATCH.value)
            for p in collected.get("phases", [])
        ]
    return phases


def _phase(name: str, start: float, duration: float, inside: str | None = None) -> Phase:
    return Phase(
        name=str(name),
        start_s=round(start, 3),
        duration_s=round(max(0.0, duration), 3),
        inside=inside,
    )


def _outcome(state: RunState, collected: dict[str, Any]) -> Outcome:
    ended = state.results.get(Step.WATCH, {})
    reason, message, hint = ended.get("reason", ""), ended.get("message", ""), ""
    status = STATUS_OF[Reason(reason)] if reason else Status.COULD_NOT_RUN
    if state.failure and state.failure.step is not Step.RELEASE:
        status, reason = Status.COULD_NOT_RUN, f"{state.failure.step} failed"
        message, hint = state.failure.message, state.failure.hint
    if state.cancelled and status in (Status.COULD_NOT_RUN, Status.CANCELLED):
        status, reason = Status.CANCELLED, Reason.CANCELLED
        message = state.cancelled.get("why", "")
    return Outcome(
        status=status,
        reason=str(reason),
        message=message,
        hint=hint,
        exit_code=collected.get("exit_code"),
        metrics={n: MetricValue.model_validate(m) for n, m in collected.get("metrics", {}).items()},
        metrics_problem=collected.get("metrics_problem", ""),
        outputs=[OutputFile.model_validate(o) for o in collected.get("outputs", [])],
        extra=collected.get("extra", []),
        log_tail="" if status is Status.SUCCEEDED else collected.get("log_tail", ""),
        cost_usd=state.results.get(Step.RELEASE, {}).get("cost_usd"),
    )


def summary(record: RunRecord) -> dict[str, Any]:
    """The circumstances that people compare first, flat."""
    around = record.circumstances
    engine = around.engine
    versions = engine.get("versions", {})
    flat: dict[str, Any] = {
        "cloud": around.cloud,
        "runtime": around.runtime,
        "nodes": len(around.nodes),
        "workers": around.workers.get("seen"),
        "python": around.python,
        "rpac": around.rpac,
        "source.commit": record.identity.source.commit,
        "packages": digest(canonical_json(around.packages)) if around.packages else None,
    }
    for key in ("cpu", "kernel", "system", "machine"):
        flat[key] = ", ".join(sorted({str(node.get(key)) for node in around.nodes})) or None
    for name, version in versions.items():
        flat[f"engine.{name}"] = version
    return flat


def as_reference(record: RunRecord) -> ReferenceRun:
    """A past run in the form that others are compared with."""
    return ReferenceRun(
        run=record.run,
        science=record.identity.science,
        metrics=record.outcome.metrics,
        outputs={output.path: output.sha256 for output in record.outcome.outputs},
        summary=summary(record),
    )
