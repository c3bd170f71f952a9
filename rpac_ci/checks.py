"""
Checks: one comparison each, of a run's numbers and files with its reference. Pure.

A metric agrees when |observed - expected| <= abs_tol + rel_tol |expected|, computed exactly on the
decimal numbers as they are written, so that 0.905 is within 0.01 of 0.895. A statistical rule
compares samples (`equivalence.py`), a file rule bytes or what `contents` found in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from rpac_ci.equivalence import Answer, Sample, Tost, holm, tost
from rpac_ci.experiment_model import Compare, EquivalenceRule, FileRule, MetricRule, Rule
from rpac_ci.jobs import METRICS_FILE, is_pattern, matches
from rpac_ci.pipeline import Pipeline
from rpac_ci.records import (
    Agreement,
    Check,
    ContentComparison,
    MetricValue,
    Reference,
    ReferenceKind,
    ReferenceRun,
    RunRecord,
    SampleValue,
)


def check_outputs(pipeline: Pipeline, record: RunRecord) -> list[Check]:
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


def check_rules(
    pipeline: Pipeline, record: RunRecord, peers: Sequence[ReferenceRun] = ()
) -> list[Check]:
    """
    Every rule of the experiment, in the order of the file.

    Args:
        pipeline: with the rules.
        record: of the run; its reference holds at most one run.
        peers: every reference run of the same science; together they are the sample that
            statistical rules compare with.
    """
    tests = _check_equivalence(pipeline.verify, record, peers)
    checks: list[Check] = []
    for name, rule in pipeline.verify.items():
        if isinstance(rule, MetricRule):
            checks.append(check_metric(name, rule, record))
        elif isinstance(rule, EquivalenceRule):
            checks.append(tests[name])
        else:
            checks += [
                check_file(path, rule, record) for path in _files_of(name, pipeline.verify, record)
            ]
    return checks


def check_the_rest(pipeline: Pipeline, record: RunRecord, *, variant: bool) -> list[Check]:
    """
    Metrics and files that no rule names: compared exactly, for information.

    Only a file that the reference has and this run has not counts: it was declared as an output.
    (A variant may have other files.)
    """
    if not record.reference.runs:
        return []
    past = record.reference.runs[0]
    checks = [
        check_metric(name, MetricRule(required=False), record)
        for name in sorted(record.outcome.metrics.keys() | past.metrics.keys())
        if name not in pipeline.verify
    ]
    for path in sorted({o.path for o in record.outcome.outputs} | past.outputs.keys()):
        if path == METRICS_FILE or rule_of(path, pipeline.verify):
            continue
        compared = _comparison(path, past.run, record) is not None
        rule = FileRule(compare=Compare.CONTENT if compared else Compare.BYTES, required=False)
        check = check_file(path, rule, record)
        missing = check.agreement is Agreement.MISSING and not variant
        checks.append(_with(check, required=True) if missing else check)
    return checks


# --- numbers ------------------------------------------------------------------------------------


def check_metric(name: str, rule: MetricRule, record: RunRecord) -> Check:
    """One number against the reference's."""
    observed = record.outcome.metrics.get(name)
    expected, note = _expected_metric(name, rule, record.reference)
    unit = (observed.unit if observed else None) or rule.unit
    check = Check(
        name=name,
        kind="metric",
        required=rule.required,
        agreement=Agreement.NOT_COMPARED,
        rule=_tolerance_text(rule.abs_tol, rule.rel_tol, unit) or "exact",
        expected=expected.value if expected else None,
        observed=observed.value if observed else None,
        unit=unit,
        note=note,
    )
    if observed is None:
        return _missing_metric(check, record)
    if expected is None:
        return check
    if problem := _other_unit(expected.unit, observed.unit):
        return _with(check, note=problem)
    difference = Fraction(str(observed.value)) - Fraction(str(expected.value))
    agreement = agreement_of(difference, expected.value, rule)
    return _with(check, agreement=agreement, difference=_float(difference))


def agreement_of(difference: Fraction, expected: float, rule: MetricRule) -> Agreement:
    """What a rule says to a difference of two numbers."""
    scale = abs(Fraction(str(expected)))
    allowed = Fraction(str(rule.abs_tol)) + Fraction(str(rule.rel_tol)) * scale
    if difference == 0:
        return Agreement.IDENTICAL
    return Agreement.WITHIN_TOLERANCE if abs(difference) <= allowed else Agreement.DIFFERENT


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


def _missing_metric(check: Check, record: RunRecord) -> Check:
    problem = record.outcome.metrics_problem or "no such metric"
    return _with(check, agreement=Agreement.MISSING, note=problem)


def _other_unit(expected: str | None, observed: str | None) -> str:
    if expected and observed and expected != observed:
        return f"the unit is {observed}, expected {expected}"
    return ""


# --- samples ------------------------------------------------------------------------------------


def _check_equivalence(
    rules: Mapping[str, Rule], record: RunRecord, peers: Sequence[ReferenceRun]
) -> dict[str, Check]:
    """Statistical rules, all of them together: the more tests, the less each may claim."""
    wanted = {n: rule for n, rule in rules.items() if isinstance(rule, EquivalenceRule)}
    checks: dict[str, Check] = {}
    samples: dict[str, tuple[Sample | None, Sample]] = {}
    for name, rule in wanted.items():
        observed = record.outcome.metrics.get(name)
        unit = (observed.unit if observed else None) or rule.unit
        check = Check(
            name=name, kind="metric", required=rule.required, agreement=Agreement.NOT_COMPARED,
            rule=_margin_text(rule, unit), observed=observed.value if observed else None, unit=unit,
        )  # fmt: skip
        if observed is None:
            checks[name] = _missing_metric(check, record)
            continue
        units = {run.metrics[name].unit for run in peers if name in run.metrics} | {rule.unit}
        problems = [
            p for unit in sorted(filter(None, units)) if (p := _other_unit(unit, check.unit))
        ]
        checks[name] = _with(check, note=problems[0] if problems else "")
        if not problems:
            mine = sample_of(name, record.outcome.samples, observed, record.identity.seed)
            samples[name] = (_reference_sample(name, rule, record.reference, peers), mine)
    return checks | answers(wanted, checks, samples)


def answers(
    rules: Mapping[str, EquivalenceRule],
    checks: Mapping[str, Check],
    samples: Mapping[str, tuple[Sample | None, Sample]],
) -> dict[str, Check]:
    """
    What the samples say to each rule; p-values are adjusted for all of them (Holm).

    Args:
        rules: name -> rule.
        checks: name -> check, not yet answered.
        samples: name -> sample of the reference, or None where there is none, and of the run.
    """
    tests: dict[str, Tost] = {}
    answered: dict[str, Check] = {}
    for name, (reference, observed) in samples.items():
        if reference is None:
            answered[name] = checks[name]
            continue
        rule = rules[name]
        tests[name] = tost(
            reference, observed, margin=rule.margin, alpha=rule.alpha, paired=rule.paired
        )
        mean = sum(reference.values) / len(reference.values)
        answered[name] = _with(checks[name], expected=mean, difference=tests[name].difference)
    tested = {n: test.p_value for n, test in tests.items() if test.p_value is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    for name, test in tests.items():
        agreement, note = _answer(test, adjusted.get(name), rules[name].alpha)
        p_value = float(f"{adjusted[name]:.3g}") if name in adjusted else None
        answered[name] = _with(answered[name], agreement=agreement, note=note, p_value=p_value)
    return answered


def _answer(test: Tost, p_value: float | None, alpha: float) -> tuple[Agreement, str]:
    match test.answer:
        case Answer.IDENTICAL:
            return Agreement.IDENTICAL, test.note
        case Answer.DIFFERENT:
            return Agreement.DIFFERENT, test.note
        case Answer.EQUIVALENT if p_value is not None and p_value < alpha:
            return Agreement.EQUIVALENT, test.note
        case Answer.EQUIVALENT | Answer.UNDECIDED:
            undecided = test.note if p_value is None else f"undecided: {test.note}"
            return Agreement.NOT_COMPARED, undecided


def sample_of(
    name: str, samples: Mapping[str, SampleValue], metric: MetricValue, seed: int | None
) -> Sample:
    """The values behind a metric: those that the run reported, or its one number and its seed."""
    if name in samples:
        found = samples[name]
        return Sample(tuple(found.values), tuple(found.seeds) if found.seeds else None)
    return Sample((float(metric.value),), None if seed is None else (seed,))


def _reference_sample(
    name: str, rule: EquivalenceRule, reference: Reference, peers: Sequence[ReferenceRun]
) -> Sample | None:
    if reference.kind is not ReferenceKind.RUN and rule.expect is not None:
        return Sample(tuple(map(float, rule.expect)))
    return pooled(name, peers)


def pooled(name: str, runs: Sequence[ReferenceRun]) -> Sample | None:
    """The values of one metric in several runs, as one sample; None when no run has it."""
    parts = [
        sample_of(name, run.samples, run.metrics[name], run.seed)
        for run in runs
        if name in run.metrics
    ]
    if not parts:
        return None
    values = tuple(value for part in parts for value in part.values)
    if any(part.seeds is None for part in parts):
        return Sample(values)
    return Sample(values, tuple(seed for part in parts for seed in part.seeds or ()))


# --- files --------------------------------------------------------------------------------------


def rule_of(path: str, rules: Mapping[str, Rule]) -> FileRule | None:
    """The rule for an output: the one of its name, else the first whose pattern names it."""
    rule = rules.get(path)
    if isinstance(rule, FileRule):
        return rule
    return next(
        (r for name, r in rules.items() if isinstance(r, FileRule) and matches(path, name)), None
    )


def _files_of(name: str, rules: Mapping[str, Rule], record: RunRecord) -> Iterator[str]:
    """The files that a rule is for: its own name, or what its pattern names."""
    if not is_pattern(name):
        yield name
        return
    known = {output.path for output in record.outcome.outputs}
    for run in record.reference.runs:
        known |= run.outputs.keys()
    for path in sorted(known):
        if matches(path, name) and rule_of(path, rules) is rules[name]:
            yield path


def check_file(path: str, rule: FileRule, record: RunRecord) -> Check:
    """One output against the reference's file."""
    observed = next((o.sha256 for o in record.outcome.outputs if o.path == path), None)
    where, expected = _expected_file(path, rule, record)
    check = Check(
        name=path,
        kind="file",
        required=rule.required,
        agreement=Agreement.NOT_COMPARED,
        rule=_file_rule_text(rule),
        expected=expected,
        observed=observed,
    )
    if observed is None:
        return _with(check, agreement=Agreement.MISSING, note="no such file")
    if expected is None:
        return _without_reference(check, record)
    if observed == expected:
        return _with(check, agreement=Agreement.IDENTICAL)
    found = _comparison(path, where, record)
    if rule.compare is Compare.BYTES:
        same = found is not None and found.agreement == Agreement.SAME_CONTENT
        note = "the content is the same" if same else ""
        return _with(check, agreement=Agreement.DIFFERENT, note=note)
    if found is None:
        return _with(check, note="the contents were not compared")
    return _with(
        check, agreement=Agreement(found.agreement), note=found.note, difference=found.max_abs
    )


def _expected_file(path: str, rule: FileRule, record: RunRecord) -> tuple[str, str | None]:
    """Where the expected file comes from, and its hash."""
    reference = record.reference
    if reference.kind is not ReferenceKind.RUN:
        if rule.sha256:
            return "", rule.sha256
        if rule.expect:
            return rule.expect, record.identity.data[rule.expect.removeprefix("data.")].sha256
    for run in reference.runs:
        return run.run, run.outputs.get(path)
    return "", None


def _without_reference(check: Check, record: RunRecord) -> Check:
    if not record.reference.runs:
        return check
    return _with(check, agreement=Agreement.EXTRA, note="the reference has no such file")


def _comparison(path: str, reference: str, record: RunRecord) -> ContentComparison | None:
    return next(
        (c for c in record.outcome.comparisons if c.path == path and c.reference == reference), None
    )


# --- words --------------------------------------------------------------------------------------


def _with(check: Check, **update: object) -> Check:
    return check.model_copy(update=update)


def _float(number: Fraction) -> float | None:
    try:
        return float(number)
    except OverflowError:
        return None


def _tolerance_text(abs_tol: float, rel_tol: float, unit: str | None = None) -> str:
    parts = [f"± {abs_tol:g}" + (f" {unit}" if unit else "")] if abs_tol else []
    parts += [f"± {rel_tol * 100:g} %"] if rel_tol else []
    return " + ".join(parts)


def _margin_text(rule: EquivalenceRule, unit: str | None) -> str:
    paired = ", paired" if rule.paired else ""
    return f"means within ± {rule.margin:g}" + (f" {unit}" if unit else "") + paired


def _file_rule_text(rule: FileRule) -> str:
    if rule.compare is Compare.VALUES:
        return f"values {_tolerance_text(rule.abs_tol, rule.rel_tol)}".strip()
    return rule.compare.value
