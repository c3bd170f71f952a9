"""Nearest pixels in space and time, and parallax."""

import numpy as np
import pytest

from collocation import Places, apparent, collocate


def grid(step_deg: float = 0.01, longitude: float = 0.0) -> Places:
    lat, lon = np.meshgrid(np.arange(20) * step_deg, np.arange(20) * step_deg, indexing="ij")
    return Places(lat, lon + longitude, np.full(lat.shape, 1000.0))


def at(latitude: float, longitude: float, time_s: float = 1000.0) -> Places:
    return Places(np.array([latitude]), np.array([longitude]), np.array([time_s]))


def test_the_nearest_pixel_is_found_with_its_distance() -> None:
    pixels = grid()
    pairs = collocate(pixels, np.ones((20, 20), bool), at(0.051, 0.102), 1.0, 15)
    assert pairs.pixel.tolist() == [5 * 20 + 10]
    assert pairs.distance_km[0] == pytest.approx(np.hypot(0.001, 0.002) * 111.19, rel=1e-3)


def test_a_masked_pixel_gives_way_to_the_next() -> None:
    pixels, usable = grid(), np.ones((20, 20), bool)
    usable[5, 10] = False
    pairs = collocate(pixels, usable, at(0.051, 0.102), 2.0, 15)
    assert pairs.pixel.tolist() == [5 * 20 + 11]
    assert collocate(pixels, usable, at(0.05, 0.1), 0.5, 15).pixel.size == 0


def test_too_far_in_space_or_time_is_no_pair() -> None:
    pixels, usable = grid(), np.ones((20, 20), bool)
    assert collocate(pixels, usable, at(0.3, 0.1), 1.0, 15).pixel.size == 0
    assert collocate(pixels, usable, at(0.1, 0.1, 1000 + 901), 1.0, 15).pixel.size == 0
    assert collocate(pixels, usable, at(0.1, 0.1, 1000 + 899), 1.0, 15).pixel.size == 1
    assert collocate(pixels, usable, at(0.1, 0.1, np.nan), 1.0, 15).pixel.size == 1
    assert collocate(pixels, ~usable, at(0.1, 0.1), 1.0, 15).pixel.size == 0


def test_the_date_line_is_no_border() -> None:
    pixels = grid(longitude=179.9)
    pairs = collocate(pixels, np.ones((20, 20), bool), at(0.0, -179.98), 1.0, 15)
    assert pairs.pixel.tolist() == [12]


def test_profiles_without_a_place_are_left_out_and_the_others_keep_their_numbers() -> None:
    profiles = Places(np.array([np.nan, 0.05]), np.array([0.0, 0.05]), np.array([0.0, 1000.0]))
    pairs = collocate(grid(), np.ones((20, 20), bool), profiles, 1.0, 15)
    assert pairs.profile.tolist() == [1]


@pytest.mark.parametrize(
    ("azimuth", "north", "east"), [(0.0, -1, 0), (90.0, 0, -1), (180.0, 1, 0), (-90.0, 0, 1)]
)
def test_a_cloud_is_seen_away_from_the_sensor(azimuth: float, north: int, east: int) -> None:
    seen = apparent(at(0.0, 0.0), np.array([10.0]), np.array([45.0]), np.array([azimuth]))
    degree = 10 / 111.19
    assert seen.latitude[0] == pytest.approx(north * degree, abs=1e-4)
    assert seen.longitude[0] == pytest.approx(east * degree, abs=1e-4)


def test_the_ground_is_seen_where_it_is() -> None:
    seen = apparent(at(60.0, 30.0), np.array([0.0]), np.array([65.0]), np.array([12.0]))
    assert (seen.latitude[0], seen.longitude[0]) == pytest.approx((60.0, 30.0))
