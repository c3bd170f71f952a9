"""Records: made of pipeline and events alone, so that every writer makes the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rpac_ci.events import Kind
from rpac_ci.jobs import Reason
from rpac_ci.node import facts
from rpac_ci.recording import STATUS_OF, build
from rpac_ci.records import RunRecord, Status, as_reference, summary
from tests.conftest import ROOT, asset
from tests.unit.builders import (
    PAST,
    RUN,
    at_run,
    claim,
    created,
    events,
    finished,
    nothing,
    pipeline,
    sha256,
    story,
    values,
)

FULL = pipeline(
    args={"z": 1, "a": {"value": 2, "role": "operational"}},
    data={
        "pinned": {"uri": "https://example.org/p", "sha256": sha256(b"pinned")},
        "loose": {"uri": "file:loose.nc"},
    },
    verify={"f1": {"expect": 0.9}},
    seed=7,
)
COLLECTED: dict[str, Any] = {
    "nodes": [{"index": 0, "cpu": "B"}, {"index": 1, "cpu": "A"}, {"index": 2, "cpu": "B"}],
    "workers": {"asked": 3, "seen": 3, "alive": 3, "lost": 0},
    "engine": {"name": "dask", "versions": {"distributed": "2026.1.0", "dask": "2026.1.0"}},
    "phases": [
        {"name": "join", "start_s": 0.5, "duration_s": 1.0},
        {"name": "command", "start_s": 1.5, "duration_s": 0.25},
    ],
    "determinism": {"PYTHONHASHSEED": "0"},
    "extra": ["notes.txt"],
}


def full() -> RunRecord:
    """A record with something in every part."""
    return finished(
        FULL,
        at_run(finished(pipeline(), nothing(), metrics={"f1": 0.8}, run=PAST)),
        metrics={"f1": 0.9, "radius": (4.2, "km")},
        files={"b.csv": b"b", "a.csv": b"a"},
        data={"pinned": b"pinned", "loose": b"loose"},
        collected=COLLECTED,
    )


def test_the_size_of_data_is_the_one_that_nodes_have_measured() -> None:
    data = {"pinned": b"pinned", "loose": b"loose"}
    record = finished(FULL, nothing(), data=data, collected={"data_sizes": {"pinned": 4711}})
    assert {name: read.size for name, read in record.identity.data.items()} == {
        "pinned": 4711, "loose": 5,
    }  # fmt: skip


# --- equal bytes ------------------------------------------------------------------------------


def test_the_same_events_make_the_same_bytes() -> None:
    assert full().to_bytes() == full().to_bytes()


def test_neither_clock_nor_time_zone_is_in_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    here = full().to_bytes()
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert full().to_bytes() == here
    finally:
        monkeypatch.undo()
        time.tzset()


def test_neither_is_the_order_in_which_this_process_hashes() -> None:
    code = "import sys; from tests.unit.test_records import full; print(full().to_bytes())"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    assert done.stdout == f"{full().to_bytes()!r}\n"


def test_what_is_written_after_the_release_is_not_in_it() -> None:
    log = story(FULL)
    later = (Kind.COMMITTED, {"log": "c0ffee", "branch": None})
    assert build(RUN, FULL, [*log, *events(later, first=len(log) + 1)]) == build(RUN, FULL, log)


def test_a_record_is_read_back_as_it_was() -> None:
    record = full()
    read = RunRecord.model_validate(json.loads(record.to_bytes()))
    assert read == record
    assert read.to_bytes() == record.to_bytes()


def test_the_record_that_was_released_stays_readable() -> None:
    raw = json.loads(asset("record.json").read_bytes())
    read = json.loads(RunRecord.model_validate(raw).to_bytes())
    assert holds(read, raw)


def holds(whole: Any, part: Any) -> bool:
    """Whether a document still says everything that another one said."""
    if isinstance(part, dict):
        return all(key in whole and holds(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(holds, whole, part))
    return bool(whole == part)


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, object]]:
    """Every value in a document that is neither mapping nor list, with its key."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, key)
    else:
        yield key, value


def test_machines_have_no_names_in_a_record() -> None:
    nodes = [{"index": 0, **facts.collect()}]
    record = finished(FULL, metrics={"f1": 0.9}, collected={**COLLECTED, "nodes": nodes})
    keys, found = zip(*leaves(record.to_json()), strict=True)
    texts = [value for value in found if isinstance(value, str)]
    assert not any(text.startswith(("/", "~", "file:///")) for text in texts)
    assert not {"host", "hostname", "user", "address", "pid", "nonce"} & set(keys)
    assert not any("boot-1" in text or "4711" in text for text in texts)  # of the claims


# --- what a record says -------------------------------------------------------------------------


def test_what_was_asked() -> None:
    identity = full().identity
    assert identity.pipeline == FULL.digest
    assert identity.command == ["python", "main.py"]
    assert {name: arg.value for name, arg in identity.args.items()} == {"z": 1, "a": 2}
    assert identity.seed == 7
    assert identity.rules.startswith("sha256:")


def test_inputs_have_the_bytes_that_were_used_and_who_pinned_them() -> None:
    data = full().identity.data
    assert {n: (d.sha256, d.size, d.pinned_by) for n, d in data.items()} == {
        "pinned": (sha256(b"pinned"), 6, "author"),
        "loose": (sha256(b"loose"), 5, "run"),
    }


def test_other_bytes_of_an_input_are_other_science() -> None:
    seen = {"pinned": b"pinned", "loose": b"other"}
    assert finished(FULL, data=seen).identity.science != full().identity.science
    assert finished(FULL, data=seen).identity.pipeline == full().identity.pipeline


def test_other_rules_are_the_same_science_and_have_another_digest() -> None:
    one, other = finished(pipeline()), finished(pipeline(verify={"f1": {}}))
    assert one.identity.science == other.identity.science
    assert one.identity.rules != other.identity.rules


def test_what_came_out() -> None:
    outcome = full().outcome
    assert outcome.status is Status.SUCCEEDED
    assert outcome.exit_code == 0
    assert {n: (m.value, m.unit) for n, m in outcome.metrics.items()} == {
        "f1": (0.9, None), "radius": (4.2, "km"),
    }  # fmt: skip
    assert [output.path for output in outcome.outputs] == ["a.csv", "b.csv", "metrics.json"]
    assert outcome.outputs[0].sha256 == sha256(b"a")


def test_only_a_run_that_did_not_succeed_keeps_the_end_of_its_log() -> None:
    assert finished(FULL, log_tail="Traceback").outcome.log_tail == ""
    failed = finished(FULL, reason="command failed", message="exit code 1", log_tail="Traceback")
    assert (failed.outcome.log_tail, failed.outcome.exit_code) == ("Traceback", 1)


def test_every_reason_has_a_status() -> None:
    assert set(STATUS_OF) == set(Reason)


DONE_UNTIL_SUBMIT = [
    (Kind.CLAIM, claim("stage")),
    (Kind.DONE, {"step": "stage", "result": {}}),
    (Kind.DONE, {"step": "provision", "result": {"remarks": ["two cpus are shared"]}}),
    (Kind.CLAIM, claim("submit")),
    (Kind.DONE, {"step": "submit", "result": {}}),
]
RELEASED = (Kind.DONE, {"step": "release", "result": {"left": {}, "cost_usd": 0.0}})
CANCEL = (Kind.CANCEL, {"why": "interrupted (Ctrl-C)"})


def failed(step: str, message: str = "no luck") -> tuple[Kind, dict[str, Any]]:
    body = {"step": step, "message": message, "hint": "try again", "transient": False}
    return Kind.FAILED, body


def ended(reason: str) -> tuple[Kind, dict[str, Any]]:
    return Kind.DONE, {"step": "watch", "result": {"reason": reason, "message": "so it was"}}


@pytest.mark.parametrize(
    ("facts", "status", "reason", "message"),
    [
        ([failed("stage")], Status.COULD_NOT_RUN, "stage failed", "no luck"),
        ([failed("provision")], Status.COULD_NOT_RUN, "provision failed", "no luck"),
        (
            [*DONE_UNTIL_SUBMIT, ended("completed"), failed("collect")],
            Status.COULD_NOT_RUN, "collect failed", "no luck",
        ),
        (
            [*DONE_UNTIL_SUBMIT, ended("completed"), failed("release")],
            Status.SUCCEEDED, "completed", "so it was",
        ),
        ([*DONE_UNTIL_SUBMIT, ended("time limit")], Status.FAILED, "time limit", "so it was"),
        (
            [*DONE_UNTIL_SUBMIT, ended("runner lost")],
            Status.COULD_NOT_RUN, "runner lost", "so it was",
        ),
        ([CANCEL], Status.CANCELLED, "cancelled", "interrupted (Ctrl-C)"),
        (
            [*DONE_UNTIL_SUBMIT, CANCEL, ended("cancelled")],
            Status.CANCELLED, "cancelled", "interrupted (Ctrl-C)",
        ),
        # a cancellation that came too late changes nothing
        (
            [*DONE_UNTIL_SUBMIT, CANCEL, ended("completed")],
            Status.SUCCEEDED, "completed", "so it was",
        ),
        (
            [*DONE_UNTIL_SUBMIT, CANCEL, ended("command failed")],
            Status.FAILED, "command failed", "so it was",
        ),
    ],
)  # fmt: skip
def test_how_a_run_ended(facts: list[Any], status: Status, reason: str, message: str) -> None:
    log = events((Kind.CREATED, created(FULL)), *facts, RELEASED)
    outcome = build(RUN, FULL, log).outcome
    assert (outcome.status, outcome.reason, outcome.message) == (status, reason, message)


def test_remarks_and_times() -> None:
    log = events((Kind.CREATED, created(FULL)), *DONE_UNTIL_SUBMIT, ended("completed"), RELEASED)
    around = build(RUN, FULL, log).circumstances
    assert around.remarks == ["two cpus are shared"]
    assert around.started == log[0].at
    assert around.finished == log[-1].at


# --- phases ------------------------------------------------------------------------------------


def phases(*facts: tuple[Kind, dict[str, Any]]) -> list[tuple[str, float, float, str | None]]:
    """Name, start, duration and place of each phase; an event a second."""
    record = build(RUN, FULL, events((Kind.CREATED, created(FULL)), *facts))
    return [(p.name, p.start_s, p.duration_s, p.inside) for p in record.circumstances.phases]


def test_phases_are_stretches_between_events_and_the_nodes_own_lie_inside_watch() -> None:
    collected = {"phases": COLLECTED["phases"], "metrics": values({"f1": 1})}
    assert phases(
        (Kind.CLAIM, claim("stage")),
        (Kind.DONE, {"step": "stage", "result": {}}),
        (Kind.CLAIM, claim("submit")),
        (Kind.DONE, {"step": "submit", "result": {}}),
        ended("completed"),
        (Kind.CLAIM, claim("collect")),
        (Kind.DONE, {"step": "collect", "result": collected}),
        (Kind.CLAIM, claim("release")),
        RELEASED,
    ) == [
        ("stage", 1.0, 1.0, None),
        ("submit", 3.0, 1.0, None),
        ("watch", 4.0, 1.0, None),
        ("collect", 6.0, 1.0, None),
        ("release", 8.0, 1.0, None),
        ("join", 4.5, 1.0, "watch"),
        ("command", 5.5, 0.25, "watch"),
    ]


def test_every_try_of_a_step_is_a_phase_and_a_lost_driver_is_part_of_one() -> None:
    transient = (Kind.FAILED, {"step": "stage", "message": "x", "transient": True})
    assert phases(
        (Kind.CLAIM, claim("stage")),
        transient,
        (Kind.CLAIM, claim("stage", "dies")),
        (Kind.CLAIM, claim("stage", "takes over")),
        (Kind.DONE, {"step": "stage", "result": {}}),
    ) == [("stage", 1.0, 1.0, None), ("stage", 3.0, 2.0, None)]


def test_clocks_that_run_backwards_give_no_negative_times() -> None:
    log = story(FULL, result={"phases": COLLECTED["phases"]})
    turned = [
        type(event)(number=event.number, kind=event.kind, at=other.at, body=event.body)
        for event, other in zip(log, reversed(log), strict=True)
    ]
    for phase in build(RUN, FULL, turned).circumstances.phases:
        assert phase.start_s >= 0
        assert phase.duration_s >= 0


# --- as a reference -----------------------------------------------------------------------------


def test_a_record_as_a_reference_for_later_runs() -> None:
    record = full()
    reference = as_reference(record)
    assert reference.run == RUN
    assert reference.science == record.identity.science
    assert reference.metrics == record.outcome.metrics
    assert reference.outputs["a.csv"] == sha256(b"a")
    assert reference.summary == summary(record)


def test_the_summary_is_flat_and_names_what_people_compare_first() -> None:
    found = summary(full())
    assert found["nodes"] == 3
    assert found["workers"] == 3
    assert found["cpu"] == "A, B"
    assert found["engine.dask"] == "2026.1.0"
    assert "packages" not in found  # each by its own name
    assert found["code"] == full().identity.source.sha256
    assert not any(isinstance(value, (dict, list)) for value in found.values())
