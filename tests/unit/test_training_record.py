"""The helper with which a training script says how the training went."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from rpac_ci.helpers import training_record
from rpac_ci.helpers.training_record import MOST_POINTS, TrainingRecord

SCRIPT = """\
import sys
from training_record import TrainingRecord
record = TrainingRecord(torch=7)
record.hyper_parameters(epochs=2)
record.write("training.json")
print(sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
"""


def test_a_whole_training_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    record = TrainingRecord(torch=7, numpy=8)
    record.hyper_parameters(epochs=2, learning_rate=1e-3)
    record.hyper_parameters(optimizer="adam", nesterov=False, weight_decay=None)
    record.split("train", [b"one", b"two"])
    record.split("test", [])
    for step, loss in ((1, 0.75), (2, 0.5)):
        record.point("loss", step, train=loss, test=2 * loss)
    record.model(tmp_path / "model.pt", parameters=12)
    record.write(tmp_path / "out" / "training.json")
    found = json.loads((tmp_path / "out" / "training.json").read_text())
    assert found["schema"] == "rpac/training/1"
    assert found["seeds"] == {"torch": 7, "numpy": 8}
    assert found["hyper_parameters"] == {
        "epochs": 2, "learning_rate": 1e-3, "optimizer": "adam", "nesterov": False,
        "weight_decay": None,
    }  # fmt: skip
    assert found["curves"] == {"loss": {"step": [1, 2], "train": [0.75, 0.5], "test": [1.5, 1.0]}}
    assert [found["splits"][name]["count"] for name in ("train", "test")] == [2, 0]
    expected = hashlib.sha256(b"weights").hexdigest()
    assert found["model"] == {"path": "model.pt", "sha256": expected, "parameters": 12}


def test_what_was_never_told_is_left_out() -> None:
    assert TrainingRecord().document() == {"schema": "rpac/training/1"}


def test_the_file_works_alone_and_imports_nothing_but_the_standard_library(tmp_path: Path) -> None:
    shutil.copy(training_record.__file__, tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    # -S: no site-packages, so neither rpac nor anything else installed can be found
    done = subprocess.run(
        [sys.executable, "-S", "train.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['__main__', 'training_record']"
    assert json.loads((tmp_path / "training.json").read_text())["seeds"] == {"torch": 7}


def test_the_hash_of_a_split_is_that_of_lengths_and_contents() -> None:
    by_hand = hashlib.sha256()
    for sample in (b"ab", b"c"):
        by_hand.update(len(sample).to_bytes(8, "little") + sample)
    assert TrainingRecord().split("train", [b"ab", b"c"]) == by_hand.hexdigest()


def test_a_split_differs_by_order_by_borders_and_by_content() -> None:
    parts: list[list[bytes]] = [
        [b"ab", b"c"],
        [b"c", b"ab"],
        [b"a", b"bc"],
        [b"abc"],
        [b"ab", b"c", b""],
        [],
    ]
    hashes = {TrainingRecord().split("train", samples) for samples in parts}
    assert len(hashes) == len(parts)


def test_texts_bytes_and_arrays_of_equal_content_are_one_split() -> None:
    number = memoryview(array("i", [1, 2, 3, 4]))
    every_second = memoryview(b"p.a.t.c.h")[::2]
    same: list[str | bytes | bytearray | memoryview] = ["patch", b"patch", bytearray(b"patch")]
    same.append(every_second)
    assert len({TrainingRecord().split("test", [sample]) for sample in same}) == 1
    table = number.cast("B").cast("i", (2, 2))
    assert TrainingRecord().split("test", [table]) == TrainingRecord().split("test", [number])


def test_samples_may_come_from_a_generator() -> None:
    record = TrainingRecord()
    lazily = record.split("train", (bytes([i]) for i in range(5)))
    assert lazily == record.split("train", [bytes([i]) for i in range(5)])
    assert record.document()["splits"] == {"train": {"count": 5, "sha256": lazily}}


def test_points_are_sorted_and_gaps_are_null() -> None:
    record = TrainingRecord()
    record.point("loss", 2, train=0.5)
    record.point("loss", 1, train=0.9, test=1.0)
    record.point("loss", 2, test=float("nan"))
    record.point("loss", 3, train=float("inf"))
    assert record.document()["curves"] == {
        "loss": {"step": [1, 2, 3], "train": [0.9, 0.5, None], "test": [1.0, None, None]}
    }


def test_a_diverged_training_is_written_as_valid_json(tmp_path: Path) -> None:
    record = TrainingRecord()
    record.point("loss", 1, train=float("nan"))
    record.hyper_parameters(clip=float("inf"))
    record.write(tmp_path / "training.json")
    text = (tmp_path / "training.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize("points", [MOST_POINTS - 1, MOST_POINTS, MOST_POINTS + 1, 12345])
def test_a_long_curve_is_thinned_and_keeps_its_ends(points: int) -> None:
    record = TrainingRecord()
    for step in range(points):
        record.point("loss", step, train=float(step))
    curves = record.document()["curves"]
    assert isinstance(curves, dict)
    steps = curves["loss"]["step"]
    assert len(steps) == len(set(steps)) == min(points, MOST_POINTS)
    assert (steps[0], steps[-1]) == (0, points - 1)
    assert curves["loss"]["train"] == [float(step) for step in steps]


def test_values_that_would_not_be_read_are_refused() -> None:
    record = TrainingRecord()
    with pytest.raises(TypeError, match="layers is a list; expected a number"):
        record.hyper_parameters(layers=[8, 16])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="curve loss: expected values by name"):
        record.point("loss", 1)
    for number in range(10):
        record.point(f"curve {number}", 1, train=0.0)
    record.point("curve 0", 2, train=0.0)
    with pytest.raises(ValueError, match="there are 10 curves already"):
        record.point("one more", 1, train=0.0)


def test_writing_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "training.json"
    target.write_text("x" * 10_000)
    TrainingRecord(torch=1).write(target)
    assert json.loads(target.read_text())["seeds"] == {"torch": 1}
    assert list(tmp_path.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "training.json"
    target.mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(OSError, match=r"training\.json"):
        TrainingRecord().write(target)
    assert list(tmp_path.iterdir()) == [target]


def test_large_model_files_are_hashed_in_parts(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "model.pt").write_bytes(content)
    found = TrainingRecord().model(tmp_path / "model.pt")
    assert found == hashlib.sha256(content).hexdigest()
