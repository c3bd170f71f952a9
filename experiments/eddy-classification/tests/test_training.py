"""The network learns, repeats itself, and two ranks do what one does."""

import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Files

from network import parameters, seeded
from ranks import Ranks, connect
from samples import Dataset, SampleError, Samples, Symmetry
from scores import auc, confusion, score
from training import Settings, schedule, shares, train

FOLDER = Path(__file__).parent.parent
SETTINGS = Settings(
    epochs=1, batch=8, learning_rate=1e-3, weight_decay=0.01, width=4, seed=5
)  # fmt: skip
RENDEZVOUS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "HOROVOD_RANK")
OUTPUTS = ["metrics.json", "model.pt", "predictions.csv", "training.json"]
FIGURES = [f"figures/{name}.png" for name in ("confusion", "examples", "training")]


def made_up(count: int) -> Samples:
    """Images with a bump in the middle, or a slope."""
    rng = np.random.default_rng(count)
    labels = np.arange(count) % 2
    y, x = np.mgrid[-4:4, -4:4] + 0.5
    images = np.ones((count, 2, 8, 8), dtype=np.float32)
    images[:, 0] = np.where(labels[:, None, None], 2 * np.exp(-(x**2 + y**2) / 6), x / 3)
    images[:, 0] += rng.normal(0, 0.2, (count, 8, 8))
    return Samples(images, labels, {})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A task that is easily learned."""
    symmetries = (Symmetry(3, (1, 1)), Symmetry(2, (1, 1)))
    names = ("height", "valid")
    return Dataset(made_up(68), made_up(21), names, np.ones(2), symmetries, "made up")


class OneOfTwo(Ranks):
    """A rank of two, as far as the order of the data goes."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.size = rank, 2


def test_the_network_learns_what_can_be_learned(dataset: Dataset) -> None:
    trained = train(dataset, SETTINGS._replace(epochs=15, learning_rate=1e-2), Ranks())
    assert trained.curve[-1].test_accuracy > 0.9
    assert trained.curve[-1].train_loss < 0.5 * trained.curve[0].train_loss


def test_a_training_repeats_to_the_last_bit_and_another_seed_does_not(dataset: Dataset) -> None:
    first, again = (train(dataset, SETTINGS._replace(epochs=2), Ranks()) for _ in range(2))
    for one, other in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert first.curve == again.curve
    np.testing.assert_array_equal(first.probability, again.probability)
    different = train(dataset, SETTINGS._replace(epochs=2, seed=6), Ranks())
    assert different.curve != first.curve


def test_initial_weights_follow_from_the_seed_and_leave_the_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    one, other = seeded(5, 2, 4), seeded(5, 2, 4)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.head.weight, other.head.weight)
    assert not torch.equal(one.head.weight, seeded(6, 2, 4).head.weight)


def test_the_network_takes_images_of_any_size() -> None:
    model = seeded(1, 4, 16)
    assert parameters(model) == 16833
    assert [model(torch.zeros(3, 4, side, side)).shape for side in (4, 9, 32)] == [(3,)] * 3


def test_ranks_share_each_batch_without_gap_or_overlap(dataset: Dataset) -> None:
    whole = shares(dataset, SETTINGS, 3, Ranks())
    halves = [shares(dataset, SETTINGS, 3, OneOfTwo(rank)) for rank in (0, 1)]
    assert [batch.labels.size for batch in whole] == [8] * 8  # four images are left over
    for batch, one, other in zip(whole, *halves, strict=True):
        together = np.concatenate([one.images, other.images])
        np.testing.assert_array_equal(together, batch.images)
    other_epoch = shares(dataset, SETTINGS, 4, Ranks())
    assert not np.array_equal(other_epoch[0].images, whole[0].images)


def test_batches_that_cannot_be_shared_are_refused(dataset: Dataset) -> None:
    with pytest.raises(SampleError, match="a batch of 7 cannot be shared by 2 ranks"):
        train(dataset, SETTINGS._replace(batch=7), OneOfTwo(0))
    with pytest.raises(SampleError, match="a batch of 100 is more than the 68 training images"):
        train(dataset, SETTINGS._replace(batch=100), Ranks())


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    rates = [schedule(progress) for progress in np.linspace(0, 1, 101)]
    assert max(rates) == 1.0
    assert rates.index(1.0) == 15
    assert rates[0] == pytest.approx(0.05)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_alone_when_nobody_started_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RENDEZVOUS:
        monkeypatch.delenv(name, raising=False)
    ranks = connect()
    assert (ranks.rank, ranks.size, ranks.name) == (0, 1, "alone")


def test_scores_of_a_case_done_by_hand() -> None:
    labels = np.array([1, 1, 1, 0, 0])
    probability = np.array([0.9, 0.5, 0.2, 0.5, 0.1])
    assert confusion(labels, probability) == (2, 1, 1, 1)
    scores = score(labels, probability)
    assert (scores["accuracy"], scores["precision"]) == (0.6, 0.666667)
    assert (scores["recall"], scores["f1"]) == (0.666667, 0.666667)
    assert scores["auc"] == pytest.approx((2 + 1.5 + 1) / 6)  # pairs, a tie counts one half
    assert scores["missed"] == {"value": 1, "unit": "images"}


def test_auc_of_one_class_is_not_a_number() -> None:
    assert np.isnan(auc(np.ones(3, dtype=int), np.array([0.1, 0.2, 0.3])))


def run(out: Path, *words: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in RENDEZVOUS}
    environment["OMP_NUM_THREADS"] = "1"  # torchrun warns when it must choose
    return subprocess.run(
        [sys.executable, *launcher, "train.py", "--out", str(out), *words],
        cwd=FOLDER, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def words(files: Files) -> tuple[str, ...]:
    """Arguments of a training of two steps."""
    data = (f"--{name}={path}" for name, path in files._asdict().items())
    return (*data, "--patch=6", "--patches=16", "--batch=8", "--width=4", "--epochs=1", "--seed=2")


@pytest.fixture(scope="module")
def results(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of a training of two steps in one process."""
    out = tmp_path_factory.mktemp("results")
    done = run(out, *words(files))
    assert done.returncode == 0, done.stderr
    return out


def test_the_command_writes_the_same_bytes_again(
    results: Path, files: Files, tmp_path: Path
) -> None:
    assert run(tmp_path, *words(files)).returncode == 0
    names = [*OUTPUTS, *FIGURES]
    assert filecmp.cmpfiles(results, tmp_path, names, shallow=False)[0] == names


def test_two_ranks_agree_with_one_within_rounding(
    results: Path, files: Files, tmp_path: Path
) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = run(tmp_path, *words(files), launcher=launcher)
    assert done.returncode == 0, done.stderr
    one, two = (torch.load(folder / "model.pt") for folder in (results, tmp_path))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)
    records = [json.loads((f / "training.json").read_text()) for f in (results, tmp_path)]
    assert [record["hyper_parameters"]["ranks"] for record in records] == [1, 2]
    assert records[0]["splits"] == records[1]["splits"]


def test_the_record_fits_the_other_outputs(results: Path) -> None:
    record = json.loads((results / "training.json").read_text())
    metrics = json.loads((results / "metrics.json").read_text())
    assert record["splits"]["train"]["count"] == 16
    rows = (results / "predictions.csv").read_text().splitlines()
    assert rows[0] == "longitude,latitude,basin,radius_km,label,probability"
    assert record["splits"]["test"]["count"] == len(rows) - 1 == metrics["test_images"]["value"]
    assert all(",indian," in row for row in rows[1:])
    assert record["curves"]["loss"]["test"][-1] == pytest.approx(metrics["test_loss"], abs=1e-6)
    assert record["model"]["parameters"] == metrics["parameters"]


def test_chips_take_the_place_of_the_altimetry(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(24):
        path = tmp_path / "chips" / ("eddy" if number % 2 else "sea") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.full((10, 10), 80 + 4 * number, dtype=np.uint8)
        values[3:7, 3:7] += 40 * (number % 2)
        Image.fromarray(values).save(path)
    out = tmp_path / "out"
    done = run(out, f"--chips={tmp_path / 'chips'}", "--batch=6", "--width=4", "--epochs=2")
    assert done.returncode == 0, done.stderr
    header = (out / "predictions.csv").read_text().splitlines()[0]
    assert header == "file,scene,label,probability"
    assert all((out / name).stat().st_size > 1000 for name in FIGURES)


def test_an_odd_value_ends_with_one_line(files: Files, tmp_path: Path) -> None:
    odd = ((*words(files), "--batch=999"), ("--chips=/nowhere",), (*words(files), "--field=none"))
    for arguments in odd:
        done = run(tmp_path, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
