"""Environments: a lock file -> a virtual environment, built once per lock, Python and platform."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rpac_ci.errors import EnvironmentBuildError
from rpac_ci.installing import Uv, one_builder

# prints what an environment is: `python` and `packages`
PROBE = (
    "import importlib.metadata as m, json, platform;"
    "print(json.dumps({'python': platform.python_version(),"
    "'packages': {d.metadata['Name']: d.version for d in m.distributions()}}))"
)
_COMPLETE = ".rpac-complete.json"
_HASH = b"--hash"
# how uv says that the indexes it asked do not have what the lock names
_NOT_FOUND = re.compile(r"no versions? of|not found in")


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
    lock: bytes, *, python: str | None, cache: Path, stop: threading.Event | None = None,
    from_source: tuple[str, ...] = (), indexes: tuple[str, ...] = (), horovod: bool = False,
    report: Callable[[str], None] | None = None,
) -> EnvironmentInfo:  # fmt: skip
    """
    The environment for a lock; built when the cache does not hold it yet.

    Args:
        lock: the lock file's bytes; requirements with exact versions, better with hashes.
        python: wanted version such as `3.11`; None means the one that runs rpac.
        cache: folder of the user's cache.
        stop: set it to give the build up.
        from_source: packages that are published as source alone; all others come as wheels.
        indexes: further package indexes, asked when the user's own lack something.
        horovod: also build Horovod for the lock's torch, and install it.
        report: hears what takes minutes.

    Raises:
        EnvironmentBuildError: no such interpreter, uv could not install the lock, or `stop`.
    """
    wanted = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    parts = [hashlib.sha256(lock).hexdigest(), wanted, platform.platform()]
    if from_source:
        parts += ["from source", *sorted(from_source)]
    if horovod:
        from rpac_ci import horovod_build

        parts += ["horovod", horovod_build.identity()]
    folder = cache / "environments" / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    with one_builder(folder, stop) as held:
        info = _read(folder)
        if not info:
            uv = Uv(held, stop)
            _install(folder, lock, wanted, uv, from_source, indexes)
            if horovod:
                _add_horovod(folder, cache, stop, report, uv)
            info = _complete(folder, uv)
    return replace(info, hashed=_HASH in lock)


def _read(folder: Path) -> EnvironmentInfo | None:
    try:
        facts = json.loads((folder / _COMPLETE).read_text())
    except (OSError, ValueError):
        return None
    info = EnvironmentInfo(path=folder, python=facts["python"], packages=facts["packages"])
    return info if info.interpreter.exists() else None


def _install(
    folder: Path, lock: bytes, python: str, uv: Uv,
    from_source: tuple[str, ...], indexes: tuple[str, ...],
) -> None:  # fmt: skip
    """A virtual environment with the lock's packages."""
    shutil.rmtree(folder, ignore_errors=True)
    uv.run(["venv", "--quiet", "--python", python, str(folder)], f"no Python {python} here")
    requirements = folder / "rpac-lock.txt"
    requirements.write_bytes(lock)
    install = ["pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    install.append("--compile-bytecode")  # once, and not by every process of the first run
    install += ["-r", str(requirements), *_sources(from_source)]
    if "UV_NO_INDEX" in uv.environment:
        install.append("--no-index")
    if _HASH in lock:
        # with every hash given it does not matter which index answers
        install += ["--require-hashes", "--index-strategy", "unsafe-best-match"]
    failure = "the lock cannot be installed"
    try:
        uv.run(install, failure)
    except EnvironmentBuildError as exc:
        if not indexes or "--no-index" in install or not _NOT_FOUND.search(exc.message):
            raise
        known = uv.environment.get("UV_INDEX", "").split()
        uv.run(install, failure, {"UV_INDEX": " ".join([*known, *indexes])})


def _sources(from_source: tuple[str, ...]) -> list[str]:
    """Wheels, except for the named: building runs code, which must be known to be needed."""
    if not from_source:
        return ["--no-build"]
    return ["--only-binary", ":all:", *(f"--no-binary={name}" for name in from_source)]


def _add_horovod(
    folder: Path, cache: Path, stop: threading.Event | None,
    report: Callable[[str], None] | None, uv: Uv,
) -> None:  # fmt: skip
    from rpac_ci import horovod_build

    python = folder / "bin" / "python"
    torch = _probe(python, uv)["packages"].get("torch")
    if not torch:
        raise EnvironmentBuildError(
            "engine horovod needs torch in the experiment's lock", hint="add torch==… to the lock"
        )
    wheel = horovod_build.wheel(python, torch=torch, cache=cache, stop=stop, report=report)
    uv.run(
        ["pip", "install", "--quiet", "--python", str(python), "--no-deps", "--no-index",
         str(wheel)],
        "Horovod cannot be installed",
    )  # fmt: skip


def _complete(folder: Path, uv: Uv) -> EnvironmentInfo:
    facts = _probe(folder / "bin" / "python", uv)
    incoming = folder / (_COMPLETE + ".new")
    incoming.write_text(json.dumps(facts, sort_keys=True))
    incoming.replace(folder / _COMPLETE)
    return EnvironmentInfo(path=folder, python=facts["python"], packages=facts["packages"])


def _probe(python: Path, uv: Uv) -> dict[str, Any]:
    """Version of the interpreter, and of each package it finds."""
    out = uv.call([str(python), "-I", "-c", PROBE], "the environment does not start")
    facts: dict[str, Any] = json.loads(out)
    return facts
