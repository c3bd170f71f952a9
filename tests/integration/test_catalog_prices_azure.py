"""Prices of Azure looked up anew: the price list is a stand-in on a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rpac_ci.catalog import files
from rpac_ci.catalog.refresh import Refreshed, refresh
from rpac_ci.cli import run
from rpac_ci.errors import CloudError
from tests.standins.web import Server, serve

TODAY = "2026-02-03"
PATH = "/api/retail/prices"
PAGE = 3


def row(name: str, usd: object, **other: str) -> dict[str, Any]:
    """A price as the list says it, with all fields that are read."""
    return {
        "currencyCode": "USD", "retailPrice": usd, "armRegionName": "westeurope",
        "armSkuName": name, "skuName": name, "productName": "Virtual Machines Dsv5 Series",
        "unitOfMeasure": "1 Hour", "type": "Consumption", **other,
    }  # fmt: skip


class PriceList:
    """Pages of rows, and the filters they were asked with."""

    def __init__(self, server: Server) -> None:
        self.url = server.url(PATH)
        self.rows: list[dict[str, Any]] = []
        self.filters: list[str] = []
        self.elsewhere: str | None = None  # where it says that it goes on
        server.pages[PATH] = self.answer

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = parse_qs(urlsplit(request.path).query)
        self.filters += asked["$filter"]
        begin = int(asked.get("$skip", ["0"])[0])
        more = f"{self.url}?$filter=x&$skip={begin + PAGE}" if self.rows[begin + PAGE :] else None
        page = {"Items": self.rows[begin : begin + PAGE], "NextPageLink": self.elsewhere or more}
        body = json.dumps(page).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def price_list(monkeypatch: pytest.MonkeyPatch) -> Iterator[PriceList]:
    with serve() as server:
        known = PriceList(server)
        monkeypatch.setenv("RPAC_AZURE_PRICES_URL", known.url)
        yield known


def looked_up() -> Refreshed:
    return refresh(files.read(files.path("azure")), "westeurope", today=TODAY)


def test_prices_are_those_of_the_region_by_the_hour_for_linux(price_list: PriceList) -> None:
    price_list.rows = [
        row("Standard_D4s_v5", 0.23),
        row("Standard_D4s_v5", 0.41, productName="Virtual Machines Dsv5 Series Windows"),
        row("Standard_D4s_v5", 0.05, skuName="D4s v5 Spot"),
        row("Standard_D4s_v5", 0.04, skuName="D4s v5 Low Priority"),
        row("Standard_D4s_v5", 0.99, armRegionName="uksouth"),
        row("Standard_D4s_v5", 1200, unitOfMeasure="1 Year", type="Reservation"),
        row("Standard_D4s_v5", 0.9, effectiveEndDate="2025-01-01T00:00:00Z"),
        row("Standard_X1", 7.0),
        row("Standard_E4s_v5", 0.30),
        row("Standard_E4s_v5", 0.31),  # the dearest of several
    ]
    done = looked_up()
    tables = {(t.region, t.spot): t for t in done.content.prices}
    assert set(tables) == {("eastus", False), ("westeurope", False), ("westeurope", True)}
    on_demand, spot = tables["westeurope", False], tables["westeurope", True]
    assert on_demand.usd_per_hour == {"Standard_D4s_v5": 0.23, "Standard_E4s_v5": 0.31}
    assert spot.usd_per_hour == {"Standard_D4s_v5": 0.05}
    assert on_demand.date == spot.date == TODAY
    assert len(price_list.filters) == 4  # pages
    assert "armRegionName eq 'westeurope'" in price_list.filters[0]
    assert any(r.startswith("no price in westeurope of Standard_D2s_v5") for r in done.remarks)


def test_the_command_writes_a_file_that_is_read_again(
    price_list: PriceList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    price_list.rows = [row("Standard_D4s_v5", 0.23)]
    file = tmp_path / "azure.yaml"
    arguments = ["catalog", "refresh", "azure", "--region", "westeurope", "--output", str(file)]
    assert run(arguments) == 0
    assert f"wrote {file}" in capsys.readouterr().out
    price = files.catalog(files.read(file)).price("Standard_D4s_v5", "westeurope")
    assert price is not None
    assert price.usd_per_hour == 0.23


def test_a_list_that_does_not_help_changes_nothing_and_says_why(price_list: PriceList) -> None:
    with pytest.raises(CloudError, match="has no price in westeurope of any machine"):
        looked_up()
    price_list.rows = [row("Standard_D4s_v5", "a lot")]
    with pytest.raises(CloudError, match="not understood"):
        looked_up()
    price_list.rows = [row("Standard_D4s_v5", 0.23)]
    price_list.elsewhere = "http://127.0.0.2/elsewhere"
    with pytest.raises(CloudError, match="goes on at another server"):
        looked_up()


def test_a_server_that_cannot_be_asked_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPAC_AZURE_PRICES_URL", "http://127.0.0.1:9/api")
    with pytest.raises(CloudError, match="gives no answer"):
        looked_up()
    with pytest.raises(CloudError, match="no region: west' or"):
        refresh(files.read(files.path("azure")), "west' or", today=TODAY)
