"""
Training of one network by any number of ranks.

Every rank draws the same order and the same variations, takes its share of each batch and averages
the gradients with the others. A batch is the same set of images for any number of ranks; with more
of them the same sums are made in another order.
"""

import math
import os
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from examples import ExampleError, Examples, Mirror, take
from loss import Truth, detection_loss
from network import Detector
from ranks import Ranks

WARM_UP = 0.15  # share of the steps in which the learning rate rises


class Plan(NamedTuple):
    """
    What a training does.

    Attributes:
        epochs: times that the training part is gone through, but for what is left of whole batches.
        batch: images per step, of all ranks together.
        learning_rate: the highest, of AdamW.
        weight_decay: of AdamW.
        width: of the network.
        seed: of weights, order and variations.
        exchange: also change the sign of the field and exchange the two classes.
    """

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    width: int
    seed: int
    exchange: bool


def deterministic(threads: int) -> None:
    """
    Make PyTorch repeat itself on one machine.

    Args:
        threads: of each rank; sums that are split over another number are rounded otherwise.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is refused
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(threads)


def make_network(train: Examples, plan: Plan) -> Detector:
    """A network with initial weights that the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        return Detector(train.images.shape[1], len(train.names), plan.width)


def fit(
    network: Detector,
    parts: tuple[Examples, Examples],
    plan: Plan,
    ranks: Ranks,
    told: Callable[[int, float, float], None],
) -> None:
    """
    Train a network; every rank calls this with the same data and plan.

    Args:
        network: on the device of the rank; all ranks go on from the weights of rank 0.
        parts: training and test part; the test part is only looked at.
        plan: what to do.
        ranks: who shares the work.
        told: called after each epoch with its number from 1 and the loss per object of both parts.

    Raises:
        ExampleError: a batch cannot be shared equally or is larger than the training part.
    """
    train, test = parts
    steps = len(train.images) // plan.batch
    if plan.batch % ranks.size or not steps:
        raise ExampleError(
            f"batch: got {plan.batch}, expected a multiple of {ranks.size} (ranks) "
            f"and at most {len(train.images)} (training images)"
        )
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
    )
    model, optimizer = ranks.join(network, optimizer)
    for epoch in range(plan.epochs):
        told_by_ranks = torch.zeros(2, dtype=torch.float64)
        for number, (images, truth) in enumerate(shares(train, plan, epoch, ranks)):
            for group in optimizer.param_groups:
                progress = (epoch * steps + number) / (plan.epochs * steps)
                group["lr"] = plan.learning_rate * schedule(progress)
            optimizer.zero_grad()
            loss = batch_loss(model, images, truth, ranks.device)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            told_by_ranks += torch.tensor([loss.item() * len(images), len(truth.kind)])
        total, objects = ranks.sum(told_by_ranks).tolist()
        told(epoch + 1, total / max(objects, 1.0), part_loss(network, test, plan.batch, ranks))


def shares(train: Examples, plan: Plan, epoch: int, ranks: Ranks) -> list[tuple[Tensor, Truth]]:
    """This rank's share of each batch of an epoch."""
    generator = torch.Generator().manual_seed(plan.seed * 100_003 + epoch)
    order = torch.randperm(len(train.images), generator=generator)
    flips = torch.randint(0, 2, (3, len(order)), generator=generator)
    flips[2] *= int(plan.exchange)
    share = plan.batch // ranks.size
    mine = []
    for first in range(0, len(order) - plan.batch + 1, plan.batch):
        chosen = slice(first + ranks.rank * share, first + (ranks.rank + 1) * share)
        mine.append(take(train, order[chosen], Mirror(*flips[:, chosen])))
    return mine


def schedule(progress: float) -> float:
    """Share of the highest learning rate: a linear rise, then half a cosine down to 0."""
    if progress < WARM_UP:
        return 0.05 + 0.95 * progress / WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP))


def batch_loss(model: nn.Module, images: Tensor, truth: Truth, device: torch.device) -> Tensor:
    """Loss per image of a batch, on the device of the network."""
    return detection_loss(model(images.to(device)), Truth(*(part.to(device) for part in truth)))


@torch.no_grad()
def part_loss(network: Detector, part: Examples, batch: int, ranks: Ranks) -> float:
    """Loss per object of a part, which the ranks share."""
    total = torch.zeros(1, dtype=torch.float64)
    mine = torch.arange(ranks.rank, len(part.images), ranks.size)
    for first in range(0, len(mine), batch):
        chosen = mine[first : first + batch]
        images, truth = take(part, chosen)
        total += batch_loss(network, images, truth, ranks.device).item() * len(chosen)
    return float(ranks.sum(total)) / len(part.truth.kind)
