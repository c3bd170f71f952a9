"""
Open runs of one store, taken as far as a function can take them without waiting.

May be called with the same runs any number of times, at once and by halves: what a run needs is
said by its events, and done under a claim.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from rpac_ci.driver import Leave, Progress, RunDriver
from rpac_ci.errors import RpacError
from rpac_ci.events import Driver
from rpac_ci.functions.notices import Notices
from rpac_ci.jobs import Keys
from rpac_ci.run import Conclude, Over, RunState, Step, Take, Wait
from rpac_ci.steps import Steps
from rpac_ci.workspace import Place

MARGIN_S = 30.0  # left of the function's time when another step is begun
LOOK_S = 2.0  # between two looks at a job that is about to end
BEFORE_THE_JOB = (Step.STAGE, Step.PROVISION, Step.SUBMIT)

_log = logging.getLogger("rpac")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """How far a run has come; `problem` says why it could not go on."""

    run: str
    status: str
    problem: str = ""


def go_on(
    place: Place, runs: Collection[str] | None, notices: Notices, left_s: Callable[[], float],
    *, patience_s: float = 0,
) -> list[Gone]:  # fmt: skip
    """
    Go on with open runs, each as far as it goes without waiting.

    Args:
        place: whose store has them.
        runs: those that are meant; None means all open ones. What is not open is left out.
        notices: told when a run is at its end, as far as this goes.
        left_s: how long the function may go on, in seconds.
        patience_s: how long to wait for a cloud that calls a job running whose nodes have said
            their last word; nothing else tells where a cloud has no events of jobs.

    Returns:
        What became of each; a run that cannot be helped does not hold up the others.

    Raises:
        StorageError: the store cannot be listed.
    """
    found = sorted(place.storage.names("open/"))
    gone = []
    for run in found:
        if runs is not None and run not in runs:
            continue
        if left_s() < MARGIN_S:
            gone.append(Gone(run=run, status="no time left"))
            continue
        try:
            one = _go_on(place, run, notices, left_s, patience_s)
        except Exception as exc:  # noqa: BLE001 - the others are to be looked after, too
            said = exc.message if isinstance(exc, RpacError) else f"{type(exc).__name__}: {exc}"
            one = Gone(run=run, status="still open", problem=place.public(said))
        _log.log(
            logging.ERROR if one.problem else logging.INFO,
            "%s: %s", run, f"{one.status}: {one.problem}" if one.problem else one.status,
        )  # fmt: skip
        gone.append(one)
    return gone


def _go_on(
    place: Place, run: str, notices: Notices, left_s: Callable[[], float], patience_s: float
) -> Gone:
    failed: list[Progress] = []
    waits_until = time.monotonic() + patience_s

    def told(event: Progress) -> None:
        if event.status == "failed":
            failed.append(event)

    driver = RunDriver(place, run, notify=told, leaves=_beyond, me=Driver.elsewhere())
    if not driver.state().created:
        return Gone(run=run, status="just being started, or never was")
    while left_s() >= MARGIN_S:
        decision = driver.advance()
        if failed:
            last = failed.pop()
            if last.step == Step.RELEASE or driver.state().failure is None:
                # the next event or the timer tries again
                return Gone(run=run, status=f"{last.step} failed", problem=last.detail)
            _log.warning("%s: %s failed: %s", run, last.step, last.detail)
        match decision:
            case Take(Step.WATCH):
                if Step.WATCH in driver.state().results:
                    continue
                if time.monotonic() > waits_until or place.storage.head(Keys(run).done) is None:
                    return Gone(run=run, status="running")
                time.sleep(LOOK_S)
            case Take(step):
                _log.info("%s: %s", run, step)
            case Wait(step):
                return Gone(run=run, status=f"another driver is at {step}")
            case Leave(step) if step in BEFORE_THE_JOB:
                return Gone(run=run, status=f"{step} is left to a driver with a checkout")
            case Leave(step):
                notices.give(run, place.cloud, f"to be {step}ed")
                return Gone(run=run, status=f"{step} is left to a driver with a checkout")
            case Conclude():
                notices.give(run, place.cloud, ending(driver.state()))
                return Gone(run=run, status="released")
            case Over():
                place.storage.delete(Keys(run).notice)
                return Gone(run=run, status="over")
    return Gone(run=run, status="no time left")


def _beyond(step: Step, steps: Steps) -> bool:
    """What needs a checkout, a container engine, or what the extra `compare` brings."""
    return step in BEFORE_THE_JOB or (step is Step.COLLECT and steps.compares())


def ending(state: RunState) -> str:
    """How a released run has ended, in a word or two; its verdict comes later."""
    if state.cancelled:
        return "cancelled"
    if state.failure:
        return f"{state.failure.step} failed"
    return str(state.results[Step.WATCH]["reason"])
