"""
Where VIIRS looks: scan angles, aggregation zones, bow-tie deletion, positions and angles.

Positions are kilometres along and across the ground track on a sphere. Only the M bands: 16
detectors a scan, 3200 pixels a line.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bands import Array

EARTH_KM = 6371.0
HEIGHT_KM = 829.0
DETECTORS = 16
LINE_PIXELS = 3200
DETECTOR_KM = 0.75  # along track, at nadir; a scan advances by 16 of them
# pixels from the left edge, and samples that make one of them
ZONES = ((640, 1), (368, 2), (592, 3), (592, 3), (368, 2), (640, 1))
SAMPLE_DEG = 112.56 / sum(pixels * samples for pixels, samples in ZONES)
DELETED_AT_EACH_END = {3: 0, 2: 1, 1: 2}  # detectors per scan, by samples per pixel


class Frame(NamedTuple):
    """Unit vectors: the middle of the granule, the way of the satellite, and right of it."""

    up: Array
    along: Array
    across: Array


class Angles(NamedTuple):
    """Degrees; azimuths clockwise from north, -180 to 180."""

    sensor_zenith: Array
    sensor_azimuth: Array
    solar_zenith: Array
    solar_azimuth: Array


def scan_angles() -> Array:
    """Scan angle of each pixel of a line, degrees, (3200,); negative left of the track."""
    samples = np.concatenate([np.full(pixels, each) for pixels, each in ZONES])
    ends = np.cumsum(samples) * SAMPLE_DEG
    return np.asarray(ends - samples * SAMPLE_DEG / 2 - ends[-1] / 2)


def bowtie_deleted(columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pixels of one scan are not sent down, (16, columns)."""
    samples = np.concatenate([np.full(pixels, each) for pixels, each in ZONES])[columns]
    ends = np.array([DELETED_AT_EACH_END[int(each)] for each in samples])
    to_edge = np.minimum(np.arange(DETECTORS), DETECTORS - 1 - np.arange(DETECTORS))
    return np.asarray(to_edge[:, None] < ends[None, :])


def sensor_zenith(scan_deg: Array) -> Array:
    """Zenith angle of the satellite seen from the ground, degrees, with the scan angle's sign."""
    sine = (1 + HEIGHT_KM / EARTH_KM) * np.sin(np.radians(scan_deg))
    return np.asarray(np.degrees(np.arcsin(sine)))


def ground_positions(scans: int, columns: NDArray[np.int64]) -> tuple[Array, Array]:
    """
    Positions of the pixels along and across the track, km, (16 scans, columns) each.

    Towards the edge detectors see ever larger footprints, so that the scans overlap (bow-tie).
    """
    scan = np.radians(scan_angles()[columns])
    zenith = np.radians(sensor_zenith(np.degrees(scan)))
    centre = zenith - scan  # angle at the Earth's centre
    rise = np.cos(centre) * (EARTH_KM + HEIGHT_KM) - EARTH_KM
    slant = np.hypot(rise, (EARTH_KM + HEIGHT_KM) * np.sin(centre))
    line = np.arange(scans * DETECTORS)
    start = (line // DETECTORS - (scans - 1) / 2) * DETECTORS * DETECTOR_KM
    detector = (line % DETECTORS - (DETECTORS - 1) / 2) * DETECTOR_KM
    along = start[:, None] + detector[:, None] * (slant / HEIGHT_KM)[None, :]
    return along, np.broadcast_to(EARTH_KM * centre, along.shape)


def frame_at(latitude_deg: float, longitude_deg: float, heading_deg: float) -> Frame:
    """The frame of a granule from its middle and the satellite's heading there."""
    lat, lon, heading = np.radians([latitude_deg, longitude_deg, heading_deg])
    up = _vector(lat, lon)
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    along = np.cos(heading) * north + np.sin(heading) * east
    return Frame(up, along, np.cross(along, up))


def to_sphere(frame: Frame, along_km: Array, across_km: Array) -> Array:
    """Unit vectors, (..., 3), of positions relative to the frame."""
    s, c = (np.asarray(km)[..., None] / EARTH_KM for km in (along_km, across_km))
    return np.asarray(
        np.cos(c) * (np.cos(s) * frame.up + np.sin(s) * frame.along) + np.sin(c) * frame.across
    )


def latitude_longitude(vectors: Array) -> tuple[Array, Array]:
    """Degrees north and east (-180 to 180) of unit vectors (..., 3)."""
    latitude = np.degrees(np.arcsin(np.clip(vectors[..., 2], -1, 1)))
    return latitude, np.degrees(np.arctan2(vectors[..., 1], vectors[..., 0]))


def unit_vectors(latitude_deg: Array | float, longitude_deg: Array | float) -> Array:
    """Unit vectors (..., 3) of places in degrees."""
    return _vector(np.radians(latitude_deg), np.radians(longitude_deg))


def view_angles(frame: Frame, along_km: Array, columns: NDArray[np.int64], sun: Array) -> Angles:
    """
    Angles at each pixel.

    Args:
        frame: of the granule.
        along_km: (lines, columns) from `ground_positions`.
        columns: of the full line.
        sun: unit vector towards the Sun, which is taken to be infinitely far.
    """
    zenith = sensor_zenith(scan_angles()[columns])
    across = EARTH_KM * np.radians(zenith - scan_angles()[columns])
    here = to_sphere(frame, along_km, np.broadcast_to(across, along_km.shape))
    below = to_sphere(frame, along_km, np.zeros_like(along_km))  # of the satellite
    height = np.clip(here @ sun, -1, 1)
    return Angles(
        np.broadcast_to(np.abs(zenith), along_km.shape),
        _azimuth(here, below),
        np.degrees(np.arccos(height)),
        _azimuth(here, np.broadcast_to(sun, here.shape)),
    )


def _vector(lat: Array | float, lon: Array | float) -> Array:
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _azimuth(here: Array, there: Array) -> Array:
    """Bearing of one place from another, degrees."""
    lat, lon = (np.radians(angle) for angle in latitude_longitude(here))
    east = -np.sin(lon) * there[..., 0] + np.cos(lon) * there[..., 1]
    inward = np.cos(lon) * there[..., 0] + np.sin(lon) * there[..., 1]
    north = np.cos(lat) * there[..., 2] - np.sin(lat) * inward
    return np.asarray(np.degrees(np.arctan2(east, north)))
