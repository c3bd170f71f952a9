"""Patches: what is in them, where they may lie, and that nothing leaks from training to test."""

import numpy as np
import pytest

import patches
from patches import TEST_BASIN, make_dataset
from samples import Dataset, SampleError, changed
from sea_level import EARTH_RADIUS_M, Eddies, Field, basin, eddy_mask

SIDE = 6


@pytest.fixture(scope="module")
def dataset(field: Field, eddies: Eddies) -> Dataset:
    """All patches of the made-up ocean."""
    return make_dataset(field, eddies, SIDE, 0, 3)


def pixels(field: Field, dataset: Dataset, part: str) -> np.ndarray:
    """(n, side * side, 2) rows and columns of every patch of a part, found from its middle."""
    about = getattr(dataset, part).about
    step = field.lat[1] - field.lat[0]
    row = np.rint((about["latitude"] - field.lat[0]) / step - (SIDE - 1) / 2).astype(int)
    col = np.rint((about["longitude"] - field.lon[0]) / step - (SIDE - 1) / 2).astype(int)
    rows = row[:, None, None] + np.arange(SIDE)[:, None] + np.zeros(SIDE, dtype=int)
    cols = (col[:, None, None] + np.zeros((SIDE, 1), dtype=int) + np.arange(SIDE)) % field.lon.size
    return np.stack([rows, cols], axis=-1).reshape(row.size, -1, 2)


def test_both_parts_have_as_many_patches_with_as_without(dataset: Dataset) -> None:
    for part in (dataset.train, dataset.test):
        assert part.labels.size > 10
        assert part.labels.mean() == 0.5
        assert np.isfinite(part.images).all()
        assert part.images.shape == (part.labels.size, 4, SIDE, SIDE)


def test_each_band_of_latitude_is_balanced(field: Field, dataset: Dataset) -> None:
    lat = dataset.train.about["latitude"].astype(float)
    bands = np.floor(lat / patches.BAND_DEG)
    for band in np.unique(bands):
        assert dataset.train.labels[bands == band].mean() == 0.5
    half = SIDE / 2 * (field.lat[1] - field.lat[0])
    assert np.abs(lat).min() - half > patches.LATITUDES[0] - 1
    assert np.abs(lat).max() + half < patches.LATITUDES[1] + 1


def test_test_patches_lie_in_one_basin_and_no_training_patch_comes_near(
    field: Field, dataset: Dataset
) -> None:
    names = basin(field.lon[None, :], field.lat[:, None])
    test = pixels(field, dataset, "test")
    assert (names[test[..., 0], test[..., 1]] == TEST_BASIN).all()
    train = pixels(field, dataset, "train")
    assert set(names[train[..., 0], train[..., 1]].ravel()) == {"atlantic", "pacific"}
    away = np.argwhere(names == TEST_BASIN)
    for patch in train:
        rows = np.abs(patch[:, None, 0] - away[None, :, 0])
        cols = np.abs(patch[:, None, 1] - away[None, :, 1])
        cols = np.minimum(cols, field.lon.size - cols)
        assert np.maximum(rows, cols).min() > SIDE  # a whole patch fits between them


def test_a_patch_with_an_eddy_holds_its_whole_disc(
    field: Field, eddies: Eddies, dataset: Dataset
) -> None:
    step = field.lat[1] - field.lat[0]
    about, labels = dataset.train.about, dataset.train.labels
    for k in np.flatnonzero(labels == 1):
        lon, lat, radius = (float(about[n][k]) for n in ("longitude", "latitude", "radius_km"))
        high = np.degrees(eddies.radius_m / EARTH_RADIUS_M)
        wide = high / np.cos(np.radians(eddies.lat))
        east = np.abs((eddies.lon - lon + 180) % 360 - 180)
        inside = (np.abs(eddies.lat - lat) + high <= SIDE / 2 * step + 1e-3) & (
            east + wide <= SIDE / 2 * step + 1e-3
        )
        assert np.isclose(eddies.radius_m[inside] / 1e3, radius, atol=0.01).any()


def test_a_patch_without_touches_no_eddy(field: Field, eddies: Eddies, dataset: Dataset) -> None:
    covered = eddy_mask(field, eddies) != 0
    for part in ("train", "test"):
        where = pixels(field, dataset, part)[getattr(dataset, part).labels == 0]
        assert not covered[where[..., 0], where[..., 1]].any()
        assert len({tuple(patch[0]) for patch in where}) == len(where)  # each place once


def test_land_is_zero_in_every_channel_and_mostly_there_is_sea(dataset: Dataset) -> None:
    images = np.concatenate([dataset.train.images, dataset.test.images])
    land = images[:, 3] == 0
    assert land.any()
    assert (images[:, :3] * land[:, None] == 0).all()
    assert (1 - land.mean(axis=(1, 2)) >= patches.LEAST_OCEAN).all()
    heights = dataset.train.images[:, 0]
    np.testing.assert_allclose(heights.sum(axis=(1, 2)), 0, atol=1e-3)  # less the mean over sea


def test_scales_are_those_of_the_training_part(dataset: Dataset) -> None:
    sea = dataset.train.images[:, 3] > 0
    for channel in range(3):
        assert dataset.train.images[:, channel][sea].std() == pytest.approx(1, rel=1e-4)
    assert dataset.test.images[:, 0].std() != pytest.approx(1, rel=1e-4)


def test_the_seed_decides_everything(field: Field, eddies: Eddies, dataset: Dataset) -> None:
    again = make_dataset(field, eddies, SIDE, 0, 3)
    assert list(again.train.contents()) == list(dataset.train.contents())
    assert list(again.test.contents()) == list(dataset.test.contents())
    other = make_dataset(field, eddies, SIDE, 0, 4)
    assert list(other.test.contents()) != list(dataset.test.contents())


def test_fewer_patches_leave_the_test_as_it_is(field: Field, eddies: Eddies) -> None:
    few = make_dataset(field, eddies, SIDE, 20, 3)
    assert (few.train.labels.size, few.train.labels.mean()) == (20, 0.5)
    assert few.test.labels.size > 10


def test_a_patch_too_large_for_the_ocean_is_refused(field: Field, eddies: Eddies) -> None:
    with pytest.raises(SampleError, match="no training patches of 40 x 40 pixels"):
        make_dataset(field, eddies, 40, 0, 3)


def test_symmetries_mirror_the_currents_with_the_height() -> None:
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2)
    east, north, sign = (np.eye(3, dtype=bool)[None, k] for k in range(3))
    flipped = changed(image, patches.SYMMETRIES, east)
    np.testing.assert_array_equal(flipped[0, 0], [[1, 0], [3, 2]])
    np.testing.assert_array_equal(flipped[0, 1], [[5, 4], [7, 6]])  # eastward stays …
    np.testing.assert_array_equal(flipped[0, 2], [[-9, -8], [-11, -10]])  # … northward turns
    flipped = changed(image, patches.SYMMETRIES, north)
    np.testing.assert_array_equal(flipped[0, 1], [[-6, -7], [-4, -5]])
    np.testing.assert_array_equal(flipped[0, 2], [[10, 11], [8, 9]])
    flipped = changed(image, patches.SYMMETRIES, sign)
    np.testing.assert_array_equal(flipped[0, :3], -image[0, :3])
    np.testing.assert_array_equal(flipped[0, 3], image[0, 3])
    none = changed(image, patches.SYMMETRIES, np.zeros((1, 3), dtype=bool))
    np.testing.assert_array_equal(none, image)
