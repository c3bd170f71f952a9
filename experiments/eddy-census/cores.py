"""
Eddies as connected regions where rotation dominates strain (Okubo-Weiss).

For a Gaussian sea-level anomaly W is negative inside the radius of maximum speed, so the radius of
a region is compared with the catalogue's speed radius.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from field import EARTH_RADIUS_M, Array, Grid, okubo_weiss_sigma
from tiles import OKUBO_WEISS, Criteria, Eddy, Tile, windows


def rotation_sign(vorticity: Array, lat: Array) -> Array:
    """
    Sense of rotation: +1 anticyclonic, -1 cyclonic.

    Vorticity of the sign of the Coriolis parameter is cyclonic, so the sign flips with the
    hemisphere.

    Args:
        vorticity: (rows, cols) s-1.
        lat: (rows,) degrees north.
    """
    return np.asarray(-np.sign(vorticity) * np.sign(lat)[:, None])


def vortex_cores(grid: Grid, tile: Tile, criteria: Criteria) -> list[Eddy]:
    """
    Find eddies as regions of W < -k sigma with vorticity of one sign.

    Regions hang together by their pixels' edges. The extremum that decides which tile owns a region
    is its pixel of lowest W. The centre is the area centroid, the radius that of the circle of
    equal area, the amplitude |extreme anomaly - mean anomaly on the region's inner rim|.
    """
    limit = -criteria.ow_threshold * okubo_weiss_sigma(grid, criteria.tropics_deg)
    polar = (np.abs(grid.lat) >= criteria.tropics_deg)[:, None]
    rotation = rotation_sign(grid.vorticity, grid.lat)
    eddies = []
    for sign in (1, -1):
        strength = np.where((rotation == sign) & polar, grid.okubo_weiss, np.nan)
        for window in windows(tile, grid.lat, grid.lon.size):
            w = window.take(strength)
            labels, _ = ndimage.label(w < limit)
            ours = np.unique(labels[window.core])
            if window.whole or not np.isin(ours[ours > 0], labels[window.rim]).any():
                break
        anomaly = window.take(grid.anomaly)
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            member = labels[box] == label
            pixels = int(member.sum())
            if not criteria.min_pixels <= pixels <= criteria.max_pixels:
                continue
            peak = np.unravel_index(np.argmin(np.where(member, w[box], 0.0)), member.shape)
            row, col = int(peak[0]) + box[0].start, int(peak[1]) + box[1].start
            if not window.core[row, col]:
                continue
            height = _amplitude(anomaly[box], member, sign)
            where = (window.rows[row], window.cols[col] % grid.lon.size)
            shape = region_shape(member, (int(peak[0]), int(peak[1])), grid, where)
            eddies.append(Eddy(OKUBO_WEISS, sign, *shape, height))
    return eddies


def region_shape(
    member: NDArray[np.bool_], peak: tuple[int, int], grid: Grid, where: tuple[int, int]
) -> tuple[float, float, float]:
    """
    Measure a region of the grid.

    Args:
        member: (rows, cols) the region in its bounding box.
        peak: row and column of a reference pixel in the box.
        grid: the globe.
        where: row and column of the same pixel on the globe.

    Returns:
        Centroid in degrees north and degrees east, radius of the circle of equal area in km.
    """
    rows, cols = np.nonzero(member)
    lat = grid.lat[rows - peak[0] + where[0]]
    weight = np.cos(np.radians(lat))
    dlat, dlon = grid.lat[1] - grid.lat[0], grid.lon[1] - grid.lon[0]
    area = weight.sum() * np.radians(dlat) * np.radians(dlon) * EARTH_RADIUS_M**2
    east = (weight * (cols - peak[1])).sum() / weight.sum() * dlon
    return (
        float((weight * lat).sum() / weight.sum()),
        float((grid.lon[where[1]] + east) % 360.0),
        float(np.sqrt(area / np.pi) / 1e3),
    )


def _amplitude(anomaly: Array, member: NDArray[np.bool_], sign: int) -> float:
    rim = member & ~ndimage.binary_erosion(member)
    extreme = (sign * anomaly[member]).max()
    return float(abs(extreme - (sign * anomaly[rim]).mean()))
