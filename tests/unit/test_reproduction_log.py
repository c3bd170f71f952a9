"""The reproduction log: every run once, nothing ever changed, the user's branch left in peace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rpac_ci.errors import HistoryError, RunNotFoundError
from rpac_ci.fast_import import NewCommit, Runs, chain
from rpac_ci.git import Git
from rpac_ci.git_writing import GitWriter
from rpac_ci.log_paths import LOG_REF, run_folder
from rpac_ci.reproduction_log import Entry, ReproductionLog
from tests.conftest import ROOT, git

RUN = "20260102T030405Z-0a1b2c3d"
FILES = {"record.json": b"{}\n", "pipeline.yaml": b"id: quick\n", "figures/timeline.svg": b"<svg/>"}


def entry(
    run: str = RUN,
    files: Mapping[str, bytes] = FILES,
    source: Mapping[str, tuple[str, bytes]] | None = None,
    experiment: str = "quick",
) -> Entry:
    return Entry(
        folder=run_folder(experiment, run),
        files=files,
        subject=f"{experiment}: done",
        trailers=[("Rpac-Run", run), ("Rpac-Cloud", "local")],
        source={"main.py": ("100755", b"print(1)\n")} if source is None else source,
    )


@pytest.fixture
def log(repository: Path) -> ReproductionLog:
    return ReproductionLog(Git(repository))


def paths(root: Path, revision: str) -> list[str]:
    out = git(root, "ls-tree", "-r", "-z", "--name-only", revision)
    return [path for path in out.split("\0") if path]


# --- the log ------------------------------------------------------------------------------------


def test_the_first_run_makes_an_orphan_branch(log: ReproductionLog, repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    tip = log.add(entry())
    assert git(repository, "rev-parse", "rpac/log") == tip
    assert git(repository, "rev-list", "--count", "rpac/log") == "1"
    folder = "reports/quick/2026-01/" + RUN
    assert paths(repository, tip) == [
        f"{folder}/figures/timeline.svg",
        f"{folder}/pipeline.yaml",
        f"{folder}/record.json",
        f"{folder}/source/main.py",
    ]
    assert git(repository, "ls-tree", tip, f"{folder}/source/main.py").startswith("100755 ")
    said = git(repository, "log", "-1", "--format=%s|%(trailers:key=Rpac-Run,valueonly)", tip)
    assert said == f"quick: done|{RUN}"
    assert git(repository, "rev-parse", "HEAD") == head
    assert git(repository, "status", "--porcelain") == ""


def test_the_same_run_is_added_once(log: ReproductionLog, repository: Path) -> None:
    assert log.add(entry()) == log.add(entry())
    assert git(repository, "rev-list", "--count", "rpac/log") == "1"


def test_later_runs_leave_what_is_there(log: ReproductionLog, repository: Path) -> None:
    before = set(paths(repository, log.add(entry())))
    tip = log.add(entry(run="20260203T040506Z-11111111"))
    assert before < set(paths(repository, tip))
    changes = git(repository, "diff", "--name-status", f"{tip}^", tip).splitlines()
    assert {line[0] for line in changes} == {"A"}


@pytest.mark.parametrize(
    "files",
    [
        {**FILES, "record.json": b'{"other": 1}\n'},
        {"record.json": b'{"other": 1}\n'},
        {**FILES, "dirty.diff": b"sorts first", "record.json": b'{"other": 1}\n'},
        {"amendments/1.json": b"{}", "record.json": b'{"other": 1}\n'},
    ],
    ids=["with all others", "only this", "with a new file", "with a new document"],
)
def test_other_bytes_for_a_known_run_are_refused(
    log: ReproductionLog, repository: Path, files: dict[str, bytes]
) -> None:
    tip = log.add(entry())
    with pytest.raises(HistoryError, match="is in the log with other content"):
        log.add(entry(files=files))
    assert git(repository, "rev-parse", "rpac/log") == tip


def test_a_document_that_is_new_joins_and_the_first_of_the_others_stay(
    log: ReproductionLog, repository: Path
) -> None:
    log.add(entry())
    again = {"amendments/1.json": b"{}\n", "figures/timeline.svg": b"<svg>drawn anew</svg>"}
    tip = log.add(entry(files=again, source={"main.py": ("100644", b"other")}))
    folder = run_folder("quick", RUN)
    assert set(paths(repository, f"{tip}:{folder}")) == {
        *FILES, "amendments/1.json", "source/main.py",
    }  # fmt: skip
    assert git(repository, "show", f"{tip}:{folder}/figures/timeline.svg") == "<svg/>"
    assert git(repository, "show", f"{tip}:{folder}/source/main.py") == "print(1)"


def test_file_names_may_be_of_any_kind(log: ReproductionLog, repository: Path) -> None:
    names = ['figures/"quoted"\\.svg', "figures/größe ü.png", "figures/!\n.svg", "figures/ta\tb"]
    files = {**FILES, **{name: name.encode() for name in names}}
    source = dict.fromkeys(names, ("100644", b"x"))
    tip = log.add(entry(files=files, source=source))
    assert tip == log.add(entry(files=files, source=source))
    folder = run_folder("quick", RUN)
    expected = {*files, *(f"source/{name}" for name in names)}
    assert set(paths(repository, f"{tip}:{folder}")) == expected


def test_a_local_log_goes_on_from_the_fetched_one(log: ReproductionLog, repository: Path) -> None:
    remote = log.add(entry(run="20250101T000000Z-aaaaaaaa"))
    git(repository, "update-ref", "refs/remotes/origin/rpac/log", remote)
    git(repository, "update-ref", "-d", LOG_REF)
    tip = log.add(entry())
    assert git(repository, "rev-parse", f"{tip}^") == remote
    assert git(repository, "rev-parse", "refs/remotes/origin/rpac/log") == remote
    assert [run.run for run in log.runs()] == ["20250101T000000Z-aaaaaaaa", RUN]


def test_a_run_that_only_the_remote_has_is_not_added_again(
    log: ReproductionLog, repository: Path
) -> None:
    remote = log.add(entry())
    git(repository, "update-ref", "refs/remotes/origin/rpac/log", remote)
    git(repository, "update-ref", "-d", LOG_REF)
    assert log.add(entry()) == remote


def add_hook(repository: Path, name: str) -> None:
    hook = repository / ".git" / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho {name} >> ../hooks-that-ran\nexit 1\n")
    hook.chmod(0o755)


def test_hooks_of_the_repository_do_not_run(log: ReproductionLog, repository: Path) -> None:
    for name in ("pre-commit", "commit-msg", "reference-transaction", "post-checkout",
                 "post-index-change", "pre-receive"):  # fmt: skip
        add_hook(repository, name)
    log.add(entry())
    assert log.publish(entry())[1] == ""
    assert not (repository.parent / "hooks-that-ran").exists()


def test_nobody_needs_a_name_in_git(
    log: ReproductionLog, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git(repository, "config", "user.useConfigOnly", "true")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "EMAIL",
                 "GIT_COMMITTER_EMAIL"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    tip = log.add(entry())
    commit, remark = log.publish(entry())
    assert commit, remark
    for revision in (tip, commit):
        assert git(repository, "log", "-1", "--format=%cn <%ce>", revision) == (
            "rpac <rpac@localhost>"
        )


def test_the_users_name_is_used_whatever_its_letters(
    log: ReproductionLog, repository: Path
) -> None:
    git(repository, "config", "user.name", "Zoë <Z> Ünal")
    tip = log.add(entry())
    assert git(repository, "log", "-1", "--format=%cn", tip) == "Zoë Z Ünal"


ADD_FIVE = """\
import pathlib, sys
from rpac_ci.git import Git
from rpac_ci.git_writing import GitWriter
from rpac_ci.log_paths import run_folder
from rpac_ci.reproduction_log import Entry, ReproductionLog
writer, log = sys.argv[2], ReproductionLog(Git(pathlib.Path(sys.argv[1])))
sys.stdin.read(1)  # everybody starts at once
for number in range(5):
    run = f"2026010{writer}T00000{number}Z-0000000{writer}"
    added = Entry(folder=run_folder("quick", run), files={"record.json": run.encode()},
                  subject=run, trailers=[], source={})
    log.add(added)
    if "publish" in sys.argv:
        print(log.publish(added)[1])
"""


def at_once(repository: Path, writers: int, *words: str) -> list[str]:
    """What each of several processes says that add five runs each."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADD_FIVE, str(repository), str(number), *words],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(writers)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("!")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * writers
    return said


@pytest.mark.slow
def test_eight_processes_add_their_runs_at_once(log: ReproductionLog, repository: Path) -> None:
    at_once(repository, 8)
    runs = log.runs()
    assert len({run.run for run in runs}) == 40
    contents = [log.read(run, "record.json").decode() for run in runs]
    assert contents == [run.run for run in runs]
    assert git(repository, "rev-list", "--count", "rpac/log") == "40"
    git(repository, "fsck", "--strict")


# --- the branch that people read ----------------------------------------------------------------


def test_the_report_is_committed_to_the_current_branch(
    log: ReproductionLog, repository: Path
) -> None:
    before = git(repository, "rev-parse", "HEAD")
    commit, remark = log.publish(entry())
    assert remark == ""
    assert git(repository, "rev-parse", "HEAD") == commit
    assert git(repository, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert git(repository, "rev-parse", "HEAD^") == before
    folder = run_folder("quick", RUN)
    assert paths(repository, "HEAD") == sorted(f"{folder}/{name}" for name in FILES)
    for name, content in FILES.items():
        assert (repository / folder / name).read_bytes() == content
    assert git(repository, "status", "--porcelain") == ""
    assert log.publish(entry()) == (commit, ""), "once is enough"


def test_what_the_user_has_staged_or_edited_stays_as_it_was(
    log: ReproductionLog, repository: Path
) -> None:
    for name in ("staged", "edited", "both", "removed", "deleted"):
        (repository / name).write_text("committed")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "files")
    for name in ("staged", "both", "new"):
        (repository / name).write_text("staged")
    git(repository, "rm", "--quiet", "removed")
    git(repository, "add", "--all")
    for name in ("edited", "both", "untracked"):
        (repository / name).write_text("edited")
    (repository / "deleted").unlink()
    status = git(repository, "status", "--porcelain")
    staged = git(repository, "diff", "--cached")

    commit, remark = log.publish(entry())

    assert (commit is not None, remark) == (True, "")
    assert git(repository, "status", "--porcelain") == status
    assert git(repository, "diff", "--cached") == staged
    changed = git(repository, "show", "--name-status", "--format=", "HEAD").splitlines()
    assert len(changed) == 3
    assert all(line.startswith("A\treports/quick/") for line in changed)


def test_an_ignored_reports_folder_is_no_hindrance(log: ReproductionLog, repository: Path) -> None:
    (repository / ".gitignore").write_text("reports/\n")
    assert log.publish(entry())[1] == ""
    assert (repository / run_folder("quick", RUN) / "record.json").exists()


def test_a_worktree_has_a_branch_of_its_own(
    log: ReproductionLog, repository: Path, tmp_path: Path
) -> None:
    git(repository, "worktree", "add", "--quiet", "-b", "topic", str(tmp_path / "topic"))
    commit, remark = ReproductionLog(Git.discover(tmp_path / "topic")).publish(entry())
    assert (git(repository, "rev-parse", "topic"), remark) == (commit, "")
    assert git(tmp_path / "topic", "status", "--porcelain") == ""
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "rev-parse", "main") != commit


def conflict(root: Path) -> None:
    """Two branches that disagree about a file; `main` is checked out."""
    for branch, text in (("other", "1"), ("main", "2")):
        git(root, "checkout", "--quiet", "-B", branch)
        (root / "file").write_text(text)
        git(root, "add", "file")
        git(root, "commit", "--quiet", "-m", branch)
        if branch == "other":
            git(root, "checkout", "--quiet", "main")


def in_conflict(*command: str) -> Callable[[Path], None]:
    def prepare(root: Path) -> None:
        conflict(root)
        done = subprocess.run(["git", *command], cwd=root, check=False, capture_output=True)
        assert done.returncode

    return prepare


def unborn(root: Path) -> None:
    git(root, "checkout", "--quiet", "--orphan", "fresh")


def on_the_log(root: Path) -> None:
    git(root, "checkout", "--quiet", "-b", "rpac/log")


def detached(root: Path) -> None:
    git(root, "checkout", "--quiet", "--detach")


def locked(root: Path) -> None:
    (root / ".git" / "index.lock").touch()


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (detached, "detached"),
        (in_conflict("merge", "other"), "a merge is under way"),
        (in_conflict("rebase", "other"), "rebase|detached"),
        (in_conflict("cherry-pick", "other"), "a cherry-pick is under way"),
        (in_conflict("revert", "--no-edit", "other~0"), "a revert is under way"),
        (locked, "another git command is under way"),
        (unborn, "no commit yet"),
        (on_the_log, "the log itself"),
    ],
)
def test_a_branch_that_is_busy_is_left_alone(
    log: ReproductionLog, repository: Path, prepare: Callable[[Path], None], reason: str
) -> None:
    prepare(repository)
    refs = git(repository, "for-each-ref")
    status = subprocess.run(["git", "status"], cwd=repository, capture_output=True, check=True)
    commit, remark = log.publish(entry())
    assert commit is None
    assert any(word in remark for word in reason.split("|")), remark
    assert git(repository, "for-each-ref") == refs
    again = subprocess.run(["git", "status"], cwd=repository, capture_output=True, check=True)
    assert again.stdout == status.stdout
    assert log.add(entry()), "the log takes the run all the same"


def test_a_file_where_the_reports_should_be_is_not_replaced(
    log: ReproductionLog, repository: Path
) -> None:
    (repository / "reports").write_text("the user's own")
    git(repository, "add", "reports")
    git(repository, "commit", "--quiet", "-m", "a file")
    commit, remark = log.publish(entry())
    assert (commit, bool(remark)) == (None, True)
    assert paths(repository, "HEAD") == ["reports"]
    assert (repository / "reports").read_text() == "the user's own"


def test_another_commit_in_between_is_not_lost(
    log: ReproductionLog, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[str]()

    def slowly(run: Runs, commits: Sequence[NewCommit]) -> list[str]:
        if not calls:
            git(repository, "commit", "--quiet", "--allow-empty", "-m", "meanwhile")
        calls.append(str(commits[0].parent))
        return chain(run, commits)

    monkeypatch.setattr("rpac_ci.current_branch.chain", slowly)
    assert log.publish(entry())[1] == ""
    assert len(calls) == 2
    assert "meanwhile" in git(repository, "log", "--format=%s")


def test_a_git_command_that_is_soon_over_is_waited_for(
    log: ReproductionLog, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # otherwise the index would lack what the branch has, and the user's next commit remove it
    lock = repository / ".git" / "index.lock"

    def slowly(run: Runs, commits: Sequence[NewCommit]) -> list[str]:
        lock.touch()
        timer = threading.Timer(0.2, lock.unlink)
        timer.start()
        return chain(run, commits)

    monkeypatch.setattr("rpac_ci.current_branch.chain", slowly)
    assert log.publish(entry())[1] == ""
    assert git(repository, "status", "--porcelain") == ""


@pytest.mark.slow
def test_processes_that_publish_at_once_leave_a_clean_tree(
    log: ReproductionLog, repository: Path
) -> None:
    said = at_once(repository, 4, "publish")
    left_alone = "".join(said).split("\n").count("another git command is under way")
    reports = [path for path in paths(repository, "HEAD") if path.endswith("record.json")]
    assert len(reports) + left_alone == 20
    assert git(repository, "status", "--porcelain") == ""


# --- reading ------------------------------------------------------------------------------------


def test_an_empty_repository_has_an_empty_log(log: ReproductionLog) -> None:
    assert log.refs() == []
    assert log.runs() == []
    assert log.accepted("quick") == []
    with pytest.raises(RunNotFoundError, match="there is no run 'x'") as caught:
        log.find("x")
    assert "rpac history" in caught.value.hint


def test_runs_come_in_time_order_from_every_log_and_once(
    log: ReproductionLog, repository: Path
) -> None:
    runs = ["20260301T000000Z-cccccccc", "20250101T000000Z-dddddddd", "20260102T000000Z-aaaaaaaa"]
    tip = [log.add(entry(run=run)) for run in runs][-1]
    git(repository, "update-ref", "refs/remotes/origin/rpac/log", tip)
    git(repository, "update-ref", LOG_REF, f"{tip}^")
    log.add(entry(run="20260202T000000Z-bbbbbbbb", experiment="other"))
    found = log.runs()
    assert [run.run for run in found] == sorted([*runs, "20260202T000000Z-bbbbbbbb"])
    assert [run.ref for run in found].count("refs/remotes/origin/rpac/log") == 1
    assert [run.run for run in log.runs("other")] == ["20260202T000000Z-bbbbbbbb"]
    assert log.runs("oth") == []


def test_files_that_are_no_records_are_not_runs(log: ReproductionLog) -> None:
    log.add(entry(files={"plan.json": b"{}"}))
    log.add(
        Entry(
            folder="reports/quick/accepted", files={f"{RUN}.json": b"{}"}, subject="s",
            trailers=[], source={},
        )
    )  # fmt: skip
    assert log.runs() == []
    assert log.accepted("quick") == []
    log.add(entry(run="20260202T000000Z-bbbbbbbb"))
    assert [run.run for run in log.runs()] == ["20260202T000000Z-bbbbbbbb"]


def test_accepted_runs(log: ReproductionLog) -> None:
    for run in (RUN, "20260202T000000Z-bbbbbbbb"):
        log.add(entry(run=run))
    accepted = Entry(
        folder="reports/quick/accepted", files={f"{RUN}.json": b"{}"}, subject="s", trailers=[],
        source={},
    )  # fmt: skip
    log.add(accepted)
    assert [run.run for run in log.accepted("quick")] == [RUN]
    assert log.accepted("other") == []


TWINS = (RUN, "20260103T000000Z-ffffffff")


@pytest.mark.parametrize(
    ("words", "run"),
    [(RUN, RUN), ("0a1b2c3d", RUN), ("c3d", RUN), ("20260103", TWINS[1]), ("20260104", None)],
)
def test_a_run_is_found_by_its_beginning_or_end(
    log: ReproductionLog, words: str, run: str | None
) -> None:
    for name in TWINS:
        log.add(entry(run=name))
    log.add(entry(run="20260104T000000Z-00000000", experiment="other"))
    if run:
        assert log.find(words, "quick").run == run
    else:
        with pytest.raises(RunNotFoundError, match=f"no run '{words}' of quick"):
            log.find(words, "quick")


def test_words_that_mean_several_runs_are_refused_with_their_names(
    log: ReproductionLog,
) -> None:
    for name in TWINS:
        log.add(entry(run=name))
    with pytest.raises(RunNotFoundError, match=f"means several runs: {TWINS[0]}, {TWINS[1]}"):
        log.find("202601")


def test_one_file_of_a_run(log: ReproductionLog) -> None:
    log.add(entry())
    run = log.find(RUN)
    assert log.read(run, "pipeline.yaml") == b"id: quick\n"
    assert log.read(run, "source/main.py") == b"print(1)\n"
    with pytest.raises(HistoryError, match=r"has no report\.md"):
        log.read(run, "report.md")


def test_two_hundred_records_are_read_in_order(log: ReproductionLog, repository: Path) -> None:
    names = [f"2026{1 + n // 28:02d}{1 + n % 28:02d}T000000Z-{n:08x}" for n in range(200)]
    stream = ["feature done\ncommit refs/heads/rpac/log\ncommitter t <t@x> 0 +0000\ndata 1\ns\n"]
    for name in reversed(names):
        text = json.dumps({"run": name})
        where = f"{run_folder('quick', name)}/record.json"
        stream.append(f"M 100644 inline {where}\ndata {len(text)}\n{text}\n")
    stdin = "".join([*stream, "done\n"]).encode()
    subprocess.run(["git", "fast-import", "--quiet"], cwd=repository, input=stdin, check=True)
    records = list(log.records(log.runs()))
    assert [record["run"] for record in records] == names


def test_a_record_that_is_none_is_told(log: ReproductionLog) -> None:
    log.add(entry(files={"record.json": b"<html>"}))
    with pytest.raises(HistoryError, match=f"the record of {RUN} is not JSON"):
        list(log.records(log.runs()))


# --- several at once ------------------------------------------------------------------------------

SECOND, THIRD = "20260102T030406Z-0a1b2c3d", "20260203T030405Z-0a1b2c3d"


def test_several_runs_are_added_and_published_in_a_commit_each(
    log: ReproductionLog, repository: Path
) -> None:
    first = log.add(entry())
    assert log.publish(entry())[1] == ""
    entries = [entry(run) for run in (RUN, SECOND, THIRD)]

    commits, published = log.add_all(entries), log.publish_all(entries)

    assert commits[0] == first, "it is there already"
    assert [path.run for path in log.runs()] == [RUN, SECOND, THIRD]
    assert git(repository, "rev-list", "--count", LOG_REF) == "3"
    assert git(repository, "rev-parse", LOG_REF) == commits[2]
    assert git(repository, "rev-parse", "HEAD") == published[2][0]
    for run, (commit, remark) in zip((RUN, SECOND, THIRD), published, strict=True):
        assert remark == ""
        assert git(repository, "ls-tree", str(commit), f"{run_folder('quick', run)}/record.json")
    assert git(repository, "status", "--porcelain") == ""
    assert log.publish_all(entries)[2] == (published[2][0], ""), "once is enough"


def test_one_that_git_does_not_take_is_no_reason_to_lose_the_others(
    log: ReproductionLog, repository: Path
) -> None:
    log.add(entry())
    other = entry(files={**FILES, "record.json": b'{"other": 1}\n'})
    writer, began = GitWriter(Git(repository)), threading.Barrier(3)

    def write(added: Entry) -> str:
        began.wait(30)
        try:
            return writer.write(added, publish=True).remark
        except HistoryError as exc:
            return exc.message

    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(write, [other, entry(SECOND), entry(THIRD)]))

    assert "is in the log with other content" in said[0]
    assert said[1:] == ["", ""]
    assert [path.run for path in log.runs()] == [RUN, SECOND, THIRD]
    assert git(repository, "status", "--porcelain") == ""
