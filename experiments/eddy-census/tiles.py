"""
Tiles of the globe, the windows around them, and the values that travel between tasks.

A tile owns the eddies whose extremum lies in its core. Around the core a halo is read; where an
owned eddy reaches the rim of the window a larger one is taken, so that what is found never depends
on how the globe was cut.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from field import Array

HALO_ROWS = 24
CONTOUR, OKUBO_WEISS = "contour", "okubo_weiss"


class Criteria(NamedTuple):
    """Thresholds of both methods; the units are in the names."""

    ow_threshold: float
    cutoff_km: float
    level_step_m: float
    min_amplitude_m: float
    max_shape_error_percent: float
    min_pixels: int
    max_pixels: int
    tropics_deg: float


class Tile(NamedTuple):
    """Core of a tile: rows [row0, row1) and columns [col0, col1) of the global grid."""

    row0: int
    row1: int
    col0: int
    col1: int


class Eddy(NamedTuple):
    """One detected eddy; sign is +1 for an anticyclone and -1 for a cyclone."""

    method: str
    sign: int
    lat: float
    lon: float
    radius_km: float
    amplitude_m: float


def tile_grid(n_tiles: int, n_rows: int, n_cols: int) -> list[Tile]:
    """
    Cut the globe into `n_tiles` tiles, as near to square as the number's factors allow.

    Args:
        n_tiles: 1 or more; a prime gives meridional strips.
        n_rows: rows of the grid.
        n_cols: columns of the grid.
    """
    down = min(
        (rows for rows in range(1, n_tiles + 1) if n_tiles % rows == 0),
        key=lambda rows: abs(n_rows / rows - n_cols * rows / n_tiles),
    )
    row = np.linspace(0, n_rows, down + 1).astype(int).tolist()
    col = np.linspace(0, n_cols, n_tiles // down + 1).astype(int).tolist()
    return [
        Tile(row[i], row[i + 1], col[j], col[j + 1])
        for i in range(down)
        for j in range(n_tiles // down)
    ]


class Window(NamedTuple):
    """Rows and wrapped columns around a core; `core` and `rim` are masks of the window's shape."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    core: NDArray[np.bool_]
    rim: NDArray[np.bool_]
    globe: tuple[int, int]

    @property
    def whole(self) -> bool:
        """True when no larger window exists."""
        return self.rows.size >= self.globe[0] + 2 and self.cols.size >= 3 * self.globe[1]

    def take(self, field: Array) -> Array:
        """Cut the window out of a global field; beyond the first and last row it is NaN."""
        inside = (self.rows >= 0) & (self.rows < self.globe[0])
        cut = field[np.clip(self.rows, 0, self.globe[0] - 1)][:, self.cols % self.globe[1]]
        return np.where(inside[:, None], cut, np.nan)


def windows(tile: Tile, lat: Array, n_cols: int) -> Iterator[Window]:
    """Yield ever larger windows around a tile, about as wide as high in kilometres."""
    widest = max(abs(lat[tile.row0]), abs(lat[tile.row1 - 1]))
    stretch = 1.0 / np.cos(np.radians(min(widest, 80.0)))
    halo = HALO_ROWS
    while True:
        wide = min(int(halo * stretch), n_cols)
        rows = np.arange(max(tile.row0 - halo, -1), min(tile.row1 + halo, lat.size + 1))
        cols = np.arange(tile.col0 - wide, tile.col1 + wide)
        if wide == n_cols:
            cols = np.arange(tile.col0 - n_cols, tile.col0 + 2 * n_cols)
        in_rows = (rows >= tile.row0) & (rows < tile.row1)
        in_cols = (cols >= tile.col0) & (cols < tile.col1)
        rim = np.ones((rows.size, cols.size), dtype=bool)
        rim[1:-1, 1:-1] = False
        yield Window(rows, cols, in_rows[:, None] & in_cols, rim, (lat.size, n_cols))
        halo *= 2
