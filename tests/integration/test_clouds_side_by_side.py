"""Plans for several clouds at once: a column for each, and a run of one cloud taken to another."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import WriteExperiment
from tests.integration.conftest import Terminal
from tests.integration.test_aws_plans import quick


def rows(shown: str) -> dict[str, list[str]]:
    """Name of a row -> its cells."""
    found = {}
    for line in shown.splitlines():
        name, *cells = [cell for cell in line.split("  ") if cell.strip()] or [""]
        found[name.strip()] = [cell.strip() for cell in cells]
    return found


def test_clouds_are_shown_side_by_side_before_money_is_spent(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    quick(write_experiment)
    shown = rpac("plan", "quick", "cloud=aws,local", "nodes=2", "cpus=4", "time=1h")
    assert shown.code == 0, shown.err
    table = rows(shown.out)
    assert table["possible"] == ["yes", "yes"]
    assert table["region"] == ["us-east-1", "–"]
    assert table["machines"] == ["2 × c6i.xlarge (4 cpus, 8 GiB)", "2 × (4 cpus, 1.0 GiB)"]
    assert table["fidelity"] == ["–", "D, to aws c6i.xlarge"]
    assert table["price of a node"][0].startswith("0.17 USD/h, as of ")
    assert table["cost"][1] == "0.00 USD"
    assert table["science"][0] == table["science"][1]
    assert "the same science everywhere: sha256:" in shown.out
    assert rpac("status").out.strip() == "no open runs"


def test_a_cloud_that_cannot_serve_says_why_and_does_not_stop_the_others(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    quick(write_experiment)
    shown = rpac("plan", "quick", "cloud=local,aws,mars", "spot=true")
    assert shown.code == 0
    assert rows(shown.out)["possible"] == ["no", "yes", "no"]
    assert "local: not available: cloud=local cannot meet spot=true: nothing is" in shown.out
    assert "mars: not available: there is no cloud 'mars' in this version" in shown.out
    dear = rpac("plan", "quick", "cloud=aws,local", "time=10d", "cost=1USD").out
    assert rows(dear)["possible"] == ["no", "yes"]
    assert "aws: not available: the run may cost up to" in dear


def test_where_no_cloud_can_serve_the_plan_fails_with_every_reason(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    quick(write_experiment)
    failed = rpac("plan", "quick", "cloud=local,aws", "nodes=1010")
    assert failed.code == 2
    assert "local: not available: 1010 nodes on one machine" in failed.err
    assert "aws: not available: 1010 nodes in one job of AWS Batch" in failed.err


def test_a_mistake_in_the_command_is_nobodys_column(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    quick(write_experiment)
    wrong = rpac("plan", "quick", "cloud=local,aws", "args.none=1")
    assert wrong.code == 2
    assert wrong.err.count("args.none: there is no such name") == 1
    assert "not available" not in wrong.err


def test_as_json_every_cloud_has_its_whole_plan_or_its_reason(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    quick(write_experiment)
    told: Any = rpac("plan", "quick", "cloud=local,mars,aws", "--json").json
    here, mars, aws = told["clouds"]
    assert [(one["cloud"], one["available"]) for one in told["clouds"]] == [
        ("local", True), ("mars", False), ("aws", True),
    ]  # fmt: skip
    assert here["price_usd"] == [0.0, 0.0]
    assert "no cloud 'mars'" in mars["reason"]
    alone: Any = rpac("plan", "quick", "cloud=aws", "--json").json
    assert aws == {"cloud": "aws", "available": True, **alone}


def test_more_lists_than_the_clouds_are_still_a_study(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    quick(write_experiment)
    assert "run  changes" in rpac("plan", "quick", "cloud=local,aws", "cpus=1,2").out
    assert "run  changes" in rpac("plan", "quick", "cloud=local,aws", "repeat=2").out


def test_a_run_of_this_machine_goes_to_a_cloud_by_one_word_with_its_grade(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment("quick")
    assert rpac("reproduce", "quick").code == 0
    run = rpac.runs()[0]
    shown = rpac("plan", f"quick@{run}", "cloud=aws", "engine=process")
    assert shown.code == 0, shown.err
    assert "fidelity      grade D, in place of local: cloud=local has whatever machine" in shown.out
    assert "machines      1 × c6i.large" in shown.out
    assert "(variant)" not in shown.out
    told: Any = rpac("plan", f"quick@{run}", "cloud=aws", "--json").json
    assert told["machine_change"]["grade"] == "D"
    assert told["pipeline"]["lineage"]["machine"]["recorded"] == "local"
    both: Any = rpac("plan", f"quick@{run}", "cloud=local,aws", "--json").json
    science = {one["science_digest"] for one in both["clouds"]}
    assert science == {rpac.record(run)["identity"]["science"]}


@pytest.mark.slow
def test_two_runs_are_compared_in_time_and_cost_where_that_is_fair(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment("quick")
    for _ in range(2):
        assert rpac("reproduce", "quick").code == 0
    first, second = rpac.runs()
    shown = rpac("compare", first, second).out
    assert "The same science in both, computed anew from their pipelines: sha256:" in shown
    table = rows(shown)
    assert table["command"][-1] != "–", "one machine, twice"
    assert table["cost of the run"][-1] == "–"
    assert "Ratios of costs are left out: a node of the first costs nothing here" in shown
    assert f"all the same: rpac compare {first} {second} unfair=true" in shown
    asked: Any = rpac("compare", first, second, "unfair=true", "--json").json
    assert asked["performance"]["unfair_asked_for"]
    assert asked["science_proved"] == [True, True]
    wrong = rpac("compare", first, second, "fair=true")
    assert wrong.code == 2
    assert "expected unfair=true or nothing more" in wrong.err
