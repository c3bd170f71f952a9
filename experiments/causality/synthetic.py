"""A five-variable series whose causal graph is known, because this module makes it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Links = NDArray[np.bool_]

NAMES = ("A", "B", "C", "D", "E")
MEMORY = (0.6, 0.5, 0.4, 0.5, 0.3)  # of each variable for its own last value
BURN_IN = 200  # steps until the start at zero is forgotten


def linear(value: float) -> float:
    """The value itself."""
    return value


def saturating(value: float) -> float:
    """Grows like the value near zero and levels off at ±1: nonlinear, but monotonic."""
    return float(np.tanh(1.5 * value))


def even(value: float) -> float:
    """A centred square: no linear correlation with the value is left to find."""
    return float(value * value / 2.0 - 0.75)


class Cause(NamedTuple):
    """One true link: `effect` at t gets `strength` times `shape` of `cause` at t - lag."""

    cause: int
    effect: int
    lag: int
    strength: float
    shape: Callable[[float], float]


TRUTH = (
    Cause(0, 1, 1, 0.30, linear),
    Cause(0, 2, 2, 0.45, saturating),
    Cause(1, 3, 1, 0.45, even),
    Cause(2, 3, 3, 0.25, linear),
    Cause(3, 4, 1, 0.40, saturating),
    Cause(4, 1, 2, -0.25, linear),
    Cause(2, 4, 1, 0.15, linear),
)


def true_links(max_lag: int) -> Links:
    """
    The graph behind the series.

    Args:
        max_lag: largest lag that is looked at, steps; links with a larger one are not in it.

    Returns:
        (max_lag, 5, 5), true at [lag - 1, cause, effect].
    """
    links = np.zeros((max_lag, len(NAMES), len(NAMES)), dtype=np.bool_)
    for link in TRUTH:
        if link.lag <= max_lag:
            links[link.lag - 1, link.cause, link.effect] = True
    return links


def make_series(seed: int, length: int) -> Array:
    """
    Draw the series, with Gaussian noise of unit variance in every variable.

    Args:
        seed: of the noise.
        length: number of steps.

    Returns:
        (length, 5), without unit.
    """
    longest = max(link.lag for link in TRUTH)
    noise = np.random.default_rng(seed).normal(size=(BURN_IN + length, len(NAMES)))
    values = np.zeros_like(noise)
    values[:longest] = noise[:longest]
    for step in range(longest, len(values)):
        now = noise[step] + np.array(MEMORY) * values[step - 1]
        for link in TRUTH:
            now[link.effect] += link.strength * link.shape(values[step - link.lag, link.cause])
        values[step] = now
    return values[BURN_IN:]
