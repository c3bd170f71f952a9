"""
Builds container images: an engine's, and whatever a context and a Dockerfile say.

`RPAC_IMAGE_BUILD_NETWORK=host` builds in the network of this machine, where its package index is
reachable from there alone; what pip is to know belongs into the base image's `/etc/pip.conf`.
"""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rpac_ci import __version__, image_contexts
from rpac_ci.errors import EnvironmentBuildError, ProvisioningError
from rpac_ci.images import WITHOUT_CODE, Image, Report, docker_engine, find, reference, require
from rpac_ci.jobs import PROTOCOL

if TYPE_CHECKING:
    from docker import DockerClient


def build(
    names: list[str], *, arguments: Mapping[str, str] | None = None, network: str | None = None,
    variant: str = image_contexts.CPU, report: Report | None = None,
    stop: threading.Event | None = None,
) -> list[Image]:  # fmt: skip
    """
    Build images, and the base first where it is named or not there yet.

    Args:
        names: of `image_contexts.names()`; none means all of them.
        arguments: build arguments such as `BASE`.
        network: Docker network of the build's steps; None means `RPAC_IMAGE_BUILD_NETWORK`.
        variant: `cpu`, or `cuda` where there is a lock for it.
        report: hears each step.
        stop: set it to give the build up.

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
    given = dict(arguments or {})
    return [_one(name, context, dict(given), network, variant, report, stop) for name in wanted]


def _one(
    name: str, context: bytes, arguments: dict[str, str], network: str | None, variant: str,
    report: Report | None, stop: threading.Event | None,
) -> Image:  # fmt: skip
    tag, file = reference(name, variant), f"images/{name}/Dockerfile"
    labels: dict[str, str] = {}
    if name != image_contexts.BASE:
        base = reference(image_contexts.BASE)
        arguments |= {"RPAC_BASE": base, **image_contexts.variant_arguments(name, variant)}
        # the part before rpac's own code has a name, so that a change of code rebuilds little
        part = f"{tag}-environment"
        run(context, file, part, report, stop, arguments, network, target="environment")
        labels[WITHOUT_CODE] = require(part).id
        arguments |= {"VERSION": __version__, "PROTOCOL": str(PROTOCOL)}
    run(context, file, tag, report, stop, arguments, network, labels=labels)
    return require(tag)


def run(
    context: bytes, file: str, tag: str, report: Report | None, stop: threading.Event | None,
    arguments: Mapping[str, str] | None = None, network: str | None = None,
    labels: Mapping[str, str] | None = None, target: str | None = None,
) -> None:  # fmt: skip
    """
    One build by the Docker engine.

    Args:
        context: a tar archive of all that the Dockerfile copies.
        file: the Dockerfile in it.
        tag: name of the image.
        report: hears each step.
        stop: set it to give the build up.
        arguments: build arguments.
        network: Docker network of the build's steps; None means `RPAC_IMAGE_BUILD_NETWORK`.
        labels: of the image.
        target: the last stage that is built; None means all of them.

    Raises:
        EnvironmentBuildError: a step failed, with what it said last; or `stop`.
    """
    if report:
        report(f"building {tag}")
    with docker_engine() as client:
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
