"""
Azurite, Microsoft's own emulator of Blob Storage: from npm, put once into the tests' cache.

It speaks TLS, because only then does it take the tokens of identities, whose issuer, audience and
time it checks and whose signature it does not. It has no versions of blobs and no rights: whoever
has a token may do everything. It asks nobody outside for anything.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_engine import REQUIRED

VERSION = "3.35.0"
ACCOUNT = "labrpac"


@contextlib.contextmanager
def serve(folder: Path, host: str, certificate: Path, key: Path) -> Iterator[str]:
    """
    A running server with the account `labrpac`; yields the account's URL.

    Args:
        folder: for its log.
        host: address to listen on.
        certificate: with its chain, for that address.
        key: its private key.
    """
    port = _free_port(host)
    with (folder / "azurite.log").open("w") as log:
        process = subprocess.Popen(
            [
                *_program(), "--blobHost", host, "--blobPort", str(port), "--inMemoryPersistence",
                "--oauth", "basic", "--cert", str(certificate), "--key", str(key),
                "--skipApiVersionCheck", "--disableTelemetry",
            ],
            stdout=log, stderr=subprocess.STDOUT, cwd=folder,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{_key()}"},
        )  # fmt: skip
        try:
            _until_open(host, port)
            yield f"https://{host}:{port}/{ACCOUNT}"
        finally:
            process.terminate()
            process.wait(20)


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _program() -> list[str]:
    """The command that starts it; skips where it cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _missing("Azurite needs node and npm")
    assert node is not None
    assert npm is not None
    folder = Path(os.environ["RPAC_CACHE"]) / f"node-azurite-{VERSION}"
    script = folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    if not script.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # test processes beside this one want the same
            if not script.exists():
                _install(npm, folder)
    return [node, str(script)]


def _install(npm: str, folder: Path) -> None:
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", f"azurite@{VERSION}"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if done.returncode:
        _missing(f"npm cannot install azurite {VERSION}: {done.stderr.strip()[-300:]}")


def _missing(what: str) -> None:
    """Skip, or fail where everything has to be there."""
    if REQUIRED:
        pytest.fail(what)
    pytest.skip(what)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _until_open(host: str, port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"Azurite does not listen on port {port}")
