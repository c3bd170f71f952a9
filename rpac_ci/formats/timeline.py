"""The phases of a run as a small SVG: readable on light and dark pages, equal bytes every time."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rpac_ci.quantities import format_duration
from rpac_ci.records import Phase

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 760, 110, 90, 22, 30
_COLOURS = {"step": "#4c78a8", "node": "#72b7b2", "command": "#f58518"}


def timeline(phases: Sequence[Phase], *, title: str) -> str:
    """An SVG with one bar for each phase, in the order of their start."""
    ordered = sorted(phases, key=lambda phase: (phase.start_s, phase.inside is not None))
    total = max((p.start_s + p.duration_s for p in ordered), default=0.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / total
    height = _TOP + _ROW * len(ordered) + 28
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12" role="img" '
        f'aria-label="{escape(title)}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="18" font-weight="bold" fill="#222">{escape(title)}</text>',
    ]
    for tick in _ticks(total):
        x = _LEFT + tick * scale
        bottom = _TOP + _ROW * len(ordered)
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="#555">'
            f"{tick:g} s</text>"
        )
    for row, phase in enumerate(ordered):
        kind = "command" if phase.name == "command" else "node" if phase.inside else "step"
        y = _TOP + row * _ROW
        x, width = _LEFT + phase.start_s * scale, max(1.0, phase.duration_s * scale)
        indent = 20 if phase.inside else 8
        parts += [
            f'<text x="{indent}" y="{y + 15}" fill="#222">{escape(phase.name)}</text>',
            f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="14" rx="2" '
            f'fill="{_COLOURS[kind]}"/>',
            f'<text x="{x + width + 5:.1f}" y="{y + 15}" fill="#222">'
            f"{format_duration(phase.duration_s)}</text>",
        ]
    return "\n".join([*parts, "</svg>", ""])


def _ticks(total: float) -> list[float]:
    """Round numbers from 0 up, at most seven."""
    step = 0.001
    for factor in (2.0, 2.5, 2.0) * 12:
        if total / step <= 6:
            break
        step = round(step * factor, 3)
    return [round(n * step, 3) for n in range(int(total / step) + 1)]
