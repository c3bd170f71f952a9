"""
The Docker engine of tests that need one, and the images they start.

What is not there is skipped with the reason, loudly, except where `RPAC_TEST_DOCKER=1` says that
everything has to be there. Images are built once and kept: a later session finds their layers in
the engine's cache, and a change of rpac's code costs seconds.

    RPAC_TEST_IMAGE_BASE=<image>   a base for places that reach no registry (images/debian-base.sh)
    RPAC_TEST_IMAGE_ARGS=K=V …     further build arguments, such as TORCH_INDEX
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from rpac_ci import image_builds, images
from rpac_ci.errors import ProvisioningError
from rpac_ci.images import Image

Engine: TypeAlias = Callable[[str], Image]

REQUIRED = os.environ.get("RPAC_TEST_DOCKER") == "1"
_ready: dict[str, Image] = {}


def missing(what: str) -> None:
    """Skip, or fail where everything has to be there."""
    if REQUIRED:
        pytest.fail(what)
    pytest.skip(what)


def need_engine() -> None:
    """A Docker engine answers."""
    try:
        images.find("rpac/absent:none")
    except ProvisioningError as exc:
        missing(f"{exc.message} ({exc.hint})")


def need_image(name: str) -> Image:
    """
    The image of an engine (or `base`), of this very code.

    Built where `RPAC_TEST_IMAGE_BASE` says on what; an image that is there is not believed, since
    it may hold yesterday's code, but where nothing has changed building is looking it up.
    """
    if name not in _ready:
        need_engine()
        base = os.environ.get("RPAC_TEST_IMAGE_BASE")
        if not base:
            missing("RPAC_TEST_IMAGE_BASE names no image to build on")
        arguments = dict(
            word.split("=", 1) for word in os.environ.get("RPAC_TEST_IMAGE_ARGS", "").split()
        )
        with _one_builder():
            built = image_builds.build(["base", name], arguments={**arguments, "BASE": str(base)})
        _ready.update({"base": built[0], name: built[-1]})
    return _ready[name]


class _one_builder:  # noqa: N801 - used like a function
    """Test processes beside this one want the same images."""

    def __enter__(self) -> None:
        folder = Path(os.environ["RPAC_CACHE"])
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "images.lock").open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.fixture(scope="session", name="docker")
def docker_fixture() -> Engine:
    """Gives the image of an engine by name; skips where there is no Docker engine."""
    need_engine()
    return need_image
