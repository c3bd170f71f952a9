"""
The experiments of this repository, run as its README says: on two nodes, as processes and in
containers, by every engine. What they find is what their files declare.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, git
from tests.docker_engine import docker_fixture as docker_fixture
from tests.integration.conftest import NOTHING, Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# experiment and words for one run of every engine
ENGINES = {
    "process": ("scaling", ["engine=process", "nodes=1"]),
    "dask": ("scaling", []),
    "spark": ("causality", []),
    "horovod": ("eddy-classification", []),
    "torchrun": ("eddy-classification", ["engine=torchrun"]),
}


@pytest.fixture
def rpac(tmp_path: Path) -> Terminal:
    """A fresh clone, in which runs are committed."""
    git(tmp_path, "clone", "--quiet", str(ROOT), "clone")
    return Terminal(tmp_path / "clone")


def reproduced(rpac: Terminal, *words: str) -> dict[str, Any]:
    """The record of a run that ended as it should, and left nothing."""
    answer = rpac("reproduce", *words)
    assert answer.code == 0, answer.out + answer.err
    assert rpac.left_over() == NOTHING
    return rpac.last()


def count_of_parts(record: dict[str, Any]) -> int:
    """Workers or ranks, by the engine's own account."""
    around = record["circumstances"]
    return int(around["workers"].get("seen") or around["engine"].get("ranks") or 1)


def reproduced_on_two_nodes(rpac: Terminal, name: str) -> dict[str, Any]:
    """The record of an experiment that found what its file declares, and shows it."""
    record = reproduced(rpac, name)
    assert record["verdict"]["outcome"].startswith("reproduced: ")
    assert [node["index"] for node in record["circumstances"]["nodes"]] == [0, 1]
    assert count_of_parts(record) == 2
    report = rpac.root / rpac.folder()
    assert list((report / "figures").glob("*.png")), "the report shows no figure"
    if name.startswith("eddy"):
        training = record["outcome"]["training"]
        assert training["curves"]["loss"]["step"]
        assert training["model"]["sha256"] in {o["sha256"] for o in record["outcome"]["outputs"]}
        assert (report / "figures" / "training.svg").exists()
    return record


@pytest.mark.parametrize("name", ["eddy-detection", "causality", "scaling"])
def test_an_experiment_is_reproduced_on_two_nodes(rpac: Terminal, name: str) -> None:
    reproduced_on_two_nodes(rpac, name)


def test_the_classification_is_too_and_its_two_ranks_on_one_node_are_the_same_science(
    rpac: Terminal,
) -> None:
    two = reproduced_on_two_nodes(rpac, "eddy-classification")
    one = reproduced(rpac, f"eddy-classification@{two['run']}", "nodes=1")
    assert one["identity"]["science"] == two["identity"]["science"]
    assert one["verdict"]["outcome"] == "reproduced: identical"


@pytest.mark.parametrize("engine", list(ENGINES))
def test_every_engine_runs_in_containers(rpac: Terminal, docker: Any, engine: str) -> None:
    docker(engine)
    name, words = ENGINES[engine]
    record = reproduced(rpac, name, "runtime=docker", *words)
    nodes = record["circumstances"]["nodes"]
    assert len(nodes) == (1 if engine == "process" else 2)
    assert all(node["memory_limit_mib"] for node in nodes)  # each says that it is in a container
    assert record["circumstances"]["engine"]["name"] == engine
    assert record["circumstances"]["images"]["nodes"].startswith("sha256:")
    assert count_of_parts(record) == len(nodes)
    variant = bool(words)  # another engine than the experiment's own
    expected = "compared (variant)" if variant else "reproduced: "
    assert record["verdict"]["outcome"].startswith(expected)
    if variant:
        assert "engine" in rpac("show", record["run"]).out
