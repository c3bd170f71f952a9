"""
The catalog of AWS brought up to date from AWS itself.

Needs the extra `aws`, credentials as boto3 finds them, and the rights `ec2:DescribeInstanceTypes`
and `pricing:GetProducts`; boto3's settings (`AWS_ENDPOINT_URL`, …) hold. Which machines there are
stays a choice of people: what the file lists is looked up, nothing is added and nothing retired.

Source of the fields: EC2's DescribeInstanceTypes; GetProducts of the price list, for AmazonEC2.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

from rpac_ci.catalog.files import CatalogFile, Gpus, MachineEntry, PriceTable
from rpac_ci.catalog.refresh import Refreshed, merged
from rpac_ci.errors import CloudError

# the price list answers in few regions, about all of them
PRICE_LIST_REGION = "us-east-1"
_ARCHITECTURES = ("x86_64", "arm64")
_ON_DEMAND_LINUX = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
    "productFamily": "Compute Instance",
}
_SOURCE = "AWS price list (pricing:GetProducts), Linux on demand"


class Paginator(Protocol):
    """What of a paginator is in use."""

    def paginate(self, **asked: Any) -> Iterable[Mapping[str, Any]]:
        """Answers, one page after the other."""
        ...


class Client(Protocol):
    """What of boto3's clients is in use."""

    def get_paginator(self, operation_name: str, /) -> Paginator:
        """The pages of an operation."""
        ...


def look_up(old: CatalogFile, region: str, *, today: str) -> Refreshed:
    """
    Look up the machines of a file, and their prices in a region.

    Machines that the region does not offer, and prices that the price list does not tell, stay as
    they are. Where the price list cannot be asked, so do all prices.

    Args:
        today: the date of what is looked up, ISO 8601.

    Raises:
        CloudError: boto3 is not installed, or EC2 gives no answer.
    """
    found = _machines(_client("ec2", region), sorted(old.machines))
    offered = [name for name, entry in old.machines.items() if name in found and not entry.retired]
    machines = {n: found[n] if n in offered else entry for n, entry in old.machines.items()}
    remarks = _about_machines(old, found, region)
    if not offered:
        raise CloudError(f"EC2 in {region} offers no machine of the catalog")
    looked_up, problem = _ask_prices(region, machines)
    table = PriceTable(region=region, source=_SOURCE, date=today, usd_per_hour=looked_up)
    prices = merged(old.prices, table)
    without = [name for name in offered if name not in looked_up]
    if problem:
        remarks.append(f"prices are as they were: {problem}")
    elif without:
        remarks.append(f"the price list has no price in {region} of {', '.join(without)}")
    content = old.model_copy(
        update={
            "machines": machines,
            "prices": prices,
            "date": today,
            "source": f"EC2 DescribeInstanceTypes in {region}; retired ones, and those that are "
            "not offered there, as before",
        }
    )
    return Refreshed(content, tuple(remarks))


def _client(service: str, region: str) -> Client:
    try:
        import boto3
    except ImportError as exc:
        raise CloudError("AWS needs the package boto3", hint="pip install 'rpac-ci[aws]'") from exc
    from botocore.exceptions import BotoCoreError

    make: Any = boto3.client  # its stubs know a client only where its own package is installed
    try:
        made: Client = make(service, region_name=region)
    except (BotoCoreError, ValueError) as exc:
        raise CloudError(f"AWS cannot be asked: {exc}") from exc
    return made


# --- machines -----------------------------------------------------------------------------------


def _machines(ec2: Client, names: list[str]) -> dict[str, MachineEntry]:
    from botocore.exceptions import BotoCoreError, ClientError

    # a filter, since one unknown name among InstanceTypes is an error
    only = [{"Name": "instance-type", "Values": names}]
    found = {}
    try:
        for page in ec2.get_paginator("describe_instance_types").paginate(Filters=only):
            for told in page["InstanceTypes"]:
                if entry := entry_of(told):
                    found[str(told["InstanceType"])] = entry
    except (BotoCoreError, ClientError) as exc:
        raise CloudError(
            f"EC2 does not say which machines there are: {exc}",
            hint="it takes credentials with the right ec2:DescribeInstanceTypes",
        ) from exc
    return found


def entry_of(told: Mapping[str, Any]) -> MachineEntry | None:
    """A machine as EC2 describes it; None with parts of a GPU or several kinds of them."""
    gpus = told.get("GpuInfo", {}).get("Gpus", [])
    if len(gpus) > 1 or any(gpu.get("GpuPartitionSize", 1) != 1 for gpu in gpus):
        return None
    known = told["ProcessorInfo"]["SupportedArchitectures"]
    arch = next((arch for arch in _ARCHITECTURES if arch in known), None)
    if arch is None:
        return None
    return MachineEntry.model_validate(
        {
            "cpus": told["VCpuInfo"]["DefaultVCpus"],
            "memory_mib": told["MemoryInfo"]["SizeInMiB"],
            "arch": arch,
            "gpus": _gpus(gpus[0]) if gpus else None,
            "spot": "spot" in told["SupportedUsageClasses"],
            "burstable": bool(told.get("BurstablePerformanceSupported")),
        }
    )


def _gpus(told: Mapping[str, Any]) -> Gpus:
    return Gpus(count=told["Count"], kind=told["Name"], memory_mib=told["MemoryInfo"]["SizeInMiB"])


def _about_machines(old: CatalogFile, found: Mapping[str, MachineEntry], region: str) -> list[str]:
    remarks = []
    gone = [n for n, entry in old.machines.items() if n not in found and not entry.retired]
    if gone:
        remarks.append(f"not offered in {region}, kept as they were: {', '.join(gone)}")
    back = [n for n, entry in old.machines.items() if n in found and entry.retired]
    if back:
        remarks.append(f"offered in {region}, though retired here: {', '.join(back)}")
    changed = [n for n, e in old.machines.items() if not e.retired and found.get(n, e) != e]
    if changed:
        remarks.append(f"changed: {', '.join(changed)}")
    return remarks


# --- prices -------------------------------------------------------------------------------------


def _ask_prices(region: str, names: Collection[str]) -> tuple[dict[str, float], str]:
    """What the price list says (USD per hour), and why it could not be asked or read."""
    from botocore.exceptions import BotoCoreError, ClientError

    filters = {"regionCode": region, **_ON_DEMAND_LINUX}
    asked = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in filters.items()]
    prices: dict[str, float] = {}
    try:
        pages = _client("pricing", PRICE_LIST_REGION).get_paginator("get_products")
        for page in pages.paginate(ServiceCode="AmazonEC2", Filters=asked):
            for product in map(json.loads, page["PriceList"]):
                name = product["product"]["attributes"].get("instanceType")
                if name in names and (amounts := list(hourly(product))):
                    # of several rows the dearest: an estimate must not be too low
                    prices[name] = max(prices.get(name, 0), *amounts)
    except (BotoCoreError, ClientError) as exc:
        return {}, f"the price list gives no answer ({exc})"
    except (KeyError, ValueError, TypeError, AttributeError) as exc:
        return {}, f"the price list's answer is not understood ({type(exc).__name__}: {exc})"
    return prices, ""


def hourly(product: Mapping[str, Any]) -> Iterator[float]:
    """Prices by the hour on demand of a product; nothing for one that costs nothing."""
    for term in product["terms"].get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            amount = float(dimension["pricePerUnit"].get("USD", 0))
            if dimension["unit"] == "Hrs" and amount > 0:
                yield amount
