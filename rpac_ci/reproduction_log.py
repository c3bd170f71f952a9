"""
The reproduction log in git: the branch `rpac/log`, to which every run is added once.

    reports/<experiment>/<yyyy-mm>/<run>/   pipeline.yaml record.json report.md figures/ source/
    reports/<experiment>/accepted/<run>.json

Files are only ever added, without an index and a working tree, so any number of writers can go on.
The folder, without `source/`, is also committed to the branch people read.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rpac_ci.errors import HistoryError, RunNotFoundError
from rpac_ci.git import Git

LOG_REF = "refs/heads/rpac/log"
REPORTS = "reports"
_RUN_PATH = re.compile(
    r"reports/(?P<experiment>[a-z0-9-]+)/(?P<month>\d{4}-\d{2})/(?P<run>[0-9A-Za-z-]+)/record\.json"
)
_ACCEPTED = re.compile(r"reports/(?P<experiment>[a-z0-9-]+)/accepted/(?P<run>[0-9A-Za-z-]+)\.json")
_TRIES = 40


@dataclass(frozen=True, slots=True, order=True)
class RunPath:
    """Where a run stands in the log; sorts by time."""

    run: str
    experiment: str
    ref: str

    @property
    def folder(self) -> str:
        """The run's folder, from the top of the repository."""
        return run_folder(self.experiment, self.run)


def run_folder(experiment: str, run: str) -> str:
    """`reports/<experiment>/<yyyy-mm>/<run>`; the month is the run id's own."""
    return f"{REPORTS}/{experiment}/{run[:4]}-{run[4:6]}/{run}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Files to add to the log, and what the commit says."""

    folder: str
    files: Mapping[str, bytes]  # below the folder
    subject: str
    trailers: Sequence[tuple[str, str]]
    source: Mapping[str, tuple[str, bytes]]  # below folder/source: mode, content; log only

    @property
    def message(self) -> str:
        """Subject and trailers."""
        lines = "\n".join(f"{key}: {value}" for key, value in self.trailers)
        return f"{self.subject}\n\n{lines}\n"


def _documents(entry: Entry) -> set[str]:
    """The files of an entry that are facts; the others are rendered from them."""
    return {name for name in entry.files if name.endswith((".json", ".yaml"))}


class ReproductionLog:
    """Reads and writes the log of one repository."""

    def __init__(self, git: Git) -> None:
        self._git = git

    # --- read -----------------------------------------------------------------------------------

    def refs(self) -> list[str]:
        """The local log and those fetched from remotes."""
        out = self._git.text(
            "for-each-ref", "--format=%(refname)", LOG_REF, "refs/remotes/*/rpac/log"
        )
        return out.splitlines()

    def runs(self, experiment: str | None = None) -> list[RunPath]:
        """Runs in the log, oldest first."""
        found: dict[str, RunPath] = {}
        for ref, path in self._paths(experiment):
            if match := _RUN_PATH.fullmatch(path):
                found.setdefault(match["run"], RunPath(match["run"], match["experiment"], ref))
        return sorted(found.values())

    def accepted(self, experiment: str) -> list[RunPath]:
        """Accepted runs of an experiment, oldest first."""
        names = {
            match["run"]
            for _, path in self._paths(experiment)
            if (match := _ACCEPTED.fullmatch(path))
        }
        return [run for run in self.runs(experiment) if run.run in names]

    def find(self, run: str, experiment: str | None = None) -> RunPath:
        """
        A run by its id or an unambiguous beginning or end of it.

        Raises:
            RunNotFoundError: none, or several.
        """
        known = self.runs(experiment)
        exact = [path for path in known if path.run == run]
        found = exact or [p for p in known if p.run.startswith(run) or p.run.endswith(run)]
        of = f" of {experiment}" if experiment else ""
        if not found:
            raise RunNotFoundError(
                f"there is no run {run!r}{of} in the log", hint="rpac history lists them"
            )
        if len(found) > 1:
            names = ", ".join(path.run for path in found[:5])
            raise RunNotFoundError(
                f"{run!r} means several runs{of}: {names}", hint="give more of it"
            )
        return found[0]

    def read(self, path: RunPath, name: str) -> bytes:
        """
        One file of a run.

        Raises:
            HistoryError: the run has no such file.
        """
        content = next(self._git.blobs([f"{path.ref}:{path.folder}/{name}"]))
        if content is None:
            raise HistoryError(f"{path.run} has no {name} in the log")
        return content

    def records(self, paths: Iterable[RunPath]) -> Iterator[dict[str, Any]]:
        """Raw `record.json` of many runs, in one git process."""
        wanted = list(paths)
        blobs = self._git.blobs(f"{path.ref}:{path.folder}/record.json" for path in wanted)
        for path, content in zip(wanted, blobs, strict=True):
            try:
                value = json.loads(content or b"")
            except ValueError as exc:
                raise HistoryError(f"the record of {path.run} is not JSON: {exc}") from exc
            yield value

    def _paths(self, experiment: str | None) -> Iterator[tuple[str, str]]:
        below = f"{REPORTS}/{experiment}/" if experiment else f"{REPORTS}/"
        for ref in self.refs():
            out = self._git.run("ls-tree", "-r", "-z", "--name-only", ref, "--", below)
            for path in out.decode("utf-8", "replace").split("\0"):
                yield ref, path

    # --- write ----------------------------------------------------------------------------------

    def add(self, entry: Entry) -> str:
        """
        Add files to the log, once: what is there already stays.

        Returns:
            The log's commit that holds them.

        Raises:
            HistoryError: other bytes stand there under the same name, or git refuses.
        """
        failure: HistoryError | None = None
        for attempt in range(_TRIES):
            tip = self._git.resolve(LOG_REF) or self._remote_tip()
            there = self._names(tip, entry.folder) if tip else set()
            if tip:
                self._check_same(tip, entry, there)
                if _documents(entry) <= there:
                    return tip
            time.sleep(0.02 * min(attempt, 10) if failure else 0)
            try:
                self._git.run(
                    "fast-import",
                    "--quiet",
                    "--done",
                    "--date-format=raw",
                    stdin=self._stream(entry, tip, there),
                )
            except HistoryError as exc:  # another writer was first: look again
                failure = exc
        raise failure or HistoryError("the log kept moving while the run was added")

    def _names(self, tip: str, folder: str) -> set[str]:
        """Paths below a folder of the log."""
        return {file.path.removeprefix(f"{folder}/") for file in self._git.ls_tree(tip, folder)}

    def _remote_tip(self) -> str | None:
        """Where a first local log starts, so that it continues the shared one."""
        refs = [ref for ref in self.refs() if ref != LOG_REF]
        return self._git.resolve(refs[0]) if refs else None

    def _check_same(self, tip: str, entry: Entry, there: set[str]) -> None:
        # what is rendered from the documents may differ between versions; the first stays
        names = sorted(_documents(entry) & there, key=lambda name: (name != "record.json", name))
        stored = self._git.blobs(f"{tip}:{entry.folder}/{name}" for name in names)
        for name, content in zip(names, stored, strict=True):
            if content != entry.files[name]:
                raise HistoryError(
                    f"{entry.folder}/{name} is in the log with other content",
                    hint="the first one is kept; two writers disagree about one run",
                )

    def _stream(self, entry: Entry, tip: str | None, there: set[str]) -> bytes:
        name, email = self._identity()
        message = entry.message.encode()
        parts = [
            b"feature done\n",
            b"commit %s\n" % LOG_REF.encode(),
            f"committer {name} <{email}> {int(time.time())} +0000\n".encode(),
            b"data %d\n%s\n" % (len(message), message),
        ]
        if tip:
            parts.append(b"from %s\n" % tip.encode())
        files = {path: ("100644", content) for path, content in entry.files.items()}
        files |= {f"source/{path}": item for path, item in entry.source.items()}
        for path, (mode, content) in sorted(files.items()):
            if path in there:
                continue
            where = f"{entry.folder}/{path}".encode("utf-8", "surrogateescape")
            quoted = where.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
            parts.append(b'M %s inline "%s"\n' % (mode.encode(), quoted))
            parts.append(b"data %d\n%s\n" % (len(content), content))
        parts.append(b"done\n")
        return b"".join(parts)

    def _identity(self) -> tuple[str, str]:
        """Who commits: the user's git identity, or a neutral one where there is none."""
        name = self._git.maybe("config", "user.name") or os.environ.get("GIT_COMMITTER_NAME")
        email = self._git.maybe("config", "user.email") or os.environ.get("GIT_COMMITTER_EMAIL")
        clean = [re.sub(r"[<>\n\0]", "", text or "") for text in (name, email)]
        return clean[0] or "rpac", clean[1] or "rpac@localhost"

    def publish(self, entry: Entry) -> tuple[str | None, str]:
        """
        Commit the entry's files, without `source/`, to the current branch.

        Only these paths change in index and working tree; whatever else is staged or edited stays
        as it is.

        Returns:
            The commit and "", or None and the reason why the branch was left alone.
        """
        branch = self._git.maybe("symbolic-ref", "--quiet", "HEAD")
        paths = [f"{entry.folder}/{name}" for name in sorted(entry.files)]
        for _ in range(_TRIES):
            head = self._git.resolve("HEAD")
            if branch and head and self._git.resolve(f"{head}:{paths[0]}"):
                self._restore(head, paths)
                return head, ""
            reason = self._why_not(branch, head) or self._in_the_way(entry.folder)
            if reason or branch is None or head is None:
                return None, reason
            commit = self._commit(entry, head)
            with contextlib.suppress(HistoryError):  # the branch moved: look again
                self._git.run("update-ref", "-m", f"rpac: {entry.subject}", branch, commit, head)
        return None, f"{branch} kept moving"

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
        if branch == LOG_REF:
            return "the current branch is the log itself"
        if head is None:
            return "the branch has no commit yet"
        for name, doing in {
            "MERGE_HEAD": "a merge", "rebase-merge": "a rebase", "rebase-apply": "a rebase",
            "CHERRY_PICK_HEAD": "a cherry-pick", "REVERT_HEAD": "a revert",
            "BISECT_LOG": "a bisection", "index.lock": "another git command",
        }.items():  # fmt: skip
            if self._git.path(name).exists():
                return f"{doing} is under way"
        return ""

    def _commit(self, entry: Entry, head: str) -> str:
        """A commit on top of `head`, made with an index of its own."""
        name, email = self._identity()
        with tempfile.TemporaryDirectory(prefix="rpac-index-") as folder:
            env = {
                "GIT_INDEX_FILE": str(Path(folder) / "index"),
                "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email,
                "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email,
            }  # fmt: skip
            self._git.run("read-tree", head, env=env)
            lines = []
            for path, content in sorted(entry.files.items()):
                oid = self._git.run("hash-object", "-w", "--stdin", stdin=content).strip().decode()
                lines.append(f"100644 {oid}\t{entry.folder}/{path}\0")
            stdin = "".join(lines).encode()
            self._git.run("update-index", "-z", "--index-info", stdin=stdin, env=env)
            tree = self._git.text("write-tree", env=env)
            return (
                self._git.run(
                    "commit-tree", tree, "-p", head, stdin=entry.message.encode(), env=env
                )
                .strip()
                .decode()
            )
