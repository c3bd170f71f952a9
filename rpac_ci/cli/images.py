"""Subcommands for container images: `rpac images …`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from rpac_ci.cli.group import JSON, QUIET, cli, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpac_ci.images import Image

VARIANT = click.option(
    "--variant", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
    help="cuda exists for torchrun, and was never run by our tests.",
)  # fmt: skip


@cli.group()
def images() -> None:
    """Build and look up the container images of the engines."""


@images.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--build-arg", "arguments", multiple=True, metavar="KEY=VALUE",
    help="For the Dockerfile, such as BASE=<image> where no registry can be reached.",
)  # fmt: skip
@click.option("--network", metavar="NAME", help="Docker network of the build's steps.")
@VARIANT
@QUIET
@JSON
def build(
    names: tuple[str, ...], arguments: tuple[str, ...], network: str | None, variant: str,
    quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Build the images NAME (default: all), and the base where it is not there yet."""
    from rpac_ci import image_builds

    pairs = dict(_pair(argument) for argument in arguments)
    built = image_builds.build(
        list(names), arguments=pairs, network=network, variant=variant, report=_report(quiet)
    )
    _show(built, as_json)


@images.command("list")
@JSON
def list_images(as_json: bool) -> None:
    """List the images of this version that are on this machine, with their sizes."""
    from rpac_ci import image_contexts
    from rpac_ci import images as made

    found = [made.find(made.reference(name)) for name in image_contexts.names()]
    _show([image for image in found if image], as_json)


@images.command()
@click.argument("name")
@VARIANT
@JSON
def digest(name: str, variant: str, as_json: bool) -> None:
    """Print what an experiment names image NAME by: its digest in a registry, else its id."""
    from rpac_ci import images as made

    image = made.require(made.reference(name, variant))
    if as_json:
        print_json(dataclasses.asdict(image))
    else:
        click.echo(f"{made.repository(image.name)}@{image.digest or image.id}")


@images.command()
@click.argument("name")
@click.option("--index", "indexes", multiple=True, metavar="URL", help="A further package index.")
@click.option("--upgrade", is_flag=True, help="Take the newest versions that requirements allow.")
@JSON
def lock(name: str, indexes: tuple[str, ...], upgrade: bool, as_json: bool) -> None:
    """Write the locks of image NAME anew, from its requirements (`.in` files)."""
    from rpac_ci import image_locks

    written = image_locks.write(name, indexes=indexes, upgrade=upgrade)
    if as_json:
        print_json({str(path): packages for path, packages in written.items()})
        return
    for path, packages in written.items():
        click.echo(f"{path}: {len(packages)} packages")


def _pair(argument: str) -> tuple[str, str]:
    key, sign, value = argument.partition("=")
    if not sign or not key:
        raise click.BadParameter(f"{argument!r} is not KEY=VALUE", param_hint="--build-arg")
    return key, value


def _report(quiet: bool) -> Callable[[str], None] | None:
    return None if quiet else lambda text: click.echo(text, err=True)


def _show(found: list[Image], as_json: bool) -> None:
    from rpac_ci.quantities import format_bytes

    if as_json:
        print_json([dataclasses.asdict(image) for image in found])
        return
    for image in found:
        click.echo(f"{image.name:<28}{format_bytes(image.size):>12}  {image.id}")
    if not found:
        click.echo("no image of this version is here: rpac images build")
