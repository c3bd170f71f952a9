"""
Reports on the branch that people read: commits on top of it, and the same files in index and
working tree. Whatever else is staged or edited stays as it is.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rpac_ci.errors import HistoryError
from rpac_ci.fast_import import NewCommit, chain, put
from rpac_ci.git import Git

if TYPE_CHECKING:
    from rpac_ci.reproduction_log import Entry

_TRIES = 40
_PATIENCE_S = 2.0
_BUSY = "another git command is under way"


class CurrentBranch:
    """The branch that is checked out."""

    def __init__(self, git: Git, *, log: str, identity: tuple[str, str]) -> None:
        """
        Args:
            git: of the repository.
            log: ref of the log, which has the code too.
            identity: name and address of who commits.
        """
        self._git = git
        self._log = log
        self._identity = identity

    def publish(self, entries: Sequence[Entry]) -> list[tuple[str | None, str]]:
        """
        Commit the files of entries, one commit for each, as far as they are not there.

        Returns:
            For each its commit and "", or None and the reason why the branch was left alone.
        """
        branch = self._git.maybe("symbolic-ref", "--quiet", "HEAD")
        files = {entry.folder: self._files(entry, branch) for entry in entries}
        made: dict[str, str] = {}
        patience = time.monotonic() + _PATIENCE_S  # with another rpac that has the index just now
        while True:
            head = self._git.resolve("HEAD")
            there = self._published(head, files) if branch and head else set()
            left = [entry for entry in entries if entry.folder not in there]
            reason = self._why_not(branch, head) if left else ""
            if reason == _BUSY and time.monotonic() < patience:
                time.sleep(0.05)
                continue
            why = {e.folder: reason or self._in_the_way(e.folder) for e in left}
            new = [entry for entry in left if not why[entry.folder]]
            if not new or branch is None or head is None:
                if head and there:
                    self._restore(head, [path for folder in there for path in files[folder]])
                return [
                    (made.get(e.folder, head), "") if e.folder in there else (None, why[e.folder])
                    for e in entries
                ]
            made |= self._advance(branch, head, new, patience)

    def _files(self, entry: Entry, branch: str | None) -> list[str]:
        paths = [f"{entry.folder}/{name}" for name in sorted(entry.files)]
        if branch == self._log:
            paths += [f"{entry.folder}/source/{name}" for name in sorted(entry.source)]
        return paths

    def _published(self, head: str, files: dict[str, list[str]]) -> set[str]:
        """Folders of which the commit has the first file."""
        found = self._git.objects(f"{head}:{paths[0]}" for paths in files.values())
        return {folder for folder, one in zip(files, found, strict=True) if one is not None}

    def _advance(
        self, branch: str, head: str, entries: Sequence[Entry], patience: float
    ) -> dict[str, str]:
        """Folder -> its commit; nothing when the branch has moved, so that one looks again."""
        commits = chain(self._git.run, list(self._commits(head, entries)))
        subject = entries[-1].subject
        try:
            self._git.run("update-ref", "-m", f"rpac: {subject}", branch, commits[-1], head)
        except HistoryError:  # the branch moved or is just being moved
            if time.monotonic() > patience and self._git.resolve("HEAD") == head:
                raise
            time.sleep(0.02)
            return {}
        return {entry.folder: oid for entry, oid in zip(entries, commits, strict=True)}

    def _commits(self, head: str, entries: Sequence[Entry]) -> Iterator[NewCommit]:
        name, email = self._identity
        committer = f"{name} <{email}> {int(time.time())} {time.strftime('%z')}".encode()
        for entry in entries:
            yield NewCommit(
                committer=committer,
                message=entry.message.encode(),
                changes=[put(f"{entry.folder}/{n}", c) for n, c in sorted(entry.files.items())],
                parent=head,  # of the first; each other one's is the one before
            )

    def _in_the_way(self, folder: str) -> str:
        """Something of the user's that stands where the report's folder should be."""
        for part in [*reversed(PurePosixPath(folder).parents), PurePosixPath(folder)]:
            path = self._git.root / part
            if path.is_symlink() or (path.exists() and not path.is_dir()):
                return f"{part} is not a folder"
        return ""

    def _restore(self, commit: str, paths: list[str]) -> None:
        """Bring index and working tree to the commit, in these paths only."""
        for attempt in range(_TRIES):
            try:
                self._git.run(
                    "restore", f"--source={commit}", "--staged", "--worktree", "--", *paths
                )
            except HistoryError as exc:
                if attempt == _TRIES - 1:
                    raise HistoryError(
                        f"the report is committed, but the index is held: {exc.message}",
                        hint=f"git restore --staged --worktree -- {posixpath.dirname(paths[0])}",
                    ) from exc
                time.sleep(0.25)
            else:
                return

    def _why_not(self, branch: str | None, head: str | None) -> str:
        if branch is None:
            return "HEAD is detached: switch to a branch to have reports there too"
        if branch == self._log:
            return "the current branch is the log itself"
        if head is None:
            return "the branch has no commit yet"
        under_way = {
            "MERGE_HEAD": "a merge", "rebase-merge": "a rebase", "rebase-apply": "a rebase",
            "CHERRY_PICK_HEAD": "a cherry-pick", "REVERT_HEAD": "a revert",
            "BISECT_LOG": "a bisection",
        }  # fmt: skip
        paths = self._git.paths(*under_way, "index.lock")
        for name, doing in under_way.items():
            if paths[name].exists():
                return f"{doing} is under way"
        return _BUSY if paths["index.lock"].exists() else ""
