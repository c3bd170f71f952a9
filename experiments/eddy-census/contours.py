"""
Eddies as closed contours of sea level around a single extremum.

Source: criteria of Chelton et al. (2011), shape test of Mason et al. (2014); own algorithm.
"""

from typing import NamedTuple

import contourpy
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from field import Array, Grid
from shapes import fit_circle, from_plane, shape_error, to_plane
from tiles import CONTOUR, Criteria, Eddy, Tile, windows

LOW = -1e9
NEIGHBOURS = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]


class Basins(NamedTuple):
    """
    Pixels of a window grouped by the peak that steepest ascent leads to.

    Attributes:
        root: (rows, cols) flat index of each pixel's peak; of a rim pixel where ascent left.
        floor: (rows * cols,) at a peak, the level down to which its hill holds no other peak and
            no coast, m.
        open: (rows * cols,) true at a peak whose hill touches pixels that ascend to the rim.
    """

    root: NDArray[np.int64]
    floor: Array
    open: NDArray[np.bool_]


def find_basins(height: Array, rim: NDArray[np.bool_]) -> Basins:
    """
    Divide a surface into hills, one per local maximum, and find how deep each stands alone.

    The set of pixels above a level that hangs together (8 neighbours) around a peak holds no
    second peak exactly when the level is not below the highest pass to a neighbouring hill. A pass
    between adjacent pixels is as high as the lower of the two.

    Args:
        height: (rows, cols) m, NaN on land.
        rim: (rows, cols) pixels whose neighbours are not all in the window.
    """
    shape, n_cols = height.shape, height.shape[1]
    land = np.isnan(height)
    z = np.where(land, LOW, height)
    index = np.arange(z.size).reshape(shape)
    inner = (slice(1, -1), slice(1, -1))
    best, target = z[inner].copy(), index[inner].copy()
    for dr, dc in NEIGHBOURS:
        other = z[1 + dr : shape[0] - 1 + dr, 1 + dc : shape[1] - 1 + dc]
        higher = other >= best if (dr, dc) > (0, 0) else other > best  # equal heights: by index
        best[higher] = other[higher]
        target[higher] = index[inner][higher] + dr * n_cols + dc
    root = index.copy()
    root[inner] = np.where(land[inner], index[inner], target)
    flat = root.ravel()
    while not np.array_equal(flat[flat], flat):
        flat = flat[flat]
    root = flat.reshape(shape)
    floor, is_open = np.full(z.size, LOW), np.zeros(z.size, dtype=bool)
    coast = ~land & ndimage.maximum_filter(land, size=3, mode="constant")
    np.maximum.at(floor, root[coast], z[coast])
    left = rim.ravel()[root] & ~land
    for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, shape[0] - dr), slice(max(0, -dc), shape[1] - max(0, dc)))
        there = (slice(dr, shape[0]), slice(max(0, dc), shape[1] - max(0, -dc)))
        border = (root[here] != root[there]) & ~land[here] & ~land[there]
        a, b = root[here][border], root[there][border]
        height_of_pass = np.minimum(z[here][border], z[there][border])
        np.maximum.at(floor, a, height_of_pass)
        np.maximum.at(floor, b, height_of_pass)
        is_open[a[left[there][border]]] = True
        is_open[b[left[here][border]]] = True
    return Basins(root, floor, is_open)


def closed_contours(grid: Grid, tile: Tile, sign: int, criteria: Criteria) -> list[Eddy]:
    """
    Find eddies as the outermost acceptable closed contour around each single extremum.

    Levels are multiples of `level_step_m`, tried from the lowest at which the hill stands alone
    up to `min_amplitude_m` below the peak; the first that passes is taken.
    """
    n_cols = grid.lon.size
    for window in windows(tile, grid.lat, n_cols):
        z = sign * window.take(grid.anomaly)
        basins = find_basins(z, window.rim)
        peaks = np.unique(basins.root[window.core & np.isfinite(z)])
        peaks = peaks[window.core.ravel()[peaks] & ~window.rim.ravel()[peaks]]
        peaks = peaks[z.ravel()[peaks] - basins.floor[peaks] >= criteria.min_amplitude_m]
        if window.whole or not basins.open[peaks].any():
            break
    pixels = np.argsort(basins.root, axis=None, kind="stable")
    starts = np.searchsorted(basins.root.ravel()[pixels], np.stack([peaks, peaks + 1]))
    steps = (float(grid.lat[1] - grid.lat[0]), float(grid.lon[1] - grid.lon[0]))
    eddies = []
    for peak, first, last in zip(peaks, *starts, strict=True):
        row, col = divmod(int(peak), window.cols.size)
        hill = cut_hill(z, pixels[first:last], float(basins.floor[peak]), (row, col))
        outline = outermost_contour(hill, float(grid.lat[window.rows[row]]), steps, criteria)
        if outline is not None:
            lon = (grid.lon[window.cols[col] % n_cols] + outline.dlon) % 360.0
            amplitude = float(z[row, col]) - outline.level_m
            found = (sign, outline.lat, float(lon), outline.radius_km, amplitude)
            eddies.append(Eddy(CONTOUR, *found))
    return eddies


class Hill(NamedTuple):
    """
    One hill, cut out with one pixel around it.

    Attributes:
        z: (rows, cols) m upward; outside the hill never above `floor`.
        own: heights of the hill's own pixels, ascending, m.
        floor: level down to which the hill stands alone, m.
        row: row of the peak in `z`.
        col: column of the peak in `z`.
    """

    z: Array
    own: Array
    floor: float
    row: int
    col: int


class Outline(NamedTuple):
    """Best-fit circle of a contour, degrees north, degrees east of the peak and km; level, m."""

    lat: float
    dlon: float
    radius_km: float
    level_m: float


def cut_hill(z: Array, pixels: NDArray[np.int64], floor: float, peak: tuple[int, int]) -> Hill:
    """
    Cut a hill out of its window.

    Args:
        z: (rows, cols) m, NaN on land.
        pixels: flat indices of the hill's pixels, none on the window's rim.
        floor: m.
        peak: row and column.
    """
    rows, cols = np.divmod(pixels, z.shape[1])
    top, left = rows.min() - 1, cols.min() - 1
    around = z[top : rows.max() + 2, left : cols.max() + 2]
    cut = np.where(around < floor, around, floor)
    own = z[rows, cols]
    cut[rows - top, cols - left] = own
    return Hill(cut, np.sort(own), floor, peak[0] - int(top), peak[1] - int(left))


def outermost_contour(
    hill: Hill, lat0: float, steps: tuple[float, float], criteria: Criteria
) -> Outline | None:
    """
    Find the lowest level whose contour around the peak is closed, single and round enough.

    Above `floor` the hill's contours are closed; a second line at a level encloses a hole.

    Args:
        hill: heights positive upward.
        lat0: latitude of the peak, degrees north.
        steps: grid spacing in latitude and longitude, degrees.
        criteria: thresholds.

    Returns:
        The best-fit circle of that contour, or None when no level passes.
    """
    step = criteria.level_step_m
    highest = hill.own[-1] - criteria.min_amplitude_m
    lowest = max(hill.floor, hill.own[0] - step)
    levels = step * np.arange(np.floor(lowest / step) + 1, np.floor(highest / step) + 1)
    above = hill.own.size - np.searchsorted(hill.own, levels, side="right")
    levels = levels[(above >= criteria.min_pixels) & (above <= criteria.max_pixels)]
    if not levels.size:
        return None
    surface = contourpy.contour_generator(z=hill.z)
    for level in levels[levels > hill.floor].tolist():
        lines = surface.lines(level)
        if len(lines) != 1:
            continue
        col, row = np.asarray(lines[0]).T
        x, y = to_plane(lat0 + (row - hill.row) * steps[0], (col - hill.col) * steps[1], lat0)
        cx, cy, radius = fit_circle(x, y)
        if shape_error(x, y, cx, cy, radius) <= criteria.max_shape_error_percent:
            return Outline(*from_plane(cx, cy, lat0), radius, level)
    return None
