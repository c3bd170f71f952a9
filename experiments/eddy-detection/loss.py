"""What training makes small: objectness, overlap of boxes, and class."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from boxes import corners, encode, overlap
from network import STRIDE, Head

IGNORED_FROM = 0.5  # overlap from which on an empty cell's box is not called wrong, as in YOLOv3
BOX_WEIGHT, KIND_WEIGHT = 2.0, 0.5


class Truth(NamedTuple):
    """
    True boxes of a batch.

    Attributes:
        image: (m,) number within the batch.
        kind: (m,) class.
        boxes: (m, 4) cells.
        counted: (n, rows, columns) cells of the head that belong to the tile's core.
    """

    image: Tensor
    kind: Tensor
    boxes: Tensor
    counted: Tensor


def detection_loss(head: Head, truth: Truth) -> Tensor:
    """
    Loss of a batch, per image, so that shards of equal size average to the loss of the whole.

    - objectness: cross entropy in all counted cells, except those without a centre whose box
      overlaps a true one by more than one half;
    - boxes: 1 - generalised intersection over union (Rezatofighi et al. 2019), in cells that
      hold a centre;
    - class: cross entropy, in the same cells.
    """
    place, _ = encode(truth.boxes, STRIDE)
    cells = (truth.image, place[:, 0], place[:, 1])
    wanted = torch.zeros_like(head.objectness)
    wanted[cells] = 1.0
    weight = truth.counted.to(wanted.dtype) * ~(_found(head, truth) & (wanted == 0))
    objectness = functional.binary_cross_entropy_with_logits(
        head.objectness, wanted, weight=weight, reduction="sum"
    )
    boxes = (1.0 - generalised_overlap(head.boxes[cells], truth.boxes)).sum()
    logits = head.kinds.permute(0, 2, 3, 1)[cells]
    kinds = functional.cross_entropy(logits, truth.kind, reduction="sum")
    return (objectness + BOX_WEIGHT * boxes + KIND_WEIGHT * kinds) / len(head.objectness)


@torch.no_grad()
def _found(head: Head, truth: Truth) -> Tensor:
    """(n, rows, columns) cells whose box overlaps a true one of the image."""
    found = torch.zeros_like(head.objectness, dtype=torch.bool)
    for image in range(len(found)):
        true = truth.boxes[truth.image == image]
        if len(true):
            shares = overlap(head.boxes[image].flatten(0, 1)[:, None], true[None])
            found[image] = (shares.max(dim=1).values > IGNORED_FROM).view(found[image].shape)
    return found


def generalised_overlap(first: Tensor, second: Tensor) -> Tensor:
    """
    Intersection over union less the share of the smallest common box that neither covers.

    Source: Rezatofighi et al. (2019), Generalized intersection over union, CVPR; -1 to 1.
    """
    a, b = corners(first), corners(second)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    share = overlap(first, second)
    both = (first[..., 2:].prod(-1) + second[..., 2:].prod(-1)) / (1.0 + share)  # the union
    return share - (hull - both) / hull.clamp(min=1e-9)
