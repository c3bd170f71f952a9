"""What the network learns from and is judged by: images, and the boxes of what is in them."""

from typing import NamedTuple

import torch
from torch import Tensor

from loss import Truth
from network import STRIDE
from scores import Found


class ExampleError(Exception):
    """The data cannot make the examples that were asked for."""


class Examples(NamedTuple):
    """
    One part of the data, training or test.

    Attributes:
        images: (n, channel, row, column) float32, all of one size, sides even. Where a channel is
            no measurement but says where there is one, it is the last.
        counted: (n, row / 2, column / 2) cells of the head whose answer counts.
        truth: true boxes, all with their centre in a counted cell; see `Found`.
        names: of the classes.
        origins: (n,) what each image is called: a file, or the place of a tile.
        frames: (n, 3) float64, the x and y of an image's first corner and the side of a cell, in
            the unit of the results: degrees east and north, or shares of the image.
    """

    images: Tensor
    counted: Tensor
    truth: Found
    names: tuple[str, ...]
    origins: tuple[str, ...]
    frames: Tensor

    def contents(self) -> list[bytes]:
        """Bytes of each image with its boxes, in order: what a hash of the part is made of."""
        return [
            b"".join(
                part.numpy().tobytes()
                for part in (
                    self.images[number],
                    self.counted[number],
                    self.truth.kind[self.truth.image == number],
                    self.truth.boxes[self.truth.image == number],
                )
            )
            for number in range(len(self.images))
        ]


class Mirror(NamedTuple):
    """
    How an example is varied: each is (n,) of zeros and ones.

    Attributes:
        east_west: mirror the columns.
        north_south: mirror the rows.
        sign: change the sign of all channels but the last and exchange the two classes.
    """

    east_west: Tensor
    north_south: Tensor
    sign: Tensor


def take(examples: Examples, chosen: Tensor, mirror: Mirror | None = None) -> tuple[Tensor, Truth]:
    """
    Make a batch.

    Args:
        examples: where it comes from.
        chosen: (n,) numbers of the images.
        mirror: how the chosen ones are varied, by their place in the batch; None for as they are.

    Returns:
        Images (n, channel, row, column) and their true boxes.
    """
    images, counted = examples.images[chosen].clone(), examples.counted[chosen].clone()
    image, entry = torch.nonzero(chosen[:, None] == examples.truth.image, as_tuple=True)
    kind, boxes = examples.truth.kind[entry], examples.truth.boxes[entry].clone()
    if mirror is not None:
        for axis, flips in ((3, mirror.east_west.bool()), (2, mirror.north_south.bool())):
            images[flips] = images[flips].flip(axis)
            counted[flips] = counted[flips].flip(axis - 1)
            moved, place = flips[image], 3 - axis
            boxes[moved, place] = images.shape[axis] - boxes[moved, place]
        signs = mirror.sign.bool()
        images[signs, :-1] *= -1.0
        kind = torch.where(signs[image], 1 - kind, kind)
    return images, Truth(image, kind, boxes, counted)


def table(parts: list[tuple[Tensor, Tensor]], side: tuple[int, int]) -> Found:
    """
    Join the true boxes of all images.

    Args:
        parts: per image, classes (m,) and boxes (m, 4).
        side: rows and columns of the images; centres are kept within them.
    """
    image = torch.repeat_interleave(
        torch.arange(len(parts)), torch.tensor([len(kind) for kind, _ in parts], dtype=torch.long)
    )
    kind = torch.cat([kind for kind, _ in parts])
    boxes = torch.cat([boxes for _, boxes in parts]).clone()
    boxes[:, 0].clamp_(0.0, side[1] - 1e-3)
    boxes[:, 1].clamp_(0.0, side[0] - 1e-3)
    return Found(image, kind.long(), boxes.float(), torch.ones(len(kind)))


def all_counted(count: int, side: tuple[int, int]) -> Tensor:
    """A mask for images that count as a whole."""
    return torch.ones(count, side[0] // STRIDE, side[1] // STRIDE, dtype=torch.bool)
