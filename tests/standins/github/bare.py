"""Bare git repositories as GitHub keeps them, written to without a checkout."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

_SETTINGS = {
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.allowFilter": "true",
    "http.receivepack": "true",
    "receive.hideRefs": "refs/pull",  # GitHub: "deny updating a hidden ref"
    "receive.autogc": "false",
    "gc.auto": "0",
    "core.fsync": "none",
    "core.logAllRefUpdates": "false",
}
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@dataclass(frozen=True, slots=True)
class Special:
    """What is no plain file: 100755, 120000 (link: the target), 160000 (submodule: the commit)."""

    mode: str
    content: str


Content: TypeAlias = "str | bytes | Special | None"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: tuple[str, str, str]  # name, address, time
    committer: tuple[str, str, str]
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """A file that differs between two commits; None lines for binary files."""

    path: str
    previous: str | None
    status: str
    sha: str
    additions: int
    deletions: int


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a folder."""

    mode: str
    type: str
    sha: str
    size: int
    path: str


def environment() -> dict[str, str]:
    """For git processes: nobody's settings, and GitHub's own name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "GitHub", "GIT_AUTHOR_EMAIL": "noreply@github.com",
        "GIT_COMMITTER_NAME": "GitHub", "GIT_COMMITTER_EMAIL": "noreply@github.com",
        "LC_ALL": "C",
    }  # fmt: skip


class Bare:
    """One bare repository."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> Bare:
        """An empty one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        command = ["git", "init", "--quiet", "--bare", "--template=", "--initial-branch=main"]
        subprocess.run([*command, str(path)], check=True, env=environment(), capture_output=True)
        bare = cls(path)
        with (path / "config").open("a") as file:
            for name, value in _SETTINGS.items():
                section, _, key = name.partition(".")
                file.write(f"[{section}]\n\t{key} = {value}\n")
        return bare

    @classmethod
    def copy(cls, source: Bare, path: Path) -> Bare:
        """A fork: the branches and tags of another one."""
        bare = cls.create(path)
        for what in ("heads", "tags"):
            bare.git("fetch", "--quiet", str(source.path), f"refs/{what}/*:refs/{what}/*")
        return bare

    def git(self, *words: str, stdin: bytes = b"", **variables: str) -> bytes:
        """Run git; what it prints."""
        done = subprocess.run(
            ["git", *words], cwd=self.path, input=stdin, capture_output=True, check=False,
            env=environment() | variables,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"git {words[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    # --- refs -----------------------------------------------------------------------------------

    def ref(self, name: str) -> str | None:
        """The commit a ref points to; read without starting git, since it is asked for often."""
        try:
            return (self.path / name).read_text().strip()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return self._packed().get(name)

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """All refs below a prefix."""
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)").decode().splitlines()
        found = dict(line.split(" ") for line in lines)
        return {name: sha for name, sha in found.items() if name.startswith(prefix)}

    def set_ref(self, name: str, sha: str | None, old: str | None = None) -> None:
        """Point a ref elsewhere; None deletes it. With `old` only when it was there."""
        words = ["update-ref", "-d", name] if sha is None else ["update-ref", name, sha]
        self.git(*words, *([old] if old else []))

    def resolve(self, text: str) -> str | None:
        """The commit meant by an id, a branch, a tag or a full ref."""
        if re.fullmatch(r"[0-9a-f]{40}", text):
            return text if self.has(text) else None
        for name in (text, f"refs/{text}", f"refs/heads/{text}", f"refs/tags/{text}"):
            if name.startswith("refs/") and (sha := self.ref(name)):
                return sha
        return None

    def has(self, sha: str) -> bool:
        """Whether there is such a commit."""
        try:
            return self.git("cat-file", "-t", sha).strip() == b"commit"
        except RuntimeError:
            return False

    def fetch(self, source: Bare, ref: str, to: str) -> None:
        """Take over a ref of another repository."""
        self.git("fetch", "--quiet", "--no-tags", str(source.path), f"+{ref}:{to}")

    def _packed(self) -> dict[str, str]:
        try:
            lines = (self.path / "packed-refs").read_text().splitlines()
        except FileNotFoundError:
            return {}
        pairs = (line.split(" ") for line in lines if line[:1] not in "#^")
        return {name: sha for sha, name in pairs}

    # --- reading --------------------------------------------------------------------------------

    def files(self, ref: str, prefix: str = "") -> dict[str, bytes]:
        """Contents of all files below a folder, by path; empty where there is no such ref."""
        sha = self.resolve(ref)
        entries = [] if sha is None else [e for e in self.entries(sha) if e.type == "blob"]
        wanted = [entry for entry in entries if entry.path.startswith(prefix)]
        return dict(zip((e.path for e in wanted), self.blobs([e.sha for e in wanted]), strict=True))

    def entries(self, commit: str, folder: str | None = None) -> list[Entry]:
        """All files of a commit, or the entries of one folder ("": the top)."""
        words = ["ls-tree", "-z", "-l", "--full-tree"]
        if folder is None:
            words += ["-r", commit]
        else:
            words += [f"{commit}:{folder}" if folder else commit]
        found = []
        for line in self.git(*words).decode(errors="surrogateescape").split("\0")[:-1]:
            meta, _, path = line.partition("\t")
            mode, kind, sha, size = meta.split()
            whole = f"{folder}/{path}" if folder else path
            found.append(Entry(mode, kind, sha, int(size) if size != "-" else 0, whole))
        return found

    def blobs(self, shas: list[str]) -> Iterator[bytes]:
        """Contents by id."""
        if not shas:
            return
        rest = self.git("cat-file", "--batch", stdin="".join(f"{s}\n" for s in shas).encode())
        for _ in shas:
            head, _, rest = rest.partition(b"\n")
            size = int(head.split()[2])
            yield rest[:size]
            rest = rest[size + 1 :]

    def commit(self, sha: str) -> Commit:
        """A commit."""
        form = "%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"
        shown = self.git("show", "--no-patch", f"--format={form}", sha).decode(errors="replace")
        tree, parents, an, ae, at, cn, ce, ct, message = shown.split("\0", 8)
        return Commit(
            sha, tree, tuple(parents.split()), (an, ae, _utc(at)), (cn, ce, _utc(ct)),
            message.strip("\n"),
        )  # fmt: skip

    def commits_between(self, base: str, head: str) -> int:
        """How many commits head has that base has not."""
        return int(self.git("rev-list", "--count", f"{base}..{head}"))

    def merge_base(self, one: str, other: str) -> str | None:
        """The commit where two lines parted."""
        try:
            return self.git("merge-base", one, other).decode().strip()
        except RuntimeError:
            return None

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether moving a branch from old to new is a fast-forward."""
        return self.merge_base(old, new) == old

    def changes(self, base: str, head: str) -> list[Change]:
        """What a pull request changes: against the commit where it left its base."""
        start = self.merge_base(base, head) or _EMPTY_TREE
        words = ["diff-tree", "-r", "-z", "--find-renames", start, head]
        raw = iter(self.git(*words, "--raw", "--abbrev=40").decode(errors="replace").split("\0"))
        lines = self._line_counts(self.git(*words, "--numstat").decode(errors="replace"))
        found = []
        for meta in raw:
            if not meta:
                break
            _, _, old, new, status = meta.split(" ")
            first = next(raw)
            path = next(raw) if status[0] in "RC" else first
            previous = first if status[0] in "RC" else None
            sha = old if status[0] == "D" else new
            found.append(Change(path, previous, _STATUS[status[0]], sha, *lines[path]))
        return found

    @staticmethod
    def _line_counts(text: str) -> dict[str, tuple[int, int]]:
        parts, counts = iter(text.split("\0")), {}
        for part in parts:
            if not part:
                break
            added, deleted, path = part.split("\t", 2)
            if not path:  # renamed: old and new name follow
                next(parts)
                path = next(parts)
            binary = added == "-"
            counts[path] = (0, 0) if binary else (int(added), int(deleted))
        return counts

    # --- writing --------------------------------------------------------------------------------

    def write(
        self, branch: str, files: Mapping[str, Content], message: str, author: tuple[str, str],
        date: datetime, start: str | None = None, committed: datetime | None = None,
    ) -> str:  # fmt: skip
        """A commit on top of a branch, or on top of `start` where there is no branch yet."""
        ref = f"refs/heads/{branch}"
        parent = self.ref(ref) or start
        name, email = author
        lines = [
            f"commit {ref}".encode(),
            f"author {name} <{email}> {int(date.timestamp())} +0000".encode(),
            f"committer {name} <{email}> {int((committed or date).timestamp())} +0000".encode(),
            _data(message.encode()),
            *([f"from {parent}".encode()] if parent else []),
            *(_change(path, content) for path, content in files.items()),
            b"done\n",
        ]
        self.git("fast-import", "--quiet", "--done", stdin=b"\n".join(lines))
        made = self.ref(ref)
        assert made is not None
        return made

    def merge(self, base: str, head: str, message: str, *, squash: bool) -> str:
        """A commit that brings head into base; not yet on any branch."""
        tree = self.git("merge-tree", "--write-tree", base, head).decode().split("\n")[0]
        parents = ["-p", base] if squash else ["-p", base, "-p", head]
        return self.git("commit-tree", tree, *parents, "-m", message).decode().strip()


_STATUS = {
    "A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed",
}  # fmt: skip


def _change(path: str, content: Content) -> bytes:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    quoted = f'"{escaped}"'.encode(errors="surrogateescape")
    if content is None:
        return b"D " + quoted
    if isinstance(content, Special):
        if content.mode == "160000":
            return f"M 160000 {content.content} ".encode() + quoted
        return (
            f"M {content.mode} inline ".encode() + quoted + b"\n" + _data(content.content.encode())
        )
    raw = content.encode() if isinstance(content, str) else content
    return b"M 100644 inline " + quoted + b"\n" + _data(raw)


def _data(raw: bytes) -> bytes:
    return b"data %d\n%b" % (len(raw), raw)


def _utc(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
