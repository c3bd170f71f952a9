"""A folder of labelled images in place of the altimetry."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chips import find_chips, held_out_scenes, make_dataset, read_chip
from samples import SampleError


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty chips of 12 x 12: rings are eddies, stripes are not; half of them 32-bit TIFF."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[-6:6, -6:6] + 0.5
    for number in range(40):
        shape = np.cos(np.hypot(x, y)) if number % 2 else np.cos(x + number)
        values = 120 + 50 * shape + rng.normal(0, 5, x.shape)
        name = tmp_path / ("eddy" if number % 2 else "sea") / f"{number:02}"
        if number < 20:
            save(name.with_suffix(".png"), values.astype(np.uint8))
        else:
            save(name.with_suffix(".tif"), values.astype(np.float32))
    return tmp_path


def test_a_folder_per_class_is_read(folder: Path) -> None:
    dataset = make_dataset(folder, 8, "eddy", 1)
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    assert (labels.size, labels.sum()) == (40, 20)
    assert dataset.test.labels.size == 10
    assert dataset.train.images.shape == (30, 2, 8, 8)
    assert not set(dataset.train.about["file"]) & set(dataset.test.about["file"])
    for part in (dataset.train, dataset.test):
        assert [name.startswith("eddy") for name in part.about["file"]] == part.labels.tolist()
    assert dataset.train.images[:, 0].mean() == pytest.approx(0, abs=1e-5)
    assert dataset.train.images[:, 0].std() == pytest.approx(1, abs=1e-4)


def test_a_table_keeps_the_chips_of_a_scene_together(folder: Path) -> None:
    files = sorted(path.relative_to(folder) for path in folder.glob("*/*"))
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "class", "scene"])
        writer.writerows([f, f.parts[0], f"scene {int(f.stem) // 4}"] for f in files)
    dataset = make_dataset(folder, 8, "eddy", 1)
    train, test = (set(part.about["scene"]) for part in (dataset.train, dataset.test))
    assert not train & test
    assert len(train | test) == 10
    assert 10 <= dataset.test.labels.size < 14


def test_the_share_follows_from_seed_and_names_alone() -> None:
    scenes = [f"scene {number}" for number in range(40)]
    chosen = held_out_scenes(scenes, 1)
    assert len(chosen) == 10
    assert held_out_scenes(scenes[::-1], 1) == chosen
    assert held_out_scenes(scenes, 2) != chosen
    assert len(held_out_scenes([*scenes, "one more"], 1) & chosen) >= 9


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_values_of_every_depth_stay_what_they_are(tmp_path: Path, kind: type) -> None:
    values = (np.arange(16).reshape(4, 4) * 15).astype(kind)
    save(tmp_path / "chip.tif", values)
    image = read_chip(tmp_path / "chip.tif", 4)
    np.testing.assert_array_equal(image[0], values)
    np.testing.assert_array_equal(image[1], 1)


def test_a_chip_is_averaged_down_and_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    values = np.repeat(np.repeat([[1.0, 2.0], [3.0, 4.0]], 3, axis=0), 3, axis=1)
    values[0, 0] = np.nan
    values[3:, 3:] = np.nan
    save(tmp_path / "chip.tif", values.astype(np.float32))
    image = read_chip(tmp_path / "chip.tif", 2)
    np.testing.assert_allclose(image[0], [[1, 2], [3, 0]], rtol=1e-6)
    np.testing.assert_array_equal(image[1], [[1, 1], [1, 0]])


def test_folders_that_cannot_be_used_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="no chip of class whirl; there are eddy, sea"):
        make_dataset(folder, 8, "whirl", 1)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SampleError, match=r"no labels\.csv and no images"):
        find_chips(empty)
    (empty / "labels.csv").write_text("file,class\nnone.png,eddy\n")
    with pytest.raises(SampleError, match=r"none\.png is no file"):
        find_chips(empty)
    (empty / "none.png").write_text("not an image")
    with pytest.raises(SampleError, match="no readable image"):
        read_chip(empty / "none.png", 8)
    (empty / "labels.csv").write_text("name\nnone.png\n")
    with pytest.raises(SampleError, match="expected rows under the columns file, class"):
        find_chips(empty)
