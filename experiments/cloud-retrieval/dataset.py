"""From the three files of a crossing to a table of labelled pixels."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bands import BANDS, Array
from caliop_files import Profiles, label, read_profiles
from collocation import Pairs, Places, apparent, collocate
from granule import Files
from viirs_files import Geolocation, Imagery, complete, read_geolocation, read_imagery

FEATURES = (*(band.name for band in BANDS), "solar_zenith", "sensor_zenith", "relative_azimuth")
DAY_DEG = 85.0  # solar zenith angle up to which reflectances are used
SCENE_LINES, SCENE_PIXELS = 800, 200  # the part around the lidar's track that is retrieved
_STAMP = re.compile(r"VNP0[23]MOD\.(A\d{7}\.\d{4})\.")


class Rules(NamedTuple):
    """When a pixel and a profile belong together, and when a profile is sure of itself."""

    max_km: float
    max_minutes: float
    min_quality: int


class Samples(NamedTuple):
    """Pixels with labels (see `caliop_files.Labels`), in the order of the lidar's track."""

    features: NDArray[np.float32]  # (n, 19) in the order of FEATURES
    cloud: NDArray[np.int8]
    phase: NDArray[np.int8]
    profile: NDArray[np.int64]


class Tally(NamedTuple):
    """What became of the pixels and profiles of a granule."""

    pixels: int
    masked_pixels: int
    profiles: int
    collocated: int
    uncertain: int
    distance_km: Array
    synthetic: bool


class Patch(NamedTuple):
    """A part of a granule: places (lines, pixels), what is usable, features of the usable ones."""

    latitude: Array
    longitude: Array
    usable: NDArray[np.bool_]
    features: NDArray[np.float32]


def find_granules(folder: Path) -> list[Files]:
    """
    List the granules of a folder of real or made-up files, in the order of time.

    VNP02MOD and VNP03MOD go together by the time in their names; every CALIOP file of the folder
    (CAL_LID_L2_*) is a candidate for each.

    Raises:
        ValueError: nothing was found, or a VNP02MOD has no VNP03MOD.
    """
    lidar = tuple(sorted(folder.glob("CAL_LID_L2_*")))
    place = {_stamp(path): path for path in sorted(folder.glob("VNP03MOD.A*"))}
    images = {_stamp(path): path for path in sorted(folder.glob("VNP02MOD.A*"))}
    if lonely := sorted(set(images) - set(place)):
        raise ValueError(f"{folder}: no VNP03MOD for {', '.join(lonely)}")
    if not images or not lidar:
        raise ValueError(f"{folder}: expected VNP02MOD.A*, VNP03MOD.A* and CAL_LID_L2_* files")
    return [Files(images[stamp], place[stamp], lidar) for stamp in sorted(images)]


def read_granule(
    files: Files, rules: Rules, *, patch: bool = False
) -> tuple[Samples, Tally, Patch | None]:
    """Read, mask, collocate and label one granule; with its patch if asked, which is large."""
    imagery, place = read_imagery(files.imagery), read_geolocation(files.geolocation)
    usable = complete(imagery.counts) & (place.angles.solar_zenith < DAY_DEG)
    usable &= np.isfinite(place.angles.sensor_zenith) & np.isfinite(place.latitude)
    parts, pairs, profiles = [], [], 0
    for content in _near_in_time(files, place, rules.max_minutes):
        labels = label(content, rules.min_quality)
        found = _collocate(content, labels.top_km, place, usable, rules)
        parts.append(
            Samples(
                features_at(imagery, place, found.pixel),
                labels.cloud[found.profile],
                labels.phase[found.profile],
                found.profile + profiles,
            )
        )
        pairs.append(found)
        profiles += content.latitude.size
    samples = join(parts)
    sure = samples.cloud >= 0
    tally = Tally(
        usable.size,
        int(np.count_nonzero(~usable)),
        profiles,
        sure.size,
        int(np.count_nonzero(~sure)),
        np.concatenate([pair.distance_km for pair in pairs] or [np.empty(0)]),
        imagery.synthetic,
    )
    kept = Samples(
        samples.features[sure], samples.cloud[sure], samples.phase[sure], samples.profile[sure]
    )
    pixels = np.concatenate([pair.pixel for pair in pairs] or [np.empty(0, np.int64)])
    return kept, tally, _patch(imagery, place, usable, pixels) if patch else None


def features_at(
    imagery: Imagery, place: Geolocation, pixels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """
    Features of pixels (index into the flattened granule), (n, 19).

    Reflectance over the cosine of the solar zenith angle, brightness temperature in K, angles in
    degrees; the relative azimuth is 0 where sensor and Sun are on one side, at most 180.
    """
    columns = []
    cosine = np.cos(np.radians(place.angles.solar_zenith.flat[pixels]))
    for band, counts, table in zip(BANDS, imagery.counts, imagery.tables, strict=True):
        values = table[counts.flat[pixels]]
        columns.append(values if band.emissive else values / cosine)
    between = place.angles.solar_azimuth.flat[pixels] - place.angles.sensor_azimuth.flat[pixels]
    columns += [place.angles.solar_zenith.flat[pixels], place.angles.sensor_zenith.flat[pixels]]
    columns.append(np.abs((between + 180) % 360 - 180))
    return np.stack(columns, axis=1).astype(np.float32)


def join(parts: list[Samples]) -> Samples:
    """Samples one after the other."""
    if not parts:
        nothing = np.empty(0, np.int8)
        return Samples(np.empty((0, len(FEATURES)), np.float32), nothing, nothing, np.empty(0, int))
    return Samples(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.cloud for part in parts]),
        np.concatenate([part.phase for part in parts]),
        np.concatenate([part.profile for part in parts]),
    )


def _stamp(path: Path) -> str:
    match = _STAMP.match(path.name)
    if match is None:
        raise ValueError(f"{path.name}: expected a name such as VNP02MOD.A2014121.1230.…")
    return match[1]


def _near_in_time(files: Files, place: Geolocation, max_minutes: float) -> Iterator[Profiles]:
    """Contents of the CALIOP files that can have been taken at the time of the granule."""
    for path in files.profiles:
        content = read_profiles(path)
        if np.isfinite(place.time_s).any():
            slack = 60 * max_minutes
            first, last = np.nanmin(place.time_s) - slack, np.nanmax(place.time_s) + slack
            if not ((content.time_s >= first) & (content.time_s <= last)).any():
                continue
        yield content


def _collocate(
    content: Profiles,
    top_km: Array,
    place: Geolocation,
    usable: NDArray[np.bool_],
    rules: Rules,
) -> Pairs:
    """The pixel in which each profile's uppermost cloud is seen, or its ground if it is clear."""
    pixels = Places(place.latitude, place.longitude, place.time_s)
    profiles = Places(content.latitude, content.longitude, content.time_s)
    below = collocate(pixels, np.isfinite(place.latitude), profiles, rules.max_km, np.inf)
    here = below.profile
    angles = (place.angles.sensor_zenith, place.angles.sensor_azimuth)
    zenith, azimuth = (angle.flat[below.pixel] for angle in angles)
    seen = apparent(Places(*(column[here] for column in profiles)), top_km[here], zenith, azimuth)
    pairs = collocate(pixels, usable, seen, rules.max_km, rules.max_minutes)
    return pairs._replace(profile=here[pairs.profile])


def _patch(
    imagery: Imagery, place: Geolocation, usable: NDArray[np.bool_], pixels: NDArray[np.int64]
) -> Patch:
    """The part around the middle of the track: all of a small granule."""
    lines, width = usable.shape
    middle = pixels[pixels.size // 2] if pixels.size else 0
    rows = _around(int(middle) // width, lines, SCENE_LINES)
    columns = _around(int(middle) % width, width, SCENE_PIXELS)
    chosen = np.zeros_like(usable)
    chosen[rows, columns] = True
    return Patch(
        place.latitude[rows, columns],
        place.longitude[rows, columns],
        usable[rows, columns],
        features_at(imagery, place, np.flatnonzero(usable & chosen)),
    )


def _around(middle: int, size: int, wanted: int) -> slice:
    start = max(0, min(middle - wanted // 2, size - wanted))
    return slice(start, min(start + wanted, size))
