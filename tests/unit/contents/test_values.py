"""The comparison of numbers: against NumPy's own rule and against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpac_ci.contents import Tolerance
from rpac_ci.contents.values import BLOCK_BYTES, Rule, Tally, blocks

floats = st.floats(width=64)
tolerances = st.floats(min_value=0, max_value=1e3)
pairs = st.lists(st.tuples(floats, floats), min_size=1, max_size=20)
integers = st.integers(-(2**63), 2**63 - 1)


def tally(reference: Any, observed: Any, dtype: str, rule: Rule) -> Tally:
    result = Tally(name="x")
    result.add(np.array(reference, dtype), np.array(observed, dtype), rule)
    return result


def rule(abs_tol: float = 0, rel_tol: float = 0, *, equal_nan: bool = True) -> Rule:
    return Rule(tolerance=Tolerance(abs_tol=abs_tol, rel_tol=rel_tol), equal_nan=equal_nan)


@given(pairs, tolerances, tolerances, st.booleans())
def test_floats_as_numpy_isclose(
    values: list[tuple[float, float]], abs_tol: float, rel_tol: float, equal_nan: bool
) -> None:
    reference, observed = map(np.array, zip(*values, strict=True))
    found = tally(reference, observed, "f8", rule(abs_tol, rel_tol, equal_nan=equal_nan))
    with np.errstate(all="ignore"):
        close = np.isclose(observed, reference, rel_tol, abs_tol, equal_nan=equal_nan)
        # where |reference| * rel_tol overflows, NumPy calls what is infinitely far away close
        infinitely_far = np.isinf(observed - reference)
    assert found.beyond == int((~close | infinitely_far).sum())
    assert found.total == len(values)


@given(pairs)
def test_exact_agreement_is_symmetric(values: list[tuple[float, float]]) -> None:
    left, right = zip(*values, strict=True)
    there, back = tally(left, right, "f8", rule()), tally(right, left, "f8", rule())
    assert (there.differing, there.beyond) == (back.differing, back.beyond)
    equal = [a == b or (math.isnan(a) and math.isnan(b)) for a, b in values]
    assert there.differing == there.beyond == equal.count(False)


@given(integers, integers, st.integers(0, 2**64).map(float))
def test_integers_are_exact(reference: int, observed: int, abs_tol: float) -> None:
    found = tally([reference], [observed], "i8", rule(abs_tol))
    assert found.beyond == (abs(reference - observed) > Fraction(abs_tol))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.floats(0, 2))
def test_unsigned_integers_and_relative_tolerance(
    reference: int, observed: int, rel_tol: float
) -> None:
    found = tally([reference], [observed], "u8", rule(0, rel_tol))
    exact, allowed = abs(reference - observed), Fraction(rel_tol) * reference
    if abs(exact - allowed) > allowed * Fraction(1, 2**50):  # the scale is a double
        assert found.beyond == (exact > allowed)


@given(
    st.lists(st.integers(0, 40), max_size=4).map(tuple),
    st.sampled_from([1, 8, BLOCK_BYTES // 50, BLOCK_BYTES * 2]),
    st.data(),
)
def test_blocks_cover_an_array_once(
    shape: tuple[int, ...], itemsize: int, data: st.DataObject
) -> None:
    chunks = data.draw(st.none() | st.tuples(*(st.integers(1, 50) for _ in shape)))
    if math.prod(shape) > 10_000:
        shape = shape[:2]
        chunks = chunks and chunks[:2]
    seen = np.zeros(shape, "i4")
    for part in blocks(shape, itemsize, chunks):
        seen[part] += 1
        if chunks is None:
            assert seen[part].size * itemsize <= max(itemsize, BLOCK_BYTES)
    assert (seen == 1).all()


def test_blocks_follow_chunks() -> None:
    """No chunk is read twice, and many small ones are read at once."""
    for chunks in ((1000, 10, 10), (1, 10, 100), (7, 3, 30), (1000, 1000, 100)):
        parts = list(blocks((1000, 1000, 100), 8, chunks))
        assert all(a.start % c == 0 for part in parts for a, c in zip(part, chunks, strict=True))
        assert len(parts) <= 1600  # of 800 MB


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_is_a_number(value: float) -> None:
    with pytest.raises(ValueError, match="a tolerance is a finite number"):
        Tolerance(abs_tol=value)
