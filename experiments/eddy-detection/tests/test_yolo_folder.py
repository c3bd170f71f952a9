"""Folders of images and labels, good and bad."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples import ExampleError
from yolo_folder import read_folder, read_image, read_labels

NAMES = ("cyclonic", "anticyclonic")


def test_a_folder_becomes_two_parts_with_boxes_in_pixels(yolo: Path) -> None:
    train, test = read_folder(yolo, 32)
    assert train.images.shape == (12, 1, 32, 32)
    assert (len(train.truth.kind), len(test.truth.kind)) == (11, 5)  # the last image is empty
    assert train.names == NAMES
    assert train.images.mean().item() == pytest.approx(0, abs=1e-4)
    assert train.images.std().item() == pytest.approx(1, abs=1e-3)
    words = (yolo / "labels" / "train" / "chip03.txt").read_text().split()
    mine = train.truth.image == 3
    assert train.truth.kind[mine].item() == int(words[0])
    expected = 32 * torch.tensor([[float(word) for word in words[1:]]])
    torch.testing.assert_close(train.truth.boxes[mine], expected)
    x, y = train.truth.boxes[mine][0, :2].long().tolist()
    inside = train.images[3, 0, y, x].item()
    assert (inside > 0) is bool(int(words[0]))  # the box lies on the disc, bright or dark


def test_images_of_another_size_keep_their_shares(yolo: Path) -> None:
    small, large = read_folder(yolo, 32)[0], read_folder(yolo, 64)[0]
    assert large.images.shape[2:] == (64, 64)
    torch.testing.assert_close(2 * small.truth.boxes, large.truth.boxes)


def test_classes_have_the_names_of_the_file(yolo: Path) -> None:
    (yolo / "classes.txt").write_text("eddy\nspiral\nfront\n")
    train, _ = read_folder(yolo, 32)
    assert train.names == ("eddy", "spiral", "front")


def test_grey_colour_and_16_bits_are_read_alike(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(tmp_path / "colour.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    one = read_image(tmp_path / "grey.png", 8)
    np.testing.assert_allclose(one[0], grey / 255, atol=1e-6)
    np.testing.assert_allclose(read_image(tmp_path / "deep.png", 8), one, atol=1e-6)
    np.testing.assert_allclose(read_image(tmp_path / "colour.png", 8), one.repeat(3, 0), atol=1e-6)


def test_one_colour_image_makes_all_have_three_channels(yolo: Path) -> None:
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    picture[..., 0] = 200
    Image.fromarray(picture).save(yolo / "images" / "test" / "chip00.png")
    train, test = read_folder(yolo, 32)
    assert train.images.shape[1] == test.images.shape[1] == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "got 4 numbers, expected class cx cy w h"),
        ("0 0.5 0.5 0.1 0.1 0.9", "got 6 numbers"),
        ("2 0.5 0.5 0.1 0.1", "got class 2, expected 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "got class -1"),
        ("0.5 0.5 0.5 0.1 0.1", "expected numbers"),
        ("eddy 0.5 0.5 0.1 0.1", "got 'eddy 0.5 0.5 0.1 0.1', expected numbers"),
        ("0 16 16 8 8", "expected shares of the image from 0 to 1"),
        ("0 0.5 0.5 0 0.1", "sizes above 0"),
        ("0 nan 0.5 0.1 0.1", "expected shares"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "chip.txt"
    path.write_text(f"1 0.5 0.5 0.2 0.2\n\n{line}\n")
    with pytest.raises(ExampleError, match=f"chip.txt, line 3: .*{re.escape(message)}"):
        read_labels(path, NAMES)


def test_an_empty_label_file_means_no_object(tmp_path: Path) -> None:
    (tmp_path / "chip.txt").touch()
    for name in ("chip.txt", "missing.txt"):
        kind, boxes = read_labels(tmp_path / name, NAMES)
        assert (kind.shape, boxes.shape) == ((0,), (0, 4))


def test_a_folder_that_lacks_something_is_refused(yolo: Path) -> None:
    stray = yolo / "labels" / "test" / "other.txt"
    stray.write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(ExampleError, match=r"no image other\.png"):
        read_folder(yolo, 32)
    stray.unlink()
    (yolo / "images" / "train" / "chip00.png").write_text("not an image")
    with pytest.raises(ExampleError, match=r"chip00\.png: not a readable image"):
        read_folder(yolo, 32)
    with pytest.raises(ExampleError, match=r"images/train: no \.png files"):
        read_folder(yolo / "labels", 32)


def test_parts_without_any_object_are_refused(yolo: Path) -> None:
    for path in (yolo / "labels" / "test").iterdir():
        path.unlink()
    with pytest.raises(ExampleError, match="no object in any label file"):
        read_folder(yolo, 32)


def test_names_given_twice_are_refused(yolo: Path) -> None:
    (yolo / "classes.txt").write_text("eddy\neddy\n")
    with pytest.raises(ExampleError, match="one name a line, each once"):
        read_folder(yolo, 32)
