"""A run is the fold of its events; whoever drives it, however often, it is released and ends."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rpac_ci.events import Event, Kind
from rpac_ci.run import (
    MAX_TRIES,
    UNCOLLECTED,
    Conclude,
    Failure,
    Next,
    Over,
    RunState,
    Step,
    Take,
    Wait,
    fold,
    new_run_id,
    next_step,
)
from tests.unit.builders import claim, events

ORDER = list(Step)
Fact = tuple[Kind, dict[str, Any]]


def created() -> Fact:
    return Kind.CREATED, {"rpac": "0.1.0"}


def claimed(step: str, by: str = "me") -> Fact:
    return Kind.CLAIM, claim(step, by)


def done(*steps: str) -> list[Fact]:
    return [(Kind.DONE, {"step": step, "result": {"of": step}}) for step in steps]


def failed(step: str, *, transient: bool = False, message: str = "no luck") -> Fact:
    body = {"step": step, "message": message, "hint": "try", "transient": transient}
    return Kind.FAILED, body


def signed_out(step: str) -> Fact:
    kind, body = failed(step, transient=True, message="the token has expired")
    return kind, {**body, "sign_in": True}


def cancelled(why: str = "Ctrl-C") -> Fact:
    return Kind.CANCEL, {"why": why}


STAGED = done("stage")
SUBMITTED = [*done("stage", "provision"), claimed("submit"), *done("submit")]
COMMITTED: Fact = (Kind.COMMITTED, {"log": "c0ffee"})


def decide(*facts: Fact | list[Fact], me: str = "me", free: bool = False) -> Next:
    """What a driver does next after these facts."""
    flat = [created()]
    for fact in facts:
        flat += fact if isinstance(fact, list) else [fact]
    return next_step(fold(events(*flat)), driver=me, claim_is_free=free)


# --- each step in its order -------------------------------------------------------------------


def test_the_steps_and_their_order() -> None:
    assert [step.value for step in Step] == [
        "stage", "provision", "submit", "watch", "collect", "release",
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ORDER)))
def test_after_some_steps_comes_the_next_one(number: int) -> None:
    assert decide(done(*ORDER[:number])) == Take(ORDER[number])


def test_after_the_release_comes_the_record_and_then_nothing() -> None:
    assert decide(done(*ORDER)) == Conclude()
    assert decide(done(*ORDER), COMMITTED) == Over()


# what happened, what comes next
FAILURES: dict[str, tuple[list[Fact | list[Fact]], Next]] = {
    "a failure that may pass": ([failed("stage", transient=True)], Take(Step.STAGE)),
    "two that may pass": ([failed("stage", transient=True)] * 2, Take(Step.STAGE)),
    "nobody signed in, however often": ([signed_out("stage")] * 9, Take(Step.STAGE)),
    "as many as are too many": ([failed("stage", transient=True)] * MAX_TRIES, Take(Step.RELEASE)),
    "tries are counted step by step": (
        [*[failed("stage", transient=True)] * 2, STAGED, failed("provision", transient=True)],
        Take(Step.PROVISION),
    ),
    "a failure for good": ([failed("stage")], Take(Step.RELEASE)),
    "no machines": ([done("stage"), failed("provision")], Take(Step.RELEASE)),
    "nodes do not start": ([done("stage", "provision"), failed("submit")], Take(Step.RELEASE)),
    "outputs are not there": (
        [done("stage", "provision", "submit", "watch"), failed("collect")], Take(Step.RELEASE),
    ),
    "released after a failure": ([failed("stage"), *done("release")], Conclude()),
    "the release fails": (
        [done(*ORDER[:-1]), failed("release", transient=True)], Take(Step.RELEASE),
    ),
    "the release fails again and again": (
        [done(*ORDER[:-1]), *[failed("release", transient=True)] * 9], Take(Step.RELEASE),
    ),
    # --- cancelled
    "cancelled before anything": ([cancelled()], Take(Step.RELEASE)),
    "cancelled before the submit": ([done("stage", "provision"), cancelled()], Take(Step.RELEASE)),
    "cancelled while submitting: nodes may be there": (
        [done("stage", "provision"), claimed("submit"), cancelled()], Take(Step.SUBMIT),
    ),
    "cancelled after the submit: the nodes are ended and their logs kept": (
        [SUBMITTED, cancelled()], Take(Step.WATCH),
    ),
    "cancelled and ended": (
        [SUBMITTED, cancelled(), *done("watch")], Take(Step.COLLECT),
    ),
    "cancelled too late": ([done(*ORDER), cancelled()], Conclude()),
    "cancelled, and the submit fails": (
        [done("stage", "provision"), claimed("submit"), cancelled(), failed("submit")],
        Take(Step.RELEASE),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "then"), FAILURES.values(), ids=FAILURES)
def test_failures_and_cancellation(facts: list[Fact | list[Fact]], then: Next) -> None:
    assert decide(*facts) == then


# --- claims -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "free", "then"),
    [
        ([claimed("stage", "me")], False, Take(Step.STAGE)),
        ([claimed("stage", "other")], False, Wait(Step.STAGE)),
        ([claimed("stage", "other")], True, Take(Step.STAGE)),
        ([claimed("stage", "other"), *STAGED], False, Take(Step.PROVISION)),
        ([claimed("stage", "other"), failed("stage", transient=True)], False, Take(Step.STAGE)),
        ([*STAGED, claimed("provision", "other"), cancelled()], False, Wait(Step.PROVISION)),
        ([*STAGED, claimed("provision", "other"), cancelled()], True, Take(Step.RELEASE)),
        (
            [*done("stage", "provision"), claimed("submit", "x"), cancelled()],
            False,
            Wait(Step.SUBMIT),
        ),
        (
            [*done("stage", "provision"), claimed("submit", "x"), cancelled()],
            True,
            Take(Step.SUBMIT),
        ),
        ([failed("stage"), claimed("release", "other")], False, Wait(Step.RELEASE)),
        ([failed("stage"), claimed("release", "other")], True, Take(Step.RELEASE)),
        ([claimed("stage", "other"), claimed("stage", "me")], False, Take(Step.STAGE)),
        ([claimed("stage", "me"), claimed("stage", "other")], False, Wait(Step.STAGE)),
    ],
)
def test_claims(facts: list[Fact], free: bool, then: Next) -> None:
    assert decide(*facts, free=free) == then


EARLY = (Kind.DONE, {"step": "release", "result": {"left": {}, UNCOLLECTED: True}})
WATCHED = [created(), *done(*ORDER[:4])]


@pytest.mark.parametrize(
    ("facts", "then"),
    [
        ([EARLY], Take(Step.COLLECT)),
        ([EARLY, claimed("collect", "other")], Wait(Step.COLLECT)),
        ([EARLY, failed("collect", transient=True)], Take(Step.COLLECT)),
        ([EARLY, failed("collect")], Conclude()),
        ([EARLY, *done("collect")], Conclude()),
        ([EARLY, cancelled()], Take(Step.COLLECT)),
        ([failed("release", transient=True)] * MAX_TRIES, Take(Step.COLLECT)),
        ([*[failed("release", transient=True)] * MAX_TRIES, EARLY], Take(Step.COLLECT)),
        ([*[failed("release", transient=True)] * MAX_TRIES, *done("collect")], Take(Step.RELEASE)),
        ([*done("release")], Conclude()),  # as a lost runner's
    ],
)
def test_what_was_released_early_is_collected_by_another(facts: list[Fact], then: Next) -> None:
    assert decide(WATCHED, facts) == then


def test_two_drivers_take_turns() -> None:
    facts: list[Fact] = []
    for number, step in enumerate(ORDER):
        me, other = ("a", "b") if number % 2 else ("b", "a")
        assert decide(facts, me=me) == Take(step)
        facts.append(claimed(step, me))
        assert decide(facts, me=other) == Wait(step)
        facts += done(step)
    assert decide(facts, me="a") == decide(facts, me="b") == Conclude()


# --- what the state remembers ------------------------------------------------------------------


def test_the_state_remembers_results_and_the_first_failure() -> None:
    state = fold(
        events(
            created(),
            *done("stage"),
            failed("provision", message="first"),
            failed("release", transient=True, message="later"),
            failed("release", transient=True),
            failed("release", transient=True),
        )
    )
    assert state.results == {Step.STAGE: {"of": "stage"}}
    assert state.failure == Failure(step=Step.PROVISION, message="first", hint="try")
    assert state.tries == {Step.PROVISION: 1, Step.RELEASE: 3}
    assert (state.number, state.created_at) == (6, "2026-01-02T03:04:01.000Z")


def test_the_first_word_of_a_cancellation_stands() -> None:
    state = fold(events(created(), cancelled("first"), cancelled("second")))
    assert state.cancelled == {"why": "first"}


def test_no_events_no_state() -> None:
    assert fold([]) == RunState()


def test_folding_on_is_folding_all() -> None:
    log = events(
        created(), claimed("stage"), *done("stage"), cancelled(), *done("release"), COMMITTED
    )
    assert fold(log) == fold(list(log))
    assert fold(log[:3]).committed is None
    assert fold(log).committed == {"log": "c0ffee"}


def test_ids_of_runs_sort_by_time() -> None:
    moments = [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)]
    ids = [new_run_id(moment) for moment in moments]
    assert ids == sorted(ids)
    assert re.fullmatch(r"20260102T030405Z-[0-9a-f]{8}", ids[0])
    assert new_run_id(moments[0]) != new_run_id(moments[0])


# --- any number of drivers, dying at any moment -------------------------------------------------

DRIVERS = ("a", "b", "c")
drivers = st.sampled_from(DRIVERS)


class Fleet(RuleBasedStateMachine):
    """
    Drivers that claim, act and write as `driver.RunDriver` does, each on what it last read.

    They lose races, stall past their lease, die in the middle, and somebody cancels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Event] = events((Kind.CREATED, {}))
        self.read: dict[str, int] = dict.fromkeys(DRIVERS, 1)  # events each has read
        self.at: dict[str, Step] = {}  # what each is at, believing to hold the claim

    def append(self, fact: Fact, after: int) -> bool:
        """Create-if-absent at the next number."""
        if len(self.log) != after:
            return False
        self.log += events(fact, first=after + 1)
        return True

    def decide(self, driver: str, *, free: bool) -> tuple[Next, int]:
        """What a driver decides on what it has read."""
        state = fold(self.log[: self.read[driver]])
        return next_step(state, driver=driver, claim_is_free=free), state.number

    @rule(driver=drivers)
    def look(self, driver: str) -> None:
        self.read[driver] = len(self.log)

    @rule(driver=drivers, lease_over=st.booleans())
    def advance(self, driver: str, lease_over: bool) -> None:
        if driver in self.at:
            return
        decision, number = self.decide(driver, free=lease_over)
        match decision:
            case Take(Step.WATCH):
                pass  # see `end_of_job`
            case Take(step):
                if self.append(claimed(step, driver), number):
                    self.at[driver] = step
            case Conclude():
                self.append(COMMITTED, number)
            case Wait() | Over():
                pass
        self.read[driver] = len(self.log)

    @rule(driver=drivers)
    def end_of_job(self, driver: str) -> None:
        decision, number = self.decide(driver, free=False)
        if decision == Take(Step.WATCH):
            self.append(done("watch")[0], number)

    @precondition(lambda self: self.at)
    @rule(driver=drivers, how=st.sampled_from(["done", "done", "fails", "fails for good", "dies"]))
    def finish(self, driver: str, how: str) -> None:
        step = self.at.pop(driver, None)
        if step is None or how == "dies":
            return
        holder = fold(self.log).claim
        if holder is None or holder.body["driver"]["nonce"] != driver:
            return  # a zombie's result is dropped
        for_good = how == "fails for good" and step is not Step.RELEASE
        fact = done(step)[0] if how == "done" else failed(step, transient=not for_good)
        self.append(fact, len(self.log))

    @rule()
    def cancel(self) -> None:
        state = fold(self.log)
        if not state.cancelled and Step.WATCH not in state.results:
            self.append(cancelled(), len(self.log))

    @invariant()
    def steps_are_done_once_and_in_order(self) -> None:
        steps = [Step(e.body["step"]) for e in self.log if e.kind is Kind.DONE]
        forward = [step for step in steps if step is not Step.RELEASE]
        assert forward == ORDER[: len(forward)]
        assert steps.count(Step.RELEASE) <= 1

    @invariant()
    def nothing_follows_the_release_but_the_commit_and_nothing_the_commit(self) -> None:
        kinds = [event.kind for event in self.log]
        released = [n for n, e in enumerate(self.log) if e.body.get("step") == Step.RELEASE]
        for number in released:
            if self.log[number].kind is Kind.DONE:
                assert set(kinds[number + 1 :]) <= {Kind.COMMITTED, Kind.CANCEL}
        assert kinds.count(Kind.COMMITTED) <= 1
        if Kind.COMMITTED in kinds:
            assert fold(self.log).results.keys() >= {Step.RELEASE}
            assert kinds[-1] is Kind.COMMITTED

    @invariant()
    def nothing_is_started_after_a_failure_or_a_cancellation(self) -> None:
        for number, event in enumerate(self.log):
            before = fold(self.log[:number])
            if event.kind is Kind.CLAIM and event.body["step"] != Step.RELEASE:
                assert before.failure is None
                assert not before.cancelled or before.submitting

    @invariant()
    def at_most_one_holds_the_claim(self) -> None:
        holder = fold(self.log).claim
        if holder is not None:
            assert self.log[holder.number - 1] == holder

    def teardown(self) -> None:
        """One driver that lives, once all leases are over, takes any run to its end."""
        for _ in range(3 * len(ORDER)):
            decision = next_step(fold(self.log), driver="last", claim_is_free=True)
            match decision:
                case Conclude():
                    self.append(COMMITTED, len(self.log))
                    assert Step.RELEASE in fold(self.log).results
                case Take(step):
                    self.append(claimed(step, "last"), len(self.log))
                    self.append(done(step)[0], len(self.log))
                case Over():
                    return
                case Wait(step):
                    pytest.fail(f"waits for a dead driver at {step}")
        pytest.fail("the run does not end")


Fleet.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_fleet = Fleet.TestCase
