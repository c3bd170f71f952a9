"""
What the job that drove a run hands to the one that may write: data, checked by schema.

On the local cloud the experiment's code shared a machine with the program that wrote this, so
nothing in it is believed but what only the run could know: times, what came out, what the machines
were. Who asked, what was to be run and what it is compared with come from the ledger, the verdict
is made anew.

    handover.json     the run's events after the first, how far it is, the files' sizes and hashes
    outputs/<sha256>  the outputs themselves
    logs/<name>.txt
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, StringConstraints, ValidationError

from rpac_ci.bot.svg_safety import is_still
from rpac_ci.canonical import readable_json
from rpac_ci.documents import Model
from rpac_ci.errors import HistoryError
from rpac_ci.events import Event, EventLog, Kind
from rpac_ci.jobs import Keys, Reason
from rpac_ci.pipeline import Pipeline
from rpac_ci.placement import MachineSpec, NodePrice
from rpac_ci.records import ContentComparison, MetricValue, OutputFile, SampleValue
from rpac_ci.run import Step, fold
from rpac_ci.training import TrainingRecord
from rpac_ci.workspace import LOCAL, Workspace

FILE = "handover.json"
MAX_BYTES = 8 * 2**20
MAX_EVENTS = 500
MAX_LOG_BYTES = 4 * 2**20
MAX_FIGURE_BYTES = 128 * 1024  # larger files never go to git
_NO_PART = {"", ".", "..", ".git"}
_SLACK = timedelta(minutes=10)  # between clocks of machines

MAX_LINE = 4096
Line: TypeAlias = Annotated[str, StringConstraints(max_length=MAX_LINE)]
Name: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Hash: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Plain: TypeAlias = bool | int | float | Line | None
Values: TypeAlias = dict[Name, Plain | list[Plain | dict[Name, Plain]] | dict[Name, Plain]]


class _Environment(Model):
    python: Line | None
    packages: Annotated[dict[Name, Line], Field(max_length=2000)]
    hashed: bool
    image: Line | None = None
    images: dict[Name, Line] = Field(default_factory=dict)


class _Data(Model):
    sha256: Hash
    size: Annotated[int, Field(ge=0)] | None


class _Staged(Model):
    environment: _Environment | None
    data: dict[Name, _Data]


class _Provisioned(Model):
    facts: Values
    remarks: Annotated[list[Line], Field(max_length=100)]


class _Watched(Model):
    reason: Annotated[Reason, Field(strict=False)]
    message: Line
    remark: Line = ""


class _NodePhase(Model):
    name: Annotated[str, StringConstraints(max_length=100)]
    start_s: Annotated[float, Field(ge=0, le=1e7)]
    duration_s: Annotated[float, Field(ge=0, le=1e7)]


class _Output(OutputFile):
    size: Annotated[int, Field(ge=0, le=2**53)]
    sha256: Hash


class _Collected(Model):
    exit_code: int | None
    phases: Annotated[list[_NodePhase], Field(max_length=100)]
    outputs: Annotated[list[_Output], Field(max_length=100)]
    extra: Annotated[list[Name], Field(max_length=10_000)]
    workers: Values
    engine: Values
    determinism: dict[Name, Line]
    data_sizes: dict[Name, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    metrics: Annotated[dict[Name, MetricValue], Field(max_length=100)]
    metrics_problem: Line
    samples: Annotated[dict[Name, SampleValue], Field(max_length=100)]
    training: TrainingRecord | None = None
    training_problem: Line = ""
    comparisons: Annotated[list[ContentComparison], Field(max_length=1000)]
    nodes: Annotated[list[Values], Field(max_length=1000)]
    log_tail: Annotated[str, StringConstraints(max_length=16 * 1024)]


class _Price(NodePrice):
    per_hour: Annotated[float, Field(ge=0)]
    region: Line
    date: Line
    source: Line


class _Released(Model):
    left: dict[Name, int]
    cost_usd: Annotated[float, Field(ge=0)] | None = None
    uncollected: bool = False
    spec: MachineSpec | None = None  # what the catalog of the job's version says
    price: _Price | None = None


_RESULTS: Mapping[Step, type[Model]] = {
    Step.STAGE: _Staged,
    Step.PROVISION: _Provisioned,
    Step.WATCH: _Watched,
    Step.COLLECT: _Collected,
    Step.RELEASE: _Released,
}


class _Driver(Model):
    nonce: Line
    host: Line
    pid: int
    started: float


class _Claim(Model):
    step: Annotated[Step, Field(strict=False)]
    driver: _Driver
    lease_s: float


class _Done(Model):
    step: Annotated[Step, Field(strict=False)]
    result: dict[str, Any]


class _Failed(Model):
    step: Annotated[Step, Field(strict=False)]
    message: Line
    hint: Line
    transient: bool
    sign_in: bool = False


class _Cancel(Model):
    why: Line


_BODIES: Mapping[Kind, type[Model]] = {
    Kind.CLAIM: _Claim,
    Kind.DONE: _Done,
    Kind.FAILED: _Failed,
    Kind.CANCEL: _Cancel,
}


class _Event(Model):
    kind: Annotated[Kind, Field(strict=False)]
    at: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
    body: dict[str, Any]


class Handover(Model):
    """`handover.json`."""

    schema_: Annotated[Literal["rpac/handover/1"], Field(alias="schema")] = "rpac/handover/1"
    run: str
    events: Annotated[list[_Event], Field(max_length=MAX_EVENTS)]
    now: Line = ""  # what a run that goes on is at
    problem: Line = ""  # why the job could not go on with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a job has handed over: the run's events after the first, and how far it is."""

    events: Sequence[Event]
    now: str = ""
    problem: str = ""


class HandoverError(HistoryError):
    """What a job handed over cannot be used."""


def export(
    workspace: Workspace, run: str, folder: Path, *, now: str = "", problem: str = ""
) -> None:
    """
    Write what a run hands over: all of one that is released, the events of one that goes on.

    Args:
        workspace: in whose store the run is.
        run: its id.
        folder: to write to.
        now: what a run that goes on is at.
        problem: why it cannot go on.
    """
    storage, keys = workspace.storage, Keys(run)
    events = [e for e in EventLog(storage, run).read()[1:] if e.kind is not Kind.COMMITTED]
    _document(folder, run, events, now=now, problem=problem)
    if not fold(events).ended:
        return
    for entry in storage.list(keys.outputs):
        # of runs elsewhere, the bucket keeps what git does not take
        if workspace.cloud == LOCAL or entry.size <= MAX_FIGURE_BYTES:
            name = entry.key.removeprefix(keys.outputs)
            _write(folder / "outputs" / name, storage.get(entry.key) or b"")
    logs = f"{keys.attempt_folder}logs/"
    for entry in storage.list(logs):
        name = entry.key.removeprefix(logs).replace("/", "-")
        _write(folder / "logs" / name, storage.get(entry.key) or b"")


def export_lost(run: str, folder: Path, message: str, at: str) -> None:
    """Write down that a run came to nothing, and there is nothing of it to release."""
    _document(folder, run, lost(message, at))


def _document(
    folder: Path, run: str, events: Sequence[Event], *, now: str = "", problem: str = ""
) -> None:
    values = [{"kind": e.kind.value, "at": e.at, "body": _lean(e)} for e in events]
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "schema": "rpac/handover/1", "run": run, "events": values,
        "now": now[:MAX_LINE], "problem": problem[:MAX_LINE],
    }  # fmt: skip
    (folder / FILE).write_bytes(readable_json(document))


def _lean(event: Event) -> dict[str, Any]:
    """Without what only the driver needed: the provider's names of what was started."""
    if event.kind is Kind.DONE and event.body["step"] == Step.SUBMIT:
        return {**event.body, "result": {}}
    return event.body


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def read(
    folder: Path | None, run: str, pipeline: Pipeline, *, since: datetime, until: datetime
) -> Told:
    """
    The events after the first of a run, from what another job left.

    Args:
        folder: of that job's results; None when nothing came.
        run: that it was to take.
        pipeline: of the run, from the ledger.
        since: when it was dispatched.
        until: now.

    Raises:
        HandoverError: nothing is there, it does not fit the schema, or it says what cannot be.
    """
    path = folder / FILE if folder else Path(FILE)
    if folder is None or path.is_symlink() or not path.is_file():
        raise HandoverError("the job left no results")
    if path.stat().st_size > MAX_BYTES:
        raise HandoverError(f"the job's results have more than {MAX_BYTES >> 20} MiB")
    try:
        handover = Handover.model_validate(json.loads(path.read_bytes(), parse_constant=_refuse))
        if handover.run != run:
            raise HandoverError("the job's results are those of another run")
        events = [
            _event(number, event, pipeline, since - _SLACK, until + _SLACK)
            for number, event in enumerate(handover.events, 2)
        ]
        return Told(events=events, now=handover.now, problem=handover.problem)
    except ValidationError as exc:
        where = ".".join(str(part) for part in exc.errors()[0]["loc"])
        raise HandoverError(f"the job's results do not fit the schema at {where[:200]}") from exc
    except (ValueError, RecursionError) as exc:
        raise HandoverError("the job's results are not JSON") from exc


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _event(
    number: int, event: _Event, pipeline: Pipeline, since: datetime, until: datetime
) -> Event:
    if event.kind not in _BODIES:
        raise HandoverError(f"a job cannot say that a run is {event.kind}")
    if not since <= datetime.fromisoformat(event.at) <= until:
        raise HandoverError(f"the job's results name a time that cannot be: {event.at}")
    body = _BODIES[event.kind].model_validate(event.body).to_json()
    if event.kind is Kind.DONE:
        step = Step(str(body["step"]))
        result = event.body["result"]
        result = {} if step is Step.SUBMIT else _RESULTS[step].model_validate(result).to_json()
        _check(step, result, pipeline)
        body = {**body, "result": result}
    return Event(number=number, kind=event.kind, at=event.at, body=dict(body))


def _check(step: Step, result: dict[str, Any], pipeline: Pipeline) -> None:
    """
    Raises:
        HandoverError: inputs or outputs that the pipeline does not have.
    """
    if step is Step.STAGE:
        for name, data in result["data"].items():
            ref = pipeline.data.get(name)
            if ref is None or (ref.sha256 and ref.sha256 != data["sha256"]):
                raise HandoverError(f"the job's results name other data: {name!a}")
    if step is Step.COLLECT:
        names = [output["path"] for output in result["outputs"]]
        bad = [n for n in names if not n.isprintable() or _NO_PART & set(n.split("/"))]
        if bad or len(set(names)) < len(names):
            raise HandoverError(f"the job's results name outputs that cannot be: {bad[:1]}")
    if step is Step.RELEASE and pipeline.target.cloud == LOCAL:
        # where its code ran, nobody says what things cost
        result.update(cost_usd=0.0, spec=None, price=None)


def lost(message: str, at: str) -> list[Event]:
    """The events of a run whose job left nothing that can be used."""
    bodies: Sequence[tuple[Step, dict[str, Any]]] = (
        (Step.WATCH, {"reason": Reason.RUNNER_LOST.value, "message": message}),
        (Step.RELEASE, {"left": {}, "cost_usd": None}),
    )
    return [
        Event(number=n, kind=Kind.DONE, at=at, body={"step": step.value, "result": result})
        for n, (step, result) in enumerate(bodies, 2)
    ]


def output(folder: Path, found: OutputFile) -> bytes | None:
    """An output of a job, when it is there, fit for git, and what its hash says."""
    path = folder / "outputs" / found.sha256
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_FIGURE_BYTES:
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != found.sha256:
        return None
    drawn = PurePosixPath(found.path).suffix.lower() == ".svg"
    return None if drawn and not is_still(content) else content
