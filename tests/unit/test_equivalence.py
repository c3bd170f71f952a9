"""Statistical equivalence: known answers, few seeds are no answer, repeats are no seeds."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rpac_ci.equivalence import Answer, Sample, holm, power, seeds_needed, tost

REFERENCE = Sample((0.89, 0.90, 0.91, 0.895, 0.905), (1, 2, 3, 4, 5))


def shifted(by: float, *, seeds: tuple[int, ...] | None = (11, 12, 13, 14, 15)) -> Sample:
    """The reference's values moved, in another order and of other seeds."""
    values = (0.905, 0.895, 0.91, 0.89, 0.90)
    return Sample(tuple(value + by for value in values), seeds)


def answer(observed: Sample, *, margin: float = 0.02, paired: bool = False) -> Answer:
    return tost(REFERENCE, observed, margin=margin, alpha=0.05, paired=paired).answer


# --- the bank -----------------------------------------------------------------------------------


def test_equal_means_inside_the_margin_are_equivalent() -> None:
    assert answer(shifted(0.0)) is Answer.EQUIVALENT
    assert answer(shifted(0.005)) is Answer.EQUIVALENT


def test_means_outside_the_margin_are_different() -> None:
    assert answer(shifted(0.05)) is Answer.DIFFERENT
    assert answer(shifted(-0.05)) is Answer.DIFFERENT


def test_a_difference_about_as_large_as_the_margin_is_undecided() -> None:
    assert answer(shifted(0.02)) is Answer.UNDECIDED
    assert answer(shifted(0.018)) is Answer.UNDECIDED


def test_no_significant_difference_is_no_agreement() -> None:
    """What a t-test would call "not different" with three seeds."""
    left, right = Sample((0.80, 0.90, 1.00), (1, 2, 3)), Sample((0.85, 0.95, 1.02), (4, 5, 6))
    assert stats.ttest_ind(left.values, right.values).pvalue > 0.5
    found = tost(left, right, margin=0.05, alpha=0.05)
    assert found.answer is Answer.UNDECIDED
    assert "3 seeds against 3" in found.note


@pytest.mark.parametrize("values", [(0.9,), ()])
def test_too_few_seeds_are_no_answer(values: tuple[float, ...]) -> None:
    found = tost(REFERENCE, Sample(values, None), margin=10.0, alpha=0.05)
    assert found.answer is Answer.UNDECIDED
    assert "too few seeds" in found.note


def test_the_same_seed_again_is_not_another_seed() -> None:
    """Five times seed 1 is one value, however often it was run."""
    found = tost(REFERENCE, Sample((0.9,) * 5, (7,) * 5), margin=0.5, alpha=0.05)
    assert found.answer is Answer.UNDECIDED
    assert found.seeds == (5, 1)


def test_values_without_spread_hide_seeds_that_were_not_used() -> None:
    found = tost(REFERENCE, Sample((0.9,) * 5, (1, 2, 3, 4, 6)), margin=0.5, alpha=0.05)
    assert found.answer is Answer.UNDECIDED
    assert "was the seed used?" in found.note
    constant = Sample((0.9, 0.9), (1, 2))
    both = tost(constant, Sample((0.91, 0.91), (3, 4)), margin=0.5, alpha=0.05)
    assert both.answer is Answer.UNDECIDED
    assert "abs_tol" in both.note


def test_rounding_is_no_spread() -> None:
    nearly = Sample((0.9, math.nextafter(0.9, 1), 0.9), (1, 2, 3))
    assert answer(nearly) is Answer.UNDECIDED


def test_the_same_seeds_with_the_same_values_are_identical() -> None:
    assert answer(REFERENCE) is Answer.IDENTICAL
    assert answer(Sample((0.9,), (2,))) is Answer.IDENTICAL  # one of them, exactly
    assert answer(REFERENCE, paired=True) is Answer.IDENTICAL


def test_equal_values_of_unknown_seeds_are_not_identical() -> None:
    values = (0.89, 0.90, 0.91)
    assert tost(Sample(values), Sample(values), margin=1, alpha=0.05).answer is Answer.EQUIVALENT


# --- pairs --------------------------------------------------------------------------------------


def test_pairs_see_a_small_shift_that_the_spread_hides() -> None:
    left = Sample((0.5, 0.6, 0.7, 0.8, 0.9, 1.0), (1, 2, 3, 4, 5, 6))
    right = Sample(tuple(v + d for v, d in zip(left.values, (1e-3, 2e-3) * 3, strict=True)),
                   left.seeds)  # fmt: skip
    assert tost(left, right, margin=0.01, alpha=0.05).answer is Answer.UNDECIDED
    paired = tost(left, right, margin=0.01, alpha=0.05, paired=True)
    assert paired.answer is Answer.EQUIVALENT
    assert paired.difference == pytest.approx(1.5e-3)


def test_pairs_need_common_seeds() -> None:
    assert (
        "no seed is in both"
        in tost(REFERENCE, shifted(0.0), margin=0.02, alpha=0.05, paired=True).note
    )
    assert (
        "do not name"
        in tost(REFERENCE, shifted(0.0, seeds=None), margin=0.02, alpha=0.05, paired=True).note
    )


def test_only_common_seeds_count_in_pairs() -> None:
    observed = Sample((0.892, 0.901, 5.0), (1, 2, 99))
    found = tost(REFERENCE, observed, margin=0.5, alpha=0.05, paired=True)
    assert found.seeds == (2, 2)
    assert found.difference == pytest.approx(0.0015)


# --- against scipy ------------------------------------------------------------------------------

values = st.lists(st.integers(-1000, 1000).map(lambda n: n / 10), min_size=3, max_size=12)


@given(left=values, right=values, margin=st.floats(0.01, 50))
def test_the_interval_is_that_of_welch(
    left: list[float], right: list[float], margin: float
) -> None:
    found = tost(Sample(tuple(left)), Sample(tuple(right)), margin=margin, alpha=0.05)
    if found.low is None or found.high is None or found.p_value is None:
        return  # no spread
    expected = stats.ttest_ind(right, left, equal_var=False).confidence_interval(0.90)
    scale = max(map(abs, [*left, *right, 1.0]))
    assert found.low == pytest.approx(expected.low, abs=1e-9 * scale)
    assert found.high == pytest.approx(expected.high, abs=1e-9 * scale)
    lower = stats.ttest_ind(
        [v + margin for v in right], left, equal_var=False, alternative="greater"
    )
    upper = stats.ttest_ind([v - margin for v in right], left, equal_var=False, alternative="less")
    assert found.p_value == pytest.approx(max(lower.pvalue, upper.pvalue), abs=1e-6)
    inside = -margin < found.low and found.high < margin
    assert (found.answer is Answer.EQUIVALENT) == inside or found.p_value == pytest.approx(0.05)


@given(left=values, right=values)
def test_it_does_not_matter_which_side_is_the_reference(
    left: list[float], right: list[float]
) -> None:
    one, other = Sample(tuple(left)), Sample(tuple(right))
    there = tost(one, other, margin=1.0, alpha=0.05)
    back = tost(other, one, margin=1.0, alpha=0.05)
    assert there.answer == back.answer
    if there.difference is not None and back.difference is not None:
        assert there.difference == pytest.approx(-back.difference)


@pytest.mark.slow
def test_false_agreement_is_as_rare_as_alpha_says() -> None:
    """Samples whose true means differ by exactly the margin."""
    dice = random.Random(1)
    found = 0
    for _ in range(2000):
        left = Sample(tuple(dice.gauss(0, 1) for _ in range(10)))
        right = Sample(tuple(dice.gauss(1.5, 1) for _ in range(10)))
        found += tost(left, right, margin=1.5, alpha=0.05).answer is Answer.EQUIVALENT
    assert found / 2000 <= 0.065  # 0.05 and three standard errors


# --- several numbers, and the power ------------------------------------------------------------


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_never_lowers_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert sorted(adjusted) == [
        adjusted[i] for i in sorted(range(len(p_values)), key=lambda i: p_values[i])
    ]


@pytest.mark.parametrize(
    ("seeds", "margin", "expected"),
    [
        (5, 1.0, 0.05),
        (10, 1.0, 0.38),
        (20, 1.0, 0.86),
        (30, 1.0, 0.98),
        (5, 2.0, 0.78),
        (8, 2.0, 0.97),
    ],
)
def test_the_power_is_that_of_simulations(seeds: int, margin: float, expected: float) -> None:
    """Welch, true difference 0; the expected chances are those of 2,000 simulations each."""
    assert power((seeds, seeds), spread=1, margin=margin, alpha=0.05) == pytest.approx(
        expected, abs=0.03
    )


def test_no_seed_no_power() -> None:
    assert power((1, 50), spread=1, margin=5, alpha=0.05) == 0.0
    assert power((5, 5), spread=0, margin=5, alpha=0.05) == 0.0


def test_the_fewest_seeds_that_are_enough() -> None:
    needed = seeds_needed(None, spread=1, margin=1, alpha=0.05)
    assert needed == 18
    assert power((18, 18), spread=1, margin=1, alpha=0.05) >= 0.8
    assert power((17, 17), spread=1, margin=1, alpha=0.05) < 0.8


def test_a_small_reference_cannot_be_made_up_for() -> None:
    assert seeds_needed(3, spread=1, margin=0.5, alpha=0.05) is None
