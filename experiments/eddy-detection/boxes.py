"""
Boxes: overlap, suppression of doubles, and how the head of the network writes them.

A box is (x, y, w, h), centre and size in cells of the input; x runs eastward along the columns and
y along the rows, in the order of the rows, and (0, 0) is the outer corner of the first cell.
"""

import torch
from torch import Tensor

# log w and log h beyond this are not sizes but accidents: e^4 = 55 strides
LARGEST_LOG = 4.0


def corners(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) as x0, y0, x1, y1."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """
    Intersection over union of boxes, pair by pair.

    Args:
        first: (..., 4) boxes; the leading dimensions are broadcast.
        second: (..., 4) boxes.

    Returns:
        (...) from 0 to 1; 0 for boxes without area.
    """
    a, b = corners(first), corners(second)
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = sides.clamp(min=0).prod(dim=-1)
    union = first[..., 2:].prod(dim=-1) + second[..., 2:].prod(dim=-1) - shared
    return shared / union.clamp(min=1e-9)


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """
    Greedy non-maximum suppression.

    The best box stays and all that overlap it by more than `threshold` go, then the best of the
    rest stays, and so on. Equal scores are taken in the order given.

    Args:
        boxes: (n, 4).
        scores: (n,).
        threshold: intersection over union from which on two boxes mean the same thing.

    Returns:
        Indices of the boxes that stay, best first.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    same = overlap(boxes[order, None], boxes[None, order]) > threshold
    free = torch.ones(len(order), dtype=torch.bool)
    kept = []
    for place in range(len(order)):
        if free[place]:
            kept.append(place)
            free &= ~same[place]
    return order[kept]


def encode(boxes: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """
    Write boxes as the head does.

    Args:
        boxes: (n, 4) cells, widths and heights positive.
        stride: cells of the input per cell of the head.

    Returns:
        Row and column (n, 2) of the head's cell that holds the centre, and (n, 4): dx and dy, the
        centre's place in that cell from 0 to 1, then log w and log h with the stride as the unit.
    """
    centre = boxes[:, :2] / stride
    cell = centre.floor()
    code = torch.cat([centre - cell, (boxes[:, 2:] / stride).log()], dim=1)
    return cell.flip(1).long(), code


def decode(code: Tensor, stride: int) -> Tensor:
    """
    Read boxes off the head; the inverse of `encode` on the whole grid.

    Args:
        code: (..., 4, rows, columns) of dx, dy, log w, log h.
        stride: cells of the input per cell of the head.

    Returns:
        (..., rows, columns, 4) boxes in cells of the input.
    """
    rows, columns = code.shape[-2:]
    y = torch.arange(rows, dtype=code.dtype, device=code.device)[:, None]
    x = torch.arange(columns, dtype=code.dtype, device=code.device)[None, :]
    dx, dy, width, height = code.unbind(dim=-3)
    sizes = [side.clamp(-LARGEST_LOG, LARGEST_LOG).exp() for side in (width, height)]
    return torch.stack([x + dx, y + dy, *sizes], dim=-1) * stride
