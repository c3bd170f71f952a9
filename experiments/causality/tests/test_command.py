"""The whole command on local Spark."""

import filecmp
import os
import subprocess
import sys
from pathlib import Path

import pytest

from climate import Files

FOLDER = Path(__file__).parent.parent
OUTPUTS = ["metrics.json", "graph.csv"]
OUTPUTS += [f"figures/{name}.png" for name in ("synthetic", "climate", "agreement")]


def discover(out: Path, files: Files, *words: str) -> subprocess.CompletedProcess[str]:
    conf = out / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    (conf / "spark-defaults.conf").write_text("spark.master local[2]\nspark.ui.enabled false\n")
    environment = {**os.environ, "PYTHONPATH": str(FOLDER), "SPARK_CONF_DIR": str(conf)}
    environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    sources = [word for name, path in files._asdict().items() for word in (f"--{name}", str(path))]
    return subprocess.run(
        [sys.executable, "discover.py", "--out", str(out), *sources, *words],
        cwd=FOLDER, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_number_of_spark_tasks_changes_no_byte(files: Files, tmp_path: Path) -> None:
    size = ("--partitions", "2", "--max-lag", "1", "--length", "150")
    for slices in ("1", "5"):
        done = discover(tmp_path / slices, files, *size, "--slices", slices)
        assert done.returncode == 0, done.stderr[-3000:]
    same, _, _ = filecmp.cmpfiles(tmp_path / "1", tmp_path / "5", OUTPUTS, shallow=False)
    assert same == OUTPUTS


@pytest.mark.parametrize("words", [("--alpha", "1"), ("--partitions", "0"), ("--length", "30")])
def test_an_odd_value_ends_with_one_line(
    files: Files, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = discover(tmp_path, files, *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
