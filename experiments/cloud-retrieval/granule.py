"""One made-up crossing of the two satellites: orbit, scene, noise, missing data, three files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import lidar
import radiation
import swath
import viirs_files
from bands import BANDS, Array, planck
from caliop_files import EPOCH, Profiles, write_profiles
from fields import grid_around
from scene import Scene, column_at, make_scene

INCLINATION_DEG = 98.7
CROSSING_HOUR = 13.5  # local solar time
SCAN_S = 1.786
MARGIN_KM = 60.0  # lines of sight through high cloud near the edge of the swath, and wind
REFLECTANCE_NOISE = (0.0015, 0.004)  # constant, and share of the value
TEMPERATURE_NOISE_K = {"M12": 0.12, "M13": 0.11, "M14": 0.06, "M15": 0.03, "M16": 0.04}  # at 270 K
CALIBRATION_ERROR = 0.015  # of a band in a granule, one standard deviation
LINES_AT_ONCE = 64
FIRST = datetime(2012, 3, 1, tzinfo=UTC)
DAYS_BETWEEN = 17  # so that few granules have all seasons
MOST = 240  # granules, a day's number of 6 minutes; the last one is of 2023


class Size(NamedTuple):
    """Of a granule: scans of 16 lines, and pixels cut out of the 3200 of a line."""

    scans: int
    pixels: int


class Files(NamedTuple):
    """The three files of a crossing."""

    imagery: Path
    geolocation: Path
    profiles: tuple[Path, ...]


class Orbit(NamedTuple):
    """When and where: the middle of the granule and the Sun."""

    start: datetime
    latitude_deg: float
    longitude_deg: float
    frame: swath.Frame
    sun: Array


def write_granule(folder: Path, seed: int, number: int, size: Size) -> Files:
    """
    Make granule `number` of a seed and write it.

    The same seed, number and size give the same content, whatever else is made.

    Args:
        folder: an existing folder.
        seed: of the whole set.
        number: 0 to 239.
        size: how much of a granule.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, number)))
    orbit = _orbit(rng, number)
    columns = np.arange(size.pixels) + rng.integers(0, swath.LINE_PIXELS - size.pixels + 1)
    along, across = swath.ground_positions(size.scans, columns)
    angles = swath.view_angles(orbit.frame, along, columns, orbit.sun)
    scene = make_scene(rng, grid_around(along, across, MARGIN_KM), orbit.latitude_deg)
    slope = -np.tan(np.radians(swath.sensor_zenith(swath.scan_angles()[columns])))
    counts = _counts(rng, _values(scene, along, across, slope, angles))
    counts = _lose(rng, counts, columns)
    latitude, longitude = swath.latitude_longitude(swath.to_sphere(orbit.frame, along, across))
    start = (orbit.start - EPOCH).total_seconds()
    scan = np.arange(along.shape[0]) // swath.DETECTORS
    time_s = np.broadcast_to((start + scan * SCAN_S)[:, None], along.shape)
    place = viirs_files.Geolocation(latitude, longitude, angles, time_s)
    profiles = _profiles(rng, scene, orbit, (along, across), start + scan[-1] * SCAN_S / 2)
    return _write(folder, orbit.start, counts, place, profiles)


def _orbit(rng: np.random.Generator, number: int) -> Orbit:
    """Draw a latitude until the Sun is at least 12 degrees up there; the time is the number's."""
    minute = 6 * number
    start = FIRST + timedelta(days=DAYS_BETWEEN * number, minutes=minute)
    while True:
        latitude = float(np.degrees(np.arcsin(rng.uniform(-0.9, 0.95))))
        hour = CROSSING_HOUR + rng.normal(0, 0.4) - minute / 60
        longitude = (15 * hour + 180) % 360 - 180
        season = 2 * np.pi * (start.timetuple().tm_yday + 10) / 365.25
        noon = (15 * (12 - minute / 60) + 180) % 360 - 180
        sun = swath.unit_vectors(float(-23.44 * np.cos(season)), noon)
        turn = np.cos(np.radians(INCLINATION_DEG)) / np.cos(np.radians(latitude))
        frame = swath.frame_at(latitude, longitude, float(np.degrees(np.arcsin(turn))))
        if frame.up @ sun > np.sin(np.radians(12.0)):
            return Orbit(start, latitude, longitude, frame, sun)


def _values(scene: Scene, along: Array, across: Array, slope: Array, angles: swath.Angles) -> Array:
    """Noise-free values of all bands, (16, lines, pixels); some lines at a time fit the caches."""
    parts = []
    for first in range(0, along.shape[0], LINES_AT_ONCE):
        lines = slice(first, first + LINES_AT_ONCE)
        slopes = np.broadcast_to(slope, along[lines].shape)
        column = column_at(scene, along[lines], across[lines], slopes, 0.0)
        part = swath.Angles(*(angle[lines] for angle in angles))
        parts.append(radiation.measure(scene, column, part))
    return np.concatenate(parts, axis=1)


def _counts(rng: np.random.Generator, values: Array) -> NDArray[np.uint16]:
    """Add errors of calibration and noise of detectors, and store as counts."""
    counts = np.empty(values.shape, dtype=np.uint16)
    for number, band in enumerate(BANDS):
        if band.emissive:
            warmer = planck(270.0 + TEMPERATURE_NOISE_K[band.name], band.wavelength_um)
            noise = np.asarray(warmer - planck(270.0, band.wavelength_um))
        else:
            noise = REFLECTANCE_NOISE[0] + REFLECTANCE_NOISE[1] * values[number]
        gain = 1 + CALIBRATION_ERROR * rng.standard_normal()
        if band.emissive:
            gain = 1 + (gain - 1) / 5  # a few tenths of a kelvin
        noisy = values[number] * gain + noise * rng.standard_normal(values[number].shape)
        counts[number] = viirs_files.encode(noisy, band)
    return counts


def _lose(
    rng: np.random.Generator, counts: NDArray[np.uint16], columns: NDArray[np.int64]
) -> NDArray[np.uint16]:
    """Put in what real granules lack: bow-tie deletion, lost packets, a failed calibration."""
    bands, lines, width = counts.shape
    scans = counts.reshape(bands, -1, swath.DETECTORS, width)
    band, scan = rng.integers(0, bands), rng.integers(0, scans.shape[1])
    scans[band, scan] = viirs_files.FAILED
    for _ in range(rng.poisson(1.0)):
        scan, pixel = rng.integers(0, scans.shape[1]), rng.integers(0, width)
        scans[:, scan, :, pixel:] = viirs_files.MISSING
    scans[:, :, swath.bowtie_deleted(columns)] = viirs_files.BOWTIE
    return scans.reshape(bands, lines, width)


def _profiles(
    rng: np.random.Generator,
    scene: Scene,
    orbit: Orbit,
    pixels: tuple[Array, Array],
    middle_s: float,
) -> Profiles:
    """One profile a kilometre along a track that crosses the window at a small angle."""
    along = np.arange(pixels[0].min() - 10, pixels[0].max() + 10, 1.0)
    centre = (pixels[1].min() + pixels[1].max()) / 2 + rng.normal(0, 5)
    across = centre + np.tan(np.radians(rng.normal(0, 3))) * along
    late_s = 60 * rng.uniform(-5, 5)
    column = column_at(scene, along, across, 0.0, late_s)
    layers = lidar.observe(rng, scene, column)
    latitude, longitude = swath.latitude_longitude(swath.to_sphere(orbit.frame, along, across))
    time_s = middle_s + late_s + along / 6.7  # the footprint moves 6.7 km/s
    top = np.where(layers.top_km < -9000, np.nan, layers.top_km)
    found = np.isfinite(top).sum(axis=1)
    return Profiles(latitude, longitude, time_s, found, top, layers.flags)


def _write(
    folder: Path,
    start: datetime,
    counts: NDArray[np.uint16],
    place: viirs_files.Geolocation,
    profiles: Profiles,
) -> Files:
    stamp = f"A{start:%Y%j.%H%M}.synthetic.nc"
    caliop = f"CAL_LID_L2_01kmCLay-Standard.{start:%Y-%m-%dT%H-%M-%SZD}.synthetic.hdf"
    files = Files(folder / f"VNP02MOD.{stamp}", folder / f"VNP03MOD.{stamp}", (folder / caliop,))
    title = "Synthetic granule: made by a program, not measured"
    viirs_files.write_imagery(files.imagery, counts, title)
    viirs_files.write_geolocation(files.geolocation, place, title)
    write_profiles(files.profiles[0], profiles, title)
    return files
