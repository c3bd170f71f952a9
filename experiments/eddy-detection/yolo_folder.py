"""
Images and labels in the folders that YOLO programs read.

    images/train/*.png   images/test/*.png    grey or colour, 8 or 16 bits, of any size
    labels/train/*.txt   labels/test/*.txt    per object a line: class cx cy w h
    classes.txt                               names of the classes, one a line; may be missing

Centre and size are shares of the image's width and height. An image without a label file has no
object in it. All images are brought to one square size; shares stay what they are.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from examples import ExampleError, Examples, all_counted, table

NAMES = ("cyclonic", "anticyclonic")

Pixels = NDArray[np.float32]


def read_folder(folder: Path, side: int) -> tuple[Examples, Examples]:
    """
    Read a folder.

    Args:
        folder: with images/{train,test} and labels/{train,test}.
        side: rows and columns that every image is brought to, even.

    Returns:
        Training and test part. Channels (one when all images are grey, else three) less the mean
        of the training part, over its standard deviation.

    Raises:
        ExampleError: a part without images or objects, a label without its image, a file that
            cannot be read, or a line that is no label; with file and line.
    """
    names = _names(folder / "classes.txt")
    listed = [_paired(folder, part) for part in ("train", "test")]
    pictures = [[read_image(path, side) for path in part] for part in listed]
    colour = any(pixels.shape[0] == 3 for part in pictures for pixels in part)
    stacks = [
        np.stack([np.repeat(p, 3, axis=0) if colour and len(p) == 1 else p for p in part])
        for part in pictures
    ]
    mean = stacks[0].mean(axis=(0, 2, 3), keepdims=True)
    scale = np.maximum(stacks[0].std(axis=(0, 2, 3), keepdims=True), 1e-6)
    train, test = (
        _examples(folder, paths, (stack - mean) / scale, names)
        for paths, stack in zip(listed, stacks, strict=True)
    )
    return train, test


def read_image(path: Path, side: int) -> Pixels:
    """
    Read one image.

    Returns:
        (1 or 3, side, side) from 0 to 1.

    Raises:
        ExampleError: it is not an image.
    """
    try:
        with Image.open(path) as image:
            deep = image.mode.startswith("I")
            picture = image if deep or image.mode in ("L", "RGB") else image.convert("RGB")
            values = np.asarray(picture, dtype=np.float32) / (65535.0 if deep else 255.0)
    except (UnidentifiedImageError, OSError) as exc:
        raise ExampleError(f"{path}: not a readable image ({exc})") from exc
    channels = values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)
    resized = [
        np.asarray(Image.fromarray(channel).resize((side, side), Image.Resampling.BILINEAR))
        for channel in channels
    ]
    return np.stack(resized)


def read_labels(path: Path, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """
    Read the objects of one image.

    Args:
        path: of the label file; a missing one means no object.
        names: of the classes.

    Returns:
        Classes (m,) and boxes (m, 4): centre and size as shares of the image.

    Raises:
        ExampleError: a line is not a class and four shares.
    """
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        if words := line.split():
            rows.append(_label(words, len(names), f"{path}, line {number}"))
    values = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
    return values[:, 0].long(), values[:, 1:].float()


def _label(words: list[str], classes: int, where: str) -> list[float]:
    try:
        kind, *box = (int(words[0]), *map(float, words[1:]))
    except ValueError as exc:
        raise ExampleError(f"{where}: got {' '.join(words)!r}, expected numbers") from exc
    if len(box) != 4:
        raise ExampleError(f"{where}: got {len(words)} numbers, expected class cx cy w h")
    if not 0 <= kind < classes:
        raise ExampleError(f"{where}: got class {kind}, expected 0 to {classes - 1}")
    if not (all(0.0 <= share <= 1.0 for share in box) and min(box[2:]) > 0.0):
        raise ExampleError(f"{where}: expected shares of the image from 0 to 1, sizes above 0")
    return [float(kind), *box]


def _names(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return NAMES
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    names = tuple(name for name in names if name)
    if not names or len(set(names)) != len(names):
        raise ExampleError(f"{path}: expected one name a line, each once")
    return names


def _paired(folder: Path, part: str) -> list[Path]:
    images = sorted((folder / "images" / part).glob("*.png"))
    if not images:
        raise ExampleError(f"{folder / 'images' / part}: no .png files")
    stems = {path.stem for path in images}
    for label in sorted((folder / "labels" / part).glob("*.txt")):
        if label.stem not in stems:
            raise ExampleError(f"{label}: no image {label.stem}.png in images/{part}")
    return images


def _examples(folder: Path, paths: list[Path], images: Pixels, names: tuple[str, ...]) -> Examples:
    side = images.shape[-1]
    labels = folder / "labels" / paths[0].parent.name
    parts = [read_labels(labels / f"{path.stem}.txt", names) for path in paths]
    if not sum(len(kind) for kind, _ in parts):
        raise ExampleError(f"{labels}: no object in any label file")
    return Examples(
        torch.from_numpy(images.astype(np.float32)),
        all_counted(len(images), (side, side)),
        table([(kind, boxes * side) for kind, boxes in parts], (side, side)),
        names,
        tuple(path.name for path in paths),
        torch.tensor([[0.0, 0.0, 1.0 / side]] * len(images), dtype=torch.float64),
    )
