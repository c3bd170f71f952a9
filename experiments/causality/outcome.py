"""From the links each task found to everything there is to see: numbers, table, figures."""

import csv
import json
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ensemble import METHODS, Ensemble, agreement, combine, cut, score
from figures import draw_agreement, draw_graph_of_nature, draw_synthetic
from synthetic import Array, Links

Found = dict[str, dict[str, list[Links]]]  # series → method → links of each partition


class Series(NamedTuple):
    """
    A multivariate series.

    Attributes:
        variables: names of the columns.
        values: (time, variables), without unit.
        truth: its graph, if known.
        start: time of the first step, years; 0 where time has no unit.
    """

    variables: tuple[str, ...]
    values: Array
    truth: Links | None
    start: int


def write_outcome(out: Path, series: dict[str, Series], found: Found) -> dict[str, float]:
    """
    Write metrics.json, graph.csv and figures/ into a folder, made where it is not.

    Returns:
        The metrics.
    """
    ensembles = {name: combine(parts) for name, parts in found.items()}
    metrics = summarize(series, found, ensembles)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    write_graph(out / "graph.csv", series, ensembles)
    made, real = series["synthetic"], series["climate"]
    assert made.truth is not None
    draw_synthetic(
        out / "figures" / "synthetic.png", made.variables, made.truth, ensembles["synthetic"].graph
    )
    partitions = len(found["climate"][METHODS[0]])
    steps = np.cumsum([0, *(len(part) for part in cut(real.values, partitions))])
    draw_graph_of_nature(
        out / "figures" / "climate.png",
        real.variables,
        (real.start + np.arange(len(real.values)) / 12, real.values),
        (real.start + steps / 12).tolist(),
        ensembles["climate"],
    )
    draw_agreement(
        out / "figures" / "agreement.png",
        {name: (ensembles[name], one.truth) for name, one in series.items()},
    )
    return metrics


def summarize(
    series: dict[str, Series], found: Found, ensembles: dict[str, Ensemble]
) -> dict[str, float]:
    """
    Metrics, flat: scores where the truth is known, sizes and agreement for every series.

    `<series>_<method>_partition_f1` is the mean F1 of that method on one partition, before any
    vote; `<series>_<method>_f1` is after phase 1, `<series>_f1` after phase 2.
    """
    metrics: dict[str, float] = {}
    for name, ensemble in ensembles.items():
        truth = series[name].truth
        if truth is not None:
            for key, value in score(ensemble.graph, truth)._asdict().items():
                metrics[f"{name}_{key}"] = _rounded(value)
            for method, graph in ensemble.graphs.items():
                single = [score(links, truth).f1 for links in found[name][method]]
                metrics[f"{name}_{method}_partition_f1"] = _rounded(float(np.mean(single)))
                metrics[f"{name}_{method}_f1"] = _rounded(score(graph, truth).f1)
        metrics[f"{name}_links"] = int(ensemble.graph.sum())
        for method, graph in ensemble.graphs.items():
            metrics[f"{name}_{method}_links"] = int(graph.sum())
        for one, other in combinations(METHODS, 2):
            value = agreement(ensemble.graphs[one], ensemble.graphs[other])
            metrics[f"{name}_agreement_{one}_{other}"] = _rounded(value)
    return metrics


def write_graph(path: Path, series: dict[str, Series], ensembles: dict[str, Ensemble]) -> None:
    """
    Write one row per link that has a vote or is true, ordered by series, cause, effect and lag.

    Columns: votes of partitions for each method, number of methods that kept the link, whether the
    ensemble has it, and whether it is true (empty where that is not known).
    """
    rows: list[tuple[object, ...]] = []
    for name, ensemble in ensembles.items():
        names, truth = series[name].variables, series[name].truth
        seen = np.sum(list(ensemble.votes.values()), axis=0) > 0
        if truth is not None:
            seen |= truth
        for cause, effect, lag in np.argwhere(np.moveaxis(seen, 0, 2)).tolist():
            at = (lag, cause, effect)
            votes = [int(ensemble.votes[method][at]) for method in METHODS]
            kept = sum(bool(graph[at]) for graph in ensemble.graphs.values())
            true = "" if truth is None else int(truth[at])
            link = (name, names[cause], names[effect], lag + 1)
            rows.append((*link, *votes, kept, int(ensemble.graph[at]), true))
    header = ["series", "cause", "effect", "lag", *(f"{method}_votes" for method in METHODS)]
    header += ["methods", "ensemble", "truth"]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _rounded(value: float) -> float:
    return round(value, 6)
