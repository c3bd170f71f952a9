"""The inbox of a remote: sent by anybody, folded once, nothing lost and nothing overwritten."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rpac_ci import collector, inbox
from rpac_ci.collector import collect
from rpac_ci.errors import HistoryError
from rpac_ci.fast_import import NewCommit, link, orphans
from rpac_ci.git import Git
from rpac_ci.inbox import push
from rpac_ci.log_entries import MAX_RUN_BYTES
from rpac_ci.log_paths import LOG_REF
from rpac_ci.log_remote import CONFLICT, INBOX, QUARANTINE
from rpac_ci.reproduction_log import Entry, ReproductionLog
from tests.conftest import git
from tests.entries import (
    LATER,
    RUN,
    acceptance,
    amendment,
    contents,
    expected,
    make_bare,
    make_clone,
    run_entry,
)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return make_bare(tmp_path / "shared")


@pytest.fixture
def clone(bare: Path, tmp_path: Path) -> Git:
    return Git(make_clone(bare, tmp_path / "one"))


@pytest.fixture
def other(bare: Path, tmp_path: Path) -> Git:
    return Git(make_clone(bare, tmp_path / "two"))


def add(clone: Git, *entries: Entry) -> str:
    return [ReproductionLog(clone).add(entry) for entry in entries][-1]


def refs(root: Path, below: str = "refs/") -> dict[str, str]:
    out = git(root, "for-each-ref", "--format=%(refname) %(objectname)", below)
    return dict(line.split() for line in out.splitlines())


def hook(bare: Path, name: str, text: str = "exit 1") -> None:
    path = bare / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def forge(clone: Git, name: str, files: dict[str, tuple[str, bytes]], **changes: object) -> str:
    """Push any files to the inbox under any name; returns the commit."""
    links = []
    for path, (mode, content) in files.items():
        oid = clone.run("hash-object", "-w", "--stdin", stdin=content).decode().strip()
        links.append(link(path, oid, mode))
    commit = NewCommit(committer=b"a <a@b> 1767322800 +0000", message=b"forged\n", changes=links)
    [oid] = orphans(clone.run, [replace(commit, **changes)])  # type: ignore[arg-type]
    git(clone.root, "push", "--quiet", "origin", f"{oid}:{INBOX}{name}")
    return oid


def files_of(entry: Entry) -> dict[str, tuple[str, bytes]]:
    return {path: ("100644", content) for path, content in expected(entry).items()}


# --- push ---------------------------------------------------------------------------------------


def test_every_entry_gets_a_ref_of_its_own_with_its_files_alone(clone: Git, bare: Path) -> None:
    entries = {
        RUN: run_entry(),
        LATER: run_entry(LATER),
        f"accepted-{RUN}": acceptance(),
        f"amendment-{RUN}-1": amendment(),
    }
    add(clone, *entries.values())
    told: list[str] = []
    pushed = push(clone, notify=told.append)
    assert set(pushed.sent) == set(entries)
    assert told == ["4 to the inbox of origin"]
    assert set(refs(bare)) == {INBOX + name for name in entries}
    for name, entry in entries.items():
        assert contents(bare, INBOX + name) == expected(entry)
        assert git(bare, "rev-list", "--count", INBOX + name) == "1"
    script = f"{INBOX}{RUN}:{run_entry().folder}/source/main.py"
    assert git(bare, "show", script).startswith("import json")
    assert git(bare, "ls-tree", "-r", INBOX + RUN).count("100755") == 1


def test_message_and_date_are_those_of_the_log(clone: Git, bare: Path) -> None:
    entry = run_entry()
    commit = add(clone, entry)
    push(clone)
    form = "--format=%cn <%ce> %ci%n%B"
    assert git(bare, "log", "-1", form, INBOX + RUN) == git(clone.root, "log", "-1", form, commit)


def test_equal_logs_make_equal_commits_and_sending_twice_is_harmless(
    clone: Git, other: Git, bare: Path
) -> None:
    add(clone, run_entry(), run_entry(LATER))
    git(other.root, "fetch", "--quiet", str(clone.root), f"{LOG_REF}:{LOG_REF}")
    push(clone)
    before = refs(bare)
    pushed = push(other)
    assert (pushed.sent, sorted(pushed.waiting)) == ([], [RUN, LATER])
    assert push(clone).waiting == pushed.waiting
    assert refs(bare) == before
    for name, oid in before.items():
        git(bare, "update-ref", "-d", name)
        assert push(other).sent == [name.removeprefix(INBOX)]
        assert refs(bare) == before, oid


def test_the_same_documents_at_another_time_are_the_same_run(clone: Git, other: Git) -> None:
    add(clone, run_entry())
    git(other.root, "config", "user.name", "Somebody Else")
    add(other, run_entry(report_md=b"drawn by another version"))
    push(clone)
    pushed = push(other)
    assert (pushed.waiting, pushed.conflicts) == ([RUN], [])


def test_other_documents_in_the_inbox_are_told_and_not_overwritten(
    clone: Git, other: Git, bare: Path
) -> None:
    add(clone, run_entry())
    add(other, run_entry(pipeline_yaml=b'"id": "other"\n'), run_entry(LATER))
    push(clone)
    before = refs(bare)[INBOX + RUN]
    pushed = push(other)
    assert (pushed.sent, pushed.conflicts, pushed.moved) == ([LATER], [RUN], False)
    assert refs(bare)[INBOX + RUN] == before


def test_other_documents_in_the_log_are_told_and_kept_locally(clone: Git, other: Git) -> None:
    add(clone, run_entry())
    tip = add(other, run_entry(pipeline_yaml=b'"id": "other"\n'))
    push(clone)
    collect(clone)
    pushed = push(other)
    assert (pushed.sent, pushed.conflicts, pushed.moved) == ([], [RUN], False)
    assert other.resolve(LOG_REF) == tip


def test_the_local_log_goes_on_from_the_remotes(clone: Git, other: Git, bare: Path) -> None:
    add(clone, run_entry())
    add(other, run_entry(LATER))
    assert not push(clone).moved
    push(other)
    assert sorted(collect(other).added) == [RUN, LATER]
    assert push(clone).moved
    tip = git(bare, "rev-parse", LOG_REF)
    assert refs(clone.root, "refs/heads/rpac")[LOG_REF] == tip
    assert refs(clone.root, "refs/remotes/origin/rpac")["refs/remotes/origin/rpac/log"] == tip
    assert not push(clone).moved, "once is enough"
    run = "20260304T050607Z-22222222"
    add(clone, run_entry(run))
    assert push(clone).sent == [run], "and nothing else"


def test_a_run_added_while_it_is_sent_is_not_lost(
    clone: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(clone, run_entry())
    push(clone)
    collect(clone)
    go_on = inbox._go_on_from

    def late(*args: object) -> bool:
        add(clone, run_entry(LATER))
        return go_on(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(inbox, "_go_on_from", late)
    assert not push(clone).moved
    assert [path.run for path in ReproductionLog(clone).runs()] == [RUN, LATER]
    monkeypatch.undo()
    assert push(clone).sent == [LATER]


def test_only_the_log_is_fetched(clone: Git, other: Git) -> None:
    add(other, run_entry())
    push(other)
    collect(other)
    git(other.root, "commit", "--quiet", "--allow-empty", "-m", "elsewhere")
    git(other.root, "tag", "-a", "v1", "-m", "v1", "rpac/log")
    git(other.root, "push", "--quiet", "origin", "HEAD:topic", "v1")
    add(clone, run_entry(LATER))
    push(clone)
    assert set(refs(clone.root)) == {LOG_REF, "refs/remotes/origin/rpac/log"}
    assert not (clone.root / ".git" / "FETCH_HEAD").exists()


def test_an_empty_log_sends_nothing(clone: Git, bare: Path) -> None:
    pushed = push(clone)
    assert (pushed.sent, pushed.waiting, refs(bare)) == ([], [], {})


def test_what_no_collector_would_take_is_not_sent(clone: Git, bare: Path) -> None:
    add(
        clone,
        run_entry(record_json=b"<html>"),
        Entry(folder="notes", files={"a.json": b"{}"}, subject="s", trailers=[], source={}),
    )
    pushed = push(clone)
    assert set(pushed.unfit) == {RUN, "notes/a.json"}
    assert "is not JSON" in pushed.unfit[RUN][0]
    assert (refs(bare), pushed.sent) == ({}, [])


def test_what_is_in_quarantine_is_not_sent_again(clone: Git, bare: Path) -> None:
    add(clone, run_entry())
    push(clone)
    git(bare, "update-ref", QUARANTINE + RUN, INBOX + RUN)
    git(bare, "update-ref", "-d", INBOX + RUN)
    pushed = push(clone)
    assert (pushed.sent, list(pushed.unfit)) == ([], [RUN])
    assert "quarantine" in pushed.unfit[RUN][0]


def test_a_log_that_lost_runs_is_told(clone: Git, bare: Path) -> None:
    add(clone, run_entry(), run_entry(LATER))
    push(clone)
    collect(clone)
    push(clone)
    empty = git(bare, "commit-tree", "-m", "rewritten", git(bare, "mktree", "--missing"))
    git(bare, "update-ref", LOG_REF, empty)
    before = refs(clone.root)
    with pytest.raises(HistoryError, match="rpac/log on origin was rewritten: reports/"):
        push(clone)
    assert refs(clone.root) == before


def test_many_refs_go_in_several_pushes(
    clone: Git, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("inbox", "collector"):
        monkeypatch.setattr(f"rpac_ci.{module}.BATCH", 3)
    runs = [f"20260101T00000{n}Z-00000000" for n in range(7)]
    add(clone, *(run_entry(run) for run in runs))
    assert push(clone).sent == runs
    assert collect(clone).added == runs
    assert contents(bare, LOG_REF) == expected(*(run_entry(run) for run in runs))


# --- remotes that do not want -------------------------------------------------------------------


@pytest.mark.parametrize("act", [push, collect])
def test_a_remote_that_is_not_there_is_told(
    clone: Git, act: Callable[..., object], tmp_path: Path
) -> None:
    add(clone, run_entry())
    for name in ("upstream", "", "--all"):
        with pytest.raises(HistoryError, match=f"there is no remote '{name}'") as caught:
            act(clone, name)
        assert "git remote" in caught.value.hint
    git(clone.root, "remote", "set-url", "origin", (tmp_path / "gone").as_uri())
    with pytest.raises(HistoryError, match=r"origin cannot be used: .*gone") as caught:
        act(clone)
    assert "git ls-remote origin" in caught.value.hint


@pytest.mark.parametrize("name", ["update", "pre-receive"])
def test_a_remote_that_takes_no_runs_is_told_with_its_words(
    clone: Git, bare: Path, name: str
) -> None:
    add(clone, run_entry(), run_entry(LATER))
    hook(bare, name, "echo 'ask the office for access' >&2; exit 1")
    with pytest.raises(HistoryError, match=r"origin refuses .*ask the office") as caught:
        push(clone)
    assert "hook declined" in caught.value.message
    assert "refs/rpac/*" in caught.value.hint
    (bare / "hooks" / name).unlink()
    assert push(clone).sent == [RUN, LATER]


def test_a_protected_log_is_told_and_nothing_is_lost(clone: Git, bare: Path) -> None:
    add(clone, run_entry())
    push(clone)
    hook(bare, "update", 'test "$1" != refs/heads/rpac/log')
    before = refs(bare)
    with pytest.raises(HistoryError, match=r"origin refuses refs/heads/rpac/log: .*declined"):
        collect(clone)
    assert refs(bare) == before
    (bare / "hooks" / "update").unlink()
    assert collect(clone).added == [RUN]


def test_a_remote_that_lets_nothing_be_removed_is_told(clone: Git, bare: Path) -> None:
    add(clone, run_entry())
    push(clone)
    hook(bare, "update", f"test $3 != {'0' * 40}")
    before = refs(bare)
    with pytest.raises(HistoryError, match=r"origin refuses refs/rpac/inbox/.*declined"):
        collect(clone)
    assert refs(bare) == before


def test_a_log_that_keeps_moving_is_tried_until_the_time_is_up(clone: Git, bare: Path) -> None:
    add(clone, run_entry())
    push(clone)
    git(clone.root, "push", "--quiet", "origin", "rpac/log:rpac/log")
    add(clone, run_entry(LATER))
    push(clone)
    # the server's own lock stands for a writer that is always first
    (bare / "refs" / "heads" / "rpac" / "log.lock").touch()
    with pytest.raises(HistoryError, match="the log of origin kept moving"):
        collect(clone, limit_s=0.3)
    (bare / "refs" / "heads" / "rpac" / "log.lock").unlink()
    collected = collect(clone)
    assert (collected.known, collected.added) == ([RUN], [LATER])


# --- collect ------------------------------------------------------------------------------------


def test_the_first_log_and_the_next(clone: Git, other: Git, bare: Path) -> None:
    add(clone, run_entry(LATER))
    push(clone)
    told: list[str] = []
    first = collect(clone, notify=told.append)
    assert (first.added, told) == ([LATER], ["1 from the inbox of origin"])
    entries = [run_entry(), acceptance(), amendment()]
    add(other, *entries)
    push(other)
    second = collect(clone)
    assert second.added == [RUN, f"amendment-{RUN}-1", f"accepted-{RUN}"], "in order of run ids"
    assert refs(bare) == {LOG_REF: second.tip}
    assert contents(bare, LOG_REF) == expected(run_entry(LATER), *entries)
    log = git(bare, "log", "--reverse", "--format=%an %s", LOG_REF).splitlines()
    assert [line.partition(" quick: ")[2] for line in log] == [
        "reproduced: identical (local, 1 node)", "reproduced: identical (local, 1 node)",
        f"cost of {RUN}", f"accept {RUN}",
    ]  # fmt: skip
    assert git(bare, "rev-list", "--count", "--min-parents=2", LOG_REF) == "0"
    modes = git(bare, "ls-tree", "-r", LOG_REF, f"{run_entry().folder}/source")
    assert modes.count("100755") == 1
    git(bare, "fsck", "--strict")


def test_an_empty_inbox_is_no_work(clone: Git, bare: Path) -> None:
    assert collect(clone).tip is None
    assert refs(bare) == {}


def test_nothing_but_objects_is_left_in_the_collectors_repository(clone: Git, other: Git) -> None:
    add(other, run_entry())
    push(other)
    (clone.root / ".git" / "index.lock").touch()
    collect(clone)
    assert set(refs(clone.root)) <= {"refs/remotes/origin/rpac/log"}
    kept = {path.name for path in (clone.root / ".git").iterdir()}
    assert not {name for name in kept if "crash" in name or name in ("FETCH_HEAD", "index")}
    assert list(clone.root.iterdir()) == [clone.root / ".git"]


def test_a_run_that_is_in_the_log_only_leaves_the_inbox(clone: Git, other: Git, bare: Path) -> None:
    add(clone, run_entry())
    push(clone)
    tip = collect(clone).tip
    forge(other, RUN, files_of(run_entry(report_md=b"drawn anew")))
    again = collect(clone)
    assert (again.known, again.added, again.tip) == ([RUN], [], tip)
    assert refs(bare) == {LOG_REF: tip}


def test_what_the_log_lacks_of_a_known_run_is_added_and_nothing_changed(
    clone: Git, bare: Path
) -> None:
    part = run_entry(pipeline_yaml=None)
    add(clone, part)
    git(clone.root, "push", "--quiet", "origin", "rpac/log")
    forge(clone, RUN, files_of(run_entry(report_md=b"drawn anew")))
    assert collect(clone).added == [RUN]
    assert contents(bare, LOG_REF) == expected(run_entry())


def test_other_documents_of_a_known_run_are_kept_apart(clone: Git, bare: Path) -> None:
    add(clone, run_entry())
    push(clone)
    tip = collect(clone).tip
    changed = [files_of(run_entry(pipeline_yaml=b"%d" % n)) for n in range(2)]
    oids = [forge(clone, RUN, changed[0])]
    assert collect(clone).conflicts == [RUN]
    assert refs(bare) == {LOG_REF: tip, CONFLICT + RUN: oids[0]}
    forge(clone, RUN, changed[0])
    assert collect(clone).conflicts == [RUN], "the same again"
    oids.append(forge(clone, RUN, changed[1]))
    assert collect(clone).conflicts == [RUN], "and another one"
    assert set(refs(bare).values()) == {tip, *oids}
    assert contents(bare, LOG_REF) == expected(run_entry())


def test_a_run_of_another_experiment_is_a_conflict(clone: Git, bare: Path) -> None:
    add(clone, run_entry())
    push(clone)
    collect(clone)
    forge(clone, RUN, files_of(run_entry(experiment="slow")))
    assert collect(clone).conflicts == [RUN]
    assert contents(bare, LOG_REF) == expected(run_entry())


FOLDER = run_entry().folder
GOOD = files_of(run_entry())


def changed(path: str, content: bytes = b"x", mode: str = "100644") -> dict[str, tuple[str, bytes]]:
    return {**GOOD, f"{FOLDER}/{path}": (mode, content)}


UNFIT: dict[str, tuple[str, dict[str, tuple[str, bytes]], str]] = {
    "a name": ("notes", GOOD, "is not the name of a run"),
    "a name with a slash": (f"{RUN}/x", GOOD, "is not the name of a run"),
    "a file elsewhere": (RUN, {**GOOD, "README.md": ("100644", b"")}, "does not belong to"),
    "another run": (LATER, GOOD, "does not belong to"),
    "another month": (
        RUN, {p.replace("2026-01", "2026-02"): f for p, f in GOOD.items()}, "of another month",
    ),
    "an unknown file": (RUN, changed("setup.sh"), "does not belong to"),
    "a page as figure": (RUN, changed("figures/a.html"), "does not belong to"),
    "an amendment in a run": (RUN, changed("amendments/1.json"), "does not belong to"),
    "a link": (RUN, changed("source/link", b"/etc/passwd", "120000"), "not a regular file: 120000"),
    "a control character": (RUN, changed("source/a\x1b[2J"), "not a path that every system"),
    "a line break": (RUN, changed("source/a\nb"), "not a path that every system"),
    "gits own folder": (RUN, changed("source/.GIT/config"), "not a path that every system"),
    "too much": (RUN, changed("report.md", b"x" * MAX_RUN_BYTES), "beside the source, at most"),
    "no pipeline": (
        RUN, {p: f for p, f in GOOD.items() if "pipeline" not in p}, "pipeline.yaml is missing",
    ),
    "no JSON": (RUN, changed("record.json", b"{"), "record.json is not JSON"),
    "no number": (RUN, changed("record.json", b'{"a": NaN}'), "NaN is not a JSON number"),
    "no end": (RUN, changed("record.json", b"[" * 100_000), "record.json is not JSON"),
    "no object": (RUN, changed("record.json", b"[]"), "is not a JSON object"),
    "another schema": (RUN, changed("record.json", b'{"schema": "x"}'), "has the schema 'x'"),
    "another run in the record": (
        RUN, changed("record.json", run_entry(LATER).files["record.json"]), "names the run '2026",
    ),
    "another experiment in the record": (
        RUN,
        changed("record.json", run_entry(experiment="slow").files["record.json"]),
        "names the experiment 'slow', expected 'quick'",
    ),
    "two experiments": (
        RUN,
        {**GOOD, f"{FOLDER.replace('quick', 'slow')}/report.md": ("100644", b"")},
        "several experiments",
    ),
    "an acceptance of another": (
        f"accepted-{RUN}",
        {f"reports/quick/accepted/{RUN}.json": ("100644", b'{"schema": "rpac/acceptance/1"}')},
        "names the run None",
    ),
    "no files": (RUN, {}, "it has no files"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", UNFIT)
def test_what_is_unfit_is_kept_apart_and_stops_nobody(clone: Git, bare: Path, what: str) -> None:
    name, files, reason = UNFIT[what]
    oid = forge(clone, name, files)
    forge(clone, "20260505T050505Z-55555555", files_of(run_entry("20260505T050505Z-55555555")))
    collected = collect(clone)
    assert collected.added == ["20260505T050505Z-55555555"]
    assert reason in "\n".join(collected.quarantined[name])
    kept = refs(bare, QUARANTINE)
    assert kept == {QUARANTINE + (oid if "/" in name else name): oid}
    assert contents(bare, LOG_REF) == expected(run_entry("20260505T050505Z-55555555"))
    assert not refs(bare, INBOX)


def test_a_big_source_is_no_hindrance(clone: Git) -> None:
    forge(clone, RUN, changed("source/table.csv", b"x" * 2 * MAX_RUN_BYTES))
    assert collect(clone).added == [RUN]


def tag(clone: Git, oid: str) -> str:
    git(clone.root, "tag", "-a", "-m", "a tag", "tagged", oid)
    return git(clone.root, "rev-parse", "tagged")


def child(clone: Git, oid: str) -> str:
    return git(clone.root, "commit-tree", "-m", "child", "-p", oid, f"{oid}^{{tree}}")


def tree(clone: Git, oid: str) -> str:
    return git(clone.root, "rev-parse", f"{oid}^{{tree}}")


def raw_commit(clone: Git, oid: str, committer: bytes, message: bytes) -> str:
    text = b"tree %s\nauthor a <a@b> 1 +0000\n%s\n\n%s" % (
        tree(clone, oid).encode(), committer, message,
    )  # fmt: skip
    argv = ("hash-object", "-t", "commit", "-w", "--literally", "--stdin")
    return clone.run(*argv, stdin=text).decode().strip()


def control(clone: Git, oid: str) -> str:
    return raw_commit(clone, oid, b"committer a <a@b> 1 +0000", b"\x1b[2Jgone\n")


def nobody(clone: Git, oid: str) -> str:
    return raw_commit(clone, oid, b"committer a <a@b> soon", b"m\n")


def far_east(clone: Git, oid: str) -> str:
    return raw_commit(clone, oid, b"committer a <a@b> 1 +9900", b"m\n")


def no_space(clone: Git, oid: str) -> str:
    return raw_commit(clone, oid, b"committer a<a@b> 1 +0000", b"m\n")


def mode_of_a_module(clone: Git, oid: str) -> str:
    stdin = f"160000 commit {oid}\tsource\n".encode()
    found = clone.run("mktree", "--missing", stdin=stdin).decode().strip()
    return git(clone.root, "commit-tree", "-m", "module", found)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (tag, "not a commit"),
        (tree, "not a commit"),
        (child, "has parents"),
        (control, "not plain text"),
        (nobody, "does not say who made it"),
        (far_east, "does not say who made it"),
        (no_space, "does not say who made it"),
        (mode_of_a_module, "does not belong to"),
    ],
)
def test_objects_of_other_kinds_are_kept_apart(
    clone: Git, bare: Path, make: Callable[[Git, str], str], reason: str
) -> None:
    good = forge(clone, RUN, GOOD)
    bad = make(clone, good)
    git(clone.root, "push", "--quiet", "origin", f"{bad}:{INBOX}{LATER}")
    collected = collect(clone)
    assert collected.added == [RUN]
    assert reason in collected.quarantined[LATER][0]
    assert refs(bare, QUARANTINE) == {QUARANTINE + LATER: bad}


def test_a_ref_that_changes_while_it_is_folded_is_not_removed(
    clone: Git, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(clone, RUN, GOOD)
    fold, newer = collector._fold, list[str]()

    def slowly(*args: object) -> str | None:
        if not newer:
            git(bare, "update-ref", "-d", INBOX + RUN)
            newer.append(forge(clone, RUN, files_of(run_entry(pipeline_yaml=b"newer"))))
        return fold(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(collector, "_fold", slowly)
    collected = collect(clone)
    assert (collected.added, collected.retries) == ([RUN], 1)
    assert contents(bare, LOG_REF)[f"{FOLDER}/pipeline.yaml"] == b"newer"


def test_a_log_that_moves_while_it_is_folded_is_fetched_again(
    clone: Git, other: Git, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(clone, LATER, files_of(run_entry(LATER)))
    fold, calls = collector._fold, list[int]()

    def slowly(*args: object) -> str | None:
        calls.append(1)
        if len(calls) == 1:
            forge(other, RUN, GOOD)
            assert collect(other).added == [RUN, LATER]
            forge(other, LATER, files_of(run_entry(LATER)))
        return fold(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(collector, "_fold", slowly)
    collected = collect(clone)
    assert (collected.known, collected.retries) == ([LATER], 1)
    assert contents(bare, LOG_REF) == expected(run_entry(), run_entry(LATER))


# --- repositories of every kind -----------------------------------------------------------------


def test_hooks_and_names_of_the_local_repository_do_not_matter(
    clone: Git, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pre-push", "reference-transaction", "post-checkout", "pre-auto-gc",
                 "post-update", "post-rewrite", "pre-commit", "push-to-checkout"):  # fmt: skip
        hook(clone.root / ".git", name, f"touch {tmp_path}/ran; exit 1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git(clone.root, "config", "user.useConfigOnly", "true")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "EMAIL",
                 "GIT_COMMITTER_EMAIL"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    add(clone, run_entry())
    (clone.root / ".git" / "index.lock").touch()
    push(clone)
    assert collect(clone).added == [RUN]
    assert push(clone).sent == []
    assert not (tmp_path / "ran").exists()
    assert git(bare, "log", "-1", "--format=%cn %ae", LOG_REF) == "rpac rpac@localhost"


def test_a_shallow_clone_sends_and_collects(clone: Git, bare: Path, tmp_path: Path) -> None:
    git(clone.root, "commit", "--quiet", "--allow-empty", "-m", "one")
    git(clone.root, "commit", "--quiet", "--allow-empty", "-m", "two")
    git(clone.root, "push", "--quiet", "origin", "HEAD:main")
    add(clone, run_entry(), run_entry(LATER))
    push(clone)
    collect(clone)
    shallow = Git(make_clone(bare, tmp_path / "shallow", "--depth=1", "--branch=main"))
    git(
        shallow.root,
        "fetch",
        "--quiet",
        "--depth=1",
        "origin",
        "rpac/log:refs/remotes/origin/rpac/log",
    )
    run = "20260304T050607Z-22222222"
    add(shallow, run_entry(run))
    assert push(shallow).sent == [run]
    assert collect(shallow).added == [run]
    assert not push(shallow).conflicts
    assert git(bare, "rev-list", "--count", LOG_REF) == "3"
    assert contents(bare, LOG_REF) == expected(run_entry(), run_entry(LATER), run_entry(run))
    git(bare, "fsck", "--strict")


def test_a_bare_repository_or_a_worktree_will_do(clone: Git, bare: Path, tmp_path: Path) -> None:
    git(clone.root, "commit", "--quiet", "--allow-empty", "-m", "one")
    git(clone.root, "worktree", "add", "--quiet", "-b", "topic", str(tmp_path / "tree"))
    add(Git(tmp_path / "tree"), run_entry())
    assert push(Git(tmp_path / "tree")).sent == [RUN]
    server = tmp_path / "server"
    git(tmp_path, "clone", "--quiet", "--bare", bare.as_uri(), str(server))
    assert collect(Git(server)).added == [RUN]


def test_a_lock_that_a_killed_git_left_is_waited_out(
    clone: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpac_ci.ref_writer.STALE_S", 0.1)
    add(clone, run_entry(LATER), run_entry())
    push(clone)
    lock = clone.root / ".git" / "refs" / "remotes" / "origin" / "rpac" / "log.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    assert collect(clone).added == [RUN, LATER], "it writes no ref here"
    assert lock.exists()
    assert push(clone).moved
    assert not lock.exists()


def test_the_settings_of_the_user_do_not_matter(clone: Git, bare: Path, tmp_path: Path) -> None:
    for key, value in {
        "push.followTags": "true", "fetch.prune": "true", "push.gpgSign": "if-asked",
        "push.default": "nothing", "log.showRoot": "false", "diff.renames": "copies",
        "transfer.unpackLimit": "1", "core.quotePath": "true", "fetch.parallel": "4",
    }.items():  # fmt: skip
        git(clone.root, "config", key, value)
    git(clone.root, "commit", "--quiet", "--allow-empty", "-m", "one")
    git(clone.root, "tag", "-a", "v1", "-m", "v1")
    add(clone, run_entry(), run_entry(LATER))
    assert push(clone).sent == [RUN, LATER]
    assert collect(clone).added == [RUN, LATER]
    assert set(refs(bare)) == {LOG_REF}
    assert subprocess.run(["git", "-C", bare, "fsck"], check=True).returncode == 0
