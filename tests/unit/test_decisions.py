"""
The small print of the decisions: which reference, which words, which number, which next step.

`test_verdict.py` has the table of outcomes and `test_judgement_bank.py` the traps. Here is what
both leave open: each test states a rule that could be broken without one of theirs failing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from statistics import fmean, stdev
from typing import Any

import pytest
from scipy import stats

from rpac_ci.changes import (
    ROUNDING,
    Change,
    Effect,
    against_reference,
    between,
    explanation,
    largest_difference,
)
from rpac_ci.equivalence import Answer, Sample, Tost, power, seeds_needed, tost
from rpac_ci.events import Kind
from rpac_ci.grades import grade
from rpac_ci.pipeline import Pipeline
from rpac_ci.records import (
    Agreement,
    Check,
    ReferenceRun,
    RunRecord,
    Verdict,
    as_reference,
)
from rpac_ci.run import fold, new_run_id
from rpac_ci.verdict import judge
from tests.unit.builders import (
    PAST,
    accepted,
    at_run,
    events,
    expect,
    finished,
    nothing,
    pipeline,
    sha256,
    tree,
    values,
)

RULE: dict[str, Any] = {"f1": {"expect": 0.895, "abs_tol": 0.01}}
OLDER, NEWER = "20240101T000000Z-00000000", "20250101T000000Z-00000000"


def past(run: str = PAST, *, of: Pipeline | None = None, **outcome: Any) -> RunRecord:
    """A run of earlier."""
    return finished(of or pipeline(), nothing(), run=run, **outcome)


def verdict(pipe: Pipeline, *args: Any, **run: Any) -> Verdict:
    """The verdict on a run that ended like this."""
    return judge(pipe, finished(pipe, *args, **run))


def judged(pipe: Pipeline, *args: Any, **run: Any) -> RunRecord:
    """The record of such a run, with its verdict."""
    record = finished(pipe, *args, **run)
    return record.model_copy(update={"verdict": judge(pipe, record)})


def checks_of(found: Verdict) -> dict[str, Check]:
    """By name; a name stands once."""
    assert len({check.name for check in found.checks}) == len(found.checks)
    return {check.name: check for check in found.checks}


# --- which of the accepted runs -----------------------------------------------------------------


def test_the_accepted_run_that_agrees_best_is_the_reference_however_old() -> None:
    """Not the newest one: a result that was accepted stays a result."""
    runs = accepted(past(OLDER, metrics={"f1": 0.5}), past(NEWER, metrics={"f1": 0.9}))
    found = verdict(pipeline(verify={"f1": {"abs_tol": 0.01}}), runs, metrics={"f1": 0.5})
    assert found.reference == f"accepted run {OLDER}"
    assert found.outcome == "reproduced: identical"


def test_among_equals_the_newest_accepted_run_is_the_reference() -> None:
    runs = accepted(past(NEWER, metrics={"f1": 0.5}), past(OLDER, metrics={"f1": 0.5}))
    found = verdict(pipeline(verify={"f1": {}}), runs, metrics={"f1": 0.5})
    assert found.reference == f"accepted run {NEWER}"


def test_accepted_runs_that_agree_with_the_declared_value_raise_no_doubt() -> None:
    """A difference is evidence when everybody else got the declared value."""
    reference = expect(pipeline()).model_copy(
        update={"runs": accepted(past(metrics={"f1": 0.896})).runs}
    )
    found = verdict(pipeline(verify=RULE), reference, metrics={"f1": 0.5})
    assert (found.outcome, found.exit_code) == ("not reproduced", 1)
    assert found.reason == "f1: different"


# --- the outcome --------------------------------------------------------------------------------


def test_equal_bytes_beside_equal_content_are_identical() -> None:
    look = {"path": "f.nc", "reference": PAST, "agreement": "same content"}
    rules = {"a": {}, "f.nc": {"compare": "content"}}
    found = verdict(
        pipeline(verify=rules, outputs=["metrics.json", "*.nc"]),
        at_run(past(metrics={"a": 1}, files={"f.nc": b"1"})),
        metrics={"a": 1}, files={"f.nc": b"2"}, collected={"comparisons": [look]},
    )  # fmt: skip
    assert found.outcome == "reproduced: identical"


def test_a_variant_may_have_fewer_files() -> None:
    found = verdict(
        pipeline(args={"x": 2}, outputs=["metrics.json", "*.csv"], verify={"a": {}}),
        at_run(past(of=pipeline(args={"x": 1}), metrics={"a": 1},
                    files={"1.csv": b"1", "2.csv": b"2"})),
        metrics={"a": 1}, files={"1.csv": b"1"},
    )  # fmt: skip
    assert found.outcome == "compared (variant)"
    assert not checks_of(found)["2.csv"].required


def test_a_variant_with_optional_checks_alone_is_compared_by_them() -> None:
    found = verdict(
        pipeline(args={"x": 2}, verify={"a": {"required": False}}),
        at_run(past(of=pipeline(args={"x": 1}), metrics={"a": 1})), metrics={"a": 1},
    )  # fmt: skip
    assert (found.outcome, found.exit_code) == ("compared (variant)", 0)
    assert found.reason == "1 of 1 checks agree"


def test_grades_stand_beside_every_verdict_on_a_run_that_succeeded() -> None:
    bad = verdict(pipeline(verify=RULE), metrics={"f1": 0.5})
    first = verdict(pipeline(), nothing(), metrics={"f1": 0.5})
    assert (bad.exit_code, first.exit_code) == (1, 0)
    assert bad.grade == first.grade == "D"


# --- the reason, word by word -------------------------------------------------------------------

LOOSE = {"b": {"uri": "file:b.nc"}, "c": {"uri": "file:c.nc"}}
MARGIN = {"skill": {"margin": 0.05}}
FOUR = {name: {"expect": 1.0} for name in "pqrs"}

REASONS: dict[str, tuple[Callable[[], Verdict], str]] = {
    "a first run": (
        lambda: verdict(pipeline(), nothing(), metrics={"f1": 1}),
        "nothing declared or accepted to compare with yet",
    ),
    "no rule, no reference": (
        lambda: verdict(pipeline(), metrics={"f1": 1}), "nothing was compared",
    ),
    "a variant of nothing": (
        lambda: verdict(
            pipeline(args={"x": 2}), at_run(past(of=pipeline(args={"x": 1}), metrics={})),
            metrics={},
        ),
        "nothing was compared",
    ),
    "three names are told": (
        lambda: verdict(
            pipeline(verify={**FOUR, "s": {"expect": 2.0}}), metrics=dict.fromkeys("pqrs", 2)
        ),
        "p, q, r: different",
    ),
    "of four names one is counted": (
        lambda: verdict(pipeline(verify=FOUR), metrics=dict.fromkeys("pqrs", 2)),
        "p, q, r and 1 more: different",
    ),
    "rules that changed, three of them": (
        lambda: verdict(
            pipeline(verify=RULE),
            expect(pipeline()).model_copy(update={"rules_changed": ["f1", "g", "h", "i"]}),
            metrics={"f1": 0.895},
        ),
        "1 of 1 checks agree; rules changed since the first result was known: f1, g, h",
    ),
    "inputs that nobody pinned": (
        lambda: verdict(
            pipeline(verify=RULE, data=LOOSE), metrics={"f1": 1}, data={"b": b"1", "c": b"2"}
        ),
        f"the bytes of b, c are not pinned (seen: sha256 {sha256(b'1')})",
    ),
    "inputs that nobody saw": (
        lambda: verdict(pipeline(verify=RULE, data=LOOSE), metrics={"f1": 0.895}),
        "the bytes of b, c are not known",
    ),
    "accepted runs with different files": (
        lambda: verdict(
            pipeline(verify={"a.csv": {"compare": "bytes"}}, outputs=["a.csv"]),
            accepted(past(OLDER, files={"a.csv": b"1"}), past(NEWER, files={"a.csv": b"2"})),
            files={"a.csv": b"3"},
        ),
        "a.csv: the accepted runs have different files",
    ),
    "one seed, and a rule for many": (
        lambda: verdict(
            pipeline(seed=2, verify=MARGIN),
            at_run(past(of=pipeline(seed=1, verify=MARGIN), metrics={"skill": 0.7})),
            metrics={"skill": 0.71},
        ),
        "skill: too few seeds: 1 against 1 of the reference",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("run", "reason"), REASONS.values(), ids=REASONS)
def test_the_reason_says(run: Callable[[], Verdict], reason: str) -> None:
    assert run().reason == reason


# --- numbers and files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "reported"), [("km", "km"), (None, "km"), ("km", None), (None, None)]
)
def test_units_disagree_only_where_both_sides_name_one(
    declared: str | None, reported: str | None
) -> None:
    pipe = pipeline(verify={"r": {"expect": 1.0, "unit": declared, "abs_tol": 0.5}})
    found = verdict(pipe, metrics={"r": (1.25, reported)})
    assert found.outcome == "reproduced: within tolerance"
    unit = declared or reported
    assert checks_of(found)["r"].unit == unit
    assert checks_of(found)["r"].rule == ("± 0.5 km" if unit else "± 0.5")


def test_a_number_in_another_unit_is_shown_in_its_own() -> None:
    pipe = pipeline(verify={"r": {"expect": 1.0, "unit": "km"}})
    assert checks_of(verdict(pipe, metrics={"r": (1.0, "m")}))["r"].unit == "m"


def test_what_a_check_says_of_a_number_that_is_missing() -> None:
    pipe = pipeline(verify=RULE)
    assert checks_of(verdict(pipe, metrics={}))["f1"].note == "no such metric"
    broken = verdict(pipe, metrics_problem="metrics.json: not valid JSON")
    assert checks_of(broken)["f1"].note == "metrics.json: not valid JSON"


def test_a_number_that_is_there_needs_no_note() -> None:
    pipe = pipeline(verify={**RULE, "n": {}})
    reference = expect(pipeline()).model_copy(
        update={"runs": accepted(past(metrics={"n": 1})).runs}
    )
    found = verdict(pipe, reference, metrics={"f1": 0.895, "n": 1})
    assert {name: check.note for name, check in checks_of(found).items()} == {"f1": "", "n": ""}


def test_what_a_check_says_of_an_output_that_is_missing() -> None:
    [check] = verdict(pipeline(outputs=["a.csv"]), nothing()).checks
    assert (check.name, check.kind, check.rule) == ("a.csv", "output", "declared output")
    assert (check.agreement, check.note) == (Agreement.MISSING, "no such file")


def test_every_file_is_told_those_after_the_metrics_too() -> None:
    reference = at_run(past(metrics={}, files={"a.csv": b"1", "z.csv": b"1"}))
    found = verdict(
        pipeline(outputs=["metrics.json", "*.csv"]), reference,
        metrics={}, files={"a.csv": b"1", "z.csv": b"1"},
    )  # fmt: skip
    assert list(checks_of(found)) == ["a.csv", "z.csv"]


def test_each_file_has_one_rule_that_of_its_name_before_that_of_a_pattern() -> None:
    rules = {"*.csv": {"compare": "bytes", "required": False}, "a.csv": {"compare": "content"}}
    files = {"a.csv": b"1", "b.csv": b"1", "c.txt": b"1"}
    found = verdict(
        pipeline(verify=rules, outputs=["metrics.json", "*"]),
        at_run(past(metrics={}, files=files)), metrics={}, files=files,
    )  # fmt: skip
    assert {n: (check.rule, check.required) for n, check in checks_of(found).items()} == {
        "b.csv": ("bytes", False), "a.csv": ("content", True), "c.txt": ("bytes", False),
    }  # fmt: skip


def file_check(rule: Mapping[str, Any], found: Mapping[str, Any] | None = None) -> Check:
    """The check of f.nc, other bytes than the reference's, after a look that found this."""
    looks = [{"path": "f.nc", "reference": PAST, **found}] if found else []
    return checks_of(
        verdict(
            pipeline(verify={"f.nc": rule}, outputs=["f.nc"]),
            at_run(past(files={"f.nc": b"1"})), files={"f.nc": b"2"},
            collected={"comparisons": looks},
        )
    )["f.nc"]  # fmt: skip


def test_a_file_is_told_by_both_hashes_and_the_largest_difference() -> None:
    rule = {"compare": "values", "abs_tol": 0.5, "rel_tol": 0.01}
    check = file_check(rule, {"agreement": "within tolerance", "max_abs": 0.25})
    assert (check.expected, check.observed) == (sha256(b"1"), sha256(b"2"))
    assert check.difference == 0.25
    assert check.rule == "values ± 0.5 + ± 1 %"


@pytest.mark.parametrize(
    ("rule", "found", "note"),
    [
        ({"compare": "bytes"}, {"agreement": "same content"}, "the content is the same"),
        ({"compare": "bytes"}, {"agreement": "different"}, ""),
        ({"compare": "bytes"}, None, ""),
        ({"compare": "content"}, None, "the contents were not compared"),
    ],
)
def test_what_a_check_says_of_a_file_with_other_bytes(
    rule: dict[str, Any], found: dict[str, Any] | None, note: str
) -> None:
    assert file_check(rule, found).note == note


def test_what_a_check_says_of_a_file_that_one_side_lacks() -> None:
    rules = {"new.csv": {"compare": "bytes"}, "old.csv": {"compare": "bytes"}}
    found = checks_of(
        verdict(
            pipeline(verify=rules, outputs=["*.csv"]), at_run(past(files={"old.csv": b"1"})),
            files={"new.csv": b"1"},
        )
    )  # fmt: skip
    new, old = found["new.csv"], found["old.csv"]
    assert (new.agreement, new.note) == (Agreement.EXTRA, "the reference has no such file")
    assert (old.agreement, old.note) == (Agreement.MISSING, "no such file")


# --- samples ------------------------------------------------------------------------------------

GOOD5 = (0.70, 0.71, 0.72, 0.71, 0.70)
SHIFTED5 = (0.701, 0.712, 0.721, 0.712, 0.701)


def sampled(
    *, seeds: bool = True, unit: str | None = None, **metrics: tuple[float, ...]
) -> dict[str, Any]:
    """Metrics with the values of seeds 1, 2, 3, …, or of seeds that the run does not name."""
    return {
        "samples": {
            name: {"values": list(v), "seeds": list(range(1, len(v) + 1)) if seeds else None}
            for name, v in metrics.items()
        },
        "metrics": values({name: (fmean(v), unit) for name, v in metrics.items()}),
    }


def sample_checks(
    rules: dict[str, Any], before: dict[str, Any], now: dict[str, Any]
) -> dict[str, Check]:
    """Checks of a run that reported samples, against one that did too."""
    reference = at_run(past(metrics={}, collected=before))
    return checks_of(verdict(pipeline(verify=rules), reference, metrics={}, collected=now))


def test_a_statistical_check_shows_both_means_and_what_lies_between() -> None:
    rule = {"skill": {"margin": 0.05, "unit": "K"}}
    check = sample_checks(rule, sampled(skill=GOOD5), sampled(skill=SHIFTED5))["skill"]
    assert check.agreement is Agreement.EQUIVALENT
    assert check.expected == pytest.approx(fmean(GOOD5))
    assert check.observed == pytest.approx(fmean(SHIFTED5))
    assert check.difference == pytest.approx(fmean(SHIFTED5) - fmean(GOOD5))
    assert check.rule == "means within ± 0.05 K"


def test_pairs_are_compared_where_the_rule_asks_for_them() -> None:
    """Equal seeds move together: as pairs they agree within what two samples cannot show."""
    found = {
        paired: sample_checks(
            {"skill": {"margin": 0.003, "paired": paired}},
            sampled(skill=GOOD5), sampled(skill=SHIFTED5),
        )["skill"]
        for paired in (True, False)
    }  # fmt: skip
    assert found[True].agreement is Agreement.EQUIVALENT
    assert found[False].agreement is Agreement.NOT_COMPARED
    assert found[True].rule == "means within ± 0.003, paired"
    assert found[False].rule == "means within ± 0.003"


def test_one_number_that_is_missing_does_not_end_the_others() -> None:
    rules = {name: {"margin": 0.05} for name in ("gone", "new", "skill")}
    before, now = sampled(gone=GOOD5, skill=GOOD5), sampled(new=GOOD5, skill=SHIFTED5)
    found = sample_checks(rules, before, now)
    assert found["gone"].agreement is Agreement.MISSING
    assert found["gone"].observed is None
    assert found["new"].agreement is Agreement.NOT_COMPARED
    assert (found["new"].expected, found["new"].note) == (None, "")
    assert found["skill"].agreement is Agreement.EQUIVALENT


def test_values_of_unknown_seeds_are_a_sample_and_never_identical() -> None:
    found = sample_checks(
        MARGIN,
        sampled(skill=GOOD5, seeds=False), sampled(skill=GOOD5, seeds=False),
    )["skill"]  # fmt: skip
    assert found.agreement is Agreement.EQUIVALENT


def test_one_number_without_a_seed_is_not_identical_to_another_such() -> None:
    """Without a seed an equal value may be chance."""
    pipe = pipeline(verify=MARGIN)
    found = verdict(pipe, at_run(past(metrics={"skill": 0.7})), metrics={"skill": 0.7})
    assert found.outcome == "inconclusive"


def test_one_number_of_the_same_seed_is_identical() -> None:
    pipe = pipeline(seed=3, verify=MARGIN)
    reference = at_run(past(of=pipe, metrics={"skill": 0.7}))
    found = verdict(pipe, reference, metrics={"skill": 0.7})
    assert found.outcome == "reproduced: identical"
    assert found.checks[0].note == "equal in every one of 1 seeds"
    assert found.checks[0].difference == 0.0


def test_of_several_units_that_disagree_the_first_is_told() -> None:
    rule = {"skill": {"margin": 0.05, "unit": "mm"}}
    before, now = sampled(skill=GOOD5, unit="km"), sampled(skill=GOOD5, unit="m")
    check = sample_checks(rule, before, now)["skill"]
    assert check.agreement is Agreement.NOT_COMPARED
    assert check.note == "the unit is m, expected km"
    assert check.rule == "means within ± 0.05 m"


# --- the tests of equivalence -------------------------------------------------------------------

LEFT = Sample((0.50, 0.61, 0.70, 0.82, 0.90), (1, 2, 3, 4, 5))
RIGHT = Sample((0.51, 0.63, 0.70, 0.85, 0.91), (1, 2, 3, 4, 5))


def paired(left: Sample, right: Sample) -> Tost:
    return tost(left, right, margin=0.05, alpha=0.05, paired=True)


def test_the_interval_of_pairs_is_that_of_the_paired_t_test() -> None:
    found = paired(LEFT, RIGHT)
    expected = stats.ttest_rel(RIGHT.values, LEFT.values).confidence_interval(0.90)
    assert found.low == pytest.approx(expected.low)
    assert found.high == pytest.approx(expected.high)
    inside = [
        stats.ttest_rel([v + 0.05 for v in RIGHT.values], LEFT.values, alternative="greater"),
        stats.ttest_rel([v - 0.05 for v in RIGHT.values], LEFT.values, alternative="less"),
    ]
    assert found.p_value == pytest.approx(max(test.pvalue for test in inside))
    assert found.seeds == (5, 5)


def test_the_interval_of_two_samples_is_that_of_welch() -> None:
    found = tost(LEFT, Sample(RIGHT.values[:4], (6, 7, 8, 9)), margin=0.2, alpha=0.025)
    expected = stats.ttest_ind(RIGHT.values[:4], LEFT.values, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.note == (
        f"95 % interval of the difference [{interval.low:.3g}, {interval.high:.3g}], "
        "margin 0.2, 4 seeds against 5"
    )


SHIFT = Sample(tuple(v + 0.01 for v in LEFT.values), LEFT.seeds)
NO_ANSWER: dict[str, tuple[Callable[[], Tost], str, tuple[int, int]]] = {
    "pairs of values without seeds": (
        lambda: paired(Sample(LEFT.values), RIGHT),
        "pairs need seeds, and the values do not name theirs", (0, 0),
    ),
    "pairs of other seeds": (
        lambda: paired(LEFT, Sample((0.5, 0.6), (8, 9))), "no seed is in both samples", (0, 0),
    ),
    "one pair": (
        lambda: paired(LEFT, Sample((0.51, 0.6), (1, 9))),
        "too few seeds: 1 against 1 of the reference", (1, 1),
    ),
    "pairs that all differ by the same": (
        lambda: paired(LEFT, SHIFT),
        "there is no spread at all: declare abs_tol instead of margin", (5, 5),
    ),
    "one seed against five": (
        lambda: tost(LEFT, Sample((0.6,), (9,)), margin=0.05, alpha=0.05),
        "too few seeds: 1 against 5 of the reference", (5, 1),
    ),
    "one side without spread": (
        lambda: tost(LEFT, Sample((0.6,) * 3, (7, 8, 9)), margin=0.05, alpha=0.05),
        "the values of one side are all equal, those of the other are not: was the seed used?",
        (5, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("test", "note", "seeds"), NO_ANSWER.values(), ids=NO_ANSWER)
def test_no_answer_is_undecided_and_says_why(
    test: Callable[[], Tost], note: str, seeds: tuple[int, int]
) -> None:
    assert test() == Tost(answer=Answer.UNDECIDED, note=note, seeds=seeds)


@pytest.mark.parametrize("shift", [-0.1, 0.1])
def test_an_interval_that_the_margin_cuts_is_undecided_on_either_side(shift: float) -> None:
    """It reaches over one end of the margin and not over the other."""
    moved = Sample(tuple(value + shift for value in LEFT.values))
    found = tost(LEFT, moved, margin=0.15, alpha=0.2)
    assert found.low is not None
    assert found.high is not None
    assert (found.low < -0.15, found.high > 0.15) == (shift < 0, shift > 0)
    assert found.answer is Answer.UNDECIDED


def test_identical_samples_differ_by_nothing() -> None:
    note = "equal in every one of 2 seeds"
    few = Sample(LEFT.values[:2], (1, 2))
    assert tost(LEFT, few, margin=0.05, alpha=0.05) == Tost(
        answer=Answer.IDENTICAL, note=note, difference=0.0, seeds=(5, 2)
    )
    assert paired(LEFT, few) == Tost(
        answer=Answer.IDENTICAL, note=note, difference=0.0, seeds=(2, 2)
    )


def simulated_power(seeds: int, margin: float, trials: int = 4000) -> float:
    """How often two samples of one normal distribution pass the test with pooled variances."""
    dice = random.Random(7)
    reach = float(stats.t.ppf(0.95, 2 * seeds - 2))
    passed = 0
    for _ in range(trials):
        left, right = ([dice.gauss(0, 1) for _ in range(seeds)] for _ in range(2))
        error = ((stdev(left) ** 2 + stdev(right) ** 2) / seeds) ** 0.5
        passed += abs(fmean(left) - fmean(right)) + reach * error < margin
    return passed / trials


@pytest.mark.parametrize(("seeds", "margin"), [(2, 5.0), (3, 3.0)])
def test_the_power_of_the_fewest_seeds_is_that_of_simulations(seeds: int, margin: float) -> None:
    found = power((seeds, seeds), spread=1, margin=margin, alpha=0.05)
    assert found == pytest.approx(simulated_power(seeds, margin), abs=0.025)


@pytest.mark.parametrize(("margin", "fewest"), [(50.0, 2), (4.0, 3), (1.9, 6)])
def test_no_fewer_seeds_would_be_enough(margin: float, fewest: int) -> None:
    chance = {n: power((n, n), spread=1, margin=margin, alpha=0.05) for n in (fewest - 1, fewest)}
    assert chance[fewest - 1] < 0.8 <= chance[fewest]
    assert seeds_needed(None, spread=1, margin=margin, alpha=0.05) == fewest


# --- what changed, and what it explains ---------------------------------------------------------


def with_summary(record: RunRecord, **summary: Any) -> ReferenceRun:
    """A reference run that kept only this of its circumstances."""
    return as_reference(record).model_copy(update={"summary": summary})


def declared(pipe: Pipeline, changed: dict[str, list[Any]]) -> list[Change]:
    """What changed in a run that is judged by declared values, after these overrides."""
    reference = expect(pipe).model_copy(update={"changed": changed})
    return against_reference(judged(pipe, reference, metrics={}))


@pytest.mark.parametrize(
    ("key", "name", "effect"),
    [
        ("args.trees.value", "args.trees", Effect.YES),
        ("args.tiles.value", "operational.tiles", Effect.LAST_DIGITS),
        ("args.tiles.role", "args.tiles.role", Effect.YES),
        ("data.field.sha256", "data.field", Effect.YES),
        ("data.field.value", "data.field.value", Effect.YES),
        ("environment.lock.sha256", "environment.lock.sha256", Effect.YES),
        ("limits.x.value", "limits.x.value", Effect.NO),
        ("source.sha256", "code", Effect.YES),
        ("resources.nodes", "nodes", Effect.LAST_DIGITS),
        ("limits.time_s", "limits.time_s", Effect.NO),
    ],
)
def test_an_override_is_told_by_the_name_that_a_run_has_for_it(
    key: str, name: str, effect: Effect
) -> None:
    pipe = pipeline(args={"trees": 1, "tiles": {"value": 2, "role": "operational"}})
    [change] = declared(pipe, {key: [1, 2]})
    assert (change.key, change.before, change.after, change.effect) == (name, 1, 2, effect)


def test_what_changes_no_result_is_a_declaration() -> None:
    [change] = between({"limits.time_s": 1}, {"limits.time_s": 2})
    assert change.kind == "declaration"


def test_an_override_stands_once_beside_what_the_runs_show() -> None:
    """The summaries know the argument; the limit is known from the pipelines alone."""
    before, after = pipeline(args={"x": 1}), pipeline(args={"x": 2})
    reference = at_run(past(of=before, metrics={})).model_copy(
        update={"changed": {"args.x.value": [1, 2], "limits.time_s": [60, 120]}}
    )
    changes = against_reference(judged(after, reference, metrics={}))
    assert [change.key for change in changes] == ["args.x", "limits.time_s"]


def test_of_an_older_record_only_what_it_told_is_compared() -> None:
    old = with_summary(past(metrics={}), cloud="aws", gone=1)
    reference = at_run(past(metrics={})).model_copy(update={"runs": [old]})
    changes = against_reference(judged(pipeline(), reference, metrics={}))
    assert [change.key for change in changes] == ["cloud"]


def test_of_a_record_that_told_all_what_is_gone_is_a_change() -> None:
    full = as_reference(past(metrics={}))
    full = full.model_copy(update={"summary": {**full.summary, "packages.numpy": "2.1"}})
    reference = at_run(past(metrics={})).model_copy(update={"runs": [full]})
    [change] = against_reference(judged(pipeline(), reference, metrics={}))
    assert (change.key, change.before, change.after) == ("packages.numpy", "2.1", None)


def test_the_run_that_the_verdict_names_is_the_one_that_is_compared() -> None:
    runs = accepted(
        past(OLDER, of=pipeline(args={"x": 1}), metrics={"a": 1}),
        past(NEWER, of=pipeline(args={"x": 2}), metrics={"a": 2}),
    )
    record = judged(pipeline(args={"x": 2}, verify={"a": {}}), runs, metrics={"a": 2})
    assert against_reference(record) == []
    unjudged = record.model_copy(update={"verdict": None})
    assert [change.key for change in against_reference(unjudged)] == ["args.x"]


def number(agreement: Agreement = Agreement.DIFFERENT, **update: Any) -> Check:
    """A check of a number that is 1.5 instead of 1.0."""
    check = Check(
        name="a", kind="metric", required=True, agreement=agreement, rule="exact",
        expected=1.0, observed=1.5, difference=0.5,
    )  # fmt: skip
    return check.model_copy(update=update)


def test_a_difference_inside_the_tolerance_is_explained_too() -> None:
    assert largest_difference([number(Agreement.WITHIN_TOLERANCE)]) == 0.5


@pytest.mark.parametrize(
    "update", [{"difference": None}, {"expected": "5e1f", "difference": 0.5}, {"expected": None}]
)
def test_a_difference_that_no_number_measures_may_be_of_any_size(update: dict[str, Any]) -> None:
    """Files, for example: rounding is never called enough for them."""
    assert largest_difference([number(**update)]) == float("inf")
    nodes = between({"nodes": 1}, {"nodes": 2})
    assert "does not explain it" in explanation(nodes, [number(**update)])


def test_rounding_may_be_just_as_large_as_the_limit() -> None:
    nodes = between({"nodes": 1}, {"nodes": 2})
    at_limit, above = number(difference=ROUNDING), number(difference=1.01 * ROUNDING)
    assert explanation(nodes, [at_limit]) == (
        "A difference of this size can come from rounding: nodes."
    )
    assert explanation(nodes, [above]) == (
        "Of what is recorded, no more than rounding (nodes) has changed, which does not explain "
        "it: look for randomness without a seed, the time of day, the network, or files outside "
        "the inputs."
    )


@pytest.mark.parametrize(
    ("causes", "says"),
    [
        (6, "Could explain it: args.0, args.1, args.2, args.3, args.4, args.5."),
        (7, "Could explain it: args.0, args.1, args.2, args.3, args.4, args.5 and 1 more."),
    ],
)
def test_six_causes_are_named(causes: int, says: str) -> None:
    before = {f"args.{n}": 0 for n in range(causes)}
    changes = between(before, dict.fromkeys(before, 1))
    assert explanation(changes, [number()]) == says


# --- grades -------------------------------------------------------------------------------------

NODE = {"index": 0, "cpu": "A"}
LOCK = pipeline(environment={"lock": "requirements.lock"})


def around(pipe: Pipeline, **circumstances: Any) -> dict[str, str]:
    """Grades of a run in these circumstances."""
    record = past(of=pipe, metrics={})
    update = {"circumstances": record.circumstances.model_copy(update=circumstances)}
    return grade(pipe, record.model_copy(update=update))


INSTALLED = {"packages": {"numpy": "2.1"}}
DIRTY = pipeline(source=tree(commit="c" * 40, diff=b"+1"))
PINNED = pipeline(data={"field": {"uri": "file:f.nc", "sha256": sha256(b"f")}})
GRADES: dict[str, tuple[Callable[[], dict[str, str]], str, str]] = {
    "code of no commit": (lambda: around(pipeline()), "code", "A: by content"),
    "code of a commit": (
        lambda: around(pipeline(source=tree(commit="c" * 40))), "code", "A: by commit and content",
    ),
    "code with changes": (
        lambda: around(DIRTY), "code",
        "B: with changes that were not committed, kept as dirty.diff",
    ),
    "no inputs": (lambda: around(pipeline()), "data", "A: no inputs"),
    "inputs by hash": (
        lambda: grade(PINNED, past(of=PINNED, metrics={}, data={"field": b"f"})),
        "data", "A: by SHA-256",
    ),
    "the machine's software": (
        lambda: around(pipeline()), "environment", "D: none declared, whatever the machine had",
    ),
    "a lock, nobody knows what was installed": (
        lambda: around(LOCK), "environment", "C: a lock; what was installed is not recorded",
    ),
    "a lock without hashes": (
        lambda: around(LOCK, **INSTALLED), "environment",
        "C: a lock without hashes; system libraries are the machine's",
    ),
    "a lock with hashes": (
        lambda: around(LOCK, **INSTALLED, hashed_lock=True), "environment",
        "B: a lock with hashes; system libraries are the machine's",
    ),
    "unknown machines": (lambda: around(pipeline()), "hardware", "D: no node has said what it is"),
    "too few processors": (
        lambda: around(pipeline(), nodes=[NODE], oversubscribed=True), "hardware",
        "D: more processors were asked for than there are; timings say nothing",
    ),
    "known machines": (
        lambda: around(pipeline(), nodes=[NODE]), "hardware",
        "B: as the nodes saw it; the machine may have had other work",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("grades", "of", "says"), GRADES.values(), ids=GRADES)
def test_the_grade_of(grades: Callable[[], dict[str, str]], of: str, says: str) -> None:
    assert grades()[of] == says


# --- steps --------------------------------------------------------------------------------------


def test_a_failure_without_a_hint_has_none() -> None:
    body = {"step": "stage", "message": "no luck", "transient": False}
    failure = fold(events((Kind.CREATED, {}), (Kind.FAILED, body))).failure
    assert failure is not None
    assert (failure.message, failure.hint) == ("no luck", "")


@pytest.fixture
def in_japan(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nine hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_japan")
def test_a_run_is_named_by_utc_wherever_it_is_made() -> None:
    before = datetime.now(UTC)
    run = new_run_id()
    assert f"{before:%Y%m%dT%H%M%SZ}" <= run[:16] <= f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def test_the_last_millisecond_of_a_second() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 999_000, tzinfo=UTC)
    assert new_run_id(moment).startswith("20260102T030405Z-3e7")


def test_all_ids_are_equally_long() -> None:
    """Else they would not sort by time."""
    assert {len(new_run_id()) for _ in range(100)} == {len(PAST)}
