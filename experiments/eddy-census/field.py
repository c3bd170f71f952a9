"""
The gridded sea level and what is derived from it on the sphere.

Every function works on whole-globe arrays of shape (lat, lon), rows from south to north, columns
eastward and periodic. Land and missing values are NaN.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]

EARTH_RADIUS_M = 6_371_000.0


class FieldError(Exception):
    """An input file is missing, is not what it should be, or lacks a variable."""


class Grid(NamedTuple):
    """
    One day of the global field.

    Attributes:
        lat: (lat,) degrees north, ascending, equidistant.
        lon: (lon,) degrees east, ascending, equidistant, the whole circle.
        anomaly: (lat, lon) sea level less its large scales, m.
        okubo_weiss: (lat, lon) Okubo-Weiss parameter, s-2.
        vorticity: (lat, lon) relative vorticity, s-1.
    """

    lat: Array
    lon: Array
    anomaly: Array
    okubo_weiss: Array
    vorticity: Array


def read_variables(path: str, names: tuple[str, ...]) -> dict[str, Array]:
    """
    Read variables of a NetCDF-4 file, unpacked by CF scale_factor and add_offset, fill as NaN.

    Raises:
        FieldError: the file cannot be opened as NetCDF-4, or has no such variable.
    """
    if not Path(path).is_file():
        raise FieldError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            if missing := [name for name in names if name not in file]:
                raise FieldError(f"{path}: no variable {', '.join(missing)}; it has {sorted(file)}")
            return {name: _unpack(file[name]) for name in names}
    except OSError as exc:
        raise FieldError(f"{path}: not a readable NetCDF-4 file ({exc})") from exc


def _unpack(variable: h5py.Dataset) -> Array:
    def attribute(name: str, default: float) -> float:
        return float(np.ravel(variable.attrs.get(name, default))[0])

    raw = variable[...]
    values = raw * attribute("scale_factor", 1.0) + attribute("add_offset", 0.0)
    if "_FillValue" in variable.attrs:
        values[raw == np.ravel(variable.attrs["_FillValue"])[0]] = np.nan
    return np.asarray(values, dtype=np.float64)


def load_grid(path: str, cutoff_km: float) -> Grid:
    """
    Read the field and derive anomaly, vorticity and Okubo-Weiss, once per process and file.

    Args:
        path: NetCDF-4 with latitude, longitude, adt (m), ugos and vgos (m/s).
        cutoff_km: half-amplitude wavelength of the high-pass filter.

    Raises:
        FieldError: a variable is missing or the grid is not global, regular and ascending.
    """
    stat = Path(path).stat() if Path(path).is_file() else None
    return _load_grid(path, cutoff_km, stat and (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=1)
def _load_grid(path: str, cutoff_km: float, _version: tuple[int, int] | None) -> Grid:
    found = read_variables(path, ("latitude", "longitude", "adt", "ugos", "vgos"))
    lat, lon = found["latitude"], found["longitude"]
    adt, u, v = (found[name].reshape(-1, lon.size) for name in ("adt", "ugos", "vgos"))
    for name, axis in (("latitude", lat), ("longitude", lon)):
        step = np.diff(axis)
        if axis.size < 8 or step.min() <= 0 or np.ptp(step) > 1e-3 * step[0]:
            raise FieldError(f"{path}: {name} is not ascending and equidistant")
    if abs(lon.size * (lon[1] - lon[0]) - 360.0) > 1e-3:
        raise FieldError(f"{path}: longitude does not cover the whole circle")
    if not adt.shape == u.shape == v.shape == (lat.size, lon.size):
        raise FieldError(f"{path}: expected shape (1, {lat.size}, {lon.size}), got {adt.shape}")
    if not np.isfinite(adt).any():
        raise FieldError(f"{path}: adt holds no value")
    w, vorticity = okubo_weiss(u, v, lat, lon)
    return Grid(lat, lon, high_pass(adt, lat, lon, cutoff_km), w, vorticity)


def okubo_weiss(u: Array, v: Array, lat: Array, lon: Array) -> tuple[Array, Array]:
    """
    Okubo-Weiss parameter and vorticity of a horizontal flow on the sphere.

    W = sn^2 + ss^2 - zeta^2 with, R the Earth's radius, l longitude and p latitude,
    sn = u_l / (R cos p) - v tan p / R - v_p / R, ss = v_l / (R cos p) + u tan p / R + u_p / R and
    zeta = v_l / (R cos p) + u tan p / R - u_p / R. Central differences, periodic in longitude.

    Args:
        u: (lat, lon) eastward velocity, m/s.
        v: (lat, lon) northward velocity, m/s.
        lat: (lat,) degrees north, equidistant.
        lon: (lon,) degrees east, equidistant, the whole circle.

    Returns:
        W in s-2 and zeta in s-1, both (lat, lon); NaN beside missing values and in the first and
        last row.

    Source: Okubo (1970), Weiss (1991); strain rates in spherical coordinates.
    """
    phi = np.radians(lat)[:, None]
    dx = 2.0 * EARTH_RADIUS_M * np.cos(phi) * np.radians(lon[1] - lon[0])
    dy = 2.0 * EARTH_RADIUS_M * np.radians(lat[1] - lat[0])
    curvature = np.tan(phi) / EARTH_RADIUS_M

    def east(a: Array) -> Array:
        return np.asarray((np.roll(a, -1, axis=1) - np.roll(a, 1, axis=1)) / dx)

    def north(a: Array) -> Array:
        slope = np.full_like(a, np.nan)
        slope[1:-1] = (a[2:] - a[:-2]) / dy
        return slope

    around = east(v) + u * curvature
    normal = east(u) - v * curvature - north(v)
    shear = around + north(u)
    vorticity = around - north(u)
    return np.asarray(normal**2 + shear**2 - vorticity**2), np.asarray(vorticity)


def high_pass(height: Array, lat: Array, lon: Array, cutoff_km: float) -> Array:
    """
    Remove the large scales with a Gaussian of fixed width in kilometres.

    The Gaussian's response is one half at the cutoff wavelength: s = c sqrt(2 ln 2) / (2 pi).
    Missing values carry no weight. Sums run in a fixed order, so the bytes do not depend on
    how the work is split.

    Args:
        height: (lat, lon) m, NaN on land.
        lat: (lat,) degrees north, equidistant.
        lon: (lon,) degrees east, equidistant, the whole circle.
        cutoff_km: wavelength, km.

    Returns:
        (lat, lon) m, NaN where `height` is.
    """
    sigma_m = 1e3 * cutoff_km * np.sqrt(2.0 * np.log(2.0)) / (2.0 * np.pi)
    dy = EARTH_RADIUS_M * np.radians(lat[1] - lat[0])
    dx = EARTH_RADIUS_M * np.radians(lon[1] - lon[0]) * np.cos(np.radians(lat))
    ocean = np.isfinite(height)
    smooth = []
    for values in (np.where(ocean, height, 0.0), ocean.astype(np.float64)):
        rows = np.stack(
            [
                ndimage.correlate1d(row, gaussian(sigma_m / step, lon.size // 2 - 1), mode="wrap")
                for row, step in zip(values, dx, strict=True)
            ]
        )
        weights = gaussian(sigma_m / dy, lat.size // 2)
        smooth.append(ndimage.correlate1d(rows, weights, axis=0, mode="constant"))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(ocean, height - smooth[0] / smooth[1], np.nan)


def gaussian(sigma: float, longest: int) -> Array:
    """Weights of a Gaussian of width `sigma` grid steps, cut at 3 sigma or `longest`; sum is 1."""
    half = min(int(np.ceil(3.0 * sigma)), longest)
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def okubo_weiss_sigma(grid: Grid, tropics_deg: float) -> float:
    """Area-weighted standard deviation of W over the ocean poleward of `tropics_deg`, s-2."""
    used = np.isfinite(grid.okubo_weiss) & (np.abs(grid.lat) >= tropics_deg)[:, None]
    values = grid.okubo_weiss[used]
    weights = np.broadcast_to(np.cos(np.radians(grid.lat))[:, None], used.shape)[used]
    mean = np.average(values, weights=weights)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
