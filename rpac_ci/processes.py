"""Processes of this machine: run one within limits, and tell whether a noted one still lives."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


class StoppedError(Exception):
    """A child was ended because the work it was for is given up."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended: exit code and the text of both its streams."""

    code: int
    out: str
    err: str


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stop: threading.Event | None = None,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Finished:
    """
    Run a command to its end.

    Raises:
        TimeoutError: it did not end within `timeout_s`; it is killed, with what it started.
        StoppedError: `stop` was set; it is killed, with what it started.
        OSError: it could not be started.
    """
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(environment) if environment is not None else None, pass_fds=pass_fds,
        text=True, errors="replace",
    ) as child:  # fmt: skip
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                out, err = child.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                if stop is not None and stop.is_set():
                    _end(child)
                    raise StoppedError(argv[0]) from None
                if time.monotonic() > deadline:
                    _end(child)
                    raise TimeoutError(f"{argv[0]} did not end within {timeout_s:.0f} s") from None
            else:
                return Finished(child.returncode, out, err)


def _end(child: subprocess.Popen[str]) -> None:
    """Kill a child and its descendants: the compilers of a build would go on for minutes."""
    try:
        descendants = psutil.Process(child.pid).children(recursive=True)
    except psutil.Error:
        descendants = []
    child.kill()
    for process in descendants:
        with contextlib.suppress(psutil.Error):
            process.kill()


def host() -> str:
    """This boot and process namespace, without names: where process ids mean the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"boot-{psutil.boot_time():.0f}"


def started(pid: int) -> float | None:
    """
    When a process started, in a unit of this machine that no clock change moves; None if gone.

    A process that has ended and waits for its parent counts as gone.
    """
    if Path("/proc/self/stat").exists():
        fields = _fields(pid)
        return None if fields is None or fields[0] in "ZX" else float(fields[19])
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return None if gone else round(process.create_time(), 2)
    except psutil.Error:
        return None


def has_terminal(pid: int) -> bool:
    """
    Whether a process has a controlling terminal, so that a person may sit before it.

    psutil's own answer knows only the terminals that there were when it was first asked.
    """
    if Path("/proc/self/stat").exists():
        fields = _fields(pid)
        return fields is not None and fields[4] != "0"
    try:
        return psutil.Process(pid).terminal() is not None
    except psutil.Error:
        return False


def _fields(pid: int) -> list[str] | None:
    """What Linux tells of a process, behind its name, which may hold spaces and parentheses."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
