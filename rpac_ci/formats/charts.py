"""Small charts as SVG, equal for equal numbers: points over an axis, one panel for each metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

PANEL, HEIGHT, LEFT, TOP, BOTTOM = 260, 190, 62, 26, 40
_INK, _POINT, _MEAN = "#444", "#2a6f97", "#c1666b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One chart: its title, the axis below, and points as (x, y)."""

    title: str
    x_label: str
    points: Sequence[tuple[float, float]]
    ticks: Sequence[tuple[float, str]]  # of the axis below


def chart(panels: Sequence[Panel]) -> str:
    """Panels side by side."""
    width = PANEL * len(panels)
    body = "\n".join(_panel(panel, PANEL * n) for n, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" '
        f'viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="10" fill="{_INK}">\n'
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _panel(panel: Panel, offset: int) -> str:
    x_of = _Scale([x for x, _ in panel.points] + [x for x, _ in panel.ticks], LEFT, PANEL - 16)
    y_of = _Scale([y for _, y in panel.points], HEIGHT - BOTTOM, TOP)
    low, high = min(y for _, y in panel.points), max(y for _, y in panel.points)
    lines = [
        f'<g transform="translate({offset},0)">',
        f'<text x="{LEFT}" y="14" font-weight="bold">{escape(panel.title[:34])}</text>',
        f'<path d="M{LEFT - 6},{TOP - 6}V{HEIGHT - BOTTOM + 6}H{PANEL - 10}" fill="none" '
        f'stroke="{_INK}"/>',
        f'<text x="{(LEFT + PANEL) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(panel.x_label[:34])}</text>",
    ]
    lines += [
        f'<text x="{LEFT - 10}" y="{y_of(value) + 3:.1f}" text-anchor="end">{value:.4g}</text>'
        for value in sorted({low, high})
    ]
    lines += [
        f'<text x="{x_of(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
        f"{escape(label[:12])}</text>"
        for x, label in panel.ticks
    ]
    for x in sorted({x for x, _ in panel.points}):
        here = [y for at, y in panel.points if at == x]
        if len(here) < 2:  # a point is its own mean
            continue
        y = y_of(sum(here) / len(here))
        lines.append(
            f'<path d="M{x_of(x) - 7:.1f},{y:.1f}h14" stroke="{_MEAN}" stroke-width="1.5"/>'
        )
    lines += [
        f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3.5" fill="{_POINT}" '
        'fill-opacity="0.7"/>'
        for x, y in panel.points
    ]
    return "\n".join([*lines, "</g>"])


class _Scale:
    """Numbers -> pixels; equal numbers stand in the middle."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low, self._high = min(values), max(values)
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        span = self._high - self._low
        part = (value - self._low) / span if span else 0.5
        return self._start + part * (self._end - self._start)
