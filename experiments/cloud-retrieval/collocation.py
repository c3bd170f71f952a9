"""Nearest usable pixel to each lidar profile, in space and time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from bands import Array
from swath import EARTH_KM, unit_vectors


class Pairs(NamedTuple):
    """Which profile belongs to which pixel (index into the flattened granule), and how far."""

    profile: NDArray[np.int64]
    pixel: NDArray[np.int64]
    distance_km: Array


class Places(NamedTuple):
    """Degrees, and seconds since 1993 (NaN: not known); any shape."""

    latitude: Array
    longitude: Array
    time_s: Array


def collocate(
    pixels: Places,
    usable: NDArray[np.bool_],
    profiles: Places,
    max_km: float,
    max_minutes: float,
) -> Pairs:
    """
    Find for every profile the nearest usable pixel.

    Args:
        pixels: of the granule.
        usable: same shape; a pixel that is not is never taken, the next one may be.
        profiles: (n,).
        max_km: largest great-circle distance.
        max_minutes: largest difference in time; where either time is unknown it is not asked.

    Returns:
        Pairs in the order of the profiles. A pixel may belong to several profiles.
    """
    here = np.flatnonzero(usable & np.isfinite(pixels.latitude) & np.isfinite(pixels.longitude))
    there = np.flatnonzero(np.isfinite(profiles.latitude) & np.isfinite(profiles.longitude))
    if not here.size or not there.size:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    tree = KDTree(unit_vectors(pixels.latitude.flat[here], pixels.longitude.flat[here]))
    vectors = unit_vectors(profiles.latitude[there], profiles.longitude[there])
    reach = 2 * np.sin(max_km / EARTH_KM / 2)
    chord, found = tree.query(vectors, distance_upper_bound=reach)
    close = np.isfinite(chord)
    profile, pixel = there[close], here[found[close]]
    apart = np.abs(pixels.time_s.flat[pixel] - profiles.time_s[profile])
    timely = ~(apart > 60 * max_minutes)  # NaN is not more
    distance = 2 * EARTH_KM * np.arcsin(chord[close] / 2)
    return Pairs(profile[timely], pixel[timely], distance[timely])


def apparent(places: Places, height_km: Array, zenith_deg: Array, azimuth_deg: Array) -> Places:
    """
    Where something at a height is seen on the ground: away from the sensor (parallax).

    Args:
        places: below the things.
        height_km: of the things.
        zenith_deg: of the sensor there.
        azimuth_deg: of the sensor there, clockwise from north.
    """
    way = height_km * np.tan(np.radians(zenith_deg)) / EARTH_KM
    bearing = np.radians(azimuth_deg + 180)
    lat = np.radians(places.latitude)
    sine = np.sin(lat) * np.cos(way) + np.cos(lat) * np.sin(way) * np.cos(bearing)
    east = np.sin(bearing) * np.sin(way) * np.cos(lat)
    turn = np.degrees(np.arctan2(east, np.cos(way) - np.sin(lat) * sine))
    return Places(np.degrees(np.arcsin(sine)), places.longitude + turn, places.time_s)
