"""Verdicts: the table of DESIGN.md row by row, and never a false "reproduced"."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpac_ci.pipeline import Pipeline, science
from rpac_ci.records import Agreement, Check, Reference, ReferenceKind, RunRecord, Verdict
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
)

RULE: dict[str, Any] = {"f1": {"expect": 0.895, "abs_tol": 0.01}}
OPTIONAL: dict[str, Any] = {"f1": {"expect": 0.895, "abs_tol": 0.01, "required": False}}
TABLE: dict[str, Any] = {"outputs": ["metrics.json", "a.csv"], "verify": {"a.csv": {}}}
BYTES: dict[str, Any] = {**TABLE, "verify": {"a.csv": {"compare": "bytes"}}}
PINNED = {"field": {"uri": "file:field.nc", "sha256": sha256(b"field")}}
LOOSE = {"field": {"uri": "file:field.nc"}}


def verdict(pipe: Pipeline, reference: Reference | None = None, **run: Any) -> Verdict:
    """The verdict on a run that ended like this."""
    return judge(pipe, finished(pipe, reference, **run))


def past(run: str = PAST, *, of: Pipeline | None = None, **outcome: Any) -> RunRecord:
    """A run of earlier, by default of the pipeline that has no arguments."""
    return finished(of or pipeline(), nothing(), run=run, **outcome)


def with_arg(value: int, **keys: Any) -> Pipeline:
    """Pipelines that differ in one scientific argument."""
    return pipeline(args={"x": value}, **keys)


def as_declared_for(other: Pipeline) -> Reference:
    """Values declared for another science than the one that runs: it is a variant."""
    return Reference(kind=ReferenceKind.EXPECT, science=science(other).digest)


# --- the table --------------------------------------------------------------------------------

REPRODUCED: dict[str, tuple[Callable[[], Verdict], str]] = {
    "the declared value": (
        lambda: verdict(pipeline(verify=RULE), metrics={"f1": 0.895}), "identical",
    ),
    "within its tolerance": (
        lambda: verdict(pipeline(verify=RULE), metrics={"f1": 0.9}), "within tolerance",
    ),
    "one exact, one within": (
        lambda: verdict(
            pipeline(verify={**RULE, "n": {"expect": 3}}), metrics={"f1": 0.9, "n": 3}
        ),
        "within tolerance",
    ),
    "pinned data": (
        lambda: verdict(
            pipeline(verify=RULE, data=PINNED), metrics={"f1": 0.895}, data={"field": b"field"}
        ),
        "identical",
    ),
    "an optional check differs": (
        lambda: verdict(
            pipeline(verify={**RULE, "n": {"expect": 3, "required": False}}),
            metrics={"f1": 0.895, "n": 4},
        ),
        "identical",
    ),
    "an optional metric is missing": (
        lambda: verdict(
            pipeline(verify={**RULE, "n": {"expect": 3, "required": False}}),
            metrics={"f1": 0.895},
        ),
        "identical",
    ),
    "the declared bytes": (
        lambda: verdict(
            pipeline(**{**TABLE, "verify": {"a.csv": {"sha256": sha256(b"1,2")}}}),
            metrics={}, files={"a.csv": b"1,2"},
        ),
        "identical",
    ),
    "the metrics of @run": (
        lambda: verdict(
            pipeline(verify=RULE), at_run(past(metrics={"f1": 0.5})), metrics={"f1": 0.505}
        ),
        "within tolerance",
    ),
    "all of @run, without a rule": (
        lambda: verdict(pipeline(), at_run(past(metrics={"f1": 0.5})), metrics={"f1": 0.5}),
        "identical",
    ),
    "the bytes of @run": (
        lambda: verdict(
            pipeline(**BYTES), at_run(past(metrics={}, files={"a.csv": b"1"})),
            metrics={}, files={"a.csv": b"1"},
        ),
        "identical",
    ),
    "the data that @run saw": (
        lambda: verdict(
            pipeline(verify=RULE, data=LOOSE),
            at_run(past(of=pipeline(data=LOOSE), metrics={"f1": 1}, data={"field": b"x"})),
            metrics={"f1": 1}, data={"field": b"x"},
        ),
        "identical",
    ),
    "one of the accepted runs": (
        lambda: verdict(
            pipeline(verify={"f1": {"abs_tol": 0.01}}),
            accepted(past("A", metrics={"f1": 0.1}), past("B", metrics={"f1": 0.9})),
            metrics={"f1": 0.895},
        ),
        "within tolerance",
    ),
    "the bytes of one of the accepted runs": (
        lambda: verdict(
            pipeline(**BYTES),
            accepted(
                past("A", metrics={}, files={"a.csv": b"1"}),
                past("B", metrics={}, files={"a.csv": b"2"}),
            ),
            metrics={}, files={"a.csv": b"2"},
        ),
        "identical",
    ),
    "declared and accepted values together": (
        lambda: verdict(
            pipeline(verify={**RULE, "n": {}}),
            expect(pipeline()).model_copy(
                update={"runs": accepted(past(metrics={"n": 3})).runs}
            ),
            metrics={"f1": 0.895, "n": 3},
        ),
        "identical",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("run", "how"), REPRODUCED.values(), ids=REPRODUCED)
def test_reproduced(run: Callable[[], Verdict], how: str) -> None:
    found = run()
    assert (found.outcome, found.exit_code) == (f"reproduced: {how}", 0)


# the run, its outcome and exit code, words of the reason
OTHERWISE: dict[str, tuple[Callable[[], Verdict], str, int, str]] = {
    # --- not reproduced
    "a metric differs": (
        lambda: verdict(pipeline(verify=RULE), metrics={"f1": 0.91}),
        "not reproduced", 1, "f1: different",
    ),
    "one of two differs": (
        lambda: verdict(
            pipeline(verify={**RULE, "n": {"expect": 3}}), metrics={"f1": 0.895, "n": 4}
        ),
        "not reproduced", 1, "n: different",
    ),
    "a metric is missing": (
        lambda: verdict(pipeline(verify=RULE), metrics={"other": 1}),
        "not reproduced", 1, "f1: missing",
    ),
    "no metrics": (
        lambda: verdict(pipeline(verify=RULE)), "not reproduced", 1, "metrics.json, f1: missing",
    ),
    "metrics that cannot be read": (
        lambda: verdict(pipeline(verify=RULE), metrics_problem="not valid JSON"),
        "not reproduced", 1, "f1: missing",
    ),
    "an output is missing": (
        lambda: verdict(
            pipeline(verify=RULE, outputs=["metrics.json", "a.csv"]), metrics={"f1": 0.895}
        ),
        "not reproduced", 1, "a.csv: missing",
    ),
    "a pattern of outputs names nothing": (
        lambda: verdict(
            pipeline(verify=RULE, outputs=["metrics.json", "figures/*.png"]),
            metrics={"f1": 0.895}, files={"figures/map.svg": b""},
        ),
        "not reproduced", 1, "figures/*.png: missing",
    ),
    "an output of this name in another folder": (
        lambda: verdict(
            pipeline(verify=RULE, outputs=["metrics.json", "a.csv"]),
            metrics={"f1": 0.895}, files={"old/a.csv": b""},
        ),
        "not reproduced", 1, "a.csv: missing",
    ),
    "a first run without its output": (
        lambda: verdict(pipeline(), nothing()), "not reproduced", 1, "metrics.json: missing",
    ),
    "other bytes than declared": (
        lambda: verdict(
            pipeline(**{**TABLE, "verify": {"a.csv": {"sha256": sha256(b"1")}}}),
            metrics={}, files={"a.csv": b"2"},
        ),
        "not reproduced", 1, "a.csv: different",
    ),
    "other bytes than @run": (
        lambda: verdict(
            pipeline(**BYTES), at_run(past(metrics={}, files={"a.csv": b"1"})),
            metrics={}, files={"a.csv": b"2"},
        ),
        "not reproduced", 1, "a.csv: different",
    ),
    "bytes as declared, but not as @run": (
        lambda: verdict(
            pipeline(**{**TABLE, "verify": {"a.csv": {"sha256": sha256(b"2")}}}),
            at_run(past(metrics={}, files={"a.csv": b"1"})), metrics={}, files={"a.csv": b"2"},
        ),
        "not reproduced", 1, "a.csv: different",
    ),
    "as declared, but not as @run": (
        lambda: verdict(
            pipeline(verify=RULE), at_run(past(metrics={"f1": 0.5})), metrics={"f1": 0.895}
        ),
        "not reproduced", 1, "f1: different",
    ),
    "between two accepted runs": (
        lambda: verdict(
            pipeline(verify={"f1": {"abs_tol": 0.01}}),
            accepted(past("A", metrics={"f1": 0.1}), past("B", metrics={"f1": 0.9})),
            metrics={"f1": 0.5},
        ),
        "inconclusive", 7, "f1: the accepted runs do not agree with each other",
    ),
    "partly as one accepted run, partly as another": (
        lambda: verdict(
            pipeline(verify={"f1": {}, "n": {}}),
            accepted(past("A", metrics={"f1": 1, "n": 2}), past("B", metrics={"f1": 3, "n": 4})),
            metrics={"f1": 1, "n": 4},
        ),
        "inconclusive", 7, "the accepted runs do not agree with each other",
    ),
    "as an accepted run of other science": (
        lambda: verdict(
            with_arg(1, verify={"f1": {}}),
            accepted(
                past("A", of=with_arg(1), metrics={"f1": 0.9}),
                past("B", of=with_arg(2), metrics={"f1": 0.5}),
            ),
            metrics={"f1": 0.5},
        ),
        "not reproduced", 1, "f1: different",
    ),
    "bytes of an accepted run of other science": (
        lambda: verdict(
            with_arg(1, **BYTES),
            accepted(
                past("A", of=with_arg(2), metrics={}, files={"a.csv": b"2"}),
                past("B", of=with_arg(1), metrics={}, files={"a.csv": b"1"}),
            ),
            metrics={}, files={"a.csv": b"2"},
        ),
        "not reproduced", 1, "a.csv: different",
    ),
    # --- variants
    "a variant that agrees": (
        lambda: verdict(
            with_arg(2, verify=RULE), as_declared_for(with_arg(1)), metrics={"f1": 0.895}
        ),
        "compared (variant)", 0, "1 of 1 checks agree",
    ),
    "a variant that differs": (
        lambda: verdict(
            with_arg(2, verify={**RULE, "n": {"expect": 3}}),
            as_declared_for(with_arg(1)), metrics={"f1": 0.5, "n": 3},
        ),
        "compared (variant)", 0, "1 of 2 checks agree",
    ),
    "a variant of @run": (
        lambda: verdict(
            with_arg(2, verify=RULE), at_run(past(of=with_arg(1), metrics={"f1": 0.5})),
            metrics={"f1": 0.5},
        ),
        "compared (variant)", 0, "1 of 1 checks agree",
    ),
    "a variant of all accepted runs": (
        lambda: verdict(
            with_arg(2, verify=RULE), accepted(past(of=with_arg(1), metrics={"f1": 0.895})),
            metrics={"f1": 0.895},
        ),
        "compared (variant)", 0, "1 of 1 checks agree",
    ),
    "other data than @run saw": (
        lambda: verdict(
            pipeline(verify=RULE, data=LOOSE),
            at_run(past(of=pipeline(data=LOOSE), metrics={"f1": 1}, data={"field": b"old"})),
            metrics={"f1": 1}, data={"field": b"new"},
        ),
        "compared (variant)", 0, "1 of 1 checks agree",
    ),
    "a variant without its metric": (
        lambda: verdict(with_arg(2, verify=RULE), as_declared_for(with_arg(1)), metrics={}),
        "inconclusive", 7, "f1",
    ),
    "a variant with nothing to compare": (
        lambda: verdict(
            with_arg(2), at_run(past(of=with_arg(1), metrics={})), metrics={}
        ),
        "inconclusive", 7, "nothing",
    ),
    "a variant in another unit": (
        lambda: verdict(
            with_arg(2, verify={"r": {"expect": 1, "unit": "km"}}),
            as_declared_for(with_arg(1)), metrics={"r": (1, "m")},
        ),
        "inconclusive", 7, "r: ",
    ),
    # --- baseline
    "a first run": (
        lambda: verdict(pipeline(), nothing(), metrics={"f1": 0.5}),
        "baseline", 0, "nothing declared or accepted to compare with yet",
    ),
    "a first run with a rule but no value": (
        lambda: verdict(pipeline(verify={"f1": {"abs_tol": 1}}), nothing(), metrics={"f1": 0.5}),
        "baseline", 0, "nothing declared or accepted",
    ),
    # --- inconclusive
    "nothing is compared": (
        lambda: verdict(pipeline(), metrics={"f1": 0.5}), "inconclusive", 7, "nothing was compared",
    ),
    "a rule without a value": (
        lambda: verdict(pipeline(verify={**RULE, "n": {}}), metrics={"f1": 0.895, "n": 3}),
        "inconclusive", 7, "n: nothing to compare with",
    ),
    "a metric that @run does not have": (
        lambda: verdict(
            pipeline(verify=RULE), at_run(past(metrics={"n": 3})), metrics={"f1": 0.895}
        ),
        "inconclusive", 7, "f1: the reference has no such metric",
    ),
    "a file that @run does not have": (
        lambda: verdict(
            pipeline(**BYTES), at_run(past(metrics={})), metrics={}, files={"a.csv": b"1"}
        ),
        "inconclusive", 7, "a.csv: the reference has no such file",
    ),
    "bytes without a reference": (
        lambda: verdict(pipeline(**BYTES), metrics={}, files={"a.csv": b"1"}),
        "inconclusive", 7, "a.csv: nothing to compare with",
    ),
    "another unit than declared": (
        lambda: verdict(
            pipeline(verify={"r": {"expect": 1, "unit": "km"}}), metrics={"r": (1, "m")}
        ),
        "inconclusive", 7, "r: the unit is m, expected km",
    ),
    "another unit than @run": (
        lambda: verdict(
            pipeline(verify={"r": {}}), at_run(past(metrics={"r": (1, "km")})),
            metrics={"r": (1, "m")},
        ),
        "inconclusive", 7, "r: the unit is m, expected km",
    ),
    "data that nobody pinned": (
        lambda: verdict(
            pipeline(verify=RULE, data=LOOSE), metrics={"f1": 0.895}, data={"field": b"x"}
        ),
        "inconclusive", 7, f"the bytes of field are not pinned (seen: sha256 {sha256(b'x')})",
    ),
    "data that nobody pinned, and a difference": (
        lambda: verdict(
            pipeline(verify=RULE, data=LOOSE), metrics={"f1": 0.5}, data={"field": b"x"}
        ),
        "inconclusive", 7, "the bytes of field are not pinned",
    ),
    "only optional checks, one differs": (
        lambda: verdict(pipeline(verify=OPTIONAL), metrics={"f1": 0.5}), "inconclusive", 7, "f1",
    ),
    "only optional checks, one is missing": (
        lambda: verdict(pipeline(verify=OPTIONAL), metrics={}), "inconclusive", 7, "f1",
    ),
    "@run differs and no rule says how much": (
        lambda: verdict(
            pipeline(), at_run(past(metrics={"f1": 0.5, "n": 3})), metrics={"f1": 0.6, "n": 3}
        ),
        "inconclusive", 7, "f1: differs, and no rule under verify says how much may differ",
    ),
    "@run had one metric more": (
        lambda: verdict(
            pipeline(), at_run(past(metrics={"f1": 0.5, "n": 3})), metrics={"f1": 0.5}
        ),
        "inconclusive", 7, "n",
    ),
    "@run had one file more": (
        lambda: verdict(
            pipeline(), at_run(past(metrics={"f1": 0.5}, files={"a.csv": b"1"})),
            metrics={"f1": 0.5},
        ),
        "not reproduced", 1, "a.csv: missing",
    ),
    "neither @run nor this run could be read": (
        lambda: verdict(
            pipeline(), at_run(past(metrics_problem="not valid JSON")),
            metrics_problem="not valid JSON",
        ),
        "inconclusive", 7, "nothing was compared",
    ),
    # --- the run did not end well
    "the command failed": (
        lambda: verdict(pipeline(verify=RULE), reason="command failed", message="exit code 2"),
        "inconclusive (run failed)", 3, "exit code 2",
    ),
    "out of time": (
        lambda: verdict(pipeline(verify=RULE), reason="time limit", message="60 s"),
        "inconclusive (run failed)", 3, "60 s",
    ),
    "a worker was lost": (
        lambda: verdict(pipeline(verify=RULE), reason="worker lost"),
        "inconclusive (run failed)", 3, "worker lost",
    ),
    "a command that failed with the right metrics": (
        lambda: verdict(pipeline(verify=RULE), reason="command failed", metrics={"f1": 0.895}),
        "inconclusive (run failed)", 3, "command failed",
    ),
    "the nodes did not all come": (
        lambda: verdict(pipeline(verify=RULE), reason="world incomplete", message="1 of 2 came"),
        "could not run", 5, "1 of 2 came",
    ),
    "the engine did not start": (
        lambda: verdict(pipeline(verify=RULE), reason="engine failed"),
        "could not run", 5, "engine failed",
    ),
    "the data could not be had": (
        lambda: verdict(pipeline(verify=RULE), reason="staging failed"),
        "could not run", 5, "staging failed",
    ),
    "the runner was lost, whatever it left": (
        lambda: verdict(pipeline(verify=RULE), reason="runner lost", metrics={"f1": 0.1}),
        "could not run", 5, "runner lost",
    ),
    "cancelled": (
        lambda: verdict(pipeline(verify=RULE), reason="cancelled", message="Ctrl-C"),
        "inconclusive (cancelled)", 130, "Ctrl-C",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("run", "outcome", "code", "words"), OTHERWISE.values(), ids=OTHERWISE
)  # fmt: skip
def test_otherwise(run: Callable[[], Verdict], outcome: str, code: int, words: str) -> None:
    found = run()
    assert (found.outcome, found.exit_code) == (outcome, code), found.reason
    assert words in found.reason


def test_only_a_run_that_ended_well_has_checks() -> None:
    pipe = pipeline(verify=RULE)
    assert verdict(pipe, reason="command failed", metrics={"f1": 0.5}).checks == []
    assert len(verdict(pipe, metrics={"f1": 0.5}).checks) == 1


# --- the arithmetic ---------------------------------------------------------------------------

SAME, WITHIN, OTHER = Agreement.IDENTICAL, Agreement.WITHIN_TOLERANCE, Agreement.DIFFERENT


def check(observed: float, expected: float, **rule: Any) -> Check:
    """How one number compares with that of an earlier run."""
    reference = at_run(past(metrics={"x": (expected, rule.get("unit"))}))
    return verdict(pipeline(verify={"x": rule}), reference, metrics={"x": observed}).checks[0]


@pytest.mark.parametrize(
    ("observed", "expected", "abs_tol", "rel_tol", "agreement"),
    [
        # decimal numbers as they are written: floats alone would say 0.905 - 0.895 > 0.01
        (0.905, 0.895, 0.01, 0.0, WITHIN),
        (0.885, 0.895, 0.01, 0.0, WITHIN),
        (0.9050000000000001, 0.895, 0.01, 0.0, OTHER),
        (0.3, 0.1, 0.2, 0.0, WITHIN),
        (1.1, 1.0, 0.0, 0.1, WITHIN),
        (0.895, 0.895, 0.0, 0.0, SAME),
        (0.8950000000000001, 0.895, 0.0, 0.0, OTHER),
        # relative to the expected value, whatever its sign
        (101, 100, 0.0, 0.01, WITHIN),
        (101.0001, 100, 0.0, 0.01, OTHER),
        (-101, -100, 0.0, 0.01, WITHIN),
        (-99, 100, 0.0, 0.01, OTHER),
        (102, 100, 1.0, 0.01, WITHIN),
        (102.0001, 100, 1.0, 0.01, OTHER),
        # nothing is close to zero by a ratio
        (1e-300, 0, 0.0, 1.0, OTHER),
        (0.0, 0, 0.0, 1.0, SAME),
        (1e-300, 0, 1e-300, 0.0, WITHIN),
        # zeros are equal, whole numbers and fractions too
        (-0.0, 0, 0.0, 0.0, SAME),
        (0, -0.0, 0.0, 0.0, SAME),
        (3, 3.0, 0.0, 0.0, SAME),
        # whole numbers beyond the digits of a float
        (2**53 + 1, 2**53, 0.0, 0.0, OTHER),
        (2**53 + 1, 2**53, 1.0, 0.0, WITHIN),
        (10**300 + 1, 10**300, 0.0, 0.0, OTHER),
        (10**300, 1e300, 0.0, 0.0, SAME),
        # differences that no float can hold
        (1.7e308, -1.7e308, 0.0, 0.0, OTHER),
        (1.7e308, -1.7e308, 0.0, 2.0, WITHIN),
        (17 * 10**307, -(17 * 10**307), 0.0, 0.0, OTHER),
        (5e-324, 0, 0.0, 0.0, OTHER),
    ],
)
def test_agreement(
    observed: float, expected: float, abs_tol: float, rel_tol: float, agreement: Agreement
) -> None:
    assert check(observed, expected, abs_tol=abs_tol, rel_tol=rel_tol).agreement is agreement


def test_a_check_says_what_was_compared() -> None:
    found = check(0.905, 0.895, abs_tol=0.01, rel_tol=0.001)
    assert (found.observed, found.expected) == (0.905, 0.895)
    assert found.rule == "± 0.01 + ± 0.1 %"
    assert found.difference == pytest.approx(0.01)
    assert check(1, 1).rule == "exact"
    assert check(1, 1, unit="km").unit == "km"


def test_checks_come_in_the_order_of_the_rules_and_others_follow_for_information() -> None:
    pipe = pipeline(verify={"z": {}, "a": {}}, outputs=["metrics.json", "*.csv"], title="Order")
    reference = at_run(past(of=pipe, metrics={"a": 1, "m": 1, "z": 1}, files={"b.csv": b"1"}))
    checks = verdict(
        pipe, reference, metrics={"z": 1, "m": 2, "a": 1}, files={"b.csv": b"2"}
    ).checks
    assert [(c.name, c.required, c.agreement) for c in checks] == [
        ("z", True, SAME), ("a", True, SAME), ("m", False, OTHER), ("b.csv", False, OTHER),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        (nothing(), "none"),
        (expect(pipeline()), "values declared in the experiment"),
        (at_run(past(metrics={})), f"run {PAST}"),
        (accepted(past("A", metrics={}), past("B", metrics={})), "accepted run B"),
    ],
)
def test_a_verdict_names_its_reference(reference: Reference, told: str) -> None:
    assert verdict(pipeline(), reference, metrics={}).reference == told


# --- whatever the numbers ----------------------------------------------------------------------

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.1, 1, -1])
declared = numbers | st.integers(1 - 2**63, 2**63 - 1)
measured = st.tuples(numbers | st.integers(-(10**300), 10**300), st.sampled_from([None, "m"]))
metrics = st.dictionaries(st.sampled_from("abc"), measured)
tolerances = st.floats(0, allow_infinity=False) | st.sampled_from([0.0, 0.1, 1.0])
rules = st.dictionaries(
    st.sampled_from("abc"),
    st.fixed_dictionaries(
        {},
        optional={
            "expect": declared,
            "abs_tol": tolerances,
            "rel_tol": tolerances,
            "unit": st.sampled_from(["m", "km"]),
            "required": st.booleans(),
        },
    ),
)
kinds = st.sampled_from(["none", "expect", "run", "accepted", "another science"])
BIG = 1.7e308


@given(rules, metrics, metrics, kinds)
@example({"a": {"expect": BIG}}, {"a": (-BIG, None)}, {}, "expect")
@example({"a": {"abs_tol": BIG, "rel_tol": BIG}}, {"a": (BIG, None)}, {"a": (-BIG, None)}, "run")
@example({"a": {"required": False, "expect": 1}}, {"a": (1, None)}, {}, "expect")
def test_reproduced_means_that_every_required_number_was_compared_and_agrees(
    rule: dict[str, Any], now: dict[str, Any], before: dict[str, Any], kind: str
) -> None:
    pipe = pipeline(verify=rule)
    earlier = past(of=pipe, metrics=before)
    reference = {
        "none": nothing(),
        "expect": expect(pipe),
        "run": at_run(earlier),
        "accepted": accepted(earlier),
        "another science": as_declared_for(with_arg(1)),
    }[kind]
    found = verdict(pipe, reference, metrics=now)
    if not found.outcome.startswith("reproduced"):
        return
    assert kind in {"expect", "run", "accepted"}
    assert found.exit_code == 0
    assert any(c.agreement in {SAME, WITHIN} for c in found.checks)
    for name, given_rule in rule.items():
        if not given_rule.get("required", True):
            continue
        assert name in now
        by_rule = kind != "run" and "expect" in given_rule
        value = given_rule["expect"] if by_rule else before[name][0]
        allowed = Fraction(str(given_rule.get("abs_tol", 0)))
        allowed += Fraction(str(given_rule.get("rel_tol", 0))) * abs(Fraction(str(value)))
        assert abs(Fraction(str(now[name][0])) - Fraction(str(value))) <= allowed
