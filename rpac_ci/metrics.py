"""`metrics.json`: a flat object, name -> number or {value, unit}. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

MAX_METRICS = 100  # each has a line in record and report; more belong into a file
MAX_BYTES = 2**20
MAX_NAME = 128


@dataclass(frozen=True, slots=True)
class Metric:
    """One number and its unit, if it has one."""

    value: int | float
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What a command reported; `problem` says why it could not be read."""

    values: dict[str, Metric] = field(default_factory=dict)
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
    values, problems = {}, []
    for name, item in content.items():
        metric = _metric(item)
        if not name.isprintable() or len(name) > MAX_NAME:
            problems.append(f"{name[:40]!a} is not a name")
        elif metric is None:
            problems.append(f"{name!r} is not a finite number")
        else:
            values[name] = metric
    problem = f"metrics.json: {'; '.join(problems[:3])}" if problems else ""
    return Metrics(values=values, problem=problem)


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
