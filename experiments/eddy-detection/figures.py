"""What a person looks at: found and true boxes, precision over recall, the course of training."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from scores import Curve

Array = NDArray[np.float64]

COLOURS = ("#0b3fb5", "#c1121f", "#1b7f4d", "#8a5a00", "#6a3d9a")
LAND, COAST = "#d0d0d0", "#6e6e6e"
TRAIN, TEST = "#333333", "#d97706"
SEA_CM = 60.0


class Drawn(NamedTuple):
    """
    Boxes to draw.

    Attributes:
        corners: (n, 4) x0, y0, x1, y1 in the units of the axes.
        kind: (n,) class.
    """

    corners: Array
    kind: NDArray[np.int64]


def draw_region(
    path: Path,
    field: tuple[Array, Array, Array],
    region: tuple[float, float, float, float],
    truth: Drawn,
    found: Drawn,
    title: str,
) -> None:
    """
    Draw the boxes of a part of the sea over its height.

    Args:
        path: of the PNG.
        field: longitude (lon,) and latitude (lat,) in degrees, height less its large scales
            (lat, lon) in m, NaN on land.
        region: west, east, south, north, degrees.
        truth: boxes of the catalogue, degrees.
        found: boxes of the detector, degrees.
        title: above.
    """
    lon, lat, height = field
    west, east, south, north = region
    rows = (lat > south - 1) & (lat < north + 1)
    cols = (lon > west - 1) & (lon < east + 1)
    part = 100.0 * height[np.ix_(rows, cols)]
    figure = Figure(figsize=(10.0, 7.0), layout="constrained")
    axes = figure.subplots()
    image = axes.pcolormesh(
        lon[cols], lat[rows], np.ma.masked_invalid(part), cmap="RdBu_r", alpha=0.4,
        vmin=-SEA_CM, vmax=SEA_CM, shading="nearest", rasterized=True,
    )  # fmt: skip
    land = np.isnan(part).astype(float)
    if land.any():
        axes.contourf(lon[cols], lat[rows], land, levels=[0.5, 1.5], colors=[LAND])
        axes.contour(lon[cols], lat[rows], land, levels=[0.5], colors=COAST, linewidths=1.0)
    _boxes(axes, truth, dashed=True)
    _boxes(axes, found, dashed=False)
    axes.set(xlim=(west, east), ylim=(south, north), title=title)
    axes.set(xlabel="longitude (°E)", ylabel="latitude (°N)")
    axes.locator_params(steps=(1, 5, 10))
    axes.set_aspect(1.0 / np.cos(np.radians((south + north) / 2.0)))
    figure.colorbar(
        image, ax=axes, extend="both", shrink=0.8, label="sea level less large scales (cm)"
    )
    _legend(figure, ("cyclonic", "anticyclonic"), coast=True)
    _save(figure, path, 100)


def draw_images(
    path: Path, images: list[Array], truth: list[Drawn], found: list[Drawn], names: tuple[str, ...]
) -> None:
    """
    Draw the boxes of some images of a folder.

    Args:
        path: of the PNG.
        images: one channel each, (rows, columns).
        truth: true boxes per image, as shares of it.
        found: boxes of the detector per image.
        names: of the classes.
    """
    figure = Figure(figsize=(9.6, 6.8), layout="constrained")
    grid = figure.subplots(2, 3, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    low, high = min(image.min() for image in images), max(image.max() for image in images)
    for axes, image, true, detected in zip(grid, images, truth, found, strict=False):
        axes.imshow(
            image, cmap="Greys_r", vmin=low, vmax=high, extent=(0, 1, 1, 0), interpolation="nearest"
        )
        _boxes(axes, true, dashed=True)
        _boxes(axes, detected, dashed=False)
    _legend(figure, names, coast=False)
    _save(figure, path, 90)


def draw_curves(
    path: Path, curves: dict[str, Curve], precisions: dict[str, float], least: float
) -> None:
    """Draw precision over recall of each class, with the point where the score is `least`."""
    figure = Figure(figsize=(6.0, 4.6), layout="constrained")
    axes = figure.subplots()
    for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
        recall, precision = curve.recall.numpy(), curve.precision.numpy()
        label = f"{name}, AP {precisions[name]:.3f} ({curve.truths} true boxes)"
        axes.plot(recall, precision, color=colour, lw=1.6, label=label)
        taken = int((curve.scores >= least).sum())
        if taken:
            axes.plot(recall[taken - 1], precision[taken - 1], "o", color=colour, ms=7)
    axes.plot([], [], "o", color="#555555", ms=7, label=f"score {least:g}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title("Found: boxes that overlap a true one by one half or more", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", frameon=False)
    _save(figure, path, 90)


def draw_training(path: Path, losses: list[tuple[float, float]]) -> None:
    """Draw the loss of the training and of the test part, epoch by epoch."""
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    epochs = np.arange(1, len(losses) + 1)
    for place, (colour, name) in enumerate(((TRAIN, "training part"), (TEST, "test part"))):
        values = [pair[place] for pair in losses]
        axes.plot(epochs, values, color=colour, lw=1.6, label=name)
    axes.set(xlabel="epoch", ylabel="loss per object", title="Training")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, path, 90)


def _boxes(axes: Axes, drawn: Drawn, *, dashed: bool) -> None:
    x0, y0, x1, y1 = drawn.corners.reshape(-1, 4).T
    outlines = np.stack(
        [np.stack(pair, axis=-1) for pair in ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))],
        axis=1,
    )
    colours = [COLOURS[kind % len(COLOURS)] for kind in drawn.kind]
    style = (0, (3.0, 2.0)) if dashed else "solid"
    lines = LineCollection(list(outlines), colors=colours, linestyles=[style], linewidths=1.2)
    axes.add_collection(lines)


def _legend(figure: Figure, names: tuple[str, ...], *, coast: bool) -> None:
    entries = [
        Line2D([], [], color=COLOURS[kind % len(COLOURS)], ls=style, label=f"{name}, {what}")
        for kind, name in enumerate(names)
        for what, style in (("true", (0, (3.0, 2.0))), ("found", "solid"))
    ]
    if coast:
        entries.append(Line2D([], [], color=COAST, label="coast"))
    figure.legend(handles=entries, loc="outside lower center", ncols=5, frameon=False)


def _save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a PNG of at most 255 colours, without dates or program names."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    picture = Image.open(buffer).convert("RGB")
    picture.quantize(255, dither=Image.Dither.NONE).save(path, format="png", optimize=True)
