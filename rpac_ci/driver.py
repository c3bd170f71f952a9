"""
Moves a run along: claim, act, write down. Who calls it is not its business: a terminal, a job in
CI, a timer. Any number of drivers may work on one run; each effect happens once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from rpac_ci import yaml_io
from rpac_ci.errors import CloudError, HistoryError, RpacError, SignInError, StorageError
from rpac_ci.events import LEASE_S, Driver, EventLog, Kind
from rpac_ci.jobs import Keys, Reason, longest_s
from rpac_ci.pipeline import Pipeline
from rpac_ci.quantities import format_duration
from rpac_ci.run import (
    MAX_TRIES,
    UNCOLLECTED,
    Conclude,
    Next,
    Over,
    RunState,
    Step,
    Take,
    Wait,
    fold,
    next_step,
)
from rpac_ci.steps import Steps
from rpac_ci.workspace import Place

SHORTEST_S = 0.01  # most runs that are watched are short
CLOCK_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Something a person following the run wants to know."""

    run: str
    step: str
    status: str  # started | moving | note | done | failed | waiting
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Leave:
    """This step is due, and is not for this driver."""

    step: Step


Notify: TypeAlias = Callable[[Progress], None]
Leaves: TypeAlias = Callable[[Step, Steps], bool]
Decision: TypeAlias = Next | Leave


def read_pipeline(workspace: Place, run: str) -> Pipeline:
    """The pipeline of a run in the store."""
    data = workspace.storage.get_fixed(Keys(run).pipeline)
    if data is None:
        raise HistoryError(f"the store holds no pipeline of the run {run}")
    return load_pipeline(data)


@lru_cache(maxsize=128)  # a run's is read several times, and reading YAML takes its time
def load_pipeline(data: bytes) -> Pipeline:
    """
    A pipeline from its canonical bytes.

    Raises:
        HistoryError: it does not fit the schema, for instance since a newer rpac wrote it.
    """
    from pydantic import ValidationError

    value = yaml_io.loads(data, file="pipeline.yaml").value
    try:
        return Pipeline.model_validate(value)
    except ValidationError as exc:
        schema = value.get("schema") if isinstance(value, dict) else None
        raise HistoryError(
            f"the pipeline (schema {schema}) cannot be read: {exc.errors()[0]['msg']}",
            hint="a newer version of rpac may have written it",
        ) from exc


class RunDriver:
    """One driver of one run."""

    def __init__(
        self,
        workspace: Place,
        run: str,
        *,
        notify: Notify | None = None,
        leaves: Leaves | None = None,
        me: Driver | None = None,
        log: EventLog | None = None,
    ) -> None:
        """
        Args:
            workspace: in whose store the run is.
            run: its id.
            notify: called with `Progress` as the run goes on.
            leaves: says of a step that is due whether another driver should take it.
            me: how this driver signs; by default as a process of this machine.
            log: of whoever has just made the run, which knows its events.
        """
        self._workspace = workspace
        self._run = run
        self._keys = Keys(run)
        self._log = log or EventLog(workspace.storage, run)
        self._me = me or Driver.this()
        self._notify = notify or (lambda _: None)
        self._leaves = leaves
        self._pipeline: Pipeline | None = None
        self._poll_s = SHORTEST_S  # until the cloud is known
        self._watching = False
        self._running = False  # the job, when it was last looked at
        self._look_at_clock = 0.0
        self._failed = False  # the last step, and may be tried again
        self._problem: RpacError | None = None  # of the last step, which leaves the run open

    @property
    def log(self) -> EventLog:
        """The run's events, as far as this driver knows them."""
        return self._log

    def state(self) -> RunState:
        """The run's state, with a request to cancel folded in."""
        state = fold(self._log.follow())
        over = Step.WATCH in state.results or Step.RELEASE in state.results
        if not state.cancelled and not over:
            request = self._workspace.storage.get_json(self._keys.cancel)
            if request is not None and not request.get("stopped"):
                self._log.append(Kind.CANCEL, request, after=state.number)
                state = fold(self._log.follow())
        return state

    def advance(self) -> Decision:
        """
        Take one step, if it is ours to take.

        Returns:
            What was decided; `Take(WATCH)` without an effect while the job goes on, `Leave` for
            what this driver leaves to others, everything released where that is the collecting.
        """
        state = self.state()
        if not state.created:
            raise HistoryError(f"the run {self._run} has no events")
        free = state.claim is not None and (
            state.claim.body["driver"]["nonce"] == self._me.nonce
            or self._log.lease_is_over(state.claim)
        )
        decision = next_step(state, driver=self._me.nonce, claim_is_free=free)
        match decision:
            case Take(step) if self._leaves and self._leaves(step, self._steps(state, step)):
                if step is Step.COLLECT and not state.uncollected:
                    # what collecting needs is in the store and in logs: no machine waits for it
                    self._take(Step.RELEASE, state, uncollected=True)
                return Leave(step)
            case Take(Step.WATCH):
                self._watch(state)
            case Take(step):
                self._take(step, state)
            case Wait(step):
                self._tell(step, "waiting", "another driver is at it")
            case Conclude() | Over():
                pass
        return decision

    def drive(self, *, wait: bool = True, watch: bool = True) -> Decision:
        """
        Advance until everything is released, or what comes next is left to another driver.

        Args:
            wait: for other drivers too; else return their `Wait`.
            watch: the job until it is over; else look once, and return `Take(WATCH)` when it goes
                on.

        Raises:
            RpacError: the store stays away, the release fails again and again, the cloud does not
                say what becomes of the job, or nobody is signed in to it; the run stays open and
                `rpac advance` goes on with it.
        """
        failures, pause = 0, SHORTEST_S
        while True:
            try:
                decision, problem = self.advance(), self._problem
            except (CloudError, StorageError) as exc:  # of the store, or while watching
                decision, problem = None, exc
            failures = failures + 1 if problem else 0
            if problem and (failures >= MAX_TRIES or _is_hopeless(problem, decision)):
                raise self._stays_open(problem)
            match decision:
                case Conclude() | Over() | Leave():
                    return decision
                case Wait() if not wait:
                    return decision
                case Take(Step.WATCH) if self._running and not watch:
                    return decision
                case Take(Step.WATCH) | Wait():
                    time.sleep(pause)
                    pause = min(self._poll_s, 1.2 * pause)
                case None:
                    time.sleep(failures)
                case Take():
                    time.sleep(1 if self._failed else 0)

    def cancel(self, why: str) -> None:
        """Ask that the run stop; whoever drives it will see to it."""
        says = "the nodes are asked to stop; then everything is released and recorded"
        self._notify(Progress(run=self._run, step="cancel", status="note", detail=says))
        self._workspace.storage.create_json(self._keys.cancel, {"why": why})

    def _stays_open(self, problem: RpacError) -> RpacError:
        kind = CloudError if isinstance(problem, CloudError) else StorageError
        hint = f"the run stays open; go on with it later: rpac advance {self._run}"
        return kind(problem.message, hint="; ".join(filter(None, (problem.hint, hint))))

    def _steps(self, state: RunState, step: Step) -> Steps:
        self._pipeline = self._pipeline or read_pipeline(self._workspace, self._run)
        steps = Steps(
            self._workspace, self._run, self._pipeline, state,
            lambda status, text: self._tell(step, status, text),
        )  # fmt: skip
        self._poll_s = steps.capabilities.poll_s
        return steps

    def _take(self, step: Step, state: RunState, *, uncollected: bool = False) -> None:
        claim = {"step": step.value, "driver": self._me.to_json(), "lease_s": LEASE_S}
        if not self._log.append(Kind.CLAIM, claim, after=state.number):
            return
        self._tell(step, "started")
        self._failed, self._problem = False, None
        try:
            with self._log.lease(self._me, LEASE_S):
                result = self._steps(state, step).take(step)
            if uncollected:
                result = {**result, UNCOLLECTED: True}
            self._write(Kind.DONE, {"step": step.value, "result": result})
        except Exception as exc:  # noqa: BLE001 - a run must be able to end, whatever happens
            self._fail(step, exc)
        else:
            self._tell(step, "done")

    def _fail(self, step: Step, exc: Exception) -> None:
        error = exc
        if not isinstance(error, RpacError):
            error = RpacError(f"internal error, {type(exc).__name__}: {exc}")
        transient = error.transient or step is Step.RELEASE  # a release is never given up
        failure: dict[str, Any] = {
            "step": step.value, "message": error.message, "hint": error.hint,
            "transient": transient,
        }  # fmt: skip
        if isinstance(error, SignInError):
            failure["sign_in"] = True
        self._write(Kind.FAILED, failure)
        self._failed = transient
        leaves_open = step is Step.RELEASE or isinstance(error, SignInError)
        self._problem = error if leaves_open else None
        self._tell(step, "failed", self._workspace.public(error.message))

    def _write(self, kind: Kind, body: dict[str, Any]) -> None:
        """Append to what we claimed; if somebody else has the claim by now, drop the result."""
        body = _clean(body, self._workspace.public)
        while True:
            state = fold(self._log.follow())
            mine = state.claim and state.claim.body["driver"]["nonce"] == self._me.nonce
            if not mine:
                self._release_again(state)
                return
            if self._log.append(kind, body, after=state.number):
                return

    def _release_again(self, state: RunState) -> None:
        """What we made too late, after another driver's release, nobody else would release."""
        if Step.RELEASE in state.results:
            with contextlib.suppress(RpacError):  # rpac sweep finds it too
                self._steps(state, Step.RELEASE).take(Step.RELEASE)

    def _watch(self, state: RunState) -> None:
        """Look once; without a claim, since looking has no effect."""
        if not self._watching:
            self._watching = True
            self._tell(Step.WATCH, "started")
        steps = self._steps(state, Step.WATCH)
        if state.cancelled:
            steps.stop()
        self._running = False
        ended = steps.watch()
        if ended is None and (overdue := self._overdue(steps)):
            steps.stop()
            ended = {"reason": Reason.RUNNER_LOST.value, "message": overdue}
        if ended is not None:
            body = {"step": Step.WATCH.value, "result": ended}
            body = _clean(body, self._workspace.public)
            self._log.append(Kind.DONE, body, after=state.number)
            self._tell(Step.WATCH, "done", ended["reason"])
        self._running = ended is None

    def _overdue(self, steps: Steps) -> str:
        """
        Why the job has gone on for too long; empty when it has not.

        Nodes end by themselves; this is for nodes that cannot, and for machines that never come. A
        look now and then will do.
        """
        if time.monotonic() < self._look_at_clock:
            return ""
        self._look_at_clock = time.monotonic() + CLOCK_S
        spec, queue_s = steps.spec(), steps.capabilities.queue_s
        submitted = next(
            event
            for event in self._log.known
            if event.kind is Kind.DONE and event.body["step"] == Step.SUBMIT
        )
        age_s, observed = self._log.age_s(submitted), steps.observed
        if observed and observed.waiting and age_s > queue_s:
            said = f": {observed.detail}" if observed.detail else ""
            return f"no machines came within {format_duration(queue_s)}{said}"
        if age_s > queue_s + longest_s(spec.time_limit_s, spec.waits):
            return "the nodes kept silent past every limit and were ended"
        return ""

    def _tell(self, step: Step, status: str, detail: str = "") -> None:
        self._notify(Progress(run=self._run, step=step.value, status=status, detail=detail))


def _is_hopeless(problem: RpacError, decision: Decision | None) -> bool:
    """Whether trying again at once is of no use: release and store may recover at any time."""
    lasting = isinstance(problem, CloudError) and not problem.transient
    return isinstance(problem, SignInError) or (lasting and decision is None)


def _clean(value: Any, public: Callable[[str], str]) -> Any:
    """Events become records: what they say must be fit to be read by anybody."""
    if isinstance(value, str):
        return public(value)
    if isinstance(value, dict):
        return {key: _clean(item, public) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, public) for item in value]
    return value
