"""
What the stand-in's nodes run: tasks as containers of this machine's Docker engine, or as processes.

A real node is a machine of its own, whose network a task shares (`--network host`). Here all nodes
are one machine, so a task gets an address of its own on Docker's bridge instead; a process has to
share this machine's. Containers see the node's folder at `/mnt/batch`, as on Azure.

Processes play the part of the image as well: its program is this very code.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

NODE_ROOT = "/mnt/batch"
USER = "1003:1005"  # Batch runs containers as the task's own user, whatever the image says
# of a node's own file, which tasks may mount: who the task's user is
PASSWD = (
    "root:x:0:0:root:/root:/bin/bash\n_azbatchtask_1:x:1003:1005::/home/_azbatchtask_1:/bin/sh\n"
)
PROGRAM = "/opt/rpac/bin/python"  # of our images
# options of `docker create` that tasks may have here, and whether a value follows
_OPTIONS = {
    "--network": True, "--ipc": True, "--shm-size": True, "--entrypoint": True, "--volume": True,
}  # fmt: skip
_SWITCHES = {"--init"}


class UnknownOptionError(Exception):
    """An option of `docker create` that the stand-in does not know."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """One task to be run on a node."""

    command: str
    image: str
    options: str  # of `docker create`
    environment: Mapping[str, str]
    folder: Path  # of the node on this machine


class Execution(Protocol):
    """A task that has been started."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def kill(self) -> None:
        """End it at once."""

    def output(self, name: str) -> bytes:
        """What it has written so far: `stdout.txt` or `stderr.txt`."""


class Runner(Protocol):
    """Starts tasks."""

    def prepare(self, image: str) -> None:
        """Have the image on a node; an error tells why not."""

    def start(self, order: Order) -> Execution:
        """Start a task."""


def options(text: str) -> dict[str, str]:
    """Options of `docker create` by name; a switch has an empty value."""
    found, words = {}, shlex.split(text)
    while words:
        name, given, value = words.pop(0).partition("=")
        if name in _SWITCHES and not given:
            found[name] = ""
        elif _OPTIONS.get(name) and (given or words):
            found[name] = value if given else words.pop(0)
        else:
            raise UnknownOptionError(name)
    return found


# --- containers -----------------------------------------------------------------------------------


class Containers:
    """Tasks as containers."""

    def __init__(self) -> None:
        import docker

        self._engine = docker.from_env(timeout=120)

    def prepare(self, image: str) -> None:
        """Pull it."""
        self._engine.images.pull(image)

    def start(self, order: Order) -> Execution:
        """Create the container and start it, meanwhile."""
        return _Container(self._engine, order)


class _Container:
    def __init__(self, engine: Any, order: Order) -> None:
        self._engine, self._order = engine, order
        self._code: int | None = None
        self._killed = threading.Event()
        self._container: Any = None
        self._lock = threading.Lock()
        self._outputs: dict[str, bytes] = {}
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        code = 1
        try:
            asked = options(self._order.options)
            container = self._engine.containers.create(
                self._order.image, shlex.split(self._order.command),
                entrypoint=asked.get("--entrypoint"), environment=dict(self._order.environment),
                init="--init" in asked, shm_size=asked.get("--shm-size"),
                volumes={
                    str(self._order.folder): {"bind": NODE_ROOT, "mode": "rw"},
                    **_volume(asked.get("--volume", ""), self._order.folder),
                },
                labels={"rpac.test": "azure"}, user=USER,
            )  # fmt: skip
            with self._lock:
                self._container = container
                if not self._killed.is_set():
                    container.start()
            if not self._killed.is_set():
                code = int(container.wait()["StatusCode"])
            self._outputs = {name: self._read(name) for name in ("stdout.txt", "stderr.txt")}
            with contextlib.suppress(Exception):
                container.remove(force=True)
        except Exception as exc:  # noqa: BLE001 - as Docker's own words would be in the file
            self._outputs = {"stderr.txt": f"{exc}\n".encode()}
        self._code = code

    def poll(self) -> int | None:
        return self._code

    def kill(self) -> None:
        self._killed.set()
        with self._lock, contextlib.suppress(Exception):
            if self._container is not None:
                self._container.kill()

    def output(self, name: str) -> bytes:
        if self._code is not None or self._container is None:
            return self._outputs.get(name, b"")
        return self._read(name)

    def _read(self, name: str) -> bytes:
        out = name == "stdout.txt"
        with contextlib.suppress(Exception):
            return bytes(self._container.logs(stdout=out, stderr=not out))
        return b""


def _volume(asked: str, node: Path) -> dict[str, dict[str, str]]:
    """A file of the node's as a volume: the only one that there is."""
    if not asked:
        return {}
    source, target, mode = asked.split(":")
    if source != "/etc/passwd":
        raise UnknownOptionError(source)
    file = node / "passwd"
    file.write_text(PASSWD)
    return {str(file): {"bind": target, "mode": mode}}


# --- processes ------------------------------------------------------------------------------------


class Processes:
    """Tasks as processes; images are not needed."""

    def prepare(self, image: str) -> None:
        """Nothing is to be had."""

    def start(self, order: Order) -> Execution:
        """Start this very code's node program."""
        return _Process(order)


class _Process:
    def __init__(self, order: Order) -> None:
        words = shlex.split(order.command)
        entry = options(order.options).get("--entrypoint")
        assert entry == PROGRAM, f"the image has no program {entry}"
        self._folder = order.folder / f"task-{id(self):x}"
        scratch = self._folder / "scratch"
        scratch.mkdir(parents=True)
        given = {"PATH", "HOME", "LANG", "PYTHONPATH", "RPAC_TEST_CACHE"}
        environment = {name: value for name, value in os.environ.items() if name in given}
        with (
            (self._folder / "stdout.txt").open("wb") as out,
            (self._folder / "stderr.txt").open("wb") as err,
        ):
            self._process = subprocess.Popen(
                [sys.executable, *words], stdout=out, stderr=err, cwd=scratch,
                start_new_session=True,
                env={**environment, "RPAC_SCRATCH": str(scratch), **order.environment},
            )  # fmt: skip

    def poll(self) -> int | None:
        code = self._process.poll()
        return None if code is None else code if code >= 0 else 128 - code

    def kill(self) -> None:
        # with all that it has started, which has sessions of its own: a machine is gone as a whole
        with contextlib.suppress(psutil.NoSuchProcess):
            main = psutil.Process(self._process.pid)
            for one in [main, *main.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        self._process.wait(20)

    def output(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()
