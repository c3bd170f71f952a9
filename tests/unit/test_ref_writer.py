"""Writers of the log take turns; what a killed one leaves is told from what a live one holds."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rpac_ci import ref_writer
from rpac_ci.errors import HistoryError
from rpac_ci.fast_import import NewCommit, advance, put
from rpac_ci.git import Git, GitError
from rpac_ci.log_paths import LOG_REF
from rpac_ci.ref_writer import RefWriter
from rpac_ci.reproduction_log import ReproductionLog
from tests.conftest import ROOT, git
from tests.entries import LATER, RUN, run_entry

HOLD = """\
import pathlib, sys
from rpac_ci.git import Git
from rpac_ci.ref_writer import RefWriter
with RefWriter(Git(pathlib.Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def log(repository: Path) -> ReproductionLog:
    found = ReproductionLog(Git(repository))
    found.add(run_entry())
    return found


@pytest.fixture
def lock(repository: Path, log: ReproductionLog) -> Path:
    """The lock that a git which was killed while it wrote the log has left."""
    path = repository / ".git" / "refs" / "heads" / "rpac" / "log.lock"
    path.touch()
    return path


def test_a_lock_that_somebody_gives_back_is_waited_for(log: ReproductionLog, lock: Path) -> None:
    timer = threading.Timer(0.2, lock.unlink)
    timer.start()
    log.add(run_entry(LATER))
    timer.join()
    assert [run.run for run in log.runs()] == [RUN, LATER]


def test_a_lock_that_nobody_holds_is_removed_after_a_while(
    log: ReproductionLog, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ref_writer, "STALE_S", 0.1)
    log.add(run_entry(LATER))
    assert [run.run for run in log.runs()] == [RUN, LATER]
    assert not lock.exists()


def test_a_lock_that_stays_is_told_with_its_path(
    repository: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        RefWriter(Git(repository), limit_s=0.1) as writer,
        pytest.raises(HistoryError, match=r"rpac/log\.lock is in the way") as caught,
    ):
        writer.run("update-ref", LOG_REF, "HEAD")
    assert caught.value.hint.endswith(f"rm {lock}")
    assert lock.exists()


def test_locks_of_other_refs_are_never_removed(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ref_writer, "STALE_S", 0.0)
    other = repository / ".git" / "refs" / "heads" / "topic.lock"
    other.touch()
    with (
        RefWriter(Git(repository), limit_s=0.2) as writer,
        pytest.raises(HistoryError, match=r"topic\.lock is in the way"),
    ):
        writer.run("update-ref", "refs/heads/topic", "HEAD")
    assert other.exists()


def test_writers_take_turns_and_a_killed_one_is_no_hindrance(repository: Path) -> None:
    argv = [sys.executable, "-c", HOLD, str(repository)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HistoryError, match="another rpac has been writing") as caught:
            RefWriter(Git(repository), limit_s=0.1).__enter__()
        assert "nothing is lost" in caught.value.hint
        holder.kill()
    with RefWriter(Git(repository), limit_s=0.1) as writer:
        assert writer.run("update-ref", "refs/heads/topic", "HEAD") == b""


def test_git_holds_the_turn_as_long_as_it_writes(repository: Path) -> None:
    # a writer that is killed leaves a git that is still at work
    with RefWriter(Git(repository)) as writer:
        [held] = writer._held
        argv = ["git", "cat-file", "--batch"]
        orphan = subprocess.Popen(
            argv, cwd=repository, stdin=subprocess.PIPE, pass_fds=[held], stdout=subprocess.DEVNULL
        )
    with pytest.raises(HistoryError, match="another rpac has been writing"):
        RefWriter(Git(repository), limit_s=0.1).__enter__()
    orphan.communicate()
    with RefWriter(Git(repository), limit_s=0.1):
        pass


def test_a_worktree_and_its_repository_take_turns(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "--quiet", "-b", "topic", str(tmp_path / "tree"))
    with (
        RefWriter(Git(repository)),
        pytest.raises(HistoryError, match="another rpac has been writing"),
    ):
        RefWriter(Git(tmp_path / "tree"), limit_s=0.1).__enter__()


def test_a_file_system_without_such_locks_has_those_of_git(
    repository: Path, log: ReproductionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(ref_writer, "STALE_S", 0.0)
    log.add(run_entry(LATER))
    path = repository / ".git" / "refs" / "heads" / "rpac" / "log.lock"
    path.touch()
    with (
        RefWriter(Git(repository), limit_s=0.1) as writer,
        pytest.raises(HistoryError, match="is in the way"),
    ):
        writer.run("update-ref", LOG_REF, "HEAD")
    assert path.exists(), "nobody knows whose it is"


def test_a_branch_that_stands_where_the_log_should_be_is_told_at_once(repository: Path) -> None:
    git(repository, "branch", "rpac")
    with pytest.raises(GitError, match="'refs/heads/rpac' exists"):
        ReproductionLog(Git(repository)).add(run_entry())


def test_another_program_that_moves_the_log_is_followed(
    repository: Path, log: ReproductionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_of, calls = ReproductionLog._commit_of, list[int]()

    def slowly(self: ReproductionLog, *args: object) -> NewCommit:
        made = commit_of(self, *args)  # type: ignore[arg-type]
        if not calls:  # `git` itself knows nothing of turns
            meanwhile = NewCommit(
                committer=b"a <a@b> 1 +0000", message=b"m", changes=[put("a", b"b")],
                parent=git(repository, "rev-parse", LOG_REF),
            )  # fmt: skip
            advance(Git(repository).run, LOG_REF, [meanwhile])
        calls.append(1)
        return made

    monkeypatch.setattr(ReproductionLog, "_commit_of", slowly)
    log.add(run_entry(LATER))
    assert len(calls) == 2
    assert git(repository, "rev-list", "--count", LOG_REF) == "3"


def test_what_git_refuses_for_good_is_told_at_once_and_leaves_no_crash_report(
    repository: Path,
) -> None:
    wrong = NewCommit(committer=b"nobody", message=b"m", changes=[])
    with (
        RefWriter(Git(repository)) as writer,
        pytest.raises(GitError, match=r"fast-import: .*nobody") as caught,
    ):
        advance(writer.run, LOG_REF, [wrong])
    with pytest.raises(GitError):
        writer.after(caught.value)
    assert not list((repository / ".git").glob("fast_import_crash_*"))


def test_a_run_becomes_loose_objects_whatever_the_settings(
    repository: Path, log: ReproductionLog
) -> None:
    git(repository, "config", "fastimport.unpackLimit", "1")
    log.add(run_entry(LATER))
    assert not list((repository / ".git" / "objects" / "pack").iterdir())
