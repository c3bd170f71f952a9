"""
The training loop.

The order of the images, the changes made to them and the initial weights follow from the seed. A
batch is the same set of images for any number of ranks: each takes an equal share of it, so the
average of the ranks' gradients is the gradient of the batch, but for rounding.
"""

import math
import os
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from network import EddyNet, seeded
from ranks import Ranks
from samples import Dataset, SampleError, Samples, changed

WARM_UP = 0.15  # share of the steps in which the learning rate rises


class Settings(NamedTuple):
    """
    What may be chosen about a training.

    Attributes:
        epochs: times each image is seen, but for those left over from whole batches.
        batch: images of all ranks together in one step.
        learning_rate: the highest, of AdamW.
        weight_decay: of AdamW.
        width: feature maps of the network's first block.
        seed: of weights, order and changes.
    """

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    width: int
    seed: int


class Epoch(NamedTuple):
    """Mean cross-entropy per image in training and in the test afterwards, and test accuracy."""

    train_loss: float
    test_loss: float
    test_accuracy: float


class Trained(NamedTuple):
    """The model on every rank, the curve, and the test part's probabilities of an eddy, (n,)."""

    model: EddyNet
    curve: list[Epoch]
    probability: NDArray[np.float64]


def deterministic(threads: int) -> None:
    """
    Make PyTorch repeat itself on one machine.

    Args:
        threads: of a process; sums split over another number of threads are rounded otherwise.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(threads)


def train(dataset: Dataset, settings: Settings, ranks: Ranks) -> Trained:
    """
    Train a network; every rank calls this with the same data and settings.

    Raises:
        SampleError: a batch cannot be shared equally, or is larger than the training part.
    """
    count = dataset.train.labels.size
    if settings.batch % ranks.size:
        raise SampleError(f"a batch of {settings.batch} cannot be shared by {ranks.size} ranks")
    if settings.batch > count:
        raise SampleError(f"a batch of {settings.batch} is more than the {count} training images")
    model = seeded(settings.seed, len(dataset.channels), settings.width).to(ranks.device)
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    wrapped, optimizer = ranks.join(model, optimizer)
    per_epoch = count // settings.batch
    curve = []
    for epoch in range(settings.epochs):
        batches = shares(dataset, settings, epoch, ranks)
        total = torch.zeros((), dtype=torch.float64)
        for number, part in enumerate(batches, start=epoch * per_epoch):
            rate = settings.learning_rate * schedule(number / (per_epoch * settings.epochs))
            for group in optimizer.param_groups:
                group["lr"] = rate
            total += step(wrapped, optimizer, part, ranks)
        train_loss = float(ranks.sum(total)) / (per_epoch * ranks.size)
        curve.append(Epoch(train_loss, *judge(dataset.test, predict(model, dataset.test, ranks))))
    return Trained(model, curve, predict(model, dataset.test, ranks))


def shares(dataset: Dataset, settings: Settings, epoch: int, ranks: Ranks) -> list[Samples]:
    """This rank's share of each batch of an epoch."""
    part, batch = dataset.train, settings.batch
    rng = np.random.default_rng([settings.seed, epoch])
    order = rng.permutation(part.labels.size)
    chosen = rng.random((part.labels.size, len(dataset.symmetries))) < 0.5
    share = batch // ranks.size
    mine = []
    for first in range(ranks.rank * share, order.size // batch * batch, batch):
        index = order[first : first + share]
        images = changed(part.images[index], dataset.symmetries, chosen[index])
        mine.append(Samples(images, part.labels[index], {}))
    return mine


def step(model: nn.Module, optimizer: torch.optim.Optimizer, part: Samples, ranks: Ranks) -> float:
    """Learn from one share of a batch; returns its mean cross-entropy."""
    images = torch.from_numpy(part.images).to(ranks.device)
    labels = torch.from_numpy(part.labels).to(ranks.device, torch.float32)
    optimizer.zero_grad()
    loss = cross_entropy(model(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def schedule(progress: float) -> float:
    """Share of the highest learning rate: a linear rise, then half a cosine down to 0."""
    if progress < WARM_UP:
        return 0.05 + 0.95 * progress / WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP))


@torch.no_grad()
def predict(model: EddyNet, part: Samples, ranks: Ranks, batch: int = 512) -> NDArray[np.float64]:
    """Probability of an eddy in each image, (n,); the ranks share the work and all get all."""
    probability = torch.zeros(part.labels.size, dtype=torch.float64)
    mine = torch.arange(ranks.rank, part.labels.size, ranks.size)
    for index in mine.split(batch):
        images = torch.from_numpy(part.images[index.numpy()]).to(ranks.device)
        probability[index] = torch.sigmoid(model(images).double()).cpu()
    return np.asarray(ranks.sum(probability).numpy())


def judge(part: Samples, probability: NDArray[np.float64]) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    right = np.where(part.labels == 1, probability, 1.0 - probability)
    loss = -np.log(np.maximum(right, 1e-12)).mean()
    return float(loss), float(((probability >= 0.5) == (part.labels == 1)).mean())
