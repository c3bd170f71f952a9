"""The cloud retrieval at its smallest: granules made, read, collocated and learned from on Dask."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT, git
from tests.integration.conftest import NOTHING, Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # builds an environment of its own

# seed 6 has clear sky, liquid and ice in the one granule that is left for the test
SMALL = ("args.granules=4", "args.scans=8", "args.pixels=48", "args.trees=6", "seed=6")


def test_the_cloud_retrieval_is_the_same_on_one_and_two_nodes_and_for_any_blocks(
    rpac: Terminal, repository: Path
) -> None:
    name = "cloud-retrieval"
    shutil.copytree(ROOT / "experiments" / name, repository / "experiments" / name)
    git(repository, "add", "experiments")
    git(repository, "commit", "--quiet", "--message", "add the retrieval")
    first = rpac("reproduce", name, *SMALL)
    assert first.code == 0, first.out + first.err
    assert "compared (variant)" in first.out, "other arguments than those of the declared values"
    record = rpac.last()
    assert record["circumstances"]["workers"]["seen"] == 2
    answer = rpac("reproduce", f"{name}@{record['run']}", "nodes=1", "args.blocks=1")
    assert "reproduced: identical" in answer.out, answer.out + answer.err
    again = rpac.last()
    assert again["circumstances"]["workers"]["seen"] == 1
    hashes = [
        {output["path"]: output["sha256"] for output in one["outcome"]["outputs"]}
        for one in (record, again)
    ]
    assert hashes[0] == hashes[1], "bit for bit, whatever the number of workers"
    assert {"metrics.json", "predictions.csv", "retrieval.nc"} <= set(hashes[0])
    assert rpac.left_over() == NOTHING
