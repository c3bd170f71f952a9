"""The published catalogue of the same day, and how far detections agree with it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from field import EARTH_RADIUS_M, Array, FieldError, read_variables


class Catalogue(NamedTuple):
    """
    Eddies of one sign, in file order and not masked.

    Attributes:
        lat: (n,) centre, degrees north.
        lon: (n,) centre, degrees east.
        effective_radius: (n,) km, of the outermost closed contour.
        speed_radius: (n,) km, of the contour of largest mean speed.
    """

    lat: Array
    lon: Array
    effective_radius: Array
    speed_radius: Array


def read_catalogue(path: str) -> Catalogue:
    """
    Read the centres and radii of a catalogue file.

    Raises:
        FieldError: the file is missing, unreadable, empty or lacks a variable.
    """
    names = ("latitude", "longitude", "effective_radius", "speed_radius")
    found = read_variables(path, names)
    if len({found[name].shape for name in names}) != 1 or found["latitude"].ndim != 1:
        raise FieldError(f"{path}: latitude, longitude and radii should be (n,) and equally long")
    if not found["latitude"].size:
        raise FieldError(f"{path}: the catalogue is empty")
    lat, lon, effective, speed = (found[name] for name in names)
    return Catalogue(lat, lon % 360.0, effective / 1e3, speed / 1e3)


def unit_vectors(lat: Array, lon: Array) -> Array:
    """Points on the unit sphere, (n, 3), of latitudes and longitudes (n,) in degrees."""
    phi, lam = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


class Matches(NamedTuple):
    """Pairs of detections and catalogue eddies: indices (m,) each, and distance (m,) in km."""

    detected: NDArray[np.int64]
    published: NDArray[np.int64]
    distance_km: Array


def match(
    detected: tuple[Array, Array, Array],
    published: tuple[Array, Array, Array],
    reach: Array,
    max_radius_ratio: float,
) -> Matches:
    """
    Pair detections with catalogue eddies of the same sign, one to one.

    A pair is possible when the centres are at most `reach` of the catalogue eddy apart and the
    larger radius is at most `max_radius_ratio` times the smaller one. Possible pairs are accepted
    in order of distance, ties by index, when both sides are still free.

    Args:
        detected: latitude and longitude in degrees, radius in km, (n,) each.
        published: the same for the catalogue, (m,) each.
        reach: (m,) km.
        max_radius_ratio: 1 or more.

    Returns:
        Accepted pairs, ordered by distance.
    """
    if not detected[0].size or not published[0].size:
        return Matches(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    chord = 2.0 * np.sin(np.minimum(reach * 1e3 / EARTH_RADIUS_M, np.pi) / 2.0)
    here, there = unit_vectors(*detected[:2]), unit_vectors(*published[:2])
    near = cKDTree(here).query_ball_point(there, chord)
    i = np.array([a for found in near for a in found], dtype=np.int64)
    j = np.repeat(np.arange(len(near)), [len(found) for found in near])
    half = np.sqrt(((here[i] - there[j]) ** 2).sum(axis=1)) / 2.0
    distance = 2.0 * np.arcsin(np.minimum(half, 1.0)) * EARTH_RADIUS_M / 1e3
    ratio = detected[2][i] / published[2][j]
    possible = np.maximum(ratio, 1.0 / ratio) <= max_radius_ratio
    free_i, free_j = np.ones(len(here), dtype=bool), np.ones(len(there), dtype=bool)
    taken = []
    for k in np.lexsort((j, i, distance)):
        if possible[k] and free_i[i[k]] and free_j[j[k]]:
            free_i[i[k]] = free_j[j[k]] = False
            taken.append(k)
    return Matches(i[taken], j[taken], distance[taken])


def scores(n_matched: int, n_detected: int, n_published: int) -> tuple[float, float, float]:
    """Precision, recall and F1 of the agreement; 0 where a denominator is 0."""
    precision = n_matched / n_detected if n_detected else 0.0
    recall = n_matched / n_published if n_published else 0.0
    total = n_detected + n_published
    return precision, recall, 2.0 * n_matched / total if total else 0.0
