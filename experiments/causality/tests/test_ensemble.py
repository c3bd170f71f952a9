"""Votes and scores of cases done by hand; the table and the figures they end in."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from discover import make_tasks
from ensemble import METHODS, agreement, combine, cut, majority, score
from methods import FINDERS
from outcome import Found, Series, write_outcome
from synthetic import NAMES, Links, make_series, true_links


def links(*at: tuple[int, int, int]) -> Links:
    """A graph of three variables and two lags with links at [lag - 1, cause, effect]."""
    graph = np.zeros((2, 3, 3), dtype=np.bool_)
    for place in at:
        graph[place] = True
    return graph


A, B, C = (0, 0, 1), (1, 1, 2), (0, 2, 0)


def test_half_of_the_votes_is_no_majority() -> None:
    assert np.array_equal(majority([links(A, B), links(A)]), links(A))
    assert np.array_equal(majority([links(A, B), links(A), links(B, C)]), links(A, B))
    assert np.array_equal(majority([links(C)]), links(C))


def test_partitions_vote_first_and_methods_second() -> None:
    found = {
        "granger": [links(A, B), links(A), links()],  # keeps A
        "pcmci": [links(B), links(B), links(A, B)],  # keeps B
        "network": [links(A, C), links(A, C), links(C)],  # keeps A and C
    }
    ensemble = combine(found)
    assert np.array_equal(ensemble.graph, links(A))
    assert [int(ensemble.votes[name][B]) for name in found] == [1, 3, 0]
    # all nine votes in one heap would have kept A alone too, but C has two thirds of one method
    assert np.array_equal(ensemble.graphs["network"], links(A, C))


def test_scores_of_a_case_done_by_hand() -> None:
    assert score(links(A, B), links(A, C)) == (0.5, 0.5, 0.5, 2)
    assert score(links(A), links(A)) == (1, 1, 1, 0)
    assert score(links(), links(A)) == (0, 0, 0, 1)
    wrong_lag = links((1, 0, 1))
    assert score(wrong_lag, links(A)).shd == 2
    assert agreement(links(A, B), links(A, C)) == pytest.approx(1 / 3)
    assert agreement(links(), links()) == 1


def test_partitions_cover_the_series_and_differ_by_at_most_one_step() -> None:
    values = make_series(1, 100)
    parts = cut(values, 7)
    np.testing.assert_array_equal(np.concatenate(parts), values)
    assert {len(part) for part in parts} == {14, 15}


def test_partitions_too_short_for_the_lags_are_refused() -> None:
    series = {"short": Series(NAMES, make_series(1, 200), None, 0)}
    assert len(make_tasks(series, 2, 3)) == 2 * len(METHODS)
    with pytest.raises(ValueError, match="short: partitions of 66 steps, expected 80 or more"):
        make_tasks(series, 3, 3)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is written of two short series; the second stands for the real one."""
    series = {
        "synthetic": Series(NAMES, make_series(1, 600), true_links(2), 0),
        "climate": Series(NAMES[:3], make_series(2, 240)[:, :3], None, 1990),
    }
    found: Found = {name: {method: [] for method in METHODS} for name in series}
    for task in make_tasks(series, 2, 2):
        found[task.series][task.method].append(FINDERS[task.method](task.values, 2, 0.05))
    out = tmp_path_factory.mktemp("results")
    write_outcome(out, series, found)
    return out


def test_the_table_and_the_metrics_tell_the_same(results: Path) -> None:
    metrics = json.loads((results / "metrics.json").read_text())
    with (results / "graph.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["series"] == "synthetic"]
    kept = [row for row in rows if row["ensemble"] == "1"]
    true = [row for row in rows if row["truth"] == "1"]
    assert metrics["synthetic_links"] == len(kept) > 0
    assert len(true) == true_links(2).sum()
    hits = [row for row in kept if row in true]
    assert metrics["synthetic_precision"] == pytest.approx(len(hits) / len(kept), abs=1e-6)
    assert metrics["synthetic_shd"] == len(kept) + len(true) - 2 * len(hits)
    assert all((int(row["methods"]) >= 2) == (row["ensemble"] == "1") for row in rows)


def test_no_truth_is_told_of_the_real_series(results: Path) -> None:
    metrics = json.loads((results / "metrics.json").read_text())
    told = {key for key in metrics if key.startswith("climate_")}
    assert not any("f1" in key or "precision" in key for key in told)
    with (results / "graph.csv").open(encoding="utf-8") as file:
        assert {row["truth"] for row in csv.DictReader(file) if row["series"] == "climate"} == {""}


def test_figures_are_small_and_not_empty(results: Path) -> None:
    for name in ("synthetic", "climate", "agreement"):
        path = results / "figures" / f"{name}.png"
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 8
        assert path.stat().st_size < 100_000
