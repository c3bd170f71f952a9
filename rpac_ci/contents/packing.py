"""
Stored values → values in their unit: fill values, scale and offset.

Source: the attribute conventions of NetCDF and CF (`_FillValue`, `missing_value`, `scale_factor`,
`add_offset`, `_Unsigned`), decoded in double precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rpac_ci.contents.findings import UnreadableError
from rpac_ci.contents.values import Array, Mask

ATTRIBUTES = ("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """
    How a variable's values are packed.

    Args:
        missing: stored values that stand for none.
        scale: None when values are not scaled.
        offset: likewise.
        unsigned: signed integers are meant as unsigned ones.
    """

    missing: tuple[float | int, ...] = ()
    scale: float | None = None
    offset: float | None = None
    unsigned: bool = False

    @classmethod
    def of(cls, attributes: Mapping[str, object]) -> Packing:
        """
        Read the packing out of a variable's attributes.

        Raises:
            UnreadableError: they are no numbers, or too many.
        """
        missing = [
            value
            for name in ("_FillValue", "missing_value")
            for value in _numbers(name, attributes.get(name))
        ]
        scale, offset = (_number(name, attributes) for name in ("scale_factor", "add_offset"))
        unsigned = str(_text(attributes.get("_Unsigned"))).lower() == "true"
        return cls(missing=tuple(missing), scale=scale, offset=offset, unsigned=unsigned)

    def decode(self, stored: Array) -> tuple[Array, Mask | None]:
        """Values in their unit, and where they are missing; integers stay such unless scaled."""
        missing = self._missing(stored)
        values = stored
        if self.unsigned and stored.dtype.kind == "i":
            values = stored.view(f"u{stored.dtype.itemsize}")
        if self.scale is not None or self.offset is not None:
            scale = 1.0 if self.scale is None else self.scale
            offset = 0.0 if self.offset is None else self.offset
            with np.errstate(all="ignore"):
                values = values.astype(np.float64) * scale + offset
        return values, missing

    def _missing(self, stored: Array) -> Mask | None:
        if not self.missing:
            return None
        found = np.zeros(stored.shape, np.bool_)
        with np.errstate(all="ignore"):
            for value in self.missing:
                if value != value:
                    found |= np.isnan(stored)
                elif stored.dtype.kind == "f":  # 1e20 in double stands for 1e20 in single precision
                    found |= stored == np.asarray(value).astype(stored.dtype)
                else:
                    found |= stored == value
        return found


def _numbers(name: str, value: object) -> list[float | int]:
    if value is None:
        return []
    numbers = np.atleast_1d(np.asarray(value))
    if numbers.dtype.kind not in "iuf":
        raise UnreadableError(f"its {name} is no number")
    plain: list[float | int] = numbers.ravel().tolist()
    return plain


def _number(name: str, attributes: Mapping[str, object]) -> float | None:
    numbers = _numbers(name, attributes.get(name))
    if len(numbers) > 1:
        raise UnreadableError(f"its {name} is not one number")
    return float(numbers[0]) if numbers else None


def _text(value: object) -> object:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else value
