"""
`training.json`: how a model was trained, as the command tells it; becomes part of the record. Pure.

The file is written by `rpac_ci/helpers/training_record.py`, which people copy beside their script,
or by any program. What is kept is bounded: a curve of more points than a chart can show is thinned.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError

from rpac_ci.documents import Hex256, Model

TRAINING_FILE = "training.json"
MAX_BYTES = 2 * 2**20
MAX_POINTS = 100  # of a curve in the record


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


def _finite(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("not finite")
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError("too large")
    return value


Label = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)]
Scalar = Annotated[
    bool | int | float | Annotated[str, StringConstraints(max_length=200)] | None,
    BeforeValidator(_finite),
]
Column = list[Annotated[int | float | None, BeforeValidator(_finite)]]
Curve = Annotated[dict[Label, Column], Field(min_length=1, max_length=9)]


class Split(Model):
    """One part of the data: how many samples, and the hash over them in their order."""

    count: Annotated[int, Field(ge=0)]
    sha256: Hex256


class TrainedModel(Model):
    """The file of the trained model, and how many numbers were trained."""

    path: Label
    sha256: Hex256
    parameters: Annotated[int, Field(ge=0)] | None = None


class TrainingRecord(Model):
    """How a model was trained."""

    schema_: Annotated[Literal["rpac/training/1"], Field(alias="schema")]
    seeds: Annotated[dict[Label, int], Field(max_length=20)] = Field(default_factory=dict)
    hyper_parameters: Annotated[dict[Label, Scalar], Field(max_length=50)] = Field(
        default_factory=dict
    )
    curves: Annotated[dict[Label, Curve], Field(max_length=10)] = Field(default_factory=dict)
    splits: Annotated[dict[Label, Split], Field(max_length=10)] = Field(default_factory=dict)
    model: TrainedModel | None = None


def parse_training(data: bytes) -> tuple[TrainingRecord | None, str]:
    """
    Read the file's bytes.

    Returns:
        The record with its curves thinned, or None and why the file cannot be used.
    """
    if len(data) > MAX_BYTES:
        return None, f"{TRAINING_FILE} has {len(data)} bytes, at most {MAX_BYTES} are read"
    try:
        record = TrainingRecord.model_validate(json.loads(data))
    except (ValueError, RecursionError) as exc:
        return None, f"{TRAINING_FILE} cannot be used: {_first(exc)}"
    for name, curve in record.curves.items():
        if len({len(column) for column in curve.values()}) != 1 or "step" not in curve:
            return None, f"{TRAINING_FILE}: curve {name!r} is not columns of one length with `step`"
    curves = {name: _thinned(curve) for name, curve in record.curves.items()}
    return record.model_copy(update={"curves": curves}), ""


def _first(exc: Exception) -> str:
    if not isinstance(exc, ValidationError):
        return str(exc)[:200]
    error = exc.errors()[0]
    return f"{'.'.join(map(str, error['loc']))[:80]}: {error['msg'][:120]}"


def _thinned(curve: dict[str, Any]) -> dict[str, Any]:
    """At most `MAX_POINTS` rows, evenly over the whole, the last one among them."""
    count = len(curve["step"])
    if count <= MAX_POINTS:
        return curve
    rows = sorted({round(n * (count - 1) / (MAX_POINTS - 1)) for n in range(MAX_POINTS)})
    return {name: [column[row] for row in rows] for name, column in curve.items()}
