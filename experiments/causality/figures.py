"""The figures, small and with the same bytes for the same numbers."""

import io
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from ensemble import Ensemble, agreement
from synthetic import Array, Links

GREEN, RED, GREY, BLUE = "#1b6e5a", "#b3001b", "#9a9a9a", "#23548f"
LABELS = {"granger": "Granger", "pcmci": "PCMCI", "network": "Bayesian\nnetwork"}
RADIUS = 0.2  # of a node's disc, where the nodes stand on a circle of radius 1
BEND = 0.16  # of an arrow, as a share of its length
WIDTH = 1.1  # of a line for each method that has the link


class Arrow(NamedTuple):
    """How the links between two variables are drawn."""

    cause: int
    effect: int
    text: str
    colour: str
    style: str = "-"
    width: float = 1.8


def draw_synthetic(path: Path, names: tuple[str, ...], truth: Links, found: Links) -> None:
    """Draw the true graph beside the found one, with what was missed and what is wrong."""
    figure = Figure(figsize=(8.4, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_graph(left, names, _arrows(truth, GREY))
    kinds = (
        (truth & found, GREEN, "-", "true and found"),
        (truth & ~found, GREY, ":", "true, not found"),
        (found & ~truth, RED, "-", "found, not true"),
    )
    _draw_graph(right, names, [a for k, c, s, _ in kinds for a in _arrows(k, c, s)])
    left.set_title(f"True graph, {truth.sum()} links (number: lag in steps)")
    right.set_title(f"Found by the ensemble, {found.sum()} links")
    handles = [
        Line2D([], [], color=colour, ls=style, lw=2, label=f"{text} ({links.sum()})")
        for links, colour, style, text in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    _save(figure, path)


def draw_graph_of_nature(
    path: Path,
    names: tuple[str, ...],
    series: tuple[Array, Array],
    edges: list[float],
    ensemble: Ensemble,
) -> None:
    """
    Draw a real series with its partitions, and the graph found in it.

    Args:
        path: file to write.
        names: of the variables.
        series: years (n,) and values (n, variables).
        edges: where partitions begin and end, years.
        ensemble: what was found.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    years, values = series
    for row, (name, one) in enumerate(zip(names, values.T, strict=True)):
        left.plot(years, one / 7 - row, color=BLUE, lw=0.6)
        left.axhline(-row, color="#dddddd", lw=0.6, zorder=0)
        left.text(years[0] - 0.8, -row, name, ha="right", va="center", fontsize=9)
    for number, (start, end) in enumerate(pairwise(edges), start=1):
        left.axvspan(start, end, color="#eef3f8" if number % 2 else "white", lw=0, zorder=-1)
        text = f"partition {number}" if len(edges) <= 7 else str(number)
        left.text((start + end) / 2, 0.62, text, ha="center", fontsize=8, color="#666666")
    left.set(xlim=(edges[0], edges[-1]), ylim=(0.6 - len(names), 0.8), yticks=[], xlabel="year")
    left.set_title("Monthly anomalies, standardised by calendar month")
    kept = np.sum(list(ensemble.graphs.values()), axis=0) * ensemble.graph
    arrows = [
        arrow._replace(width=WIDTH * kept[:, arrow.cause, arrow.effect].max())
        for arrow in _arrows(ensemble.graph, GREEN)
    ]
    _draw_graph(right, names, arrows)
    right.set_title("Links that most methods kept\n(number: lag in months; the truth is not known)")
    handles = [
        Line2D([], [], color=GREEN, lw=WIDTH * count, label=f"{count} of {len(LABELS)} methods")
        for count in range(len(LABELS) // 2 + 1, len(LABELS) + 1)
    ]
    right.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        ncols=2,
        frameon=False,
        fontsize=8,
    )
    _save(figure, path)


def draw_agreement(path: Path, datasets: dict[str, tuple[Ensemble, Links | None]]) -> None:
    """Draw how far the graphs of the methods agree, for each series, with the truth if known."""
    figure = Figure(figsize=(9.4, 4.6), layout="constrained")
    image = None
    for axes, (title, (ensemble, truth)) in zip(
        figure.subplots(1, len(datasets)), datasets.items(), strict=True
    ):
        graphs = {LABELS[name]: graph for name, graph in ensemble.graphs.items()}
        graphs["ensemble"] = ensemble.graph
        if truth is not None:
            graphs["truth"] = truth
        table = np.array([[agreement(a, b) for a in graphs.values()] for b in graphs.values()])
        image = axes.imshow(table, vmin=0, vmax=1, cmap="GnBu")
        for (row, column), value in np.ndenumerate(table):
            colour = "white" if value > 0.65 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
        labels = [f"{name}\n({graph.sum()} links)" for name, graph in graphs.items()]
        axes.set_xticks(range(len(graphs)), labels, fontsize=7.5)
        axes.set_yticks(range(len(graphs)), labels, fontsize=7.5)
        axes.tick_params(length=0)
        axes.set_title(f"{title} series")
    assert image is not None
    figure.colorbar(image, ax=figure.axes, shrink=0.8, label="links in both / links in either")
    _save(figure, path)


def _arrows(links: Links, colour: str, style: str = "-") -> list[Arrow]:
    """One arrow per cause and effect, with its lags as text."""
    pairs = sorted({(int(cause), int(effect)) for _, cause, effect in np.argwhere(links)})
    return [
        Arrow(cause, effect, ", ".join(map(str, np.flatnonzero(links[:, cause, effect]) + 1)),
              colour, style)
        for cause, effect in pairs
    ]  # fmt: skip


def _draw_graph(axes: Axes, names: tuple[str, ...], arrows: list[Arrow]) -> None:
    """Nodes on a circle, bent arrows between them, the lag on each arrow."""
    angle = np.pi / 2 - 2 * np.pi * np.arange(len(names)) / len(names)
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    drawn: Counter[tuple[int, int]] = Counter()
    for arrow in arrows:
        bend = BEND * (1 + 1.3 * drawn[arrow.cause, arrow.effect])  # a second one beside the first
        drawn[arrow.cause, arrow.effect] += 1
        start, end = places[arrow.cause], places[arrow.effect]
        way = end - start
        aside = np.array([way[1], -way[0]])  # to the right, so that two ways do not overlap
        middle = (start + end) / 2 + bend * aside
        start, end = (p + (RADIUS + 0.03) * _unit(middle - p) for p in (start, end))
        axes.annotate(
            "", end, start,
            arrowprops={
                "arrowstyle": "-|>,head_width=0.35,head_length=0.7",
                "connectionstyle": f"arc3,rad={bend}",
                "color": arrow.colour, "lw": arrow.width, "ls": arrow.style,
                "shrinkA": 0, "shrinkB": 0,
            },
        )  # fmt: skip
        middle = (start + end) / 2 + bend * np.array([(end - start)[1], -(end - start)[0]])
        spot = 0.4 * start + 0.46 * middle + 0.14 * end  # nearer the cause, where fewer lines cross
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        axes.text(*spot, arrow.text, color=arrow.colour, ha="center", va="center", bbox=box)
    for place, name in zip(places, names, strict=True):
        axes.scatter(*place, s=1500, color="white", edgecolors="black", linewidths=1.2, zorder=3)
        size = 12 if len(name) < 3 else 7.5
        axes.text(*place, name, ha="center", va="center", fontsize=size, zorder=4)
    axes.set(xlim=(-1.35, 1.35), ylim=(-1.3, 1.3), aspect="equal")
    axes.axis("off")


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.hypot(*vector))


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG of at most 64 colours, without dates or program names."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(
        buffer,
        format="png",
        dpi=100,
        bbox_inches="tight",
        pad_inches=0.1,
        metadata={"Software": None},
    )
    picture = Image.open(buffer).convert("RGB")
    picture.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
