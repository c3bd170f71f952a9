"""What the network sees, wherever it comes from: images, labels, and what is known of each."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


class SampleError(Exception):
    """The data cannot make the samples that were asked for."""


class Samples(NamedTuple):
    """
    One part of the data, training or test.

    Attributes:
        images: (n, channel, row, column) float32; the last channel is 1 where there is a value
            and 0 where there is none (land, no data). The other channels are 0 there.
        labels: (n,) 1 with an eddy, 0 without.
        about: name -> (n,) column of what is known of each sample, for predictions.csv.
    """

    images: Images
    labels: NDArray[np.int64]
    about: dict[str, NDArray[np.generic]]

    def contents(self) -> Iterator[bytes]:
        """Bytes of each image with its label, in order: what a hash of the part is made of."""
        for image, label in zip(self.images, self.labels, strict=True):
            yield image.tobytes() + bytes([int(label)])


class Symmetry(NamedTuple):
    """
    A change of an image that does not change its label.

    Attributes:
        axis: the axis of (n, channel, row, column) that is mirrored, or None.
        signs: (channel,) factor of each channel.
    """

    axis: int | None
    signs: tuple[int, ...]


class Dataset(NamedTuple):
    """
    Training and test part, standardized alike.

    Attributes:
        train: to learn from.
        test: to be judged by; nothing of it was used to prepare `train`.
        channels: names of the channels with their unit before they were standardized.
        scales: (channel,) standard deviation in the training part, in that unit.
        symmetries: changes that training may make to an image.
        sort: one line on what the images are, for titles.
    """

    train: Samples
    test: Samples
    channels: tuple[str, ...]
    scales: NDArray[np.float64]
    symmetries: tuple[Symmetry, ...]
    sort: str


def standardize(
    train: Samples, test: Samples, channels: tuple[str, ...], *, centre: bool
) -> tuple[Samples, Samples, NDArray[np.float64]]:
    """
    Divide each channel by its standard deviation in the training part.

    Args:
        train: with values in the units of `channels`; the last channel is the mask.
        test: likewise.
        channels: names, mask included.
        centre: subtract the training part's mean, too.

    Returns:
        Both parts, where every channel is still 0 outside the mask, and the standard deviations.
    """
    valid = train.images[:, -1] > 0
    scales, means = np.ones(len(channels)), np.zeros(len(channels))
    for k in range(len(channels) - 1):
        values = train.images[:, k][valid].astype(np.float64)
        scales[k] = values.std() or 1.0
        means[k] = values.mean() if centre else 0.0

    def apply(part: Samples) -> Samples:
        images = part.images - means[:, None, None] * (part.images[:, -1:] > 0)
        return part._replace(images=(images / scales[:, None, None]).astype(np.float32))

    return apply(train), apply(test), scales


def changed(images: Images, symmetries: tuple[Symmetry, ...], chosen: NDArray[np.bool_]) -> Images:
    """
    Apply to each image the symmetries chosen for it.

    Args:
        images: (n, channel, row, column).
        symmetries: those there are.
        chosen: (n, symmetry).
    """
    for k, (axis, signs) in enumerate(symmetries):
        mirrored = images if axis is None else np.flip(images, axis)
        other = mirrored * np.array(signs, dtype=np.float32)[:, None, None]
        images = np.where(chosen[:, k, None, None, None], other, images)
    return images
