"""The two figures, with the same bytes for the same numbers."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bands import Array
from dataset import FEATURES
from scores import Result

NONE, SEA, WATER, ICE = "#dddddd", "#31588a", "#f2b84b", "#bfe3f2"


def draw_scores(
    path: Path, results: dict[str, Result], importance: dict[str, Array], data: str
) -> None:
    """Draw for each retrieval its confusion matrix and what the forest looked at."""
    figure = Figure(figsize=(8.4, 6.4), layout="constrained")
    axes = figure.subplots(2, 2, width_ratios=(1, 2))
    names = {"mask": ("clear", "cloud"), "phase": ("liquid", "ice")}
    for row, (name, result) in zip(axes, results.items(), strict=True):
        _matrix(row[0], result.confusion, names[name])
        row[0].set_title(f"{name}, {data}")
        row[1].bar(range(len(FEATURES)), importance[name], color=SEA)
        row[1].set_xticks(range(len(FEATURES)), FEATURES, rotation=70, fontsize=7)
        row[1].set(ylabel="share", title=f"decrease of entropy by feature, {data}")
    _save(figure, path)


def draw_scene(path: Path, classes: NDArray[np.int8], probability: Array, data: str) -> None:
    """Draw one retrieved scene in the order of lines and pixels; see `product` for the classes."""
    figure = Figure(figsize=(6.4, 7.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colours = ListedColormap([NONE, SEA, WATER, ICE])
    image = left.imshow(
        classes, cmap=colours, norm=BoundaryNorm(range(-1, 4), 4), interpolation="nearest"
    )
    bar = figure.colorbar(image, ax=left, ticks=[-0.5, 0.5, 1.5, 2.5], location="bottom")
    bar.set_ticklabels(["masked", "clear", "liquid", "ice"])
    left.set(title=f"retrieval, {data}", xlabel="pixel", ylabel="line")
    shown = np.where(classes < 0, np.nan, probability)
    image = right.imshow(shown, cmap="Greys_r", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=right, location="bottom", label="probability of cloud")
    right.set(title=data, xlabel="pixel")
    _save(figure, path)


def _matrix(axes: Axes, counts: NDArray[np.int64], names: tuple[str, str]) -> None:
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for truth in (0, 1):
        for said in (0, 1):
            colour = "white" if share[truth, said] > 0.5 else "black"
            text = f"{counts[truth, said]}\n{share[truth, said]:.1%}"
            axes.text(said, truth, text, ha="center", va="center", color=colour)
    axes.set_xticks((0, 1), names)
    axes.set_yticks((0, 1), names)
    axes.set(xlabel="retrieved", ylabel="lidar")


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG without dates or program names."""
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=80, metadata={"Software": None})
