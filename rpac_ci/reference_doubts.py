"""A reference that contradicts itself: a difference from it is no evidence. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from rpac_ci.checks import agreement_of, rule_of
from rpac_ci.experiment_model import Compare, FileRule, MetricRule
from rpac_ci.pipeline import Pipeline
from rpac_ci.records import GOOD, Check, ReferenceKind, ReferenceRun, RunRecord


def doubts(
    pipeline: Pipeline, check: Check, record: RunRecord, peers: Sequence[ReferenceRun]
) -> str:
    """
    Why a difference is no evidence: the reference does not pass its own comparison.

    Args:
        pipeline: with the rules.
        check: that found a difference.
        record: of the run.
        peers: reference runs of the same science.

    Returns:
        The reason; empty when the reference agrees with itself.
    """
    rule = pipeline.verify.get(check.name) or rule_of(check.name, pipeline.verify)
    if isinstance(rule, MetricRule):
        return _metric_doubts(check.name, rule, record.reference.kind, peers)
    if isinstance(rule, FileRule) and rule.compare is Compare.BYTES and not rule.sha256:
        hashes = {run.outputs[check.name] for run in peers if check.name in run.outputs}
        return "the accepted runs have different files" if len(hashes) > 1 else ""
    return ""


def _metric_doubts(
    name: str, rule: MetricRule, kind: ReferenceKind, peers: Sequence[ReferenceRun]
) -> str:
    values = {run.run: run.metrics[name].value for run in peers if name in run.metrics}
    if kind is not ReferenceKind.RUN and rule.expect is not None:
        for run, value in values.items():
            difference = Fraction(str(value)) - Fraction(str(rule.expect))
            if agreement_of(difference, rule.expect, rule) not in GOOD:
                return f"the accepted run {run} does not agree with the declared value either"
        return ""
    for first in values.values():
        for second in values.values():
            difference = Fraction(str(second)) - Fraction(str(first))
            if agreement_of(difference, first, rule) not in GOOD:
                return "the accepted runs do not agree with each other"
    return ""
