"""
Comparisons in another process: a reader that crashes, hangs or eats memory takes nothing with it.

The child is `python -m rpac_ci.contents`: JSON on its standard input, one line of JSON per finding
on its standard output. When it ends early, the file at hand is `not compared` and a new child goes
on with the next one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import IO, Self, TypeAlias

from rpac_ci.contents.findings import Finding, Wanted, not_compared, printable

Pair: TypeAlias = tuple[str, Path, Path, Wanted]

LOOK_S = 0.2  # how often `stop` is looked at
# what Python and shared libraries are found by; nothing else of the user's is passed on
KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
FIXED = {
    "LC_ALL": "C.UTF-8",
    "PYTHONSAFEPATH": "1",
    "HDF5_USE_FILE_LOCKING": "FALSE",  # some network file systems have none
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve far more than they use
    # threads cost memory that counts against the limit
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}


def compare_apart(
    pairs: Sequence[Pair],
    *,
    limit_s: float,
    memory_bytes: int | None = None,
    stop: threading.Event | None = None,
) -> list[Finding]:
    """
    Compare files in a child process.

    Args:
        pairs: name of the output, reference, observed, and how to compare.
        limit_s: for each file; the start of the process counts for its first.
        memory_bytes: what the child may use beyond the files it maps (its data segment).
        stop: gives the work up when it is set.

    Returns:
        One finding for each pair, in their order.

    Raises:
        StoppedError: `stop` was set; the child is killed.
        OSError: the child could not be started.
    """
    findings: list[Finding] = []
    while len(findings) < len(pairs):
        rest = pairs[len(findings) :]
        with _Child(rest, limit_s, memory_bytes, stop) as child:
            for _ in rest:
                finding = child.next_finding()
                if finding is None:
                    findings.append(child.why_none())
                    break
                findings.append(finding)
    return findings


@dataclass(frozen=True, slots=True)
class _Limits:
    seconds: float
    stop: threading.Event | None


class _Child:
    """One child process and what it says."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        limit_s: float,
        memory_bytes: int | None,
        stop: threading.Event | None,
    ) -> None:
        self.limits = _Limits(limit_s, stop)
        self.timed_out = False
        self.said = b""
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        request = {
            "limit_s": limit_s,
            "memory_bytes": memory_bytes,
            "pairs": [
                [name, str(reference.absolute()), str(observed.absolute()), wanted.to_json()]
                for name, reference, observed, wanted in pairs
            ],
        }
        with tempfile.TemporaryFile() as asked:
            asked.write(json.dumps(request).encode())
            asked.seek(0)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rpac_ci.contents"],
                stdin=asked, stdout=subprocess.PIPE, stderr=self.errors,
                env={name: os.environ[name] for name in KEPT if name in os.environ} | FIXED,
                start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self.errors.close()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def next_finding(self) -> Finding | None:
        """What the child says of its next file; None when it ended, or was ended, before that."""
        line = self._line()
        if line is None:
            return None
        try:
            return Finding.from_json(json.loads(line))
        except (ValueError, TypeError):
            return None

    def _line(self) -> bytes | None:
        assert self.process.stdout is not None
        deadline = time.monotonic() + self.limits.seconds
        with DefaultSelector() as selector:
            selector.register(self.process.stdout, EVENT_READ)
            while b"\n" not in self.said:
                self._heed_stop()
                left = deadline - time.monotonic()
                if left <= 0:
                    self.timed_out = True
                    return None
                if selector.select(min(left, LOOK_S)):
                    more = os.read(self.process.stdout.fileno(), 1 << 16)
                    if not more:
                        return None
                    self.said += more
        line, _, self.said = self.said.partition(b"\n")
        return line

    def _heed_stop(self) -> None:
        if self.limits.stop is not None and self.limits.stop.is_set():
            from rpac_ci.processes import StoppedError

            raise StoppedError("comparison")

    def why_none(self) -> Finding:
        """Why there is no finding for the file at hand; the child is ended."""
        if self.timed_out:
            self._end()
            return not_compared(f"comparing took longer than {self.limits.seconds:g} s")
        code = self.process.wait()
        self.errors.seek(0)
        last = self.errors.read()[-2000:].decode(errors="replace").strip().rpartition("\n")[2]
        said = f": {printable(last, limit=200)}" if last else ""
        if code < 0:
            name = signal.Signals(-code).name
            memory = ", perhaps for want of memory" if code == -signal.SIGKILL else ""
            return not_compared(f"the reader was ended by {name}{memory}{said}")
        return not_compared(f"the reader ended with code {code}{said}")
