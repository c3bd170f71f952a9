"""
The detector: a small convolutional backbone and one head on a grid, after YOLO.

Redmon, Divvala, Girshick, Farhadi (2016), You only look once: unified, real-time object detection,
CVPR, for one pass and one grid; Redmon and Farhadi (2018), YOLOv3, for the logarithmic sizes.
Groups are normalised instead of batches (Wu and He 2018), so that a tile's result does not
depend on which others are in its batch or on how many ranks share it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from boxes import decode

STRIDE = 2
DILATIONS = (1, 2, 4, 1)
GROUPS = 4
PRIOR = 0.02  # share of the head's cells that hold an eddy, roughly: where objectness starts


class Head(NamedTuple):
    """
    What the network says of a batch of images; rows and columns are those of the head's grid.

    Attributes:
        objectness: (n, rows, columns) logits.
        boxes: (n, rows, columns, 4) in cells of the input.
        kinds: (n, classes, rows, columns) logits.
    """

    objectness: Tensor
    boxes: Tensor
    kinds: Tensor


class Residual(nn.Module):
    """Two convolutions around a shortcut; the first looks further by its dilation."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(n, width, rows, columns) to the same shape."""
        return nn.functional.silu(features + self.layers(features))


class Detector(nn.Module):
    """
    The network.

    Args:
        channels: of the images.
        classes: number of kinds of objects.
        width: channels at full resolution, a multiple of 4; twice as many behind the stride.
    """

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=STRIDE, padding=1, bias=False),
            nn.GroupNorm(GROUPS, 2 * width),
            nn.SiLU(),
            *(Residual(2 * width, dilation) for dilation in DILATIONS),
        )
        self.head = nn.Conv2d(2 * width, 5 + classes, 1)
        start = torch.zeros(5 + classes)
        start[0] = torch.logit(torch.tensor(PRIOR))
        self.head.bias = nn.Parameter(start)

    def forward(self, images: Tensor) -> Head:
        """Images (n, channels, rows, columns), sides even, to what there is in them."""
        raw = self.head(self.backbone(images))
        code = torch.cat([raw[:, 1:3].sigmoid(), raw[:, 3:5]], dim=1)
        return Head(raw[:, 0], decode(code, STRIDE), raw[:, 5:])
