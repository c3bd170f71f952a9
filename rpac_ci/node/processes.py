"""Child processes of a node: started with argv lists, logged to the store, always ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import psutil

from rpac_ci.errors import StorageError
from rpac_ci.storage import Storage

_PR_SET_CHILD_SUBREAPER = 36
HEAD_BYTES, TAIL_BYTES = 4 * 2**20, 1 * 2**20
FLUSH_S = 1.0


def say(text: str) -> None:
    """A line in the node program's own log."""
    print(f"rpac node: {text}", file=sys.stderr, flush=True)


def become_subreaper() -> None:
    """Orphans of our children become our children, so that none can get away (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class LogWriter:
    """
    Text of one process in numbered parts: objects cannot be appended to.

    The first 4 MiB and the last 1 MiB are kept; what is left out is counted.
    """

    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix
        self._lock = threading.Lock()
        self._pending = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = self._kept = self._left_out = self._parts = 0

    def write(self, data: bytes) -> None:
        """Take more text; it is stored at the next `flush`."""
        with self._lock:
            room = max(0, HEAD_BYTES - self._kept)
            self._kept += min(room, len(data))
            self._pending += data[:room]
            rest = data[room:]
            if rest:
                self._tail.append(rest)
                self._tail_size += len(rest)
                while self._tail_size - len(self._tail[0]) >= TAIL_BYTES:
                    dropped = self._tail.popleft()
                    self._tail_size -= len(dropped)
                    self._left_out += len(dropped)

    def flush(self, *, last: bool = False) -> None:
        """Store what has come since the last time, as one part."""
        with self._lock:
            if last and self._tail:
                if self._left_out:
                    self._pending += b"\n[... %d bytes left out ...]\n" % self._left_out
                self._pending += b"".join(self._tail)
                self._tail.clear()
            data = bytes(self._pending)
        if not data:
            return
        self._storage.put(f"{self._prefix}{self._parts:06d}.txt", data)
        with self._lock:  # only now: what could not be stored is tried again
            del self._pending[: len(data)]
            self._parts += 1


class Child:
    """One process with its log."""

    def __init__(
        self,
        name: str,
        argv: list[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        log: LogWriter,
    ) -> None:
        """Start it. Raises OSError when it cannot be started."""
        self.name = name
        self.log = log
        self._process = subprocess.Popen(
            argv, cwd=cwd, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True, name=f"log of {name}")
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code in the shell's form (128 + signal), or None while it runs."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def stop(self, grace_s: float) -> None:
        """Ask its group to end, then kill it; its log is complete afterwards."""
        if self._process.poll() is None:
            self._kill(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self._kill(signal.SIGKILL)
        self._process.wait()

    def close_log(self) -> None:
        """Wait for the end of its output; call it when no descendant holds the pipe any more."""
        self._reader.join(timeout=5)
        try:
            self.log.flush(last=True)
        except StorageError as exc:  # a log is worth less than the result
            say(exc.message)

    def _kill(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while data := os.read(pipe.fileno(), 65536):
                self.log.write(data)


class Flusher:
    """Stores the logs' new parts about once a second, so that a run can be followed."""

    def __init__(self) -> None:
        self._logs: list[LogWriter] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="log flusher")
        self._thread.start()

    def add(self, log: LogWriter) -> LogWriter:
        """Take care of one more log."""
        self._logs.append(log)
        return log

    def close(self) -> None:
        """Stop; what is still pending is stored by `Child.close_log`."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_S):
            for log in list(self._logs):
                try:
                    log.flush()
                except StorageError as exc:
                    say(exc.message)


def end_descendants(grace_s: float = 1.0) -> int:
    """End everything that descends from this process; returns how many there were."""
    total = 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        children = psutil.Process().children(recursive=True)
        if not children:
            return total
        for child in children:
            try:
                total += child.status() != psutil.STATUS_ZOMBIE
                child.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(children, timeout=grace_s)
    return total
