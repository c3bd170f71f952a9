"""
Environments: a lock file -> a virtual environment, built once per lock, interpreter and platform.

uv installs (seconds where pip needs a minute); the package index is the one that pip is
configured for, so a mirror that works for pip works here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rpac_ci.errors import EnvironmentBuildError

BUILD_TIMEOUT_S = 1800.0
_COMPLETE = ".rpac-complete.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentInfo:
    """A ready environment: folder, version of the interpreter, packages as name -> version."""

    path: Path
    python: str
    packages: dict[str, str]

    @property
    def interpreter(self) -> Path:
        """The environment's `python`."""
        return self.path / "bin" / "python"


def ensure(lock: bytes, *, python: str | None, cache: Path) -> EnvironmentInfo:
    """
    The environment for a lock; built when the cache does not hold it yet.

    Args:
        lock: the lock file's bytes; requirements with exact versions, better with hashes.
        python: wanted version such as `3.11`; None means the one that runs rpac.
        cache: folder of the user's cache.

    Raises:
        EnvironmentBuildError: no such interpreter, or uv could not install the lock.
    """
    wanted = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    identity = json.dumps([hashlib.sha256(lock).hexdigest(), wanted, platform.platform()])
    folder = cache / "environments" / hashlib.sha256(identity.encode()).hexdigest()[:24]
    with _lock(folder) as held:
        return _read(folder) or _build(folder, lock, wanted, held)


@contextmanager
def _lock(folder: Path) -> Iterator[int]:
    """One builder at a time; the kernel frees the lock when all its holders have died."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _read(folder: Path) -> EnvironmentInfo | None:
    try:
        facts = json.loads((folder / _COMPLETE).read_text())
    except (OSError, ValueError):
        return None
    info = EnvironmentInfo(path=folder, python=facts["python"], packages=facts["packages"])
    return info if info.interpreter.exists() else None


def _build(folder: Path, lock: bytes, python: str, held: int) -> EnvironmentInfo:
    shutil.rmtree(folder, ignore_errors=True)
    _uv(["venv", "--quiet", "--python", python, str(folder)], held, f"no Python {python} here")
    requirements = folder / "rpac-lock.txt"
    requirements.write_bytes(lock)
    interpreter = str(folder / "bin" / "python")
    install = ["pip", "install", "--quiet", "--python", interpreter, "-r", str(requirements)]
    if b"--hash" in lock:
        # with every hash given it does not matter which index answers
        install += ["--require-hashes", "--index-strategy", "unsafe-best-match"]
    _uv(install, held, "the lock cannot be installed")
    probe = (
        "import importlib.metadata as m, json, platform;"
        "print(json.dumps({'python': platform.python_version(),"
        "'packages': {d.metadata['Name']: d.version for d in m.distributions()}}))"
    )
    out = subprocess.run(
        [interpreter, "-I", "-c", probe], capture_output=True, check=True, timeout=60
    )
    facts = json.loads(out.stdout)
    incoming = folder / (_COMPLETE + ".new")
    incoming.write_text(json.dumps(facts, sort_keys=True))
    incoming.replace(folder / _COMPLETE)
    return EnvironmentInfo(path=folder, python=facts["python"], packages=facts["packages"])


def _uv(arguments: list[str], held: int, failure: str) -> None:
    """Run uv, which holds the lock too: it may outlive us, and nobody must build beside it."""
    from uv import find_uv_bin

    environment = {**os.environ, **_index_settings(), "NO_COLOR": "1"}
    environment.pop("VIRTUAL_ENV", None)
    try:
        done = subprocess.run(
            [find_uv_bin(), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_TIMEOUT_S,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(held,),
        )
    except subprocess.TimeoutExpired as exc:
        raise EnvironmentBuildError(f"{failure}: no end within {BUILD_TIMEOUT_S:.0f} s") from exc
    if done.returncode:
        text = done.stderr.strip() or done.stdout.strip()
        raise EnvironmentBuildError(f"{failure}:\n{text[-1500:]}")


def _index_settings() -> dict[str, str]:
    """What pip is configured for, in uv's words; what the user set for uv itself stays."""
    try:
        out = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        ).stdout
    except (subprocess.SubprocessError, OSError):
        return {}
    settings = {"UV_SYSTEM_CERTS": "1"}
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX",
             "find-links": "UV_FIND_LINKS"}  # fmt: skip
    for line in out.splitlines():
        key, _, value = line.partition("=")
        name = names.get(key.rpartition(".")[2])
        if name and name not in os.environ:
            words = value.strip("'\"").replace("\\n", " ").split()
            settings[name] = ("," if name == "UV_FIND_LINKS" else " ").join(words)
    return settings
