"""Sizes, durations and prices as people write them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpac_ci.quantities import (
    COST_PATTERN,
    DURATION_PATTERN,
    MEMORY_PATTERN,
    format_bytes,
    format_duration,
    parse_cost,
    parse_duration,
    parse_memory,
)

MEMORY = {
    "512 MiB": 512, "8 GiB": 8192, "8GiB": 8192, "0.5 GiB": 512, "1.5 GiB": 1536, "1 TiB": 2**20,
    "1000 MB": 953, "1 GB": 953, "2.9 MiB": 2,
}  # fmt: skip
DURATION = {
    "90 s": 90, "20 min": 1200, "1 h": 3600, "2 d": 172800, "1 h 30 min": 5400, "30min": 1800,
    "1.5 h": 5400, "1 d 1 h 1 min 1 s": 90061, "1.9 s": 1,
}  # fmt: skip
COST = {"5 USD": 5.0, "5USD": 5.0, "0 USD": 0.0, "0.25 USD": 0.25}


@pytest.mark.parametrize(("text", "mib"), MEMORY.items())
def test_memory_in_mib(text: str, mib: int) -> None:
    assert parse_memory(text) == mib
    assert re.search(MEMORY_PATTERN, text)


@pytest.mark.parametrize(("text", "seconds"), DURATION.items())
def test_duration_in_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds
    assert re.search(DURATION_PATTERN, text)


@pytest.mark.parametrize(("text", "dollars"), COST.items())
def test_cost_in_dollars(text: str, dollars: float) -> None:
    assert parse_cost(text) == dollars
    assert re.search(COST_PATTERN, text)


REFUSED: list[tuple[Callable[[str], object], str, list[str]]] = [
    (
        parse_memory,
        "a size such as '512 MiB' or '8 GiB'",
        [
            "", "8", "GiB", "8 gib", "8  GiB", "-8 GiB", "8 GiB 1 MiB", "1e3 MiB", "8 KiB",
            " 8 GiB", "8 GiB\n", "٣ GiB", "0 GiB", "0.5 MiB", ".5 GiB", "8. GiB", "inf GiB",
            "nan GiB", "9" * 400 + " GiB",
        ],
    ),
    (
        parse_duration,
        "a duration such as '90 s', '20 min' or '1 h 30 min'",
        [
            "", "90", "1 hour", "1h30min", "1 h, 30 min", "-1 s", "1 h ", "1 h\n", "1 m", "1 H",
            "9" * 400 + " h",
        ],
    ),
    (parse_duration, "at least 1 s", ["0 s", "0.9 s", "0 h 0 min"]),
    (parse_duration, "at most 366 d", ["367 d", "9999999999 d"]),
    (
        parse_cost,
        "a price such as '5 USD'",
        ["", "5", "$5", "5 EUR", "5 usd", "-5 USD", "nan USD", "inf USD", "9" * 400 + " USD"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("parse", "right", "text"), [(p, right, text) for p, right, texts in REFUSED for text in texts]
)
def test_anything_else_is_answered_with_the_accepted_form(
    parse: Callable[[str], object], right: str, text: str
) -> None:
    with pytest.raises(ValueError, match="expected ") as caught:
        parse(text)
    assert right in str(caught.value)
    assert repr(text)[:20] in str(caught.value)


numbers = st.text("0123456789.", max_size=400) | st.floats().map(str)
units = st.sampled_from(["", " ", " MiB", "GB", " s", "min", " h 5 min", " USD", "USD "])


@pytest.mark.parametrize("parse", [parse_memory, parse_duration, parse_cost])
@given(text=st.builds("{}{}".format, numbers, units))
def test_any_text_is_a_positive_number_or_a_value_error(
    parse: Callable[[str], float], text: str
) -> None:
    try:
        value = parse(text)
    except ValueError:
        return
    assert value >= 0


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"), (0.84, "0.8 s"), (59.94, "59.9 s"), (59.96, "1 min"), (60, "1 min"),
        (75, "1 min 15 s"), (3599.4, "59 min 59 s"), (3599.6, "1 h"), (3700, "1 h 2 min"),
        (7170, "2 h"), (90061, "25 h 1 min"),
    ],
)  # fmt: skip
def test_durations_in_a_report(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (2**20, "1.0 MiB"),
        (2**20 - 1, "1.0 MiB"), (3 * 2**30, "3.0 GiB"), (5 * 2**40, "5120.0 GiB"),
    ],
)  # fmt: skip
def test_sizes_in_a_report(size: int, shown: str) -> None:
    assert format_bytes(size) == shown
