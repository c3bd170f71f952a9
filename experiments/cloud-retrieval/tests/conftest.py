"""The experiment's modules on the path, and granules of a small size."""

from pathlib import Path

import pytest

from dataset import find_granules
from granule import Files, Size, write_granule

SMALL = Size(scans=8, pixels=48)


@pytest.fixture
def size() -> Size:
    """Of the granules in `folder`."""
    return SMALL


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four small granules of seed 6."""
    made = tmp_path_factory.mktemp("granules")
    for number in range(4):
        write_granule(made, 6, number, SMALL)
    return made


@pytest.fixture
def files(folder: Path) -> Files:
    """The first of them."""
    return find_granules(folder)[0]
