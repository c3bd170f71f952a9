"""
The Docker engine of this machine: how it is reached, and its errors in rpac's words.

Only this module imports `docker`, and only when a container is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from rpac_ci.errors import CapacityError, CloudError, ProvisioningError

TIMEOUT_S = 60  # of every call; making a container takes long on a busy machine
MAX_CONNECTIONS = 32  # at once, from all threads
_SOCKET = Path("/var/run/docker.sock")
_START = (
    "start it (systemctl start docker) and see that you may use it (docker info), "
    "or take runtime=process"
)


class EngineSilentError(CloudError):
    """The Docker engine is not there, may not be used, or does not answer in time."""

    transient = True


class GoneError(CloudError):
    """What a call is about is not there, or not any more."""


class TakenError(CloudError):
    """A name is taken, or the thing is in a state in which the call makes no sense."""


class Client(Protocol):
    """The calls in use of `docker.APIClient`; it speaks the JSON of Docker's HTTP API."""

    def version(self) -> dict[str, Any]:
        """Versions of the engine and of its API."""
        ...

    def info(self) -> dict[str, Any]:
        """The engine's machine and settings."""
        ...

    def inspect_image(self, image: str) -> dict[str, Any]:
        """One image."""
        ...

    def networks(self, *, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Networks by their labels."""
        ...

    def create_network(self, **request: Any) -> dict[str, Any]:
        """Make a network."""
        ...

    def remove_network(self, net_id: str) -> None:
        """Remove a network that no container is on."""
        ...

    def containers(self, *, all: bool, filters: Mapping[str, Any]) -> list[dict[str, Any]]:  # noqa: A002
        """Containers by their labels."""
        ...

    def create_container_from_config(self, config: Any, name: str) -> dict[str, Any]:
        """Make a container, without starting it."""
        ...

    def start(self, container: str) -> None:
        """Start a container."""
        ...

    def inspect_container(self, container: str) -> dict[str, Any]:
        """One container."""
        ...

    def kill(self, container: str, signal: int) -> None:
        """Send a signal to the first process of a container."""
        ...

    def remove_container(self, container: str, *, v: bool, force: bool) -> None:
        """Remove a container, with its unnamed volumes."""
        ...

    def logs(self, container: str, *, tail: int) -> bytes:
        """The last lines of what a container has printed."""
        ...


def connect() -> Client:
    """
    The engine that `DOCKER_HOST` names, else the one of this machine.

    Raises:
        EngineSilentError: it does not answer.
    """
    return _connect(os.environ.get("DOCKER_HOST", ""))


def may_be_there() -> bool:
    """Whether there is a sign of an engine; cheap, and without a promise."""
    reachable = "DOCKER_HOST" in os.environ or _SOCKET.exists()
    return reachable and importlib.util.find_spec("docker") is not None


@functools.cache
def _connect(host: str) -> Client:
    if importlib.util.find_spec("docker") is None:
        raise EngineSilentError(
            "containers need the package docker, which is not installed",
            hint="pip install 'rpac-ci[containers]', or take runtime=process",
        )
    _knock(host)
    with translated(f"connecting to {host or 'Docker'}"):
        return _open()


def _knock(host: str) -> None:
    """See that somebody listens; `docker` itself would leave a socket open where nobody does."""
    scheme, _, path = (host or f"unix://{_SOCKET}").partition("://")
    if scheme != "unix":
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(TIMEOUT_S)
        try:
            probe.connect(path)
        except OSError as exc:
            raise EngineSilentError(
                f"the Docker engine does not answer on {path}: {exc.strerror or exc}", hint=_START
            ) from exc


def _open() -> Client:
    import docker
    from docker.utils import kwargs_from_env

    class ClosingClient(docker.APIClient):
        """Leaves no connection open where it cannot be made."""

        def __init__(self, **settings: Any) -> None:
            try:
                super().__init__(**settings)
            except BaseException:
                self.close()
                raise

    settings: Any = kwargs_from_env()
    client: Any = ClosingClient(
        timeout=TIMEOUT_S, max_pool_size=MAX_CONNECTIONS, version="auto", **settings
    )
    found: Client = client
    return found


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """
    Docker's errors as rpac's.

    Raises:
        GoneError, TakenError: for the caller, who knows what that means.
        CloudError: all else, with what was being done.
    """
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as exc:
        raise _answer(doing, exc.status_code or 0, _reason(exc)) from exc
    except (RequestException, DockerException) as exc:
        raise EngineSilentError(
            f"{doing}: the Docker engine does not answer: {_reason(exc)}", hint=_START
        ) from exc


# words of an answer that say more than its status
_WORDS: tuple[tuple[str, type[CloudError], str], ...] = (
    ("address pool", CapacityError, "docker network prune removes networks that nobody uses"),
    ("no space left", CapacityError, "docker system df shows what takes the room"),
    ("could not select device driver", ProvisioningError,
     "GPUs in containers need NVIDIA's container toolkit on this machine"),
    ("docker-init", ProvisioningError, "install the package tini, which has docker-init"),
)  # fmt: skip
_STATUS: dict[int, type[CloudError]] = {404: GoneError, 409: TakenError}


def _answer(doing: str, status: int, reason: str) -> CloudError:
    for words, error, hint in _WORDS:
        if words in reason:
            return error(f"{doing}: {reason}", hint=hint)
    if status in _STATUS:
        return _STATUS[status](f"{doing}: {reason}")
    failure = CloudError(f"{doing}: the Docker engine answered {status}: {reason}")
    failure.transient = status >= 500
    return failure


def _reason(exc: Exception) -> str:
    said = getattr(exc, "explanation", None) or str(exc) or type(exc).__name__
    return " ".join(str(said).split())[:300]
