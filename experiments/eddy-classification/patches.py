"""
Patches of the sea-level field with a published eddy in them, and patches without any.

With an eddy: the disc of the effective radius lies wholly within the patch, at a random place.
Without: no disc of any eddy touches the patch. As such places are more frequent in some latitudes
than in others, each band of latitude gives as many of one kind as of the other; otherwise a network
could tell the two apart by how strong the currents are. Patches are square in grid pixels.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from samples import Dataset, SampleError, Samples, Symmetry, standardize
from sea_level import EARTH_RADIUS_M, Eddies, Field, basin, eddy_mask, window_sum

TEST_BASIN = "indian"
LATITUDES = (10.0, 60.0)  # geostrophy fails at the equator, sea ice hides the sea near the poles
BAND_DEG = 10.0
LEAST_OCEAN = 0.6
CHANNELS = ("height (m)", "eastward velocity (m/s)", "northward velocity (m/s)", "ocean")

# mirrored from east to west or from south to north the currents stay in geostrophic balance, and
# a cyclone turns into an anticyclone when the sign of everything changes
SYMMETRIES = (
    Symmetry(3, (1, 1, -1, 1)),
    Symmetry(2, (1, -1, 1, 1)),
    Symmetry(None, (-1, -1, -1, 1)),
)

Corners = NDArray[np.int64]


class Candidates(NamedTuple):
    """
    Where patches may lie, by the row and column of their south-west corner.

    Attributes:
        corners: (n, 2) row and column.
        labels: (n,) 1 with an eddy, 0 without.
        radius_km: (n,) effective radius of the eddy, NaN without.
    """

    corners: Corners
    labels: NDArray[np.int64]
    radius_km: NDArray[np.float64]

    def take(self, index: NDArray[np.int64]) -> "Candidates":
        """The candidates at these places."""
        return Candidates(*(column[index] for column in self))


def make_dataset(field: Field, eddies: Eddies, side: int, most: int, seed: int) -> Dataset:
    """
    Cut balanced training and test patches out of the field.

    Args:
        field: the sea level and its currents.
        eddies: the catalogue of the same day.
        side: of a patch, pixels.
        most: of the training patches; 0 for all there are. The test patches are all there are.
        seed: of the places, the choice and the order.

    Raises:
        SampleError: fewer than two patches of a part.
    """
    rng = np.random.default_rng(seed)
    in_train, in_test = parts(field, side)
    positive = around_eddies(field, eddies, side, rng)
    negative = away_from_eddies(eddy_mask(field, eddies) != 0, side, rng)
    chosen = []
    for name, allowed, limit in (("training", in_train, most), ("test", in_test, 0)):
        found = balance(positive, negative, allowed, band_of(field, side), rng, limit)
        if found.labels.size < 2:
            raise SampleError(f"no {name} patches of {side} x {side} pixels; try a smaller patch")
        chosen.append(cut(field, found, side))
    train, test, scales = standardize(*chosen, CHANNELS, centre=False)
    return Dataset(train, test, CHANNELS, scales, SYMMETRIES, "sea level from altimetry")


def parts(field: Field, side: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """
    Where patches of the training and of the test part may lie.

    Test patches lie wholly in the test basin, training patches wholly in other basins and at least
    one side of a patch away from it.

    Returns:
        Two masks over corners, (lat - side + 1, lon) each.
    """
    names = basin(field.lon[None, :], field.lat[:, None])
    held_out = names == TEST_BASIN
    allowed = window_sum(field.ocean, side) >= LEAST_OCEAN * side * side
    south = field.lat[: field.lat.size - side + 1]
    north = field.lat[side - 1 :]
    nearest = np.minimum(np.abs(south), np.abs(north))
    allowed &= ((nearest >= LATITUDES[0]) & (south * north > 0))[:, None]
    allowed &= (np.maximum(np.abs(south), np.abs(north)) <= LATITUDES[1])[:, None]
    in_test = allowed & (window_sum(held_out, side) == side * side)
    padded = np.pad(held_out, ((side, side), (0, 0)))
    around = np.roll(window_sum(padded, 3 * side), side, axis=1)  # of the patch and a side around
    in_train = allowed & (window_sum(names != "", side) == side * side) & (around == 0)
    return in_train, in_test


def around_eddies(field: Field, eddies: Eddies, side: int, rng: np.random.Generator) -> Candidates:
    """One patch for each eddy that fits into one, its disc at a random place in it."""
    step = field.lat[1] - field.lat[0]
    half_rows = np.degrees(eddies.radius_m / EARTH_RADIUS_M) / step
    half_cols = half_rows / np.cos(np.radians(eddies.lat))
    lowest, highest = [], []
    for centre, origin, half in (
        (eddies.lat, field.lat[0], half_rows),
        ((eddies.lon - field.lon[0]) % 360.0, 0.0, half_cols),
    ):
        pixel = (centre - origin) / step
        lowest.append(np.ceil(pixel + half).astype(np.int64) - side + 1)
        highest.append(np.floor(pixel - half).astype(np.int64))
    low, high = np.stack(lowest, axis=1), np.stack(highest, axis=1)
    low[:, 0] = np.maximum(low[:, 0], 0)
    high[:, 0] = np.minimum(high[:, 0], field.lat.size - side)
    corners = low + np.floor(rng.random(low.shape) * (high - low + 1)).astype(np.int64)
    corners[:, 1] %= field.lon.size
    fits = np.flatnonzero((high >= low).all(axis=1))
    every = Candidates(corners, np.ones(len(corners), dtype=np.int64), eddies.radius_m / 1e3)
    return every.take(fits)


def away_from_eddies(covered: NDArray[np.bool_], side: int, rng: np.random.Generator) -> Candidates:
    """Patches without a covered pixel, in random order, none nearer to another than half a side."""
    free = window_sum(covered, side) == 0
    near = side // 2
    corners = []
    for row, col in rng.permutation(np.argwhere(free)).tolist():
        if free[row, col]:
            corners.append((row, col))
            cols = np.arange(col - near + 1, col + near) % free.shape[1]
            free[max(row - near + 1, 0) : row + near, cols] = False
    count = len(corners)
    where = np.array(corners, dtype=np.int64).reshape(count, 2)
    return Candidates(where, np.zeros(count, dtype=np.int64), np.full(count, np.nan))


def band_of(field: Field, side: int) -> NDArray[np.int64]:
    """Number of the latitude band of each row of corners, by the middle of the patch."""
    middle = (field.lat[: field.lat.size - side + 1] + field.lat[side - 1 :]) / 2.0
    return np.floor(middle / BAND_DEG).astype(np.int64)


def balance(
    positive: Candidates,
    negative: Candidates,
    allowed: NDArray[np.bool_],
    bands: NDArray[np.int64],
    rng: np.random.Generator,
    most: int,
) -> Candidates:
    """
    Draw as many patches with an eddy as without from each band of latitude.

    Args:
        positive: with an eddy.
        negative: without.
        allowed: mask over corners.
        bands: (rows of corners,) number of each row's band.
        rng: draws.
        most: of all patches together, 0 for as many as there are; every band is cut alike.

    Returns:
        The drawn patches in random order.
    """
    kinds = [
        kind.take(np.flatnonzero(allowed[tuple(kind.corners.T)])) for kind in (positive, negative)
    ]
    pairs = []  # per band, (pairs, 2) indices into both kinds
    for band in np.unique(bands):
        both = [
            rng.permutation(np.flatnonzero(bands[kind.corners[:, 0]] == band)) for kind in kinds
        ]
        count = min(index.size for index in both)
        pairs.append(np.stack([index[:count] for index in both], axis=1))
    drawn = rng.permutation(np.concatenate(pairs))
    if most:
        drawn = drawn[: most // 2]
    chosen = [kind.take(index) for kind, index in zip(kinds, drawn.T, strict=True)]
    joined = Candidates(*(np.concatenate(columns) for columns in zip(*chosen, strict=True)))
    return joined.take(rng.permutation(joined.labels.size))


def cut(field: Field, found: Candidates, side: int) -> Samples:
    """Cut patches out of the field: height less its mean over the patch's ocean, currents, mask."""
    rows = found.corners[:, :1] + np.arange(side)
    cols = (found.corners[:, 1:] + np.arange(side)) % field.lon.size
    ocean = field.ocean[rows[:, :, None], cols[:, None, :]]
    height, u, v = (
        np.where(ocean, grid[rows[:, :, None], cols[:, None, :]], 0.0)
        for grid in (field.height, field.u, field.v)
    )
    mean = height.sum(axis=(1, 2)) / ocean.sum(axis=(1, 2))
    height = np.where(ocean, height - mean[:, None, None], 0.0)
    step = field.lat[1] - field.lat[0]
    lat = field.lat[found.corners[:, 0]] + step * (side - 1) / 2.0
    lon = (field.lon[found.corners[:, 1]] + step * (side - 1) / 2.0) % 360.0
    about = {
        "longitude": np.round(lon, 3),
        "latitude": np.round(lat, 3),
        "basin": basin(lon, lat),
        "radius_km": np.round(found.radius_km, 2),
    }
    images = np.stack([height, u, v, ocean], axis=1).astype(np.float32)
    return Samples(images, found.labels, about)
