"""
Statistical equivalence of two samples of one number, for results that hang on a seed. Pure.

Two one-sided t-tests (TOST): the samples are equivalent when the confidence interval of the
difference of means lies inside the margin. That a difference is not significant says nothing; with
few seeds the answer is "undecided", and `power` says beforehand how likely an answer is.

Sources: Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657, doi:10.1007/BF01068419 (the test);
Welch, Biometrika 34 (1947) 28 (unequal variances); Holm, Scand. J. Stat. 6 (1979) 65 (several
numbers at once).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, stdev, variance

MIN_SEEDS = 2  # of each side: a spread needs two
ENOUGH_POWER = 0.8
MAX_SEEDS = 10_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one number and, where known, the seed of each."""

    values: tuple[float, ...]
    seeds: tuple[int, ...] | None = None

    def pairs(self) -> set[tuple[int, float]]:
        """Seed and value; none where seeds are not known."""
        return set(zip(self.seeds or (), self.values, strict=False))

    def by_seed(self) -> Sample:
        """
        One value for each seed.

        A seed that was run twice tells nothing new, and counting it twice would make a small sample
        look large; where its values differ, their mean stands for it.
        """
        if self.seeds is None:
            return self
        of: dict[int, list[float]] = {}
        for seed, value in zip(self.seeds, self.values, strict=True):
            of.setdefault(seed, []).append(value)
        seeds = sorted(of)
        return Sample(tuple(fmean(of[seed]) for seed in seeds), tuple(seeds))


class Answer(StrEnum):
    """What a test can say."""

    IDENTICAL = "identical"  # every value of every seed
    EQUIVALENT = "equivalent"
    DIFFERENT = "different"  # the interval lies outside the margin
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tost:
    """Outcome of the two one-sided tests; numbers are None where none can be given."""

    answer: Answer
    note: str
    difference: float | None = None  # of means, observed - reference
    low: float | None = None  # confidence interval of the difference, level 1 - 2 alpha
    high: float | None = None
    p_value: float | None = None  # of "the difference is outside the margin"
    seeds: tuple[int, int] = (0, 0)  # reference, observed; pairs when paired


def tost(
    reference: Sample, observed: Sample, *, margin: float, alpha: float, paired: bool = False
) -> Tost:
    """
    Whether two means differ by less than `margin`.

    Args:
        reference: values of the original.
        observed: values to judge, in the same unit.
        margin: largest difference of means that does not matter, in that unit.
        alpha: probability of calling samples equivalent whose means differ by the margin.
        paired: compare values of equal seeds; both samples must name their seeds.

    Returns:
        Undecided, with the reason, whenever the samples cannot tell.
    """
    reference, observed = reference.by_seed(), observed.by_seed()
    if paired:
        return _paired(reference, observed, margin=margin, alpha=alpha)
    seeds = (len(reference.values), len(observed.values))
    if observed.pairs() and observed.pairs() <= reference.pairs():
        return _identical(seeds)
    if problem := _too_few(seeds):
        return Tost(answer=Answer.UNDECIDED, note=problem, seeds=seeds)
    spreads = [_spread(reference.values), _spread(observed.values)]
    if problem := _no_spread(spreads):
        return Tost(answer=Answer.UNDECIDED, note=problem, seeds=seeds)
    parts = [variance(s.values) / len(s.values) for s in (reference, observed)]
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(p * p / (n - 1) for p, n in zip(parts, seeds, strict=True))
    difference = fmean(observed.values) - fmean(reference.values)
    return _decide(difference, error, freedom, margin=margin, alpha=alpha, seeds=seeds)


def _paired(reference: Sample, observed: Sample, *, margin: float, alpha: float) -> Tost:
    if reference.seeds is None or observed.seeds is None:
        note = "pairs need seeds, and the values do not name theirs"
        return Tost(answer=Answer.UNDECIDED, note=note)
    left, right = dict(reference.pairs()), dict(observed.pairs())
    common = sorted(left.keys() & right.keys())
    seeds = (len(common), len(common))
    if not common:
        return Tost(answer=Answer.UNDECIDED, note="no seed is in both samples")
    differences = [right[seed] - left[seed] for seed in common]
    if observed.pairs() <= reference.pairs():
        return _identical(seeds)
    if problem := _too_few(seeds):
        return Tost(answer=Answer.UNDECIDED, note=problem, seeds=seeds)
    if problem := _no_spread([_spread(differences)]):
        return Tost(answer=Answer.UNDECIDED, note=problem, seeds=seeds)
    error = stdev(differences) / math.sqrt(len(common))
    return _decide(
        fmean(differences), error, len(common) - 1, margin=margin, alpha=alpha, seeds=seeds
    )


def _decide(
    difference: float,
    error: float,
    freedom: float,
    *,
    margin: float,
    alpha: float,
    seeds: tuple[int, int],
) -> Tost:
    from scipy.stats import t

    half = float(t.ppf(1 - alpha, freedom)) * error
    low, high = difference - half, difference + half
    p_value = max(
        float(t.sf((difference + margin) / error, freedom)),
        float(t.cdf((difference - margin) / error, freedom)),
    )
    if p_value < alpha:
        answer = Answer.EQUIVALENT
    elif low > margin or high < -margin:
        answer = Answer.DIFFERENT
    else:
        answer = Answer.UNDECIDED
    level = f"{100 * (1 - 2 * alpha):g} % interval of the difference [{low:.3g}, {high:.3g}]"
    note = f"{level}, margin {margin:g}, {seeds[1]} seeds against {seeds[0]}"
    return Tost(
        answer=answer, note=note, difference=difference, low=low, high=high,
        p_value=p_value, seeds=seeds,
    )  # fmt: skip


def _identical(seeds: tuple[int, int]) -> Tost:
    note = f"equal in every one of {seeds[1]} seeds"
    return Tost(answer=Answer.IDENTICAL, note=note, difference=0.0, seeds=seeds)


def _too_few(seeds: tuple[int, int]) -> str:
    if min(seeds) >= MIN_SEEDS:
        return ""
    return f"too few seeds: {seeds[1]} against {seeds[0]} of the reference"


def _spread(values: Sequence[float]) -> float:
    """Standard deviation; 0 also where only the rounding of floats differs."""
    spread = stdev(values)
    return 0.0 if spread <= 1e-12 * max(map(abs, values)) else spread


def _no_spread(spreads: Sequence[float]) -> str:
    """
    Why samples without spread cannot be tested.

    Equal values of one side mean that its seeds were not used, or that they do not matter: then it
    is one value that was repeated, and a t-test would take it for many.
    """
    if all(spreads):
        return ""
    if any(spreads):
        return (
            "the values of one side are all equal, those of the other are not: was the seed used?"
        )
    return "there is no spread at all: declare abs_tol instead of margin"


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for several tests at once, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def power(seeds: tuple[int, int], *, spread: float, margin: float, alpha: float) -> float:
    """
    Chance that equal means are found equivalent.

    Args:
        seeds: of reference and observed.
        spread: standard deviation from seed to seed, the same on both sides.
        margin: in the unit of the spread.
        alpha: of each one-sided test.

    Source: given the observed variance s², which is σ² χ²/f, the difference of means is normal,
    and the test passes when it lies within margin - t s √(1/n + 1/m); the mean over the quantiles
    of χ² is the answer.
    """
    if min(seeds) < MIN_SEEDS or spread <= 0:
        return 0.0
    import numpy as np
    from scipy.stats import chi2, norm, t

    freedom = sum(seeds) - 2
    quantiles = (np.arange(2000) + 0.5) / 2000
    error = math.sqrt(1 / seeds[0] + 1 / seeds[1])
    reach = margin / (spread * error) - t.ppf(1 - alpha, freedom) * np.sqrt(
        chi2.ppf(quantiles, freedom) / freedom
    )
    return float(np.mean(np.maximum(0.0, 2 * norm.cdf(reach) - 1)))


def seeds_needed(
    reference: int | None,
    *,
    spread: float,
    margin: float,
    alpha: float,
    target: float = ENOUGH_POWER,
) -> int | None:
    """
    Fewest seeds for a chance of at least `target`.

    Args:
        reference: seeds that the reference has; None when it will have as many.
        spread, margin, alpha: as for `power`.
        target: chance wanted.

    Returns:
        None when even `MAX_SEEDS` are too few.
    """

    def enough(n: int) -> bool:
        sides = (reference if reference is not None else n, n)
        return power(sides, spread=spread, margin=margin, alpha=alpha) >= target

    if not enough(MAX_SEEDS):
        return None
    low, high = 1, MAX_SEEDS  # not enough, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
