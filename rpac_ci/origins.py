"""
Where runs come from, by the bot's ledger: those that it dispatched, and those that somebody pushed.

Read as plain git objects, since lists of runs need it too and are to be there at once.
"""

from __future__ import annotations

import json

from rpac_ci.canonical import digest
from rpac_ci.git import Git

BOT, UNVERIFIED = "bot", "unverified"
_LEDGERS = "refs/remotes/*/rpac/ledger"


def ledger_tip(git: Git) -> str | None:
    """The ledger that was fetched last; None where the repository has no bot."""
    tips = git.text("for-each-ref", "--count=1", "--format=%(objectname)", _LEDGERS)
    return tips or None


def dispatched(git: Git) -> frozenset[str] | None:
    """Runs that the bot sent off; None where the repository has no bot."""
    tip = ledger_tip(git)
    if tip is None:
        return None
    out = git.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", tip, "runs/")
    paths = out.decode("utf-8", "surrogateescape").split("\0")
    return frozenset(path.split("/")[2] for path in paths if path.endswith("/dispatch.json"))


def planned_pipeline(git: Git, run: str) -> str | None:
    """Digest of the pipeline that was dispatched under a run's id; None where none was."""
    tip = ledger_tip(git)
    if tip is None:
        return None
    content = next(git.blobs([f"{tip}:runs/{run[:4]}-{run[4:6]}/{run}/dispatch.json"]))
    if content is None:
        return None
    name = str(json.loads(content)["ticket"])
    pipeline = next(git.blobs([f"{tip}:plans/{name[:2]}/{name}/pipeline.yaml"]))
    return digest(pipeline or b"")
