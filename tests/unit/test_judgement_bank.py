"""
A bank of pairs with known answers: a reference, a run, the rules, and what a reader may conclude.

Numbers and bytes alone are in `test_verdict.py`, file formats in `contents/`. Here are the traps in
which a tool says "reproduced" and is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from rpac_ci.pipeline import Pipeline, science
from rpac_ci.records import Agreement, Reference, ReferenceKind, RunRecord, Verdict, as_reference
from rpac_ci.verdict import judge
from tests.unit.builders import (
    PAST,
    accepted,
    at_run,
    expect,
    finished,
    nothing,
    pipeline,
    sha256,
    values,
)

ONE, OTHER = b"one", b"other"


def past(run: str = PAST, *, of: Pipeline | None = None, **outcome: Any) -> RunRecord:
    """A run of earlier."""
    return finished(of or pipeline(), nothing(), run=run, **outcome)


def look(path: str, agreement: str, *, at: str = PAST, note: str = "") -> dict[str, Any]:
    """What a look into an output has found, as the step `collect` keeps it."""
    return {"comparisons": [{"path": path, "reference": at, "agreement": agreement, "note": note}]}


def sampled(**metrics: Sequence[float]) -> dict[str, Any]:
    """Metrics with the values of seeds 1, 2, 3, …"""
    return {
        "samples": {
            name: {"values": list(found), "seeds": list(range(1, len(found) + 1))}
            for name, found in metrics.items()
        },
        "metrics": values({name: sum(found) / len(found) for name, found in metrics.items()}),
    }


@dataclass(frozen=True)
class Pair:
    """A reference, a run, and the answer."""

    outcome: str
    rules: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] = ("metrics.json",)
    reference: Reference | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""  # in the reason, or in the note of a check
    keys: Mapping[str, Any] = field(default_factory=dict)  # of the experiment

    def judged(self) -> Verdict:
        pipe = pipeline(verify=dict(self.rules), outputs=list(self.outputs), **self.keys)
        return judge(pipe, finished(pipe, self.reference, **self.run))


FIELD = ("metrics.json", "f.nc")
VALUES = {"f.nc": {"compare": "values", "rel_tol": 1e-5}}
CONTENT = {"f.nc": {"compare": "content"}}
BYTES = {"f.nc": {"compare": "bytes"}}
RUN = at_run(past(metrics={}, files={"f.nc": ONE}))
MARGIN = {"skill": {"margin": 0.05}}
GOOD5 = (0.70, 0.71, 0.72, 0.71, 0.70)
RUN5 = at_run(past(metrics={"skill": 0.708}, collected=sampled(skill=GOOD5)))
SEEDED = {"seed": 1}

FILES: dict[str, Pair] = {
    "the same bytes need no look": Pair(
        "reproduced: identical",
        CONTENT,
        FIELD,
        RUN,
        {"metrics": {}, "files": {"f.nc": ONE}},
    ),
    "other bytes, same content": Pair(
        "reproduced: identical",
        CONTENT,
        FIELD,
        RUN,
        {"metrics": {}, "files": {"f.nc": OTHER}, "collected": look("f.nc", "same content")},
    ),
    "same content where bytes are asked for": Pair(
        "not reproduced",
        BYTES,
        FIELD,
        RUN,
        {"metrics": {}, "files": {"f.nc": OTHER}, "collected": look("f.nc", "same content")},
        "the content is the same",
    ),
    "values within the tolerance": Pair(
        "reproduced: within tolerance",
        VALUES,
        FIELD,
        RUN,
        {"metrics": {}, "files": {"f.nc": OTHER}, "collected": look("f.nc", "within tolerance")},
    ),
    "values outside of it": Pair(
        "not reproduced",
        VALUES,
        FIELD,
        RUN,
        {
            "metrics": {},
            "files": {"f.nc": OTHER},
            "collected": look("f.nc", "different", note="sst: 3 of 9 values differ"),
        },
        "3 of 9",
    ),
    "nobody has looked": Pair(
        "inconclusive",
        VALUES,
        FIELD,
        RUN,
        {"metrics": {}, "files": {"f.nc": OTHER}},
        "were not compared",
    ),
    "the look was at another run's file": Pair(
        "inconclusive",
        VALUES,
        FIELD,
        RUN,
        {
            "metrics": {},
            "files": {"f.nc": OTHER},
            "collected": look("f.nc", "same content", at="20200101T000000Z-00000000"),
        },
        "were not compared",
    ),
    "the reference's file is gone": Pair(
        "inconclusive",
        VALUES,
        FIELD,
        RUN,
        {
            "metrics": {},
            "files": {"f.nc": OTHER},
            "collected": look("f.nc", "not compared", note="is not in this repository's store"),
        },
        "not in this repository's store",
    ),
    "the reader crashed": Pair(
        "inconclusive",
        CONTENT,
        FIELD,
        RUN,
        {
            "metrics": {},
            "files": {"f.nc": OTHER},
            "collected": look("f.nc", "not compared", note="the reader ended with signal 11"),
        },
        "signal 11",
    ),
    "an output is missing": Pair(
        "not reproduced",
        VALUES,
        FIELD,
        RUN,
        {"metrics": {}},
        "f.nc: missing",
    ),
    "the reference has no such output": Pair(
        "inconclusive",
        VALUES,
        FIELD,
        at_run(past(metrics={})),
        {"metrics": {}, "files": {"f.nc": ONE}},
        "the reference has no such file",
    ),
    "neither has it": Pair(
        "not reproduced",
        VALUES,
        ("metrics.json", "*.nc"),
        at_run(past(metrics={})),
        {"metrics": {}},
        "missing",
    ),
    "an extra file, nothing ruled": Pair(
        "inconclusive",
        {},
        ("metrics.json", "*.csv"),
        at_run(past(metrics={"a": 1}, files={"a.csv": ONE})),
        {"metrics": {"a": 1}, "files": {"a.csv": ONE, "b.csv": ONE}},
        "b.csv",
    ),
    "an extra file beside rules that hold": Pair(
        "reproduced: identical",
        {"a": {}},
        ("metrics.json", "*.csv"),
        at_run(past(metrics={"a": 1}, files={"a.csv": ONE})),
        {"metrics": {"a": 1}, "files": {"a.csv": ONE, "b.csv": ONE}},
    ),
    "an extra file that a required pattern names": Pair(
        "inconclusive",
        {"*.csv": {"compare": "bytes"}},
        ("metrics.json", "*.csv"),
        at_run(past(metrics={}, files={"a.csv": ONE})),
        {"metrics": {}, "files": {"a.csv": ONE, "b.csv": ONE}},
        "b.csv",
    ),
    "a declared file that only the reference has": Pair(
        "not reproduced",
        {"a": {}},
        ("metrics.json", "*.csv"),
        at_run(past(metrics={"a": 1}, files={"a.csv": ONE, "b.csv": ONE})),
        {"metrics": {"a": 1}, "files": {"a.csv": ONE}},
        "b.csv: missing",
    ),
    "unless a pattern says that it does not count": Pair(
        "reproduced: identical",
        {"a": {}, "*.csv": {"compare": "bytes", "required": False}},
        ("metrics.json", "*.csv"),
        at_run(past(metrics={"a": 1}, files={"a.csv": ONE, "b.csv": ONE})),
        {"metrics": {"a": 1}, "files": {"a.csv": ONE}},
    ),
    "the strict rule of a name beside the loose one of a pattern": Pair(
        "not reproduced",
        {"*.csv": {"compare": "bytes", "required": False}, "a.csv": {"compare": "bytes"}},
        ("metrics.json", "*.csv"),
        at_run(past(metrics={}, files={"a.csv": ONE, "b.csv": ONE})),
        {"metrics": {}, "files": {"a.csv": OTHER, "b.csv": OTHER}},
        "a.csv: different",
    ),
    "no rule, and only the date inside differs": Pair(
        "reproduced: identical",
        {},
        FIELD,
        RUN,
        {"metrics": {}, "files": {"f.nc": OTHER}, "collected": look("f.nc", "same content")},
    ),
    "no rule, and a value differs": Pair(
        "inconclusive",
        {},
        FIELD,
        RUN,
        {"metrics": {}, "files": {"f.nc": OTHER}, "collected": look("f.nc", "different")},
        "no rule under verify",
    ),
    "a published file as the reference": Pair(
        "reproduced: identical",
        {"f.nc": {"compare": "content", "expect": "data.truth"}},
        FIELD,
        None,
        {"metrics": {}, "files": {"f.nc": ONE}, "data": {"truth": ONE}},
        keys={"data": {"truth": {"uri": "file:truth.nc", "sha256": sha256(ONE)}}},
    ),
    "a published file that nobody pinned": Pair(
        "inconclusive",
        {"f.nc": {"compare": "content", "expect": "data.truth"}},
        FIELD,
        None,
        {"metrics": {}, "files": {"f.nc": ONE}, "data": {"truth": ONE}},
        "not pinned",
        keys={"data": {"truth": {"uri": "file:truth.nc"}}},
    ),
}

SAMPLES: dict[str, Pair] = {
    "five seeds against five, close": Pair(
        "reproduced: statistically equivalent",
        MARGIN,
        reference=RUN5,
        keys=SEEDED,
        run={"metrics": {"skill": 0.7}, "collected": sampled(skill=(0.71, 0.70, 0.72, 0.69, 0.70))},
    ),
    "five seeds against five, far": Pair(
        "not reproduced",
        MARGIN,
        reference=RUN5,
        keys=SEEDED,
        run={"metrics": {"skill": 0.6}, "collected": sampled(skill=(0.61, 0.60, 0.62, 0.60, 0.61))},
    ),
    "one seed": Pair(
        "inconclusive",
        MARGIN,
        reference=RUN5,
        run={"metrics": {"skill": 0.705}},
        keys={"seed": 9},
        says="too few seeds",
    ),
    "one seed, and it is the reference's own": Pair(
        "reproduced: identical",
        MARGIN,
        reference=RUN5,
        run={"metrics": {"skill": 0.71}},
        keys={"seed": 2},
    ),
    "three seeds that spread": Pair(
        "inconclusive",
        MARGIN,
        reference=RUN5,
        keys=SEEDED,
        run={"metrics": {"skill": 0.7}, "collected": sampled(skill=(0.60, 0.71, 0.80))},
        says="interval",
    ),
    "values that do not spread at all": Pair(
        "inconclusive",
        MARGIN,
        reference=RUN5,
        keys=SEEDED,
        run={"metrics": {"skill": 0.7}, "collected": sampled(skill=(0.7, 0.7, 0.7, 0.7, 0.7))},
        says="was the seed used?",
    ),
    "the metric is missing": Pair(
        "not reproduced",
        MARGIN,
        reference=RUN5,
        run={"metrics": {}},
        keys=SEEDED,
        says="missing",
    ),
    "the reference has no such metric": Pair(
        "inconclusive",
        MARGIN,
        reference=at_run(past(metrics={})),
        keys=SEEDED,
        run={"metrics": {"skill": 0.7}, "collected": sampled(skill=GOOD5)},
    ),
    "another unit": Pair(
        "inconclusive",
        {"skill": {"margin": 0.05, "unit": "1"}},
        reference=RUN5,
        keys=SEEDED,
        run={
            "metrics": {"skill": (0.7, "%")},
            "collected": {**sampled(skill=GOOD5), "metrics": values({"skill": (0.7, "%")})},
        },
        says="the unit is %",
    ),
    "a declared sample": Pair(
        "reproduced: statistically equivalent",
        {"skill": {"margin": 0.05, "expect": list(GOOD5)}},
        keys=SEEDED,
        run={"metrics": {"skill": 0.7}, "collected": sampled(skill=(0.71, 0.70, 0.72, 0.69, 0.70))},
    ),
    "equivalent, but an exact rule does not hold": Pair(
        "not reproduced",
        {**MARGIN, "n": {"expect": 5}},
        keys=SEEDED,
        reference=RUN5.model_copy(update={"kind": ReferenceKind.ACCEPTED}),
        run={
            "metrics": {"skill": 0.7, "n": 4},
            "collected": {
                **sampled(skill=GOOD5[::-1]),
                "metrics": values({"skill": 0.708, "n": 4}),
            },
        },
        says="n: different",
    ),
    "one number, alone": Pair(
        "reproduced: statistically equivalent",
        {"a": {"margin": 0.0243}},
        keys=SEEDED,
        reference=at_run(past(metrics={"a": 0}, collected=sampled(a=GOOD5))),
        run={"metrics": {"a": 0}, "collected": sampled(a=tuple(v + 0.0135 for v in GOOD5))},
    ),
    "two such numbers, of which one alone would pass": Pair(
        "inconclusive",
        {"a": {"margin": 0.0243}, "b": {"margin": 0.0243}},
        keys=SEEDED,
        reference=at_run(past(metrics={"a": 0, "b": 0}, collected=sampled(a=GOOD5, b=GOOD5))),
        run={
            "metrics": {"a": 0, "b": 0},
            "collected": sampled(
                a=tuple(v + 0.0135 for v in GOOD5), b=tuple(v + 0.0135 for v in GOOD5)
            ),
        },
        says="undecided",
    ),
}

DOUBTS: dict[str, Pair] = {
    "accepted runs that disagree": Pair(
        "inconclusive", {"a": {"abs_tol": 0.01}},
        reference=accepted(past("A", metrics={"a": 1.0}), past("B", metrics={"a": 2.0})),
        run={"metrics": {"a": 1.5}}, says="do not agree with each other",
    ),
    "as one of the accepted runs that disagree": Pair(
        "reproduced: identical", {"a": {"abs_tol": 0.01}},
        reference=accepted(past("A", metrics={"a": 1.0}), past("B", metrics={"a": 2.0})),
        run={"metrics": {"a": 2.0}},
    ),
    "outside of accepted runs that agree": Pair(
        "not reproduced", {"a": {"abs_tol": 0.01}},
        reference=accepted(past("A", metrics={"a": 1.0}), past("B", metrics={"a": 1.005})),
        run={"metrics": {"a": 1.5}}, says="a: different",
    ),
    "accepted runs with different files": Pair(
        "inconclusive", BYTES, FIELD,
        accepted(past("A", metrics={}, files={"f.nc": ONE}),
                 past("B", metrics={}, files={"f.nc": OTHER})),
        {"metrics": {}, "files": {"f.nc": b"third"}}, "different files",
    ),
    "a declared value that the accepted run does not have either": Pair(
        "inconclusive", {"a": {"expect": 1.0, "abs_tol": 0.01}},
        reference=Reference(
            kind=ReferenceKind.EXPECT, science=science(pipeline()).digest,
            runs=[as_reference(past("A", metrics={"a": 2.0}))],
        ),
        run={"metrics": {"a": 2.0}}, says="does not agree with the declared value either",
    ),
    "the declared value, whatever was accepted": Pair(
        "reproduced: identical", {"a": {"expect": 1.0, "abs_tol": 0.01}},
        reference=Reference(
            kind=ReferenceKind.EXPECT, science=science(pipeline()).digest,
            runs=[as_reference(past("A", metrics={"a": 2.0}))],
        ),
        run={"metrics": {"a": 1.0}},
    ),
    "the reference fails itself in a file": Pair(
        "inconclusive", {"f.nc": {"compare": "values", "rel_tol": 1e-5, "equal_nan": False}}, FIELD,
        RUN,
        {"metrics": {}, "files": {"f.nc": OTHER},
         "collected": look("f.nc", "not compared", note="the reference fails its own comparison")},
        "fails its own",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "pair", [*FILES.values(), *SAMPLES.values(), *DOUBTS.values()], ids=[*FILES, *SAMPLES, *DOUBTS]
)
def test_the_answer_is_known(pair: Pair) -> None:
    verdict = pair.judged()
    words = [verdict.reason, *(f"{check.name}: {check.note}" for check in verdict.checks)]
    assert verdict.outcome == pair.outcome, words
    assert pair.says in "\n".join(words)
    assert (verdict.exit_code == 0) == verdict.outcome.startswith("reproduced")


# --- rules that came after the result ------------------------------------------------------------


def test_rules_that_changed_after_the_result_stand_in_the_verdict_line() -> None:
    pipe = pipeline(verify={"a": {"expect": 1.0, "abs_tol": 0.5}})
    reference = expect(pipe).model_copy(update={"rules_changed": ["a: abs_tol 0.01 → 0.5"]})
    verdict = judge(pipe, finished(pipe, reference, metrics={"a": 1.4}))
    assert verdict.outcome == "reproduced: within tolerance"
    assert "rules changed since the first result was known: a: abs_tol 0.01 → 0.5" in verdict.reason


# --- the set of accepted runs as a sample --------------------------------------------------------


def accepted_seeds(values_of: Sequence[float]) -> Reference:
    runs = [
        past(f"2025123{n}T000000Z-0000000{n}", of=pipeline(seed=n, verify=MARGIN),
             metrics={"skill": value})
        for n, value in enumerate(values_of, 1)
    ]  # fmt: skip
    return accepted(*runs)


def test_accepted_runs_of_several_seeds_are_one_sample() -> None:
    pipe = pipeline(seed=11, verify=MARGIN)
    run = finished(
        pipe, accepted_seeds(GOOD5), metrics={"skill": 0.7},
        collected=sampled(skill=(0.71, 0.70, 0.72, 0.69, 0.70)),
    )  # fmt: skip
    verdict = judge(pipe, run)
    assert verdict.outcome == "reproduced: statistically equivalent"
    [check] = [check for check in verdict.checks if check.name == "skill"]
    assert "5 seeds against 5" in check.note
    assert check.p_value is not None
    assert check.p_value < 0.05


def test_another_seed_is_the_same_science_where_a_rule_compares_over_seeds() -> None:
    def digest(**keys: Any) -> str:
        return science(pipeline(**keys)).digest

    assert digest(seed=1, verify=MARGIN) == digest(seed=2, verify=MARGIN)
    assert digest(seed=1) != digest(seed=2)


# --- invariants ----------------------------------------------------------------------------------


@pytest.mark.parametrize("agreement", [a for a in Agreement if a.value != "identical"])
def test_no_look_can_make_a_required_missing_file_agree(agreement: Agreement) -> None:
    pair = Pair("", CONTENT, FIELD, RUN, {"metrics": {}, "collected": look("f.nc", agreement)})
    assert pair.judged().outcome == "not reproduced"


@pytest.mark.parametrize("agreement", ["different", "not compared"])
def test_bad_news_from_a_look_never_ends_in_reproduced(agreement: str) -> None:
    run = {"metrics": {}, "files": {"f.nc": OTHER}, "collected": look("f.nc", agreement)}
    for rules in (VALUES, CONTENT, BYTES, {}):
        assert not Pair("", rules, FIELD, RUN, run).judged().outcome.startswith("reproduced")
