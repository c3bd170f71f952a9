"""A training in the report: seeds, hyper-parameters, data splits, the model, and its curves."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rpac_ci.formats.markdown_parts import code, details, table, text
from rpac_ci.quantities import count
from rpac_ci.training import TrainingRecord

CURVES = "figures/training.svg"
PANEL, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 380, 230, 64, 16, 30, 40
_INK, _PAPER = "#444", "white"
_COLOURS = ("#2a6f97", "#c1666b", "#6a994e", "#7b5ea7", "#b08968", "#4d908e", "#f3722c", "#577590")


def training_section(training: TrainingRecord | None, problem: str) -> str:
    """Markdown; empty when the command told nothing of a training."""
    if training is None:
        return f"## Training\n\n{text(problem)}" if problem else ""
    lines = ["## Training"]
    if training.curves:
        lines += ["", f"![training curves]({CURVES})"]
    if model := training.model:
        size = f", {count(model.parameters, 'parameter')}" if model.parameters is not None else ""
        lines += ["", f"Model `{code(model.path)}`{size}, SHA-256 `{model.sha256}`"]
    if training.splits:
        splits = [(text(n), str(s.count), f"`{s.sha256}`") for n, s in training.splits.items()]
        lines += ["", table(("Data", "Samples", "SHA-256"), splits)]
    told = [(f"seed of {name}", value) for name, value in training.seeds.items()]
    told += training.hyper_parameters.items()  # type: ignore[arg-type]
    if told:
        rows = [(text(str(name)), text(str(value))) for name, value in told]
        lines += ["", details("Seeds and hyper-parameters", table(("", "Value"), rows))]
    return "\n".join(lines)


def training_curves(training: TrainingRecord) -> str:
    """An SVG with one panel for each curve; equal records give equal bytes."""
    panels = list(training.curves.items())
    width = PANEL * len(panels)
    body = "\n".join(_panel(name, curve, PANEL * n) for n, (name, curve) in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" '
        f'viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="11" fill="{_INK}" '
        f'role="img" aria-label="training curves">\n'
        f'<rect width="{width}" height="{HEIGHT}" fill="{_PAPER}"/>\n{body}\n</svg>\n'
    )


def _panel(name: str, curve: dict[str, list[int | float | None]], offset: int) -> str:
    steps = curve["step"]
    series = {key: column for key, column in curve.items() if key != "step"}
    known = [y for column in series.values() for y in column if y is not None]
    xs = [x for x in steps if x is not None]
    x_low, x_high = (min(xs), max(xs)) if xs else (0, 0)
    y_low, y_high = (min(known), max(known)) if known else (0, 0)
    bottom, right = HEIGHT - BOTTOM, PANEL - RIGHT

    def at(x: float, y: float) -> str:
        across = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        up = (y - y_low) / (y_high - y_low) if y_high > y_low else 0.5
        return f"{LEFT + across * (right - LEFT):.1f},{bottom - up * (bottom - TOP):.1f}"

    parts = [
        f'<g transform="translate({offset},0)">',
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(name[:40])}</text>',
        f'<path d="M{LEFT},{TOP - 6}V{bottom}H{right}" fill="none" stroke="{_INK}"/>',
        f'<text x="{LEFT - 6}" y="{bottom + 3}" text-anchor="end">{y_low:.4g}</text>',
        f'<text x="{LEFT - 6}" y="{TOP + 4}" text-anchor="end">{y_high:.4g}</text>',
        f'<text x="{LEFT}" y="{bottom + 16}" text-anchor="middle">{x_low:g}</text>',
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{x_high:g}</text>',
        f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">step</text>',
    ]
    names = []
    for number, (label, column) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [at(x, y) for x, y in zip(steps, column, strict=True) if None not in (x, y)]  # type: ignore[arg-type]
        parts += _line(points, colour)
        names.append(f'<tspan fill="{colour}" dx="8">{escape(label[:24])}</tspan>')
    # above the lines, where none of them can be in the way
    parts.append(f'<text x="{right}" y="16" text-anchor="end">{"".join(names)}</text>')
    return "\n".join([*parts, "</g>"])


def _line(points: Sequence[str], colour: str) -> list[str]:
    """A line through points; a single one is a dot."""
    if len(points) == 1:
        x, y = points[0].split(",")
        return [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>']
    line = " ".join(points)
    return [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"/>']
