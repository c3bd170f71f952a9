"""From files to results: the loader, the forests, and the whole command."""

import filecmp
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from netCDF4 import Dataset

from dataset import FEATURES, Rules, find_granules, read_granule
from forest import Forest, blocks, fit_trees, tree_seeds
from granule import Files, Size, write_granule
from scores import Result, score
from viirs_files import FILL, complete, read_imagery, write_imagery

RULES = Rules(1.0, 15.0, 2)
FOLDER = Path(__file__).parent.parent
SIZE = ("--granules", "4", "--scans", "8", "--pixels", "48", "--trees", "5", "--seed", "6")


def retrieve(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "DASK_SCHEDULER_ADDRESS"}
    return subprocess.run(
        [sys.executable, "retrieve.py", "--out", str(out), *words],
        cwd=FOLDER, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_loader_masks_collocates_and_labels(files: Files) -> None:
    samples, tally, patch = read_granule(files, RULES, patch=True)
    assert patch is not None
    counts = read_imagery(files.imagery).counts
    assert tally.masked_pixels == np.count_nonzero(~complete(counts)) > 0
    assert tally.synthetic
    assert 50 < tally.collocated == samples.cloud.size + tally.uncertain <= tally.profiles
    assert samples.features.shape == (samples.cloud.size, len(FEATURES))
    assert np.isfinite(samples.features).all()
    assert np.isfinite(patch.features).all()
    assert set(np.unique(samples.cloud)) <= {0, 1}
    assert (samples.phase[samples.cloud == 0] == -1).all()
    assert (tally.distance_km <= 1.0).all()


def test_no_fill_value_gets_into_a_feature(files: Files, tmp_path: Path) -> None:
    counts = read_imagery(files.imagery).counts
    counts[3, 20:] = FILL
    write_imagery(tmp_path / files.imagery.name, counts, "synthetic")
    changed = files._replace(imagery=tmp_path / files.imagery.name)
    samples, tally, _ = read_granule(changed, RULES)
    assert tally.masked_pixels >= counts[3, 20:].size
    assert 0 < samples.cloud.size < read_granule(files, RULES)[0].cloud.size
    assert samples.features[:, :11].max() < 3  # a fill taken for a value would be 1.3 / cosine …
    assert samples.features[:, 11:16].min() > 150
    assert samples.features[:, 11:16].max() < 345


def test_the_same_seed_gives_the_same_files_and_another_does_not(
    folder: Path, size: Size, tmp_path: Path
) -> None:
    first = find_granules(folder)[2]
    again = write_granule(tmp_path, 6, 2, size)  # on its own, without those before it
    assert again.imagery.name == first.imagery.name
    np.testing.assert_array_equal(
        read_imagery(again.imagery).counts, read_imagery(first.imagery).counts
    )
    other = write_granule(tmp_path, 7, 2, size)
    assert not np.array_equal(
        read_imagery(other.imagery).counts, read_imagery(first.imagery).counts
    )


def test_lidar_files_of_other_times_are_passed_over(folder: Path) -> None:
    granules = find_granules(folder)
    assert [len(granule.profiles) for granule in granules] == [4] * 4
    alone = granules[0]._replace(profiles=granules[0].profiles)
    every, tally, _ = read_granule(alone, RULES)
    own = min(
        (granules[0]._replace(profiles=(path,)) for path in granules[0].profiles),
        key=lambda files: -read_granule(files, RULES)[0].cloud.size,
    )
    np.testing.assert_array_equal(read_granule(own, RULES)[0].features, every.features)
    assert tally.profiles == read_granule(own, RULES)[1].profiles


def test_a_folder_without_its_partner_files_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected VNP02MOD"):
        find_granules(tmp_path)
    name = next(folder.glob("VNP02MOD*")).name
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match="no VNP03MOD for A20"):
        find_granules(tmp_path)


def table() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(600, 19)).astype(np.float32)
    return features, (features[:, 0] + features[:, 4] > rng.normal(0, 0.3, 600)).astype(np.int8)


@pytest.mark.parametrize("number", [1, 3, 7, 50])
def test_a_forest_is_the_same_however_it_is_cut_into_blocks(number: int) -> None:
    features, classes = table()
    seeds = tree_seeds(5, 1, 7)
    parts = blocks(seeds, number)
    assert [seed for part in parts for seed in part] == seeds
    assert len(parts) == min(number, 7)
    trees = [tree for part in parts for tree in fit_trees(features, classes, part, 6)]
    whole = Forest(tuple(fit_trees(features, classes, seeds, 6)))
    cut = Forest(tuple(trees))
    assert (cut.probability(features) == whole.probability(features)).all()  # to the last bit


def test_seeds_differ_between_trees_forests_and_runs() -> None:
    every = [*tree_seeds(1, 1, 50), *tree_seeds(1, 2, 50), *tree_seeds(2, 1, 50)]
    assert len(set(every)) == 150
    assert tree_seeds(1, 1, 5) == tree_seeds(1, 1, 50)[:5]


def test_trees_keep_to_the_depth_and_the_forest_learns() -> None:
    features, classes = table()
    forest = Forest(tuple(fit_trees(features[:400], classes[:400], tree_seeds(1, 1, 20), 4)))
    assert max(tree.get_depth() for tree in forest.trees) <= 4
    assert ((forest.probability(features[400:]) >= 0.5) == classes[400:]).mean() > 0.8
    assert set(np.argsort(forest.importance())[-2:]) == {0, 4}


def test_scores_of_a_case_done_by_hand() -> None:
    truth = np.array([0, 0, 0, 1, 1], dtype=np.int8)
    values = score(Result(truth, np.array([0.1, 0.2, 0.9, 0.8, 0.4])))
    assert values["accuracy"] == 0.6
    assert values["majority"] == 0.6
    assert (values["recall_0"], values["recall_1"]) == (0.666667, 0.5)
    assert values["f1"] == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-6)
    assert values["brier"] == pytest.approx((0.01 + 0.04 + 0.81 + 0.04 + 0.36) / 5)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of the command at its smallest."""
    out = tmp_path_factory.mktemp("results")
    done = retrieve(out, *SIZE)
    assert done.returncode == 0, done.stderr
    return out


def same(results: Path, other: Path) -> bool:
    names = ["metrics.json", "predictions.csv", "retrieval.nc"]
    names += ["figures/scores.png", "figures/scene.png"]
    return filecmp.cmpfiles(results, other, names, shallow=False)[0] == names


def test_blocks_change_no_byte_of_any_output(results: Path, tmp_path: Path) -> None:
    assert retrieve(tmp_path, *SIZE, "--blocks", "2").returncode == 0
    assert same(results, tmp_path)


def test_files_in_a_folder_give_what_the_same_files_made_up_give(
    results: Path, folder: Path, tmp_path: Path
) -> None:
    done = retrieve(tmp_path, "--data", str(folder), "--trees", "5", "--seed", "6")
    assert done.returncode == 0, done.stderr
    assert same(results, tmp_path)


def test_the_outputs_say_that_they_are_synthetic(results: Path) -> None:
    with Dataset(results / "retrieval.nc") as file:
        assert "synthetic" in file.title
        assert file["latitude"].units == "degrees_north"
        mask, phase = file["cloud_mask"][:], file["cloud_phase"][:]
    assert set(np.unique(mask.compressed())) <= {0, 1}
    assert set(np.unique(phase.compressed())) <= {1, 2}
    assert (phase.mask == ~(mask.filled(0) == 1)).all()
    assert (results / "predictions.csv").read_text().startswith("granule,profile,cloud,")


def test_an_odd_value_ends_with_one_line(tmp_path: Path) -> None:
    for words in (["--trees", "0"], ["--data", str(tmp_path)], ["--granules", "999"]):
        done = retrieve(tmp_path, *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
