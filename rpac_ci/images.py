"""
Container images: found, required, derived for an experiment's lock; `image_builds` makes them.

Prerequisites: a Docker engine that answers (`DOCKER_HOST`, else its usual socket) and the extra
`containers`. With `rpac/dask:0.1.0` as the image of engine `dask`, the lock of an experiment
becomes `rpac/environment:<hash>`, which holds that lock's packages and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from rpac_ci import __version__, engines, image_contexts
from rpac_ci.environments import PROBE
from rpac_ci.errors import EnvironmentBuildError, ProvisioningError
from rpac_ci.jobs import PROTOCOL

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image as DockerImage

Report = Callable[[str], None]

TIMEOUT_S = 7200  # of one silent step of a build: Horovod compiles for minutes
_PYTHON = "/opt/environment/bin/python"
WITHOUT_CODE = "rpac.environment"  # label: the image without rpac's code that this one extends


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of this machine's Docker engine."""

    name: str  # as it was asked for
    id: str  # `sha256:<hex>` of its configuration
    digest: str | None  # `sha256:<hex>` in a registry; None when it never was in one
    size: int  # bytes, layers that others share included
    protocol: int | None  # that its node program speaks; None when it is not an image of rpac
    engine: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentImage:
    """An image with an experiment's software: ids, and the packages it really holds."""

    id: str
    engine_image_id: str
    python: str
    packages: dict[str, str]
    hashed: bool  # every package was checked against a hash in the lock


def reference(name: str, variant: str = image_contexts.CPU) -> str:
    """The tag that an image of this version is built under."""
    suffix = "" if variant == image_contexts.CPU else f"-{variant}"
    return f"rpac/{name}:{__version__}{suffix}"


def repository(name: str) -> str:
    """A name without its tag."""
    before, _, tag = name.rpartition(":")
    return before if before and "/" not in tag else name  # the colon of a port is no tag's


def find(ref: str) -> Image | None:
    """
    The image of a tag, an id or `name@sha256:…`; None when it is not on this machine.

    Behind `@` may stand the digest in a registry or the id, which is all that an image has before
    it is pushed.
    """
    name, _, digest = ref.partition("@")
    with docker_engine() as client:
        from docker.errors import ImageNotFound

        for candidate in (ref, digest):
            try:
                found = client.images.get(candidate) if candidate else None
            except ImageNotFound:
                continue
            if found and (candidate == ref or _is_named(found, name)):
                return _image(ref, found)
    return None


def require(ref: str) -> Image:
    """
    The image of a tag, an id or `name@sha256:…`.

    Raises:
        ProvisioningError: it is not on this machine, or under that name is another one.
    """
    image = find(ref)
    if image:
        return image
    name, _, digest = ref.partition("@")
    other = find(name) if digest else None
    if other:
        raise ProvisioningError(
            f"image {name} here is {other.digest or other.id}, wanted is {digest}",
            hint=f"docker pull {ref}, or name the digest that is meant",
        )
    ours = re.fullmatch(r"rpac/([a-z]+):\S+", ref)
    hint = f"rpac images build {ours[1]}" if ours else f"docker pull {ref}"
    raise ProvisioningError(f"image {ref} is not on this machine", hint=hint)


def engine_image(engine: str) -> Image:
    """
    The image of an engine that `rpac images build` made.

    Raises:
        ProvisioningError: there is none, or its node program speaks another protocol.
    """
    return _speaking(require(reference(engine)), f"rpac images build {engine}")


def _speaking(image: Image, remedy: str) -> Image:
    if image.protocol != PROTOCOL:
        spoken = "no protocol of rpac" if image.protocol is None else f"protocol {image.protocol}"
        raise ProvisioningError(
            f"image {image.name} speaks {spoken}, this rpac speaks {PROTOCOL}", hint=remedy
        )
    return image


def declared(ref: str) -> EnvironmentImage:
    """
    The image that an experiment names by digest, as it is.

    Raises:
        ProvisioningError: it is not here, or was not made from an image of this rpac.
        EnvironmentBuildError: it has no environment that starts.
    """
    image = _speaking(require(ref), "build it FROM an image that `rpac images build` makes")
    facts = _facts(image.id)
    return EnvironmentImage(id=image.id, engine_image_id=image.id, hashed=False, **facts)


def publish(image_id: str, repository: str) -> str:
    """
    An image of this machine in a registry, pushed unless it is there.

    Args:
        image_id: of the image.
        repository: such as `ghcr.io/our-lab/rpac`; Docker has to be signed in there.

    Returns:
        `repository@sha256:…`, by which any machine pulls these very bytes.

    Raises:
        ProvisioningError: the registry does not take it.
    """
    tag = image_id.removeprefix("sha256:")[:24]
    with docker_engine() as client:
        from docker.errors import APIError

        try:
            known = client.images.get_registry_data(f"{repository}:{tag}")
        except APIError:
            pass  # not there; or not to be read, which the push will tell
        else:
            return f"{repository}@{known.id}"
    return f"{repository}@{push(image_id, repository, tag)}"


def push(image: str, repository: str, tag: str) -> str:
    """
    An image of this machine to a registry, under a tag.

    Args:
        image: id or name here.
        repository: such as `ghcr.io/our-lab/rpac`; Docker has to be signed in there.
        tag: in that repository.

    Returns:
        Its digest there, `sha256:…`.

    Raises:
        ProvisioningError: the registry does not take it.
    """
    with docker_engine() as client:
        client.images.get(image).tag(repository, tag)
        for said in client.images.push(repository, tag, stream=True, decode=True):
            if "error" in said:
                raise ProvisioningError(
                    f"{repository} takes no image: {str(said['error'])[:500]}",
                    hint=f"sign in first: docker login {repository.partition('/')[0]}",
                )
            if digest := (said.get("aux") or {}).get("Digest"):
                return str(digest)
    raise ProvisioningError(f"{repository} has not said which digest {image} has there")


def ensure_environment(
    engine: str, lock: bytes | None, *, python: str | None, report: Report | None = None,
    stop: threading.Event | None = None, indexes: tuple[str, ...] = (),
) -> EnvironmentImage:  # fmt: skip
    """
    The image for a lock, derived from the engine's image; built when it is not there yet.

    Args:
        engine: name of the engine.
        lock: the lock file's bytes; None means the engine's image as it is.
        python: wanted version such as `3.11`; None means the image's.
        report: hears how the build goes.
        stop: set it to give the build up.
        indexes: further package indexes.

    Raises:
        ProvisioningError: no Docker engine, or no fitting image of the engine.
        EnvironmentBuildError: another Python, the lock cannot be installed, or `stop`.
    """
    base = engine_image(engine)
    if lock is None:
        facts = _checked(base.name, _facts(base.id), python)
        return EnvironmentImage(id=base.id, engine_image_id=base.id, hashed=True, **facts)
    tag = f"rpac/environment:{image_contexts.environment_key(base.id, lock)}"
    image = find(tag)
    if not image:
        facts = _checked(base.name, _facts(base.id), python)
        context = image_contexts.environment_context(
            engine=engine, engine_id=base.id, environment_id=_without_code(base.id), lock=lock,
            packages=facts["packages"], from_source=engines.published_as_source(lock),
            indexes=indexes,
        )  # fmt: skip
        labels = {"rpac.protocol": str(PROTOCOL), "rpac.engine": engine}
        from rpac_ci import image_builds  # which needs this module

        image_builds.run(context, "Dockerfile", tag, report, stop, labels=labels)
        image = require(tag)
    facts = _checked(base.name, _facts(image.id), python)
    hashed = b"--hash" in lock
    return EnvironmentImage(id=image.id, engine_image_id=base.id, hashed=hashed, **facts)


def _checked(name: str, facts: dict[str, Any], python: str | None) -> dict[str, Any]:
    if python and not f"{facts['python']}.".startswith(f"{python}."):
        raise EnvironmentBuildError(
            f"the experiment wants Python {python}, image {name} has {facts['python']}",
            hint="use runtime=process, or build the images on another base: "
            "rpac images build --build-arg BASE=…",
        )
    return facts


def _without_code(image_id: str) -> str:
    with docker_engine() as client:
        labels = client.images.get(image_id).labels
    part = labels.get(WITHOUT_CODE)
    return part if part and find(part) else image_id


@cache
def _facts(image_id: str) -> dict[str, Any]:
    """`python` and `packages` of an image, by its own interpreter and without a network."""
    with docker_engine() as client:
        from docker.errors import ContainerError

        try:
            out = client.containers.run(
                image_id, entrypoint=[_PYTHON, "-I", "-c", PROBE], network_mode="none",
                read_only=True, cap_drop=["ALL"], remove=True, labels={"rpac.probe": "yes"},
            )  # fmt: skip
        except ContainerError as exc:
            raise EnvironmentBuildError(
                f"the environment of image {image_id} does not start: {exc}"
            ) from exc
    facts: dict[str, Any] = json.loads(out)
    return facts


def _is_named(image: DockerImage, name: str) -> bool:
    return any(repository(tag) == repository(name) for tag in image.tags)


def _image(ref: str, found: DockerImage) -> Image:
    # an image may have been pushed elsewhere, too, where its digest is another one
    own = f"{repository(ref.partition('@')[0])}@"
    known = found.attrs.get("RepoDigests") or ()
    digests = [text.removeprefix(own) for text in known if text.startswith(own)]
    protocol = found.labels.get("rpac.protocol", "")
    return Image(
        name=ref, id=str(found.id), digest=digests[0] if digests else None,
        size=found.attrs["Size"], protocol=int(protocol) if protocol.isdigit() else None,
        engine=found.labels.get("rpac.engine"),
    )  # fmt: skip


@contextmanager
def docker_engine() -> Iterator[DockerClient]:
    """The Docker engine; its errors become ours."""
    try:
        import docker
        from docker.errors import DockerException
    except ImportError as exc:
        raise ProvisioningError(
            "images need the package docker", hint="pip install 'rpac-ci[containers]'"
        ) from exc
    try:
        _knock()
        client = docker.from_env(timeout=TIMEOUT_S)
        try:
            client.ping()
            yield client
        finally:
            client.close()
    except (DockerException, OSError) as exc:
        raise ProvisioningError(
            f"no Docker engine does what was asked: {str(exc)[:500]}",
            hint="is it running, and may you use it (docker info)? runtime=process needs none",
        ) from exc


def _knock() -> None:
    """Fail at once where nobody listens; the client itself would leave its socket open."""
    scheme, _, path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
