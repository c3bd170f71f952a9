"""
What each run has on this machine, whatever starts its nodes: a folder, and a promise.

    <scratch>/<run>-<attempt>/promise.json   memory and GPUs that nobody else may be given
    <scratch>/<run>-<attempt>/node-<index>/  everything of one node
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rpac_ci.errors import ProvisioningError
from rpac_ci.jobs import JobSpec

_PROMISE = "promise.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a run was given: memory of all its nodes (MiB), ids of their GPUs in node order."""

    runtime: str
    memory_mib: int
    gpus: tuple[str, ...] = ()

    def gpus_of(self, spec: JobSpec, index: int) -> list[str]:
        """The GPUs of one node."""
        return list(self.gpus[index * spec.gpus : (index + 1) * spec.gpus])


class RunFolders:
    """The folders of all runs of one store."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch.resolve()

    def run(self, spec: JobSpec) -> Path:
        """The folder of one attempt of a run."""
        return self.scratch / f"{spec.run}-{spec.attempt}"

    def node(self, spec: JobSpec, index: int) -> Path:
        """The folder of one node."""
        return self.run(spec) / f"node-{index}"

    def names(self) -> list[str]:
        """Names of the folders that there are: `<run>-<attempt>`."""
        return sorted(path.name for path in self.scratch.iterdir()) if self._exists() else []

    def make(self, spec: JobSpec, promise: Promise) -> None:
        """
        Make the folders of a run and note what it is promised.

        Raises:
            ProvisioningError: they cannot be made.
        """
        try:
            for index in range(spec.nodes):
                self.node(spec, index).mkdir(parents=True, exist_ok=True)
            (self.run(spec) / _PROMISE).write_text(json.dumps(asdict(promise)))
        except OSError as exc:
            raise ProvisioningError(f"no folder for the nodes: {exc.strerror}") from exc

    def promise(self, name: str) -> Promise | None:
        """What the run of a folder was promised; None when nothing readable says so."""
        try:
            noted = json.loads((self.scratch / name / _PROMISE).read_text())
            return Promise(**{**noted, "gpus": tuple(noted["gpus"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def promises(self) -> dict[str, Promise]:
        """What all runs were promised, by their folders' names."""
        found = {name: self.promise(name) for name in self.names()}
        return {name: promise for name, promise in found.items() if promise}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One driver at a time promises; the kernel lets the next one in when this one dies."""
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.scratch, os.O_RDONLY)
        except OSError as exc:
            raise ProvisioningError(f"no folder for the nodes: {exc.strerror}") from exc
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _exists(self) -> bool:
        return self.scratch.is_dir()


def remove(folder: Path) -> None:
    """Remove a folder, also where a command has left folders that nobody may write."""

    def open_up(function: Callable[[str], object], path: str, _: object) -> None:
        for locked in (Path(path).parent, Path(path)):
            with contextlib.suppress(OSError):
                locked.chmod(0o700)
        with contextlib.suppress(OSError):
            function(path)

    if folder.exists():
        try:
            shutil.rmtree(folder, onerror=open_up)
            shutil.rmtree(folder, ignore_errors=True)
        except RecursionError:  # of folders in folders; rm goes to any depth
            subprocess.run(["rm", "-rf", "--", str(folder)], check=False, capture_output=True)
