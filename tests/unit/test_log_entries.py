"""Names and paths of the log's entries. What is unfit is tested with the collector."""

from __future__ import annotations

import random

import pytest

from rpac_ci import log_entries, source_trees
from rpac_ci.log_entries import EntryFile, EntryName, check_entry, is_document, of_paths
from rpac_ci.run import new_run_id
from tests.entries import LATER, RUN, acceptance, amendment, expected, run_entry

FOLDER = run_entry().folder


def files(*entries: str) -> list[EntryFile]:
    return [EntryFile(path, "100644", "0" * 40, "blob", 3) for path in entries]


def test_names_are_read_as_they_are_written_and_sort_by_run() -> None:
    names = [
        RUN, f"amendment-{RUN}-1", f"amendment-{RUN}-2", f"amendment-{RUN}-10", f"accepted-{RUN}",
        LATER, f"accepted-{LATER}",
    ]  # fmt: skip
    parsed = [EntryName.parse(name) for name in random.Random(1).sample(names, len(names))]
    assert [str(name) for name in sorted(name for name in parsed if name)] == names
    assert EntryName.parse(new_run_id()) is not None


@pytest.mark.parametrize(
    "name",
    ["", "x", RUN[:-1], f"{RUN}0", f"{RUN}\n", RUN.upper(), f"accepted-{RUN}-1", f"amendment-{RUN}",
     f"amendment-{RUN}-0", f"amendment-{RUN}-01", f"{RUN}/x", RUN.replace("0", "٠")],
)  # fmt: skip
def test_other_names_are_none(name: str) -> None:
    assert EntryName.parse(name) is None
    assert "is not the name of" in check_entry(name, [], lambda _: b"")[0]


def test_every_path_belongs_to_one_entry_or_to_none() -> None:
    odd = ["README.md", f"{FOLDER}/amendments/x.json", f"{FOLDER}/notes.json", "reports/quick/x"]
    entries, others = of_paths([*expected(acceptance(), amendment(), run_entry()), *odd])
    assert [str(name) for name in entries] == [RUN, f"amendment-{RUN}-1", f"accepted-{RUN}"]
    assert others == odd
    assert {path for paths in entries.values() for path in paths if is_document(path)} == {
        f"{FOLDER}/record.json", f"{FOLDER}/pipeline.yaml", f"{FOLDER}/amendments/1.json",
        f"reports/quick/accepted/{RUN}.json",
    }  # fmt: skip
    assert not is_document(f"{FOLDER}/source/record.json")


def test_a_place_is_a_folder_or_one_file() -> None:
    assert EntryName.place(f"{FOLDER}/source/a/b.py") == FOLDER
    for entry in (acceptance(), amendment()):
        [path] = expected(entry)
        assert EntryName.place(path) == path


def test_a_path_that_stands_there_twice_or_as_file_and_folder() -> None:
    for double in (["source/a", "source/a"], ["source/a", "source/a/b"]):
        found = check_entry(RUN, files(*(f"{FOLDER}/{name}" for name in double)), lambda _: b"")
        assert "a path stands there twice" in found


def test_a_source_has_its_own_limits() -> None:
    assert source_trees.MAX_BYTES <= log_entries.MAX_SOURCE_BYTES
    assert source_trees.MAX_FILES <= log_entries.MAX_SOURCE_FILES
    many = files(*(f"{FOLDER}/source/{n}" for n in range(log_entries.MAX_SOURCE_FILES + 1)))
    big = EntryFile(f"{FOLDER}/source/a", "100644", "0" * 40, "blob", 2**27)
    for found in (many, [big]):
        assert "the source has more than" in check_entry(RUN, found, lambda _: b"")[0]
