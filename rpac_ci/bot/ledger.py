"""
The bot's ledger: the orphan branch `rpac/ledger`, to which files are only ever added.

    comments/<yyyy-mm>/<comment>.json              handled
    plans/<xx>/<id>/ticket.json pipeline.yaml source/ approved.json
    runs/<yyyy-mm>/<run>/dispatch.json cancelled.json settled.json
    studies/<study>.json

It is not on `rpac/log`: there every comment would race with every run that comes in, and the log
holds runs and nothing else. Changes are made by compare-and-swap: a push that another
writer was faster than is decided again on what that one wrote.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import ValidationError

from rpac_ci.bot.tickets import (
    Approved,
    Cancelled,
    Dispatch,
    Handled,
    Settlement,
    StudyOrder,
    Ticket,
)
from rpac_ci.errors import HistoryError
from rpac_ci.fast_import import NewCommit, chain, put
from rpac_ci.git import Git
from rpac_ci.log_remote import LogRemote, Update
from rpac_ci.source_trees import SourceFile, SourceTree, of_tree

LEDGER_REF = "refs/heads/rpac/ledger"
LIMIT_S = 60.0
_BRANCH = "refs/remotes/{}/rpac/ledger"
_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_MAY_NOT_WRITE = "the token may not push: give the job 'permissions: contents: write'"
_random = random.SystemRandom()
_D = TypeVar("_D", Ticket, Dispatch, Cancelled, Settlement, Handled, Approved, StudyOrder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What is spent or reserved in one month, in USD."""

    month: float = 0.0
    persons: Mapping[int, float] = field(default_factory=dict)
    clouds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LedgerView:
    """The ledger at one commit; None: there is none yet."""

    git: Git
    tip: str | None

    def read(self, path: str) -> bytes | None:
        """One file."""
        return next(self.git.blobs([f"{self.tip}:{path}"])) if self.tip else None

    def handled(self, comment: int, created_at: datetime) -> Handled | None:
        """What was done about a comment."""
        return self._document(handled_path(comment, created_at), Handled)

    def ticket(self, name: str) -> Ticket | None:
        """
        A plan by its id.

        Raises:
            HistoryError: what the ledger holds under this id is something else.
        """
        if not _ID.fullmatch(name):
            return None
        ticket = self._document(f"{ticket_folder(name)}/ticket.json", Ticket)
        if ticket and not ticket.id == name == ticket.digest_id():
            raise HistoryError(f"the ledger has another plan under the id {name}")
        return ticket

    def pipeline(self, name: str) -> bytes:
        """
        The pipeline of a plan.

        Raises:
            HistoryError: it is missing.
        """
        content = self.read(f"{ticket_folder(name)}/pipeline.yaml")
        if content is None:
            raise HistoryError(f"the ledger has no pipeline for the plan {name}")
        return content

    def source(self, name: str) -> SourceTree:
        """The code of a plan."""
        return of_tree(self.git, self.tip or "", f"{ticket_folder(name)}/source")

    def approved(self, name: str) -> Approved | None:
        """The use that was made of a plan."""
        return self._document(f"{ticket_folder(name)}/approved.json", Approved)

    def dispatch(self, run: str) -> Dispatch | None:
        """A run that was sent off, by its whole id."""
        return self._document(f"{run_folder(run)}/dispatch.json", Dispatch)

    def cancelled(self, run: str) -> Cancelled | None:
        """That somebody wants a run to stop."""
        return self._document(f"{run_folder(run)}/cancelled.json", Cancelled)

    def settled(self, run: str) -> Settlement | None:
        """What became of a run; None while it goes on."""
        return self._document(f"{run_folder(run)}/settled.json", Settlement)

    def study(self, name: str) -> StudyOrder | None:
        """The runs of a study."""
        return self._document(study_path(name), StudyOrder)

    def studies(self) -> list[StudyOrder]:
        """Every study that was sent off."""
        found = (self.study(name.removesuffix(".json")) for name in self._names("studies"))
        return [study for study in found if study]

    def months(self) -> list[str]:
        """Months that have runs, newest first."""
        return sorted(self._names("runs"), reverse=True)

    def runs(self, month: str) -> dict[str, tuple[Dispatch, Settlement | None]]:
        """The runs of one month, in order of time."""
        names = self._names(f"runs/{month}")
        paths = [
            f"runs/{month}/{run}/{file}" for run in names for file in ("dispatch.json", _SETTLED)
        ]
        contents = list(self.git.blobs(f"{self.tip}:{path}" for path in paths))
        found = {}
        for run, asked, settled in zip(names, contents[::2], contents[1::2], strict=True):
            if dispatch := _parse(asked, Dispatch, run):
                found[run] = dispatch, _parse(settled, Settlement, run)
        return found

    def spending(self, month: str) -> Spending:
        """What a month has cost so far, with the worst case of what is not settled."""
        persons: dict[int, float] = {}
        clouds: dict[str, float] = {}
        for dispatch, settled in self.runs(month).values():
            known = settled.cost_usd if settled else None
            cost = dispatch.reserved_usd if known is None else known
            persons[dispatch.actor] = persons.get(dispatch.actor, 0.0) + cost
            clouds[dispatch.cloud] = clouds.get(dispatch.cloud, 0.0) + cost
        return Spending(month=sum(clouds.values()), persons=persons, clouds=clouds)

    def _names(self, folder: str) -> list[str]:
        if not self.tip:
            return []
        out = self.git.run("ls-tree", "-z", "--name-only", "--full-tree", self.tip, f"{folder}/")
        return [path.rpartition("/")[2] for path in out.decode().split("\0") if path]

    def _document(self, path: str, kind: type[_D]) -> _D | None:
        return _parse(self.read(path), kind, path)


_SETTLED = "settled.json"


def _parse(content: bytes | None, kind: type[_D], what: str) -> _D | None:
    if content is None:
        return None
    try:
        return kind.model_validate(json.loads(content))
    except (ValueError, ValidationError) as exc:
        raise HistoryError(
            f"the ledger's {what} cannot be read: {type(exc).__name__}",
            hint="a newer version of rpac may have written it",
        ) from exc


def month_of(moment: datetime) -> str:
    """`2026-01`, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def handled_path(comment: int, created_at: datetime) -> str:
    """Where it stands that a comment was handled."""
    return f"comments/{month_of(created_at)}/{comment}.json"


def ticket_folder(name: str) -> str:
    """Where a plan stands."""
    return f"plans/{name[:2]}/{name}"


def run_folder(run: str) -> str:
    """Where a dispatched run stands."""
    return f"runs/{run[:4]}-{run[4:6]}/{run}"


def study_path(name: str) -> str:
    """Where it stands which runs a study has."""
    return f"studies/{name}.json"


def plain(path: str, content: bytes) -> SourceFile:
    """A file of the ledger that is a document."""
    return SourceFile(path, executable=False, content=content)


def ticket_files(ticket: Ticket, pipeline: bytes, source: SourceTree) -> list[SourceFile]:
    """A plan's files."""
    folder = ticket_folder(ticket.id)
    return [
        plain(f"{folder}/ticket.json", ticket.to_bytes()),
        plain(f"{folder}/pipeline.yaml", pipeline),
        *(replace(file, path=f"{folder}/source/{file.path}") for file in source.files),
    ]


class Ledger:
    """The ledger of a remote."""

    def __init__(self, git: Git, remote: str = "origin", *, limit_s: float = LIMIT_S) -> None:
        self._git = git
        self._remote = LogRemote(git, remote)
        self._limit_s = limit_s

    def view(self) -> LedgerView:
        """The ledger as it was fetched last."""
        return LedgerView(self._git, self._git.resolve(_BRANCH.format(self._remote.name)))

    def fetch(self, *refs: str) -> None:
        """
        Get ledger, log and other refs of the remote in one go.

        Args:
            refs: refspecs, such as `+refs/pull/7/head:refs/rpac/pull/7`.

        Raises:
            HistoryError: the remote cannot be read, or has no such ref.
        """
        self._remote.fetch_branches(*refs)

    def write(
        self, subject: str, decide: Callable[[LedgerView], Sequence[SourceFile]]
    ) -> Sequence[SourceFile]:
        """
        Add files, decided on what the ledger holds at that very moment.

        Args:
            subject: of the commit.
            decide: what to write; asked again when another writer was faster. Nothing is written
                when it returns nothing, or raises.

        Returns:
            What was written.

        Raises:
            HistoryError: the remote refuses or stays away; nothing was written as far as known.
        """
        deadline = time.monotonic() + self._limit_s
        tries = 0
        while True:
            view = self.view()
            files = decide(view)
            if not files:
                return files
            commit = self._commit(subject, files, view.tip)
            update = Update(LEDGER_REF, commit, view.tip or "")
            try:
                refused = self._remote.push([update], atomic=False)
            except HistoryError as exc:
                # the answer may be what was lost, not the push
                self.fetch()
                if self._holds(files):
                    return files
                if "returned error: 403" in exc.message:
                    raise HistoryError(exc.message, hint=_MAY_NOT_WRITE) from exc
                raise
            if not refused:
                name = _BRANCH.format(self._remote.name)
                self._git.run("update-ref", "-m", "rpac: ledger", name, commit)
                return files
            if time.monotonic() > deadline:
                raise HistoryError(
                    f"the ledger kept moving for {self._limit_s:.0f} s", hint="nothing was written"
                )
            tries += 1
            time.sleep(_random.uniform(0, min(1.0, 0.02 * 2 ** min(tries, 6))))
            self.fetch()
            if self._holds(files):  # the push was sent twice, and its first answer lost
                return files

    def _holds(self, files: Sequence[SourceFile]) -> bool:
        view = self.view()
        return all(view.read(file.path) == file.content for file in files)

    def _commit(self, subject: str, files: Sequence[SourceFile], tip: str | None) -> str:
        commit = NewCommit(
            committer=f"{who(self._git)} {int(time.time())} +0000".encode(),
            message=f"{subject}\n".encode(),
            changes=[put(file.path, file.content, file.mode) for file in files],
            parent=tip,
        )
        return chain(self._git.run, [commit])[0]


def who(git: Git) -> str:
    """Who commits, as git has it; the same rules as for the log."""
    ident = git.maybe("var", "GIT_COMMITTER_IDENT") or ""
    match = re.match(r"[^<>\n]*<[^<>\n]*>", ident)
    return match[0] if match else "rpac <rpac@localhost>"


def recent_runs(view: LedgerView) -> dict[str, tuple[Dispatch, Settlement | None]]:
    """Runs of this month and the last that had any."""
    return {run: found for month in view.months()[:2] for run, found in view.runs(month).items()}


def open_dispatches(view: LedgerView) -> dict[str, Dispatch]:
    """Runs that were dispatched and not settled."""
    return {run: dispatch for run, (dispatch, settled) in recent_runs(view).items() if not settled}
