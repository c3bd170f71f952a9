"""Subcommands for the machines of the clouds: `rpac catalog …`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from rpac_ci.cli.group import JSON, cli, print_json

if TYPE_CHECKING:
    from rpac_ci.catalog import Catalog, Machine


@cli.group()
def catalog() -> None:
    """Show the machines of the clouds and their prices."""


@catalog.command()
@click.argument("cloud", required=False)
@click.option("--gpus", is_flag=True, help="Only machines with GPUs.")
@click.option("--region", metavar="NAME", help="Also the prices in this region.")
@JSON
def show(cloud: str | None, gpus: bool, region: str | None, as_json: bool) -> None:
    """List the machines of CLOUD (default: of all) that experiments may run on."""
    from rpac_ci import terminal
    from rpac_ci.catalog import CLOUDS, load

    known = [load(name) for name in ([cloud] if cloud else CLOUDS)]
    rows = [(c, m) for c in known for m in c.machines.values() if m.gpus or not gpus]
    if as_json:
        print_json([_plain(*row, region) for row in rows])
        return
    terminal.show_machines(rows, region)
    for each in known:
        click.echo(f"{each.cloud}, {each.date}: {each.source}", err=True)
        if region and region not in each.regions:
            told = ", ".join(each.regions) or "none"
            click.echo(f"no price of {each.cloud} in {region} is known; in: {told}", err=True)


def _plain(known: Catalog, machine: Machine, region: str | None) -> dict[str, object]:
    price = known.price(machine.name, region)
    return {**dataclasses.asdict(machine), "price": dataclasses.asdict(price) if price else None}
