"""The ledger: what is written once, by whoever was first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rpac_ci.bot.ledger import (
    LEDGER_REF,
    Ledger,
    LedgerView,
    handled_path,
    open_dispatches,
    plain,
    run_folder,
    ticket_files,
)
from rpac_ci.bot.tickets import Dispatch, Handled, Settlement, Ticket
from rpac_ci.canonical import digest
from rpac_ci.errors import HistoryError
from rpac_ci.git import Git
from rpac_ci.origins import dispatched, planned_pipeline
from rpac_ci.source_trees import SourceFile, SourceTree, make
from tests.conftest import git

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN, OTHER = "20260102T030405Z-0000000a", "20260102T030406Z-0000000b"
SOURCE = make([SourceFile("main.py", False, b"print(1)\n"), SourceFile("go.sh", True, b"x\n")])


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository with one commit on main."""
    root = tmp_path / "remote.git"
    root.mkdir()
    git(root, "init", "--quiet", "--bare")
    seed = tmp_path / "seed"
    git(tmp_path, "clone", "--quiet", str(root), str(seed))
    git(seed, "commit", "--quiet", "--allow-empty", "--message", "start")
    git(seed, "push", "--quiet", "origin", "HEAD:main")
    return root


@pytest.fixture
def clone(remote: Path, tmp_path: Path) -> Callable[[str], Git]:
    def make_clone(name: str) -> Git:
        git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{remote}", name)
        return Git(tmp_path / name)

    return make_clone


def ticket(**changes: object) -> Ticket:
    fields: dict[str, object] = {
        "repository": 7, "pull": 1, "comment": 11, "requester": 9, "words": "/reproduce quick",
        "experiment": "quick", "target": "quick", "head": "a" * 40, "base": "main",
        "tree": "b" * 64, "pipeline": "sha256:" + "c" * 64, "science": "sha256:" + "d" * 64,
        "cloud": "local", "region": None, "machine": None, "image": None, "nodes": 1,
        "cost_low": 0.0, "cost_high": 0.0, "cost_limit": None, "minutes": 46,
        "made_at": "2026-01-02T03:04:05.000Z",
        "created": {"pipeline": "sha256:" + "c" * 64},
    }  # fmt: skip
    return Ticket.model_validate(fields | changes).signed()


def dispatch(run: str = RUN, **changes: object) -> Dispatch:
    fields: dict[str, object] = {
        "run": run, "ticket": "0" * 16, "experiment": "quick", "cloud": "aws", "pull": 1,
        "issue": 1, "comment": 11, "actor": 9, "reserved_usd": 5.0,
        "at": "2026-01-02T03:04:05.000Z", "minutes": 46, "workflow_run": 42,
    }  # fmt: skip
    return Dispatch.model_validate(fields | changes)


def sent(one: Dispatch) -> SourceFile:
    return plain(f"{run_folder(one.run)}/dispatch.json", one.to_bytes())


def write(ledger: Ledger, *files: SourceFile) -> None:
    ledger.write("test", lambda _: files)


def test_an_empty_ledger_knows_nothing(clone: Callable[[str], Git]) -> None:
    ledger = Ledger(clone("one"))
    ledger.fetch()
    view = ledger.view()
    assert view.tip is None
    assert view.ticket("0" * 16) is None
    assert view.handled(11, NOW) is None
    assert view.spending("2026-01").month == 0
    assert open_dispatches(view) == {}


def test_what_one_clone_writes_another_one_reads(clone: Callable[[str], Git]) -> None:
    one, two = Ledger(clone("one")), Ledger(clone("two"))
    asked = ticket()
    write(one, *ticket_files(asked, b"pipeline\n", SOURCE), sent(dispatch()))
    two.fetch()
    view = two.view()
    assert view.ticket(asked.id) == asked
    assert view.pipeline(asked.id) == b"pipeline\n"
    assert view.source(asked.id).sha256 == SOURCE.sha256
    assert view.dispatch(RUN) == dispatch()
    assert view.settled(RUN) is None


def test_a_shallow_clone_stays_shallow_and_a_whole_one_whole(
    clone: Callable[[str], Git], remote: Path, tmp_path: Path
) -> None:
    write(Ledger(clone("one")), sent(dispatch()))
    whole = tmp_path / "whole"
    git(tmp_path, "clone", "--quiet", str(remote), str(whole))
    Ledger(Git(whole)).fetch()
    assert git(whole, "rev-parse", "--is-shallow-repository") == "false"


def test_nothing_is_pushed_when_there_is_nothing_to_write(
    clone: Callable[[str], Git], remote: Path
) -> None:
    write(Ledger(clone("one")))
    assert Git(remote).resolve(LEDGER_REF) is None


def test_a_writer_that_was_slower_decides_again(clone: Callable[[str], Git]) -> None:
    slow, fast = Ledger(clone("slow")), Ledger(clone("fast"))
    seen: list[bool] = []

    def decide(view: LedgerView) -> Sequence[SourceFile]:
        if not seen:
            write(fast, sent(dispatch()))
        seen.append(view.dispatch(RUN) is not None)
        return [] if seen[-1] else [sent(dispatch(actor=10))]

    slow.fetch()
    slow.write("test", decide)
    assert seen == [False, True]
    assert slow.view().dispatch(RUN) == dispatch()


@pytest.mark.slow
def test_many_writers_reserve_no_more_than_there_is(
    clone: Callable[[str], Git],
) -> None:
    ledgers = [Ledger(clone(f"clone-{n}")) for n in range(6)]
    refused = []

    def reserve(number: int) -> None:
        one = dispatch(f"20260102T03040{number}Z-0000000a")

        def decide(view: LedgerView) -> Sequence[SourceFile]:
            if view.spending("2026-01").month + one.reserved_usd > 20:
                refused.append(number)
                return []
            return [sent(one)]

        ledgers[number].write("test", decide)

    threads = [threading.Thread(target=reserve, args=[n]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledgers[0].fetch()
    assert ledgers[0].view().spending("2026-01").month == 20
    assert len(set(refused)) == 2


def test_a_lost_answer_is_looked_up(
    clone: Callable[[str], Git], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(clone("one"))
    push = ledger._remote.push

    def unlucky(*args: object, **kwargs: object) -> dict[str, str]:
        push(*args, **kwargs)  # type: ignore[arg-type]
        raise HistoryError("the connection was lost")

    monkeypatch.setattr(ledger._remote, "push", unlucky)
    write(ledger, sent(dispatch()))
    assert ledger.view().dispatch(RUN) == dispatch()


def test_a_refusal_is_told(clone: Callable[[str], Git], remote: Path) -> None:
    git(remote, "config", "receive.denyCreates", "true")
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho protected; exit 1\n")
    hook.chmod(0o755)
    with pytest.raises(HistoryError, match="refuses"):
        write(Ledger(clone("one")), sent(dispatch()))


def test_spending_is_what_was_settled_and_else_the_worst_case(clone: Callable[[str], Git]) -> None:
    ledger = Ledger(clone("one"))
    over = Settlement(run=RUN, outcome="reproduced: identical", cost_usd=1.5)
    unknown = Settlement(run=OTHER, outcome="could not run", cost_usd=None)
    write(
        ledger,
        sent(dispatch()),
        sent(dispatch(OTHER, actor=10, cloud="azure", reserved_usd=2.0)),
        plain(f"{run_folder(RUN)}/settled.json", over.to_bytes()),
        plain(f"{run_folder(OTHER)}/settled.json", unknown.to_bytes()),
    )
    spending = ledger.view().spending("2026-01")
    assert spending.month == 3.5
    assert spending.persons == {9: 1.5, 10: 2.0}
    assert spending.clouds == {"aws": 1.5, "azure": 2.0}
    assert ledger.view().spending("2026-02").month == 0
    assert open_dispatches(ledger.view()) == {}


def test_a_ticket_is_what_its_id_says(clone: Callable[[str], Git]) -> None:
    ledger = Ledger(clone("one"))
    asked = ticket()
    forged = asked.model_copy(update={"cost_high": 0.01, "id": asked.id})
    write(ledger, *ticket_files(forged, b"pipeline\n", SOURCE))
    with pytest.raises(HistoryError, match="another plan"):
        ledger.view().ticket(asked.id)


@pytest.mark.parametrize(
    "change",
    [
        {"head": "b" * 40}, {"pipeline": "sha256:" + "0" * 64}, {"cloud": "aws"},
        {"image": "x@sha256:" + "0" * 64}, {"cost_high": 1.0}, {"pull": 2}, {"comment": 12},
        {"repository": 8}, {"base": "other"},
    ],
)  # fmt: skip
def test_an_id_binds_everything(change: dict[str, object]) -> None:
    assert ticket(**change).id != ticket().id
    assert ticket().id == ticket().id


@pytest.mark.parametrize(
    "name", ["", "..", "../../x", "A" * 16, "0" * 15, "0" * 17, "0" * 16 + "\n"]
)
def test_no_other_name_finds_a_ticket(clone: Callable[[str], Git], name: str) -> None:
    ledger = Ledger(clone("one"))
    write(ledger, sent(dispatch()))
    assert ledger.view().ticket(name) is None


def test_a_newer_ledger_is_told_and_not_guessed(clone: Callable[[str], Git]) -> None:
    ledger = Ledger(clone("one"))
    path = handled_path(11, NOW)
    write(ledger, plain(path, b'{"schema": "rpac/handled/2"}\n'))
    with pytest.raises(HistoryError, match="cannot be read"):
        ledger.view().handled(11, NOW)


def test_a_comment_is_found_by_its_own_time(clone: Callable[[str], Git]) -> None:
    ledger = Ledger(clone("one"))
    done = Handled(
        comment=11, actor=9, at="2026-02-01T00:00:00.000Z", workflow_run=42,
        codes=["within-limits"], runs=[RUN], tickets=["0" * 16],
    )  # fmt: skip
    write(ledger, plain(handled_path(11, NOW), done.to_bytes()))
    assert ledger.view().handled(11, NOW) == done
    assert ledger.view().handled(12, NOW) is None


def test_a_source_keeps_its_executables(clone: Callable[[str], Git]) -> None:
    ledger = Ledger(clone("one"))
    asked = ticket()
    write(ledger, *ticket_files(asked, b"", SOURCE))
    found: SourceTree = ledger.view().source(asked.id)
    assert [(file.path, file.executable) for file in found.files] == [
        ("go.sh", True), ("main.py", False),
    ]  # fmt: skip


def test_what_the_bot_did_not_dispatch_has_no_origin_to_rely_on(
    clone: Callable[[str], Git],
) -> None:
    here = clone("one")
    assert dispatched(here) is None
    ledger = Ledger(here)
    asked = ticket()
    order = dispatch(ticket=asked.id)
    write(ledger, *ticket_files(asked, b"pipeline\n", SOURCE), sent(order))
    assert dispatched(here) == frozenset({RUN})
    assert planned_pipeline(here, RUN) == digest(b"pipeline\n")
    assert planned_pipeline(here, OTHER) is None
