"""Git by argv: answers as bytes, refusals as HistoryError, nothing of the user's in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rpac_ci.errors import HistoryError
from rpac_ci.git import CommitInfo, Git, GitError, ObjectInfo, TreeEntry
from tests.conftest import git as shell


@pytest.fixture
def git(repository: Path) -> Git:
    return Git(repository)


def commit(root: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    shell(root, "add", "--all")
    shell(root, "commit", "--quiet", "--message", "files")
    return shell(root, "rev-parse", "HEAD")


def test_a_repository_is_found_from_any_folder_in_it(repository: Path) -> None:
    (repository / "a" / "b").mkdir(parents=True)
    assert Git.discover(repository / "a" / "b").root == repository


@pytest.mark.parametrize("folder", ["", "missing"])
def test_a_folder_outside_of_git_is_refused_with_advice(tmp_path: Path, folder: str) -> None:
    with pytest.raises(HistoryError, match="is not in a git repository") as caught:
        Git.discover(tmp_path / folder)
    assert "git init" in caught.value.hint


def test_answers_are_bytes_text_or_none(git: Git) -> None:
    assert git.run("cat-file", "--batch-check", stdin=b"\xff\n") == b"\xff missing\n"
    assert git.text("symbolic-ref", "HEAD") == "refs/heads/main"
    assert git.maybe("symbolic-ref", "NO_SUCH") is None
    assert git.resolve("HEAD") == shell(git.root, "rev-parse", "HEAD")
    assert git.resolve("no-such-branch") is None
    assert git.resolve("--git-dir") is None, "a revision is never an option"


def test_what_git_refuses_is_told_in_its_last_words(git: Git) -> None:
    with pytest.raises(HistoryError, match=r"^git rev-parse: .*'no-such'") as caught:
        git.run("rev-parse", "no-such", "--")
    assert "fatal" not in caught.value.message


def test_a_git_that_does_not_answer_is_told(git: Git, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")
    with pytest.raises(HistoryError, match="did not answer within"):
        git.run("hash-object", str(tmp_path / "never"), timeout_s=0.2)


def test_a_machine_without_git_is_told(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(HistoryError, match="git is not installed"):
        git.run("status")


def test_a_tree_is_listed_with_modes_and_any_names(git: Git) -> None:
    files = {"a/é ü.txt": b"1", 'a/q"uote\\': b"2", "a/tab\tline\n.txt": b"3", "b": b"4"}
    commit(git.root, files)
    (git.root / "b").chmod(0o755)
    (git.root / "link").symlink_to("b")
    shell(git.root, "add", "--all")
    tree = shell(git.root, "write-tree")
    found = git.ls_tree(tree)
    assert {entry.path for entry in found} == {*files, "link"}
    assert [entry.path for entry in git.ls_tree(tree, "a")] == sorted(p for p in files if p != "b")
    modes = {entry.path: entry.mode for entry in found}
    assert (modes["a/é ü.txt"], modes["b"], modes["link"]) == ("100644", "100755", "120000")
    assert git.ls_tree(tree, "no/such") == []
    assert TreeEntry("100755", git.resolve(f"{tree}:b") or "", "b") in found


def test_many_blobs_come_from_one_question_in_its_order(git: Git) -> None:
    contents = [b"", b"\n", b"missing", b"a\nb missing\n" * 3, bytes(range(256))]
    head = commit(git.root, {f"{n} x": content for n, content in enumerate(contents)})
    names = [f"{head}:{n} x" for n in range(len(contents))]
    assert list(git.blobs(names)) == contents
    absent = [f"{head}:no such", "0" * 40, "no-branch:x"]
    assert list(git.blobs([absent[0], names[4], *absent, names[0]])) == [
        None, contents[4], None, None, None, b"",
    ]  # fmt: skip
    assert list(git.blobs([])) == []


def test_what_names_stand_for_comes_from_one_question_in_its_order(git: Git) -> None:
    head = commit(git.root, {"a missing": b"12", "b": b""})
    blob = git.resolve(f"{head}:a missing") or ""
    assert git.objects([f"{head}:a missing", "no-such", blob, f"{head}:c", "HEAD:b"]) == [
        ObjectInfo(blob, "blob", 2), None, ObjectInfo(blob, "blob", 2), None,
        ObjectInfo("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", "blob", 0),
    ]  # fmt: skip
    assert git.objects([]) == []
    with pytest.raises(HistoryError, match="line break"):
        git.objects(["HEAD:a\nb"])


def test_commits_say_who_when_and_what(git: Git) -> None:
    head = commit(git.root, {"a": b"1"})
    [info] = git.commits([head])
    parent = shell(git.root, "rev-parse", "HEAD^")
    when = shell(git.root, "log", "-1", "--format=%ct %cd", "--date=format:%z")
    assert info == CommitInfo([parent], f"Tester <tester@example.org> {when}".encode(), b"files\n")


def test_the_files_that_commits_brought(git: Git) -> None:
    root = shell(git.root, "rev-parse", "HEAD")
    one = commit(git.root, {"a/é\n": b"1", "b": b"2"})
    (git.root / "b").chmod(0o755)
    two = commit(git.root, {"b": b"changed", ":c": b"3"})
    found = git.added([two, root, one])
    assert {oid: [file.path for file in files] for oid, files in found.items()} == {
        two: [":c"], one: ["a/é\n", "b"],
    }  # fmt: skip
    assert found[one] == git.ls_tree(one)
    assert git.added([]) == {}


def test_a_refusal_has_all_that_git_said(git: Git) -> None:
    with pytest.raises(GitError) as caught:
        git.run("fetch", "no-such-remote")
    assert "no-such-remote" in caught.value.message, "the reason, not the advice that follows"
    assert "access rights" in caught.value.err


def test_gits_own_files_are_found_in_worktrees_too(git: Git, tmp_path: Path) -> None:
    assert git.paths("index.lock")["index.lock"] == git.root / ".git" / "index.lock"
    shell(git.root, "worktree", "add", "--quiet", str(tmp_path / "other"))
    other = Git.discover(tmp_path / "other")
    (git.root / ".git" / "worktrees" / "other" / "MERGE_HEAD").touch()
    assert other.paths("index.lock", "MERGE_HEAD")["MERGE_HEAD"].exists()
    assert not git.paths("MERGE_HEAD")["MERGE_HEAD"].exists()


def test_the_users_hooks_and_pager_stay_out(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = git.root / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_PAGER", "false")
    head = git.resolve("HEAD") or ""
    git.run("update-ref", "refs/heads/other", head)
    assert git.resolve("other") == head


def test_a_git_hook_that_calls_us_does_not_lead_us_elsewhere(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # git sets these for its hooks; a folder that is named all the same must win
    other = tmp_path / "other"
    shell(tmp_path, "init", "--quiet", str(other))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert Git.discover(git.root).root == git.root
    assert git.resolve("HEAD") is not None, "the other repository has no commit"


def test_files_are_counted_only_as_far_as_they_must_be(git: Git) -> None:
    tip = commit(git.root, {"a": b"a", "b/c": b"c", "b/d": b"d"})
    assert git.has_more_files(tip, 2)
    assert not git.has_more_files(tip, 3)
