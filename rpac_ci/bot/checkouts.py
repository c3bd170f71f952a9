"""
The tree of one commit in a folder of its own, to be read as data: nothing of it is executed, and
the settings are those of the default branch.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rpac_ci.errors import HistoryError
from rpac_ci.git import Git
from rpac_ci.log_paths import REPORTS
from rpac_ci.workspace import Workspace

# large files are data that an experiment declares; their content is not fetched here
_NO_LFS = {"GIT_LFS_SKIP_SMUDGE": "1"}
_CHECKOUT_S = 300.0
MAX_FILES = 100_000


@contextmanager
def detached(workspace: Workspace, commit: str, parent: Path | None = None) -> Iterator[Workspace]:
    """
    A workspace on a commit, gone afterwards.

    Args:
        workspace: whose repository has the commit, and whose settings hold.
        commit: full id.
        parent: folder to make it in; the system's for temporary files when None.
    """
    with tempfile.TemporaryDirectory(prefix="rpac-", dir=parent) as folder:
        root = Path(folder) / "tree"
        add(workspace.git, commit, root)
        try:
            yield replace(workspace, root=root, git=Git(root))
        finally:
            workspace.git.maybe("worktree", "remove", "--force", str(root))


def add(git: Git, commit: str, folder: Path) -> None:
    """
    Check a commit out into a new folder, as a working tree of the same repository.

    Raises:
        HistoryError: the commit is not there.
    """
    if git.resolve(f"{commit}^{{commit}}") != commit:
        raise HistoryError(f"there is no commit {commit}")
    if git.has_more_files(commit, MAX_FILES):
        raise HistoryError(
            f"the commit {commit[:12]} has more than {MAX_FILES} files",
            hint="experiments of a repository of this size are not looked at",
        )
    git.run(
        "worktree", "add", "--detach", "--quiet", str(folder), commit,
        env=_NO_LFS, timeout_s=_CHECKOUT_S,
    )  # fmt: skip


def tree_without_reports(git: Git, commit: str) -> str:
    """A hash of everything in a commit but `reports/`, where the bot itself commits."""
    out = git.run("ls-tree", "-z", "--full-tree", commit)
    lines = [line for line in out.split(b"\0") if line.partition(b"\t")[2] != REPORTS.encode()]
    return hashlib.sha256(b"\0".join(lines)).hexdigest()
