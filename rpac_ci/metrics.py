"""
`metrics.json`: a flat object, name -> number, {value, unit}, or {values, seeds, unit} for a number
that was computed with several seeds. Pure.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

MAX_METRICS = 100  # each has a line in record and report; more belong into a file
MAX_BYTES = 2**20
MAX_NAME = 128
MAX_SAMPLED = 500  # values of all samples together
_SAMPLE = "a sample: finite values and, if any, as many whole seeds"


@dataclass(frozen=True, slots=True)
class Metric:
    """One number and its unit, if it has one."""

    value: int | float
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class MetricSample:
    """One number for several seeds."""

    values: list[int | float]
    seeds: list[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What a command reported; `problem` says why it could not be read."""

    values: dict[str, Metric] = field(default_factory=dict)  # of a sample the mean
    samples: dict[str, MetricSample] = field(default_factory=dict)
    problem: str = ""


def parse_metrics(data: bytes | None) -> Metrics:
    """Read the file's bytes; None means that there is no such file."""
    if data is None:
        return Metrics(problem="there is no metrics.json among the outputs")
    if len(data) > MAX_BYTES:
        return Metrics(problem=f"metrics.json has {len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        content = json.loads(data.decode(), object_pairs_hook=_no_duplicates)
    except RecursionError:
        return Metrics(problem="metrics.json is nested too deeply")
    except ValueError as exc:
        return Metrics(problem=f"metrics.json is not valid JSON: {exc}")
    if not isinstance(content, dict):
        return Metrics(problem="metrics.json is not an object of name -> number")
    if len(content) > MAX_METRICS:
        return Metrics(problem=f"metrics.json has {len(content)} entries, at most {MAX_METRICS}")
    values: dict[str, Metric] = {}
    samples: dict[str, MetricSample] = {}
    problems: list[str] = []
    for name, item in content.items():
        sample = _sample(item)
        if (
            sample
            and sum(len(s.values) for s in samples.values()) + len(sample.values) > MAX_SAMPLED
        ):
            problems.append(f"{name[:40]!a} has more than the {MAX_SAMPLED} values that are kept")
            continue
        metric = Metric(fmean(sample.values), item.get("unit")) if sample else _metric(item)
        if not name.isprintable() or len(name) > MAX_NAME:
            problems.append(f"{name[:40]!a} is not a name")
        elif metric is None:
            sampled = isinstance(item, dict) and "values" in item
            problems.append(f"{name!r} is not {_SAMPLE if sampled else 'a finite number'}")
        else:
            values[name] = metric
            if sample:
                samples[name] = sample
    problem = f"metrics.json: {'; '.join(problems[:3])}" if problems else ""
    return Metrics(values=values, samples=samples, problem=problem)


def _sample(item: Any) -> MetricSample | None:
    """A valid sample, or None when it is something else."""
    if not isinstance(item, dict) or not {"values"} <= item.keys() <= {"values", "seeds", "unit"}:
        return None
    values, seeds = item["values"], item.get("seeds")
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_SAMPLED:
        return None
    unit = item.get("unit")
    if any(_metric({"value": value, "unit": unit}) is None for value in values):
        return None
    if any(isinstance(value, dict) for value in values) or not math.isfinite(fmean(values)):
        return None
    if seeds is not None:
        whole = isinstance(seeds, list) and all(type(s) is int and abs(s) < 2**63 for s in seeds)
        if not whole or len(seeds) != len(values):
            return None
    return MetricSample(values, seeds)


def _metric(item: Any) -> Metric | None:
    unit = None
    if isinstance(item, dict):
        if not item.keys() <= {"value", "unit"} or not isinstance(item.get("unit"), str | None):
            return None
        item, unit = item.get("value"), item.get("unit")
    if isinstance(item, bool) or not isinstance(item, (int, float)):
        return None
    if unit is not None and (not unit.isprintable() or len(unit) > MAX_NAME):
        return None
    if isinstance(item, float) and not math.isfinite(item):
        return None
    if isinstance(item, int) and item.bit_length() > 1000:
        return None
    return Metric(item, unit)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands twice")
    return result
