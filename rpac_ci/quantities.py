"""Sizes, durations and prices as people write them; inside, MiB, seconds and US dollars."""

from __future__ import annotations

import re

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_MIB = {"MiB": 1.0, "GiB": 1024.0, "TiB": 1024.0**2, "MB": 1e6 / 2**20, "GB": 1e9 / 2**20}
_LONGEST_S = 366 * 86400
_LONGEST = 40  # characters of a quantity
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}

MEMORY_PATTERN = rf"^{_NUMBER} ?(MiB|GiB|TiB|MB|GB)$"
DURATION_PATTERN = rf"^({_NUMBER} ?(s|min|h|d)( (?=[0-9])|$))+$"
COST_PATTERN = rf"^{_NUMBER} ?USD$"


def parse_memory(text: str) -> int:
    """`8 GiB` -> 8192 (MiB, rounded down). Raises ValueError with the accepted form."""
    match = re.fullmatch(MEMORY_PATTERN, text) if len(text) <= _LONGEST else None
    if not match or (mib := int(float(match[1]) * _MIB[match[2]])) < 1:
        raise ValueError(f"got {text!r}, expected a size such as '512 MiB' or '8 GiB'")
    return mib


def parse_duration(text: str) -> int:
    """`1 h 30 min` -> 5400 (s). Raises ValueError with the accepted form."""
    if len(text) > _LONGEST or not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(
            f"got {text!r}, expected a duration such as '90 s', '20 min' or '1 h 30 min'"
        )
    parts = re.findall(rf"{_NUMBER} ?(s|min|h|d)", text)
    seconds = int(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    if not 1 <= seconds <= _LONGEST_S:
        raise ValueError(f"got {text!r}, expected at least 1 s and at most 366 d")
    return seconds


def parse_cost(text: str) -> float:
    """`5 USD` -> 5.0 (USD). Raises ValueError with the accepted form."""
    match = re.fullmatch(COST_PATTERN, text) if len(text) <= _LONGEST else None
    if not match:
        raise ValueError(f"got {text!r}, expected a price such as '5 USD'")
    return float(match[1])


def format_duration(seconds: float) -> str:
    """0.02 -> `20 ms`, 0.84 -> `0.8 s`, 75 -> `1 min 15 s`, 3700 -> `1 h 2 min`."""
    if 0.0005 <= seconds < 0.095:
        return f"{1000 * seconds:.0f} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def format_usd(dollars: float) -> str:
    """5.0 -> `5.00 USD`, 0.00181 -> `0.0018 USD`."""
    return f"{dollars:.2f} USD" if not 0 < dollars < 0.01 else f"{dollars:.2g} USD"


def count(number: int, noun: str, several: str = "") -> str:
    """1, node -> `1 node`; 2, node -> `2 nodes`; 2, entry, entries -> `2 entries`."""
    return f"{number} {noun}" if number == 1 else f"{number} {several or noun + 's'}"


def format_bytes(size: int) -> str:
    """1536 -> `1.5 KiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(value, 1) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def format_value(value: float | str | None, unit: str | None = None) -> str:
    """4.25, km -> `4.25 km`, at most ten digits; a hash is shortened; None -> `–`."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return f"{value[:12]}…"
    shown = str(value) if isinstance(value, int) else f"{value:.10g}"
    return f"{shown} {unit}" if unit else shown
