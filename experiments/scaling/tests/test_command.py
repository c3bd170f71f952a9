"""The whole command on each engine, started by itself on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engines import detect

FOLDER = Path(__file__).parent.parent
CLUSTER = ("DASK_SCHEDULER_ADDRESS", "SPARK_CONF_DIR")
SIZE = ("--tasks", "6", "--rounds", "2", "--work", "0.5", "--payload-kib", "3")


def scale(out: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in CLUSTER}
    environment |= {"PYTHONPATH": str(FOLDER), "SPARK_LOCAL_IP": "127.0.0.1", **variables}
    return subprocess.run(
        [sys.executable, "scale.py", "--out", str(out), *words],
        cwd=FOLDER, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process gives."""
    out = tmp_path_factory.mktemp("alone")
    done = scale(out, *SIZE, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("engine", ["process", "dask", "spark"])
def test_every_engine_gives_the_bytes_that_one_process_gives(
    alone: Path, tmp_path: Path, engine: str
) -> None:
    done = scale(tmp_path, *SIZE, "--engine", engine, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr[-3000:]
    expected = (alone / "metrics.json").read_bytes()
    assert (tmp_path / "metrics.json").read_bytes() == expected
    assert read(tmp_path / "timings.json")["engine"] == engine


def test_the_timings_tell_every_task_once_and_in_its_round(alone: Path) -> None:
    timings = read(alone / "timings.json")
    tasks = timings["tasks"]
    assert [(t["round"], t["task"]) for t in tasks] == [(r, n) for r in (0, 1) for n in range(6)]
    assert len(timings["workers"]) == 1
    assert all(0 <= t["start_s"] < t["end_s"] <= timings["wall_s"] + 0.01 for t in tasks)
    first, second = ([t for t in tasks if t["round"] == number] for number in (0, 1))
    assert max(t["end_s"] for t in first) <= min(t["start_s"] for t in second)
    assert (alone / "figures" / "timeline.png").stat().st_size > 5000


def test_no_time_is_among_the_metrics(alone: Path) -> None:
    metrics = read(alone / "metrics.json")
    assert set(metrics) == {"checksum", "last_value", "tasks", "freight"}
    assert metrics["tasks"] == 12
    assert metrics["freight"] == {"value": 12 * 2 * 3, "unit": "KiB"}


def test_the_engine_is_the_one_whose_variables_are_there() -> None:
    assert detect({}) == "process"
    assert detect({"SPARK_CONF_DIR": "/conf"}) == "spark"
    assert detect({"DASK_SCHEDULER_ADDRESS": "tls://10.0.0.1:8786"}) == "dask"


def test_an_odd_value_ends_with_one_line(tmp_path: Path) -> None:
    for words in (["--tasks", "0"], ["--imbalance", "1.5"], ["--work", "nan"]):
        done = scale(tmp_path, *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
