"""
A catalog brought up to date from the cloud itself: `rpac catalog refresh CLOUD --region R`.

Which machines there are stays a choice of people: what the file lists is looked up, nothing is
added and nothing retired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rpac_ci.catalog.files import CatalogFile, PriceTable
from rpac_ci.errors import PipelineError


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The new content of a file, and what is worth telling about it."""

    content: CatalogFile
    remarks: tuple[str, ...]


def refresh(old: CatalogFile, region: str, *, today: str) -> Refreshed:
    """
    Look up what a cloud tells of the machines of a file.

    Args:
        region: whose machines and prices.
        today: the date of what is looked up, ISO 8601.

    Raises:
        CloudError: the cloud cannot be asked, or gives no answer.
        PipelineError: nobody knows how to ask this cloud.
    """
    if old.cloud == "aws":
        from rpac_ci.catalog import refresh_aws

        return refresh_aws.look_up(old, region, today=today)
    if old.cloud == "azure":
        from rpac_ci.catalog import refresh_azure

        return refresh_azure.look_up(old, region, today=today)
    raise PipelineError(f"the catalog of {old.cloud} cannot be refreshed")


def merged(old: Sequence[PriceTable], new: PriceTable) -> list[PriceTable]:
    """New prices in a table of their own; older ones that were not told again stay in theirs."""
    if not new.usd_per_hour:
        return list(old)
    kept = []
    for table in old:
        if (table.region, table.spot) == (new.region, new.spot):
            rest = {n: usd for n, usd in table.usd_per_hour.items() if n not in new.usd_per_hour}
            table = table.model_copy(update={"usd_per_hour": rest})
        if table.usd_per_hour:
            kept.append(table)
    return sorted([*kept, new], key=lambda table: (table.region, table.spot, table.date))
