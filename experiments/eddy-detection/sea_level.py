"""
One day of the sea-level field, the eddies published for it, and the ocean basins.

    field = load_field(path)                       arrays over (lat, lon), NaN on land
    eddies = load_eddies(cyclonic, anticyclonic)   columns lon, lat, radius_m, sign
    signs = eddy_mask(field, eddies)               per pixel: +1, -1, or 0 outside every eddy
    names = basin(lon, lat)                        "atlantic", "indian", "pacific" or ""
    count = window_sum(mask, 16)                   pixels of a mask in every 16 x 16 window

The field is periodic in longitude: column 0 follows the last. Longitudes are degrees east in
[0, 360) everywhere.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

EARTH_RADIUS_M = 6_371_000.0
CYCLONIC, ANTICYCLONIC = -1, 1

# west, east (past 360 where a box crosses Greenwich), south, north; degrees. Marginal seas that no
# box reaches, the Mediterranean among them, belong to no basin.
BASINS: Mapping[str, tuple[tuple[float, float, float, float], ...]] = {
    "atlantic": ((293, 354, -65, 65), (354, 380, -65, 6), (262, 293, 18, 46), (277, 293, 9, 18)),
    "indian": ((20, 147, -65, -30), (20, 129, -30, -10), (40, 99, -10, 25)),
    "pacific": ((147, 290, -65, 8), (122, 262, 8, 65), (262, 272, 8, 14)),
}


class SeaLevelError(Exception):
    """An input file is missing, is not what it should be, or lacks a variable."""


class Field(NamedTuple):
    """
    One day of the global field.

    Attributes:
        lat: (lat,) degrees north, ascending, equidistant.
        lon: (lon,) degrees east, ascending, equidistant, the whole circle.
        height: (lat, lon) absolute dynamic topography, m; NaN on land and where it is missing.
        u: (lat, lon) eastward geostrophic velocity, m/s; NaN likewise.
        v: (lat, lon) northward geostrophic velocity, m/s; NaN likewise.
    """

    lat: Array
    lon: Array
    height: Array
    u: Array
    v: Array

    @property
    def ocean(self) -> NDArray[np.bool_]:
        """(lat, lon) where all three variables have a value."""
        return np.isfinite(self.height) & np.isfinite(self.u) & np.isfinite(self.v)


class Eddies(NamedTuple):
    """
    The catalogue: cyclones in file order, then anticyclones in file order.

    Attributes:
        lon: (n,) centre, degrees east.
        lat: (n,) centre, degrees north.
        radius_m: (n,) effective radius: of the circle that fits the outermost closed contour, m.
        sign: (n,) -1 for a cyclone, +1 for an anticyclone.
    """

    lon: Array
    lat: Array
    radius_m: Array
    sign: NDArray[np.int8]


def load_field(path: str | Path) -> Field:
    """
    Read the field.

    Args:
        path: NetCDF-4 with latitude, longitude, adt (m), ugos and vgos (m/s), one time.

    Raises:
        SeaLevelError: a variable is missing, or the grid is not global, regular and ascending.
    """
    found = _read(path, ("latitude", "longitude", "adt", "ugos", "vgos"))
    lat, lon = found["latitude"], found["longitude"]
    for name, axis in (("latitude", lat), ("longitude", lon)):
        step = np.diff(axis)
        if axis.size < 8 or step.min() <= 0 or np.ptp(step) > 1e-3 * step[0]:
            raise SeaLevelError(f"{path}: {name} is not ascending and equidistant")
    if abs(lon.size * (lon[1] - lon[0]) - 360.0) > 1e-3:
        raise SeaLevelError(f"{path}: longitude does not cover the whole circle")
    grids = []
    for name in ("adt", "ugos", "vgos"):
        if found[name].size != lat.size * lon.size:
            expected = f"(1, {lat.size}, {lon.size})"
            raise SeaLevelError(f"{path}: {name} is {found[name].shape}, expected {expected}")
        grids.append(found[name].reshape(lat.size, lon.size))
    return Field(lat, lon % 360.0, *grids)


def load_eddies(cyclonic: str | Path, anticyclonic: str | Path) -> Eddies:
    """
    Read both files of the catalogue.

    Args:
        cyclonic: NetCDF-4 with latitude, longitude (degrees) and effective_radius (m), (n,) each.
        anticyclonic: the same of the other sign.

    Raises:
        SeaLevelError: a file is missing, lacks a variable or has columns of different lengths.
    """
    names = ("longitude", "latitude", "effective_radius")
    parts = []
    for path, sign in ((cyclonic, CYCLONIC), (anticyclonic, ANTICYCLONIC)):
        found = _read(path, names)
        if len({found[name].shape for name in names}) != 1 or found["latitude"].ndim != 1:
            raise SeaLevelError(f"{path}: {', '.join(names)} should be (n,) and equally long")
        lon, lat, radius_m = (found[name] for name in names)
        parts.append((lon % 360.0, lat, radius_m, np.full(lat.size, sign, dtype=np.int8)))
    return Eddies(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def basin(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.str_]:
    """
    Name the ocean basin of each point; "" outside every box of `BASINS`.

    Args:
        lon: degrees east, of any range and shape.
        lat: degrees north, of a shape that fits.

    Returns:
        Names, of the common shape.
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon, dtype=float) % 360.0, lat)
    names = np.full(lon.shape, "", dtype="<U8")
    for name, boxes in BASINS.items():
        for west, east, south, north in boxes:
            inside = ((lon - west) % 360.0 < east - west) & (lat >= south) & (lat < north)
            names[inside] = name
    return names


def eddy_mask(field: Field, eddies: Eddies) -> NDArray[np.int8]:
    """
    Mark the pixels that lie within an eddy, taken as a disc of its effective radius.

    Args:
        field: the grid.
        eddies: where two overlap, the later one counts.

    Returns:
        (lat, lon) the eddy's sign, or 0; the pixel nearest to a centre is always marked.
    """
    per_degree = EARTH_RADIUS_M * np.pi / 180.0
    mask = np.zeros(field.height.shape, dtype=np.int8)
    for lon, lat, radius_m, sign in zip(*eddies, strict=True):
        y = per_degree * (field.lat - lat)
        x = per_degree * ((field.lon - lon + 180.0) % 360.0 - 180.0) * np.cos(np.radians(lat))
        mask[np.abs(y).argmin(), np.abs(x).argmin()] = sign
        rows, cols = np.flatnonzero(np.abs(y) <= radius_m), np.flatnonzero(np.abs(x) <= radius_m)
        inside = y[rows, None] ** 2 + x[cols] ** 2 <= radius_m**2
        mask[rows[:, None], cols] = np.where(inside, sign, mask[rows[:, None], cols])
    return mask


def window_sum(mask: NDArray[np.bool_], side: int) -> NDArray[np.int64]:
    """
    Count the marked pixels of every square window, across the seam in longitude too.

    Args:
        mask: (lat, lon).
        side: pixels, at most the number of rows.

    Returns:
        (lat - side + 1, lon); element [i, j] counts rows i to i + side - 1 and as many columns.
    """
    wrapped = np.concatenate([mask, mask[:, : side - 1]], axis=1)
    total = np.pad(wrapped.astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    inner = total[side:, side:] - total[:-side, side:]
    return np.asarray(inner - total[side:, :-side] + total[:-side, :-side])


def _read(path: str | Path, names: tuple[str, ...]) -> dict[str, Array]:
    if not Path(path).is_file():
        raise SeaLevelError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            if missing := [name for name in names if name not in file]:
                raise SeaLevelError(
                    f"{path}: no variable {', '.join(missing)}; it has {', '.join(sorted(file))}"
                )
            return {name: _unpack(file[name]) for name in names}
    except OSError as exc:
        raise SeaLevelError(f"{path}: not a readable NetCDF-4 file ({exc})") from exc


def _unpack(variable: h5py.Dataset) -> Array:
    """Values by CF scale_factor and add_offset, fill as NaN."""

    def attribute(name: str, default: float) -> float:
        return float(np.ravel(variable.attrs.get(name, default))[0])

    raw = variable[...]
    values = raw * attribute("scale_factor", 1.0) + attribute("add_offset", 0.0)
    if "_FillValue" in variable.attrs:
        values[raw == np.ravel(variable.attrs["_FillValue"])[0]] = np.nan
    return np.asarray(values, dtype=np.float64)
