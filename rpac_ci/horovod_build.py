"""
Horovod from its source: its last release exists as nothing else, and fits no torch of today.

The archive is pinned by its hash, the patch that lets it compile against torch 2 is ours
(`patches/`), and the tools of the build come from a lock into an environment that is thrown away.
The wheel knows one torch, one Python and one platform; it is built once for each, and kept.
Ranks talk over Gloo alone: neither MPI nor NCCL is built in.

For the builder of an image: `python -m rpac_ci.horovod_build PYTHON FOLDER`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from rpac_ci.errors import EnvironmentBuildError
from rpac_ci.installing import Uv, one_builder

VERSION = "0.28.1"
SOURCE_SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
_PATCHES = Path(__file__).with_name("patches")
PATCH = _PATCHES / f"horovod-{VERSION}-cxx20.patch"
TOOLS = _PATCHES / "horovod-tools.lock"
_CHOICES = {
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_CPU_OPERATIONS": "GLOO",
    "CMAKE_GENERATOR": "Ninja",
    "SOURCE_DATE_EPOCH": "315532800",  # the same bytes at any time
}
_FILE = re.compile(r"^--- a/(?P<name>\S+)\n\+\+\+ b/(?P=name)\n", re.MULTILINE)
_HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@.*\n", re.MULTILINE)


def identity() -> str:
    """Hash of all that we put into the wheel: source, patch and tools."""
    parts = [SOURCE_SHA256, PATCH.read_text(), TOOLS.read_text(), json.dumps(_CHOICES)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def wheel(
    python: Path, *, torch: str, cache: Path, stop: threading.Event | None = None,
    report: Callable[[str], None] | None = None,
) -> Path:  # fmt: skip
    """
    The wheel of Horovod for an environment's torch; built when the cache does not hold it yet.

    Args:
        python: interpreter of an environment that holds torch.
        torch: version of that torch, local part included (`2.13.0+cpu`).
        cache: folder of the user's cache.
        stop: set it to give the build up.
        report: hears, before a build, that one begins.

    Raises:
        EnvironmentBuildError: no C++ compiler, the source does not compile, or `stop`.
    """
    with TemporaryDirectory(prefix="rpac-horovod-") as scratch:
        key = [identity(), torch, _version(python), platform.machine(), *platform.libc_ver()]
        folder = cache / "horovod" / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
        with one_builder(folder, stop) as held:
            ready = sorted(folder.glob("*.whl"))
            if not ready:
                compiler = _compiler()
                if report:
                    report(f"building Horovod {VERSION} for torch {torch}: minutes, once")
                built = _build(python, Path(scratch), compiler, Uv(held, stop))
                ready = [_keep(built, folder)]
    return ready[0]


def _version(python: Path) -> str:
    """`3.11` of an environment, from the file that every virtual environment has."""
    text = (python.parent.parent / "pyvenv.cfg").read_text()
    found = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", text, re.MULTILINE)
    if not found:
        raise EnvironmentBuildError(f"{python} is not in a virtual environment")
    return found[1]


def _compiler() -> str:
    found = shutil.which("g++") or shutil.which("c++")
    if not found:
        raise EnvironmentBuildError(
            f"Horovod {VERSION} exists as source alone, and there is no C++ compiler here",
            hint="install one (Debian, Ubuntu: apt install g++), use runtime=docker, "
            "or engine=torchrun",
        )
    return found


def _build(python: Path, scratch: Path, compiler: str, uv: Uv) -> Path:
    """A wheel below `scratch`."""
    tools, source, out = scratch / "tools", scratch / "source", scratch / "wheels"
    uv.run(["venv", "--quiet", "--python", str(python), str(tools)], "no environment for tools")
    builder = tools / "bin" / "python"
    uv.run(
        ["pip", "install", "--quiet", "--python", str(builder), "--no-build", "--require-hashes",
         "--index-strategy", "unsafe-best-match", "-r", str(TOOLS)],
        "the tools that build Horovod cannot be installed",
    )  # fmt: skip
    # the torch to build against, behind the tools' own packages
    packages = _packages(python)
    (_packages(builder) / "torch.pth").write_text(f"{packages}\n")
    _unpack(_fetch(builder, scratch, uv), source)
    apply_patch(PATCH.read_text(), source)
    path = os.pathsep.join([str(tools / "bin"), uv.environment.get("PATH", os.defpath)])
    uv.run(
        ["build", "--wheel", "--no-build-isolation", "--python", str(builder),
         "--out-dir", str(out), str(source)],
        f"Horovod {VERSION} does not compile", {**_CHOICES, "CXX": compiler, "PATH": path},
    )  # fmt: skip
    return next(out.glob("*.whl"))


def _packages(python: Path) -> Path:
    return next((python.parent.parent / "lib").glob("python3*/site-packages")).resolve()


def _fetch(builder: Path, scratch: Path, uv: Uv) -> Path:
    """The source archive: only pip fetches without installing, and it checks the hash first."""
    wanted = scratch / "horovod.txt"
    wanted.write_text(f"horovod=={VERSION} --hash=sha256:{SOURCE_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(builder)]
    uv.call(
        [*pip, "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation",
         "--require-hashes", "--dest", str(scratch), "-r", str(wanted)],
        f"the source of Horovod {VERSION} cannot be fetched",
    )  # fmt: skip
    return scratch / f"horovod-{VERSION}.tar.gz"


def _unpack(archive: Path, folder: Path) -> None:
    inside = folder.parent / "archive"
    with tarfile.open(archive) as members:
        # Debian 12's Python has no filters; the bytes are known by their hash
        members.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        members.extractall(inside)  # noqa: S202 - filtered where Python can
    (inside / f"horovod-{VERSION}").rename(folder)


def _keep(built: Path, folder: Path) -> Path:
    """Into the cache, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    incoming = folder / (built.name + ".new")
    shutil.copyfile(built, incoming)
    return incoming.rename(folder / built.name)


def apply_patch(text: str, folder: Path) -> None:
    """
    Apply a unified diff with `a/` and `b/` names to the files of a folder, exactly.

    Raises:
        EnvironmentBuildError: a file does not hold what the patch expects at that line.
    """
    _, *parts = _FILE.split(text)
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        file = folder / name
        file.write_text(_patched(file.read_text(), body, name))


def _patched(text: str, hunks: str, name: str) -> str:
    lines = text.splitlines(keepends=True)
    offset = -1  # lines of a diff count from one
    _, *parts = _HUNK.split(hunks)
    for start, body in zip(parts[::2], parts[1::2], strict=True):
        changes = body.splitlines(keepends=True)
        old = [line[1:] for line in changes if line[0] in " -"]
        new = [line[1:] for line in changes if line[0] in " +"]
        first = int(start) + offset
        if lines[first : first + len(old)] != old:
            raise EnvironmentBuildError(f"the patch does not fit {name} at line {start}")
        lines[first : first + len(old)] = new
        offset += len(new) - len(old)
    return "".join(lines)


def main() -> None:
    """Build the wheel for the torch of PYTHON's environment and put it into FOLDER."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("python", type=Path)
    parser.add_argument("folder", type=Path)
    words = parser.parse_args()
    found = importlib.metadata.distributions(name="torch", path=[str(_packages(words.python))])
    torch = next(iter(found)).version
    with TemporaryDirectory() as cache:
        built = wheel(words.python, torch=torch, cache=Path(cache), report=print)
        words.folder.mkdir(parents=True, exist_ok=True)
        print(shutil.copy(built, words.folder))


if __name__ == "__main__":
    main()
