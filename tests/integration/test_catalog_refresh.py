"""The catalog of AWS looked up anew: EC2 is moto's server, the price list a stand-in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from rpac_ci.catalog import files
from rpac_ci.catalog.files import CatalogFile, Gpus, MachineEntry, PriceTable
from rpac_ci.catalog.refresh import refresh
from rpac_ci.catalog.refresh_aws import entry_of
from rpac_ci.cli import run
from rpac_ci.errors import CloudError, PipelineError
from tests.standins.price_list import PriceList, product

TODAY = "2026-02-03"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def ec2(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user with credentials has it; no setting of the user who runs the tests."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # nothing here gets better by asking again
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def price_list(monkeypatch: pytest.MonkeyPatch) -> Iterator[PriceList]:
    with PriceList([]) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", server.url)
        yield server


def entry(cpus: int, memory_mib: int, *, retired: bool = False) -> MachineEntry:
    return MachineEntry(cpus=cpus, memory_mib=memory_mib, arch="x86_64", retired=retired)


def old(**machines: MachineEntry) -> CatalogFile:
    """A file with names as keywords: `m6i_large`."""
    named = {name.replace("_", "."): machine for name, machine in machines.items()}
    prices = {"m6i.large": 0.5} if "m6i.large" in named else {}
    table = PriceTable(region="eu-west-1", source="me", date="2026-01-01", usd_per_hour=prices)
    return CatalogFile.model_validate(
        {
            "schema": "rpac/catalog/1", "cloud": "aws", "source": "me", "date": "2026-01-01",
            "prices": [table] if prices else [], "machines": named,
        }
    )  # fmt: skip


@pytest.mark.slow
def test_the_shipped_machines_are_as_ec2_describes_them(price_list: PriceList) -> None:
    shipped = files.read(files.path("aws"))
    price_list.products = [product("m6i.large", "0.1000000000")]
    done = refresh(shipped, "us-east-1", today=TODAY)
    assert done.content.machines == shipped.machines
    assert not [remark for remark in done.remarks if remark.startswith(("changed", "offered"))]


@pytest.mark.slow
def test_specifications_are_looked_up_and_what_changed_is_told(price_list: PriceList) -> None:
    file = old(m6i_large=entry(1, 1), g5_xlarge=entry(4, 16384), nosuch_large=entry(3, 3))
    done = refresh(file, "eu-west-1", today=TODAY)
    machines = done.content.machines
    assert (machines["m6i.large"].cpus, machines["m6i.large"].memory_mib) == (2, 8192)
    assert machines["g5.xlarge"].gpus == Gpus(count=1, kind="A10G", memory_mib=22888)
    assert machines["g5.xlarge"].spot
    assert machines["nosuch.large"] == entry(3, 3)
    assert (done.content.date, done.content.source[:30]) == (
        TODAY,
        "EC2 DescribeInstanceTypes in e",
    )
    assert "not offered in eu-west-1, kept as they were: nosuch.large" in done.remarks
    assert "changed: m6i.large, g5.xlarge" in done.remarks


def test_what_is_retired_stays_so_and_is_told_when_it_is_offered(price_list: PriceList) -> None:
    file = old(m6i_large=entry(2, 8192, retired=True), c6i_large=entry(2, 4096))
    done = refresh(file, "eu-west-1", today=TODAY)
    assert done.content.machines["m6i.large"].retired
    assert "offered in eu-west-1, though retired here: m6i.large" in done.remarks


def test_prices_are_those_of_the_price_list(price_list: PriceList) -> None:
    price_list.products = [
        product("m6i.large", "0.1070000000"),
        product("m6i.large", "0.0000000000"),  # a reservation's own line costs nothing
        product("m6i.large", "9.0", unit="Quantity"),
        product("x1.32xlarge", "20.0"),
        product("c6i.large", "0.0912000000"),
    ]
    file = old(m6i_large=entry(2, 8192), c6i_large=entry(2, 4096), c7i_large=entry(2, 4096))
    done = refresh(file, "eu-west-1", today=TODAY)
    (table,) = done.content.prices
    assert table.usd_per_hour == {"m6i.large": 0.107, "c6i.large": 0.0912}
    assert (table.region, table.date, table.spot) == ("eu-west-1", TODAY, False)
    assert table.source == "AWS price list (pricing:GetProducts), Linux on demand"
    assert "the price list has no price in eu-west-1 of c7i.large" in done.remarks
    assert len(price_list.asked) == 3
    asked = {f["Field"]: f["Value"] for f in price_list.asked[0]["Filters"]}
    assert asked == {
        "regionCode": "eu-west-1", "operatingSystem": "Linux", "tenancy": "Shared",
        "preInstalledSw": "NA", "capacitystatus": "Used", "marketoption": "OnDemand",
        "productFamily": "Compute Instance",
    }  # fmt: skip


def test_a_price_that_is_not_told_again_keeps_its_date(price_list: PriceList) -> None:
    price_list.products = [product("c6i.large", "0.0912")]
    file = old(m6i_large=entry(2, 8192), c6i_large=entry(2, 4096))
    prices = refresh(file, "eu-west-1", today=TODAY).content.prices
    assert [(p.date, p.usd_per_hour) for p in prices] == [
        ("2026-01-01", {"m6i.large": 0.5}),
        (TODAY, {"c6i.large": 0.0912}),
    ]


def test_of_several_prices_of_a_machine_the_highest_is_taken(price_list: PriceList) -> None:
    price_list.products = [product("m6i.large", usd) for usd in ("0.107", "0.121", "0.1")]
    (table,) = refresh(old(m6i_large=entry(2, 8192)), "eu-west-1", today=TODAY).content.prices
    assert table.usd_per_hour == {"m6i.large": 0.121}


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9"], ids=["moto", "nobody"])
def test_where_the_price_list_gives_no_answer_prices_stay(
    moto: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moto's server has no price list: it answers with an error."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", url or moto)
    file = old(m6i_large=entry(2, 8192))
    done = refresh(file, "eu-west-1", today=TODAY)
    assert done.content.prices == file.prices
    (told,) = [remark for remark in done.remarks if "price" in remark]
    assert told.startswith("prices are as they were: the price list gives no answer (")


def test_an_answer_that_is_not_understood_changes_no_price(price_list: PriceList) -> None:
    price_list.products = [product("m6i.large", "a lot")]
    file = old(m6i_large=entry(2, 8192))
    done = refresh(file, "eu-west-1", today=TODAY)
    assert done.content.prices == file.prices
    assert any("not understood (ValueError" in remark for remark in done.remarks)


@pytest.mark.slow
def test_the_command_writes_a_file_that_is_read_again(
    price_list: PriceList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    price_list.products = [product("m6i.large", "0.107")]
    file = tmp_path / "aws.yaml"
    before = files.path("aws").read_bytes()
    arguments = ["catalog", "refresh", "aws", "--region", "eu-west-1", "--output"]
    assert run([*arguments, str(file)]) == 0
    assert f"wrote {file}" in capsys.readouterr().out
    price = files.catalog(files.read(file)).price("m6i.large", "eu-west-1")
    assert price is not None
    assert price.usd_per_hour == 0.107
    assert files.path("aws").read_bytes() == before
    assert run([*arguments, str(tmp_path / "no" / "aws.yaml")]) == 2
    assert "--output names another file" in capsys.readouterr().err


def test_without_boto3_the_advice_is_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)  # as where the extra is not installed
    assert run(["catalog", "refresh", "aws", "--region", "eu-west-1"]) == 5
    assert "pip install 'rpac-ci[aws]'" in capsys.readouterr().err


def test_where_ec2_gives_no_answer_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(CloudError, match="EC2 does not say") as caught:
        refresh(old(m6i_large=entry(2, 8192)), "eu-west-1", today=TODAY)
    assert "ec2:DescribeInstanceTypes" in caught.value.hint


def test_what_cannot_be_refreshed() -> None:
    with pytest.raises(PipelineError, match="the catalog of elsewhere cannot be refreshed"):
        refresh(old().model_copy(update={"cloud": "elsewhere"}), "eastus", today=TODAY)
    with pytest.raises(CloudError, match="offers no machine of the catalog"):
        refresh(old(nosuch_large=entry(2, 8192)), "eu-west-1", today=TODAY)
    with pytest.raises(CloudError, match="AWS cannot be asked"):
        refresh(old(m6i_large=entry(2, 8192)), "no region", today=TODAY)


def test_a_machine_with_a_part_of_a_gpu_is_none() -> None:
    told = {
        "ProcessorInfo": {"SupportedArchitectures": ["i386", "x86_64"]},
        "VCpuInfo": {"DefaultVCpus": 2}, "MemoryInfo": {"SizeInMiB": 8192},
        "SupportedUsageClasses": ["on-demand"],
    }  # fmt: skip
    gpu = {"Count": 1, "Name": "L4", "MemoryInfo": {"SizeInMiB": 22888}}
    plain = MachineEntry(cpus=2, memory_mib=8192, arch="x86_64")
    assert entry_of(told) == plain
    whole = entry_of({**told, "GpuInfo": {"Gpus": [gpu]}})
    assert whole is not None
    assert whole.gpus == Gpus(count=1, kind="L4", memory_mib=22888)
    part = {**gpu, "GpuPartitionSize": 0.125, "Count": 0}
    assert entry_of({**told, "GpuInfo": {"Gpus": [part]}}) is None
    assert entry_of({**told, "GpuInfo": {"Gpus": [gpu, gpu]}}) is None
    assert entry_of({**told, "ProcessorInfo": {"SupportedArchitectures": ["i386"]}}) is None
