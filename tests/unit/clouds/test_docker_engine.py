"""A Docker engine that is missing, refuses, or hangs: real sockets, and errors with advice."""

from __future__ import annotations

import inspect
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests

from rpac_ci.clouds.local import docker_engine, docker_nodes
from rpac_ci.clouds.local.docker_engine import GoneError, TakenError, translated
from rpac_ci.clouds.local.driver import LocalCloud
from rpac_ci.errors import CapacityError, CloudError, RpacError
from rpac_ci.jobs import JobSpec, JobState
from rpac_ci.storage import Storage
from tests.unit.clouds.contract import make_job


@pytest.fixture
def cloud(tmp_path: Path, storage: Storage) -> LocalCloud:
    return LocalCloud(tmp_path / "scratch", storage.url)


def job(storage: Storage) -> JobSpec:
    return make_job(storage, runtime="docker", image="sha256:" + "0" * 64)


@contextmanager
def engine(path: Path, answer: bytes | None) -> Iterator[None]:
    """A socket that gives each request the same answer, or none."""
    open_ones: list[socket.socket] = []

    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            open_ones.append(connection)
            if connection.recv(65536) and answer is not None:
                connection.sendall(answer)
                connection.close()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=serve, args=[server], daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)
            for connection in open_ones:
                connection.close()


def test_without_an_engine_nothing_is_provisioned_and_the_hint_says_what_to_do(
    cloud: LocalCloud, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    spec = job(storage)
    with pytest.raises(CloudError, match="Docker engine does not answer") as caught:
        cloud.provision(spec)
    assert "systemctl start docker" in caught.value.hint
    assert "runtime=process" in caught.value.hint
    assert cloud.leftovers() == []
    assert set(cloud.release(spec)["left"].values()) == {0}, "there was nothing to release"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        b"\x00\x01 not HTTP",
    ],
    ids=["silent", "hangs up", "not JSON", "broken", "another protocol"],
)
def test_an_engine_that_is_no_use_is_told_within_the_time_limit(
    cloud: LocalCloud, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    answer: bytes | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(docker_engine, "TIMEOUT_S", 1)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    with engine(tmp_path / "engine.sock", answer):
        with pytest.raises(CloudError, match="Docker") as caught:
            cloud.provision(job(storage))
        assert caught.value.transient
        assert caught.value.hint


def test_a_run_that_has_used_the_engine_is_not_taken_for_swept_when_it_is_gone(
    cloud: LocalCloud, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = job(storage)
    folder = tmp_path / "scratch" / f"{spec.run}-1"
    folder.mkdir(parents=True)
    (folder / "promise.json").write_text('{"runtime": "docker", "memory_mib": 16, "gpus": []}')
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    for look in (cloud.leftovers, lambda: cloud.release(spec), lambda: cloud.provision(spec)):
        with pytest.raises(CloudError, match="does not answer"):
            look()


def test_a_job_is_not_lost_at_the_engines_first_silence(
    cloud: LocalCloud, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    spec = job(storage)
    observed = cloud.observe(spec, {})
    assert observed.state is JobState.PENDING
    assert "does not answer" in observed.detail
    monkeypatch.setattr(docker_nodes, "PATIENCE_S", 0.0)
    assert cloud.observe(spec, {}).state is JobState.UNKNOWN


def test_a_store_on_a_server_is_refused(tmp_path: Path, storage: Storage) -> None:
    with pytest.raises(CloudError, match="needs a store in a folder, and this one is s3://"):
        LocalCloud(tmp_path, "s3://bucket/prefix").provision(job(storage))


# --- the table of errors --------------------------------------------------------------------------


def answer(status: int, reason: str) -> docker.errors.APIError:
    response = requests.Response()
    response.status_code = status
    return docker.errors.APIError("answer", response=response, explanation=reason)


def test_no_exception_of_docker_or_requests_gets_through() -> None:
    found = [
        error
        for module in (docker.errors, requests.exceptions)
        for _, error in inspect.getmembers(module, inspect.isclass)
        if issubclass(error, (docker.errors.DockerException, requests.RequestException))
    ]
    assert len(found) > 20
    for error in found:
        instance: Any = error.__new__(error)
        Exception.__init__(instance, "it failed")
        instance.response = None
        instance.explanation = "it failed"
        with pytest.raises(CloudError, match="looking: ") as caught, translated("looking"):
            raise instance
        assert "it failed" in caught.value.message


@pytest.mark.parametrize(
    ("status", "reason", "becomes", "hint"),
    [
        (404, "No such container: x", GoneError, ""),
        (409, "the name is already in use", TakenError, ""),
        (400, "could not find an available, non-overlapping IPv4 address pool", CapacityError,
         "docker network prune"),
        (500, "write /x: no space left on device", CapacityError, "docker system df"),
        (500, 'could not select device driver "" with capabilities: [[gpu]]', CloudError,
         "container toolkit"),
        (403, "not allowed", CloudError, ""),
    ],
)  # fmt: skip
def test_answers_are_told_apart(
    status: int, reason: str, becomes: type[Exception], hint: str
) -> None:
    with pytest.raises(becomes) as caught, translated("looking"):
        raise answer(status, reason)
    assert reason in str(caught.value)
    if isinstance(caught.value, RpacError):
        assert hint in caught.value.hint


def test_a_failure_of_the_engine_may_be_tried_again_and_a_refusal_not() -> None:
    for status, again in ((500, True), (503, True), (400, False), (403, False)):
        with pytest.raises(CloudError) as caught, translated("looking"):
            raise answer(status, "no")
        assert caught.value.transient is again
