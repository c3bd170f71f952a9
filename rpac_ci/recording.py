"""
Pipeline + events -> record. Pure: made from events only and without a clock, so any writer at any
time makes the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rpac_ci.canonical import Json, canonical_json, digest
from rpac_ci.events import Event, Kind
from rpac_ci.jobs import Reason
from rpac_ci.pipeline import Pipeline, rule_json, science
from rpac_ci.placement import placement
from rpac_ci.records import (
    Circumstances,
    ContentComparison,
    DataIdentity,
    Identity,
    MetricValue,
    Outcome,
    OutputFile,
    Phase,
    Reference,
    Request,
    RunRecord,
    SampleValue,
    Status,
)
from rpac_ci.run import RunState, Step, fold

STATUS_OF: Mapping[Reason, Status] = {
    Reason.COMPLETED: Status.SUCCEEDED,
    Reason.COMMAND_FAILED: Status.FAILED,
    Reason.TIME_LIMIT: Status.FAILED,
    Reason.OUT_OF_MEMORY: Status.FAILED,
    Reason.WORKER_LOST: Status.FAILED,
    Reason.NODE_LOST: Status.COULD_NOT_RUN,
    Reason.CANCELLED: Status.CANCELLED,
    Reason.WORLD_INCOMPLETE: Status.COULD_NOT_RUN,
    Reason.ENGINE_FAILED: Status.COULD_NOT_RUN,
    Reason.STAGING_FAILED: Status.COULD_NOT_RUN,
    Reason.RUNNER_LOST: Status.COULD_NOT_RUN,
}


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
        identity=_identity(pipeline, state.created["pipeline"], staged, collected, observed),
        circumstances=_circumstances(pipeline, state, staged, collected, events),
        outcome=_outcome(state, collected),
        reference=Reference.model_validate(state.created["reference"]),
    )


def _identity(
    pipeline: Pipeline,
    pipeline_digest: str,
    staged: dict[str, Any],
    collected: dict[str, Any],
    observed: Mapping[str, str],
) -> Identity:
    seen, read = staged.get("data", {}), collected.get("data_sizes", {})
    rules: Json = {name: rule_json(rule) for name, rule in pipeline.verify.items()}
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
                # nodes have measured what they checked; before, there is a server's word at most
                size=read.get(name, seen.get(name, {}).get("size")),
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
    provisioned = state.results.get(Step.PROVISION, {})
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
        remarks=[*provisioned.get("remarks", []), *_remarks(state.results.get(Step.WATCH, {}))],
        images=environment.get("images", {}),
        hashed_lock=environment.get("hashed", False),
        oversubscribed=_oversubscribed(pipeline, provisioned),
        placement=placement(
            pipeline.target,
            pipeline.lineage.machine,
            endpoint=provisioned.get("facts", {}).get("endpoint"),
            told=state.results.get(Step.RELEASE, {}),
        ),
        started=state.created_at,
        finished=_finished(events),
        phases=_phases(state, collected, events),
    )


def _remarks(ended: dict[str, Any]) -> list[str]:
    remark = ended.get("remark", "")
    return [remark] if remark else []


def _oversubscribed(pipeline: Pipeline, provisioned: dict[str, Any]) -> bool:
    cores = provisioned.get("facts", {}).get("cores")
    return bool(cores and pipeline.resources.nodes * pipeline.resources.cpus > cores)


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
        samples={
            name: SampleValue.model_validate(s) for name, s in collected.get("samples", {}).items()
        },
        training=collected.get("training"),
        training_problem=collected.get("training_problem", ""),
        comparisons=[ContentComparison.model_validate(c) for c in collected.get("comparisons", [])],
        outputs=[OutputFile.model_validate(o) for o in collected.get("outputs", [])],
        extra=collected.get("extra", []),
        log_tail="" if status is Status.SUCCEEDED else collected.get("log_tail", ""),
        cost_usd=state.results.get(Step.RELEASE, {}).get("cost_usd"),
    )
