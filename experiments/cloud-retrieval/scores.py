"""How good probabilities of class 1 are against labels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, confusion_matrix, f1_score, roc_auc_score

from bands import Array


class Result(NamedTuple):
    """Labels of the test pixels, 0 or 1, and the probability of 1."""

    truth: NDArray[np.int8]
    probability: Array

    @property
    def predicted(self) -> NDArray[np.int8]:
        """Class 1 from one half on."""
        return (self.probability >= 0.5).astype(np.int8)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Number of pixels, (truth, predicted)."""
        return np.asarray(confusion_matrix(self.truth, self.predicted, labels=[0, 1]))


def score(result: Result) -> dict[str, float]:
    """
    Scores of a two-class retrieval.

    `recall_0` and `recall_1` are the shares of each true class that was found. `majority` is the
    accuracy of always saying the more frequent class.
    """
    counts = result.confusion
    per_class = counts.diagonal() / np.maximum(counts.sum(axis=1), 1)
    values = {
        "accuracy": counts.trace() / counts.sum(),
        "f1": f1_score(result.truth, result.predicted, average="macro"),
        "brier": brier_score_loss(result.truth, result.probability),
        "roc_auc": roc_auc_score(result.truth, result.probability),
        "recall_0": per_class[0],
        "recall_1": per_class[1],
        "majority": counts.sum(axis=1).max() / counts.sum(),
    }
    return {name: round(float(value), 6) for name, value in values.items()}
