"""
One writer at a time for the refs of the log, so that many processes wait instead of failing.

The lock is the kernel's, on a file of our own in the git directory, and the git process that writes
the ref holds it too. So it ends with the last of them, however they end, and whoever has it knows
that no other `rpac` is writing. Where the file system has no such locks, git's own remain.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rpac_ci.errors import HistoryError
from rpac_ci.git import Git, GitError

LIMIT_S = 120.0
# Git holds the lock of one ref for milliseconds. A lock of the log that has not changed for so long
# while no other rpac was writing is of a git that was killed.
STALE_S = 10.0
_FILE = "rpac-writer"
_LOCKED = re.compile(r"Unable to create '([^']+\.lock)': File exists")
_LOCK_OF_THE_LOG = "/rpac/log.lock"
_MOVED = ("Not updating refs/", "but expected", "reference already exists", "unable to resolve")
_random = random.SystemRandom()


class RefWriter:
    """Holds the right to write the refs of the log in one repository."""

    def __init__(self, git: Git, *, limit_s: float = LIMIT_S) -> None:
        self._git = git
        self._limit_s = limit_s
        self._deadline = 0.0
        self._held: list[int] = []
        self._lock: tuple[Path, int, int] | None = None  # git's lock that is in the way
        self._lock_since = 0.0

    def __enter__(self) -> Self:
        self._deadline = time.monotonic() + self._limit_s
        folder = self._git.root / self._git.text("rev-parse", "--git-common-dir")
        with contextlib.suppress(OSError):  # git itself says it better that nothing can be written
            self._held = [os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)]
        try:
            self._wait_for_turn()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release()

    def run(self, *argv: str, stdin: bytes | None = None) -> bytes:
        """
        Run a git command that writes a ref; waits while git has that ref locked.

        Raises:
            GitError: git says no.
            HistoryError: the ref stayed locked until the time was up.
        """
        while True:
            try:
                return self._git.run(*argv, stdin=stdin, keep=self._held)
            except GitError as exc:
                if not (found := _LOCKED.search(exc.err)):
                    raise
                self._meet_lock(self._git.root / found[1])

    def after(self, refusal: GitError) -> None:
        """
        Wait a moment when a ref was moved by another writer, so that the caller looks again.

        Raises:
            GitError: it was refused for another reason, or the time is up.
        """
        if not any(word in refusal.err for word in _MOVED) or time.monotonic() > self._deadline:
            raise refusal
        _pause()

    def _wait_for_turn(self) -> None:
        while self._held:
            try:
                fcntl.flock(self._held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > self._deadline:
                    raise HistoryError(
                        f"another rpac has been writing to the log for {self._limit_s:.0f} s",
                        hint="nothing is lost: try again when it is done",
                    ) from None
                _pause()
            except OSError:  # a file system without such locks
                self._release()
            else:
                return

    def _release(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        self._held = []

    def _meet_lock(self, path: Path) -> None:
        """Wait a moment for git's lock; remove it when it is surely a dead one's."""
        now, seen = time.monotonic(), _identify(path)
        if seen != self._lock:
            self._lock, self._lock_since = seen, now
        stale = seen is not None and now - self._lock_since > STALE_S
        if stale and self._held and path.as_posix().endswith(_LOCK_OF_THE_LOG):
            path.unlink(missing_ok=True)
        elif now > self._deadline:
            raise HistoryError(
                f"{path} is in the way: a git command is at work, or one was killed",
                hint=f"nothing is lost; when no git command is running any more: rm {path}",
            )
        else:
            _pause()


def _identify(path: Path) -> tuple[Path, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return path, found.st_ino, found.st_mtime_ns


def _pause() -> None:
    time.sleep(_random.uniform(0.002, 0.04))
