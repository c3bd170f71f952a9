"""Random fields with a power-law spectrum, as clouds and land have them, on a 1 km grid."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import map_coordinates

from bands import Array


class Grid(NamedTuple):
    """A grid of 1 km; `south` and `west` are the first node's position, km along and across."""

    south: float
    west: float
    shape: tuple[int, int]

    def sample(self, field: Array, along_km: Array, across_km: Array) -> Array:
        """Bilinear values at positions; outside the grid the value of its rim."""
        position = np.stack([along_km - self.south, across_km - self.west])
        return np.asarray(map_coordinates(field, position, order=1, mode="nearest"))


def grid_around(along_km: Array, across_km: Array, margin_km: float) -> Grid:
    """The smallest grid that holds the positions and a margin."""
    south, west = (float(np.floor(km.min() - margin_km)) for km in (along_km, across_km))
    north, east = (float(np.ceil(km.max() + margin_km)) for km in (along_km, across_km))
    return Grid(south, west, (int(north - south) + 1, int(east - west) + 1))


def power_law(rng: np.random.Generator, shape: tuple[int, int], exponent: float) -> Array:
    """
    A Gaussian field of mean 0 and standard deviation 1.

    Args:
        rng: source of the white noise that is filtered.
        shape: rows and columns.
        exponent: of the power spectrum k^-exponent in two dimensions; larger is smoother.
    """
    white = np.fft.rfft2(rng.standard_normal(shape))
    wavenumber = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    wavenumber[0, 0] = np.inf  # no mean
    field = np.fft.irfft2(white * wavenumber ** (-exponent / 2), s=shape)
    return np.asarray(field / field.std())
