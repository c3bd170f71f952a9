"""
The reproduction log in git: the branch `rpac/log`, to which every run is added once.

    reports/<experiment>/<yyyy-mm>/<run>/   pipeline.yaml record.json report.md figures/ source/
    reports/<experiment>/accepted/<run>.json

Files are only ever added, without an index and a working tree, so any number of writers can go on.
The folder, without `source/`, is also committed to the branch people read.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from rpac_ci.current_branch import CurrentBranch
from rpac_ci.errors import CommandError, HistoryError, RunNotFoundError
from rpac_ci.fast_import import NewCommit, advance, put
from rpac_ci.git import Git, GitError
from rpac_ci.log_paths import LOG_REF, REPORTS, RunPath
from rpac_ci.ref_writer import RefWriter

_EXPERIMENT = re.compile(r"[a-z0-9-]+")
_MONTH = re.compile(r"\d{4}-\d{2}")
_RUN = re.compile(r"[0-9A-Za-z-]+")
_ACCEPTED = re.compile(r"([0-9A-Za-z-]+)\.json")


class _Month(NamedTuple):
    """The folder of one month of one experiment in one log."""

    name: str
    tree: str
    experiment: str
    ref: str


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
        return list(self.tips())

    def tips(self, names: Sequence[str] = ()) -> dict[str, str]:
        """
        Commits of the logs, the local one first.

        Args:
            names: take these refs instead: `topic`, `origin/rpac/log`, `refs/heads/rpac/log`.

        Raises:
            CommandError: there is no such ref.
        """
        logs = self._commits(LOG_REF, "refs/remotes/*/rpac/log")
        if not names:
            return logs
        forms = {name: (name, f"refs/heads/{name}", f"refs/remotes/{name}") for name in names}
        patterns = [form for some in forms.values() for form in some if form.startswith("refs/")]
        commits = self._commits(*patterns)
        chosen = {name: [f for f in some if f in commits][:1] for name, some in forms.items()}
        if unknown := [name for name, full in chosen.items() if not full]:
            known = ", ".join(re.sub("^refs/(heads|remotes)/", "", ref) for ref in logs)
            raise CommandError(
                "\n".join(f"there is no branch {name!r}" for name in unknown),
                hint=f"logs here: {known or 'none yet'}",
            )
        return {ref: commits[ref] for full in chosen.values() for ref in full}

    def _commits(self, *patterns: str) -> dict[str, str]:
        out = self._git.text("for-each-ref", "--format=%(refname) %(objectname)", *patterns)
        return {
            ref: commit for ref, _, commit in (line.partition(" ") for line in out.splitlines())
        }

    def experiments(self) -> list[str]:
        """Names of the experiments that have folders in the log, in alphabetical order."""
        tips = set(self.tips().values())
        found = {name for tip in tips for name, _ in self._folders(tip, REPORTS)}
        return sorted(filter(_EXPERIMENT.fullmatch, found))

    def runs(self, experiment: str | None = None) -> list[RunPath]:
        """Runs in the log, oldest first."""
        return sorted(self._recorded(self.newest_first(experiment)))

    def newest_first(
        self, experiment: str | None = None, names: Sequence[str] = ()
    ) -> Iterator[RunPath]:
        """
        Folders of runs, newest first, from their names alone: months are opened as they are needed.

        A run that several logs have in different states comes once for each of them, the local
        log's first. Whether a folder holds a record is left to those who read it.

        Args:
            experiment: only of this one.
            names: only in these refs, see `tips`.
        """
        months: dict[str, list[_Month]] = {}
        for month in self._months(experiment, self.tips(names)):
            months.setdefault(month.name, []).append(month)
        left = sorted(months, reverse=True)
        count = 1
        while left:
            opened, left = left[:count], left[count:]
            yield from self._in_months([m for name in opened for m in months[name]])
            count *= 2

    def _months(self, experiment: str | None, tips: Mapping[str, str]) -> Iterator[_Month]:
        if experiment is not None and not _EXPERIMENT.fullmatch(experiment):
            return
        for ref, tip in tips.items():
            if experiment is None:
                found = self._folders(tip, REPORTS)
                experiments = {name: tree for name, tree in found if _EXPERIMENT.fullmatch(name)}
                inside = self._open(list(experiments.values()), len(tip) // 2)
                opened = [(name, inside[tree]) for name, tree in experiments.items()]
            else:
                opened = [(experiment, self._folders(tip, f"{REPORTS}/{experiment}"))]
            for name, months in opened:
                for month, tree in months:
                    if _MONTH.fullmatch(month):
                        yield _Month(month, tree, name, ref)

    def _in_months(self, months: Sequence[_Month]) -> Iterator[RunPath]:
        """Runs of some months, newest first; every folder is read once, whatever has it."""
        width = len(months[0].tree) // 2
        opened = self._open(list({month.tree for month in months}), width)
        found: dict[tuple[str, str], dict[str, str]] = {}  # run, experiment -> ref -> tree
        for month in months:
            for run, tree in opened[month.tree]:
                if _RUN.fullmatch(run) and f"{run[:4]}-{run[4:6]}" == month.name:
                    found.setdefault((run, month.experiment), {})[month.ref] = tree
        for run, experiment in sorted(sorted(found), key=itemgetter(0), reverse=True):
            trees = found[run, experiment]
            seen = set[str]()
            for ref, tree in trees.items():
                if tree not in seen:
                    seen.add(tree)
                    yield RunPath(run, experiment, ref, tree, tuple(trees))

    def _listed(self, tip: str, folder: str) -> list[tuple[str, str, str]]:
        """What stands in one folder of a commit: name, kind, id; nothing if there is none."""
        out = self._git.run("ls-tree", "-z", "--full-tree", tip, "--", f"{folder}/")
        entries = []
        for line in filter(None, out.decode("utf-8", "surrogateescape").split("\0")):
            meta, _, path = line.partition("\t")
            _, kind, oid = meta.split()
            entries.append((posixpath.basename(path), kind, oid))
        return entries

    def _folders(self, tip: str, folder: str) -> list[tuple[str, str]]:
        return [(name, oid) for name, kind, oid in self._listed(tip, folder) if kind == "tree"]

    def _open(self, trees: Sequence[str], width: int) -> dict[str, list[tuple[str, str]]]:
        """
        Names and ids of the folders in many trees, in one git process.

        Git's own form of a tree is read, since `ls-tree` takes one tree at a time.

        Args:
            trees: ids of trees.
            width: bytes of an id, 20 or 32.
        """
        entry = re.compile(rb"(\d+) ([^\0]+)\0(.{%d})" % width, re.DOTALL)
        opened = {}
        for tree, content in zip(trees, self._git.blobs(trees), strict=True):
            if content is None:
                raise HistoryError(f"tree {tree} of the log is missing", hint="git fsck")
            opened[tree] = [
                (name.decode("utf-8", "surrogateescape"), oid.hex())
                for mode, name, oid in entry.findall(content)
                if mode == b"40000"
            ]
        return opened

    def _recorded(self, paths: Iterable[RunPath]) -> list[RunPath]:
        """Those that hold a record, each run once."""
        wanted = list(paths)
        records = self._git.objects(f"{path.place}record.json" for path in wanted)
        found: dict[str, RunPath] = {}
        for path, record in zip(wanted, records, strict=True):
            if record is not None and record.type == "blob":
                found.setdefault(path.run, path)
        return list(found.values())

    def accepted(self, experiment: str) -> list[RunPath]:
        """Accepted runs of an experiment, oldest first."""
        if not _EXPERIMENT.fullmatch(experiment):
            return []
        names = {
            match[1]
            for tip in set(self.tips().values())
            for name, _, _ in self._listed(tip, f"{REPORTS}/{experiment}/accepted")
            if (match := _ACCEPTED.fullmatch(name))
        }
        found = (path for path in self.newest_first(experiment) if path.run in names)
        return sorted(self._recorded(found))

    def find(self, run: str, experiment: str | None = None) -> RunPath:
        """
        A run by its id or an unambiguous beginning or end of it.

        Raises:
            RunNotFoundError: none, or several.
        """
        if not run:
            raise RunNotFoundError("there is no run '' in the log", hint="rpac history lists them")
        like = (
            p for p in self.newest_first(experiment) if p.run.startswith(run) or p.run.endswith(run)
        )
        known = sorted(self._recorded(like))
        found = [path for path in known if path.run == run] or known
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
        for path, content in zip(wanted, self.contents(wanted), strict=True):
            try:
                value = json.loads(content or b"")
            except ValueError as exc:
                raise HistoryError(f"the record of {path.run} is not JSON: {exc}") from exc
            yield value

    def contents(self, paths: Sequence[RunPath]) -> Iterator[bytes | None]:
        """The bytes of `record.json` of many runs, in one git process; None where there is none."""
        return self._git.blobs(f"{path.place}record.json" for path in paths)

    # --- write ----------------------------------------------------------------------------------

    def add(self, entry: Entry) -> str:
        """
        Add files to the log, once: what is there already stays.

        Any number of processes may do this at once; they take turns.

        Returns:
            A commit of the log that holds them.

        Raises:
            HistoryError: other bytes stand there under the same name, or git refuses.
        """
        return self.add_all([entry])[0]

    def add_all(self, entries: Sequence[Entry]) -> list[str]:
        """`add` several, each in a commit of its own; all of them, or none when one is refused."""
        with RefWriter(self._git) as writer:
            commits = self._add(writer, entries)
        # as git does it after a commit: packs what has piled up, if there is much of it
        self._git.maybe("gc", "--auto", "--quiet")
        return commits

    def _add(self, writer: RefWriter, entries: Sequence[Entry]) -> list[str]:
        while True:
            tip = self._git.resolve(LOG_REF) or self._remote_tip()
            there = self._names(tip, [entry.folder for entry in entries]) if tip else {}
            left = []
            for entry in entries:
                names = there.get(entry.folder, set())
                if tip:
                    self._check_same(tip, entry, names)
                if not _documents(entry) <= names:
                    left.append((entry, names))
            made: dict[str, str] = {}
            try:
                if left:
                    new = [self._commit_of(entry, tip, names) for entry, names in left]
                    ids = advance(writer.run, LOG_REF, new)
                    made = {entry.folder: oid for (entry, _), oid in zip(left, ids, strict=True)}
            except GitError as exc:
                if "'refs/heads/rpac' exists" in exc.err:
                    exc.hint = "the log needs that name: git branch -m rpac <another name>"
                writer.after(exc)  # another writer was first: look again
            else:
                return [made.get(entry.folder) or tip or "" for entry in entries]

    def _names(self, tip: str, folders: Sequence[str]) -> dict[str, set[str]]:
        """Paths below each of some folders of the log."""
        found: dict[str, set[str]] = {}
        for file in self._git.ls_tree(tip, *folders):
            for folder in map(str, PurePosixPath(file.path).parents):
                found.setdefault(folder, set()).add(file.path.removeprefix(f"{folder}/"))
        return found

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

    def _commit_of(self, entry: Entry, tip: str | None, there: set[str]) -> NewCommit:
        name, email = self._identity()
        files = {path: ("100644", content) for path, content in entry.files.items()}
        files |= {f"source/{path}": item for path, item in entry.source.items()}
        return NewCommit(
            committer=f"{name} <{email}> {int(time.time())} +0000".encode(),
            message=entry.message.encode(),
            changes=[
                put(f"{entry.folder}/{path}", content, mode)
                for path, (mode, content) in sorted(files.items())
                if path not in there
            ],
            parent=tip,
        )

    def _identity(self) -> tuple[str, str]:
        """Who commits: the user's git identity, or a neutral one where there is none."""
        told = self._git.maybe("config", "-z", "--get-regexp", r"^user\.(name|email)$") or ""
        # the last of several holds, as it does for git itself
        said = dict(line.partition("\n")[::2] for line in told.split("\0"))
        name = said.get("user.name") or os.environ.get("GIT_COMMITTER_NAME")
        email = said.get("user.email") or os.environ.get("GIT_COMMITTER_EMAIL")
        clean = [re.sub(r"[<>\n\0]", "", text or "") for text in (name, email)]
        return clean[0] or "rpac", clean[1] or "rpac@localhost"

    def publish(self, entry: Entry) -> tuple[str | None, str]:
        """
        Commit the entry's files, without `source/`, to the current branch.

        Returns:
            The commit and "", or None and the reason why the branch was left alone.
        """
        return self.publish_all([entry])[0]

    def publish_all(self, entries: Sequence[Entry]) -> list[tuple[str | None, str]]:
        """`publish` several, each in a commit of its own."""
        return CurrentBranch(self._git, log=LOG_REF, identity=self._identity()).publish(entries)
