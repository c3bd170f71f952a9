"""The locks of the images: `requirements*.in` -> `.lock`, every package with its hashes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from rpac_ci import image_contexts
from rpac_ci.errors import ProvisioningError
from rpac_ci.installing import Uv, one_builder

PYTHON = "3.11"  # of every image


def write(
    name: str, *, indexes: tuple[str, ...] = (), upgrade: bool = False
) -> dict[Path, dict[str, str]]:
    """
    Write the locks of an image anew.

    Args:
        name: of the image.
        indexes: package indexes beside the one that pip is configured for.
        upgrade: take the newest versions; otherwise versions stay where they still fit.

    Returns:
        The packages of each file that was written, as name -> version.

    Raises:
        ProvisioningError: no such image, or it has nothing to lock.
        EnvironmentBuildError: the requirements cannot be met together.
    """
    sources = sorted((image_contexts.folder() / name).glob("*.in"))
    if not sources:
        raise ProvisioningError(
            f"image {name!r} has no requirements to lock",
            hint=f"there are {', '.join(image_contexts.names())}",
        )
    written = {}
    with TemporaryDirectory() as scratch, one_builder(Path(scratch) / "lock", None) as held:
        uv = Uv(held, None)
        known = [*uv.environment.get("UV_INDEX", "").split(), *indexes]
        for source in sources:
            target = source.with_suffix(".lock")
            uv.run(
                ["pip", "compile", "--quiet", "--universal", "--python-version", PYTHON,
                 "--generate-hashes", "--no-header", "--no-annotate", "--index-strategy",
                 "unsafe-best-match", *(["--upgrade"] if upgrade else []),
                 str(source), "--output-file", str(target)],
                f"{source.name} of image {name} cannot be locked", {"UV_INDEX": " ".join(known)},
            )  # fmt: skip
            written[target] = image_contexts.locked(target.read_bytes())
    return written
