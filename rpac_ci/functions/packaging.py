"""
The ZIP file of a function: this package with what its handler imports, for x86-64 Linux and the
Python of the cloud's runtime. What that runtime has itself (boto3 on AWS) is left out.

Equal packages make equal bytes, so that a function changes only when its code does.
"""

from __future__ import annotations

import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rpac_ci.canonical import canonical_json
from rpac_ci.errors import CommandError
from rpac_ci.functions.serving import AZURE_LIMIT_S
from rpac_ci.installing import Uv, one_builder

PLATFORM = "x86_64-manylinux2014"
_ANY = ("obstore", "psutil", "pydantic", "ruamel.yaml")
# of installers and interpreters: differs from one machine to another and is not imported
_LEFT_OUT = {"__pycache__", "bin", "image_files", ".lock", "INSTALLER", "RECORD", "REQUESTED",
             "direct_url.json", "uv_cache.json"}  # fmt: skip
_OLDEST = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the ZIP file of one cloud's function is made of."""

    service: str
    python: str
    needs: tuple[str, ...]  # distributions; tests import the handler with these alone
    folder: str = ""  # of packages in the file, empty or ending in `/`
    files: Mapping[str, str]  # beside them, by name
    limit: int | None = None  # bytes unpacked, where the service has such a limit


AWS = Recipe(service="AWS Lambda", python="3.12", needs=_ANY, files={}, limit=250 * 2**20)
AZURE = Recipe(
    service="Azure Functions",
    python="3.13",
    needs=(*_ANY, "azure-batch", "azure-functions", "azure-identity", "azure-mgmt-batch"),
    folder=".python_packages/lib/site-packages/",  # where the worker of Python looks
    files={
        "function_app.py": "from rpac_ci.functions.azure_functions import app  # noqa: F401\n",
        "host.json": canonical_json(
            {
                "version": "2.0",
                "functionTimeout": time.strftime("%H:%M:%S", time.gmtime(AZURE_LIMIT_S)),
                "extensionBundle": {
                    "id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)",
                },
            }
        ).decode(),
    },
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A ZIP file that was written: its sizes in bytes, and the distributions in it."""

    size: int
    unpacked: int
    packages: tuple[str, ...]  # `name version`, but for rpac itself


def build(file: Path, recipe: Recipe) -> Package:
    """
    Write the ZIP file of a function, replacing what is there.

    Raises:
        EnvironmentBuildError: the packages cannot be had.
        CommandError: the file cannot be written, or the service would not take it.
    """
    with tempfile.TemporaryDirectory(prefix="rpac-function-") as name:
        folder = Path(name)
        _install(folder / "packages", recipe)
        packed = {**_files(folder / "packages"), **_own_files()}
        found = {f"{recipe.folder}{name}": path.read_bytes() for name, path in packed.items()}
        found |= {name: text.encode() for name, text in recipe.files.items()}
        unpacked = sum(map(len, found.values()))
        if recipe.limit and unpacked > recipe.limit:
            raise CommandError(f"{unpacked} bytes are too many for {recipe.service}")
        try:
            _write(file, found)
        except OSError as exc:
            raise CommandError(f"{file} cannot be written: {exc.strerror}") from exc
        packages = sorted(
            f"{one.name} {one.version}"
            for one in metadata.distributions(path=[str(folder / "packages")])
        )
    return Package(size=file.stat().st_size, unpacked=unpacked, packages=tuple(packages))


def requirements(recipe: Recipe) -> list[str]:
    """What a function needs, in the versions that this package or an extra of it asks for."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = set(map(canonicalize_name, recipe.needs))
    asked = [Requirement(one) for one in metadata.requires("rpac-ci") or []]
    found = {canonicalize_name(one.name): f"{one.name}{one.specifier}" for one in asked}
    return [found[name] for name in sorted(wanted)]


def _install(target: Path, recipe: Recipe) -> None:
    with one_builder(target, None) as held:
        uv = Uv(held, None)
        install = [
            "pip", "install", "--quiet", "--target", str(target), "--python-platform", PLATFORM,
            "--python-version", recipe.python, "--only-binary", ":all:", *requirements(recipe),
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


def _write(file: Path, found: dict[str, bytes]) -> None:
    partial = file.with_name(f"{file.name}.partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name in sorted(found):
            entry = zipfile.ZipInfo(name, _OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # so that the next line means something
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, found[name], compresslevel=6)
    partial.replace(file)
