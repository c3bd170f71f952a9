"""
The experiment's code: which files, which bytes, one hash.

The hash covers path, executable bit and content of every file, so it survives rebases, squash
merges and a move of the folder. The experiment's own YAML and a README beside it are left out, and
not staged either: what the run cannot see cannot change its result, and rewording a title is not
new science.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rpac_ci.canonical import Digest, canonical_json, digest
from rpac_ci.errors import HistoryError, PipelineError, PolicyError
from rpac_ci.experiment_model import GitSource
from rpac_ci.experiments import ExperimentFile
from rpac_ci.git import Git, TreeEntry

MAX_BYTES = 32 * 2**20
MAX_FILES = 5000
MAX_DIRTY_BYTES = 2**20  # not in git yet, so the log has to hold it
_README = re.compile(r"README(\.(md|rst|txt))?", re.IGNORECASE)
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file: path relative to the tree, executable or not, content."""

    path: str
    executable: bool
    content: bytes

    @property
    def mode(self) -> str:
        """The file's mode as git writes it."""
        return "100755" if self.executable else "100644"


@dataclass(frozen=True, kw_only=True)
class SourceTree:
    """The files a run can see, in path order, and where they came from."""

    files: tuple[SourceFile, ...]
    commit: str | None = None  # last commit that touched them
    tree: str | None = None  # git's tree of the folder
    diff: bytes | None = None  # against the commit, when the working tree was dirty

    @cached_property
    def sha256(self) -> Digest:
        """Digest over path, mode and content of every file."""
        return digest(
            canonical_json(
                [[f.path, f.mode, hashlib.sha256(f.content).hexdigest()] for f in self.files]
            )
        )

    def read(self, path: str) -> bytes | None:
        """One file's content, or None."""
        return next((f.content for f in self.files if f.path == path), None)

    def archive(self) -> bytes:
        """A tar of the files; equal trees give equal bytes."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for file in self.files:
                info = tarfile.TarInfo(file.path)
                info.size, info.mode = len(file.content), int(file.mode[-3:], 8)
                tar.addfile(info, io.BytesIO(file.content))
        return buffer.getvalue()


def make(
    files: Iterable[SourceFile],
    *,
    commit: str | None = None,
    tree: str | None = None,
    diff: bytes | None = None,
) -> SourceTree:
    """A `SourceTree` of files in any order, within the size limits."""
    ordered = tuple(sorted(files, key=lambda file: file.path))
    size = sum(len(file.content) for file in ordered)
    if size > MAX_BYTES or len(ordered) > MAX_FILES:
        raise _too_large(len(ordered), size)
    for file in ordered:
        if not file.path.isprintable():
            raise PipelineError(
                f"{file.path!a} is not a name that every system can hold", hint="rename it"
            )
        if file.content.startswith(_LFS):
            raise PipelineError(
                f"{file.path} is a Git LFS pointer", hint="declare large files as data instead"
            )
    return SourceTree(files=ordered, commit=commit, tree=tree, diff=diff)


def _too_large(files: int, size: int) -> PipelineError:
    return PipelineError(
        f"the source has {files} files and {size >> 20} MiB",
        hint=f"at most {MAX_FILES} files, {MAX_BYTES >> 20} MiB: declare large files as data",
    )


def of_experiment(
    git: Git, file: ExperimentFile, *, allow_dirty: bool = False, cache: Path
) -> SourceTree:
    """
    The source of an experiment as it is committed, or as it lies there with `allow_dirty`.

    Raises:
        PolicyError: uncommitted changes in its files, and not allowed.
        HistoryError: nothing is committed yet, or a source repository cannot be read.
    """
    source = file.experiment.source
    prefix = file.folder.resolve().relative_to(git.root.resolve()).as_posix()
    if git.resolve("HEAD") is None and not allow_dirty:
        raise HistoryError(
            "this repository has no commit yet", hint=f"git add {prefix} && git commit"
        )
    parts = [] if isinstance(source, GitSource) else list(source)
    lock = file.experiment.environment.lock
    if lock and not isinstance(source, GitSource):
        parts.append(lock)
    paths = sorted({_join(prefix, part) for part in parts})
    changed = _changed(git, [*paths, _join(prefix, file.path.name)])
    if changed and not allow_dirty:
        shown = "\n".join(f"  {path}" for path in changed[:10])
        raise PolicyError(
            f"{file.experiment.id} has changes that are not committed:\n{shown}",
            hint="commit them, or keep the difference in the record with --allow-dirty",
        )
    if isinstance(source, GitSource):
        return of_repository(source, cache)
    if changed:
        files = _working_files(git, paths, prefix, file.path.name)
        size = sum(len(item.content) for item in files)
        if size > MAX_DIRTY_BYTES:
            raise PolicyError(
                f"the changed source has {size >> 10} KiB, more than a record may hold",
                hint="commit the changes first",
            )
        return make(
            files,
            commit=git.maybe("log", "-1", "--format=%H", "HEAD", "--", *paths) or None,
            diff=_diff(git, changed),
        )
    entries = git.ls_tree("HEAD", *paths) if paths else []
    return make(
        _read(git, entries, prefix, leave_out=file.path.name),
        commit=git.text("log", "-1", "--format=%H", "HEAD", "--", *(paths or [prefix])) or None,
        tree=git.resolve(f"HEAD:{prefix}" if prefix != "." else "HEAD^{tree}"),
    )


def of_tree(git: Git, tree: str, prefix: str) -> SourceTree:
    """The source kept in git below `prefix` of a tree or commit."""
    return make(_read(git, git.ls_tree(tree, prefix), prefix))


def _join(prefix: str, part: str) -> str:
    return os.path.normpath(f"{prefix}/{part}")


def _left_out(path: str, experiment: str) -> bool:
    """The experiment's own file and a README beside it."""
    return path == experiment or _README.fullmatch(path) is not None


def _changed(git: Git, paths: list[str]) -> list[str]:
    out = git.run(
        "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--", *paths
    )
    return sorted(entry[3:].decode("utf-8", "replace") for entry in out.split(b"\0") if entry)


def _read(
    git: Git, entries: list[TreeEntry], prefix: str, *, leave_out: str | None = None
) -> list[SourceFile]:
    wanted: list[tuple[str, TreeEntry]] = []
    for entry in entries:
        path = entry.path if prefix == "." else entry.path.removeprefix(f"{prefix}/")
        if leave_out and _left_out(path, leave_out):
            continue
        if entry.mode in ("120000", "160000"):
            kind = "a symbolic link" if entry.mode == "120000" else "a submodule"
            raise PipelineError(f"{entry.path} is {kind}", hint="put the files themselves there")
        wanted.append((path, entry))
    infos = git.objects(entry.oid for _, entry in wanted)
    size = sum(info.size for info in infos if info)
    if size > MAX_BYTES or len(wanted) > MAX_FILES:  # before anything of it is read
        raise _too_large(len(wanted), size)
    contents = git.blobs(entry.oid for _, entry in wanted)
    return [
        SourceFile(path, entry.mode == "100755", content or b"")
        for (path, entry), content in zip(wanted, contents, strict=True)
    ]


_SECRETS = re.compile(r"\.env(\..*)?|.*\.(pem|key|p12)|id_(rsa|ecdsa|ed25519)|\.netrc|credentials")


def _working_files(git: Git, paths: list[str], prefix: str, experiment: str) -> list[SourceFile]:
    if not paths:
        return []
    out = git.run(
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
        "--",
        *paths,
    )
    files = []
    for name in filter(None, out.split(b"\0")):
        shown = name.decode("utf-8", "surrogateescape")
        path = git.root / shown
        inner = shown if prefix == "." else shown.removeprefix(f"{prefix}/")
        if path.is_symlink():
            raise PipelineError(f"{shown} is a symbolic link", hint="put the file itself there")
        if _left_out(inner, experiment) or not path.exists():
            continue
        if _SECRETS.fullmatch(path.name):
            raise PolicyError(
                f"{shown} looks like a secret and would be committed with the run",
                hint="move it out of the experiment's folder, or add it to .gitignore",
            )
        if not path.is_file():
            raise PipelineError(f"{shown} is not a regular file", hint="put the file itself there")
        files.append(SourceFile(inner, os.access(path, os.X_OK), path.read_bytes()))
    return files


def _diff(git: Git, changed: list[str]) -> bytes:
    """What differs from HEAD, new files included, without touching the user's index."""
    untracked = git.run("ls-files", "-z", "--others", "--exclude-standard", "--", *changed)
    parts = []
    if git.resolve("HEAD"):
        parts.append(
            git.run("diff", "--binary", "--no-color", "--no-ext-diff", "HEAD", "--", *changed)
        )
    for name in filter(None, untracked.split(b"\0")):
        text = (git.root / os.fsdecode(name)).read_bytes()
        parts.append(
            b"new file " + name + b" sha256 " + hashlib.sha256(text).hexdigest().encode() + b"\n"
        )
    return b"".join(parts)


def of_repository(source: GitSource, cache: Path) -> SourceTree:
    """The code of another repository at a pinned commit, fetched once."""
    folder = cache / "git" / hashlib.sha256(source.git.encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    git = Git(folder)
    if not (folder / "HEAD").exists():
        git.run("init", "--quiet", "--bare", ".")
    if git.resolve(f"{source.commit}^{{commit}}") is None:
        try:
            git.run(
                "fetch", "--quiet", "--depth=1", "--no-tags", source.git, source.commit,
                env={"GIT_ALLOW_PROTOCOL": "https"}, timeout_s=600,
            )  # fmt: skip
        except HistoryError as exc:
            raise HistoryError(
                f"the code of {source.git} at {source.commit[:12]} cannot be had: {exc.message}",
                hint="a commit that was pushed, of a repository that anybody can read",
            ) from exc
    files = _read(git, git.ls_tree(source.commit), ".")
    return make(files, commit=source.commit, tree=git.resolve(f"{source.commit}^{{tree}}"))
