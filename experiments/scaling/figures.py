"""The timeline: which worker ran which task when."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from timings import Span, lanes, running

GREY = "#8a8a8a"
MOST_LABELS = 32  # workers or tasks with a label of their own


def draw_timeline(
    path: Path, spans: Sequence[Span], edges: Sequence[float], summary: dict[str, Any]
) -> None:
    """
    Draw a lane for every worker with its tasks, and below how many ran at once.

    Args:
        path: PNG to write.
        spans: of all tasks.
        edges: when each round began, and when the last one ended.
        summary: of `timings.summarize`, for the title.
    """
    workers = lanes(spans)
    height = min(0.4 * len(workers), 8.0)
    figure = Figure(figsize=(9.0, 2.8 + height), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(height + 0.4, 1.2))
    rounds = len(edges) - 1
    colours = colormaps["viridis"].resampled(rounds + 1).colors[:rounds]
    for span in spans:
        lane, start, length = (
            workers.index(span.worker),
            span.start - edges[0],
            span.end - span.start,
        )
        above.barh(
            lane, length, left=start, height=0.8, color=colours[span.round], ec="white", lw=0.4
        )
        if length > 0.025 * (edges[-1] - edges[0]) and len(workers) <= MOST_LABELS:
            light = span.round < rounds / 2
            above.text(start + length / 2, lane, span.task, ha="center", va="center", fontsize=7,
                       color="white" if light else "black")  # fmt: skip
    for number, edge in enumerate(edges):
        for axes in (above, below):
            axes.axvline(edge - edges[0], color=GREY, lw=0.8, ls=":")
        if number < rounds and rounds <= MOST_LABELS:
            middle = (edge + edges[number + 1]) / 2 - edges[0]
            above.text(middle, -0.75, f"round {number + 1}", ha="center", fontsize=8, color=GREY)
    names = workers if len(workers) <= MOST_LABELS else [""] * len(workers)
    above.set_yticks(range(len(workers)), names, fontsize=8)
    above.set_ylim(len(workers) - 0.4, -1.0)
    above.set_title(
        f"{len(spans)} tasks on {len(workers)} workers ({summary['engine']}):"
        f" {summary['wall_s']:.1f} s, {100 * summary['busy_share']:.0f} % of it busy"
    )
    steps = [(edges[0], 0), *running(spans), (edges[-1], 0)]
    moments = [moment - edges[0] for moment, _ in steps]
    below.fill_between(moments, [count for _, count in steps], step="post", color="#9db8d2")
    below.set(ylim=(0, len(workers) * 1.1), ylabel="tasks at once", xlabel="time (s)")
    below.axhline(len(workers), color=GREY, lw=0.8)
    below.yaxis.get_major_locator().set_params(integer=True)
    below.set_xlim(0, edges[-1] - edges[0])
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=100, metadata={"Software": None})
