"""
Three ways to find lagged causes in a stretch of a series, each of another family.

All take values (time, variables), the largest lag and a significance level, and return the links
they find as (max_lag, variables, variables), true at [lag - 1, cause, effect]. What a variable does
to itself is conditioned on and never reported.
"""

from collections.abc import Callable

import numpy as np
from statsmodels.regression.linear_model import OLS
from statsmodels.tsa.vector_ar.var_model import VAR
from tigramite.data_processing import DataFrame
from tigramite.independence_tests.parcorr import ParCorr
from tigramite.pcmci import PCMCI

from synthetic import Array, Links

PC_ALPHA = 0.2  # of PCMCI's first stage, as its authors recommend: too many parents do less harm


def granger(values: Array, max_lag: int, alpha: float) -> Links:
    """
    Conditional Granger causality in a vector autoregression.

    A pair passes when all lags of the cause together improve the forecast of the effect (F test);
    of its lags those are reported whose own coefficient is significant (t test).

    Source: Granger (1969); statsmodels `VARResults.test_causality`.
    """
    fitted = VAR(values).fit(max_lag, trend="c")
    count = values.shape[1]
    # rows are the constant, then lag by lag every variable; columns are the effects
    links = fitted.pvalues[1:].reshape(max_lag, count, count) < alpha
    for cause, effect in np.argwhere(links.any(axis=0)).tolist():
        test = fitted.test_causality(effect, [cause], kind="f")
        links[:, cause, effect] &= test.pvalue < alpha
    return without_self(links)


def pcmci(values: Array, max_lag: int, alpha: float) -> Links:
    """
    Conditional independence: PC selects parents, then momentary conditional independence is tested.

    Partial correlation is the test, so links without any linear part stay unseen.

    Source: Runge et al. (2019), Science Advances 5, eaau4996; tigramite.
    """
    search = PCMCI(DataFrame(values), ParCorr(significance="analytic"), verbosity=0)
    found = search.run_pcmci(tau_min=1, tau_max=max_lag, pc_alpha=PC_ALPHA)
    return without_self(np.moveaxis(found["p_matrix"][:, :, 1:], 2, 0) < alpha)


def network(values: Array, max_lag: int, alpha: float) -> Links:  # noqa: ARG001  (has no test)
    """
    Dynamic Bayesian network: for each variable the set of lagged parents with the best score.

    Parents enter with a straight and a squared term. Greedy search adds the one that lowers the
    Bayesian information criterion most, then takes away what lowers it further. Since causes
    precede effects, every variable can be searched alone and no cycle can arise.

    Source: Friedman, Murphy, Russell (1998), UAI; BIC by statsmodels.
    """
    count = values.shape[1]
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    candidates = {
        (lag - 1, cause): np.stack([past, past**2 - 1.0], axis=1)
        for lag in range(1, max_lag + 1)
        for cause in range(count)
        for past in [scaled[max_lag - lag : len(scaled) - lag, cause]]
    }
    links = np.zeros((max_lag, count, count), dtype=np.bool_)
    for effect in range(count):
        for lag_index, cause in best_parents(scaled[max_lag:, effect], candidates):
            links[lag_index, cause, effect] = True
    return without_self(links)


Parent = tuple[int, int]


def best_parents(target: Array, candidates: dict[Parent, Array]) -> list[Parent]:
    """
    Greedy search, forward then backward, by the Bayesian information criterion.

    Args:
        target: (n,) the effect.
        candidates: name of a parent → (n, k) its terms.
    """
    ones = np.ones((target.size, 1))

    def score(parents: list[Parent]) -> float:
        terms = [candidates[parent] for parent in parents]
        return float(OLS(target, np.hstack([ones, *terms])).fit().bic)

    chosen: list[Parent] = []
    best = score(chosen)
    for moves in (_additions, _removals):
        while options := [(score(move), move) for move in moves(chosen, list(candidates))]:
            value, move = min(options)
            if value >= best:
                break
            best, chosen = value, move
    return chosen


def _additions(chosen: list[Parent], every: list[Parent]) -> list[list[Parent]]:
    return [[*chosen, one] for one in every if one not in chosen]


def _removals(chosen: list[Parent], every: list[Parent]) -> list[list[Parent]]:  # noqa: ARG001
    return [[other for other in chosen if other != one] for one in chosen]


def without_self(links: Links) -> Links:
    """The links without those from a variable to itself."""
    count = links.shape[1]
    return np.asarray(links & ~np.eye(count, dtype=np.bool_))


FINDERS: dict[str, Callable[[Array, int, float], Links]] = {
    "granger": granger,
    "pcmci": pcmci,
    "network": network,
}
