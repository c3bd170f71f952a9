"""Plans for AWS from the command line: what will be asked for and what it costs, before it does."""

from __future__ import annotations

import json

from tests.conftest import QUICK, QUICK_MAIN, ROOT, WriteExperiment, asset
from tests.integration.conftest import Terminal

LOCK = "images/dask/requirements.lock"


def quick(write: WriteExperiment) -> None:
    yaml = QUICK.format(name="quick").replace("engine: process", "engine: dask")
    files = {"main.py": QUICK_MAIN, "requirements.lock": (ROOT / LOCK).read_text()}
    write("quick", f"{yaml}environment: {{lock: requirements.lock}}\n", files)


def test_a_plan_shows_machine_mode_and_price(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    quick(write_experiment)
    shown = rpac("plan", "quick", "cloud=aws", "nodes=2", "cpus=4", "time=1h").out
    assert "where         aws, us-east-1, runtime docker, gang\n" in shown
    assert "machines      2 × c6i.xlarge (4 cpus, 1.0 GiB)" in shown
    assert "USD for the machines, without storage and traffic" in shown
    spot = rpac("plan", "quick", "cloud=aws", "spot=true").out
    assert "gang, spot" in spot
    assert "cost          0.00 to " in spot, "somewhere below the price on demand"
    elsewhere = rpac("plan", "quick", "cloud=aws", "region=eu-west-1").out
    assert "cost          not known" in elsewhere
    assert "cost" not in rpac("plan", "quick").out, "this machine is there anyway"


def test_a_plan_shows_where_data_is_read_from_and_what_leaves_a_region(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    yaml = QUICK.format(name="quick").replace("engine: process", "engine: dask") + (
        "environment: {lock: requirements.lock}\n"
        "data:\n"
        "  table: {uri: file:table.csv}\n"
        f"  scene: {{uri: 's3://open-data/x.nc?region=us-west-2', sha256: '{'0' * 64}'}}\n"
    )
    lock = (ROOT / LOCK).read_text()
    table = "1,2\n" * 1024
    write_experiment("quick", yaml, {"main.py": QUICK_MAIN, "requirements.lock": lock,
                                     "table.csv": table})  # fmt: skip
    shown = rpac("plan", "quick", "cloud=aws", "nodes=2").out
    rows = [
        line.removeprefix("traffic").strip() for line in shown.splitlines() if "traffic" in line
    ]
    assert rows[1:] == [
        "data.table: uploaded, here to aws us-east-1, 4.0 KiB",
        "data.scene: read by each of 2 nodes, aws us-west-2 to aws us-east-1, size not known; "
        "0.02 USD per GB, paid by the bucket's owner",
        "outputs: fetched when somebody asks, aws us-east-1 to here, size not known; "
        "0.09 USD per GB, paid by you",
    ]
    plan = rpac("plan", "quick", "cloud=aws", "--json").json
    assert [move["name"] for move in plan["transfers"]] == ["data.table", "data.scene", "outputs"]
    assert plan["transfers"][0]["bytes"] == 4096
    assert "traffic" not in rpac("plan", "quick", "data.scene=file:table.csv").out


def test_the_plan_as_json_is_that_of_the_golden_file(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    quick(write_experiment)
    plan = rpac("plan", "quick", "cloud=aws", "nodes=2", "--json").json
    for changing in ("commit", "tree"):
        plan["pipeline"]["source"].pop(changing)
    plan.pop("pipeline_digest")
    shown = json.dumps(plan, indent=1, sort_keys=True) + "\n"
    assert shown == asset("aws/plan.json").read_text()


def test_a_cost_that_is_too_high_or_not_known_is_refused(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    quick(write_experiment)
    dear = rpac("reproduce", "quick", "cloud=aws", "time=1d", "cost=1USD")
    assert dear.code == 4
    assert "USD, its limit is 1 USD" in dear.err
    unknown = rpac("reproduce", "quick", "cloud=aws", "region=eu-west-1", "cost=1USD")
    assert unknown.code == 4
    assert "the price of c6i.large, eu-west-1 is not known" in unknown.err
    assert rpac("plan", "quick", "cloud=aws", "cost=5USD").code == 0


def test_without_an_account_nothing_is_started_and_the_way_to_one_is_named(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    quick(write_experiment)
    done = rpac("reproduce", "quick", "cloud=aws")
    assert done.code == 2
    assert "rpac.yaml names no store for cloud=aws" in done.err
    assert "rpac setup aws" in done.err
    assert rpac("status").out.strip() == "no open runs"
