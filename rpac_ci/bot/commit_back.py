"""
Runs of the log to the branch that people read, on a remote: only paths below `reports/`, only
additions, never by force.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rpac_ci.bot.ledger import who
from rpac_ci.errors import HistoryError
from rpac_ci.fast_import import NewCommit, chain, link
from rpac_ci.git import Git, TreeEntry
from rpac_ci.log_paths import REPORTS
from rpac_ci.log_remote import LogRemote, Update
from rpac_ci.site_config import CommitBack

if TYPE_CHECKING:
    from rpac_ci.github.answers import PullInfo
    from rpac_ci.github.client import GitHub

TRIES = 5
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedBack:
    """Where a report went; without a commit, `why` says what was in the way."""

    branch: str
    commit: str | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchTarget:
    """The branch that a report should go to, or `why` to none."""

    branch: str
    why: str = ""


def target(
    github: GitHub, pull: PullInfo, wanted: CommitBack, *, starts_checks: bool = False
) -> BranchTarget:
    """
    Which branch of the repository gets the report of a run on a pull request.

    A push with a workflow's own token starts no checks, so that a required check of the new head
    would stay pending for ever: then the branch is left alone.

    Args:
        github: to ask for required checks.
        pull: as it is now.
        wanted: `commit_back` of the settings.
        starts_checks: pushes are made with a token of a GitHub App, which starts checks.
    """
    why = ""
    if wanted is CommitBack.LOG:
        why = "`commit_back: log` in rpac.yaml"
    elif pull.fork or pull.head_repository is None:
        why = "the branch is in a fork, where this repository's bot may not write"
    elif pull.merged or pull.state != "open":
        why = "the pull request is closed"
    elif wanted is CommitBack.AUTO and not starts_checks:
        required = github.required_checks(pull.base_ref)
        if required is None:
            why = f"it cannot be seen whether {pull.base_ref} requires checks"
        elif required:
            why = (
                f"{pull.base_ref} requires checks ({', '.join(required[:3])}), and a commit made "
                "without a GitHub App's token would leave them pending"
            )
    return BranchTarget(branch="" if why else pull.head_ref, why=why)


def commit_back(
    git: Git, log: str, folder: str, branch: str, *, message: str, remote: str = "origin"
) -> CommittedBack:
    """
    Put one folder or file of the log on a branch of the remote, without its `source/`.

    What the branch has already stays. May be repeated: nothing is committed twice.

    Args:
        git: a repository that has the log.
        log: commit of the log.
        folder: of the run, or the file, from the top of the repository.
        branch: name on the remote, such as `topic`.
        message: of the commit.
        remote: name of the remote.

    Returns:
        What became of it. A branch that is gone, protected or moves all the time is no error: the
        log has the run.
    """
    there = LogRemote(git, remote)
    ref = f"refs/heads/{branch}"
    files = [file for file in git.ls_tree(log, folder) if "/source/" not in file.path]
    _check(files)
    refused = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(_random.uniform(0, 0.2 * 2**attempt))
        tip = _tip(git, remote, ref)
        if tip is None:
            return CommittedBack(branch=branch, commit=None, why="the branch is gone")
        known = {file.path: file.oid for file in git.ls_tree(tip, folder)}
        if other := [file.path for file in files if known.get(file.path, file.oid) != file.oid]:
            why = f"the branch has other content at {other[0]}"
            return CommittedBack(branch=branch, commit=None, why=why)
        new = [file for file in files if file.path not in known]
        if not new:
            return CommittedBack(branch=branch, commit=tip)
        commit = _commit(git, tip, new, message)
        try:
            answers = there.push([Update(ref, commit)], atomic=False)
        except HistoryError as exc:
            return CommittedBack(branch=branch, commit=None, why=exc.message)
        if not answers:
            return CommittedBack(branch=branch, commit=commit)
        refused = answers.get(ref, "")
    why = f"the branch kept moving: {refused}"
    return CommittedBack(branch=branch, commit=None, why=why)


def _check(files: Sequence[TreeEntry]) -> None:
    """
    Raises:
        HistoryError: something that must not go to a branch.
    """
    for file in files:
        if not file.path.startswith(f"{REPORTS}/") or file.mode != "100644":
            raise HistoryError(f"{file.path!a} ({file.mode}) is not a report")


def _tip(git: Git, remote: str, ref: str) -> str | None:
    """The branch's commit, fetched."""
    listed = git.run("ls-remote", "--quiet", "--refs", remote, ref).decode("ascii", "replace")
    tips = {name: oid for oid, _, name in (line.partition("\t") for line in listed.splitlines())}
    tip = tips.get(ref)
    if tip and git.resolve(f"{tip}^{{commit}}") is None:
        shallow = git.text("rev-parse", "--is-shallow-repository") == "true"
        git.run(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no",
            *(["--depth=1"] if shallow else []), remote, ref, timeout_s=600,
        )  # fmt: skip
    return tip


def _commit(git: Git, tip: str, files: Sequence[TreeEntry], message: str) -> str:
    commit = NewCommit(
        committer=f"{who(git)} {int(time.time())} +0000".encode(),
        message=message.encode(),
        changes=[link(file.path, file.oid, file.mode) for file in files],
        parent=tip,
    )
    return chain(git.run, [commit])[0]
