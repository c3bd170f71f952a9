"""
Runs written to git, to the log and then to the current branch; those of a study that end at about
the same time together, since git takes as long for many commits as for one.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass

from rpac_ci.errors import HistoryError
from rpac_ci.git import Git
from rpac_ci.reproduction_log import Entry, ReproductionLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Where a run stands in git."""

    log_commit: str
    branch_commit: str | None
    remark: str = ""  # why the branch was left alone


class GitWriter:
    """Writes entries of one repository; threads may share it."""

    def __init__(self, git: Git) -> None:
        self._history = ReproductionLog(git)
        self._waiting: list[tuple[Entry, bool, Future[Written]]] = []
        self._adding = threading.Lock()
        self._writing = threading.Lock()

    def write(self, entry: Entry, *, publish: bool) -> Written:
        """
        Add an entry to the log, and to the branch if that is asked for.

        Whoever comes while git is at work waits, and the first of them then writes for all.

        Raises:
            HistoryError: git does not take it.
        """
        future: Future[Written] = Future()
        with self._adding:
            self._waiting.append((entry, publish, future))
        with self._writing:
            if not future.done():
                with self._adding:
                    batch, self._waiting = self._waiting, []
                self._settle(batch)
        return future.result()

    def _settle(self, batch: list[tuple[Entry, bool, Future[Written]]]) -> None:
        try:
            written = self._all([(entry, publish) for entry, publish, _ in batch])
        except BaseException as exc:  # noqa: BLE001 - told to whoever waits for it
            if len(batch) > 1 and isinstance(exc, HistoryError):
                for one in batch:  # what is wrong with one entry is not to hold up the others
                    self._settle([one])
                return
            for _, _, future in batch:
                future.set_exception(exc)
        else:
            for (_, _, future), result in zip(batch, written, strict=True):
                future.set_result(result)

    def _all(self, batch: list[tuple[Entry, bool]]) -> list[Written]:
        commits = self._history.add_all([entry for entry, _ in batch])
        wanted = [entry for entry, publish in batch if publish]
        published = self._history.publish_all(wanted) if wanted else []
        on_branch = {entry.folder: one for entry, one in zip(wanted, published, strict=True)}
        written = []
        for (entry, _), commit in zip(batch, commits, strict=True):
            branch, remark = on_branch.get(entry.folder, (None, "left alone as asked"))
            written.append(Written(log_commit=commit, branch_commit=branch, remark=remark))
        return written
