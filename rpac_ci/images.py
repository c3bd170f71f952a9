"""
Container images: found, required, built for an engine, derived for an experiment's lock.

Prerequisites: a Docker engine that answers (`DOCKER_HOST`, else its usual socket) and the extra
`containers`. With `rpac/dask:0.1.0` as the image of engine `dask`, the lock of an experiment
becomes `rpac/environment:<hash>`, which holds that lock's packages and nothing else.

`RPAC_IMAGE_BUILD_NETWORK=host` builds in the network of this machine, where its package index is
reachable from there alone; what pip is to know belongs into the base image's `/etc/pip.conf`.
"""

from __future__ import annotations

import io
import json
import os
import queue
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
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
_WITHOUT_CODE = "rpac.environment"  # label: the image without rpac's code that this one extends


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
    with _docker() as client:
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
        _build(context, "Dockerfile", tag, report, stop, labels=labels)
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


def build(
    names: list[str], *, arguments: Mapping[str, str] | None = None, network: str | None = None,
    variant: str = image_contexts.CPU, report: Report | None = None,
) -> list[Image]:  # fmt: skip
    """
    Build images, and the base first where it is named or not there yet.

    Args:
        names: of `image_contexts.names()`; none means all of them.
        arguments: build arguments such as `BASE`.
        network: Docker network of the build's steps; None means `RPAC_IMAGE_BUILD_NETWORK`.
        variant: `cpu`, or `cuda` where there is a lock for it.
        report: hears each step.

    Raises:
        ProvisioningError: no such image or variant, no Docker engine, or a step failed.
    """
    known = image_contexts.names()
    if unknown := set(names) - set(known):
        raise ProvisioningError(
            f"there is no image {', '.join(sorted(unknown))}", hint=f"there are {', '.join(known)}"
        )
    wanted = [name for name in known if name in (names or known)]
    if image_contexts.BASE not in wanted and not find(reference(image_contexts.BASE)):
        wanted.insert(0, image_contexts.BASE)
    context = image_contexts.engine_context()
    return [
        _build_one(name, context, dict(arguments or {}), network, variant, report)
        for name in wanted
    ]


def _build_one(
    name: str, context: bytes, arguments: dict[str, str], network: str | None, variant: str,
    report: Report | None,
) -> Image:  # fmt: skip
    tag, file = reference(name, variant), f"images/{name}/Dockerfile"
    labels: dict[str, str] = {}
    if name != image_contexts.BASE:
        base = reference(image_contexts.BASE)
        arguments |= {"RPAC_BASE": base, **image_contexts.variant_arguments(name, variant)}
        # the part before rpac's own code has a name, so that a change of code rebuilds little
        part = f"{tag}-environment"
        _build(context, file, part, report, None, arguments, network, target="environment")
        labels[_WITHOUT_CODE] = require(part).id
        arguments |= {"VERSION": __version__, "PROTOCOL": str(PROTOCOL)}
    _build(context, file, tag, report, None, arguments, network, labels=labels)
    return require(tag)


def _build(
    context: bytes, file: str, tag: str, report: Report | None, stop: threading.Event | None,
    arguments: Mapping[str, str] | None = None, network: str | None = None,
    labels: Mapping[str, str] | None = None, target: str | None = None,
) -> None:  # fmt: skip
    if report:
        report(f"building {tag}")
    with _docker() as client:
        answers = client.api.build(
            fileobj=io.BytesIO(context), custom_context=True, dockerfile=file, tag=tag, rm=True,
            forcerm=True, decode=True, buildargs=dict(arguments or {}), labels=dict(labels or {}),
            network_mode=network or os.environ.get("RPAC_IMAGE_BUILD_NETWORK"), target=target,
        )  # fmt: skip
        said: list[str] = []
        for answer in _until(answers, stop, client):
            if "error" in answer:
                text = "".join(said)[-1500:].strip()
                raise EnvironmentBuildError(
                    f"image {tag} cannot be built: {answer['error']}\n{text}"
                )
            said.append(answer.get("stream", ""))
            if report and said[-1].startswith("Step "):
                report(f"{tag}: {said[-1].strip()[:200]}")


def _until(
    answers: Iterator[dict[str, Any]], stop: threading.Event | None, client: DockerClient
) -> Iterator[dict[str, Any]]:
    """What the Docker engine says, until `stop`: it gives a build up when nobody listens."""
    said: queue.SimpleQueue[Any] = queue.SimpleQueue()
    end = object()

    def listen() -> None:
        try:
            for answer in answers:
                said.put(answer)
            said.put(end)
        except Exception as exc:  # noqa: BLE001 - raised again where somebody waits
            said.put(exc)

    threading.Thread(target=listen, daemon=True, name="image build").start()
    while True:
        try:
            answer = said.get(timeout=0.2)
        except queue.Empty:
            if stop and stop.is_set():
                client.close()
                raise EnvironmentBuildError("the image was given up") from None
            continue
        if answer is end:
            return
        if isinstance(answer, Exception):
            raise answer
        yield answer


def _without_code(image_id: str) -> str:
    with _docker() as client:
        labels = client.images.get(image_id).labels
    part = labels.get(_WITHOUT_CODE)
    return part if part and find(part) else image_id


@cache
def _facts(image_id: str) -> dict[str, Any]:
    """`python` and `packages` of an image, by its own interpreter and without a network."""
    with _docker() as client:
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
    digests = [text.partition("@")[2] for text in found.attrs.get("RepoDigests") or ()]
    protocol = found.labels.get("rpac.protocol", "")
    return Image(
        name=ref, id=str(found.id), digest=digests[0] if digests else None,
        size=found.attrs["Size"], protocol=int(protocol) if protocol.isdigit() else None,
        engine=found.labels.get("rpac.engine"),
    )  # fmt: skip


@contextmanager
def _docker() -> Iterator[DockerClient]:
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
