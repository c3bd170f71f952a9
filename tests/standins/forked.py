"""
`rpac` as a process of its own that need not import everything again: forked from one that has.

Most of what a short command takes is the second in which Python imports. A server, one for each
process of the tests, has done that and forks for every command; the child gets the command's
folder, variables and files, and ends as any other process. Tests of the imports themselves
(`test_startup`, the benchmarks) start Python anew. Other programs that are slow to start have
servers of their own, which have other modules imported.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).parents[2]
RPAC = "from rpac_ci.__main__ import main; main()"
Started: TypeAlias = Callable[[int], None]
_MESSAGE = 1 << 17  # bytes of a request: code, words and variables
_OF_RPAC = (
    "boto3", "obstore.store", "requests", "ruamel.yaml",
    "rpac_ci.bot.cloud_jobs", "rpac_ci.bot.dispatching", "rpac_ci.bot.finish", "rpac_ci.bot.jobs",
    "rpac_ci.bot.upkeep", "rpac_ci.cli", "rpac_ci.driver",
)  # fmt: skip


class _Server:
    """The client's end."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.standins.forked", str(theirs.fileno()), *modules],
                cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def close(self) -> None:
        """End it; the commands that it has started go on."""
        self._control.close()
        self.process.wait(30)

    def run(
        self, code: str, words: Sequence[str], folder: Path, environment: Mapping[str, str],
        limit_s: float, started: Started,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        asked = {
            "code": code, "words": list(words), "folder": str(folder),
            "environment": dict(environment),
        }  # fmt: skip
        ours, theirs = socket.socketpair()
        with ours, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with theirs, self._lock:
                files = [out.fileno(), err.fileno(), theirs.fileno()]
                socket.send_fds(self._control, [json.dumps(asked).encode()], files)
            ours.settimeout(limit_s)
            with ours.makefile("r") as said:
                child = int(said.readline())
                started(child)
                try:
                    ended = int(said.readline())
                except TimeoutError:
                    os.killpg(child, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(list(words), limit_s) from None
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(words, ended, *texts)


# by process, as a worker that was forked has its own, and by what they have imported
_servers: dict[tuple[int, tuple[str, ...]], _Server] = {}
_starting = threading.Lock()


def run(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], *, limit_s: float,
    code: str = RPAC, started: Started = lambda _: None, modules: tuple[str, ...] = _OF_RPAC,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """
    A command to its end, in a session of its own.

    Args:
        words: its arguments.
        folder: where it is typed.
        environment: all of its variables.
        limit_s: after that it is killed.
        code: what it does; by default it is `rpac`.
        started: is told the id of its process, which is its group's as well.
        modules: what its server has imported.

    Raises:
        subprocess.TimeoutExpired: it was killed.
    """
    with _starting:
        server = _servers.get((os.getpid(), modules))
        if server is None or server.process.poll() is not None:
            server = _servers[os.getpid(), modules] = _Server(modules)
            atexit.register(server.close)
    return server.run(code, words, folder, environment, limit_s, started)


# --- the server ---------------------------------------------------------------------------------


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for every request; returns the request in a child, None at the end of the server."""
    children: dict[int, socket.socket] = {}  # file descriptors of processes, and who waits for them
    pids: dict[int, int] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fd in children:
                    _, status = os.waitpid(pids.pop(key.fd), 0)
                    with children.pop(key.fd) as waiting:
                        waiting.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
                    ready.unregister(key.fd)
                    os.close(key.fd)
                    continue
                message, files, *_ = socket.recv_fds(control, _MESSAGE, 3)
                if not message:
                    return None
                child = os.fork()
                if not child:
                    control.close()
                    for fd, waiting in children.items():
                        os.close(fd)
                        waiting.close()
                    asked: dict[str, Any] = json.loads(message)
                    _become(asked, files)
                    return asked
                waiting = socket.socket(fileno=files[2])
                waiting.sendall(b"%d\n" % child)
                for fd in files[:2]:
                    os.close(fd)
                watched = os.pidfd_open(child)
                children[watched], pids[watched] = waiting, child
                ready.register(watched, selectors.EVENT_READ)


def _become(asked: Mapping[str, Any], files: Sequence[int]) -> None:
    os.setsid()
    out, err, reply = files
    os.dup2(out, 1)
    os.dup2(err, 2)
    for fd in (out, err, reply):
        os.close(fd)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = ["rpac", *asked["words"]]


def main() -> None:
    """Import, then serve; in a child do what was asked for."""
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        asked = _serve(control)
    if asked is not None:
        exec(asked["code"], {"__name__": "__main__"})


if __name__ == "__main__":
    main()
