"""
A made-up piece of the Earth: ground, haze and three layers of cloud, on a grid of 1 km.

Nothing here is measured. Ranges are of the size textbooks give; README.md lists what is left out.
"""

from typing import NamedTuple

import numpy as np

from bands import Array
from fields import Grid, power_law

LAPSE_K_PER_KM = 6.5
VAPOUR_SCALE_KM = 2.0


class Layer(NamedTuple):
    """A layer of cloud; the fields are on the scene's grid."""

    optical_depth: Array  # at 0.55 µm, 0 where there is no cloud
    top_km: float
    ice_fraction: Array  # 0 droplets, 1 crystals
    radius_scale: float  # particle size over the usual one


class Scene(NamedTuple):
    """Everything at one time; layers from the lowest to the highest."""

    grid: Grid
    land: Array  # 0 or 1
    snow: Array  # 0 to 1, snow on land and ice on the sea
    dryness: Array  # 0 vegetation to 1 desert
    haze: Array  # aerosol optical depth at 0.55 µm
    surface_k: Array
    air_k: float  # at the ground
    vapour_cm: float  # precipitable water
    tropopause_km: float
    wind_m_s: tuple[float, float]  # along and across the track
    layers: tuple[Layer, ...]

    def temperature(self, height_km: float) -> float:
        """Air temperature, K: a constant lapse rate up to the tropopause."""
        return self.air_k - LAPSE_K_PER_KM * min(height_km, self.tropopause_km)

    def vapour_above(self, height_km: float) -> float:
        """Precipitable water above a height, cm."""
        return self.vapour_cm * float(np.exp(-height_km / VAPOUR_SCALE_KM))


class Column(NamedTuple):
    """The scene at places: what `Scene` and `Layer` have as fields, here one value a place."""

    land: Array
    snow: Array
    dryness: Array
    haze: Array
    surface_k: Array
    optical_depth: tuple[Array, ...]
    ice_fraction: tuple[Array, ...]


def make_scene(rng: np.random.Generator, grid: Grid, latitude_deg: float) -> Scene:
    """Draw a scene whose temperature and moisture suit the latitude."""
    warmth = np.cos(np.radians(latitude_deg)) ** 2
    air_k = 255.0 + 45.0 * warmth + rng.normal(0, 4)
    tropopause_km = 9.0 + 7.0 * warmth + rng.normal(0, 0.5)
    vapour_cm = 4.5 * np.exp(0.065 * (air_k - 300.0)) * rng.uniform(0.6, 1.3)
    land = (power_law(rng, grid.shape, 3.0) > rng.normal(0.4, 0.8)).astype(float)
    cold = (273.0 - air_k) + 4.0 * power_law(rng, grid.shape, 2.5) - 6.0 * (1 - land)
    snow = np.clip(cold / 6.0 + 0.5, 0, 1)
    dryness = np.clip(rng.uniform(0, 0.8) + 0.2 * power_law(rng, grid.shape, 2.5), 0, 1)
    warmer = land * (rng.uniform(-4, 12) + 2.0 * power_law(rng, grid.shape, 2.0))
    warmer = np.where(snow > 0.5, np.minimum(warmer, 0), warmer)
    haze = 0.08 * np.exp(0.6 * rng.standard_normal() + 0.3 * power_law(rng, grid.shape, 2.5))
    scene = Scene(
        grid, land, snow, dryness, haze, air_k + warmer, air_k, vapour_cm, tropopause_km,
        (rng.normal(0, 6), rng.normal(5, 6)), (),
    )  # fmt: skip
    low = _layer(rng, scene, rng.uniform(0.6, 3.0), 0.8 * rng.beta(0.8, 1.6), (7.0, 0.8), 2.6)
    middle = _layer(rng, scene, rng.uniform(3.5, 7.0), 0.4 * rng.beta(0.6, 2.0), (5.0, 0.9), 2.8)
    high = tropopause_km - rng.uniform(0.3, 4.0)
    top = _layer(rng, scene, max(high, 7.2), 0.8 * rng.beta(0.6, 1.6), (0.8, 1.3), 3.0)
    return scene._replace(layers=(low, middle, top))


def column_at(
    scene: Scene, along_km: Array, across_km: Array, shift_per_km: Array | float, wind_s: float
) -> Column:
    """
    Sample the scene along lines of sight.

    Args:
        scene: the fields.
        along_km: position of the line of sight on the ground, along the track.
        across_km: the same across the track.
        shift_per_km: horizontal way of the line of sight across the track per km of height
            (the tangent of the zenith angle, with the sign of the way to the satellite).
        wind_s: seconds for which the clouds have been drifting.
    """
    take = scene.grid.sample
    drift = [speed * wind_s / 1000.0 for speed in scene.wind_m_s]
    depth, ice = [], []
    for layer in scene.layers:
        there = (along_km - drift[0], across_km + shift_per_km * layer.top_km - drift[1])
        depth.append(take(layer.optical_depth, *there))
        ice.append(take(layer.ice_fraction, *there))
    return Column(
        take(scene.land, along_km, across_km),
        take(scene.snow, along_km, across_km),
        take(scene.dryness, along_km, across_km),
        take(scene.haze, along_km, across_km),
        take(scene.surface_k, along_km, across_km),
        tuple(depth),
        tuple(ice),
    )


def _layer(
    rng: np.random.Generator,
    scene: Scene,
    top_km: float,
    cover: float,
    depth: tuple[float, float],
    exponent: float,
) -> Layer:
    """Draw a layer: cover 0 to 1; median and log standard deviation of its optical depth."""
    shape = scene.grid.shape
    where = power_law(rng, shape, exponent + rng.uniform(-0.5, 0.5))
    excess = where - np.quantile(where, 1 - cover)
    thickness = depth[0] * np.exp(0.5 * depth[1] * rng.standard_normal())
    thickness = thickness * np.exp(depth[1] * power_law(rng, shape, 2.8))
    optical_depth = np.where(excess > 0, thickness * np.minimum(excess / 0.4, 1.0), 0.0)
    # droplets freeze between about 0 and -38 °C; where in between differs from cloud to cloud
    coldness = (250.0 - scene.temperature(top_km)) / 5.0
    freezing = coldness + rng.normal(0, 1.0) + 1.5 * power_law(rng, shape, 2.8)
    ice = 1 / (1 + np.exp(-np.clip(2.0 * freezing, -30, 30)))
    ice = np.where(scene.temperature(top_km) < 235.0, 1.0, ice)
    ice = np.where(scene.temperature(top_km) > 272.0, 0.0, ice)
    return Layer(optical_depth, top_km, ice, float(np.exp(0.25 * rng.standard_normal())))
