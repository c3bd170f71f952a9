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
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rpac_ci import processes
from rpac_ci.errors import EnvironmentBuildError

BUILD_TIMEOUT_S = 1800.0
_COMPLETE = ".rpac-complete.json"
_HASH = b"--hash"
# what uv may know of our environment: no credentials of clouds or services
_ALLOWED = re.compile(
    r"PATH|HOME|LANG|LC_.*|TMPDIR|XDG_.*|PIP_.*|UV_.*|SSL_.*|.*_proxy", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentInfo:
    """A ready environment: folder, version of the interpreter, packages as name -> version."""

    path: Path
    python: str
    packages: dict[str, str]
    hashed: bool = False  # every package was checked against a hash in the lock

    @property
    def interpreter(self) -> Path:
        """The environment's `python`."""
        return self.path / "bin" / "python"


def ensure(
    lock: bytes, *, python: str | None, cache: Path, stop: threading.Event | None = None
) -> EnvironmentInfo:
    """
    The environment for a lock; built when the cache does not hold it yet.

    Args:
        lock: the lock file's bytes; requirements with exact versions, better with hashes.
        python: wanted version such as `3.11`; None means the one that runs rpac.
        cache: folder of the user's cache.
        stop: set it to give the build up.

    Raises:
        EnvironmentBuildError: no such interpreter, uv could not install the lock, or `stop`.
    """
    wanted = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    identity = json.dumps([hashlib.sha256(lock).hexdigest(), wanted, platform.platform()])
    folder = cache / "environments" / hashlib.sha256(identity.encode()).hexdigest()[:24]
    with _lock(folder, stop) as held:
        info = _read(folder) or _build(folder, lock, wanted, _Uv(held, stop))
    return replace(info, hashed=_HASH in lock)


@contextmanager
def _lock(folder: Path, stop: threading.Event | None) -> Iterator[int]:
    """One builder at a time; the kernel frees the lock when all its holders have died."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if (stop or threading.Event()).wait(0.2):
                    raise EnvironmentBuildError("the environment was given up") from None
        yield file.fileno()


def _read(folder: Path) -> EnvironmentInfo | None:
    try:
        facts = json.loads((folder / _COMPLETE).read_text())
    except (OSError, ValueError):
        return None
    info = EnvironmentInfo(path=folder, python=facts["python"], packages=facts["packages"])
    return info if info.interpreter.exists() else None


def _build(folder: Path, lock: bytes, python: str, uv: _Uv) -> EnvironmentInfo:
    shutil.rmtree(folder, ignore_errors=True)
    uv.run(["venv", "--quiet", "--python", python, str(folder)], f"no Python {python} here")
    requirements = folder / "rpac-lock.txt"
    requirements.write_bytes(lock)
    interpreter = str(folder / "bin" / "python")
    install = ["pip", "install", "--quiet", "--python", interpreter, "-r", str(requirements)]
    install.append("--no-build")  # wheels only: building runs code that no hash of ours covers
    if "UV_NO_INDEX" in uv.environment:
        install.append("--no-index")
    if _HASH in lock:
        # with every hash given it does not matter which index answers
        install += ["--require-hashes", "--index-strategy", "unsafe-best-match"]
    uv.run(install, "the lock cannot be installed")
    probe = (
        "import importlib.metadata as m, json, platform;"
        "print(json.dumps({'python': platform.python_version(),"
        "'packages': {d.metadata['Name']: d.version for d in m.distributions()}}))"
    )
    facts = json.loads(uv.call([interpreter, "-I", "-c", probe], "the environment does not start"))
    incoming = folder / (_COMPLETE + ".new")
    incoming.write_text(json.dumps(facts, sort_keys=True))
    incoming.replace(folder / _COMPLETE)
    return EnvironmentInfo(path=folder, python=facts["python"], packages=facts["packages"])


class _Uv:
    """uv, which holds the lock too: it may outlive us, and nobody must build beside it."""

    def __init__(self, held: int, stop: threading.Event | None) -> None:
        self._held = held
        self._stop = stop
        mine = {name: value for name, value in os.environ.items() if _ALLOWED.fullmatch(name)}
        self.environment = {**mine, **_index_settings(), "NO_COLOR": "1"}

    def run(self, arguments: list[str], failure: str) -> None:
        """Run one uv command."""
        from uv import find_uv_bin

        self.call([find_uv_bin(), *arguments], failure)

    def call(self, argv: list[str], failure: str) -> str:
        """Run a command and return what it printed."""
        try:
            done = processes.run(
                argv, timeout_s=BUILD_TIMEOUT_S, stop=self._stop, environment=self.environment,
                pass_fds=(self._held,),
            )  # fmt: skip
        except (TimeoutError, processes.StoppedError, OSError) as exc:
            raise EnvironmentBuildError(f"{failure}: {exc}") from exc
        if done.code:
            text = done.err.strip() or done.out.strip()
            raise EnvironmentBuildError(f"{failure}:\n{text[-1500:]}")
        return done.out


def _index_settings() -> dict[str, str]:
    """What pip is configured for, in uv's words; what the user set for uv itself stays."""
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        out = processes.run(argv, timeout_s=60).out
    except (TimeoutError, OSError):
        return {}
    settings = {"UV_SYSTEM_CERTS": "1"}
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX",
             "find-links": "UV_FIND_LINKS"}  # fmt: skip
    for line in out.splitlines():
        key, _, value = line.partition("=")
        if key.endswith(".no-index") and value.strip("'\"").lower() in ("1", "true", "yes", "on"):
            settings["UV_NO_INDEX"] = "1"
        name = names.get(key.rpartition(".")[2])
        if name and name not in os.environ:
            words = value.strip("'\"").replace("\\n", " ").split()
            settings[name] = ("," if name == "UV_FIND_LINKS" else " ").join(words)
    return settings
