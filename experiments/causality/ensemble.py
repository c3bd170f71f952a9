"""
The two phases: votes of partitions, then votes of methods; and how far graphs agree.

Phase 1, for one method: a link stays when more than half of the partitions have it. Phase 2: a link
stays when more than half of the methods kept it.

Source: Guo, Huang, Wang (2021), Big Data Research 26, 100252: data ensemble, then method ensemble.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthetic import Array, Links

METHODS = ("granger", "pcmci", "network")  # of methods.py, whose libraries take seconds to load

Votes = NDArray[np.int64]


class Ensemble(NamedTuple):
    """
    What became of one series.

    Attributes:
        votes: method → (max_lag, n, n), number of partitions that have the link.
        graphs: method → the links that phase 1 kept.
        graph: the links that phase 2 kept.
    """

    votes: dict[str, Votes]
    graphs: dict[str, Links]
    graph: Links


class Scores(NamedTuple):
    """A graph against the true one; `shd` is the number of links too many and too few."""

    precision: float
    recall: float
    f1: float
    shd: int


def cut(values: Array, partitions: int) -> list[Array]:
    """Cut a series into stretches of consecutive steps, equal in length to within one step."""
    return np.array_split(values, partitions)


def majority(voters: list[Links]) -> Links:
    """Links that more than half of the voters have; of an even number, half is not enough."""
    return np.asarray(2 * np.sum(voters, axis=0) > len(voters))


def combine(found: dict[str, list[Links]]) -> Ensemble:
    """
    Run both phases.

    Args:
        found: method → the links of each partition.
    """
    votes = {
        method: np.asarray(np.sum(parts, axis=0, dtype=np.int64)) for method, parts in found.items()
    }
    graphs = {method: majority(parts) for method, parts in found.items()}
    return Ensemble(votes, graphs, majority(list(graphs.values())))


def score(found: Links, truth: Links) -> Scores:
    """Precision, recall, F1 and structural Hamming distance, lag by lag; 0 where undefined."""
    hits = int((found & truth).sum())
    wrong, missed = int((found & ~truth).sum()), int((truth & ~found).sum())
    precision = hits / (hits + wrong) if hits else 0.0
    recall = hits / (hits + missed) if hits else 0.0
    f1 = 2 * hits / (2 * hits + wrong + missed) if hits else 0.0
    return Scores(precision, recall, f1, wrong + missed)


def agreement(one: Links, other: Links) -> float:
    """Links in both over links in either (Jaccard index); 1 when neither has any."""
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 1.0
