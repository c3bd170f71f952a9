"""
Note down a training: seeds, hyper-parameters, curves, data splits, the model file.

    record = TrainingRecord(torch=7)
    record.hyper_parameters(epochs=8, learning_rate=1e-3)
    record.split("train", (array.tobytes() for array in patches))
    for step in range(1, 9):
        record.point("loss", step, train=..., test=...)
    record.model(out / "model.pt", parameters=12345)
    record.write(out / "training.json")

One file that needs nothing but Python 3.9 or later: copy it beside the training script. Of several
processes only one should write. rpac reads `training.json` when it is among the declared outputs.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from typing_extensions import Buffer

Scalar = Union[bool, int, float, str, None]  # noqa: UP007  (Python 3.9 reads this line)

SCHEMA = "rpac/training/1"
MOST_CURVES = 10
MOST_POINTS = 2000


class TrainingRecord:
    """What a training was and how it went, in the order in which it was told."""

    def __init__(self, **seeds: int) -> None:
        """Start a record; `seeds` are those of each generator, by its name."""
        self._seeds = {name: int(seed) for name, seed in seeds.items()}
        self._hyper_parameters: dict[str, Scalar] = {}
        self._curves: dict[str, dict[int, dict[str, float]]] = {}
        self._splits: dict[str, dict[str, Scalar]] = {}
        self._model: dict[str, Scalar] = {}

    def hyper_parameters(self, **values: Scalar) -> None:
        """
        Add hyper-parameters; a name given twice takes the later value.

        Raises:
            TypeError: a value is not a bool, int, float, str or None.
        """
        for name, value in values.items():
            if not isinstance(value, (bool, int, float, str, type(None))):
                kind = type(value).__name__
                raise TypeError(f"{name} is a {kind}; expected a number, a bool, a text or None")
            self._hyper_parameters[name] = value

    def point(self, curve: str, step: int, **series: float) -> None:
        """
        Add values of one or more series of a curve at a step.

        Args:
            curve: for instance "loss".
            step: epoch, batch or whatever is counted; points are sorted by it when written.
            series: name -> value, for instance train=0.31, test=0.35. NaN and infinities are kept
                as null, for JSON has no word for them.

        Raises:
            ValueError: no series, or one curve too many.
        """
        if not series or "step" in series:
            raise ValueError(f"curve {curve}: expected values by name, other than step")
        if curve not in self._curves and len(self._curves) == MOST_CURVES:
            raise ValueError(f"curve {curve}: there are {MOST_CURVES} curves already, the most")
        values = {name: float(value) for name, value in series.items()}
        self._curves.setdefault(curve, {}).setdefault(int(step), {}).update(values)

    def split(self, name: str, samples: Iterable[str | Buffer]) -> str:
        """
        Hash one part of the data, sample by sample in the order given.

        Args:
            name: for instance "train".
            samples: texts, bytes, or arrays that offer the buffer protocol (numpy's do, also when
                they are not contiguous; of a torch tensor take `.numpy()`). Shape and type of an
                array are not hashed, its length in bytes is.

        Returns:
            The SHA-256, hexadecimal.
        """
        total, count = hashlib.sha256(), 0
        for sample in samples:
            content = sample.encode() if isinstance(sample, str) else memoryview(sample).tobytes()
            total.update(len(content).to_bytes(8, "little"))  # else "ab", "c" would equal "a", "bc"
            total.update(content)
            count += 1
        self._splits[name] = {"count": count, "sha256": total.hexdigest()}
        return total.hexdigest()

    def model(self, path: str | Path, parameters: int | None = None) -> str:
        """
        Hash the file of the trained model.

        Args:
            path: the file; only its name is kept.
            parameters: how many numbers were trained.

        Returns:
            The SHA-256, hexadecimal.
        """
        total = hashlib.sha256()
        with Path(path).open("rb") as file:
            while part := file.read(1 << 20):
                total.update(part)
        self._model = {"path": Path(path).name, "sha256": total.hexdigest()}
        if parameters is not None:
            self._model["parameters"] = int(parameters)
        return total.hexdigest()

    def document(self) -> dict[str, object]:
        """Give the record as it is written: what was never told is left out."""
        parts = {
            "seeds": self._seeds,
            "hyper_parameters": {k: _finite(v) for k, v in self._hyper_parameters.items()},
            "curves": {name: _columns(points) for name, points in self._curves.items()},
            "splits": self._splits,
            "model": self._model,
        }
        return {"schema": SCHEMA, **{name: part for name, part in parts.items() if part}}

    def write(self, path: str | Path) -> None:
        """Write the record; a reader sees the whole file or, until then, what was there before."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.document(), indent=2, allow_nan=False) + "\n"
        number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(0o644)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink()
            raise


def _columns(points: dict[int, dict[str, float]]) -> dict[str, list[Scalar]]:
    """Equally long columns; a long curve is thinned evenly, its first and last point stay."""
    steps = sorted(points)
    if len(steps) > MOST_POINTS:
        stride = (len(steps) - 1) / (MOST_POINTS - 1)
        steps = [steps[round(i * stride)] for i in range(MOST_POINTS)]
    names = list(dict.fromkeys(name for values in points.values() for name in values))
    columns: dict[str, list[Scalar]] = {"step": list(steps)}
    for name in names:
        columns[name] = [_finite(points[step].get(name)) for step in steps]
    return columns


def _finite(value: Scalar) -> Scalar:
    return None if isinstance(value, float) and not math.isfinite(value) else value
