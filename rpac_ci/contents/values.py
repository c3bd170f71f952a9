"""
Two arrays of one shape and type → how many values differ, by how much, and where.

Sources: numpy.isclose for the rule, with the reference as the scale; equality of floats is that of
IEEE 754, with NaN as asked, so that -0.0 equals 0.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rpac_ci.contents.findings import Tolerance, UnreadableError, printable

Array: TypeAlias = npt.NDArray[Any]
Mask: TypeAlias = npt.NDArray[np.bool_]
Selection: TypeAlias = tuple[slice, ...]
# stored values → values in their unit, and where they are missing (None: nowhere)
Decode: TypeAlias = Callable[[Array], tuple[Array, Mask | None]]

BLOCK_BYTES = 1 << 20  # of one side: working memory is about ten times this, and fits the cache
UNSIGNED = {2: np.uint16, 4: np.uint32, 8: np.uint64}
LARGEST = 2.0**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How values of one variable are compared."""

    tolerance: Tolerance
    equal_nan: bool


@dataclass(slots=True, kw_only=True)
class Tally:
    """
    What is known of one variable so far.

    `differing` counts values that are not equal, `beyond` those of them that no tolerance covers.
    `at` is where the worst stands: one beyond before one within, then the largest difference.
    """

    name: str
    total: int = 0
    differing: int = 0
    beyond: int = 0
    max_abs: float | None = None
    max_rel: float | None = None
    at: tuple[int, ...] | None = None
    example: str = ""
    worst: tuple[bool, float] = (False, -math.inf)

    def add(
        self,
        reference: Array,
        observed: Array,
        rule: Rule,
        *,
        origin: tuple[int, ...] = (),
        decode: tuple[Decode, Decode] | None = None,
        everywhere: bool = False,
    ) -> None:
        """
        Compare one block of values.

        Args:
            reference: stored values, of the shape and type of `observed`.
            observed: likewise.
            rule: tolerance and NaN.
            origin: where the block begins in the variable.
            decode: of each side, where stored values are not yet those that are meant.
            everywhere: equal stored values may also mean different things.
        """
        self.total += reference.size
        unequal = find_unequal(reference, observed, equal_nan=rule.equal_nan)
        if everywhere:
            unequal = np.ones(reference.shape, np.bool_)
        if unequal is None:
            return
        places = np.flatnonzero(unequal)
        sides = reference.reshape(-1), observed.reshape(-1)
        if places.size < reference.size:
            sides = sides[0][places], sides[1][places]
        within, distance, scale = _judge(*sides, rule, decode)
        if everywhere:  # only now is it known which are not equal
            kept = ~within | (distance != 0)
            places, within = places[kept], within[kept]
            distance, scale = distance[kept], scale[kept]
            sides = sides[0][kept], sides[1][kept]
        if places.size:
            self._count(~within, distance, scale)
            self._remember(~within, distance, places, reference.shape, origin, sides)

    def add_unequal(self, unequal: Mask, *, origin: int, example: Callable[[int], str]) -> None:
        """Add a block of a column of which it is known already which values differ."""
        self.total += unequal.size
        places = np.flatnonzero(unequal)
        self.differing += places.size
        self.beyond += places.size
        if places.size and not self.worst[0]:
            self.worst = (True, -math.inf)
            self.at, self.example = (origin + int(places[0]),), example(int(places[0]))

    def _count(self, beyond: Mask, distance: Array, scale: Array) -> None:
        self.differing += beyond.size
        self.beyond += int(beyond.sum())
        with np.errstate(all="ignore"):
            self.max_abs = _largest(self.max_abs, distance)
            self.max_rel = _largest(self.max_rel, distance / scale)

    def _remember(
        self,
        beyond: Mask,
        distance: Array,
        places: Array,
        shape: tuple[int, ...],
        origin: tuple[int, ...],
        sides: tuple[Array, Array],
    ) -> None:
        rank = np.nan_to_num(distance, nan=-1.0)
        rank[beyond.any() & ~beyond] = -2.0
        chosen = int(np.argmax(rank))
        worst = (bool(beyond[chosen]), float(rank[chosen]))
        if worst <= self.worst:
            return
        self.worst = worst
        inside = np.unravel_index(int(places[chosen]), shape)
        start = origin or (0,) * len(shape)
        self.at = tuple(a + int(b) for a, b in zip(start, inside, strict=True))
        self.example = f"{shown(sides[0][chosen])} -> {shown(sides[1][chosen])}"


def compare_array(
    tallies: dict[str, Tally],
    name: str,
    reference: Array,
    observed: Array,
    rule: Rule,
    *,
    origin: tuple[int, ...] = (),
    decode: tuple[Decode, Decode] | None = None,
    everywhere: bool = False,
) -> None:
    """Add a block to the tally of its variable; each field of a structured type has its own."""
    if reference.dtype.names is not None:
        for field in reference.dtype.names:
            sides = reference[field], observed[field]
            start = origin + (0,) * (sides[0].ndim - len(origin))
            compare_array(tallies, f"{name}.{field}", *sides, rule, origin=start)
        return
    tally = tallies.setdefault(name, Tally(name=name))
    sides = _native(reference), _native(observed)
    tally.add(*sides, rule, origin=origin, decode=decode, everywhere=everywhere)


def blocks(
    shape: tuple[int, ...], itemsize: int, chunks: tuple[int, ...] | None
) -> Iterator[Selection]:
    """
    Parts of an array that cover it once, each of about `BLOCK_BYTES` and along its chunks.

    Args:
        shape: of the array; no dimensions make one block, one of length 0 none.
        itemsize: bytes of a value.
        chunks: how the array is stored, so that no chunk need be read twice.
    """
    size = [max(1, min(c, n)) for c, n in zip(chunks or (1,) * len(shape), shape, strict=True)]
    for axis in reversed(range(len(shape))):
        times = max(1, BLOCK_BYTES // max(1, itemsize) // math.prod(size))
        size[axis] = max(1, min(shape[axis], size[axis] * times))
    steps = [range(0, length, step) for length, step in zip(shape, size, strict=True)]
    for start in product(*steps):
        yield tuple(
            slice(a, min(a + step, n)) for a, step, n in zip(start, size, shape, strict=True)
        )


def find_unequal(reference: Array, observed: Array, *, equal_nan: bool) -> Mask | None:
    """
    Where two blocks are not equal; None when they are equal everywhere.

    Raises:
        UnreadableError: values of this type cannot be compared.
    """
    unequal = _unequal(reference, observed, equal_nan=equal_nan)
    return unequal if unequal is not None and unequal.any() else None


def _unequal(reference: Array, observed: Array, *, equal_nan: bool) -> Mask | None:
    match reference.dtype.kind:
        case "f":
            return _unequal_floats(reference, observed, equal_nan=equal_nan)
        case "c":
            parts = [
                _unequal_floats(a, b, equal_nan=equal_nan)
                for a, b in ((reference.real, observed.real), (reference.imag, observed.imag))
            ]
            found = [part for part in parts if part is not None]
            return np.logical_or.reduce(found) if found else None
        case "M" | "m":
            # by their integers: so NaT is equal to NaT
            unequal = reference.view(np.int64) != observed.view(np.int64)
            return np.asarray(unequal if equal_nan else unequal | np.isnat(reference))
        case "i" | "u" | "b" | "S" | "U" | "T":
            return np.asarray(reference != observed, np.bool_)
        case "V":
            return _unequal_bytes(reference, observed)
        case "O":
            return _unequal_texts(reference, observed)
        case kind:
            raise UnreadableError(f"values of the type {reference.dtype} ({kind}) are not compared")


def _unequal_floats(reference: Array, observed: Array, *, equal_nan: bool) -> Mask | None:
    unsigned = UNSIGNED.get(reference.dtype.itemsize)
    if (
        equal_nan
        and unsigned is not None
        and np.array_equal(reference.view(unsigned), observed.view(unsigned))
    ):
        return None  # the usual case, in one pass
    unequal = np.asarray(reference != observed)  # true for NaN, whatever the other is
    if equal_nan:
        unequal &= ~(np.isnan(reference) & np.isnan(observed))
    return unequal


def _unequal_bytes(reference: Array, observed: Array) -> Mask:
    shape = (*reference.shape, reference.dtype.itemsize)
    raw = [np.frombuffer(side.tobytes(), np.uint8).reshape(shape) for side in (reference, observed)]
    return np.asarray((raw[0] != raw[1]).any(axis=-1))


def _unequal_texts(reference: Array, observed: Array) -> Mask:
    pairs = list(zip(reference.reshape(-1), observed.reshape(-1), strict=True))
    if not all(isinstance(value, str | bytes) for pair in pairs for value in pair):
        raise UnreadableError("Python objects are not compared")
    unequal = np.fromiter((a != b for a, b in pairs), np.bool_, count=len(pairs))
    return unequal.reshape(reference.shape)


def _judge(
    reference: Array, observed: Array, rule: Rule, decode: tuple[Decode, Decode] | None
) -> tuple[Mask, Array, Array]:
    """Of values that are stored unequal: which are within the tolerance, distance, and scale."""
    stored = reference, observed
    missing: list[Mask | None] = [None, None]
    if decode is not None:
        reference, missing[0] = decode[0](reference)
        observed, missing[1] = decode[1](observed)
    within, distance, scale = _close(reference, observed, rule.tolerance)
    if missing[0] is not None or missing[1] is not None:
        nowhere = np.zeros(within.shape, np.bool_)
        left, right = (nowhere if side is None else side for side in missing)
        within = np.where(left | right, left & right, within)
        distance = np.where(left & right, 0.0, np.where(left | right, np.nan, distance))
    if not rule.equal_nan and stored[0].dtype.kind in "fc":
        within &= ~(np.isnan(stored[0]) | np.isnan(stored[1]))
    if rule.tolerance.exact:  # stored values that differ may still decode to the same
        within = np.zeros(within.shape, np.bool_)
    return within, distance, scale


def _close(reference: Array, observed: Array, tolerance: Tolerance) -> tuple[Mask, Array, Array]:
    kind = reference.dtype.kind
    if kind in "iu" and observed.dtype.kind == kind:
        return _close_integers(reference, observed, tolerance)
    if kind in "iufc" and observed.dtype.kind in "iufc":
        return _close_floats(reference, observed, tolerance)
    nothing = np.full(reference.shape, np.nan)
    return np.zeros(reference.shape, np.bool_), nothing, nothing


def _close_integers(
    reference: Array, observed: Array, tolerance: Tolerance
) -> tuple[Mask, Array, Array]:
    """Exact: differences of 64-bit integers fit into 64 bits without a sign."""
    wide = np.int64 if reference.dtype.kind == "i" else np.uint64
    a, b = reference.astype(wide), observed.astype(wide)
    distance = np.where(a > b, a.view(np.uint64) - b.view(np.uint64),
                        b.view(np.uint64) - a.view(np.uint64))  # fmt: skip
    scale = np.abs(a.astype(np.float64))
    allowed = np.floor(tolerance.abs_tol + tolerance.rel_tol * scale)
    large = allowed >= LARGEST
    within = large | (distance <= np.where(large, 0, allowed).astype(np.uint64))
    return within, distance.astype(np.float64), scale


def _close_floats(
    reference: Array, observed: Array, tolerance: Tolerance
) -> tuple[Mask, Array, Array]:
    """What is not finite agrees with nothing here: equal values were sorted out before."""
    types = reference.dtype, observed.dtype, np.dtype(np.float64)
    a, b = (side.astype(np.result_type(*types)) for side in (reference, observed))
    with np.errstate(all="ignore"):
        distance, scale = np.abs(b - a), np.abs(a)
        within = distance <= tolerance.abs_tol + tolerance.rel_tol * scale
    within &= np.isfinite(distance)
    return within, distance, scale


def _largest(so_far: float | None, values: Array) -> float | None:
    largest = float(np.max(values, where=np.isfinite(values), initial=-np.inf))
    if not math.isfinite(largest):  # there is none, or a long double beyond a double
        return so_far
    return largest if so_far is None else max(so_far, largest)


def _native(array: Array) -> Array:
    """The same values in this machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def shown(value: object) -> str:
    """A value for people."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return printable(repr(str(value)) if isinstance(value, str) else value, limit=40)
