"""What changed, what it could explain, how firmly things are pinned, two runs side by side."""

from __future__ import annotations

from typing import Any

import pytest

from rpac_ci.changes import Effect, against_reference, between, explanation, largest_difference
from rpac_ci.comparison import compare
from rpac_ci.grades import grade
from rpac_ci.pipeline import Pipeline, pin
from rpac_ci.records import Agreement, Check, RunRecord, as_reference, summary
from rpac_ci.verdict import judge
from tests.unit.builders import (
    PAST,
    accepted,
    at_run,
    finished,
    nothing,
    pipeline,
    sha256,
    tree,
)

NODE: dict[str, Any] = {
    "index": 0,
    "cpu": "A",
    "kernel": "Linux 6",
    "system": "Debian",
    "machine": "x",
}


def check(expected: float, observed: float) -> Check:
    return Check(
        name="a", kind="metric", required=True, agreement=Agreement.DIFFERENT, rule="exact",
        expected=expected, observed=observed, difference=observed - expected,
    )  # fmt: skip


def on(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"nodes": list(nodes), **more}


def judged(pipe: Pipeline, **run: Any) -> RunRecord:
    record = finished(pipe, **run)
    return record.model_copy(update={"verdict": judge(pipe, record)})


# --- what changed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "effect"),
    [
        ("code", Effect.YES), ("code.commit", Effect.NO), ("args.trees", Effect.YES),
        ("operational.tiles", Effect.LAST_DIGITS), ("data.field", Effect.YES), ("seed", Effect.YES),
        ("packages.numpy", Effect.YES), ("python", Effect.YES), ("engine.dask", Effect.YES),
        ("nodes", Effect.LAST_DIGITS), ("cpu", Effect.LAST_DIGITS), ("kernel", Effect.UNLIKELY),
        ("cloud", Effect.UNLIKELY), ("rpac", Effect.UNLIKELY), ("limits.time", Effect.NO),
        ("determinism.TZ", Effect.YES), ("environment.lock", Effect.YES),
    ],
)  # fmt: skip
def test_what_a_change_could_explain(key: str, effect: Effect) -> None:
    [change] = between({key: 1}, {key: 2})
    assert (change.key, change.before, change.after, change.effect) == (key, 1, 2, effect)


def test_every_key_of_a_run_has_a_kind() -> None:
    lock = pipeline(environment={"lock": "requirements.lock"}, args={"x": 1}, seed=1)
    flat = summary(finished(lock, nothing(), metrics={}, collected=on(NODE)))
    assert {change.kind for change in between(flat, {})} >= {
        "code",
        "argument",
        "machines",
        "place",
    }
    assert all(change.kind != "declaration" for change in between(flat, {}))


def test_the_strongest_cause_comes_first() -> None:
    found = between({"cloud": 1, "nodes": 1, "code": 1}, {"cloud": 2, "nodes": 2, "code": 2})
    assert [change.key for change in found] == ["code", "nodes", "cloud"]


def test_an_argument_and_a_machine() -> None:
    before, after = pipeline(args={"x": 1}), pipeline(args={"x": 2})
    reference = at_run(finished(before, nothing(), metrics={"a": 1}, run=PAST, collected=on(NODE)))
    run = judged(after, reference=reference, metrics={"a": 2}, collected=on({**NODE, "cpu": "B"}))
    assert [(c.key, c.before, c.after) for c in against_reference(run)] == [
        ("args.x", 1, 2), ("cpu", "A", "B"),
    ]  # fmt: skip


def test_of_many_accepted_runs_the_packages_are_one_word() -> None:
    runs = [finished(pipeline(), nothing(), metrics={}, run=f"2025010{n}T000000Z-00000000")
            for n in (1, 2)]  # fmt: skip
    reference = accepted(*runs).model_copy(
        update={"runs": [as_reference(run, packages=False) for run in runs]}
    )
    assert against_reference(judged(pipeline(), reference=reference, metrics={})) == []


def test_a_run_that_failed_shows_only_what_is_known_of_it() -> None:
    reference = at_run(finished(pipeline(), nothing(), metrics={}, run=PAST, collected=on(NODE)))
    run = judged(pipeline(), reference=reference, reason="staging failed", collected=on())
    assert [change.key for change in against_reference(run)] == []


# --- what explains a number ---------------------------------------------------------------------


def test_a_cause_is_named() -> None:
    found = between({"packages.numpy": "1", "nodes": 1}, {"packages.numpy": "2", "nodes": 2})
    said = explanation(found, [check(1.0, 1.5)])
    assert said == "Could explain it: packages.numpy."


def test_rounding_explains_a_little() -> None:
    nodes = between({"nodes": 1}, {"nodes": 2})
    assert "can come from rounding: nodes" in explanation(nodes, [check(1.0, 1.0 + 1e-7)])
    assert "does not explain it" in explanation(nodes, [check(1.0, 1.01)])
    assert "rounding (nodes)" in explanation(nodes, [check(1.0, 1.01)])


def test_nothing_explains_it() -> None:
    assert "nothing has changed, which does not explain it" in explanation([], [check(1.0, 1.01)])


def test_what_agrees_needs_no_explanation() -> None:
    same = check(1.0, 1.0).model_copy(update={"agreement": Agreement.IDENTICAL, "difference": 0.0})
    assert explanation(between({"code": 1}, {"code": 2}), [same]) == ""


def test_a_difference_from_zero_is_as_large_as_can_be() -> None:
    assert largest_difference([check(0.0, 1e-9)]) == float("inf")
    assert largest_difference([check(2.0, 1.0), check(1.0, 1.1)]) == pytest.approx(0.5)


# --- grades -------------------------------------------------------------------------------------

PINNED = {"field": {"uri": "file:field.nc", "sha256": sha256(b"f")}}
LOOSE = {"field": {"uri": "file:field.nc"}}
PUBLISHED = {"field": {"uri": "file:field.nc", "checksum": "md5:" + "0" * 32}}


@pytest.mark.parametrize(
    ("data", "letter"), [({}, "A"), (PINNED, "A"), (PUBLISHED, "B"), (LOOSE, "C")]
)
def test_data(data: dict[str, Any], letter: str) -> None:
    pipe = pipeline(data=data)
    seen = {"field": b"f"} if data else {}
    assert grade(pipe, finished(pipe, nothing(), metrics={}, data=seen))["data"][0] == letter


def test_data_that_an_earlier_run_saw() -> None:
    pipe = pipeline(data=LOOSE)
    pinned = Pipeline(**{**pipe.model_dump(by_alias=False),
                         "data": pin(pipe, {"field": sha256(b"f")}).data})  # fmt: skip
    record = finished(pinned, nothing(), metrics={}, data={"field": b"f"})
    assert grade(pinned, record)["data"].startswith("B: field by SHA-256, as an earlier run saw it")


def test_data_that_was_never_read() -> None:
    pipe = pipeline(data=LOOSE)
    assert grade(pipe, finished(pipe, nothing(), reason="staging failed"))["data"][0] == "D"


def test_the_weakest_input_counts() -> None:
    pipe = pipeline(data={**LOOSE, "other": {"uri": "file:o", "sha256": sha256(b"o")}})
    record = finished(pipe, nothing(), metrics={}, data={"field": b"f", "other": b"o"})
    assert grade(pipe, record)["data"][0] == "C"


def test_code_and_software_and_machines() -> None:
    host = pipeline()
    grades = grade(host, finished(host, nothing(), metrics={}, collected=on(NODE)))
    assert [grades[name][0] for name in ("code", "environment", "hardware")] == ["A", "D", "B"]
    lock = pipeline(environment={"lock": "requirements.lock"})
    assert grade(lock, finished(lock, nothing(), metrics={}))["environment"][0] == "C"
    dirty = pipeline(source=tree(commit="c" * 40, diff=b"+1"))
    assert grade(dirty, finished(dirty, nothing(), metrics={}))["code"][0] == "B"


def test_the_grade_of_a_verdict_is_the_worst() -> None:
    pipe = pipeline(verify={"a": {"expect": 1}})
    verdict = judge(pipe, finished(pipe, metrics={"a": 1}, collected=on(NODE)))
    assert verdict.grade == "D"
    assert set(verdict.grades) == {"code", "data", "environment", "hardware"}
    assert judge(pipe, finished(pipe, reason="staging failed")).grade is None


# --- two runs side by side ----------------------------------------------------------------------


def test_two_runs_side_by_side() -> None:
    first = judged(
        pipeline(args={"x": 1}),
        reference=nothing(),
        metrics={"a": 1.0, "b": (2, "km"), "only": 1},
        files={"f": b"1", "g": b"1"},
    )
    second = judged(
        pipeline(args={"x": 2}),
        reference=nothing(),
        run=PAST,
        metrics={"a": 1.5, "b": (3, "m")},
        files={"f": b"1", "h": b"1"},
    )
    found = compare(first, second)
    assert not found.same_science
    assert [change.key for change in found.changes] == ["args.x"]
    by_name = {pair.name: pair for pair in found.metrics}
    assert by_name["a"].difference == 0.5
    assert by_name["a"].relative == 0.5
    assert by_name["b"].difference is None  # other units
    assert by_name["only"].second is None
    says = {pair.path: pair.says for pair in found.outputs}
    assert says["f"] == "identical"
    assert says["g"] == f"only in {first.run}"
    assert says["h"] == f"only in {second.run}"
    assert found.to_json()["metrics"][0]["relative"] == 0.5


def test_a_run_beside_itself() -> None:
    run = judged(pipeline(), reference=nothing(), metrics={"a": 1.0}, files={"f": b"1"})
    found = compare(run, run)
    assert found.same_science
    assert found.same_pipeline
    assert not found.changes
    assert {pair.says for pair in found.outputs} == {"identical"}
    assert found.metrics[0].difference == 0.0
