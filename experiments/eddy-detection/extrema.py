"""
The yardstick: what one gets without learning, from the highest and lowest points of the field.

Every cell higher (lower) than all around it is an anticyclone (cyclone), as wide and high as those
of the training part are in the median, and the more certain the larger its anomaly is.
"""

import torch
from torch.nn import functional

from examples import Examples
from network import STRIDE
from scores import Found

AROUND = 2  # cells on each side that an extremum is compared with


def extrema(train: Examples, test: Examples) -> Found:
    """
    Boxes around the extrema of the first channel.

    Args:
        train: for the size of the boxes.
        test: where boxes are wanted; the last channel says where there is a measurement.

    Returns:
        Boxes by class and image; scores are the anomaly's share of the largest one.
    """
    size = train.truth.boxes[:, 2:].median(dim=0).values
    counted = test.counted.repeat_interleave(STRIDE, 1).repeat_interleave(STRIDE, 2)
    parts = []
    for kind, sign in ((0, -1.0), (1, 1.0)):
        height = sign * test.images[:, 0]
        highest = functional.max_pool2d(height[:, None], 2 * AROUND + 1, 1, AROUND)[:, 0]
        image, row, col = torch.nonzero(
            (height == highest) & (height > 0) & counted & (test.images[:, -1] > 0), as_tuple=True
        )
        centre = torch.stack([col, row], dim=1) + 0.5
        boxes = torch.cat([centre, size.expand(len(centre), 2)], dim=1)
        parts.append(Found(image, torch.full_like(image, kind), boxes, height[image, row, col]))
    found = Found(*(torch.cat(column) for column in zip(*parts, strict=True)))
    return found._replace(scores=found.scores / found.scores.max())
