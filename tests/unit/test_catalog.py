"""Machines and prices: what the files say, which machine serves a need, how alike two are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpac_ci import catalog
from rpac_ci.catalog import Choice, Grade, Machine, Price, files
from rpac_ci.catalog.choosing import is_allowed, lacks
from rpac_ci.cli import run
from rpac_ci.errors import ExperimentError, PipelineError
from rpac_ci.experiment_model import Resources

AWS, AZURE = catalog.load("aws"), catalog.load("azure")
clouds = pytest.mark.parametrize("cloud", catalog.CLOUDS)


def machine(name: str) -> Machine:
    return {**AWS.machines, **AZURE.machines}[name]


def need(cpus: int = 1, memory: float = 1, gpus: int = 0) -> Resources:
    """Of a node; memory in GiB."""
    return Resources(cpus=cpus, memory=int(memory * 1024), gpus=gpus)


# --- the files ----------------------------------------------------------------------------------


@clouds
def test_a_shipped_file_is_as_it_would_be_written(cloud: str) -> None:
    file = files.path(cloud)
    assert files.render(files.read(file)) == file.read_text()


@clouds
def test_a_file_as_it_is_written_is_read_at_once_and_says_the_same(cloud: str) -> None:
    text = files.path(cloud).read_text()
    assert files._as_written(text) == files.read(files.path(cloud))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('currency: "USD"', "currency: USD"),
        ('currency: "USD"', 'currency:  "USD"'),
        ("machines:", "# of all regions\nmachines:"),
        ('"cpus": 2,', '"cpus":  2,'),
        ('"cpus": 2,', '"cpus": 2, "cpus": 3,'),
        ('cloud: "', '  cloud: "'),
        ("prices:", "- prices:"),
    ],
)
def test_a_file_that_people_wrote_is_left_to_the_reader_of_yaml(before: str, after: str) -> None:
    text = files.path("aws").read_text()
    assert before in text
    assert files._as_written(text.replace(before, after, 1)) is None


@clouds
def test_prices_and_machines_say_where_they_are_from(cloud: str) -> None:
    known = catalog.load(cloud)
    assert known.source
    assert known.date >= "2026"
    for prices in known.prices.values():
        for price in prices:
            assert price.source.startswith(("AWS price list", "Azure Retail Prices API"))
            assert price.date >= "2023"  # shown wherever the price is
            assert price.usd_per_hour > 0


def test_machines_and_prices_are_those_of_their_sources() -> None:
    assert machine("m6i.xlarge") == Machine(
        cloud="aws", name="m6i.xlarge", cpus=4, memory_mib=16384, arch="x86_64", spot=True
    )
    assert machine("g4dn.12xlarge") == Machine(
        cloud="aws", name="g4dn.12xlarge", cpus=48, memory_mib=196608, arch="x86_64", spot=True,
        gpus=4, gpu_kind="T4", gpu_memory_mib=16384,
    )  # fmt: skip
    price = catalog.price(machine("m6i.xlarge"), "us-east-1")
    assert price is not None
    assert (price.usd_per_hour, price.date, price.spot) == (0.192, "2026-01-19", False)


def test_a_price_that_nobody_told_is_not_known() -> None:
    assert catalog.price(machine("m6i.xlarge"), "mars-1") is None
    assert catalog.price(machine("m6i.xlarge"), "us-east-1", spot=True) is None
    assert catalog.price(machine("Standard_D2s_v5"), "westeurope") is None
    assert catalog.price(machine("Standard_NC40ads_H100_v5"), "eastus") is None


def test_there_is_no_catalog_of_a_cloud_without_one() -> None:
    with pytest.raises(PipelineError, match="no catalog of machines for the cloud 'local'"):
        catalog.load("local")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("rpac/catalog/1", "rpac/catalog/2", "rpac/catalog/1"),
        ('"cpus": 2', '"cpus": 0', "greater than or equal to 1"),
        ('"cpus": 2', '"cpus": 2, "colour": "red"', "Extra inputs"),
        ('"x86_64"}', '"x86_64", "replaced_by": "new"}', "a replacement of what is there"),
        ('"new"', '"newer"', "newer is not a machine of this file that is there"),
        ('"new"', '"old"', "old is not a machine of this file that is there"),
        ("{a: 1.5}", "{b: 1.5}", "a price of b, which is no machine of this file"),
        ("{a: 1.5}", "{a: 0}", "greater than 0"),
        ("2026-01-02", "yesterday", "String should match pattern"),
    ],
)
def test_mistakes_in_a_file_have_a_place(
    tmp_path: Path, before: str, after: str, says: str
) -> None:
    text = """\
schema: rpac/catalog/1
cloud: aws
source: me
date: 2026-01-02
prices:
  - {region: r, source: me, date: 2026-01-02, usd_per_hour: {a: 1.5}}
machines:
  a: {"cpus": 2, "memory_mib": 1, "arch": "x86_64"}
  old: {"cpus": 4, "memory_mib": 1, "arch": "x86_64", "retired": true, "replaced_by": NEW}
  new: {"cpus": 4, "memory_mib": 1, "arch": "arm64"}
""".replace("NEW", '"new"')
    file = tmp_path / "aws.yaml"
    file.write_text(text)
    assert set(files.read(file).machines) == {"a", "old", "new"}
    file.write_text(text.replace(before, after, 1))
    with pytest.raises(ExperimentError) as caught:
        files.read(file)
    assert says in str(caught.value)
    assert caught.value.problems[0].file == str(file)


# --- how alike ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aws", "azure", "grade"),
    [
        ("m6i.large", "Standard_D2s_v5", "A"),
        ("m6i.16xlarge", "Standard_D64s_v5", "A"),
        ("c6i.4xlarge", "Standard_F16s_v2", "A"),
        ("c5d.4xlarge", "Standard_F16s_v2", "A"),
        ("r6i.2xlarge", "Standard_E8s_v5", "A"),
        ("g4dn.xlarge", "Standard_NC4as_T4_v3", "B"),
        ("m6i.xlarge", "Standard_E4s_v5", "B"),
        ("p4d.24xlarge", "Standard_ND96asr_v4", "B"),
        ("p4de.24xlarge", "Standard_ND96amsr_A100_v4", "B"),
        ("p4d.24xlarge", "Standard_ND96amsr_A100_v4", "C"),
        ("g4dn.12xlarge", "Standard_NC64as_T4_v3", "C"),
        ("g5.xlarge", "Standard_NV36ads_A10_v5", "C"),
        ("p5.4xlarge", "Standard_NC40ads_H100_v5", "C"),
        ("p5.48xlarge", "Standard_ND96isr_H100_v5", "C"),
        ("p3.2xlarge", "Standard_NC4as_T4_v3", "C"),
        ("g6.xlarge", "Standard_NC4as_T4_v3", "D"),
        ("g6.xlarge", "Standard_NV36ads_A10_v5", "D"),
        ("g4dn.12xlarge", "Standard_NC4as_T4_v3", "D"),
        ("m6i.large", "Standard_D4s_v5", "D"),
        ("m6i.xlarge", "Standard_NC4as_T4_v3", "D"),
    ],
)
def test_fidelity(aws: str, azure: str, grade: str) -> None:
    assert catalog.fidelity(machine(aws), machine(azure)) == grade
    assert catalog.fidelity(machine(azure), machine(aws)) == grade


def test_another_architecture_is_another_machine() -> None:
    one = machine("m6i.large")
    assert catalog.fidelity(one, one) == Grade.A
    assert catalog.fidelity(one, dataclasses.replace(one, arch="arm64")) == Grade.D


# --- what it costs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "nodes", "expected"),
    [
        (3600, 1, 7.2),
        (3600, 3, 21.6),
        (0, 1, 0.12),
        (59.9, 1, 0.12),
        (60, 1, 0.12),
        (60.1, 1, 0.122),
        (61, 2, 0.244),
    ],
)
def test_nodes_are_billed_by_the_second_and_for_a_minute_at_least(
    seconds: float, nodes: int, expected: float
) -> None:
    price = Price(usd_per_hour=7.2, region="r", spot=False, source="me", date="2026-01-02")
    assert catalog.usd(price, seconds, nodes) == pytest.approx(expected)


# --- which machine ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "cloud", "chosen"),
    [
        (need(2, 7), "aws", "m6i.large"),
        (need(2, 7), "azure", "Standard_D2s_v5"),
        (need(4, 14), "aws", "m6i.xlarge"),
        (need(4, 7), "aws", "c6i.xlarge"),
        (need(4, 7), "azure", "Standard_F4s_v2"),
        (need(4, 8), "aws", "m6i.xlarge"),  # 8 GiB are never wholly usable on a machine of 8
        (need(4, 29), "aws", "r6i.xlarge"),
        (need(4, 14, 1), "aws", "g4dn.xlarge"),
        (need(4, 14, 1), "azure", "Standard_NC4as_T4_v3"),
        (need(4, 14, 4), "aws", "g4dn.12xlarge"),
        (need(90, 1000, 8), "aws", "p4d.24xlarge"),
        (need(90, 1000, 8), "azure", "Standard_ND96isr_H100_v5"),
        (need(1, 1), "aws", "c6i.large"),
    ],
)
def test_the_least_excess_is_taken(asked: Resources, cloud: str, chosen: str) -> None:
    assert catalog.choose(asked, cloud) == Choice(machine=machine(chosen))


def test_among_equals_the_cheaper_one_is_taken_where_prices_are_known() -> None:
    allowed = ["g5.xlarge", "g6.xlarge"]
    asked = need(4, 14, 1)
    assert catalog.choose(asked, "aws", allowed=allowed).machine.name == "g5.xlarge"
    there = catalog.choose(asked, "aws", allowed=allowed, region="us-east-1")
    assert there.machine.name == "g6.xlarge"
    elsewhere = catalog.choose(asked, "aws", allowed=allowed, region="mars-1")
    assert elsewhere.machine.name == "g5.xlarge"


def test_the_usable_part_of_a_machine_s_memory_is_the_limit() -> None:
    usable = machine("m6i.large").usable_mib
    assert usable == 7536 == int(catalog.USABLE_MEMORY * 8192)
    just, more = Resources(cpus=2, memory=usable), Resources(cpus=2, memory=usable + 1)
    assert catalog.choose(just, "aws").machine.name == "m6i.large"
    assert catalog.choose(more, "aws").machine.name == "r6i.large"


needs = st.builds(
    Resources,
    cpus=st.integers(1, 256),
    memory=st.integers(1, 3 << 20) | st.sampled_from([m.usable_mib for m in AWS.machines.values()]),
    gpus=st.sampled_from([0, 0, 0, 1, 1, 2, 4, 8]),
)
patterns = st.none() | st.lists(
    st.sampled_from(["m*", "c6i.*", "r6i.?xlarge", "g*", "p[45]*", "Standard_[DN]*", "t3.*", "x"])
)


@given(needs, st.sampled_from(catalog.CLOUDS), patterns, st.sampled_from([None, "us-east-1"]))
def test_a_chosen_machine_serves_and_no_allowed_one_ranks_better(
    asked: Resources, cloud: str, allowed: list[str] | None, region: str | None
) -> None:
    known = catalog.load(cloud)

    def serves(m: Machine) -> bool:
        enough = m.cpus >= asked.cpus and m.memory_mib * 0.92 >= asked.memory
        fits = enough and m.gpus == asked.gpus and m.arch == "x86_64"
        return fits and is_allowed(m, allowed) and not m.retired and not m.burstable

    def rank(m: Machine) -> tuple[float, float, str]:
        excess = 10 * (m.cpus - asked.cpus) + (m.usable_mib - asked.memory) / 1024
        price = known.price(m.name, region)
        return excess, price.usd_per_hour if price else float("inf"), m.name

    serving = sorted(filter(serves, known.machines.values()), key=rank)
    if serving:
        chosen = catalog.choose(asked, cloud, allowed=allowed, region=region)
        assert chosen == Choice(machine=serving[0])
    else:
        with pytest.raises(PipelineError):
            catalog.choose(asked, cloud, allowed=allowed, region=region)


# --- nothing serves -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "cloud", "says"),
    [
        (
            need(256, 100), "aws",
            "no machine of aws has 256 cpus, 100.0 GiB of usable memory for a node: "
            "c7i.48xlarge lacks 64 cpus; m7i.48xlarge lacks 64 cpus; c6i.32xlarge lacks 128 cpus",
        ),
        (
            need(4, 14, 2), "aws",
            "no machine of aws has 4 cpus, 14.0 GiB of usable memory and 2 GPUs for a node: "
            "g4dn.xlarge has 1 GPU, not 2; g5.xlarge has 1 GPU, not 2; g6.xlarge has 1 GPU, not 2",
        ),
        (
            need(32, 1000), "azure",
            "no machine of azure has 32 cpus, 1000.0 GiB of usable memory for a node: "
            "Standard_D64s_v5 lacks 764.5 GiB of memory (usable: 235.5 GiB); ",
        ),
    ],
)  # fmt: skip
def test_where_nothing_serves_the_three_nearest_are_named(
    asked: Resources, cloud: str, says: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        catalog.choose(asked, cloud)
    assert caught.value.message.startswith(says)
    assert caught.value.message.count("; ") == 2
    assert caught.value.hint == "ask for less, or name a machine"


def test_more_gpus_than_asked_for_are_never_taken() -> None:
    with pytest.raises(PipelineError, match=r"g4dn\.12xlarge has 4 GPUs, not 2"):
        catalog.choose(need(40, 100, 2), "aws", allowed=["g4dn.12xlarge"])


def test_another_architecture_is_not_taken() -> None:
    with pytest.raises(PipelineError, match="is x86_64, not arm64"):
        catalog.choose(need(2, 4), "aws", arch="arm64")


def test_what_would_serve_if_it_were_allowed_is_named() -> None:
    with pytest.raises(PipelineError, match=r"c6i\.large lacks 2 cpus") as caught:
        catalog.choose(need(4, 7), "aws", allowed=["c6i.large"])
    assert caught.value.hint == "c6i.xlarge would serve, but the settings do not allow it"
    for allowed in ([], ["M6I.*"]):
        with pytest.raises(PipelineError, match="the settings allow no machine of aws"):
            catalog.choose(need(), "aws", allowed=allowed)


# --- a machine by its name ----------------------------------------------------------------------


def test_a_machine_may_be_named() -> None:
    chosen = catalog.choose(need(2, 4), "aws", machine="m7i.8xlarge", allowed=["m7i.*"])
    assert chosen == Choice(machine=machine("m7i.8xlarge"))


@pytest.mark.parametrize(
    ("name", "asked", "allowed", "says"),
    [
        ("m6i.large", need(8, 16), None, "lacks 6 cpus and lacks 8.6 GiB of memory (usable: 7.4"),
        ("m6i.large", need(1, 1, 1), None, "has no GPU, not 1"),
        ("g4dn.xlarge", need(1, 1), None, "has 1 GPU, not none"),
        ("m6i.large", need(), ["c*"], "the machine m6i.large of aws is not allowed"),
        ("m6i.lage", need(), None, "no machine 'm6i.lage', did you mean 'm6i.large'?"),
        ("M6I.LARGE", need(), None, "did you mean 'm6i.large'?"),
        ("banana", need(), None, "the catalog of aws has no machine 'banana'"),
        ("p3.2xlarge", need(8, 50, 1), None, "of aws is retired"),
        ("p2.16xlarge", need(8, 50, 16), None, "is retired, and nothing takes its place"),
    ],
)
def test_a_named_machine_that_cannot_be_taken(
    name: str, asked: Resources, allowed: list[str] | None, says: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        catalog.choose(asked, "aws", machine=name, allowed=allowed)
    assert says in caught.value.message
    assert caught.value.hint


def test_names_of_azure_are_guessed_whatever_their_case() -> None:
    with pytest.raises(PipelineError, match="did you mean 'Standard_D4s_v5'"):
        catalog.choose(need(), "azure", machine="standard_d4s_v5")


def test_a_retired_machine_names_its_replacement_and_is_substituted_on_request() -> None:
    asked = need(8, 50, 1)
    with pytest.raises(PipelineError) as caught:
        catalog.choose(asked, "aws", machine="p3.2xlarge")
    shown = "g4dn.4xlarge (16 cpus, 64 GiB, 1 × T4)"
    assert caught.value.hint == f"{shown} takes its place, grade C: machine=g4dn.4xlarge"
    chosen = catalog.choose(asked, "aws", machine="p3.2xlarge", substitute=True)
    assert chosen.machine == machine("g4dn.4xlarge")
    assert chosen.grade is Grade.C
    assert chosen.remarks == (f"p3.2xlarge is retired: substituted by {shown}, grade C",)
    with pytest.raises(PipelineError, match=r"g4dn\.4xlarge of aws is not allowed"):
        catalog.choose(asked, "aws", machine="p3.2xlarge", substitute=True, allowed=["p3.*"])
    with pytest.raises(PipelineError, match=r"g4dn\.4xlarge .* lacks"):
        catalog.choose(need(8, 60, 1), "aws", machine="p3.2xlarge", substitute=True)


@clouds
def test_whatever_fitted_a_retired_machine_fits_its_replacement(cloud: str) -> None:
    """But for NC24s_v3, whose 448 GiB no other machine with four such GPUs has."""
    known = catalog.load(cloud)
    for old in known.machines.values():
        if old.replaced_by and old.name != "Standard_NC24s_v3":
            asked = Resources(cpus=old.cpus, memory=old.usable_mib, gpus=old.gpus)
            assert lacks(known.machines[old.replaced_by], asked) == []


def test_a_burstable_machine_is_taken_only_by_name() -> None:
    with pytest.raises(PipelineError):
        catalog.choose(need(), "aws", allowed=["t3.*"])
    chosen = catalog.choose(need(), "aws", machine="t3.large")
    assert chosen.remarks == ("t3.large slows down when its credits are spent: timings say little",)


# --- the command line ---------------------------------------------------------------------------


def test_the_list_of_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "show", "aws", "--gpus", "--region", "us-east-1"]) == 0
    out, err = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "cloud machine cpus GiB gpus USD/h us-east-1 as of"
    assert "aws g4dn.xlarge 4 16 1 × T4 0.526 2026-01-19" in lines
    assert any("retired: g4dn.4xlarge, grade C" in line for line in out.splitlines())
    assert any("retired: nothing takes its place" in line for line in out.splitlines())
    assert "m6i" not in out
    assert "moto" in err


def test_a_price_that_is_not_known_is_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "show", "azure", "--region", "uksouth"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split() == ["azure", "Standard_D2s_v5", "2", "8", "–"]
    assert "no price of azure in uksouth is known; in: eastus" in err


def test_the_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "show", "--json", "--region", "us-east-1"]) == 0
    told = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(told) == {*AWS.machines, *AZURE.machines}
    assert told["m6i.large"]["price"]["usd_per_hour"] == 0.096
    assert told["Standard_D2s_v5"]["price"] is None


def test_a_cloud_without_a_catalog(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "show", "moon"]) == 2
    assert "there is one for aws and azure" in capsys.readouterr().err
