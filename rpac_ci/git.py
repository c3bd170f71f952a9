"""Git by argv: every call bounded in time, without hooks, prompts or a pager."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rpac_ci.errors import HistoryError

TIMEOUT_S = 120.0
# set by hooks and some tools, they would lead git to another repository or index
_REDIRECTS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file of a git tree: mode (`100644`, `100755`, `120000`, `160000`), object id, path."""

    mode: str
    oid: str
    path: str


class Git:
    """A repository with a working tree."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def discover(cls, start: Path) -> Git:
        """
        The repository that holds a folder.

        Raises:
            HistoryError: there is none, or git is not installed.
        """
        git = cls(start)
        try:
            return cls(Path(git.text("rev-parse", "--show-toplevel")))
        except HistoryError as exc:
            raise HistoryError(
                f"{start} is not in a git repository",
                hint="runs are kept in git: start one with 'git init' and commit the experiment",
            ) from exc

    def run(
        self,
        *argv: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> bytes:
        """
        Standard output of one git command.

        Raises:
            HistoryError: git says no, does not answer in time, or is not installed.
        """
        command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false", *argv]
        environment = {
            **{name: value for name, value in os.environ.items() if name not in _REDIRECTS},
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "LC_ALL": "C",
            **(env or {}),
        }
        try:
            done = subprocess.run(
                command,
                cwd=self.root,
                input=stdin,
                capture_output=True,
                check=False,
                env=environment,
                timeout=timeout_s,
            )
        except FileNotFoundError as exc:
            raise HistoryError("git is not installed or the folder is gone") from exc
        except subprocess.TimeoutExpired as exc:
            raise HistoryError(f"git {argv[0]} did not answer within {timeout_s:.0f} s") from exc
        if done.returncode:
            message = done.stderr.decode("utf-8", "replace").strip().splitlines()
            reason = message[-1] if message else f"exit {done.returncode}"
            raise HistoryError(f"git {argv[0]}: {reason.removeprefix('fatal: ')}")
        return done.stdout

    def text(self, *argv: str, env: Mapping[str, str] | None = None) -> str:
        """Standard output as one stripped line of text."""
        return self.run(*argv, env=env).decode("utf-8", "replace").strip()

    def maybe(self, *argv: str) -> str | None:
        """`text`, or None when git says no."""
        try:
            return self.text(*argv)
        except HistoryError:
            return None

    def resolve(self, revision: str) -> str | None:
        """The full object id of a revision, or None."""
        return self.maybe("rev-parse", "--verify", "--quiet", "--end-of-options", revision)

    def ls_tree(self, tree: str, *paths: str) -> list[TreeEntry]:
        """Every file below a tree, in path order."""
        out = self.run("ls-tree", "-r", "-z", "--full-tree", tree, "--", *paths)
        entries = []
        for line in filter(None, out.split(b"\0")):
            meta, _, path = line.partition(b"\t")
            mode, _, oid = meta.decode().split()
            entries.append(TreeEntry(mode, oid, path.decode("utf-8", "surrogateescape")))
        return entries

    def blobs(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """Contents of many objects (`<oid>` or `<rev>:<path>`), one git process; None if absent."""
        wanted = list(names)
        if any("\n" in name for name in wanted):
            raise HistoryError("an object's name holds a line break")
        if not wanted:
            return
        stdin = "".join(f"{name}\n" for name in wanted).encode()
        out = self.run("cat-file", "--batch", stdin=stdin)
        at = 0
        for _ in wanted:
            end = out.index(b"\n", at)
            header = out[at:end].split()
            at = end + 1
            if header[-1] in (b"missing", b"ambiguous"):
                yield None
                continue
            size = int(header[2])
            yield out[at : at + size]
            at += size + 1

    def path(self, name: str) -> Path:
        """Where git keeps a file of its own, for example `index.lock` or `MERGE_HEAD`."""
        return self.root / self.text("rev-parse", "--git-path", name)
