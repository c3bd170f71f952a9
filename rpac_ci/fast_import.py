"""Commits by `git fast-import`: any number in one process, without an index or a working tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_NO_REF = "refs/rpac/unborn"  # never written: it is reset to nothing before the stream ends


class Runs(Protocol):
    """Runs one git command: `Git.run` or `RefWriter.run`."""

    def __call__(self, *argv: str, stdin: bytes | None = None) -> bytes:
        """Standard output of the command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCommit:
    """A commit to make; `committer` is `name <email> seconds zone`, also for the author."""

    committer: bytes
    message: bytes
    changes: Sequence[bytes]  # see put, link and remove
    parent: str | None = None


def put(path: str, content: bytes, mode: str = "100644") -> bytes:
    """A change: a file with this content."""
    return b"M %s inline %s\ndata %d\n%s\n" % (
        mode.encode(), _quoted(path), len(content), content,
    )  # fmt: skip


def link(path: str, oid: str, mode: str = "100644") -> bytes:
    """A change: a file or, with mode `040000`, a folder that git has already."""
    return f"M {mode} {oid} ".encode() + _quoted(path) + b"\n"


def remove(path: str) -> bytes:
    """A change: nothing there any more."""
    return b"D " + _quoted(path) + b"\n"


def advance(run: Runs, ref: str, commits: Sequence[NewCommit]) -> list[str]:
    """
    Add commits to a ref, each on top of the one before.

    Returns:
        Their object ids.

    Raises:
        GitError: the ref does not point to the first one's parent any more, or git refuses.
    """
    return _import(run, _chained(ref, commits) + _questions(len(commits))).split()


def chain(run: Runs, commits: Sequence[NewCommit]) -> list[str]:
    """
    Make commits, each on top of the one before; no ref is written.

    Returns:
        Their object ids. Git keeps what no ref holds for two weeks.
    """
    return _import(run, _unborn(_chained(_NO_REF, commits), len(commits))).split()


def orphans(run: Runs, commits: Sequence[NewCommit]) -> list[str]:
    """Make commits without a parent; no ref is written. Returns their object ids."""
    stream = []
    for mark, commit in enumerate(commits, 1):
        stream += [_reset(), _commit(_NO_REF, mark, commit, None)]
    return _import(run, _unborn(b"".join(stream), len(commits))).split()


def _chained(ref: str, commits: Sequence[NewCommit]) -> bytes:
    return b"".join(
        _commit(ref, mark, commit, commit.parent if mark == 1 else f":{mark - 1}")
        for mark, commit in enumerate(commits, 1)
    )


def _unborn(stream: bytes, count: int) -> bytes:
    """The stream, the ids of its commits asked for, and no ref left to write."""
    return stream + _questions(count) + _reset()


def _questions(count: int) -> bytes:
    return b"".join(b"get-mark :%d\n" % mark for mark in range(1, count + 1))


def _reset() -> bytes:
    return b"reset %s\n\n" % _NO_REF.encode()


def _commit(ref: str, mark: int, commit: NewCommit, parent: str | None) -> bytes:
    return b"".join(
        [
            b"commit %s\nmark :%d\n" % (ref.encode(), mark),
            b"author %s\ncommitter %s\n" % (commit.committer, commit.committer),
            b"data %d\n%s\n" % (len(commit.message), commit.message),
            b"from %s\n" % parent.encode() if parent else b"",
            *commit.changes,
            b"\n",
        ]
    )


def _quoted(path: str) -> bytes:
    raw = path.encode("utf-8", "surrogateescape")
    return b'"%s"' % raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")


def _import(run: Runs, stream: bytes) -> str:
    """
    What fast-import prints.

    A fast-import that is killed leaves at most a temporary pack, which git's housekeeping removes.
    """
    stdin = b"feature done\n" + stream + b"done\n"
    return run("fast-import", "--quiet", "--done", "--date-format=raw", stdin=stdin).decode()
