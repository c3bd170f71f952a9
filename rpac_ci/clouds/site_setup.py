"""
What `rpac setup` asks of a site, and writes of it, whichever the cloud: its name, the repository on
GitHub that it serves, and its block in `rpac.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from rpac_ci import file_changes, yaml_io
from rpac_ci.canonical import Json
from rpac_ci.documents import Model
from rpac_ci.errors import CloudError, CommandError
from rpac_ci.file_changes import Change
from rpac_ci.github.diagnosis import Finding, Severity, fine
from rpac_ci.site_config import CONFIG_FILE, SCHEMA, parse_site_text

NAME = re.compile(r"[a-z][a-z0-9]{1,23}")
_FULL_NAME = re.compile(r"(?P<owner>[A-Za-z0-9][A-Za-z0-9-]{0,38})/(?P<name>[A-Za-z0-9._-]{1,100})")

Site = TypeVar("Site", bound=Model)


def check_name(name: str) -> None:
    """
    Refuse a name that could be read as the beginning of another's.

    Raises:
        CommandError: with what is allowed.
    """
    if not NAME.fullmatch(name):
        raise CommandError(
            f"{name[:80]!a} cannot be a site's name",
            hint="2 to 24 small letters and digits, the first a letter, without a hyphen: "
            "whatever belongs to it is named <name>-…",
        )


def check_repository(repository: str) -> None:
    """
    Refuse what cannot be a repository.

    Raises:
        CommandError: it is not OWNER/NAME.
    """
    if not _FULL_NAME.fullmatch(repository):
        raise CommandError(f"{repository[:150]!a} is no repository on GitHub", hint="OWNER/NAME")


def check_budget(budget: float | None, email: str | None) -> None:
    """
    Refuse a budget that nobody would hear of.

    Raises:
        CommandError: there is no address.
    """
    if budget is not None and email is None:
        raise CommandError("a budget needs somebody to tell", hint="--budget USD --email MAIL")


def check_same_repository(name: str, wanted: str, has: str, where: str) -> None:
    """
    Refuse to give a name of one repository to another.

    Args:
        name: of the site.
        wanted: repository that is to have it.
        has: repository that has it.
        where: it is taken, such as "this account and region".

    Raises:
        CommandError: they differ.
    """
    if has.lower() != wanted.lower():
        raise CommandError(
            f"the name {name!r} belongs to {has} in {where}",
            hint="another name for this repository: --name",
        )


def usual_name(repository: str) -> str:
    """The name of a repository's site where none is given: letters and digits of its own name."""
    letters = re.sub(r"[^a-z0-9]", "", repository.rpartition("/")[2].lower()).lstrip("0123456789")
    return letters[:24] if len(letters) > 1 else "rpac"


def made_site(kind: type[Site], fields: Mapping[str, object]) -> Site:
    """
    A site from what a cloud says that it has made.

    Raises:
        CloudError: a field is missing or is not what it should be.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as exc:
        wrong = ", ".join(sorted({str(one["loc"][0]) for one in exc.errors()}))
        raise CloudError(
            f"the outputs of what was made are not what rpac needs: {wrong}",
            hint="it was made by another template; take it away with --delete, or name another",
        ) from exc


def block(made: Model) -> dict[str, Json]:
    """A site as it is written: in the order of the model, without what has no value."""
    values: dict[str, Json] = made.model_dump(exclude_defaults=True)
    return values


def named_in_settings(
    topic: str, made: Model, outputs: Model, *, name: str, status: str, setup: str
) -> Finding:
    """
    Whether `rpac.yaml` names what was made, for a doctor.

    Args:
        topic: of the finding.
        made: the site as the settings have it.
        outputs: the site as it was made.
        name: of what was deployed.
        status: how that is.
        setup: the command that writes the settings.
    """
    here, there = block(made), block(outputs)
    differ = sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))
    if not differ:
        return fine(topic, f"{name} is {status}, and rpac.yaml names what it made")
    return Finding(
        topic=topic, severity=Severity.ERROR,
        what=f"rpac.yaml and {name} differ in {', '.join(differ)}",
        fix=f"{setup} writes what is so into rpac.yaml",
    )  # fmt: skip


def settings_change(root: Path, cloud: str, made: Model | None) -> Change | None:
    """
    The change of `rpac.yaml` that names a site, or takes it out; None when nothing changes.

    Args:
        root: of the checkout.
        cloud: such as aws.
        made: the site; None takes it out.

    Raises:
        CommandError: the file cannot be read.
        ExperimentError: it has mistakes, or cannot be changed in place.
    """
    before = file_changes.read(root, CONFIG_FILE)
    if before is None and made is None:
        return None
    text = f"schema: {SCHEMA}\n" if before is None else before
    after = yaml_io.with_value(
        text, ("clouds", cloud), block(made) if made else None, file=CONFIG_FILE
    )
    parse_site_text(after.encode())
    return None if after == before else Change(path=CONFIG_FILE, before=before, after=after)
