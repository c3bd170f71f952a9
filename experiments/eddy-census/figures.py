"""The two figures, small and with the same bytes for the same numbers."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageColor

from agreement import Matches
from field import Array, Grid
from tiles import CONTOUR, OKUBO_WEISS, Eddy

ANOMALY_CM = (-40, -20, -10, -5, 5, 10, 20, 40)
PALE = ("#8fb0cf", "#b5cce0", "#d9e5ef", "#f8f8f8", "#f6e2d3", "#eec5ab", "#e3a587")
UNDER, OVER, LAND = "#6a93bd", "#d0835f", "#a8a8a8"
DARK = {1: "#b3001b", -1: "#0033b3"}
GREEN, BROWN = "#1b6e5a", "#b0631a"
COUNTS = (1, 3, 10, 30, 60, 100, 200)
NAMES = {1: "anticyclonic", -1: "cyclonic"}


class Verified(NamedTuple):
    """
    Eddies of one method and sign beside the catalogue's.

    Attributes:
        method: contour or okubo_weiss.
        sign: +1 anticyclonic, -1 cyclonic.
        eddies: the detections, sorted.
        detected: their latitude, longitude in degrees and radius in km, (n,) each.
        published: the same of the catalogue's eddies within the mask, (m,) each.
        entries: (m,) where these stand in the catalogue file.
        pairs: who matches whom.
    """

    method: str
    sign: int
    eddies: list[Eddy]
    detected: tuple[Array, Array, Array]
    published: tuple[Array, Array, Array]
    entries: NDArray[np.int64]
    pairs: Matches


def draw_map(path: Path, grid: Grid, verified: list[Verified], tropics_deg: float) -> None:
    """Draw the eddies of the contour method over the anomaly, and the catalogue's it missed."""
    figure = Figure(figsize=(10.4, 5.5), layout="constrained")
    axes = figure.subplots()
    colours = ListedColormap(PALE).with_extremes(bad=LAND, under=UNDER, over=OVER)
    image = axes.imshow(
        100.0 * grid.anomaly[::2, ::2],
        extent=(0, 360, -90, 90),
        origin="lower",
        cmap=colours,
        norm=BoundaryNorm(ANOMALY_CM, len(PALE)),
        interpolation="nearest",
        aspect="auto",
    )
    parts = [part for part in verified if part.method == CONTOUR]
    for part in parts:
        lat, lon, _ = part.detected
        label = f"detected, {NAMES[part.sign]} ({lat.size})"
        axes.plot(lon, lat, "s", color=DARK[part.sign], ms=1.5, mew=0, aa=False, label=label)
    missed = [np.delete(np.stack(p.published), p.pairs.published, axis=1) for p in parts]
    lat, lon, _ = np.concatenate(missed, axis=1)
    label = f"in the catalogue, not matched ({lat.size})"
    axes.plot(lon, lat, "x", color="black", ms=4, mew=0.8, aa=False, label=label)
    axes.text(205, 0, f"within {tropics_deg:g}° left out", fontsize=7, color="#666666", va="center")
    axes.set(xlim=(0, 360), ylim=(-80, 85), xlabel="longitude (°E)", ylabel="latitude (°N)")
    axes.set_xticks(range(0, 361, 60))
    axes.set_yticks(range(-60, 61, 30))
    axes.set_title("Eddies found by closed contours of sea level, 23 February 2019")
    figure.colorbar(
        image, ax=axes, extend="both", pad=0.01, label="sea level less large scales (cm)"
    )
    figure.legend(loc="outside lower center", ncols=3, markerscale=3, frameon=False)
    _save(figure, path, 100, (*PALE, UNDER, OVER, LAND, *DARK.values()))


def draw_agreement(path: Path, verified: list[Verified]) -> None:
    """Draw precision and recall per 10 degrees of latitude, and radii of matched pairs."""
    figure = Figure(figsize=(8.4, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    edges = np.arange(-80, 81, 10)
    for method, colour, name in ((CONTOUR, GREEN, "contours"), (OKUBO_WEISS, BROWN, "Okubo-Weiss")):
        parts = [p for p in verified if p.method == method]
        counts = [
            sum(np.histogram(latitude, edges)[0] for latitude in column)
            for column in (
                [p.detected[0][p.pairs.detected] for p in parts],
                [p.detected[0] for p in parts],
                [p.published[0][p.pairs.published] for p in parts],
                [p.published[0] for p in parts],
            )
        ]
        for found, total, line, score in (
            (counts[0], counts[1], "-", "precision"),
            (counts[2], counts[3], "--", "recall"),
        ):
            ratio = np.where(total >= 20, found / np.maximum(total, 1), np.nan)
            left.plot(edges[:-1] + 5, ratio, line, color=colour, label=f"{name}, {score}")
    left.set(xlim=(-80, 80), ylim=(0, 1), xlabel="latitude (°N)", ylabel="share matched")
    left.set_title("Agreement with the catalogue")
    left.legend(fontsize=7, loc="center", bbox_to_anchor=(0.5, 0.67), ncols=2, frameon=False)
    left.set_xticks(range(-60, 61, 30))
    pairs = [p for p in verified if p.method == CONTOUR]
    ours = np.concatenate([p.detected[2][p.pairs.detected] for p in pairs])
    theirs = np.concatenate([p.published[2][p.pairs.published] for p in pairs])
    bins = np.arange(10, 181, 5)
    grey = ListedColormap(("#dddddd", "#bbbbbb", "#999999", "#666666", "#333333", "#000000"))
    _, _, _, image = right.hist2d(
        theirs, ours, bins=[bins, bins], cmin=1, cmap=grey, norm=BoundaryNorm(COUNTS, grey.N)
    )
    right.plot([10, 180], [10, 180], color=BROWN, lw=1)
    right.set_xticks(range(20, 181, 40))
    right.set_yticks(range(20, 181, 40))
    right.set(xlabel="effective radius, catalogue (km)", ylabel="radius, contours (km)")
    right.set_title("Radii of matched eddies")
    figure.colorbar(image, ax=right, label="eddies per 5 km x 5 km")
    _save(figure, path, 90, (GREEN, BROWN, "#8db7ac", "#d8b18c"))


def _save(figure: Figure, path: Path, dpi: int, colours: tuple[str, ...]) -> None:
    """Write a PNG of the given colours and 16 greys, without dates or program names."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    entries = [*(f"#{grey:02x}{grey:02x}{grey:02x}" for grey in range(0, 256, 17)), *colours]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for entry in entries for channel in ImageColor.getrgb(entry)])
    picture = Image.open(buffer).convert("RGB")
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
