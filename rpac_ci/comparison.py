"""Two runs side by side: identity, circumstances, outcome. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rpac_ci.canonical import Json
from rpac_ci.changes import Change, between
from rpac_ci.performance import PerformanceComparison
from rpac_ci.performance import compare as compare_performance
from rpac_ci.records import (
    ContentComparison,
    MetricValue,
    RunRecord,
    Status,
    performance,
    summary,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPair:
    """One metric in both runs; None where a run has it not."""

    name: str
    first: MetricValue | None
    second: MetricValue | None

    @property
    def difference(self) -> float | None:
        """Second - first, where both have the same unit."""
        if self.first is None or self.second is None or self.first.unit != self.second.unit:
            return None
        try:
            return float(self.second.value - self.first.value)
        except OverflowError:
            return None

    @property
    def relative(self) -> float | None:
        """The difference in parts of the first value."""
        if self.difference is None or self.first is None or not self.first.value:
            return None
        return self.difference / abs(float(self.first.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPair:
    """One output in both runs: `identical`, `different`, or in which of them alone."""

    path: str
    says: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """What two runs have in common and what not."""

    runs: tuple[str, str]
    outcomes: tuple[str, str]
    same_pipeline: bool
    science: tuple[str, str]
    proved: tuple[bool, bool]  # the digest was computed anew from the pipeline and what was read
    performance: PerformanceComparison | None  # of two runs that succeeded
    changes: Sequence[Change]
    metrics: Sequence[MetricPair]
    outputs: Sequence[OutputPair]

    @property
    def same_science(self) -> bool:
        """Whether one is a reproduction of the other."""
        return self.science[0] == self.science[1]

    @property
    def science_text(self) -> str:
        """What the digests of the science say, in one sentence."""
        wrong = [run for run, well in zip(self.runs, self.proved, strict=True) if not well]
        if wrong:
            return (
                f"The science of {' and '.join(wrong)} cannot be proved: this version computes "
                "another digest from the pipeline than the record has."
            )
        if self.same_science:
            return (
                f"The same science in both, computed anew from their pipelines: {self.science[0]}"
            )
        return f"Other science, computed anew from their pipelines: {' and '.join(self.science)}"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "runs": list(self.runs),
            "outcomes": list(self.outcomes),
            "same_pipeline": self.same_pipeline,
            "same_science": self.same_science,
            "science": list(self.science),
            "science_proved": list(self.proved),
            "performance": self.performance.to_json() if self.performance else None,
            "changes": [
                {"key": c.key, "kind": c.kind, "first": c.before, "second": c.after,
                 "could_explain": c.effect.value}
                for c in self.changes
            ],
            "metrics": [
                {"name": m.name, "first": _json(m.first), "second": _json(m.second),
                 "difference": m.difference, "relative": m.relative}
                for m in self.metrics
            ],
            "outputs": [{"path": o.path, "says": o.says, "note": o.note} for o in self.outputs],
        }  # fmt: skip


def compare(
    first: RunRecord,
    second: RunRecord,
    contents: Sequence[ContentComparison] = (),
    *,
    proved: tuple[bool, bool] = (True, True),
    unfair: bool = False,
) -> RunComparison:
    """
    Put two runs side by side.

    Args:
        first: the one that the other is measured by.
        second: the other.
        contents: what a look into outputs with other bytes has found.
        proved: whether the science digest of each is what its pipeline gives.
        unfair: also give ratios of times and costs that are not fair.
    """
    names = sorted(first.outcome.metrics.keys() | second.outcome.metrics.keys())
    return RunComparison(
        runs=(first.run, second.run),
        outcomes=(_outcome(first), _outcome(second)),
        same_pipeline=first.identity.pipeline == second.identity.pipeline,
        science=(first.identity.science, second.identity.science),
        proved=proved,
        performance=_performance(first, second, unfair=unfair),
        changes=between(summary(first), summary(second)),
        metrics=[
            MetricPair(
                name=n, first=first.outcome.metrics.get(n), second=second.outcome.metrics.get(n)
            )
            for n in names
        ],
        outputs=_outputs(first, second, {found.path: found for found in contents}),
    )


def _performance(
    first: RunRecord, second: RunRecord, *, unfair: bool
) -> PerformanceComparison | None:
    if not first.outcome.status is second.outcome.status is Status.SUCCEEDED:
        return None
    same = first.identity.science == second.identity.science
    return compare_performance(
        performance(first), performance(second), same_science=same, unfair=unfair
    )


def _outputs(
    first: RunRecord, second: RunRecord, contents: dict[str, ContentComparison]
) -> list[OutputPair]:
    left = {output.path: output.sha256 for output in first.outcome.outputs}
    right = {output.path: output.sha256 for output in second.outcome.outputs}
    pairs = []
    for path in sorted(left.keys() | right.keys()):
        if path not in left or path not in right:
            says, note = f"only in {first.run if path in left else second.run}", ""
        elif left[path] == right[path]:
            says, note = "identical", ""
        elif path in contents:
            says, note = contents[path].agreement, contents[path].note
        else:
            says, note = "different", ""
        pairs.append(OutputPair(path=path, says=says, note=note))
    return pairs


def _outcome(record: RunRecord) -> str:
    return record.verdict.outcome if record.verdict else record.outcome.status.value


def _json(metric: MetricValue | None) -> Json:
    return metric.to_json() if metric else None
