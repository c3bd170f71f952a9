"""Four monthly series of El Niño and the Indian monsoon, read from published files."""

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthetic import Array

NAMES = ("NINO1+2", "NINO3.4", "SOI", "AIR")


class ClimateError(ValueError):
    """A file is not what it should be."""


class Files(NamedTuple):
    """Where the four series stand, in the order of `NAMES`."""

    nino12: Path
    nino34: Path
    soi: Path
    rain: Path


class Climate(NamedTuple):
    """Standardised monthly anomalies (n, 4), from January of the first year on."""

    values: Array
    first_year: int


def read_climate(files: Files) -> Climate:
    """
    Read the four series over the whole years they share.

    Returns:
        Anomalies without unit: each calendar month has mean 0 and standard deviation 1 once the
        linear trend of the whole series is gone.

    Raises:
        ClimateError: a file cannot be read, has gaps within the years, or shares none with others.
    """
    readers = (_read_nino12, _read_nino34, _read_soi, _read_rain)
    series = [_read(path, reader) for path, reader in zip(files, readers, strict=True)]
    if not all(series):
        raise ClimateError(f"{files[series.index({})].name}: no values")
    first = max(-(-min(one) // 12) for one in series)
    last = min((max(one) + 1) // 12 for one in series)
    if last - first < 2:
        raise ClimateError("the four series share fewer than two whole years")
    months = range(12 * first, 12 * last)
    for name, one in zip(NAMES, series, strict=True):
        for month in months:
            if month not in one:
                raise ClimateError(f"{name}: no value for {month // 12}-{month % 12 + 1:02d}")
    columns = [_anomalies(np.array([one[month] for month in months])) for one in series]
    return Climate(np.stack(columns, axis=1), first)


def _anomalies(values: Array) -> Array:
    """Values less trend, then standardised month by month; the series starts in January."""
    steps = np.arange(values.size)
    values = values - np.polyval(np.polyfit(steps, values, 1), steps)
    years = values.reshape(-1, 12)
    return np.asarray((years - years.mean(axis=0)) / years.std(axis=0)).ravel()


Rows = Iterable[list[str]]
Reader = Callable[[Rows], Iterator[tuple[int, float]]]


def _read(path: Path, reader: Reader) -> dict[int, float]:
    """Months since year 0 and their values; missing ones are left out."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            pairs = reader(csv.reader(file))
            return {month: value for month, value in pairs if not np.isnan(value)}
    except (OSError, ValueError, IndexError) as exc:
        raise ClimateError(f"{path.name}: {exc}") from exc


def _read_nino12(rows: Rows) -> Iterator[tuple[int, float]]:
    """A row per year, a column per month, °C."""
    for row in _body(rows, 1):
        yield from ((12 * int(row[0]) + month, float(row[1 + month])) for month in range(12))


def _read_nino34(rows: Rows) -> Iterator[tuple[int, float]]:
    """Year, month, …, the mean in the fourth column, °C."""
    return ((12 * int(row[0]) + int(row[1]) - 1, float(row[3])) for row in _body(rows, 1))


def _read_soi(rows: Rows) -> Iterator[tuple[int, float]]:
    """Year and month as yyyymm, …, the index in the third column, without unit."""
    for row in _body(rows, 2):
        year, month = divmod(int(row[0]), 100)
        yield 12 * year + month - 1, float(row[2])


def _read_rain(rows: Rows) -> Iterator[tuple[int, float]]:
    """Decimal year and rainfall anomaly, mm a month."""
    return ((round(12 * float(row[0])), float(row[1])) for row in _body(rows, 1))


def _body(rows: Rows, header: int) -> Iterator[list[str]]:
    """Rows after the header, without empty ones."""
    return (row for number, row in enumerate(rows) if number >= header and any(row))
