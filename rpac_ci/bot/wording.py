"""How the bot writes values, and what people, experiments and jobs have written. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from rpac_ci.github.limits import mention_safe
from rpac_ci.quantities import format_usd


def quiet(value: str) -> str:
    """Text of others, without effect: no mention, reference, link or markup."""
    return mention_safe(value)


def as_code(words: str) -> str:
    """Inside single backticks, also in a table."""
    return " ".join(words.split()).replace("`", "'").replace("|", "¦")[:300]


def short(value: object) -> str:
    """A value in at most 60 characters."""
    shown = "–" if value is None else str(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def moment(at: datetime) -> str:
    """`2026-01-02 03:04 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def dollars(value: float | None) -> str:
    """0.0 -> `nothing`; None -> `not known`."""
    if value is None:
        return "not known"
    return format_usd(value) if value else "nothing"
