"""
The ZIP file of a function: this package with what its handler imports, for Python 3.12 on x86-64
Linux. What the cloud's own runtime has (boto3 on AWS) is left out.

Equal packages make equal bytes, so that a stack changes only when its function does.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rpac_ci.errors import CommandError
from rpac_ci.installing import Uv, one_builder

PYTHON = "3.12"
PLATFORM = "x86_64-manylinux2014"
NEEDS = ("obstore", "psutil", "pydantic", "ruamel.yaml")  # a test imports the handler with these
LIMIT_BYTES = 250 * 2**20  # of AWS Lambda, unpacked
# of installers and interpreters: differs from one machine to another and is not imported
_LEFT_OUT = {"__pycache__", "bin", "image_files", ".lock", "INSTALLER", "RECORD", "REQUESTED",
             "direct_url.json", "uv_cache.json"}  # fmt: skip
_OLDEST = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A ZIP file that was written: its sizes in bytes, and the distributions in it."""

    size: int
    unpacked: int
    packages: tuple[str, ...]  # `name version`, but for rpac itself


def build(file: Path) -> Package:
    """
    Write the ZIP file of the function, replacing what is there.

    Raises:
        EnvironmentBuildError: the packages cannot be had.
        CommandError: the file cannot be written, or AWS would not take it.
    """
    with tempfile.TemporaryDirectory(prefix="rpac-function-") as name:
        folder = Path(name)
        _install(folder / "packages")
        found = {**_files(folder / "packages"), **_own_files()}
        unpacked = sum(path.stat().st_size for path in found.values())
        if unpacked > LIMIT_BYTES:
            raise CommandError(f"{unpacked} bytes are too many for AWS Lambda")
        try:
            _write(file, found)
        except OSError as exc:
            raise CommandError(f"{file} cannot be written: {exc.strerror}") from exc
        packages = sorted(
            f"{one.name} {one.version}"
            for one in metadata.distributions(path=[str(folder / "packages")])
        )
    return Package(size=file.stat().st_size, unpacked=unpacked, packages=tuple(packages))


def requirements() -> list[str]:
    """What the function needs, in the versions that this package asks for."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = set(map(canonicalize_name, NEEDS))
    asked = [Requirement(one) for one in metadata.requires("rpac-ci") or []]
    found = [one for one in asked if canonicalize_name(one.name) in wanted and not one.marker]
    assert len(found) == len(wanted), found
    return [f"{one.name}{one.specifier}" for one in found]


def _install(target: Path) -> None:
    with one_builder(target, None) as held:
        uv = Uv(held, None)
        install = [
            "pip", "install", "--quiet", "--target", str(target), "--python-platform", PLATFORM,
            "--python-version", PYTHON, "--only-binary", ":all:", *requirements(),
        ]  # fmt: skip
        if "UV_NO_INDEX" in uv.environment:
            install.append("--no-index")
        uv.run(install, "the function's packages cannot be installed")


def _own_files() -> dict[str, Path]:
    home = Path(__file__).parent.parent
    return {f"{home.name}/{name}": path for name, path in _files(home).items()}


def _files(folder: Path) -> dict[str, Path]:
    def walk(at: Path) -> Iterator[Path]:
        for path in sorted(at.iterdir()):
            if path.name in _LEFT_OUT or path.suffix == ".pyc":
                continue
            if path.is_dir():
                yield from walk(path)
            else:
                yield path

    return {path.relative_to(folder).as_posix(): path for path in walk(folder)}


def _write(file: Path, found: dict[str, Path]) -> None:
    partial = file.with_name(f"{file.name}.partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name in sorted(found):
            entry = zipfile.ZipInfo(name, _OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # so that the next line means something
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, found[name].read_bytes(), compresslevel=6)
    partial.replace(file)
