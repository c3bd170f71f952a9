"""
Prices of Azure's machines from its public price list, which anybody may ask without signing in.

What the machines are is not looked up: Azure tells that to members of a subscription alone.
`RPAC_AZURE_PRICES_URL` leads to another server that speaks the same API.

Source of the fields: https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from rpac_ci.catalog.files import CatalogFile, PriceTable
from rpac_ci.catalog.refresh import Refreshed, merged
from rpac_ci.errors import CloudError

URL = "https://prices.azure.com/api/retail/prices"
ENDPOINT = "RPAC_AZURE_PRICES_URL"
TIMEOUT_S = 30
MAX_PAGES = 200  # of up to 1,000 rows; a region has some thousands
_SOURCE = "Azure Retail Prices API, Linux, pay as you go"
_SPOT, _LOW_PRIORITY, _WINDOWS = "Spot", "Low Priority", "Windows"


def look_up(old: CatalogFile, region: str, *, today: str) -> Refreshed:
    """
    Look up the prices of a file's machines in a region, on demand and spot.

    Prices that the list does not tell stay as they are, and so does whatever else is in the file.

    Raises:
        CloudError: the list cannot be asked, its answer is not understood, or it knows no price.
    """
    asked = [name for name, entry in old.machines.items() if not entry.retired]
    found = _prices(region, asked)
    if not any(found.values()):
        raise CloudError(
            f"Azure's price list has no price in {region} of any machine of the catalog",
            hint="regions are written as in eastus or westeurope",
        )
    prices = list(old.prices)
    for spot, usd in found.items():
        table = PriceTable(region=region, spot=spot, source=_SOURCE, date=today, usd_per_hour=usd)
        prices = merged(prices, table)
    without = [name for name in asked if name not in found[False]]
    remarks = [f"no price in {region} of {', '.join(without)}"] if without else []
    remarks.append("machines are as they were: this looks up their prices alone")
    return Refreshed(old.model_copy(update={"prices": prices}), tuple(remarks))


def _prices(region: str, names: Collection[str]) -> dict[bool, dict[str, float]]:
    """USD by the hour, on demand and as spot."""
    found: dict[bool, dict[str, float]] = {False: {}, True: {}}
    try:
        for row in _rows(region):
            name, usd = row["armSkuName"], float(row["retailPrice"])
            if name not in names or usd <= 0 or not _is_hour_of_linux(row, region):
                continue
            known = found[_SPOT in row["skuName"]]
            # of several rows the dearest: an estimate must not be too low
            known[name] = max(known.get(name, 0), usd)
    except (KeyError, ValueError, TypeError, AttributeError) as exc:
        raise CloudError(
            f"the answer of Azure's price list is not understood ({type(exc).__name__}: {exc})"
        ) from exc
    return found


def _is_hour_of_linux(row: Mapping[str, Any], region: str) -> bool:
    return (
        row["armRegionName"] == region
        and row["type"] == "Consumption"
        and row["currencyCode"] == "USD"
        and row["unitOfMeasure"] == "1 Hour"
        and _WINDOWS not in row["productName"]
        and _LOW_PRIORITY not in row["skuName"]
        and not row.get("effectiveEndDate")
    )


def _rows(region: str) -> Iterator[Mapping[str, Any]]:
    import requests

    if not region.isalnum():  # it is put into a filter
        raise CloudError(f"no region: {region}", hint="regions are written as in eastus")
    url: str | None = os.environ.get(ENDPOINT) or URL
    origin = urlsplit(url)[:2]
    only = (
        f"serviceName eq 'Virtual Machines' and armRegionName eq '{region}' "
        "and priceType eq 'Consumption'"
    )
    asked: dict[str, str] | None = {"$filter": only}
    with requests.Session() as session:
        for _ in range(MAX_PAGES):
            try:
                answer = session.get(url, params=asked, timeout=TIMEOUT_S, allow_redirects=False)  # type: ignore[arg-type]
                answer.raise_for_status()
                page = answer.json()
            except requests.RequestException as exc:
                raise CloudError(f"Azure's price list gives no answer: {exc}") from exc
            yield from page["Items"]
            url, asked = page.get("NextPageLink"), None  # the link has all of it
            if not url:
                return
            if urlsplit(url)[:2] != origin:
                raise CloudError(f"Azure's price list goes on at another server: {url}")
    raise CloudError(f"Azure's price list has more than {MAX_PAGES} pages of {region}")
