"""
Short words for the values that many tests need: an experiment, its pipeline, a run and its record.

A run's record is made by `records.build` from events, as in a real run; nothing here is a mock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rpac_ci.canonical import Json, canonical_json
from rpac_ci.events import Event, Kind
from rpac_ci.experiment_model import Experiment
from rpac_ci.jobs import JobSpec, RunId
from rpac_ci.pipeline import Definition, Pipeline, compile_pipeline, define, science
from rpac_ci.placement import bought
from rpac_ci.recording import build
from rpac_ci.records import Reference, ReferenceKind, RunRecord, as_reference
from rpac_ci.source_trees import SourceFile, SourceTree, make

RUN = "20260102T030405Z-0a1b2c3d"
PAST = "20251231T235959Z-99999999"
LOCK = b"distributed==2026.1.0\n"
FILES: Mapping[str, bytes] = {"main.py": b"print(1)\n", "requirements.lock": LOCK}


def sha256(data: bytes) -> str:
    """Hash of bytes as plain hex."""
    return hashlib.sha256(data).hexdigest()


def experiment(**keys: Any) -> Experiment:
    """The smallest experiment, with these keys on top, as they stand in a file."""
    least = {"id": "exp", "title": "One", "engine": "process", "command": ["python", "main.py"]}
    return Experiment.model_validate({**least, **keys})


def tree(files: Mapping[str, bytes] = FILES, **origin: Any) -> SourceTree:
    """Source files by path."""
    return make([SourceFile(path, False, content) for path, content in files.items()], **origin)


def definition(*, source: SourceTree | None = None, **keys: Any) -> Definition:
    """Definition of an experiment with these keys."""
    return define(experiment(**keys), source or tree())


def pipeline(**keys: Any) -> Pipeline:
    """Pipeline of an experiment with these keys, on the local cloud."""
    return compile_pipeline(definition(**keys))


def make_spec(**keys: Any) -> JobSpec:
    """A job with these keys; nothing of it is in a store."""
    least: dict[str, Any] = {
        "run": RunId(RUN), "attempt": 1, "experiment": "exp", "engine": "process",
        "on_worker_loss": "tolerate", "command": ["python", "main.py"], "args": {}, "data": [],
        "source": "content/sha256/0", "outputs": ["metrics.json"], "seed": None, "nodes": 1,
        "cpus": 1, "memory_mib": 1024, "time_limit_s": 60.0,
    }  # fmt: skip
    return JobSpec(**{**least, **keys})


def values(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """`{"km": (3, "km"), "f1": 0.9}` in the form that `metrics.json` is kept in."""
    pairs = {n: m if isinstance(m, tuple) else (m, None) for n, m in metrics.items()}
    return {name: {"value": value, "unit": unit} for name, (value, unit) in pairs.items()}


def events(*facts: tuple[Kind, dict[str, Any]], first: int = 1) -> list[Event]:
    """Facts as events, one a second, as they are read back from a store."""
    return [
        Event(number=n, kind=kind, at=f"2026-01-02T03:{4 + n // 60:02d}:{n % 60:02d}.000Z",
              body=json.loads(canonical_json(body)))
        for n, (kind, body) in enumerate(facts, first)
    ]  # fmt: skip


def created(pipe: Pipeline, reference: Reference | None = None, **more: Any) -> dict[str, Any]:
    """Body of a run's first event."""
    return {
        "pipeline": pipe.digest,
        "source_archive": sha256(b"archive"),
        "folder": "experiments/exp",
        "requested": {"via": "cli", "actor": None, "words": "reproduce exp"},
        "rpac": "0.1.0",
        "reference": (reference or expect(pipe)).to_json(),
        "commit": True,
        **more,
    }


def expect(pipe: Pipeline) -> Reference:
    """The values declared in the experiment that this pipeline was made of, unchanged."""
    return Reference(kind=ReferenceKind.EXPECT, science=science(pipe).digest)


def nothing() -> Reference:
    """Nothing to compare with."""
    return Reference(kind=ReferenceKind.NONE)


def at_run(record: RunRecord) -> Reference:
    """`@run`."""
    return Reference(kind=ReferenceKind.RUN, runs=[as_reference(record)])


def accepted(*records: RunRecord) -> Reference:
    """The accepted set."""
    return Reference(kind=ReferenceKind.ACCEPTED, runs=[as_reference(record) for record in records])


def finished(
    pipe: Pipeline,
    reference: Reference | None = None,
    *,
    metrics: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    run: str = RUN,
    data: Mapping[str, bytes] | None = None,
    metrics_problem: str = "",
    reason: str = "completed",
    message: str = "",
    log_tail: str = "",
    collected: Mapping[str, Any] | None = None,
    endpoint: str | None = None,
    cost_usd: float | None = 0.0,
) -> RunRecord:
    """
    The record of a run that went through all its steps.

    Args:
        pipe: what was run.
        reference: what it is compared with; the declared values when None.
        metrics: content of `metrics.json`; no such file when None.
        files: the other outputs.
        run: its id.
        data: content of the inputs that the run saw.
        metrics_problem: why `metrics.json` could not be read.
        reason: how the job ended.
        message: more about it.
        log_tail: the end of the log.
        collected: further results of the step `collect`.
        endpoint: of a stand-in of the provider.
        cost_usd: of the machines.
    """
    outputs = dict(files or {})
    if metrics is not None or metrics_problem:
        outputs["metrics.json"] = repr(metrics).encode()
    seen: dict[str, Json] = {
        name: {"sha256": sha256(content), "size": len(content)}
        for name, content in (data or {}).items()
    }
    result = {
        "exit_code": 0 if reason == "completed" else 1,
        "metrics": values(metrics or {}),
        "metrics_problem": metrics_problem,
        "outputs": [
            {"path": path, "size": len(content), "sha256": sha256(content)}
            for path, content in sorted(outputs.items())
        ],
        "log_tail": log_tail,
        **(collected or {}),
    }
    facts = {"endpoint": endpoint} if endpoint else {}
    told = story(pipe, reference, seen, reason, message, result, facts=facts, cost_usd=cost_usd)
    return build(run, pipe, told)


def story(
    pipe: Pipeline,
    reference: Reference | None = None,
    seen: Mapping[str, Json] | None = None,
    reason: str = "completed",
    message: str = "",
    result: Mapping[str, Any] | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
    cost_usd: float | None = 0.0,
) -> list[Event]:
    """All events of a run whose steps each went well at the first try."""
    results: Sequence[tuple[str, dict[str, Any]]] = [
        ("stage", {"data": dict(seen or {}), "environment": None}),
        ("provision", {"facts": dict(facts or {}), "remarks": []}),
        ("submit", {}),
        ("watch", {"reason": reason, "message": message}),
        ("collect", dict(result or {})),
        ("release", {"left": {}, "cost_usd": cost_usd, **bought(pipe.target)}),
    ]
    told: list[tuple[Kind, dict[str, Any]]] = [(Kind.CREATED, created(pipe, reference))]
    for step, outcome in results:
        if step != "watch":
            told.append((Kind.CLAIM, claim(step)))
        told.append((Kind.DONE, {"step": step, "result": outcome}))
    return events(*told)


def claim(step: str, nonce: str = "me") -> dict[str, Any]:
    """Body of a claim."""
    driver = {"nonce": nonce, "host": "boot-1", "pid": 4711, "started": 1.0}
    return {"step": step, "driver": driver, "lease_s": 60.0}
