"""
Engines' images in the registry that nodes elsewhere pull from, so that a machine which has none,
such as that of a job on GitHub, need not build them each time.
"""

from __future__ import annotations

import hashlib
import threading

from rpac_ci import __version__, image_builds, image_contexts, images
from rpac_ci.errors import ProvisioningError
from rpac_ci.images import Report


def bring(
    engine: str, repository: str, *, report: Report, stop: threading.Event | None = None
) -> None:
    """
    See that the image of an engine is on this machine: pulled where another machine has put it,
    else built, and put there for the next one.

    Args:
        engine: name of the engine.
        repository: such as `ghcr.io/our-lab/rpac`; Docker has to be signed in there.
        report: hears how it goes.
        stop: set it to give a build up.

    Raises:
        ProvisioningError: no Docker engine, it cannot be built, or the registry does not take it.
    """
    name = images.reference(engine)
    if images.find(name):
        return
    tag = f"{engine}-{__version__}-{_content()}"
    report(f"{repository}:{tag}")
    if not _pull(repository, tag, name):
        image_builds.build([engine], report=report, stop=stop)
        images.push(name, repository, tag)


def _content() -> str:
    """What the images are made from, in 12 hexadecimal digits: other code is another image."""
    return hashlib.sha256(image_contexts.engine_context()).hexdigest()[:12]


def _pull(repository: str, tag: str, name: str) -> bool:
    with images.docker_engine() as client:
        from docker.errors import APIError

        try:
            found = client.images.pull(repository, tag)
        except APIError:
            return False  # not there; or not to be read, which the push will tell
        found.tag(*name.rsplit(":", 1))
    if images.find(name) is None:
        raise ProvisioningError(f"{repository}:{tag} was pulled, and is not there as {name}")
    return True
