"""Small parts and folders of images with dark and bright discs, and a field with two eddies."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from examples import Examples, all_counted, table
from ranks import Ranks
from training import Plan, deterministic

SIDE = 32


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    deterministic(threads=1)


@pytest.fixture
def plan() -> Plan:
    """A training of seconds."""
    return Plan(
        epochs=6, batch=4, learning_rate=0.01, weight_decay=0.01, width=8, seed=3, exchange=True
    )


@pytest.fixture
def alone() -> Ranks:
    """This process alone."""
    return Ranks()


def disc(rng: np.random.Generator) -> tuple[NDArray[np.float64], int, list[float]]:
    """An image (SIDE, SIDE) from 0 to 1 with one disc, its class (0 dark, 1 bright) and its box."""
    kind, radius = int(rng.integers(2)), float(rng.uniform(3, 6))
    x, y = rng.uniform(8, SIDE - 8, 2)
    across = np.arange(SIDE) + 0.5
    inside = (across[None] - x) ** 2 + (across[:, None] - y) ** 2 < radius**2
    pixels = np.where(inside, 0.9 if kind else 0.1, 0.5) + rng.normal(0, 0.01, inside.shape)
    return pixels, kind, [x, y, 2 * radius, 2 * radius]


def discs(count: int, seed: int) -> Examples:
    """A part of `count` images with one disc each; a second channel says that all is measured."""
    rng = np.random.default_rng(seed)
    made = [disc(rng) for _ in range(count)]
    images = np.stack([[4 * (pixels - 0.5), np.ones_like(pixels)] for pixels, _, _ in made])
    return Examples(
        torch.from_numpy(images.astype(np.float32)),
        all_counted(count, (SIDE, SIDE)),
        table([(torch.tensor([k]), torch.tensor([box])) for _, k, box in made], (SIDE, SIDE)),
        ("dark", "bright"),
        tuple(f"disc {number}" for number in range(count)),
        torch.tensor([[0.0, 0.0, 1.0]] * count, dtype=torch.float64),
    )


@pytest.fixture
def parts() -> tuple[Examples, Examples]:
    """Training and test part."""
    return discs(16, 1), discs(8, 2)


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """A YOLO folder with 12 and 6 images; the last of each part is empty and has no label file."""
    rng = np.random.default_rng(5)
    for part, count in (("train", 12), ("test", 6)):
        (tmp_path / "images" / part).mkdir(parents=True)
        (tmp_path / "labels" / part).mkdir(parents=True)
        for number in range(count):
            pixels, kind, box = disc(rng)
            empty = number == count - 1
            grey = np.full_like(pixels, 0.5) if empty else pixels.clip(0, 1)
            image = Image.fromarray((255 * grey).astype(np.uint8))
            image.save(tmp_path / "images" / part / f"chip{number:02d}.png")
            if not empty:
                words = " ".join(f"{value / SIDE:.6f}" for value in box)
                label = tmp_path / "labels" / part / f"chip{number:02d}.txt"
                label.write_text(f"{kind} {words}\n")
    return tmp_path
