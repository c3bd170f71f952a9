"""Subcommands for the machines of the clouds: `rpac catalog …`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rpac_ci.cli.group import JSON, cli, print_json

if TYPE_CHECKING:
    from rpac_ci.catalog import Catalog, Machine


@cli.group()
def catalog() -> None:
    """Show the machines of the clouds and their prices, or look them up anew."""


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


@catalog.command()
@click.argument("cloud", type=click.Choice(["aws", "azure"]))
@click.option("--region", metavar="NAME", required=True, help="Whose machines and prices.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write this file instead of the one that comes with rpac.",
)  # fmt: skip
@JSON
def refresh(cloud: str, region: str, output: Path | None, as_json: bool) -> None:
    """Look up specifications and prices of the machines of CLOUD, and write the catalog anew."""
    import datetime

    from rpac_ci.catalog import files
    from rpac_ci.catalog.refresh import refresh as look_up

    file = output or files.path(cloud)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    done = look_up(files.read(files.path(cloud)), region, today=today)
    files.write(file, done.content)
    if as_json:
        print_json({"file": str(file), "remarks": list(done.remarks)})
        return
    for remark in done.remarks:
        click.echo(remark, err=True)
    click.echo(f"wrote {file}")


@catalog.command()
@JSON
def mapping(as_json: bool) -> None:
    """Show what serves each concern on each cloud, and which needs a cloud can meet."""
    from rpac_ci import terminal_clouds
    from rpac_ci.catalog import mapping as mappings

    known = mappings.load()
    if as_json:
        print_json(known.to_json())
    else:
        terminal_clouds.show_mapping(known)


def _plain(known: Catalog, machine: Machine, region: str | None) -> dict[str, object]:
    price = known.price(machine.name, region)
    return {**dataclasses.asdict(machine), "price": dataclasses.asdict(price) if price else None}
