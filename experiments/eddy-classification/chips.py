"""
Labelled images in a folder, for instance chips of SAR scenes, instead of altimetry patches.

Either one folder per class, `folder/<class>/*.png` (or tif, tiff, jpg), or a table
`folder/labels.csv` with the columns `file` and `class`, and, where known, `scene`. Chips of one
scene resemble each other, so a scene is either for training or for the test; without that column
each file counts as a scene.
"""

import csv
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from samples import Dataset, Images, SampleError, Samples, Symmetry, standardize

SUFFIXES = {".png", ".tif", ".tiff", ".jpg"}
TEST_SHARE = 0.25
CHANNELS = ("brightness", "valid")
SYMMETRIES = (Symmetry(3, (1, 1)), Symmetry(2, (1, 1)))


class Chip(NamedTuple):
    """A file, its class, and the scene it was cut from."""

    path: Path
    kind: str
    scene: str


def make_dataset(folder: Path, side: int, positive: str, seed: int) -> Dataset:
    """
    Read the chips and share them out, whole scenes at a time.

    Args:
        folder: as above.
        side: to which each chip is resized, pixels.
        positive: the class that is an eddy; all others are not.
        seed: of the share.

    Raises:
        SampleError: no chips, a file that is missing or no image, or a part without both kinds.
    """
    chips = find_chips(folder)
    if positive not in {chip.kind for chip in chips}:
        kinds = ", ".join(sorted({chip.kind for chip in chips}))
        raise SampleError(f"{folder}: no chip of class {positive}; there are {kinds}")
    held_out = held_out_scenes([chip.scene for chip in chips], seed)
    parts = []
    for name, wanted in (("training", False), ("test", True)):
        some = [chip for chip in chips if (chip.scene in held_out) == wanted]
        labels = np.array([chip.kind == positive for chip in some], dtype=np.int64)
        if np.unique(labels).size < 2:
            raise SampleError(f"{folder}: the {name} part lacks one of the kinds; add scenes")
        about = {
            "file": np.array([str(chip.path.relative_to(folder)) for chip in some]),
            "scene": np.array([chip.scene for chip in some]),
        }
        images = np.stack([read_chip(chip.path, side) for chip in some])
        parts.append(Samples(images, labels, about))
    train, test, scales = standardize(parts[0], parts[1], CHANNELS, centre=True)
    return Dataset(train, test, CHANNELS, scales, SYMMETRIES, f"chips of {folder.name}")


def find_chips(folder: Path) -> list[Chip]:
    """
    List the chips of a folder, sorted by path.

    Raises:
        SampleError: there are none, or the table lacks a column or names a missing file.
    """
    table = folder / "labels.csv"
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows or not {"file", "class"} <= rows[0].keys():
            raise SampleError(f"{table}: expected rows under the columns file, class and scene")
        chips = [
            Chip(folder / row["file"], row["class"], row.get("scene") or row["file"])
            for row in rows
        ]
    else:
        chips = [
            Chip(path, path.parent.name, str(path.relative_to(folder)))
            for path in folder.glob("*/*")
            if path.suffix.lower() in SUFFIXES
        ]
    if missing := [chip.path for chip in chips if not chip.path.is_file()]:
        raise SampleError(f"{table}: {missing[0]} is no file")
    if not chips:
        raise SampleError(f"{folder}: no labels.csv and no images in <class>/")
    return sorted(chips)


def held_out_scenes(scenes: list[str], seed: int) -> set[str]:
    """
    Choose scenes for the test, until they hold a quarter of the chips.

    The choice is by a hash of the name, so a scene that is added moves as few others as possible.
    """
    order = sorted(set(scenes), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    chosen: set[str] = set()
    held = 0
    for scene in order:
        if held >= TEST_SHARE * len(scenes):
            break
        chosen.add(scene)
        held += scenes.count(scene)
    return chosen


def read_chip(path: Path, side: int) -> Images:
    """
    Read an image of any bit depth as grey values, resized to a square.

    Returns:
        (2, side, side) brightness and 1 where it is a number; NaN in the file is 0 in both.

    Raises:
        SampleError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            grey = image if image.mode in {"I;16", "I", "F", "L"} else image.convert("L")
            values = np.asarray(grey, dtype=np.float32)
    except (OSError, UnidentifiedImageError) as exc:
        raise SampleError(f"{path}: no readable image ({exc})") from exc
    valid = np.isfinite(values)
    weights = _resize(valid.astype(np.float32), side)
    sums = _resize(np.where(valid, values, 0.0).astype(np.float32), side)
    inside = weights > 0.5
    brightness = np.where(inside, sums / np.maximum(weights, 0.5), 0.0)
    return np.stack([brightness, inside]).astype(np.float32)


def _resize(values: Images, side: int) -> Images:
    resized = Image.fromarray(values).resize((side, side), Image.Resampling.BOX)
    return np.asarray(resized, dtype=np.float32)
