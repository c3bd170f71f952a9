"""The convolutional network: four layers in two blocks, then the mean over the image."""

import torch
from torch import Tensor, nn


class EddyNet(nn.Module):
    """
    Tells images with an eddy from those without, of any size from 4 x 4 pixels.

    There is no batch normalization: its statistics would depend on how a batch is split over ranks.
    """

    def __init__(self, channels: int, width: int) -> None:
        """
        Make the layers.

        Args:
            channels: of an image.
            width: feature maps of the first block; the second has twice as many.
        """
        super().__init__()
        self.features = nn.Sequential(
            *_layer(channels, width),
            *_layer(width, width),
            nn.MaxPool2d(2),
            *_layer(width, 2 * width),
            *_layer(2 * width, 2 * width),
        )
        self.head = nn.Linear(2 * width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logit of an eddy, (n,), of images (n, channel, row, column)."""
        maps = self.features(images)
        return self.head(maps.mean(dim=(2, 3))).squeeze(1)  # type: ignore[no-any-return]


def _layer(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()


def parameters(model: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(weight.numel() for weight in model.parameters())


def seeded(seed: int, channels: int, width: int) -> EddyNet:
    """A network with initial weights that the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EddyNet(channels, width)
