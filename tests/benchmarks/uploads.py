"""
Files brought to a store against the provider's own tool: many small ones, and a large one; then the
same again. Small files are inputs (`data:`) of one pipeline, more than one `experiment.yaml` has
room for: that is some three thousand.

What is printed is the CPU time of the client, then its requests and the bytes it sent.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.__main__ import show

SMALL, SMALL_BYTES, LARGE_BYTES = 10_000, 4096, 2 * 2**30
# the step of a run that brings its inputs, in a process of its own
STAGE = """\
import json, sys
from pathlib import Path
from tests.benchmarks.uploads import stage
stage(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
"""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A store of files, and what else brings them there."""

    name: str
    tool: str
    cloud: str
    site: Callable[[], str]  # its account in rpac.yaml, as JSON
    command: Callable[[Path], list[str]]  # of the tool, for a folder
    environment: Mapping[str, str]
    empty: Callable[[], None]  # the store
    begin: Callable[[], None]  # forget what was asked
    asked: Callable[[], Counter[str]]  # requests since, by method
    sent: Callable[[], int]  # bytes since


def measure(remote: Remote, times: int = 3) -> None:
    """Print a line for each of four cases."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, sizes, rounds in (
            (f"{SMALL:,} files of 4 KiB to {remote.name}", [SMALL_BYTES] * SMALL, times),
            (f"one file of 2 GiB to {remote.name}", [LARGE_BYTES], 1),
        ):
            files = folder / "files"
            _fill(files, sizes)
            first, again = [], []
            for _ in range(rounds):
                remote.empty()
                cache = tempfile.mkdtemp(dir=folder)
                ours = [sys.executable, "-c", STAGE, str(files), cache, remote.cloud]
                ours.append(remote.site())
                bare = remote.command(files)
                pairs = [(_cost(remote, ours), _cost(remote, bare)) for _ in range(2)]
                first.append(pairs[0])
                again.append(pairs[1])
                subprocess.run(["rm", "-rf", cache], check=True)
            for title, pairs in ((what, first), ("  the same again", again)):
                show(f"{title}: CPU", [o[0] for o, _ in pairs], [b[0] for _, b in pairs])
                for who, (_, asked, sent) in zip(("rpac", remote.tool), pairs[-1], strict=True):
                    print(f"    {who}: {_told(asked)}; {sent / 2**20:,.1f} MiB", flush=True)
            subprocess.run(["rm", "-rf", str(files)], check=True)


def stage(folder: Path, cache: Path, cloud: str, site: Mapping[str, Any]) -> None:
    """Bring the files of a folder to a store, as the first step of a run does."""
    from rpac_ci.commands import parse_overrides
    from rpac_ci.experiment_model import Experiment
    from rpac_ci.pipeline import compile_pipeline, define
    from rpac_ci.site_config import SiteConfig
    from rpac_ci.source_trees import make
    from rpac_ci.staging import Staging
    from rpac_ci.workspace import Place

    config = SiteConfig.model_validate({"clouds": {cloud: site}})
    inputs = {f"f{path.stem}": {"uri": f"file:{path.name}"} for path in sorted(folder.iterdir())}
    experiment = Experiment.model_validate(
        {
            "id": "files", "title": "Files", "engine": "process", "command": ["true"],
            "environment": {"image": "localhost:1/rpac@sha256:" + "5" * 64}, "data": inputs,
        }
    )  # fmt: skip
    pipeline = compile_pipeline(
        define(experiment, make([])), overrides=parse_overrides([f"cloud={cloud}"]), site=config
    )
    place = Place(root=folder, config=config, cache=cache, cloud=cloud)
    created = {"folder": "."}
    Staging(
        place,
        pipeline,
        created,
        lambda _, __: None,
        clock="control/clock",
        images="localhost:1/rpac",
    ).all()


def python_with(*packages: str) -> Path | None:
    """The programs of an environment of its own with these packages; None where it cannot be."""
    folder = Path(os.environ["RPAC_CACHE"]) / "-".join(packages)
    if not (folder / "done").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(folder / "bin" / "pip"), "install", "--quiet", *packages]
            subprocess.run(pip, check=True, capture_output=True, timeout=300)
        except (OSError, subprocess.SubprocessError):
            return None
        (folder / "done").touch()
    return folder / "bin"


def _told(asked: Counter[str]) -> str:
    return ", ".join(f"{count:,} {action}" for action, count in sorted(asked.items()))


def _fill(folder: Path, sizes: list[int]) -> None:
    folder.mkdir()
    for number, size in enumerate(sizes):
        with (folder / f"{number:05d}.bin").open("wb") as file:
            while size > 0:
                size -= file.write(os.urandom(min(size, 2**24)))


def _cost(remote: Remote, argv: list[str]) -> tuple[float, Counter[str], int]:
    """CPU seconds of a command, its requests by method, and the bytes that it sent."""
    remote.begin()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True, env={**os.environ, **remote.environment})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, remote.asked(), remote.sent()
