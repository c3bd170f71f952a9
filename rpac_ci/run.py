"""
A run is an immutable pipeline plus its events. Pure: state is the fold of the events, the next step
a function of that state. `driver.advance` takes the step.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

from rpac_ci.events import Event, Kind
from rpac_ci.jobs import RunId

MAX_TRIES = 3
UNCOLLECTED = "uncollected"  # in the result of a release that came before the collecting


class Step(StrEnum):
    """The steps of a run in their order; each may be repeated without harm."""

    STAGE = "stage"
    PROVISION = "provision"
    SUBMIT = "submit"
    WATCH = "watch"
    COLLECT = "collect"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a step failed for good."""

    step: Step
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What the events say so far."""

    created: dict[str, Any] = field(default_factory=dict)
    created_at: str = ""
    number: int = 0
    results: dict[Step, dict[str, Any]] = field(default_factory=dict)
    tries: dict[Step, int] = field(default_factory=dict)  # failed ones
    claim: Event | None = None
    failure: Failure | None = None
    cancelled: dict[str, Any] | None = None
    submitting: bool = False  # a submit was claimed, so nodes may exist
    committed: dict[str, Any] | None = None

    @property
    def uncollected(self) -> bool:
        """Whether who released it could not collect, so that another driver is to do that."""
        early = self.results.get(Step.RELEASE, {}).get(UNCOLLECTED, False)
        return bool(early) and not self.lost and Step.COLLECT not in self.results

    @property
    def ended(self) -> bool:
        """Whether everything is released and collected: only the verdict is missing."""
        return Step.RELEASE in self.results and not self.uncollected

    @property
    def lost(self) -> bool:
        """Whether a step has failed without which there is nothing more to do but the release."""
        # a release may be tried before the collecting, and its failure says nothing of that
        released = self.failure and self.failure.step is Step.RELEASE
        return self.failure is not None and not (released and Step.WATCH in self.results)


def new_run_id(moment: datetime | None = None) -> RunId:
    """
    UTC time, then milliseconds and chance in hex: sorts by time, needs no counter.

    `20260102T030405Z-29f1a2b3` is the 671st (0x29f) millisecond of that second.
    """
    moment = moment or datetime.now(UTC)
    milliseconds = moment.microsecond // 1000
    return RunId(f"{moment:%Y%m%dT%H%M%SZ}-{milliseconds:03x}{secrets.randbits(20):05x}")


def fold(events: Sequence[Event]) -> RunState:
    """The state after the events, oldest first."""
    state = RunState()
    for event in events:
        state = _apply(replace(state, number=event.number), event)
    return state


def _apply(state: RunState, event: Event) -> RunState:
    body = event.body
    match event.kind:
        case Kind.CREATED:
            return replace(state, created=body, created_at=event.at)
        case Kind.CLAIM:
            submitting = state.submitting or body["step"] == Step.SUBMIT
            return replace(state, claim=event, submitting=submitting)
        case Kind.DONE:
            step = Step(body["step"])
            return replace(state, results={**state.results, step: body["result"]}, claim=None)
        case Kind.FAILED:
            return _failed(replace(state, claim=None), Step(body["step"]), body)
        case Kind.CANCEL:
            if Step.RELEASE in state.results:
                return state  # too late: the run may be in the log already
            return replace(state, cancelled=state.cancelled or body)
        case Kind.COMMITTED:
            return replace(state, committed=body)


def _failed(state: RunState, step: Step, body: dict[str, Any]) -> RunState:
    if body.get("sign_in"):
        return state  # it says nothing about the step: whoever is signed in may take it
    tries = {**state.tries, step: state.tries.get(step, 0) + 1}
    state = replace(state, tries=tries)
    if body["transient"] and tries[step] < MAX_TRIES:
        return state
    failure = Failure(step=step, message=body["message"], hint=body.get("hint", ""))
    return replace(state, failure=state.failure or failure)


@dataclass(frozen=True, slots=True)
class Take:
    """Claim this step and take it."""

    step: Step


@dataclass(frozen=True, slots=True)
class Wait:
    """Another driver holds the claim."""

    step: Step


@dataclass(frozen=True, slots=True)
class Conclude:
    """Everything is released: make the record and commit it."""


@dataclass(frozen=True, slots=True)
class Over:
    """The run is committed."""


Next: TypeAlias = Take | Wait | Conclude | Over


def next_step(state: RunState, *, driver: str, claim_is_free: bool) -> Next:
    """
    What a driver does next.

    Args:
        state: fold of the events.
        driver: nonce of the driver that asks.
        claim_is_free: the lease of the current claim, if any, has run out.
    """
    if state.committed is not None:
        return Over()
    if state.ended:
        return Conclude()
    step = _due(state)
    claim = state.claim
    if claim and claim.body["driver"]["nonce"] != driver and not claim_is_free:
        return Wait(Step(claim.body["step"]))
    return Take(step)


def _due(state: RunState) -> Step:
    if state.lost or (state.cancelled and not state.submitting):
        return Step.RELEASE
    return next(step for step in Step if step not in state.results)
