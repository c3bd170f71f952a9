"""What the commands `rpac setup <cloud>` share: whom they ask, what they write, how they tell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rpac_ci.cli.group import agreed, at_a_terminal, print_json
from rpac_ci.errors import ExitCode, GitHubError, PolicyError

if TYPE_CHECKING:
    from rpac_ci.file_changes import Change
    from rpac_ci.functions.packaging import Recipe
    from rpac_ci.git import Git


def identity(git: Git, repository: str) -> tuple[str, int | None, int | None]:
    """The repository letter by letter, and the ids of its owner and itself where GitHub tells."""
    from rpac_ci.github.client import GitHub
    from rpac_ci.github.doctor import find_host

    host, why = find_host(git, {**os.environ, "GITHUB_REPOSITORY": repository})
    if host is not None:
        try:
            info = GitHub(host.api_url, host.token, host.repository).repository()
        except GitHubError as exc:
            why = exc.message
        else:
            return info.full_name, info.owner_id, info.id
    tell(
        f"GitHub was not asked ({why}): {repository} is taken letter by letter, and subjects in "
        "the form with ids, of repositories made or renamed since 15 July 2026, are not trusted yet"
    )
    return repository, None, None


def built(file: Path, recipe: Recipe, after: tuple[str, ...], *, as_json: bool) -> int:
    """Write a function's ZIP file, and say which commands come after that."""
    from rpac_ci.functions import packaging
    from rpac_ci.quantities import format_bytes

    made = packaging.build(file, recipe)
    if as_json:
        print_json(
            {"file": str(file), "size": made.size, "unpacked": made.unpacked,
             "packages": list(made.packages)}
        )  # fmt: skip
        return int(ExitCode.OK)
    click.echo(f"{file}: {format_bytes(made.size)}, {format_bytes(made.unpacked)} unpacked")
    click.echo(f"with {', '.join(made.packages)}")
    for number, command in enumerate(after):
        click.echo(f"{'      ' if number else 'next: '}{command}")
    return int(ExitCode.OK)


def may(yes: bool, question: str, as_json: bool) -> bool:
    """Whether to do it: it was said before, or somebody says so now."""
    return yes or agreed(question, ask=not as_json)


def refuse_silence(*, pending: bool, dry_run: bool, as_json: bool, again: str) -> None:
    """
    Fail where something was left undone only because there was nobody to ask.

    Raises:
        PolicyError: with the command that does it.
    """
    if pending and not dry_run and (as_json or not at_a_terminal()):
        raise PolicyError("nothing was done, and nobody asked", hint=f"to do it: {again}")


def write_settings(root: Path, change: Change, *, again: str) -> None:
    """Write `rpac.yaml`; `again` is the command to give when it could not be written."""
    from rpac_ci import file_changes

    file_changes.write(root, [change], again=again)


def tell(text: str) -> None:
    """A line of progress."""
    click.echo(text, err=True)
