"""How good the probabilities of an eddy are."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Metric = float | dict[str, float | str]


class Confusion(NamedTuple):
    """Counts of images: eddies found and missed, false alarms, and rightly none."""

    found: int
    missed: int
    false_alarms: int
    rightly_none: int


def confusion(labels: NDArray[np.int64], probability: NDArray[np.float64]) -> Confusion:
    """Count, taking 0.5 and more as an eddy."""
    said = probability >= 0.5
    is_eddy = labels == 1
    pairs = ((is_eddy, said), (is_eddy, ~said), (~is_eddy, said), (~is_eddy, ~said))
    return Confusion(*(int(np.count_nonzero(a & b)) for a, b in pairs))


def auc(labels: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    """
    Area under the ROC curve: how often an eddy gets the higher probability of a random pair.

    Returns:
        0 to 1, equal probabilities counting one half; NaN where one of the classes is missing.

    Source: Mann-Whitney U from mid-ranks.
    """
    _, place, ties = np.unique(probability, return_inverse=True, return_counts=True)
    rank = (np.cumsum(ties) - (ties - 1) / 2.0)[place]
    eddies = np.count_nonzero(labels == 1)
    others = labels.size - eddies
    if not eddies or not others:
        return float("nan")
    return float((rank[labels == 1].sum() - eddies * (eddies + 1) / 2.0) / (eddies * others))


def score(labels: NDArray[np.int64], probability: NDArray[np.float64]) -> dict[str, Metric]:
    """
    Accuracy, precision, recall, F1 and AUC, without unit, and the counts they come from.

    Returns:
        Rounded to 6 digits; precision, recall and F1 are 0 where they would be 0 / 0.
    """
    count = confusion(labels, probability)
    scores = {
        "accuracy": (count.found + count.rightly_none) / max(labels.size, 1),
        "precision": count.found / max(count.found + count.false_alarms, 1),
        "recall": count.found / max(count.found + count.missed, 1),
        "f1": 2 * count.found / max(2 * count.found + count.missed + count.false_alarms, 1),
        "auc": auc(labels, probability),
    }
    counts = {name: {"value": value, "unit": "images"} for name, value in count._asdict().items()}
    return {**{name: round(value, 6) for name, value in scores.items()}, **counts}
