"""The experiment's code: what belongs to it, what is refused, and a hash that tells changes."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from rpac_ci import experiments, source_trees
from rpac_ci.errors import HistoryError, PipelineError, PolicyError
from rpac_ci.experiment_model import EXPERIMENT_FILE, GitSource
from rpac_ci.git import Git
from rpac_ci.reproduction_log import Entry, ReproductionLog
from rpac_ci.source_trees import SourceFile, SourceTree, make, of_experiment, of_tree
from tests.conftest import QUICK, WriteExperiment, git

FILES = {"main.py": "print(1)\n", "lib/tools.py": "X = 1\n", "lib/größe.txt": "µ\n"}


def source(folder: Path, *, allow_dirty: bool = False, name: str = EXPERIMENT_FILE) -> SourceTree:
    """The source of the experiment in a folder."""
    repository = Git.discover(folder)
    file = experiments.load(folder / name, root=repository.root)
    return of_experiment(repository, file, allow_dirty=allow_dirty, cache=folder / "unused")


def commit(folder: Path, message: str = "change") -> None:
    git(folder, "add", "--all", ".")
    git(folder, "commit", "--quiet", "--message", message)


def contents(tree: SourceTree) -> dict[str, str]:
    return {file.path: file.content.decode() for file in tree.files}


@pytest.fixture
def folder(write_experiment: WriteExperiment) -> Path:
    """A committed experiment with the three FILES."""
    return write_experiment(files=FILES)


# --- what belongs to it -------------------------------------------------------------------------


def test_a_clean_experiment_is_what_is_committed(folder: Path) -> None:
    tree = source(folder)
    assert contents(tree) == FILES
    assert [file.path for file in tree.files] == sorted(FILES)
    assert (tree.commit, tree.diff) == (git(folder, "rev-parse", "HEAD"), None)
    assert tree.tree == git(folder, "rev-parse", "HEAD:experiments/quick")
    assert tree.read("lib/größe.txt") == "µ\n".encode()
    assert tree.read("no/such") is None


def test_the_commit_is_the_last_that_touched_it(folder: Path, repository: Path) -> None:
    before = source(folder)
    (repository / "elsewhere.txt").write_text("x")
    commit(repository)
    assert source(folder) == before


def test_executable_bits_are_kept_and_count(folder: Path) -> None:
    before = source(folder)
    (folder / "main.py").chmod(0o755)
    commit(folder)
    after = source(folder)
    assert [file.path for file in after.files if file.executable] == ["main.py"]
    assert after.sha256 != before.sha256
    with tarfile.open(fileobj=io.BytesIO(after.archive())) as tar:
        assert [f"{member.mode:o}" for member in tar] == ["644", "644", "755"]


@pytest.mark.parametrize("name", ["README.md", "README", "readme.rst", EXPERIMENT_FILE])
def test_words_for_people_are_left_out(folder: Path, name: str) -> None:
    before = source(folder)
    text = QUICK.format(name="quick").replace("quickest", "fastest") if "yaml" in name else "words"
    (folder / name).write_text(text)
    commit(folder)
    assert source(folder).sha256 == before.sha256
    assert contents(source(folder)) == FILES


@pytest.mark.parametrize("name", ["readme_parser.py", "lib/README.md", "lib/readme.txt"])
def test_what_only_sounds_like_a_readme_is_code_or_data(folder: Path, name: str) -> None:
    (folder / name).write_text("X = 2\n")
    commit(folder)
    assert contents(source(folder)) == {**FILES, name: "X = 2\n"}


def test_only_the_declared_parts_and_the_lock(write_experiment: WriteExperiment) -> None:
    yaml = QUICK.format(name="quick") + "source: [lib]\nenvironment: {lock: requirements.lock}\n"
    folder = write_experiment(yaml=yaml, files={**FILES, "requirements.lock": "", "notes.txt": ""})
    assert list(contents(source(folder))) == ["lib/größe.txt", "lib/tools.py", "requirements.lock"]
    (folder / "notes.txt").write_text("not part of it: may be dirty")
    assert list(contents(source(folder))) == ["lib/größe.txt", "lib/tools.py", "requirements.lock"]


@pytest.mark.parametrize("parts", ["[., lib]", "[lib, ., lib/tools.py, main.py]"])
def test_parts_may_overlap(folder: Path, parts: str) -> None:
    before = source(folder)
    (folder / EXPERIMENT_FILE).write_text(QUICK.format(name="quick") + f"source: {parts}\n")
    assert source(folder, allow_dirty=True).sha256 == before.sha256
    commit(folder)
    assert source(folder).sha256 == before.sha256


def test_an_experiment_without_code_has_none(folder: Path, repository: Path) -> None:
    (folder / EXPERIMENT_FILE).write_text(QUICK.format(name="quick") + "source: []\n")
    assert contents(source(folder, allow_dirty=True)) == {}
    commit(repository)
    assert contents(source(folder)) == {}


def test_one_file_of_many_in_a_folder(repository: Path) -> None:
    studies = repository / "experiments"
    studies.mkdir()
    for name in ("one", "two"):
        yaml = QUICK.format(name=name).replace("main.py", f"{name}.py") + f"source: [{name}.py]\n"
        (studies / f"{name}.yaml").write_text(yaml)
        (studies / f"{name}.py").write_text(f"print('{name}')\n")
    commit(repository)
    before = source(studies, name="one.yaml")
    assert contents(before) == {"one.py": "print('one')\n"}

    (studies / "two.py").write_text("another experiment's file: may be dirty")
    assert source(studies, name="one.yaml").sha256 == before.sha256
    (studies / "one.yaml").write_text((studies / "one.yaml").read_text().replace("quick", "slow"))
    with pytest.raises(PolicyError, match=r"experiments/one\.yaml"):
        source(studies, name="one.yaml")


def test_the_experiments_own_file_is_left_out_whatever_its_name(repository: Path) -> None:
    studies = repository / "experiments"
    studies.mkdir()
    for name, more in (("one", "source: [.]\n"), ("two", "")):
        (studies / f"{name}.yaml").write_text(QUICK.format(name=name) + more)
    (studies / "main.py").write_text("print(1)\n")
    commit(repository)
    assert sorted(contents(source(studies, name="one.yaml"))) == ["main.py", "two.yaml"]
    assert contents(source(studies, name="two.yaml")) == {}, "a single file names its source"


def test_an_experiment_at_the_top_of_its_repository(tmp_path: Path) -> None:
    top = tmp_path / "quick"
    top.mkdir()
    git(top, "init", "--quiet")
    (top / EXPERIMENT_FILE).write_text(QUICK.format(name="quick"))
    (top / "main.py").write_text("print(1)\n")
    commit(top)
    tree = source(top)
    assert contents(tree) == {"main.py": "print(1)\n"}
    assert tree.tree == git(top, "rev-parse", "HEAD^{tree}")
    (top / "main.py").write_text("print(2)\n")
    assert contents(source(top, allow_dirty=True)) == {"main.py": "print(2)\n"}


# --- the hash -----------------------------------------------------------------------------------


def test_the_hash_survives_rebase_squash_and_a_move(folder: Path, repository: Path) -> None:
    before = source(folder)
    git(repository, "checkout", "--quiet", "-b", "topic", "HEAD^")
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "another history")
    git(repository, "cherry-pick", "main")
    rebased = source(folder)
    git(repository, "checkout", "--quiet", "--orphan", "squashed")
    git(repository, "commit", "--quiet", "-m", "all in one")
    squashed = source(folder)
    (repository / "studies").mkdir()
    git(repository, "mv", "experiments/quick", "studies/quick")
    git(repository, "commit", "--quiet", "-m", "move")
    moved = source(repository / "studies" / "quick")
    commits = {tree.commit for tree in (before, rebased, squashed, moved)}
    assert {tree.sha256 for tree in (rebased, squashed, moved)} == {before.sha256}
    assert len(commits) == 4


@pytest.mark.parametrize(
    "files",
    [
        [SourceFile("a", False, b"2")],
        [SourceFile("a", True, b"1")],
        [SourceFile("b", False, b"1")],
        [SourceFile("a", False, b"1"), SourceFile("b", False, b"")],
        [],
    ],
)
def test_the_hash_covers_path_mode_and_content(files: list[SourceFile]) -> None:
    assert make(files).sha256 != make([SourceFile("a", False, b"1")]).sha256


def test_equal_trees_give_equal_archives_in_any_order(folder: Path, tmp_path: Path) -> None:
    tree = source(folder)
    again = make(reversed(tree.files))
    assert again.sha256 == tree.sha256
    assert again.archive() == tree.archive()
    with tarfile.open(fileobj=io.BytesIO(tree.archive())) as tar:
        tar.extractall(tmp_path / "out", filter="data")
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}
    assert (tmp_path / "out" / "lib" / "größe.txt").read_text() == "µ\n"


def test_the_tree_kept_in_the_log_is_the_original(folder: Path, repository: Path) -> None:
    (folder / "main.py").chmod(0o755)
    (folder / "lib" / EXPERIMENT_FILE).write_text("a nested one\n")
    (folder / "data.bin").write_bytes(bytes(range(256)))
    commit(repository)
    tree = source(folder)
    entry = Entry(
        folder="reports/quick/2026-01/r", files={"record.json": b"{}"}, subject="s", trailers=[],
        source={file.path: (file.mode, file.content) for file in tree.files},
    )  # fmt: skip
    tip = ReproductionLog(Git(repository)).add(entry)
    kept = of_tree(Git(repository), tip, f"{entry.folder}/source")
    assert kept.files == tree.files
    assert kept.sha256 == tree.sha256
    assert of_tree(Git(repository), tip, "reports/quick/2026-01/none/source").files == ()


# --- dirty --------------------------------------------------------------------------------------


def test_changes_are_refused_and_listed(folder: Path) -> None:
    (folder / "main.py").write_text("print(2)\n")
    (folder / "lib" / "tools.py").unlink()
    (folder / "new ü.py").write_text("new\n")
    (folder / EXPERIMENT_FILE).write_text(QUICK.format(name="quick") + "seed: 1\n")
    git(folder, "add", "main.py")
    with pytest.raises(PolicyError) as caught:
        source(folder)
    said = caught.value.message.splitlines()
    assert said[1:] == [
        "  experiments/quick/experiment.yaml",
        "  experiments/quick/lib/tools.py",
        "  experiments/quick/main.py",
        "  experiments/quick/new ü.py",
    ]
    assert "--allow-dirty" in caught.value.hint


def test_changes_that_are_allowed_are_run_and_kept(folder: Path) -> None:
    head = git(folder, "rev-parse", "HEAD")
    (folder / "main.py").write_text("print(2)\n")
    (folder / "lib" / "tools.py").unlink()
    (folder / "new.py").write_text("new\n")
    (folder / "new.sh").write_text("#!/bin/sh\n")
    (folder / "new.sh").chmod(0o755)
    status = git(folder, "status", "--porcelain")

    tree = source(folder, allow_dirty=True)

    assert contents(tree) == {
        "lib/größe.txt": "µ\n",
        "main.py": "print(2)\n",
        "new.py": "new\n",
        "new.sh": "#!/bin/sh\n",
    }
    assert [file.path for file in tree.files if file.executable] == ["new.sh"]
    assert tree.commit == head
    assert tree.diff is not None
    for line in ("-print(1)", "+print(2)", "deleted file", "new file experiments/quick/new.py "):
        assert line in tree.diff.decode()
    assert git(folder, "status", "--porcelain") == status, "the index is left alone"


def test_a_clean_tree_has_no_difference_although_one_is_allowed(folder: Path) -> None:
    assert source(folder, allow_dirty=True) == source(folder)


def test_ignored_files_are_not_part_of_it(folder: Path, repository: Path) -> None:
    (repository / ".gitignore").write_text("*.pyc\n__pycache__/\n/experiments/quick/out/\n")
    commit(repository)
    before = source(folder)
    for name in ("lib/__pycache__/tools.pyc", "main.pyc", "out/result.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    assert source(folder) == before
    (folder / "main.py").write_text("print(2)\n")
    assert list(contents(source(folder, allow_dirty=True))) == sorted(FILES)


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "experiments" / "quick"
    folder.mkdir(parents=True)
    git(tmp_path / "new", "init", "--quiet")
    (folder / EXPERIMENT_FILE).write_text(QUICK.format(name="quick"))
    (folder / "main.py").write_text("print(1)\n")
    with pytest.raises(HistoryError, match="no commit yet") as caught:
        source(folder)
    assert "git add experiments/quick" in caught.value.hint
    tree = source(folder, allow_dirty=True)
    assert contents(tree) == {"main.py": "print(1)\n"}
    assert tree.commit is None
    assert tree.diff is not None


# --- refused ------------------------------------------------------------------------------------


def make_link(folder: Path) -> None:
    (folder / "link.py").symlink_to("main.py")


def make_dangling_link(folder: Path) -> None:
    (folder / "link.py").symlink_to("not there")


def make_linked_folder(folder: Path) -> None:
    (folder / "link").symlink_to("lib")


def make_submodule(folder: Path) -> None:
    other = folder.parent.parent / "sub-origin"
    git(folder, "init", "--quiet", str(other))
    git(other, "commit", "--quiet", "--allow-empty", "-m", "start")
    git(
        folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub"
    )


def make_lfs_pointer(folder: Path) -> None:
    oid = "oid sha256:" + "0" * 64
    text = f"version https://git-lfs.github.com/spec/v1\n{oid}\nsize 12345\n"
    (folder / "scene.nc").write_text(text)


def make_name_without_encoding(folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.py"))).write_text("x")


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize(
    "spoil",
    [
        make_link,
        make_dangling_link,
        make_linked_folder,
        make_submodule,
        make_lfs_pointer,
        make_name_without_encoding,
    ],
)
def test_what_is_no_plain_file_is_refused(folder: Path, spoil: object, committed: bool) -> None:
    assert callable(spoil)
    spoil(folder)
    if committed:
        commit(folder)
    with pytest.raises(PipelineError, match=r"experiments/quick|scene\.nc|caf") as caught:
        source(folder, allow_dirty=not committed)
    assert caught.value.hint


@pytest.mark.parametrize("name", [".env", ".netrc", "key.pem", "lib/id_rsa", "credentials"])
def test_what_looks_like_a_secret_is_not_taken_from_a_dirty_tree(folder: Path, name: str) -> None:
    (folder / name).write_text("secret")
    with pytest.raises(PolicyError, match="looks like a secret") as caught:
        source(folder, allow_dirty=True)
    assert ".gitignore" in caught.value.hint
    (folder / ".gitignore").write_text(f"{name}\n")
    assert name not in contents(source(folder, allow_dirty=True))


def test_a_large_dirty_tree_is_to_be_committed_first(folder: Path) -> None:
    (folder / "large.bin").write_bytes(bytes(source_trees.MAX_DIRTY_BYTES))
    with pytest.raises(PolicyError, match="more than a record may hold"):
        source(folder, allow_dirty=True)
    commit(folder)
    assert source(folder).read("large.bin")


@pytest.mark.parametrize(("limit", "value"), [("MAX_FILES", 2), ("MAX_BYTES", 10)])
def test_too_much_code_is_refused_with_advice(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(source_trees, limit, value)
    with pytest.raises(PipelineError, match="3 files") as caught:
        source(folder)
    assert "declare large files as data" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "file:///srv/code.git",
        "/srv/code.git",
        "http://example.org/code.git",
        "ssh://git@example.org/code.git",
        "git@example.org:code.git",
        "ext::sh -c true",
        "--upload-pack=x",
        "https://user:token@example.org/code.git",
    ],
)
def test_code_elsewhere_comes_by_https_and_without_credentials(url: str) -> None:
    with pytest.raises(ValidationError):
        GitSource(git=url, commit="0" * 40)


@pytest.mark.parametrize("name", ["main", "HEAD", "0" * 39, "0" * 64, "-" * 40])
def test_code_elsewhere_is_pinned_to_a_commit(name: str) -> None:
    with pytest.raises(ValidationError):
        GitSource(git="https://example.org/code.git", commit=name)
