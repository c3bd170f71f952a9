"""
Studies: many runs of one command -> one document. Pure.

Each is a run like any other; the study is one page over their records, judged together where they
are repeats of the same science.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Annotated, Any, Literal

from pydantic import Field

from rpac_ci.canonical import readable_json
from rpac_ci.checks import sample_of
from rpac_ci.documents import Model, Scalar
from rpac_ci.errors import ExitCode
from rpac_ci.experiment_model import EquivalenceRule
from rpac_ci.pipeline import Pipeline, varies_by_seed
from rpac_ci.records import MetricValue, RunRecord, SampleValue, Status, Verdict
from rpac_ci.study_words import axes
from rpac_ci.verdict import judge

# the first that a member has decides the whole
_WORST = (
    ExitCode.NOT_REPRODUCED,
    ExitCode.RUN_FAILED,
    ExitCode.COULD_NOT_RUN,
    ExitCode.CANCELLED,
    ExitCode.INCONCLUSIVE,
)


# --- the document -------------------------------------------------------------------------------


class Member(Model):
    """One run of a study."""

    changes: dict[str, str]  # of the lists only
    run: str
    status: str
    outcome: str
    exit_code: int
    science: str | None = None
    seed: int | None = None
    nodes: int = 0
    command_s: float | None = None  # wall time of the command alone
    metrics: dict[str, MetricValue] = Field(default_factory=dict)


class Spread(Model):
    """One metric over runs of the same science."""

    count: int
    mean: float
    sd: float | None
    least: float
    most: float
    unit: str | None = None


class StudyRecord(Model):
    """`study.json`."""

    schema_: Annotated[Literal["rpac/study/1"], Field(alias="schema")] = "rpac/study/1"
    study: str
    experiment: str
    title: str
    words: list[str]
    axes: dict[str, list[str]]
    repeat: int
    members: list[Member]
    spread: dict[str, Spread]
    outcome: str
    exit_code: int
    reason: str
    pooled: Verdict | None = None  # repeats judged as one sample

    def to_bytes(self) -> bytes:
        """The bytes of `study.json`."""
        return readable_json(self.to_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A run of a study before it is over: its id, and what of the lists it has."""

    run: str
    changes: Mapping[str, str]


def build(
    *,
    study: str,
    experiment: str,
    words: Sequence[str],
    planned: Sequence[Planned],
    records: Mapping[str, RunRecord],
    pipeline: Pipeline | None,
) -> StudyRecord:
    """
    The record of a study.

    Args:
        study: its id.
        experiment: that was varied.
        words: of the command.
        planned: its runs in order.
        records: run -> record, of those that are in the log.
        pipeline: of one of them, for the rules.
    """
    found = axes(words)
    assert found is not None
    done = [records[p.run] for p in planned if p.run in records]
    good = [record for record in done if record.outcome.status is Status.SUCCEEDED]
    same = len({record.identity.science for record in good}) == 1
    pooled = _pool(pipeline, good) if pipeline and same and len(good) > 1 else None
    outcome, code, reason = _judge(planned, done, pooled)
    return StudyRecord(
        study=study,
        experiment=experiment,
        title=next((record.title for record in done), experiment),
        words=list(words),
        axes={key: list(values) for key, values in found.values.items()},
        repeat=found.repeat,
        members=[_member(p, records.get(p.run)) for p in planned],
        spread=_spreads(good) if same else {},
        outcome=outcome,
        exit_code=int(code),
        reason=reason,
        pooled=pooled,
    )


def _member(planned: Planned, record: RunRecord | None) -> Member:
    changes = dict(planned.changes)
    if record is None or record.verdict is None:
        return Member(
            changes=changes, run=planned.run, status="not started", outcome="not started",
            exit_code=int(ExitCode.COULD_NOT_RUN),
        )  # fmt: skip
    command = [p.duration_s for p in record.circumstances.phases if p.name == "command"]
    return Member(
        changes=changes,
        run=record.run,
        status=record.outcome.status.value,
        outcome=record.verdict.outcome,
        exit_code=record.verdict.exit_code,
        science=record.identity.science,
        seed=record.identity.seed,
        nodes=len(record.circumstances.nodes),
        command_s=command[0] if command else None,
        metrics=record.outcome.metrics,
    )


def _pool(pipeline: Pipeline, records: Sequence[RunRecord]) -> Verdict | None:
    """Runs of the same science as one sample; None when no rule asks for one."""
    if not varies_by_seed(pipeline):
        return None
    samples: dict[str, Any] = {}
    for name in set.intersection(*(set(r.outcome.metrics) for r in records)):
        parts = [
            sample_of(name, r.outcome.samples, r.outcome.metrics[name], r.identity.seed)
            for r in records
        ]
        values = [value for part in parts for value in part.values]
        seeds: list[int] | None = [seed for part in parts for seed in part.seeds or ()]
        samples[name] = SampleValue(
            values=values, seeds=seeds if len(seeds or ()) == len(values) else None
        )
    first = records[0]
    metrics = {
        name: metric.model_copy(update={"value": fmean(samples[name].values)})
        if name in samples
        else metric
        for name, metric in first.outcome.metrics.items()
    }
    update = {"samples": samples, "metrics": metrics}
    together = first.model_copy(update={"outcome": first.outcome.model_copy(update=update)})
    verdict = judge(pipeline, together)
    statistical = [
        check
        for check in verdict.checks
        if isinstance(pipeline.verify.get(check.name), EquivalenceRule)
    ]
    return verdict.model_copy(update={"checks": statistical})


def _judge(
    planned: Sequence[Planned], done: Sequence[RunRecord], pooled: Verdict | None
) -> tuple[str, ExitCode, str]:
    """
    The worst member names the whole; repeats that are judged as a sample speak for themselves,
    unless a member differs in what no seed may change.
    """
    codes = [record.verdict.exit_code for record in done if record.verdict]
    codes += [int(ExitCode.COULD_NOT_RUN)] * (len(planned) - len(done))
    outcomes = sorted({r.verdict.outcome for r in done if r.verdict}) or ["not started"]
    good = sum(code == 0 for code in codes)
    told = f"{good} of {len(codes)} runs: " + ", ".join(outcomes)
    if pooled is not None and int(ExitCode.NOT_REPRODUCED) not in codes:
        failed = sum(r.outcome.status is not Status.SUCCEEDED for r in done)
        missing = f"; {failed} of {len(planned)} runs gave no result" if failed else ""
        return pooled.outcome, ExitCode(pooled.exit_code), pooled.reason + missing
    for code in _WORST:
        if int(code) in codes:
            worst = next(
                (r.verdict.outcome for r in done if r.verdict and r.verdict.exit_code == code),
                "not started",
            )
            return worst, code, told
    same = len(outcomes) == 1
    return outcomes[0] if same else "all runs agree or were compared", ExitCode.OK, told


def _spreads(records: Iterable[RunRecord]) -> dict[str, Spread]:
    values: dict[str, list[float]] = {}
    units: dict[str, str | None] = {}
    for record in records:
        for name, metric in record.outcome.metrics.items():
            values.setdefault(name, []).append(float(metric.value))
            units[name] = metric.unit
    return {
        name: Spread(
            count=len(found), mean=fmean(found), sd=stdev(found) if len(found) > 1 else None,
            least=min(found), most=max(found), unit=units[name],
        )
        for name, found in sorted(values.items())
    }  # fmt: skip


def numeric(value: Scalar | str) -> float | None:
    """A value of a list as a number, where it is one."""
    try:
        return float(value)
    except ValueError:
        return None
