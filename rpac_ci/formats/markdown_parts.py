"""Pieces of Markdown: text as it is, blocks, tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def text(value: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    flat = " ".join(value.split())
    flat = re.sub(r"([\\`*_\[\]<>|#~!&])", r"\\\1", flat)
    # at the start these would make a list, a rule or a heading
    return re.sub(r"^([0-9]*)([-+=.)])(?=\s|[-=]*$)", r"\1\\\2", flat)


def fence(content: str) -> str:
    """A block of text as it is, whatever stands in it."""
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{content}\n{fence}"


def details(title: str, content: str) -> str:
    """Content that is folded away below its title."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def code(value: str) -> str:
    """Text inside single backticks and tables."""
    return " ".join(value.split()).replace("`", "'").replace("|", "\\|")
