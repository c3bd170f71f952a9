"""Geometry of one closed contour: projection, best-fit circle, shape error."""

import numpy as np

from field import EARTH_RADIUS_M, Array


def to_plane(lat: Array, dlon: Array, lat_origin: float) -> tuple[Array, Array]:
    """
    Project points near a meridian to an equal-area plane (sinusoidal projection).

    Args:
        lat: (n,) degrees north.
        dlon: (n,) degrees east of the meridian.
        lat_origin: degrees north of the origin.

    Returns:
        x and y, km east and north of the origin, (n,) each.
    """
    per_degree = EARTH_RADIUS_M * np.pi / 180e3
    return per_degree * dlon * np.cos(np.radians(lat)), per_degree * (lat - lat_origin)


def from_plane(x: float, y: float, lat_origin: float) -> tuple[float, float]:
    """Inverse of `to_plane` for one point: km to degrees north, degrees east of the meridian."""
    per_degree = EARTH_RADIUS_M * np.pi / 180e3
    lat = lat_origin + y / per_degree
    return float(lat), float(x / (per_degree * np.cos(np.radians(lat))))


def fit_circle(x: Array, y: Array) -> tuple[float, float, float]:
    """
    Circle through points in the algebraic least-squares sense.

    Args:
        x: (n,) coordinates of the vertices, n >= 3, not on one line.
        y: (n,) same unit as `x`.

    Returns:
        Centre x, centre y and radius in the unit of `x`; NaN for points on one line.

    Source: Kasa (1976), solved by Cramer's rule so that no linear algebra library is involved.
    """
    mx, my = x.mean(), y.mean()
    dx, dy = x - mx, y - my
    square = dx * dx + dy * dy
    sxx, syy, sxy = (dx * dx).sum(), (dy * dy).sum(), (dx * dy).sum()
    sxz, syz = (dx * square).sum(), (dy * square).sum()
    determinant = 2.0 * (sxx * syy - sxy * sxy)
    if determinant <= 1e-12 * (sxx + syy) ** 2:
        return np.nan, np.nan, np.nan
    cx = (sxz * syy - syz * sxy) / determinant
    cy = (syz * sxx - sxz * sxy) / determinant
    return mx + cx, my + cy, float(np.sqrt(square.mean() + cx * cx + cy * cy))


def polygon_area(x: Array, y: Array) -> float:
    """Area enclosed by a polygon whose first vertex is repeated at the end; unit of x squared."""
    return float(abs((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2.0)


def disc_overlap(x: Array, y: Array, radius: float) -> float:
    """
    Area shared by a simple polygon and the disc of `radius` around the origin.

    Each edge contributes the signed area of the triangle it spans with the origin, where it runs
    inside the disc, and of the circular sector, where it runs outside.

    Args:
        x: (n + 1,) vertices, the first repeated at the end, relative to the disc's centre.
        y: (n + 1,) same unit.
        radius: same unit, positive.

    Returns:
        Area in the unit squared.
    """
    px, py = x[:-1], y[:-1]
    dx, dy = np.diff(x), np.diff(y)
    length2 = np.maximum(dx * dx + dy * dy, 1e-30)
    middle = -(px * dx + py * dy) / length2
    half2 = middle * middle - (px * px + py * py - radius * radius) / length2
    half = np.sqrt(np.maximum(half2, 0.0))
    enter, leave = np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)
    ax, ay, bx, by = px + enter * dx, py + enter * dy, px + leave * dx, py + leave * dy

    def sector(x0: Array, y0: Array, x1: Array, y1: Array) -> Array:
        return np.arctan2(x0 * y1 - x1 * y0, x0 * x1 + y0 * y1) * (radius * radius)

    doubled = ax * by - bx * ay + sector(px, py, ax, ay) + sector(bx, by, x[1:], y[1:])
    return float(abs(doubled.sum()) / 2.0)


def shape_error(x: Array, y: Array, cx: float, cy: float, radius: float) -> float:
    """
    Area between a closed contour and a circle, as percentage of the circle's area.

    Args:
        x: (n + 1,) vertices, the first repeated at the end, km.
        y: (n + 1,) km.
        cx: centre of the circle, km.
        cy: centre of the circle, km.
        radius: of the circle, km.

    Returns:
        100 (A_polygon + A_circle - 2 A_shared) / A_circle; 0 for a circle.

    Source: the shape test of Kurian et al. (2011), used by Mason et al. (2014).
    """
    circle = np.pi * radius * radius
    shared = disc_overlap(x - cx, y - cy, radius)
    return float(100.0 * (polygon_area(x, y) + circle - 2.0 * shared) / circle)
