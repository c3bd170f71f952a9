"""What each method finds in a series that is easy, and in one that has no causes."""

import numpy as np
import pytest

from ensemble import METHODS
from methods import FINDERS, best_parents
from synthetic import Array


def series(coupling: float, *, squared: bool = False) -> Array:
    """Three variables; the first drives the second two steps later, the third stands alone."""
    noise = np.random.default_rng(2).normal(size=(800, 3))
    values = noise.copy()
    for step in range(2, len(values)):
        cause = values[step - 2, 0] ** 2 - 1 if squared else values[step - 2, 0]
        values[step, 1] += coupling * cause + 0.5 * values[step - 1, 1]
    return values


@pytest.mark.parametrize("method", METHODS)
def test_one_strong_cause_is_found_at_its_lag_and_alone(method: str) -> None:
    links = FINDERS[method](series(0.6), 3, 0.001)
    assert np.argwhere(links).tolist() == [[1, 0, 1]]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_found_where_there_is_nothing(method: str) -> None:
    assert not FINDERS[method](series(0.0), 3, 0.001).any()  # own memory is no link


def test_only_the_network_sees_a_cause_without_a_linear_part() -> None:
    values = series(0.5, squared=True)
    seen = {method: bool(FINDERS[method](values, 3, 0.001)[1, 0, 1]) for method in METHODS}
    assert seen == {"granger": False, "pcmci": False, "network": True}


def test_a_wider_level_finds_at_least_as_much_with_granger() -> None:
    values = series(0.1)
    narrow, wide = (FINDERS["granger"](values, 3, alpha) for alpha in (0.01, 0.2))
    assert narrow.sum() <= wide.sum()
    assert wide.any()


def test_the_search_takes_away_a_parent_that_others_make_needless() -> None:
    rng = np.random.default_rng(5)
    one, two = rng.normal(size=(2, 400))
    both = one + two + 0.3 * rng.normal(size=400)  # best alone, needless beside the two
    target = one + two + 0.05 * rng.normal(size=400)
    candidates = {(0, 0): one[:, None], (0, 1): two[:, None], (0, 2): both[:, None]}
    assert sorted(best_parents(target, candidates)) == [(0, 0), (0, 1)]
