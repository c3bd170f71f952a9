"""
The collector: what waits in a remote's inbox -> the remote's log, one commit for each entry.

It may run anywhere, at any time, any number of times at once. Whatever it does to the remote is one
atomic push: the log moves forward and exactly the refs that were folded go away, or nothing does.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from rpac_ci.canonical import digest
from rpac_ci.errors import HistoryError
from rpac_ci.fast_import import NewCommit, chain, link
from rpac_ci.git import CommitInfo, Git, TreeEntry
from rpac_ci.inbox import Notify
from rpac_ci.log_entries import EntryName, check_entries, is_document
from rpac_ci.log_paths import LOG_REF, REPORTS
from rpac_ci.log_remote import (
    BATCH,
    CONFLICT,
    INBOX,
    QUARANTINE,
    Listing,
    LogRemote,
    Update,
)
from rpac_ci.origins import dispatched, planned_pipeline

LIMIT_S = 120.0
MAX_MESSAGE = 16 * 1024
# as fast-import wants it: what it refuses would keep all other entries from being taken
_COMMITTER = re.compile(
    rb"(?:[^<>\n\0]* )?<[^<>\n\0]*> (?:0|[1-9]\d{0,11}) [-+](?:0\d|1[0-3])[0-5]\d"
)
_PLAIN_NAME = re.compile(r"[0-9A-Za-z-]{1,100}")
_random = random.SystemRandom()


@dataclass(slots=True, kw_only=True)
class Collected:
    """What became of the inbox; entries by name."""

    remote: str
    tip: str | None = None  # the remote's log afterwards
    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)  # were in the log, with equal documents
    conflicts: list[str] = field(default_factory=list)  # are in the log, with other documents
    quarantined: dict[str, list[str]] = field(default_factory=dict)  # unfit -> why
    unverified: list[str] = field(default_factory=list)  # of those added, not the bot's own
    retries: int = 0  # how often another writer was first


@dataclass(slots=True, kw_only=True)
class _Batch:
    """What is to become of some refs of the inbox."""

    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    quarantined: dict[str, list[str]] = field(default_factory=dict)
    files: Mapping[str, Sequence[TreeEntry]] = field(default_factory=dict)
    commits: Mapping[str, CommitInfo] = field(default_factory=dict)


def collect(
    git: Git, remote: str = "origin", *, notify: Notify | None = None, limit_s: float = LIMIT_S
) -> Collected:
    """
    Fold all that waits in a remote's inbox into its log. May be repeated, and killed at any time.

    What is in the log already only leaves the inbox. Other documents of the same run go to
    `refs/rpac/conflict/`, what is unfit for the log to `refs/rpac/quarantine/`.

    Args:
        git: any repository with this remote; only objects are added to it.
        remote: name of a remote.
        notify: called with what is being done.
        limit_s: how long to try without any progress.

    Raises:
        HistoryError: no such remote, it cannot be reached or refuses; nothing is lost.
    """
    there = LogRemote(git, remote)
    there.fetch_branches()
    own = dispatched(git)
    collected = Collected(remote=remote)
    deadline = time.monotonic() + limit_s
    while True:
        listing = there.listing()
        collected.tip = listing.log
        if not listing.inbox:
            if own is not None:
                added = filter(EntryName.is_run, collected.added)
                collected.unverified = [name for name in added if name not in own]
            return collected
        if refused := _take(git, there, listing, collected, notify):
            if time.monotonic() > deadline:
                raise HistoryError(
                    f"the log of {remote} kept moving for {limit_s:.0f} s: {refused}",
                    hint="nothing is lost: try again",
                )
            collected.retries += 1
            time.sleep(_random.uniform(0, min(2.0, 0.05 * 2 ** min(collected.retries, 10))))
        else:
            deadline = time.monotonic() + limit_s


def _take(
    git: Git, remote: LogRemote, listing: Listing, collected: Collected, notify: Notify | None
) -> str:
    """Take the first refs of the inbox; returns why it has to be tried again, or ""."""
    inbox = dict(sorted(listing.inbox.items(), key=_in_order_of_runs)[:BATCH])
    refs = [INBOX + name for name in inbox]
    if not remote.fetch([*refs, *([LOG_REF] if listing.log else [])]):
        return "the inbox was emptied meanwhile"
    needed = [*inbox.values(), *([listing.log] if listing.log else [])]
    if None in git.objects(needed):
        return "the inbox changed meanwhile"
    batch = _examine(git, inbox)
    _compare(git, listing.log, batch)
    if notify:
        notify(f"{len(inbox)} from the inbox of {remote.name}")
    updates = _updates(listing, inbox, batch, _fold(git, listing.log, batch))
    if refused := remote.push(updates, atomic=True):
        return next(iter(refused.values()))
    collected.added += batch.added
    collected.known += batch.known
    collected.conflicts += batch.conflicts
    collected.quarantined |= batch.quarantined
    return ""


def _in_order_of_runs(item: tuple[str, str]) -> tuple[bool, EntryName, str]:
    name = EntryName.parse(item[0])
    return name is None, name or EntryName("", 0), item[0]


def _examine(git: Git, inbox: Mapping[str, str]) -> _Batch:
    """Look at every ref; nothing that a writer pushed can keep the others from being taken."""
    kinds = [info.type if info else "" for info in git.objects(inbox.values())]
    are_commits = [n for n, kind in zip(inbox, kinds, strict=True) if kind == "commit"]
    infos = git.commits(inbox[name] for name in are_commits)
    commits = dict(zip(are_commits, infos, strict=True))
    problems = {name: _check_commit(commits.get(name)) for name in inbox}
    files = _files(git, {name: oid for name, oid in inbox.items() if not problems[name]}, problems)
    problems |= check_entries(git, files)
    for name in files:
        if not problems[name] and EntryName.is_run(name):
            problems[name] = _check_order(git, name, files[name])
    batch = _Batch(files=files, commits=commits)
    batch.added = [name for name in inbox if not problems[name]]
    batch.quarantined = {name: why for name, why in problems.items() if why}
    return batch


def _check_order(git: Git, run: str, files: Sequence[TreeEntry]) -> list[str]:
    """A run that the bot dispatched has the pipeline that was dispatched."""
    expected = planned_pipeline(git, run)
    if expected is None:
        return []
    oid = next((file.oid for file in files if file.path.endswith("/pipeline.yaml")), "")
    content = next(git.blobs([oid])) or b""
    return [] if digest(content) == expected else ["its pipeline is not the one dispatched"]


def _check_commit(commit: CommitInfo | None) -> list[str]:
    if commit is None:
        return ["it is not a commit"]
    problems = []
    if commit.parents:
        problems.append("its commit has parents")
    if not _COMMITTER.fullmatch(commit.committer):
        problems.append("its commit does not say who made it, and when")
    text = commit.message.decode("utf-8", "surrogateescape")
    if len(text) > MAX_MESSAGE or not all(line.isprintable() for line in text.split("\n")):
        problems.append(f"its message is not plain text of at most {MAX_MESSAGE} letters")
    return problems


def _files(
    git: Git, commits: Mapping[str, str], problems: dict[str, list[str]]
) -> dict[str, list[TreeEntry]]:
    """The files of each commit; a tree that git cannot read is told in `problems`."""
    try:
        found = git.added(commits.values())
    except HistoryError as exc:
        if len(commits) == 1:
            problems[next(iter(commits))] = [f"git cannot read it: {exc.message}"]
            return {}
        one_by_one = [_files(git, {name: oid}, problems) for name, oid in commits.items()]
        return {name: files for item in one_by_one for name, files in item.items()}
    return {name: found.get(oid, []) for name, oid in commits.items()}


def _compare(git: Git, tip: str | None, batch: _Batch) -> None:
    """Of the entries that are fit, set those apart that the log has already."""
    if tip is None:
        return
    wanted = [(name, f) for name in batch.added for f in batch.files[name] if is_document(f.path)]
    there = git.objects(f"{tip}:{file.path}" for _, file in wanted)
    equal: dict[str, set[bool | None]] = {}
    for (name, file), stored in zip(wanted, there, strict=True):
        equal.setdefault(name, set()).add(stored.oid == file.oid if stored else None)
    elsewhere = _elsewhere(git, tip, batch)
    batch.conflicts = [n for n in batch.added if False in equal[n] or n in elsewhere]
    batch.known = [n for n in batch.added if equal[n] == {True}]
    apart = {*batch.conflicts, *batch.known}
    batch.added = [name for name in batch.added if name not in apart]
    batch.files = _new_files(git, tip, {name: batch.files[name] for name in batch.added})


def _new_files(
    git: Git, tip: str, entries: Mapping[str, Sequence[TreeEntry]]
) -> dict[str, Sequence[TreeEntry]]:
    """The entries without the files that the log has already, as a rule none."""
    places = git.objects(f"{tip}:{EntryName.place(files[0].path)}" for files in entries.values())
    new = dict(entries)
    for (name, files), place in zip(entries.items(), places, strict=True):
        if place:
            there = git.objects(f"{tip}:{file.path}" for file in files)
            new[name] = [file for file, old in zip(files, there, strict=True) if old is None]
    return new


def _elsewhere(git: Git, tip: str, batch: _Batch) -> set[str]:
    """Runs that the log has under the name of another experiment."""
    paths = {name: batch.files[name][0].path for name in batch.added if EntryName.is_run(name)}
    folders = {name: EntryName.place(path) for name, path in paths.items()}
    months = sorted({PurePosixPath(folder).parent.name for folder in folders.values()})
    experiments = _names(git, tip, [f"{REPORTS}/"])
    wanted = [f"{experiment}/{month}/" for experiment in experiments for month in months]
    found = {
        PurePosixPath(folder).name: folder
        for first in range(0, len(wanted), BATCH)
        for folder in _names(git, tip, wanted[first : first + BATCH])
    }
    return {name for name, folder in folders.items() if found.get(name, folder) != folder}


def _names(git: Git, tip: str, folders: Sequence[str]) -> list[str]:
    """The paths of what stands in some folders."""
    out = git.run("ls-tree", "-z", "--full-tree", "--name-only", tip, "--", *folders)
    return out.decode("utf-8", "surrogateescape").split("\0")[:-1]


def _fold(git: Git, tip: str | None, batch: _Batch) -> str | None:
    """
    The log with the new entries on top.

    Made of the log and the inbox alone, so that all who fold the same make the same commits.
    """
    if not batch.added:
        return tip
    commits = [
        NewCommit(
            committer=batch.commits[name].committer,
            message=batch.commits[name].message,
            changes=[link(file.path, file.oid, file.mode) for file in batch.files[name]],
            parent=tip,
        )
        for name in batch.added
    ]
    return chain(git.run, commits)[-1]


def _updates(
    listing: Listing, inbox: Mapping[str, str], batch: _Batch, tip: str | None
) -> list[Update]:
    updates = [Update(INBOX + name, None, oid) for name, oid in inbox.items()]
    if tip and tip != listing.log:
        updates.append(Update(LOG_REF, tip, listing.log or ""))
    for name in batch.conflicts:
        updates += _keep(CONFLICT, name, inbox[name], listing.conflict)
    for name in batch.quarantined:
        updates += _keep(QUARANTINE, name, inbox[name], listing.quarantine)
    return updates


def _keep(prefix: str, name: str, oid: str, there: Mapping[str, str]) -> list[Update]:
    """Keep an object under a name that is free; nothing that was kept before is overwritten."""
    free = name if _PLAIN_NAME.fullmatch(name) else oid
    if there.get(free, oid) != oid:
        free = f"{free}-{oid[:16]}"
    return [] if there.get(free) == oid else [Update(prefix + free, oid, "")]
