"""The three figures, small and with the same bytes for the same numbers."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Rectangle
from PIL import Image, ImageColor

from pictures import Picture
from scores import Confusion
from training import Epoch

GREEN, BROWN, LAND = "#1b6e5a", "#b0631a", "#999999"
DISCS = {1: "#a01070", -1: "#006a50"}
DIVERGING = [to_hex(colour) for colour in colormaps["RdBu_r"](np.linspace(0.04, 0.96, 19))]
GREENS = [to_hex(colour) for colour in colormaps["Greens"](np.linspace(0.0, 0.9, 19))]


class Row(NamedTuple):
    """One row of examples: what they have in common, and each picture with its probability."""

    title: str
    right: bool
    pictures: list[tuple[Picture, float]]


def draw_confusion(path: Path, counts: Confusion, title: str) -> None:
    """Draw how many images of each kind were taken for what, and the share of their kind."""
    figure = Figure(figsize=(4.2, 3.9), layout="constrained")
    axes = figure.subplots()
    table = np.array(
        [[counts.found, counts.missed], [counts.false_alarms, counts.rightly_none]], dtype=float
    )
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1.0)
    axes.imshow(share, cmap=ListedColormap(GREENS), vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(table):
        text = f"{value:.0f}\n{100 * share[i, j]:.1f} %"
        colour = "white" if share[i, j] > 0.6 else "black"
        axes.text(j, i, text, ha="center", va="center", fontsize=14, color=colour)
    axes.set_xticks([0, 1], ["eddy", "none"])
    axes.set_yticks([0, 1], ["eddy", "none"], rotation=90, va="center")
    axes.set(xlabel="the network says", ylabel="the catalogue says")
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=10)
    _save(figure, path, 90)


def draw_training(path: Path, curve: list[Epoch], title: str) -> None:
    """Draw the cross-entropy of both parts and the accuracy in the test over the epochs."""
    figure = Figure(figsize=(7.6, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(curve) + 1)
    train_loss, test_loss, accuracy = np.array(curve).reshape(-1, 3).T
    marker = "o" if len(curve) < 40 else None
    left.plot(epochs, train_loss, color=BROWN, marker=marker, ms=3, label="training")
    left.plot(epochs, test_loss, color=GREEN, marker=marker, ms=3, label="test")
    left.axhline(np.log(2), color="#888888", lw=0.8, ls=":")
    left.text(
        epochs[-1], np.log(2), "guessing", ha="right", va="bottom", fontsize=8, color="#666666"
    )
    left.set(xlabel="epoch", ylabel="cross-entropy per image", ylim=(0, 0.8))
    left.legend(frameon=False, loc="lower left")
    right.plot(epochs, accuracy, color=GREEN, marker=marker, ms=3)
    right.axhline(0.5, color="#888888", lw=0.8, ls=":")
    right.annotate(
        f"{accuracy[-1]:.3f}", (epochs[-1], accuracy[-1]), (0, 7), textcoords="offset points",
        ha="right", color=GREEN,
    )  # fmt: skip
    right.set(xlabel="epoch", ylabel="accuracy in the test", ylim=(0.45, 1.0))
    figure.suptitle(title, fontsize=10)
    _save(figure, path, 90)


def draw_examples(path: Path, rows: list[Row], title: str, unit: str) -> None:
    """Draw rows of pictures on one colour scale, each with the probability of an eddy."""
    across = max(len(row.pictures) for row in rows)
    figure = Figure(figsize=(1.6 * across + 1.0, 1.85 * len(rows) + 0.7), layout="constrained")
    grid = figure.subplots(len(rows), across, squeeze=False)
    every = [picture for row in rows for picture, _ in row.pictures]
    limit = _limit(every)
    image = None
    for row, line in zip(rows, grid, strict=True):
        for axes in line:
            axes.set_axis_off()
        for (picture, probability), axes in zip(row.pictures, line, strict=False):
            image = _draw_picture(axes, picture, limit)
            colour = GREEN if row.right else BROWN
            axes.set_title(f"{picture.caption}   {probability:.2f}", fontsize=8, color=colour)
        line[0].text(
            -0.09, 0.5, row.title, transform=line[0].transAxes, rotation=90, ha="right",
            va="center", fontsize=10, color=GREEN if row.right else BROWN,
        )  # fmt: skip
    if image is not None:
        figure.colorbar(image, ax=grid, extend="both", aspect=45, pad=0.01, label=unit)
    if any(picture.discs for picture in every):
        _explain(figure)
    figure.suptitle(title, fontsize=11)
    _save(figure, path, 85)


def _explain(figure: Figure) -> None:
    """Say what the lines over the sea level are."""
    names = {1: "anticyclone of the catalogue", -1: "cyclone of the catalogue"}
    handles = [Line2D([], [], color=DISCS[sign], lw=1.4, label=names[sign]) for sign in names]
    handles.append(Line2D([], [], color="black", lw=1.6, label="what the network sees"))
    handles.append(Line2D([], [], color="#777777", lw=0.5, label="every 2 cm"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)


def _limit(pictures: list[Picture]) -> float:
    """Half width of a colour scale for what the network sees; the sea around may go beyond."""
    seen = []
    for picture in pictures:
        row, col, side = picture.inner
        seen.append(np.abs(picture.values[row : row + side, col : col + side]).ravel())
    return float(np.nanpercentile(np.concatenate(seen), 95)) or 1.0


def _draw_picture(axes: Axes, picture: Picture, limit: float) -> AxesImage:
    rows, cols = picture.values.shape
    origin = "lower" if picture.upwards else "upper"
    colours = ListedColormap(DIVERGING)
    image = axes.imshow(picture.values, colours, vmin=-limit, vmax=limit, origin=origin)
    axes.set_facecolor(LAND)
    axes.add_patch(Rectangle((-0.5, -0.5), cols, rows, color=LAND, zorder=-1))
    if picture.discs:
        levels = np.arange(-2 * (limit // 2), limit, 2.0)
        axes.contour(
            np.ma.masked_invalid(picture.values), levels, colors="#777777", linewidths=0.5,
            linestyles="solid",
        )  # fmt: skip
    for disc in picture.discs:
        centre, wide, high = (disc.col, disc.row), 2 * disc.half_cols, 2 * disc.half_rows
        axes.add_patch(Ellipse(centre, wide, high, fill=False, color=DISCS[int(disc.sign)], lw=1.4))
    row, col, side = picture.inner
    if side < rows:
        axes.add_patch(Rectangle((col - 0.5, row - 0.5), side, side, fill=False, lw=1.6))
    axes.set(xlim=(-0.5, cols - 0.5))
    axes.set_ylim((-0.5, rows - 0.5) if picture.upwards else (rows - 0.5, -0.5))
    return image


def _save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a PNG in the colours above and 16 greys, without dates or program names."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    greys = [f"#{grey:02x}{grey:02x}{grey:02x}" for grey in range(0, 256, 17)]
    entries = [*greys, GREEN, BROWN, *DISCS.values(), *DIVERGING, *GREENS]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for entry in entries for channel in ImageColor.getrgb(entry)])
    picture = Image.open(buffer).convert("RGB")
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
