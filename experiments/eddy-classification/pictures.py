"""Pictures of single samples as a person wants to see them: a patch with the sea around it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sea_level import EARTH_RADIUS_M, Array, Eddies, Field


class Disc(NamedTuple):
    """An eddy of the catalogue in a picture: its centre and half axes in pixels, and its sign."""

    col: float
    row: float
    half_cols: float
    half_rows: float
    sign: float


class Picture(NamedTuple):
    """
    What is drawn of one sample.

    Attributes:
        values: (row, column), rows from south to north or, of a chip, from top to bottom;
            NaN where there is none.
        inner: first row and column, and side in pixels, of the part that the network sees.
        discs: of the catalogue.
        caption: where it is.
        upwards: whether rows run from bottom to top.
    """

    values: NDArray[np.float64]
    inner: tuple[int, int, int]
    discs: tuple[Disc, ...]
    caption: str
    upwards: bool


def of_patch(field: Field, eddies: Eddies, lon: float, lat: float, side: int) -> Picture:
    """
    Draw a patch and half a patch's width around it.

    Args:
        field: the sea level.
        eddies: the catalogue.
        lon: middle of the patch, degrees east.
        lat: middle of the patch, degrees north.
        side: of the patch, pixels.

    Returns:
        Height above the mean of the patch, cm.
    """
    step = field.lat[1] - field.lat[0]
    around, size = side // 2, side + 2 * (side // 2)
    row0 = round((lat - field.lat[0]) / step - (side - 1) / 2.0) - around
    col0 = round(((lon - field.lon[0]) % 360.0) / step - (side - 1) / 2.0) - around
    rows = np.clip(np.arange(row0, row0 + size), 0, field.lat.size - 1)
    cols = np.arange(col0, col0 + size) % field.lon.size
    height = 100.0 * np.where(field.ocean, field.height, np.nan)[rows][:, cols]
    height -= np.nanmean(height[around : around + side, around : around + side])
    caption = f"{abs(lat):.0f}°{'N' if lat > 0 else 'S'} {lon:.0f}°E"
    discs = _discs(field, eddies, (row0, col0), size)
    return Picture(height, (around, around, side), discs, caption, upwards=True)


def _discs(field: Field, eddies: Eddies, corner: tuple[int, int], size: int) -> tuple[Disc, ...]:
    """The eddies in and near a square of pixels, in its coordinates."""
    step, period, middle = field.lat[1] - field.lat[0], float(field.lon.size), size / 2.0
    row = (eddies.lat - field.lat[0]) / step - corner[0]
    col = (eddies.lon - field.lon[0]) / step - corner[1]
    col = (col - middle + period / 2.0) % period - period / 2.0 + middle
    high: Array = np.degrees(eddies.radius_m / EARTH_RADIUS_M) / step
    wide = high / np.cos(np.radians(eddies.lat))
    near = np.maximum(np.abs(row - middle) - high, np.abs(col - middle) - wide) < middle
    columns = (column[near] for column in (col, row, wide, high, eddies.sign))
    return tuple(Disc(*map(float, disc)) for disc in zip(*columns, strict=True))


def of_chip(image: NDArray[np.float32], name: str) -> Picture:
    """Draw a chip as the network sees it: brightness in standard deviations from the mean."""
    values = np.where(image[-1] > 0, image[0], np.nan).astype(np.float64)
    return Picture(values, (0, 0, values.shape[0]), (), name, upwards=False)
