"""
What an image is built from: the Dockerfiles, locks and code that are sent to the Docker engine.

Everything here is bytes in, bytes out; `images.py` does the talking. A context holds the folders
`images/` and `rpac_ci/` as they are installed, and no file's date or owner, so that equal content
is found again in the engine's cache of layers.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from rpac_ci.errors import EnvironmentBuildError, ProvisioningError

BASE = "base"
CPU, CUDA = "cpu", "cuda"
HOROVOD = "horovod"
_PACKAGE = Path(__file__).parent
_LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def folder() -> Path:
    """The folder of the images: of the checkout, else the copy that is installed with rpac."""
    for candidate in (_PACKAGE.parent / "images", _PACKAGE / "image_files"):
        if (candidate / BASE / "Dockerfile").exists():
            return candidate
    raise ProvisioningError(
        "the Dockerfiles are missing from this installation of rpac",
        hint="install it again, or work in a checkout of rpac_ci",
    )


def names() -> list[str]:
    """The images there are, in an order to build them in."""
    found = {path.parent.name for path in folder().glob("*/Dockerfile")}
    return [BASE, *sorted(found - {BASE})]


def variant_arguments(name: str, variant: str) -> dict[str, str]:
    """
    Build arguments of a variant.

    Raises:
        ProvisioningError: the image has no such variant.
    """
    if variant == CPU:
        return {}
    lock = f"requirements-{variant}.lock"
    if not (folder() / name / lock).exists():
        raise ProvisioningError(
            f"image {name} has no variant {variant!r}", hint="torchrun has one: cuda"
        )
    return {"LOCK": lock, "TESTED": "no"}


def engine_context() -> bytes:
    """The context of every image in `names`."""
    files = {f"images/{path.relative_to(folder())}": path for path in _files(folder())}
    files |= {f"rpac_ci/{path.relative_to(_PACKAGE)}": path for path in _files(_PACKAGE)}
    return _archive({name: path.read_bytes() for name, path in files.items()})


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and "__pycache__" not in parts and parts[0] != "image_files":
            yield path


def environment_context(
    *, engine: str, engine_id: str, environment_id: str, lock: bytes, packages: Mapping[str, str],
    from_source: Sequence[str], indexes: Sequence[str],
) -> bytes:  # fmt: skip
    """
    The context that turns an engine's image into the one of a lock.

    Args:
        engine: name of the engine.
        engine_id: id of its image, which the code of rpac is taken from.
        environment_id: id of the same without that code, which others share; else `engine_id`.
        lock: the lock file's bytes.
        packages: what the engine's image holds; what the lock does not name is taken away.
        from_source: packages that are published as source alone.
        indexes: further package indexes.

    Raises:
        EnvironmentBuildError: Horovod in the image was built for another torch.
    """
    wanted = locked(lock)
    here: dict[str, str] = {canonicalize_name(n): version for n, version in packages.items()}
    if engine == HOROVOD and wanted.get("torch") != here.get("torch"):
        raise EnvironmentBuildError(
            f"the image's Horovod was built for torch {here.get('torch')}, and the lock has "
            f"torch {wanted.get('torch')}",
            hint="lock the image's torch, or build the image with another "
            "images/horovod/requirements.lock, or use runtime=process",
        )
    kept = {*wanted, HOROVOD} if engine == HOROVOD else set(wanted)
    text = _dockerfile(
        engine_id, environment_id, b"--hash" in lock, sorted(set(here) - kept),
        [name for name in from_source if here.get(name) != wanted.get(name)], indexes,
    )  # fmt: skip
    return _archive({"Dockerfile": text.encode(), "requirements.lock": lock})


def locked(lock: bytes) -> dict[str, str]:
    """Names and versions that a lock names, whatever their markers say."""
    text = lock.decode(errors="replace")
    return {canonicalize_name(name): version for name, version in _LOCKED.findall(text)}


def _dockerfile(
    engine_id: str, environment_id: str, hashed: bool, surplus: Collection[str],
    from_source: Sequence[str], indexes: Sequence[str],
) -> str:  # fmt: skip
    pip = ["/opt/rpac/bin/python", "-m", "pip", "--python", "/opt/environment/bin/python"]
    options = ["--no-cache-dir", "--only-binary", ":all:"]
    options += [f"--no-binary={name}" for name in from_source]
    options += [f"--extra-index-url={url}" for url in indexes]
    options += ["--require-hashes"] if hashed else []
    commands = [
        [*pip, "install", *options, "-r", "/opt/environment/rpac-lock.txt"],
        [*pip, "uninstall", "--yes", *surplus] if surplus else [],
    ]
    # JSON form: no shell reads what a lock or an experiment says
    runs = [f"RUN {json.dumps(command)}" for command in commands if command]
    return "\n".join([
        f"FROM {environment_id}",
        "USER root",
        "ENV PIP_DISABLE_PIP_VERSION_CHECK=1",
        "COPY requirements.lock /opt/environment/rpac-lock.txt",
        *runs,
        f"COPY --from={engine_id} /opt/rpac/code /opt/rpac/code",
        "USER 10001:10001",
        "",
    ])  # fmt: skip


def _archive(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def environment_key(engine_id: str, lock: bytes) -> str:
    """Which image the lock of an experiment has become, 24 hexadecimal digits."""
    parts = [engine_id, hashlib.sha256(lock).hexdigest()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
