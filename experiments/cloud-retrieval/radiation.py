"""
What VIIRS would measure above a `Column`: two-stream adding in the sun, emission in the infrared.

One layer above the other: R = r + t² A / (1 - r A) for a layer (r, t) over something that reflects
A; water vapour absorbs between them. No phase functions, no multiple scattering in the infrared,
one wavelength a band.
"""

from typing import NamedTuple

import numpy as np

from bands import BANDS, Array, Band, planck
from scene import VAPOUR_SCALE_KM, Column, Scene
from swath import Angles


class Optics(NamedTuple):
    """Of one band: reflectances of ground, single scattering, absorption."""

    ocean: float
    green: float
    desert: float
    snow: float
    coalbedo_water: float  # 1 - single-scattering albedo
    coalbedo_ice: float
    absorption_water: float  # absorption optical depth per optical depth at 0.55 µm
    absorption_ice: float
    vapour: float  # absorption by water vapour, cm-1
    sunlight: float = 0.0  # at the Earth, W m-2 µm-1, where the Sun adds to the emission


OPTICS = {
    "M01": Optics(0.020, 0.04, 0.12, 0.93, 1e-6, 1e-6, 0, 0, 0.0),
    "M02": Optics(0.018, 0.04, 0.14, 0.94, 1e-6, 1e-6, 0, 0, 0.0),
    "M03": Optics(0.015, 0.05, 0.17, 0.94, 1e-6, 1e-6, 0, 0, 0.0),
    "M04": Optics(0.010, 0.09, 0.24, 0.93, 1e-6, 1e-6, 0, 0, 0.001),
    "M05": Optics(0.006, 0.06, 0.34, 0.92, 1e-5, 1e-5, 0, 0, 0.002),
    "M06": Optics(0.005, 0.22, 0.37, 0.90, 1e-5, 1e-5, 0, 0, 0.008),
    "M07": Optics(0.004, 0.33, 0.40, 0.86, 5e-5, 5e-5, 0, 0, 0.006),
    "M08": Optics(0.003, 0.34, 0.46, 0.48, 0.0008, 0.004, 0, 0, 0.015),
    "M09": Optics(0.003, 0.25, 0.40, 0.30, 0.0020, 0.015, 0, 0, 3.0),
    "M10": Optics(0.002, 0.23, 0.50, 0.12, 0.0060, 0.050, 0, 0, 0.008),
    "M11": Optics(0.002, 0.11, 0.42, 0.10, 0.0150, 0.060, 0, 0, 0.03),
    "M12": Optics(0.02, 0.04, 0.12, 0.03, 0.10, 0.27, 0.45, 0.45, 0.05, 11.0),
    "M13": Optics(0.02, 0.04, 0.10, 0.03, 0.13, 0.30, 0.45, 0.45, 0.06, 8.0),
    "M14": Optics(0.015, 0.03, 0.15, 0.015, 0, 0, 0.42, 0.38, 0.09),
    "M15": Optics(0.010, 0.02, 0.04, 0.005, 0, 0, 0.44, 0.52, 0.06),
    "M16": Optics(0.015, 0.02, 0.03, 0.020, 0, 0, 0.60, 0.60, 0.10),
}
ASYMMETRY_WATER, ASYMMETRY_ICE = 0.86, 0.77
DIFFUSE_COSINE = 2 / 3  # mean cosine for which the layer's optical depth counts as it is


def measure(scene: Scene, column: Column, angles: Angles) -> Array:
    """
    Top-of-atmosphere values of all bands, without noise.

    Returns:
        (16, ...): π L / E for M01-M11 (reflectance times the cosine of the solar zenith angle, as
        the product has it), radiance in W m-2 sr-1 µm-1 for M12-M16.
    """
    return np.stack(
        [(_emitted if band.emissive else _reflected)(band, scene, column, angles) for band in BANDS]
    )


def cosines(angles: Angles) -> tuple[Array, Array]:
    """Cosines of the solar and the sensor zenith angle; the Sun never below 1 degree."""
    sun = np.cos(np.radians(np.minimum(angles.solar_zenith, 89.0)))
    return sun, np.cos(np.radians(angles.sensor_zenith))


def scattering_cosine(angles: Angles) -> Array:
    """Cosine of the scattering angle of light that is reflected once."""
    sun, view = cosines(angles)
    between = np.radians(angles.solar_azimuth - angles.sensor_azimuth)
    sines = np.sqrt((1 - sun**2) * (1 - view**2))
    return np.asarray(-(sun * view) - sines * np.cos(between))


def two_stream(optical_depth: Array, coalbedo: Array, asymmetry: Array) -> tuple[Array, Array]:
    """Reflectance and transmittance of a layer in diffuse light, for any absorption."""
    coalbedo = np.maximum(coalbedo, 1e-7)
    scattered = 1 - (1 - coalbedo) * asymmetry
    root = np.sqrt(coalbedo / scattered)
    deep = (1 - root) / (1 + root)  # reflectance of an infinitely deep layer
    fading = np.exp(-np.sqrt(3 * coalbedo * scattered) * optical_depth)
    whole = 1 - (deep * fading) ** 2
    return deep * (1 - fading**2) / whole, (1 - deep**2) * fading / whole


def _ground(optics: Optics, column: Column) -> Array:
    land = optics.green + (optics.desert - optics.green) * column.dryness
    bare = optics.ocean + (land - optics.ocean) * column.land
    return np.asarray(bare + (optics.snow - bare) * column.snow)


def _glint(column: Column, angles: Angles) -> Array:
    """Mirror image of the Sun on the sea, a Gaussian of 12 degrees around the mirror direction."""
    sun, view = cosines(angles)
    between = np.radians(angles.solar_azimuth - angles.sensor_azimuth)
    sines = np.sqrt((1 - sun**2) * (1 - view**2))
    off = np.degrees(np.arccos(np.clip(sun * view - sines * np.cos(between), -1, 1)))
    return np.asarray(0.25 * np.exp(-((off / 12.0) ** 2)) * (1 - column.land) * (1 - column.snow))


def _cloud(optics: Optics, scene: Scene, column: Column, number: int) -> tuple[Array, Array]:
    """Single-scattering properties of a layer: co-albedo and asymmetry parameter."""
    ice = column.ice_fraction[number]
    coalbedo = optics.coalbedo_water + (optics.coalbedo_ice - optics.coalbedo_water) * ice
    asymmetry = ASYMMETRY_WATER + (ASYMMETRY_ICE - ASYMMETRY_WATER) * ice
    return np.minimum(coalbedo * scene.layers[number].radius_scale, 0.5), asymmetry


def _upward(optics: Optics, scene: Scene, column: Column, angles: Angles) -> Array:
    """Reflectance at the top of the clouds and vapour, from the ground up."""
    sun, view = cosines(angles)
    path = DIFFUSE_COSINE * 0.5 * (1 / sun + 1 / view)
    reflected = _ground(optics, column) + _glint(column, angles)
    below = scene.vapour_above(0.0)
    for number, layer in enumerate(scene.layers):
        above = scene.vapour_above(layer.top_km)
        reflected = reflected * np.exp(-optics.vapour * (below - above) * (1 / sun + 1 / view))
        below = above
        depth = column.optical_depth[number] * path
        r, t = two_stream(depth, *_cloud(optics, scene, column, number))
        reflected = r + t**2 * reflected / (1 - r * reflected)
    return np.asarray(reflected * np.exp(-optics.vapour * below * (1 / sun + 1 / view)))


def _reflected(band: Band, scene: Scene, column: Column, angles: Angles) -> Array:
    """Reflectance with molecules and haze seen above what the clouds leave of it."""
    sun, view = cosines(angles)
    cosine = scattering_cosine(angles)
    molecules = 0.00877 * band.wavelength_um**-4.05 * 0.75 * (1 + cosine**2)
    aerosol = column.haze * (band.wavelength_um / 0.55) ** -1.2 * 0.5
    single = (molecules + aerosol) / (4 * sun * view)
    path = single / (1 + single)  # saturates where single scattering would exceed it
    cover = np.exp(-0.5 * sum(column.optical_depth))
    if band.name == "M09":
        path = path * 0.0  # the vapour above hides the lower air
    upward = _upward(OPTICS[band.name], scene, column, angles)
    return np.asarray((upward + path * cover * (1 - upward)) * sun)


def _emitted(band: Band, scene: Scene, column: Column, angles: Angles) -> Array:
    """Radiance: emission from the ground up, and sunlight where the band has some."""
    optics = OPTICS[band.name]
    sun, view = cosines(angles)
    wavelength = band.wavelength_um
    radiance = (1 - _ground(optics, column)) * planck(column.surface_k, wavelength)
    height, below = 0.0, scene.vapour_above(0.0)
    for number, layer in enumerate(scene.layers):
        above = scene.vapour_above(layer.top_km)
        clear = np.exp(-optics.vapour * (below - above) / view)
        air = scene.temperature(min((height + layer.top_km) / 2, height + VAPOUR_SCALE_KM))
        radiance = radiance * clear + (1 - clear) * planck(air, wavelength)
        ice = column.ice_fraction[number]
        absorbing = (
            optics.absorption_water + (optics.absorption_ice - optics.absorption_water) * ice
        )
        through = np.exp(-absorbing * column.optical_depth[number] / view)
        cloud = planck(scene.temperature(layer.top_km), wavelength)
        radiance = radiance * through + (1 - through) * cloud
        height, below = layer.top_km, above
    if optics.sunlight:
        sunlit = _upward(optics, scene, column, angles)
        radiance = radiance + sunlit * sun * optics.sunlight / np.pi
    return np.asarray(radiance)
