"""Git by argv: every call bounded in time, without hooks, prompts or a pager."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rpac_ci.errors import HistoryError

TIMEOUT_S = 120.0
# set by hooks and some tools, they would lead git to another repository, index or set of refs
_REDIRECTS = (
    "GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX", "GIT_NAMESPACE",
)  # fmt: skip

# Less than 100 new objects become loose ones, git's own default and the right one for a log: a pack
# for every run would be 10,000 packs, all opened by every later git command. Loose objects are
# found by name, equal ones are stored once, and git packs them when there are many.
_SETTINGS = (
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.quotePath=false",
    "-c", "fastimport.unpackLimit=100",
)  # fmt: skip

_CRASH_REPORT = re.compile(r"dumping crash report to (.+)")


class GitError(HistoryError):
    """A git command that said no, with everything it said."""

    def __init__(self, message: str, *, out: str, err: str) -> None:
        super().__init__(message)
        self.out = out
        self.err = err


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file of a git tree: mode (`100644`, `100755`, `120000`, `160000`), object id, path."""

    mode: str
    oid: str
    path: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object of the repository: its id, type (`blob`, `tree`, `commit`, `tag`) and size."""

    oid: str
    type: str
    size: int


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """What a commit object says; `committer` is `name <email> seconds zone`."""

    parents: Sequence[str]
    committer: bytes
    message: bytes


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
            if start.is_dir() and not isinstance(exc, GitError):
                raise  # git is not installed, or does not answer
            why = f": {exc.message}" if start.is_dir() else ""  # bare, say, or of another user
            raise HistoryError(
                f"{start} is not in a git repository{why}",
                hint="runs are kept in git: start one with 'git init' and commit the experiment",
            ) from exc

    def run(
        self,
        *argv: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        keep: Sequence[int] = (),
    ) -> bytes:
        """
        Standard output of one git command.

        Args:
            argv: the command and its arguments.
            stdin: what it reads.
            env: variables on top of this process's own.
            timeout_s: how long it may take.
            keep: open file descriptors that git holds as long as it runs, such as a lock.

        Raises:
            GitError: git says no.
            HistoryError: git does not answer in time, or is not installed.
        """
        command = ["git", *_SETTINGS, *argv]
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
                pass_fds=tuple(keep),
            )
        except FileNotFoundError as exc:
            raise HistoryError("git is not installed or the folder is gone") from exc
        except subprocess.TimeoutExpired as exc:
            raise HistoryError(f"git {argv[0]} did not answer within {timeout_s:.0f} s") from exc
        if done.returncode:
            out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
            for report in _CRASH_REPORT.findall(err):  # of fast-import: the stream, which we know
                with contextlib.suppress(OSError):
                    (self.root / report).unlink()
            reason = _reason(err) or f"exit {done.returncode}"
            raise GitError(f"git {argv[0]}: {reason}", out=out, err=err)
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

    def has_more_files(self, tree: str, limit: int) -> bool:
        """Whether a tree has more files than that; stops counting there, so it ends soon."""
        command = ["git", *_SETTINGS, "ls-tree", "-r", "-z", "--name-only", "--full-tree", tree]
        with subprocess.Popen(command, cwd=self.root, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            found = 0
            while found <= limit and (part := child.stdout.read(2**16)):
                found += part.count(b"\0")
            child.kill()
        return found > limit

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

    def objects(self, names: Iterable[str]) -> list[ObjectInfo | None]:
        """What many names (`<oid>`, `<rev>:<path>`) stand for, one git process; None if absent."""
        wanted = list(names)
        if any("\n" in name for name in wanted):
            raise HistoryError("an object's name holds a line break")
        if not wanted:
            return []
        stdin = "".join(f"{name}\n" for name in wanted).encode("utf-8", "surrogateescape")
        lines = self.run("cat-file", "--batch-check", stdin=stdin).split(b"\n")[:-1]
        return [_object_info(line) for line in lines]

    def commits(self, oids: Iterable[str]) -> list[CommitInfo]:
        """Many commits, in one git process."""
        return [_commit_info(raw or b"") for raw in self.blobs(oids)]

    def added(self, commits: Iterable[str]) -> dict[str, list[TreeEntry]]:
        """The files that each commit has and its parent has not, in one git process."""
        stdin = "".join(f"{commit}\n" for commit in commits).encode()
        out = self.run(
            "diff-tree", "--stdin", "--root", "-r", "-z", "--no-renames", "--diff-filter=A",
            stdin=stdin,
        )  # fmt: skip
        found: dict[str, list[TreeEntry]] = {}
        files: list[TreeEntry] = []
        words = iter(out.split(b"\0")[:-1])
        for word in words:
            if not word.startswith(b":"):
                files = found.setdefault(word.decode(), [])
                continue
            _, mode, _, oid, _ = word.decode().split()
            files.append(TreeEntry(mode, oid, next(words).decode("utf-8", "surrogateescape")))
        return found

    def paths(self, *names: str) -> dict[str, Path]:
        """Where git keeps files of its own, for example `index.lock` and `MERGE_HEAD`."""
        asked = [word for name in names for word in ("--git-path", name)]
        found = self.text("rev-parse", *asked).splitlines()
        return {name: self.root / path for name, path in zip(names, found, strict=True)}


def _object_info(line: bytes) -> ObjectInfo | None:
    words = line.split()
    if words[-1] in (b"missing", b"ambiguous"):
        return None
    return ObjectInfo(words[0].decode(), words[1].decode(), int(words[2]))


def _commit_info(raw: bytes) -> CommitInfo:
    head, _, message = raw.partition(b"\n\n")
    lines = [line.partition(b" ") for line in head.split(b"\n")]
    parents = [value.decode("ascii", "replace") for key, _, value in lines if key == b"parent"]
    committer = next((value for key, _, value in lines if key == b"committer"), b"")
    return CommitInfo(parents, committer, message)


def _reason(err: str) -> str:
    """The line that says why; advice and what else git tells stands around it."""
    lines = [line for line in err.splitlines() if line.strip()]
    for word in ("fatal: ", "error: "):
        for line in lines:
            if line.startswith(word):
                return line.removeprefix(word)
    return lines[-1] if lines else ""
