"""The switches of a command: what is set, what is recorded, and what the preloaded file does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rpac_ci import engines
from rpac_ci.node import determinism
from tests.unit.builders import make_spec

PRELOAD = Path(determinism.__file__).with_name("preload")
DRAW = "import json, random, numpy; print(json.dumps([random.random(), numpy.random.rand()]))"


def python(code: str, *paths: Path, **variables: str) -> Any:
    """What a program prints that is started as a node starts a command."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": os.pathsep.join(map(str, (PRELOAD, *paths))),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_numbers_are_drawn_by_seed_and_rank() -> None:
    first = python(DRAW, RPAC_SEED="7")
    assert python(DRAW, RPAC_SEED="7") == first
    assert python(DRAW, RPAC_SEED="7", RANK="0") == first
    others = [python(DRAW, RPAC_SEED="7", RANK="1"), python(DRAW, RPAC_SEED="8")]
    assert others[0] == others[1]  # seed plus rank
    assert others[0] != first
    assert python(DRAW, RPAC_SEED="7", HOROVOD_RANK="1") == others[0]


def test_without_a_seed_nothing_is_drawn_alike() -> None:
    assert python(DRAW) != python(DRAW)


def test_a_negative_seed_is_one_too() -> None:
    assert python(DRAW, RPAC_SEED="-3") == python(DRAW, RPAC_SEED="-3")


def test_a_library_is_imported_by_the_program_alone() -> None:
    assert python("import json, sys; print(json.dumps('numpy' in sys.modules))", RPAC_SEED="1") is (
        False
    )


def test_torch_is_told_when_it_is_imported(tmp_path: Path) -> None:
    """With a module of that name, since torch itself is not in the environment of these tests."""
    (tmp_path / "torch.py").write_text(
        "from types import SimpleNamespace as N\n"
        "told = {}\n"
        "def manual_seed(seed): told['seed'] = seed\n"
        "def use_deterministic_algorithms(on, warn_only): told['algorithms'] = [on, warn_only]\n"
        "backends = N(cudnn=N(), cuda=N(matmul=N()))\n"
    )
    code = (
        "import json, torch\n"
        "told = {**torch.told, **vars(torch.backends.cudnn), **vars(torch.backends.cuda.matmul)}\n"
        "print(json.dumps(told))"
    )
    assert python(code, tmp_path, RPAC_SEED="40", RANK="2") == {
        "seed": 42, "algorithms": [True, True], "deterministic": True, "benchmark": False,
        "allow_tf32": False,
    }  # fmt: skip


def test_the_file_of_this_name_that_was_there_before_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.was_here = True")
    code = "import json, sys; print(json.dumps(sys.was_here))"
    assert python(code, tmp_path) is True


@pytest.mark.parametrize("name", ["process", "dask", "spark", "horovod", "torchrun"])
def test_what_is_recorded_is_what_is_set(name: str) -> None:
    engine, spec = engines.load(name), make_spec(seed=7, cpus=4)
    variables = determinism.command_variables(spec, engine, Path("/work"))
    recorded = determinism.recorded(spec, engine)
    assert recorded["seeds"] == "7 + rank"
    for key, value in recorded.items():
        if key.isupper():
            assert variables[key] == value


def test_nothing_is_switched_where_the_experiment_does_not_want_it() -> None:
    engine, spec = engines.load("horovod"), make_spec(seed=7, cpus=4, deterministic=False)
    assert determinism.command_variables(spec, engine, Path("/work")) == {"RPAC_SEED": "7"}
    assert determinism.recorded(spec, engine) == {"threads": "4", "deterministic": "false"}


def test_the_ranks_of_a_node_share_its_processors() -> None:
    spec = make_spec(nodes=2, ranks=6, cpus=4)
    assert set(determinism.thread_limits(spec).values()) == {"1"}
    assert set(determinism.thread_limits(make_spec(cpus=4)).values()) == {"4"}
