"""
How good detections are: matching with the true boxes, precision, recall, average precision.

Source: Everingham et al. (2010), The PASCAL Visual Object Classes (VOC) challenge, Int. J. Comput.
Vis. 88, 303-338, with average precision from all points of the curve, as VOC has it since 2010.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from boxes import overlap


class Found(NamedTuple):
    """
    Boxes of many images in one table, detections or true ones.

    Attributes:
        image: (n,) number of the image.
        kind: (n,) number of the class.
        boxes: (n, 4) in cells of the image.
        scores: (n,) from 0 to 1; ones for true boxes.
    """

    image: Tensor
    kind: Tensor
    boxes: Tensor
    scores: Tensor


class Curve(NamedTuple):
    """
    Precision and recall of one class as the score falls.

    Attributes:
        scores: (n,) of the detections, falling.
        precision: (n,) when all detections up to this one are taken.
        recall: (n,) likewise.
        truths: number of true boxes.
    """

    scores: Tensor
    precision: Tensor
    recall: Tensor
    truths: int


def match(found: Found, truth: Found, threshold: float) -> Tensor:
    """
    Say for each detection which true box it finds, of its image and class.

    In order of falling score, ties in the order given, a detection is compared with the true box
    it overlaps most. It finds it when the overlap reaches `threshold` and no better detection has
    found that box before; a second one for the same box is false.

    Returns:
        (n,) index of the true box, or -1.
    """
    result = torch.full((len(found.scores),), -1, dtype=torch.long)
    taken = torch.zeros(len(truth.scores), dtype=torch.bool)
    for number in torch.argsort(found.scores, descending=True, stable=True).tolist():
        alike = (truth.image == found.image[number]) & (truth.kind == found.kind[number])
        candidates = torch.nonzero(alike).flatten()
        if not len(candidates):
            continue
        shares = overlap(found.boxes[number], truth.boxes[candidates])
        best = int(candidates[shares.argmax()])
        if shares.max() >= threshold and not taken[best]:
            taken[best] = True
            result[number] = best
    return result


def curve(found: Found, matched: Tensor, truth: Found, kind: int) -> Curve:
    """
    Precision and recall of one class, detection by detection.

    Args:
        found: the detections.
        matched: (n,) what `match` says of them.
        truth: the true boxes.
        kind: the class.
    """
    mine = torch.nonzero(found.kind == kind).flatten()
    mine = mine[torch.argsort(found.scores[mine], descending=True, stable=True)]
    right = (matched[mine] >= 0).double().cumsum(0)
    taken = torch.arange(1, len(mine) + 1, dtype=torch.float64)
    truths = int((truth.kind == kind).sum())
    return Curve(found.scores[mine], right / taken, right / max(truths, 1), truths)


def average_precision(of: Curve) -> float:
    """
    Area under precision over recall, where precision is the best at that recall or a higher one.

    Returns:
        0 to 1; NaN when there is no true box.
    """
    if not of.truths:
        return float("nan")
    best = of.precision.flip(0).cummax(0).values.flip(0)
    steps = torch.diff(of.recall, prepend=torch.zeros(1, dtype=torch.float64))
    return float((best * steps).sum())


def at_score(of: Curve, least: float) -> tuple[float, float]:
    """Precision and recall when detections of at least the score `least` are taken; 0 for none."""
    taken = int((of.scores >= least).sum())
    if not taken:
        return 0.0, 0.0
    return float(of.precision[taken - 1]), float(of.recall[taken - 1])
