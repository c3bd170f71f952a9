"""Wheels made by the test that needs them, and a package index that is only a folder."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest


def make_wheel(
    folder: Path,
    name: str = "tinydata",
    version: str = "1.0",
    tag: str = "py3-none-any",
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a wheel that pip and uv accept; by default with one module of one line."""
    info = f"{name}-{version}.dist-info"
    content = {f"{name}/__init__.py": b"ANSWER = 42\n"} if files is None else dict(files)
    content[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    )
    content[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: rpac tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    )
    content[f"{info}/RECORD"] = (
        "".join(
            f"{path},sha256={_urlsafe(data)},{len(data)}\n" for path, data in content.items()
        ).encode()
        + f"{info}/RECORD,,\n".encode()
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in content.items():
            archive.writestr(zipfile.ZipInfo(member), data)
    return path


# builds nothing: gives the wheel that lies beside it, and leaves a trace of having been run
_BACKEND = """\
import pathlib, shutil
HERE = pathlib.Path(__file__).parent
pathlib.Path({trace!r}).touch()
def build_wheel(folder, config_settings=None, metadata_directory=None):
    wheel = next(HERE.glob("*.whl"))
    shutil.copy(wheel, folder)
    return wheel.name
"""
_PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def make_source(folder: Path, trace: Path, name: str = "tinydata", version: str = "1.0") -> Path:
    """Write a source archive whose building needs no other package; it creates `trace`."""
    wheel = make_wheel(trace.parent / "built", name, version)
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        "pyproject.toml": _PROJECT.encode(),
        "backend.py": _BACKEND.format(trace=str(trace)).encode(),
        wheel.name: wheel.read_bytes(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, data in files.items():
            info = tarfile.TarInfo(f"{name}-{version}/{member}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def sha256_of(path: Path) -> str:
    """The hash of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def only_index(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """pip knows this folder and nothing else: no configuration files, no index, no network."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
