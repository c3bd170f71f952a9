"""
Verdict: does a run agree with its reference? Pure: pipeline + record -> verdict.

The order of precedence of references, and the table of outcomes and exit codes, are in
ARCHITECTURE.md. Two rules stand above all: nothing compared is never "reproduced", and what could
not run is never evidence against the result.
"""

from __future__ import annotations

from collections.abc import Sequence

from rpac_ci.checks import check_outputs, check_rules, check_the_rest
from rpac_ci.errors import ExitCode
from rpac_ci.grades import grade, weak_inputs
from rpac_ci.pipeline import Pipeline, science
from rpac_ci.records import (
    BAD,
    GOOD,
    Agreement,
    Check,
    Reference,
    ReferenceKind,
    ReferenceRun,
    RunRecord,
    Status,
    Verdict,
)
from rpac_ci.reference_doubts import doubts

IDENTICAL = (Agreement.IDENTICAL, Agreement.SAME_CONTENT)
_INCONCLUSIVE = ("inconclusive", ExitCode.INCONCLUSIVE)


def judge(pipeline: Pipeline, record: RunRecord) -> Verdict:
    """
    Compare a run with the reference that was settled when it was made.

    Args:
        pipeline: with the rules (`checks` says when each of them holds).
        record: of the run, with its reference.

    Returns:
        The verdict; with checks whenever the run succeeded.
    """
    peers = _peers(record)
    record = _with_one_reference(pipeline, record, peers)
    reference = record.reference
    variant = is_variant(
        reference, asked=science(pipeline).digest, observed=record.identity.science
    )

    def verdict(outcome: str, code: ExitCode, reason: str, checks: Sequence[Check] = ()) -> Verdict:
        grades = grade(pipeline, record) if checks or code is ExitCode.OK else {}
        return Verdict(
            outcome=outcome, exit_code=int(code), reason=reason, variant=variant,
            reference=_describe(reference), checks=list(checks), grades=grades,
            grade=max((text[0] for text in grades.values()), default=None),
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
            checks = [*check_outputs(pipeline, record), *check_rules(pipeline, record, peers)]
            checks += check_the_rest(pipeline, record, variant=variant)
            checks = [_doubted(pipeline, check, record, peers) for check in checks]
            outcome, code, reason = _decide(pipeline, record, checks, variant=variant)
            if reference.rules_changed:
                changed = ", ".join(reference.rules_changed[:3])
                reason += f"; rules changed since the first result was known: {changed}"
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


def _peers(record: RunRecord) -> list[ReferenceRun]:
    """Reference runs of the same science; all of them when none is."""
    runs = record.reference.runs
    return [run for run in runs if run.science == record.identity.science] or list(runs)


def _with_one_reference(
    pipeline: Pipeline, record: RunRecord, peers: Sequence[ReferenceRun]
) -> RunRecord:
    """
    The record with at most one reference run: the peer that agrees best, then the newest.

    Values of several runs are never mixed in checks of single values: together they would describe
    a result that no run ever had.
    """
    candidates = [
        record.model_copy(update={"reference": record.reference.model_copy(update={"runs": [run]})})
        for run in peers
    ]

    def agreement(candidate: RunRecord) -> tuple[int, str]:
        checks = check_rules(pipeline, candidate)
        good = sum(check.agreement in GOOD for check in checks if check.required)
        return good, candidate.reference.runs[0].run

    return max(candidates, key=agreement, default=record)


def _doubted(
    pipeline: Pipeline, check: Check, record: RunRecord, peers: Sequence[ReferenceRun]
) -> Check:
    """A difference from a reference that fails its own comparison is no answer."""
    if check.agreement is not Agreement.DIFFERENT:
        return check
    reason = doubts(pipeline, check, record, peers)
    if not reason:
        return check
    return check.model_copy(update={"agreement": Agreement.NOT_COMPARED, "note": reason})


def _decide(
    pipeline: Pipeline, record: RunRecord, checks: Sequence[Check], *, variant: bool
) -> tuple[str, ExitCode, str]:
    reference = record.reference
    required = [check for check in checks if check.required]
    bad = [check for check in required if check.agreement in BAD]
    missing = [check for check in bad if check.agreement is Agreement.MISSING]
    silent = [c for c in required if c.agreement in (Agreement.NOT_COMPARED, Agreement.EXTRA)]
    if variant:
        return _decide_variant(missing or silent, required or checks)
    if missing:
        return "not reproduced", ExitCode.NOT_REPRODUCED, f"{_names(missing)}: missing"
    if reference.kind is ReferenceKind.NONE:
        return "baseline", ExitCode.OK, "nothing declared or accepted to compare with yet"
    if weak := weak_inputs(pipeline, record):
        return *_INCONCLUSIVE, weak
    if bad:
        return "not reproduced", ExitCode.NOT_REPRODUCED, f"{_names(bad)}: {bad[0].agreement}"
    if silent:
        return *_INCONCLUSIVE, f"{_names(silent)}: {silent[0].note or 'nothing to compare with'}"
    if not required:
        return _decide_without_rules(checks)
    return _reproduced(required)


def _decide_variant(
    unanswered: Sequence[Check], compared: Sequence[Check]
) -> tuple[str, ExitCode, str]:
    if unanswered:
        return *_INCONCLUSIVE, f"{_names(unanswered)}: nothing to compare, in a variant"
    if all(check.agreement is Agreement.NOT_COMPARED for check in compared):
        return *_INCONCLUSIVE, "nothing was compared"
    return "compared (variant)", ExitCode.OK, _count(compared)


def _decide_without_rules(checks: Sequence[Check]) -> tuple[str, ExitCode, str]:
    """No rule says how much may differ, so only equality of everything is an answer."""
    if not checks:
        return *_INCONCLUSIVE, "nothing was compared"
    differing = [check for check in checks if check.agreement not in IDENTICAL]
    if differing:
        reason = f"{_names(differing)}: differs, and no rule under verify says how much may differ"
        return *_INCONCLUSIVE, reason
    return _reproduced(checks)


def _reproduced(compared: Sequence[Check]) -> tuple[str, ExitCode, str]:
    """The weakest agreement names the whole."""
    found = {check.agreement for check in compared}
    if Agreement.EQUIVALENT in found:
        how = "statistically equivalent"
    else:
        how = "identical" if found <= set(IDENTICAL) else "within tolerance"
    return f"reproduced: {how}", ExitCode.OK, _count(compared)


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
