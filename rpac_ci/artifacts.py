"""What a run left in the store: its outputs and its logs."""

from __future__ import annotations

import hashlib
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rpac_ci.errors import CommandError, RunNotFoundError, SourceError
from rpac_ci.jobs import Keys
from rpac_ci.log_paths import RunPath
from rpac_ci.records import OutputFile
from rpac_ci.steps import read_log
from rpac_ci.workspace import Workspace


def fetch_output(workspace: Workspace, run: RunPath, output: OutputFile, folder: Path) -> Path:
    """
    Copy one output out of the store, every byte checked.

    Raises:
        SourceError: it is not there (any more), damaged, or something else has its place.
    """
    if output.folder:
        return _fetch_folder(workspace, run, output, folder)
    path = folder / output.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SourceError(f"the output {output.path} would leave {folder}")
    if path.exists():
        if _sha256(path) == output.sha256:
            return path
        raise SourceError(
            f"{path} is there already, with other content", hint="name another folder"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_name(f".{path.name}.incoming")
    try:
        key = f"{Keys(run.run).outputs}{output.sha256}"
        if not workspace.storage.get_file(key, incoming):
            raise SourceError(
                f"{output.path} of {run.run} is not in this repository's store",
                hint="fetch it where the run was made, or make it again: "
                f"rpac reproduce {run.experiment}@{run.run}",
            )
        if (found := _sha256(incoming)) != output.sha256:
            raise SourceError(f"{output.path} in the store has sha256 {found}, not {output.sha256}")
        return incoming.replace(path)
    finally:
        incoming.unlink(missing_ok=True)


def _fetch_folder(workspace: Workspace, run: RunPath, output: OutputFile, folder: Path) -> Path:
    """A folder that was kept as one ZIP."""
    path = folder / output.path
    if path.exists():
        raise SourceError(f"{path} is there already", hint="name another folder")
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=_made(folder)) as name:
        packed = output.model_copy(update={"folder": False, "path": "packed.zip"})
        archive = fetch_output(workspace, run, packed, Path(name))
        try:
            with zipfile.ZipFile(archive) as file:
                file.extractall(Path(name) / "content")  # names that would leave it are cut
        except (zipfile.BadZipFile, OSError) as exc:
            raise SourceError(f"{output.path} cannot be unpacked: {exc}") from exc
        (Path(name) / "content").mkdir(exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        return (Path(name) / "content").rename(path)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def follow_log(
    workspace: Workspace,
    name: str,
    node: int,
    role: str,
    *,
    follow: bool,
    alive: Callable[[], bool] | None,
) -> Iterator[str]:
    """The text of one log, piece by piece; see `api.logs`."""
    prefix = Keys(name).log(node, role)
    is_alive = alive or (lambda: workspace.storage.head(Keys(name).open) is not None)
    seen = 0
    while True:
        goes_on = follow and is_alive()
        parts = len(workspace.storage.list(prefix))
        if parts > seen:
            yield read_log(workspace, name, node, role, start=seen)
            seen = parts
        if not goes_on:
            break
        time.sleep(0.5)
    if not seen and (node, role) != (0, "command"):  # a command may have nothing to say
        raise _no_log(workspace, name, node, role)


def _no_log(workspace: Workspace, run: str, node: int, role: str) -> CommandError:
    folder = f"{Keys(run).attempt_folder}logs/"
    parts = [name.split("/") for name in workspace.storage.names(folder)]
    there = sorted({f"--node {int(part[0])} --role {part[1]}" for part in parts})
    return CommandError(
        f"{run} has no log of {role} on node {node}",
        hint="there are: " + ", ".join(there or ["none yet"]),
    )


def find_logged(workspace: Workspace, run: str) -> tuple[Workspace, str]:
    """The run of one of this repository's stores that an id or a part of it means, and where."""
    name = run.rpartition("@")[2]
    stored = {
        key.split("/")[0]: place
        for place in workspace.places
        for key in place.storage.names("runs/")
    }
    found = sorted(n for n in stored if name and (n.startswith(name) or n.endswith(name)))
    if len(found) != 1:
        what = "means several runs" if found else "has no logs in this repository's store"
        raise RunNotFoundError(f"{run!r} {what}", hint="rpac history lists the runs")
    return stored[found[0]], found[0]
