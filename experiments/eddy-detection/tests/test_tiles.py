"""Tiles of a made-up field of one degree, with eddies at known places."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import tiles
from detection import in_frame
from examples import ExampleError, Examples
from extrema import extrema
from scores import match
from sea_level import Eddies, Field, basin
from tiles import Places, anomaly, contour_extents, eddy_boxes, make_examples

LAT, LON = np.arange(-89.5, 90), np.arange(0.5, 360)


@pytest.fixture
def field() -> Field:
    """Waves of 400 km and of the whole globe, and a strip of land."""
    phi, lam = np.radians(LAT)[:, None], np.radians(LON)
    height = 0.1 * np.sin(90 * lam) * np.cos(90 * phi) + np.sin(phi) + 0.3 * np.cos(lam)
    height[:, 300:305] = np.nan
    return Field(LAT, LON, height, np.zeros_like(height), np.zeros_like(height))


@pytest.fixture
def places() -> Places:
    """Eddies everywhere, also across 0 degrees east, on land and at the equator."""
    rng = np.random.default_rng(2)
    lon, lat = rng.uniform(0, 360, 900), rng.uniform(-80, 80, 900)
    lon[:20] = rng.uniform(-3, 3, 20) % 360
    lat[:20] = rng.uniform(-40, -20, 20)
    size = rng.uniform(2, 8, (900, 2))
    boxes = np.column_stack([lon, lat + 90, size])
    return Places(boxes, rng.integers(2, size=900))


def centres(examples: Examples) -> NDArray[np.float64]:
    corners = in_frame(examples, examples.truth).numpy()
    return np.asarray((corners[:, :2] + corners[:, 2:]) / 2)


@pytest.mark.parametrize("side", [40, 64])
@pytest.mark.parametrize("part", ["train", "test"])
def test_every_eddy_of_the_basins_is_in_one_tile(
    field: Field, places: Places, part: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "LEAST_CELLS", 1)
    examples = make_examples(field, places, part, side)
    found = centres(examples)
    lon, lat = places.boxes[:, 0], places.boxes[:, 1] - 90
    cell = np.floor(places.boxes[:, :2]).astype(int)
    sea = field.ocean[cell[:, 1], cell[:, 0]] & (np.abs(LAT[cell[:, 1]]) >= 5)
    wanted = sea & np.isin(basin(LON[cell[:, 0]], LAT[cell[:, 1]]), tiles.PARTS[part])

    def near(point: NDArray[np.float64]) -> NDArray[np.bool_]:
        apart = np.abs((lon - point[0] + 180) % 360 - 180) + np.abs(lat - point[1])
        return np.asarray(apart < 1e-3)

    owners = np.array([np.flatnonzero(near(point)).item() for point in found])  # one for each
    assert np.unique(owners).size == owners.size
    assert set(np.flatnonzero(wanted)) <= set(owners.tolist())
    # more only on a shore or border, where a cell of the head is half in the basin
    assert owners.size - wanted.sum() < 0.05 * wanted.sum()
    kinds = examples.truth.kind.numpy()
    np.testing.assert_array_equal(kinds, places.kind[owners])


def test_the_training_tiles_know_nothing_of_the_test_basin(field: Field, places: Places) -> None:
    before = make_examples(field, places, "train", 64)
    indian = basin(LON[None], LAT[:, None]) == "indian"
    other = np.where(indian, 7.0, field.height)
    after = make_examples(field._replace(height=other), places, "train", 64)
    assert before.contents() == after.contents()
    test = make_examples(field._replace(height=other), places, "test", 64)
    assert test.contents() != make_examples(field, places, "test", 64).contents()


def test_the_box_lies_on_what_the_tile_shows(field: Field) -> None:
    height = field.height.copy()
    height[50:54, 70:76] += 3.0  # 36 to 40 degrees south, 70 to 76 degrees east
    places = Places(np.array([[73.0, 52.0, 6.0, 4.0]]), np.array([1]))
    examples = make_examples(field._replace(height=height), places, "test", 64)
    x0, y0, x1, y1 = in_frame(examples, examples.truth)[0].tolist()
    assert (x0, y0, x1, y1) == pytest.approx((70, -40, 76, -36))
    image = examples.images[examples.truth.image[0], 0]
    x, y, w, h = examples.truth.boxes[0].tolist()
    inside = image[int(y - h / 2) : int(y + h / 2), int(x - w / 2) : int(x + w / 2)]
    assert inside.shape == (4, 6)
    assert inside.min() > 1.5 > image.median()


def test_the_filter_keeps_small_scales_and_takes_large_ones(field: Field) -> None:
    small, large = (
        field._replace(height=np.where(field.ocean, wave, np.nan))
        for wave in (
            np.sin(np.radians(LAT * 111 / 200 * 360))[:, None] + 0 * LON,  # 200 km
            np.sin(np.radians(LAT))[:, None] + 0 * LON,
        )
    )
    middle = (slice(60, 120), slice(100, 200))
    assert np.abs(anomaly(large, large.ocean)[middle]).max() < 0.01
    ratio = anomaly(small, small.ocean)[middle].std() / small.height[middle].std()
    assert ratio == pytest.approx(1.0, abs=0.05)
    half = field._replace(height=np.sin(np.radians(LAT * 111.19 / 700 * 360))[:, None] + 0 * LON)
    ratio = anomaly(half, np.isfinite(half.height))[middle].std() / half.height[middle].std()
    assert ratio == pytest.approx(0.5, abs=0.05)  # at the cutoff


def write_contours(path: Path, lon: list[float], lat: list[float]) -> Path:
    with h5py.File(path, "w") as file:
        for name, values, offset in (("longitude", lon, 180.0), ("latitude", lat, 0.0)):
            packed = np.round((np.array([values]) - offset) * 100).astype(np.int16)
            variable = file.create_dataset(f"effective_contour_{name}", data=packed)
            variable.attrs["scale_factor"] = np.array([0.01])
            variable.attrs["add_offset"] = np.array([offset])
    return path


def test_boxes_are_the_extent_of_the_contour_also_across_the_seam(
    field: Field, tmp_path: Path
) -> None:
    cyclonic = write_contours(tmp_path / "C.nc", [358, 0.5, 3, 0.5, 358], [-31, -33, -31, -29, -31])
    extents = contour_extents(cyclonic)
    assert extents is not None
    assert extents.tolist() == [pytest.approx([358, -33, 363, -29])]
    bare = tmp_path / "A.nc"
    with h5py.File(bare, "w") as file:
        file["latitude"] = [40.0]
    # without contours the disc of the effective radius: 222.39 km are 2 degrees
    eddies = Eddies(
        np.array([0.5, 200.0, 210.0]), np.array([-31.0, 60.0, 60.0]),
        np.array([5e4, 222_390.0, 50_000.0]), np.array([-1, 1, 1], dtype=np.int8),
    )  # fmt: skip
    places = eddy_boxes(field, eddies, cyclonic, bare)
    # the last one is 0.9 degrees high and left out
    for box, expected in zip(places.boxes, ([0.5, 59, 5, 4], [200, 150, 8, 4]), strict=True):
        assert box.tolist() == pytest.approx(expected, abs=1e-3)
    assert places.kind.tolist() == [0, 1]


def test_a_tile_needs_a_core_and_eddies(field: Field, places: Places) -> None:
    with pytest.raises(ExampleError, match="got 16, expected an even number above 16"):
        make_examples(field, places, "test", 16)
    nowhere = Places(places.boxes[:0], places.kind[:0])
    with pytest.raises(ExampleError, match="test: no eddy in indian"):
        make_examples(field, nowhere, "test", 64)


def test_extrema_are_found_where_they_are(field: Field) -> None:
    bump = np.zeros(field.height.shape)
    bump[52, 73], bump[60, 80] = 0.5, -0.2
    places = Places(np.array([[73.5, 52.5, 3, 3], [80.5, 60.5, 3, 3], [200.5, 60.5, 5, 3]]),
                    np.array([1, 0, 1]))  # fmt: skip
    flat = field._replace(height=np.where(field.ocean, bump, np.nan))
    train, test = (make_examples(flat, places, part, 64) for part in ("train", "test"))
    found = extrema(train, test)
    best = torch.argsort(found.scores, descending=True)[:2]
    assert found.kind[best].tolist() == [1, 0]
    assert found.scores[best[0]].item() == 1.0
    assert found.boxes[best, 2:].tolist() == [[5, 3], [5, 3]]  # the size of the training part
    assert match(found, test.truth, 0.3)[best].tolist() == [
        int(torch.nonzero(test.truth.kind == kind)) for kind in (1, 0)
    ]


def test_the_mask_is_the_last_channel_and_hides_the_rest(field: Field, places: Places) -> None:
    examples = make_examples(field, places, "test", 64)
    mask = examples.images[:, 1]
    assert set(torch.unique(mask).tolist()) == {0.0, 1.0}
    assert (examples.images[:, 0][mask == 0] == 0).all()
