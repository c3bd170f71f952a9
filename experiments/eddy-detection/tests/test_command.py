"""The command as a user calls it: alone, under torchrun, with wrong words."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from detect_eddies import parse_arguments

FOLDER = Path(__file__).parent.parent
SMALL = ("--tile", "32", "--epochs", "2", "--batch", "4", "--width", "8", "--seed", "3")
FILES = ("metrics.json", "detections.csv", "training.json", "model.pt")
FIGURES = ("figures/boxes.png", "figures/precision_recall.png", "figures/training.png")


def command(*words: str, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    start = [sys.executable]
    if ranks > 1:
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        start += ["-m", *torchrun]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*start, "detect_eddies.py", *words],
        cwd=FOLDER, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_folder_becomes_results(yolo: Path, tmp_path: Path) -> None:
    done = command("--yolo", str(yolo), "--out", str(tmp_path / "out"), *SMALL)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert all((out / name).is_file() for name in FILES)
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["train_images"], metrics["test_objects"]) == (12, 5)
    assert 0 <= metrics["map50"] <= 1
    rows = list(csv.DictReader((out / "detections.csv").read_text().splitlines()))
    assert all(-1 < float(row["x0"]) < float(row["x1"]) < 2 for row in rows)
    for name in FIGURES:
        with Image.open(out / name) as image:
            assert image.width > 400


def test_two_ranks_repeat_themselves_to_the_last_byte(yolo: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = command("--yolo", str(yolo), "--out", str(tmp_path / name), *SMALL, ranks=2)
        assert done.returncode == 0, done.stderr
    for name in (*FILES, *FIGURES):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    record = json.loads((tmp_path / "one" / "training.json").read_text())
    assert record["hyper_parameters"]["ranks"] == 2
    assert record["curves"]["loss"]["step"] == [1, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--yolo", "x", "--epochs", "0"], "--epochs: expected 1 or more"),
        (["--yolo", "x", "--tile", "33"], "an even --tile"),
        (["--yolo", "x", "--width", "10"], "multiple of 4"),
        (["--field", "F.nc"], "expected --field, --cyclonic and --anticyclonic, or --yolo"),
        (["--field", "F", "--cyclonic", "C", "--anticyclonic", "A", "--yolo", "x"], "or --yolo"),
    ],
)
def test_an_odd_word_ends_with_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_arguments(["--out", "out", *words])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said


@pytest.mark.parametrize("source", ["yolo", "field"])
def test_a_missing_input_ends_with_one_line(tmp_path: Path, source: str) -> None:
    files = [word for name in ("field", "cyclonic", "anticyclonic") for word in (f"--{name}", "F")]
    words = files if source == "field" else ["--yolo", "nowhere"]
    done = command("--out", str(tmp_path), *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert ("F: no such file" if source == "field" else "no .png files") in done.stderr
