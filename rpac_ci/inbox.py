"""
Local runs to the inbox of a remote: `refs/rpac/inbox/<entry>`, one ref for each, so that no writer
ever waits for another. `collector.py` folds them into the remote's log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rpac_ci.errors import HistoryError
from rpac_ci.fast_import import NewCommit, link, orphans
from rpac_ci.git import Git, GitError, TreeEntry
from rpac_ci.log_entries import EntryName, check_entries, is_document, of_paths
from rpac_ci.log_paths import LOG_REF
from rpac_ci.log_remote import BATCH, INBOX, Listing, LogRemote, Update, same_documents
from rpac_ci.ref_writer import RefWriter

_ROUNDS = 10
Notify = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Pushed:
    """What became of the entries that the remote's log did not have; entries by name."""

    remote: str
    sent: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # were in the inbox already
    conflicts: list[str] = field(default_factory=list)  # the remote has other documents
    unfit: dict[str, list[str]] = field(default_factory=dict)  # not sent -> why
    moved: bool = False  # the local log goes on from the remote's now


@dataclass(frozen=True, slots=True, kw_only=True)
class _Difference:
    """What the local log has and the remote's has not."""

    pending: Mapping[str, Sequence[TreeEntry]]  # entry -> all its files in the local log
    conflicts: Sequence[str]
    others: Sequence[str]  # paths that belong to no entry


def push(git: Git, remote: str = "origin", *, notify: Notify | None = None) -> Pushed:
    """
    Send what the local log has and the remote's has not. May be repeated, and killed at any time.

    When the remote's log has all of the local one, the local one goes on from there.

    Args:
        git: the repository.
        remote: name of a remote.
        notify: called with what is being done.

    Raises:
        HistoryError: no such remote, it cannot be reached or refuses; nothing is lost.
    """
    there = LogRemote(git, remote)
    sent: set[str] = set()
    refused: dict[str, str] = {}
    updates: list[Update] = []
    for _ in range(_ROUNDS):
        listing = there.listing()
        _fetch_log(git, there, listing.log)
        local = git.resolve(LOG_REF)
        pushed = Pushed(remote=remote)
        if local is None:
            return pushed
        difference = _difference(git, local, listing.log)
        pushed.conflicts = list(difference.conflicts)
        pushed.unfit = {path: ["belongs to no run"] for path in difference.others}
        updates = _updates(git, there, listing, difference, (local, listing.log), pushed)
        if notify and updates:
            notify(f"{len(updates)} to the inbox of {remote}")
        refused = _send(there, updates)
        sent |= {u.ref.removeprefix(INBOX) for u in updates if u.ref not in refused}
        if not refused:
            pushed.sent = sorted(sent)
            pushed.waiting = [name for name in pushed.waiting if name not in sent]
            if listing.log and not (difference.pending or pushed.conflicts or pushed.unfit):
                pushed.moved = _go_on_from(git, remote, local, listing.log)
            return pushed
    raise HistoryError(
        f"{remote} did not take {len(refused)} of {len(updates)} runs: {min(refused.values())}",
        hint="nothing is lost: try again",
    )


def _fetch_log(git: Git, remote: LogRemote, tip: str | None) -> None:
    """
    Fetch the remote's log to its remote-tracking ref.

    Raises:
        HistoryError: it lacks documents that it once had.
    """
    known = git.resolve(remote.tracking_ref)
    if tip is None or tip == known:
        return
    remote.fetch([LOG_REF])
    if known and not _contains(git, tip, known):
        if _contains(git, known, tip):  # another process has fetched what came later
            return
        filters = ("--no-renames", "--diff-filter=DMT")
        out = git.run("diff-tree", "-r", "-z", "--name-only", *filters, known, tip)
        lost = [path for path in _paths(out) if is_document(path)]
        if lost:
            raise HistoryError(
                f"rpac/log on {remote.name} was rewritten: {lost[0]} is gone or other",
                hint=f"{remote.tracking_ref} still has what it was: ask who keeps {remote.name}",
            )
    with RefWriter(git) as writer:
        writer.run("update-ref", "-m", f"rpac: fetch {remote.name}", remote.tracking_ref, tip)


def _contains(git: Git, commit: str, older: str) -> bool:
    return git.maybe("merge-base", "--is-ancestor", older, commit) is not None


def _paths(out: bytes) -> list[str]:
    return [path.decode("utf-8", "surrogateescape") for path in out.split(b"\0")[:-1]]


def _difference(git: Git, local: str, tip: str | None) -> _Difference:
    # git compares by tree, so this takes as long as there are new runs, not as long as the log
    if tip is None:
        words = [word for file in git.ls_tree(local) for word in ("A", file.path)]
    else:
        filters = ("--no-renames", "--diff-filter=AMT")
        words = _paths(git.run("diff-tree", "-r", "-z", "--name-status", *filters, tip, local))
    changes = dict(zip(words[1::2], words[::2], strict=True))
    entries, others = of_paths(changes)
    # what is rendered from the documents may differ between versions; the first one stays
    kinds = {
        name: {changes[path] for path in paths if is_document(path)}
        for name, paths in entries.items()
    }
    conflicts = [str(name) for name, kind in kinds.items() if kind - {"A"}]
    pending = [name for name, kind in kinds.items() if kind == {"A"}]
    return _Difference(
        pending=_files(git, local, pending, entries), conflicts=conflicts, others=others
    )


def _files(
    git: Git, local: str, names: Iterable[EntryName], entries: Mapping[EntryName, Sequence[str]]
) -> dict[str, list[TreeEntry]]:
    """All files of these entries in the local log, also those that the remote has already."""
    found: dict[str, list[TreeEntry]] = {str(name): [] for name in names}
    folders = [EntryName.place(entries[name][0]) for name in names]
    for first in range(0, len(folders), BATCH):
        for file in git.ls_tree(local, *folders[first : first + BATCH]):
            if (name := str(EntryName.of_path(file.path))) in found:
                found[name].append(file)
    return found


def _updates(
    git: Git,
    remote: LogRemote,
    listing: Listing,
    difference: _Difference,
    logs: tuple[str, str | None],
    pushed: Pushed,
) -> list[Update]:
    """What to push; what is not to be pushed is told in `pushed`."""
    unfit = {name: why for name, why in check_entries(git, difference.pending).items() if why}
    pushed.unfit |= unfit
    fit = {name: files for name, files in difference.pending.items() if name not in unfit}
    commits = _inbox_commits(git, fit, *logs)
    others = {
        name: listing.inbox[name]
        for name, oid in commits.items()
        if listing.inbox.get(name, oid) != oid
    }
    gone = not remote.fetch(INBOX + name for name in others)
    updates = []
    for name, oid in commits.items():
        if listing.quarantine.get(name) == oid:
            pushed.unfit[name] = [f"was refused before: {remote.name} has it in quarantine"]
        elif name not in listing.inbox or (name in others and gone):
            updates.append(Update(INBOX + name, oid))
        elif name not in others or same_documents(git, oid, others[name], fit[name]):
            pushed.waiting.append(name)
        else:
            pushed.conflicts.append(name)
    return updates


def _send(remote: LogRemote, updates: Sequence[Update]) -> dict[str, str]:
    """Push; returns the refs that another writer was first with, and why the remote refused."""
    refused: dict[str, str] = {}
    for first in range(0, len(updates), BATCH):
        refused |= remote.push(updates[first : first + BATCH], atomic=False)
    return refused


def _inbox_commits(
    git: Git, entries: Mapping[str, Sequence[TreeEntry]], local: str, tip: str | None
) -> dict[str, str]:
    """
    A commit without a parent for each entry, with nothing in it but this entry.

    Message and committer are those of the local log's commit, so that everybody who has that makes
    the same commit of it.
    """
    if not entries:
        return {}
    origins = _origins(git, entries, local, tip)
    infos = git.commits(origins[name] for name in entries)
    commits = [
        NewCommit(
            committer=info.committer,
            message=info.message,
            changes=[link(file.path, file.oid, file.mode) for file in files],
        )
        for files, info in zip(entries.values(), infos, strict=True)
    ]
    return dict(zip(entries, orphans(git.run, commits), strict=True))


def _origins(
    git: Git, entries: Mapping[str, Sequence[TreeEntry]], local: str, tip: str | None
) -> dict[str, str]:
    """The commit of the local log that brought each entry."""
    new = git.text("rev-list", "--reverse", local, *([f"^{tip}"] if tip else [])).split()
    brought = {
        file.path: commit for commit, files in reversed(git.added(new).items()) for file in files
    }
    origins = {}
    for name, files in entries.items():
        path = next(file.path for file in files if is_document(file.path))
        # what the remote's log once had and lost is older than what is new
        origins[name] = brought.get(path) or git.text(
            "log", "-1", "--format=%H", "--diff-filter=A", local, "--", path
        )
    return origins


def _go_on_from(git: Git, remote: str, local: str, tip: str) -> bool:
    """Move the local log to the remote's tip, unless it is there or has moved meanwhile."""
    if _contains(git, local, tip):
        return False
    with RefWriter(git) as writer:
        try:
            writer.run("update-ref", "-m", f"rpac: go on from {remote}", LOG_REF, tip, local)
        except GitError:  # a run was added meanwhile; the next push sends it
            return False
    return True
