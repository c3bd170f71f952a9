"""
Verdict: does a run agree with its reference? Pure: pipeline + record -> verdict.

The order of precedence of references, and the table of outcomes and exit codes, are in
ARCHITECTURE.md. Two rules stand above all: nothing compared is never "reproduced", and what could
not run is never evidence against the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from rpac_ci.errors import ExitCode
from rpac_ci.experiment_model import FileRule, MetricRule
from rpac_ci.jobs import METRICS_FILE, matches
from rpac_ci.pipeline import Level, Pipeline, science
from rpac_ci.records import (
    Agreement,
    Check,
    MetricValue,
    Reference,
    ReferenceKind,
    RunRecord,
    Status,
    Verdict,
)

GOOD = (Agreement.IDENTICAL, Agreement.WITHIN_TOLERANCE)
BAD = (Agreement.DIFFERENT, Agreement.MISSING)


def judge(pipeline: Pipeline, record: RunRecord) -> Verdict:
    """
    Compare a run with the reference that was settled when it was made.

    A metric agrees when |observed - expected| <= abs_tol + rel_tol |expected|, computed exactly on
    the decimal numbers as they are written, so that 0.905 is within 0.01 of 0.895.

    Args:
        pipeline: with the rules.
        record: of the run, with its reference.

    Returns:
        The verdict; with checks whenever the run succeeded.
    """
    record = _with_one_reference(pipeline, record)
    reference = record.reference
    variant = is_variant(
        reference, asked=science(pipeline).digest, observed=record.identity.science
    )

    def verdict(outcome: str, code: ExitCode, reason: str, checks: Sequence[Check] = ()) -> Verdict:
        return Verdict(
            outcome=outcome, exit_code=int(code), reason=reason, variant=variant,
            reference=_describe(reference), checks=list(checks),
        )  # fmt: skip

    message = record.outcome.message or record.outcome.reason
    match record.outcome.status:
        case Status.COULD_NOT_RUN:
            return verdict("could not run", ExitCode.COULD_NOT_RUN, message)
        case Status.FAILED:
            return verdict("inconclusive (run failed)", ExitCode.RUN_FAILED, message)
        case Status.CANCELLED:
            return verdict("inconclusive (cancelled)", ExitCode.CANCELLED, message)
        case Status.SUCCEEDED:
            checks = [*_check_outputs(pipeline, record), *_check_rules(pipeline, record)]
            checks += _check_the_rest(pipeline, record)
            outcome, code, reason = _decide(pipeline, record, checks, variant=variant)
            return verdict(outcome, code, reason, checks)


def is_variant(reference: Reference, *, asked: str, observed: str) -> bool:
    """
    Whether a run is other science than its reference.

    Args:
        reference: what it is compared with.
        asked: its science digest with the inputs as the pipeline names them.
        observed: the same with the bytes that were read.
    """
    if reference.kind in (ReferenceKind.RUN, ReferenceKind.ACCEPTED):
        return all(run.science != observed for run in reference.runs)
    return reference.science is not None and reference.science != asked


def _with_one_reference(pipeline: Pipeline, record: RunRecord) -> RunRecord:
    """
    The record with at most one reference run: of equal science if there is one, then the one that
    agrees best, then the newest. Values of several runs are never mixed: together they would
    describe a result that no run ever had.
    """
    runs = record.reference.runs
    same = [run for run in runs if run.science == record.identity.science]
    candidates = [
        record.model_copy(update={"reference": record.reference.model_copy(update={"runs": [run]})})
        for run in same or runs
    ]

    def agreement(candidate: RunRecord) -> tuple[int, str]:
        good = sum(c.agreement in GOOD for c in _check_rules(pipeline, candidate) if c.required)
        return good, candidate.reference.runs[0].run

    return max(candidates, key=agreement, default=record)


def _decide(
    pipeline: Pipeline, record: RunRecord, checks: Sequence[Check], *, variant: bool
) -> tuple[str, ExitCode, str]:
    reference = record.reference
    required = [check for check in checks if check.required]
    bad = [check for check in required if check.agreement in BAD]
    missing = [check for check in bad if check.agreement is Agreement.MISSING]
    silent = [check for check in required if check.agreement is Agreement.NOT_COMPARED]
    compared = [check for check in required if check.kind != "output"]
    inconclusive = ("inconclusive", ExitCode.INCONCLUSIVE)
    if variant:
        unanswered = missing or silent
        if unanswered:
            return *inconclusive, f"{_names(unanswered)}: nothing to compare, in a variant"
        if all(check.agreement is Agreement.NOT_COMPARED for check in checks):
            return *inconclusive, "nothing was compared"
        return "compared (variant)", ExitCode.OK, _count(compared or checks)
    if missing:
        return "not reproduced", ExitCode.NOT_REPRODUCED, f"{_names(missing)}: missing"
    if reference.kind is ReferenceKind.NONE:
        return "baseline", ExitCode.OK, "nothing declared or accepted to compare with yet"
    weak = [name for name, ref in pipeline.data.items() if ref.level is not Level.CONTENT]
    if weak and reference.kind is ReferenceKind.EXPECT:
        seen = record.identity.data[weak[0]].sha256
        return *inconclusive, f"the bytes of {', '.join(weak)} are not pinned (seen: sha256 {seen})"
    if bad:
        return "not reproduced", ExitCode.NOT_REPRODUCED, f"{_names(bad)}: {bad[0].agreement}"
    if silent:
        return *inconclusive, f"{_names(silent)}: {silent[0].note or 'nothing to compare with'}"
    if not compared:
        return _decide_without_rules(checks)
    if all(check.agreement is Agreement.IDENTICAL for check in compared):
        return "reproduced: identical", ExitCode.OK, _count(compared)
    return "reproduced: within tolerance", ExitCode.OK, _count(compared)


def _decide_without_rules(checks: Sequence[Check]) -> tuple[str, ExitCode, str]:
    """No rule says how much may differ, so only equality of everything is an answer."""
    compared = [check for check in checks if check.kind != "output"]
    if not compared:
        return "inconclusive", ExitCode.INCONCLUSIVE, "nothing was compared"
    if all(check.agreement is Agreement.IDENTICAL for check in compared):
        return "reproduced: identical", ExitCode.OK, _count(compared)
    differing = [check for check in compared if check.agreement is not Agreement.IDENTICAL]
    return (
        "inconclusive",
        ExitCode.INCONCLUSIVE,
        f"{_names(differing)}: differs, and no rule under verify says how much may differ",
    )


def _check_outputs(pipeline: Pipeline, record: RunRecord) -> list[Check]:
    """Every declared pattern names at least one file."""
    found = [output.path for output in record.outcome.outputs]
    return [
        Check(
            name=pattern, kind="output", required=True, agreement=Agreement.MISSING,
            rule="declared output", note="no such file",
        )
        for pattern in pipeline.outputs
        if not any(matches(path, pattern) for path in found)
    ]  # fmt: skip


def _check_rules(pipeline: Pipeline, record: RunRecord) -> list[Check]:
    checks = []
    for name, rule in pipeline.verify.items():
        if isinstance(rule, MetricRule):
            checks.append(_check_metric(name, rule, record))
        else:
            checks.append(_check_file(name, rule, record))
    return checks


def _check_the_rest(pipeline: Pipeline, record: RunRecord) -> list[Check]:
    """Metrics and files that no rule names: compared exactly, for information."""
    if not record.reference.runs:
        return []
    metrics = sorted(record.outcome.metrics.keys() | record.reference.runs[0].metrics.keys())
    files = {output.path for output in record.outcome.outputs}
    files |= record.reference.runs[0].outputs.keys()
    checks = [
        _check_metric(name, MetricRule(required=False), record)
        for name in metrics
        if name not in pipeline.verify
    ]
    checks += [
        _check_file(path, FileRule(required=False), record)
        for path in sorted(files)
        if path not in pipeline.verify and path != METRICS_FILE
    ]
    return checks


def _check_metric(name: str, rule: MetricRule, record: RunRecord) -> Check:
    observed = record.outcome.metrics.get(name)
    expected, note = _expected_metric(name, rule, record.reference)
    check = Check(
        name=name,
        kind="metric",
        required=rule.required,
        agreement=Agreement.NOT_COMPARED,
        rule=_tolerance_text(rule, (observed.unit if observed else None) or rule.unit),
        expected=expected.value if expected else None,
        observed=observed.value if observed else None,
        unit=(observed.unit if observed else None) or rule.unit,
        note=note,
    )
    if observed is None:
        problem = record.outcome.metrics_problem or "no such metric"
        return _with(check, agreement=Agreement.MISSING, note=problem)
    if expected is None:
        return check
    if expected.unit and observed.unit and expected.unit != observed.unit:
        note = f"the unit is {observed.unit}, expected {expected.unit}"
        return _with(check, note=note)
    difference = Fraction(str(observed.value)) - Fraction(str(expected.value))
    allowed = Fraction(str(rule.abs_tol)) + Fraction(str(rule.rel_tol)) * abs(
        Fraction(str(expected.value))
    )
    if difference == 0:
        agreement = Agreement.IDENTICAL
    elif abs(difference) <= allowed:
        agreement = Agreement.WITHIN_TOLERANCE
    else:
        agreement = Agreement.DIFFERENT
    return _with(check, agreement=agreement, difference=_float(difference))


def _expected_metric(
    name: str, rule: MetricRule, reference: Reference
) -> tuple[MetricValue | None, str]:
    """The value of the run to reproduce, else the declared one, else the accepted run's."""
    if reference.kind is not ReferenceKind.RUN and rule.expect is not None:
        return MetricValue(value=rule.expect, unit=rule.unit), ""
    for run in reference.runs:
        if name in run.metrics:
            return run.metrics[name], ""
        return None, "the reference has no such metric"
    return None, ""


def _check_file(path: str, rule: FileRule, record: RunRecord) -> Check:
    observed = next((o.sha256 for o in record.outcome.outputs if o.path == path), None)
    reference = record.reference
    expected = {run.outputs[path] for run in reference.runs if path in run.outputs}
    if rule.sha256 and reference.kind is not ReferenceKind.RUN:
        expected = {rule.sha256}
    shown = observed if observed in expected else min(expected, default=None)
    check = Check(
        name=path,
        kind="file",
        required=rule.required,
        agreement=Agreement.NOT_COMPARED,
        rule="sha256",
        expected=shown,
        observed=observed,
    )
    if observed is None:
        return _with(check, agreement=Agreement.MISSING, note="no such file")
    if not expected:
        note = "the reference has no such file" if reference.runs else ""
        return _with(check, note=note)
    same = observed in expected
    return _with(check, agreement=Agreement.IDENTICAL if same else Agreement.DIFFERENT)


def _float(number: Fraction) -> float | None:
    try:
        return float(number)
    except OverflowError:
        return None


def _with(check: Check, **update: object) -> Check:
    return check.model_copy(update=update)


def _tolerance_text(rule: MetricRule, unit: str | None) -> str:
    parts = [f"± {rule.abs_tol:g}" + (f" {unit}" if unit else "")] if rule.abs_tol else []
    parts += [f"± {rule.rel_tol * 100:g} %"] if rule.rel_tol else []
    return " + ".join(parts) or "exact"


def _describe(reference: Reference) -> str:
    match reference.kind:
        case ReferenceKind.RUN:
            return f"run {reference.runs[0].run}"
        case ReferenceKind.EXPECT:
            return "values declared in the experiment"
        case ReferenceKind.ACCEPTED:
            return f"accepted run {reference.runs[0].run}"
        case ReferenceKind.NONE:
            return "none"


def _names(checks: Sequence[Check]) -> str:
    names = [check.name for check in checks]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _count(checks: Sequence[Check]) -> str:
    counted = [check for check in checks if check.agreement is not Agreement.NOT_COMPARED]
    good = sum(check.agreement in GOOD for check in counted)
    return f"{good} of {len(counted)} checks agree"
