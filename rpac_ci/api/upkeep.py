"""Care of log and store: push, collect, fsck, gc."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rpac_ci import collector, garbage, inbox, log_check
from rpac_ci.collector import Collected
from rpac_ci.driver import Notify, Progress
from rpac_ci.garbage import Garbage, Kept
from rpac_ci.inbox import Pushed
from rpac_ci.log_check import Checked
from rpac_ci.workspace import LOCAL, Workspace


def push(
    remote: str = "origin", *, repository: Path | str = ".", notify: Notify | None = None
) -> Pushed:
    """
    Send what only the local log has to the inbox of a remote, where a collector takes it.

    Args:
        remote: name of the remote.
        repository: a folder in it.
        notify: called with `Progress`.
    """
    git = Workspace.open(repository).git
    return inbox.push(git, remote, notify=_teller("push", notify))


def collect(
    remote: str = "origin", *, repository: Path | str = ".", notify: Notify | None = None
) -> Collected:
    """
    Take everything from the inbox of a remote into its log; any number of collectors may do so.

    Args:
        remote: name of the remote.
        repository: a folder in it.
        notify: called with `Progress`.
    """
    git = Workspace.open(repository).git
    return collector.collect(git, remote, notify=_teller("collect", notify))


def _teller(step: str, notify: Notify | None) -> Callable[[str], None]:
    def tell(text: str) -> None:
        if notify:
            notify(Progress(run="", step=step, status="moving", detail=text))

    return tell


def fsck(
    *, repository: Path | str = ".", outputs: bool = False, notify: Notify | None = None
) -> Checked:
    """
    Check the log: each run's files, digests, code and verdict, and that nothing was ever changed.

    Args:
        repository: a folder in it.
        outputs: also look for the runs' outputs in the store.
        notify: called with `Progress`.
    """
    workspace = Workspace.open(repository)
    storage = workspace.storage if outputs else None
    return log_check.fsck(workspace.git, storage=storage, notify=_teller("fsck", notify))


def gc(
    *,
    repository: Path | str = ".",
    cloud: str = LOCAL,
    dry_run: bool = False,
    agree: Callable[[list[Garbage], list[Kept]], bool] | None = None,
) -> tuple[list[Garbage], list[Kept]]:
    """
    Remove from the store what no record, no open run and no study needs.

    Outputs and logs of recorded runs stay, and so do runs that neither the log nor a driver knows.
    Of a cloud's store, which others use, too, only what nobody has touched for 30 days goes.

    Args:
        repository: a folder in it.
        cloud: whose store is meant.
        dry_run: only tell.
        agree: hears what is found, and says whether it may go; it may when None.

    Returns:
        What was, or would be, removed, and the runs that are kept although nothing names them.

    Raises:
        CommandError: the settings name no store of this cloud.
        StorageError: it cannot be read, or something cannot be removed; what could be is gone.
    """
    workspace = Workspace.open(repository).on(cloud)
    found, kept = garbage.find(workspace)
    if dry_run or (agree and not agree(found, kept)):
        return found, kept
    return garbage.remove(workspace, found), kept
