"""
Random forests whose trees are fitted one by one, each from its own seed.

A tree depends on the data and its seed alone, and trees are kept and averaged in the order of their
numbers. So neither the blocks in which they were fitted nor who fitted them can be seen.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from bands import Array


class Forest(NamedTuple):
    """Trees for two classes, 0 and 1."""

    trees: tuple[DecisionTreeClassifier, ...]

    def probability(self, features: NDArray[np.float32]) -> Array:
        """Probability of class 1: the mean over the trees of the share in the leaf."""
        total = np.zeros(len(features))
        for tree in self.trees:
            total += tree.predict_proba(features, check_input=False)[:, 1]
        return total / len(self.trees)

    def importance(self) -> Array:
        """Share of each feature in the decrease of entropy, mean over the trees."""
        return np.asarray(np.mean([tree.feature_importances_ for tree in self.trees], axis=0))


def tree_seeds(seed: int, forest: int, trees: int) -> list[int]:
    """Seeds of the trees of a forest (1 mask, 2 phase); more trees leave the first ones alone."""
    return [
        int(np.random.SeedSequence(seed, spawn_key=(forest, tree)).generate_state(1)[0])
        for tree in range(trees)
    ]


def fit_trees(
    features: NDArray[np.float32], classes: NDArray[np.int8], seeds: list[int], depth: int
) -> list[DecisionTreeClassifier]:
    """
    Fit one tree per seed, as a random forest does.

    Args:
        features: (n, 19).
        classes: (n,), 0 or 1, both present.
        seeds: each for the bootstrap sample and for the features that a split may look at.
        depth: largest depth.
    """
    fitted = []
    for seed in seeds:
        single = RandomForestClassifier(
            1, criterion="entropy", max_depth=depth, max_features="sqrt", random_state=seed
        )
        fitted.append(single.fit(features, classes).estimators_[0])
    return fitted


def blocks(seeds: list[int], number: int) -> list[list[int]]:
    """Cut seeds into at most `number` blocks of nearly equal size, in order."""
    number = min(number, len(seeds))
    edges = [len(seeds) * block // number for block in range(number + 1)]
    return [seeds[start:end] for start, end in pairwise(edges)]
