"""
Tiles of the sea-level field with the boxes of the published eddies.

A tile owns the eddies whose centre lies in its core and sees a margin around it, so that each eddy
is asked for once and is seen whole. Training and test differ by ocean basin: a cell of another part
is hidden from a tile as if it were land, and what is found there does not count.
"""

from pathlib import Path
from typing import NamedTuple, TypeVar

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from examples import ExampleError, Examples, table
from network import STRIDE
from sea_level import CYCLONIC, EARTH_RADIUS_M, Array, Eddies, Field, basin

PARTS = {"train": ("atlantic", "pacific"), "test": ("indian",)}
NAMES = ("cyclonic", "anticyclonic")
MARGIN = 8  # cells; 98 % of the boxes are at most twice as wide and as high
TROPICS_DEG = 5.0  # nearer to the equator the balance that links height and rotation fails
LEAST_SIDE = float(STRIDE)  # cells; what is smaller cannot be told from its neighbour on the head
LEAST_CELLS = 16  # a tile with fewer counted cells of the head is left out
CUTOFF_KM = 700.0
SCALE_M = 0.03  # of the inverse hyperbolic sine: linear below, logarithmic above

Value = TypeVar("Value", bound=np.generic)


class Places(NamedTuple):
    """
    Eddies in cells of the global grid.

    Attributes:
        boxes: (n, 4) centre and size; x from 0 to the number of columns.
        kind: (n,) place in `NAMES`.
    """

    boxes: Array
    kind: NDArray[np.int64]


def eddy_boxes(field: Field, eddies: Eddies, cyclonic: Path, anticyclonic: Path) -> Places:
    """
    Boxes around the published eddies, those less than `LEAST_SIDE` wide or high left out.

    A box is the extent of the outermost closed contour; where a file has none, that of the disc
    of the effective radius.

    Args:
        field: the grid.
        eddies: the catalogue.
        cyclonic: its file of cyclones, for the contours.
        anticyclonic: its file of anticyclones.
    """
    half = np.degrees(eddies.radius_m / EARTH_RADIUS_M)
    extents = np.stack([-half, -half, half, half], axis=1)
    extents[:, ::2] /= np.cos(np.radians(eddies.lat))[:, None]
    extents += np.stack([eddies.lon, eddies.lat] * 2, axis=1)
    for path, cyclones in ((cyclonic, True), (anticyclonic, False)):
        contours = contour_extents(path)
        if contours is not None:
            extents[(eddies.sign == CYCLONIC) == cyclones] = contours
    step = field.lat[1] - field.lat[0]
    outer = np.array([field.lon[0], field.lat[0]] * 2) - step / 2
    cells = (extents - outer) / step
    boxes = np.concatenate([(cells[:, :2] + cells[:, 2:]) / 2, cells[:, 2:] - cells[:, :2]], axis=1)
    boxes[:, 0] %= field.lon.size
    large = (boxes[:, 2:] >= LEAST_SIDE).all(axis=1)
    return Places(boxes[large], np.where(eddies.sign == CYCLONIC, 0, 1)[large])


def contour_extents(path: Path) -> Array | None:
    """West, south, east, north of each effective contour, (n, 4) degrees; None without contours."""
    names = ("effective_contour_longitude", "effective_contour_latitude")
    with h5py.File(path, "r") as file:
        if any(name not in file for name in names):
            return None
        lon, lat = (
            file[name][...] * np.ravel(file[name].attrs.get("scale_factor", 1.0))[0]
            + np.ravel(file[name].attrs.get("add_offset", 0.0))[0]
            for name in names
        )
    lon = lon[:, :1] + (lon - lon[:, :1] + 180.0) % 360.0 - 180.0  # across the seam
    return np.stack([lon.min(1), lat.min(1), lon.max(1), lat.max(1)], axis=1)


def anomaly(field: Field, used: NDArray[np.bool_], cutoff_km: float = CUTOFF_KM) -> Array:
    """
    Height less its Gaussian mean, the response of which is one half at the wavelength `cutoff_km`.

    The width in kilometres is the same at every latitude.

    Args:
        field: the sea level.
        used: (lat, lon) cells with a value; the others have no weight.
        cutoff_km: of the filter.

    Returns:
        (lat, lon) m; 0 where there is no value.
    """
    sigma_km = cutoff_km * np.sqrt(2.0 * np.log(2.0)) / (2.0 * np.pi)
    sigma_deg = np.degrees(1e3 * sigma_km / EARTH_RADIUS_M)
    north = np.exp(-0.5 * ((field.lat[:, None] - field.lat) / sigma_deg) ** 2)
    east = np.minimum(field.lon - field.lon[0], 360.0 - (field.lon - field.lon[0]))
    width = sigma_deg / np.maximum(np.cos(np.radians(field.lat)), 0.05)
    rows = np.exp(-0.5 * (east / width[:, None]) ** 2)
    response = np.fft.rfft(rows / rows.sum(axis=1, keepdims=True), axis=1)
    smooth = [
        north @ np.fft.irfft(np.fft.rfft(values, axis=1) * response, field.lon.size, axis=1)
        for values in (np.where(used, field.height, 0.0), used.astype(np.float64))
    ]
    mean = smooth[0] / np.maximum(smooth[1], 1e-12)
    return np.where(used, field.height - mean, 0.0)


def make_examples(field: Field, places: Places, part: str, side: int) -> Examples:
    """
    Cut one part of the field into tiles.

    Args:
        field: the sea level.
        places: the eddies.
        part: key of `PARTS`.
        side: cells of a tile with its margins, even.

    Returns:
        Tiles from south to north and west to east. Channels: the anomaly, compressed, and the mask.

    Raises:
        ExampleError: `side` leaves no core, or there is no eddy.
    """
    core = side - 2 * MARGIN
    if core < STRIDE or side % STRIDE:
        raise ExampleError(f"tile: got {side}, expected an even number above {2 * MARGIN}")
    mine = np.isin(basin(field.lon[None], field.lat[:, None]), PARTS[part]) & field.ocean
    counting = mine & (np.abs(field.lat) >= TROPICS_DEG)[:, None]
    values = np.arcsinh(anomaly(field, mine) / SCALE_M)
    step = field.lat[1] - field.lat[0]
    images, counted, parts, origins, frames = [], [], [], [], []
    for row in range(0, field.lat.size, core):
        for col in range(0, field.lon.size, core):
            window = Window(row, col, side, core)
            seen = window.cut(mine)
            counts = coarse(window.cut(counting) & window.own(mine.shape))
            if counts.sum() < LEAST_CELLS:
                continue
            boxes, kind = window.owned(places, counts, field.lon.size)
            images.append(np.stack([window.cut(values) * seen, seen]).astype(np.float32))
            counted.append(counts)
            parts.append((torch.from_numpy(kind), torch.from_numpy(boxes)))
            origins.append(f"row {row} column {col}")
            frames.append(
                (
                    field.lon[0] + (col - MARGIN - 0.5) * step,
                    field.lat[0] + (row - MARGIN - 0.5) * step,
                    step,
                )
            )
    if not sum(len(kind) for kind, _ in parts):
        raise ExampleError(f"{part}: no eddy in {', '.join(PARTS[part])}")
    return Examples(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(counted)),
        table(parts, (side, side)),
        NAMES,
        tuple(origins),
        torch.tensor(frames, dtype=torch.float64),
    )


class Window(NamedTuple):
    """A tile: where its core begins, the side of the tile and that of the core, cells."""

    row: int
    col: int
    side: int
    core: int

    def cut(self, field: NDArray[Value]) -> NDArray[Value]:
        """The tile's part of a global field (lat, lon); zero beyond the poles."""
        rows = np.arange(self.row - MARGIN, self.row - MARGIN + self.side)
        cols = np.arange(self.col - MARGIN, self.col - MARGIN + self.side) % field.shape[1]
        inside = (rows >= 0) & (rows < field.shape[0])
        cut = field[np.clip(rows, 0, field.shape[0] - 1)][:, cols]
        return np.where(inside[:, None], cut, np.zeros((), dtype=field.dtype))

    def own(self, globe: tuple[int, ...]) -> NDArray[np.bool_]:
        """Mask of the core; the last column of tiles does not count what the first one has."""
        mask = np.zeros((self.side, self.side), dtype=bool)
        rows = min(self.core, globe[0] - self.row)
        cols = min(self.core, globe[1] - self.col)
        mask[MARGIN : MARGIN + rows, MARGIN : MARGIN + cols] = True
        return mask

    def owned(
        self, places: Places, counted: NDArray[np.bool_], columns: int
    ) -> tuple[Array, NDArray[np.int64]]:
        """Boxes (m, 4) in cells of the tile and classes of the eddies with a counted centre."""
        boxes = places.boxes - (self.col - MARGIN, self.row - MARGIN, 0.0, 0.0)
        boxes[:, 0] %= columns
        cells = np.floor(boxes[:, :2] / STRIDE).astype(np.int64)
        within = np.flatnonzero(((cells >= 0) & (cells < len(counted))).all(axis=1))
        mine = within[counted[cells[within, 1], cells[within, 0]]]
        return boxes[mine], places.kind[mine]


def coarse(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells of the head with at least one marked cell of the tile in them."""
    side = len(mask) // STRIDE
    return np.asarray(mask.reshape(side, STRIDE, side, STRIDE).any(axis=(1, 3)))
