"""Two runs on other machines: what they took and cost, and which of it is held against which."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rpac_ci import comparison
from rpac_ci.changes import against_reference
from rpac_ci.commands import parse_overrides
from rpac_ci.errors import CommandError
from rpac_ci.formats.markdown import report
from rpac_ci.performance import PerformanceComparison
from rpac_ci.performance import compare as of_performance
from rpac_ci.pipeline import Pipeline, compile_pipeline
from rpac_ci.placement import MachineSpec, NodePrice, Performance, Placement
from rpac_ci.records import RunRecord
from rpac_ci.verdict import judge
from tests.conftest import asset
from tests.unit.builders import PAST, at_run, definition, finished

LISTED = NodePrice(
    per_hour=0.1, region="us-east-1", spot=False, date="2026-01-19", source="price list"
)


def spec(cpus: int = 2, memory: int = 8, **gpu: Any) -> MachineSpec:
    """Memory in GiB."""
    return MachineSpec(cpus=cpus, memory_mib=memory * 1024, arch="x86_64", **gpu)


def spent(cloud: str = "aws", machine: str = "m6i.large", **keys: Any) -> Performance:
    """Of a run of 36 s on two nodes."""
    placed = {"region": "us-east-1", "machine": machine, "spec": spec(), "price": LISTED}
    own = {name: keys.pop(name) for name in list(keys) if name in Placement.model_fields}
    around = {"nodes": 2, "command_s": 36.0, "total_s": 360.0, "cost_usd": 0.01, **keys}
    return Performance(cloud=cloud, placement=Placement(**{**placed, **own}), **around)


def here(**keys: Any) -> Performance:
    """Of a run on this machine."""
    least = {"nodes": 2, "command_s": 18.0, "total_s": 20.0, "cost_usd": 0.0, "hardware": "CPU"}
    return Performance(cloud="local", **{**least, **keys})


def held(first: Performance, second: Performance, **keys: Any) -> PerformanceComparison:
    return of_performance(first, second, **{"same_science": True, **keys})


def ratios(found: PerformanceComparison) -> dict[str, float | None]:
    return {line.name: line.ratio for line in found.lines}


# --- what is fair -------------------------------------------------------------------------------


def test_runs_on_machines_that_are_alike_are_held_against_each_other() -> None:
    azure = spent("azure", "Standard_D2s_v5", region="eastus", command_s=18.0, cost_usd=0.005)
    found = held(spent(), azure)
    assert (found.grade, found.unfair_time, found.unfair_cost) == ("A", [], [])
    assert ratios(found) == {
        "command": 0.5, "whole run": 1.0, "nodes": 1.0, "node-hours of the command": 0.5,
        "price of a node-hour": 1.0, "cost of the run": 0.5, "cost of the command alone": 0.5,
        "cost of the run by node-hour of the command": 1.0,
    }  # fmt: skip
    assert found.elsewhere
    assert found.notes == []


def test_the_units_are_one_system() -> None:
    lines = {line.name: line for line in held(spent(), spent()).lines}
    assert {line.unit for line in lines.values()} == {"s", "h", "USD", ""}
    assert lines["node-hours of the command"].first == pytest.approx(2 * 36 / 3600)
    assert lines["cost of the command alone"].first == pytest.approx(0.1 * 2 * 36 / 3600)
    each = lines["cost of the run by node-hour of the command"].first
    assert each == pytest.approx(0.01 / (2 * 36 / 3600))


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (spent(), spent(spec=spec(cpus=4)), "grade D to each other (cpus 2 → 4)"),
        (
            spent(spec=spec(gpus=1, gpu_kind="A10G", gpu_memory_mib=24576)),
            spent(spec=spec(gpus=1, gpu_kind="A10", gpu_memory_mib=24576)),
            "grade C to each other (GPUs 1 × A10G of 24 GiB → 1 × A10 of 24 GiB)",
        ),
        (spent(), here(), "no catalog has the machine of cloud=local"),
        (here(), here(hardware="another CPU"), "CPU → another CPU"),
        (spent(), spent(endpoint="http://127.0.0.1:5000"), "the second was not on aws itself"),
        (here(oversubscribed=True), here(), "first asked for more processors than there were"),
    ],
)
def test_times_that_are_not_comparable_get_no_ratio_and_a_reason(
    first: Performance, second: Performance, says: str
) -> None:
    found = held(first, second)
    assert says in " ".join(found.unfair_time)
    assert set(ratios(found).values()) == {None}
    assert found.notes[0].startswith("Ratios of times are left out: ")
    asked = held(first, second, unfair=True)
    assert ratios(asked)["command"] is not None
    assert asked.notes[0].startswith("Ratios of times are not fair: ")


@pytest.mark.parametrize(
    ("price", "says"),
    [
        ({"date": "2026-06-01"}, "the prices are of 2026-01-19 and 2026-06-01"),
        ({"currency": "EUR"}, "the prices are in USD and EUR"),
        ({"spot": True}, "only one of them paid for spot machines"),
    ],
)
def test_costs_by_other_prices_get_no_ratio_but_times_do(price: dict[str, Any], says: str) -> None:
    found = held(spent(), spent(price=LISTED.model_copy(update=price)))
    assert found.unfair_time == []
    assert found.unfair_cost == [says]
    assert ratios(found)["command"] == 1.0
    assert ratios(found)["cost of the run"] is None
    assert found.notes == [f"Ratios of costs are left out: {says}."]


def test_a_price_that_is_not_known_is_not_made_up() -> None:
    found = held(spent(), spent(price=None, cost_usd=None))
    assert found.unfair_cost == ["a node of the second has no known price"]
    lines = {line.name: line.cells for line in found.lines}
    assert lines["cost of the run"][1:] == ("0.01 USD", "–", "–")
    assert found.prices[1] == "not known"
    assert held(here(), here()).unfair_cost == [
        "a node of the first costs nothing here", "a node of the second costs nothing here",
    ]  # fmt: skip


def test_another_currency_is_not_taken_for_usd() -> None:
    euro = spent(price=LISTED.model_copy(update={"currency": "EUR"}))
    lines = {line.name: line for line in held(spent(), euro, unfair=True).lines}
    assert lines["price of a node-hour"].second is None


def test_another_science_is_other_work() -> None:
    assert held(spent(), spent(), same_science=False).unfair_time == [
        "another science is other work"
    ]


# --- a record of one cloud, repeated elsewhere --------------------------------------------------


def on(before: Any, *words: str) -> Pipeline:
    return compile_pipeline(before, overrides=parse_overrides(words))


def finish(pipe: Pipeline, seconds: float, **keys: Any) -> RunRecord:
    node = {"cpu": "Xeon", "cpus_online": 2, "memory_total_mib": 8192, "kernel": "6", "gpus": []}
    phases = [{"name": "command", "start_s": 0.0, "duration_s": seconds}]
    collected = {"nodes": [{"index": 0, **node}], "phases": phases}
    return finished(pipe, metrics={"f1": 0.9}, collected=collected, **keys)


def pair(**keys: Any) -> tuple[RunRecord, RunRecord, Pipeline]:
    """A run on a stand-in of AWS, its reproduction here, judged, and that one's pipeline."""
    first = on(definition(verify={"f1": {"expect": 0.9}}, **keys), "cloud=aws", "machine=m6i.large")
    past = finish(first, 40, run=PAST, endpoint="http://127.0.0.1:5000", cost_usd=0.0016)
    again = on(first, "cloud=local")
    record = finish(again, 20, reference=at_run(past))
    return past, record.model_copy(update={"verdict": judge(again, record)}), again


def test_a_record_keeps_which_machine_it_had_what_it_cost_an_hour_and_where_it_was() -> None:
    past, record, _ = pair()
    placed = past.circumstances.placement
    assert placed is not None
    assert (placed.machine, placed.region, placed.mode) == ("m6i.large", "us-east-1", "gang")
    assert placed.spec == spec(cpus=2, memory=8)
    assert placed.price is not None
    assert (placed.price.per_hour, placed.price.date) == (0.096, "2026-01-19")
    assert placed.endpoint == "http://127.0.0.1:5000"
    around = record.circumstances.placement
    assert around is not None
    assert around.change is not None
    assert around.change.recorded == "aws m6i.large"
    assert RunRecord.model_validate_json(past.to_bytes()) == past


def test_a_run_on_this_machine_has_the_record_that_it_always_had() -> None:
    assert "placement" not in finish(on(definition()), 20).to_json()["circumstances"]  # type: ignore[operator]


def test_circumstances_that_changed_are_told_by_kind() -> None:
    _, record, _ = pair()
    told = {change.key: (change.kind, change.before) for change in against_reference(record)}
    assert told["cloud"] == ("place", "aws")
    assert told["region"] == ("place", "us-east-1")
    assert told["instance"] == ("machines", "m6i.large")
    assert told["endpoint"] == ("place", "http://127.0.0.1:5000")


def test_the_report_of_a_reproduction_elsewhere() -> None:
    """Else, after a look at it: write `shown` into the file."""
    _, record, pipe = pair()
    whole = report(record, pipe, figures=())
    found = re.search(r"^## On .*?(?=^## )", whole, re.DOTALL | re.MULTILINE)
    assert found
    shown = found[0]
    assert shown == asset("report_elsewhere.md").read_text()
    assert f"`{record.identity.science}` in both runs" in shown


def test_a_reproduction_on_the_same_machine_has_no_such_section() -> None:
    first = on(definition(), "cloud=aws")
    again = on(first)
    record = finish(again, 20, reference=at_run(finish(first, 40, run=PAST)))
    judged = record.model_copy(update={"verdict": judge(again, record)})
    assert "\n## On " not in report(judged, again, figures=())


# --- compare ------------------------------------------------------------------------------------


def test_two_runs_side_by_side_have_both_digests_and_the_figures() -> None:
    past, record, _ = pair()
    found = comparison.compare(past, record)
    assert found.same_science
    assert found.science_text.startswith("The same science in both, computed anew")
    assert found.performance is not None
    assert found.performance.clouds == ("aws", "local")
    told: Any = found.to_json()
    assert told["science"][0] == told["science"][1] == past.identity.science
    assert told["performance"]["grade"] == "D"
    assert told["performance"]["quantities"][0] == {
        "name": "command", "unit": "s", "first": 40.0, "second": 20.0, "ratio": None,
    }  # fmt: skip
    asked: Any = comparison.compare(past, record, unfair=True).to_json()
    assert asked["performance"]["quantities"][0]["ratio"] == 0.5


def test_a_science_that_its_pipeline_does_not_give_is_not_called_the_same() -> None:
    past, record, _ = pair()
    found = comparison.compare(past, record, proved=(True, False))
    assert f"The science of {record.run} cannot be proved" in found.science_text


def test_a_run_that_failed_took_no_time_that_says_anything() -> None:
    past, record, pipe = pair()
    failed = finish(pipe, 3, reason="command failed")
    assert comparison.compare(past, failed).performance is None
    assert comparison.compare(failed, record).performance is None


@pytest.mark.parametrize("word", ["unfair", "unfair=yes", "fair=true", "nodes=2"])
def test_only_unfair_may_stand_behind_two_runs(word: str) -> None:
    from rpac_ci.commands import Compare, parse_words

    assert parse_words(["compare", "0a1b2c3d", "4e5f6071", "unfair=true"]) == Compare(
        "0a1b2c3d", "4e5f6071", True
    )
    with pytest.raises(CommandError, match="expected unfair=true or nothing more"):
        parse_words(["compare", "0a1b2c3d", "4e5f6071", word])
