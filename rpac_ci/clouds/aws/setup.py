"""
`rpac setup aws`: from what a person asks for to the stack's parameters, and from the stack's
outputs to the block `clouds.aws` of `rpac.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from rpac_ci import file_changes, yaml_io
from rpac_ci.canonical import Json
from rpac_ci.clouds.aws.errors import translated
from rpac_ci.errors import CloudError, CommandError
from rpac_ci.file_changes import Change
from rpac_ci.github.oidc import check_environment
from rpac_ci.site_clouds import AwsSite
from rpac_ci.site_config import CONFIG_FILE, SCHEMA, parse_site_text

if TYPE_CHECKING:
    from rpac_ci.clouds.aws.clients import Aws
    from rpac_ci.clouds.aws.stack import Stack

NAME = re.compile(r"[a-z][a-z0-9]{1,23}")
_FULL_NAME = re.compile(r"(?P<owner>[A-Za-z0-9][A-Za-z0-9-]{0,38})/(?P<name>[A-Za-z0-9._-]{1,100})")
_FUNCTION = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<key>\S{1,1024})")
_PROVIDER = "oidc-provider/token.actions.githubusercontent.com"
_LISTS = ("subnets", "private_subnets", "security_groups")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person asks for; None keeps what the stack has, or the template's default."""

    name: str
    repository: str  # OWNER/NAME on GitHub, letter by letter
    owner_id: int | None = None
    repository_id: int | None = None
    environment: str | None = None
    registry: str | None = None
    nat: bool | None = None
    budget: float | None = None  # USD in a month
    email: str | None = None
    function: str | None = None  # s3://bucket/key of its code

    def __post_init__(self) -> None:
        check_name(self.name)
        if not _FULL_NAME.fullmatch(self.repository):
            raise CommandError(
                f"{self.repository[:150]!a} is no repository on GitHub", hint="OWNER/NAME"
            )
        if self.environment is not None:
            check_environment(self.environment)
        if self.budget is not None and self.email is None:
            raise CommandError("a budget needs somebody to tell", hint="--budget USD --email MAIL")
        if self.function is not None and not _FUNCTION.fullmatch(self.function):
            raise CommandError(
                f"{self.function[:150]!a} is no object in a bucket", hint="s3://BUCKET/KEY"
            )


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


def usual_name(repository: str) -> str:
    """The name of a repository's site where none is given: letters and digits of its own name."""
    letters = re.sub(r"[^a-z0-9]", "", repository.rpartition("/")[2].lower()).lstrip("0123456789")
    return letters[:24] if len(letters) > 1 else "rpac"


def parameters(
    wishes: Wishes, template: Mapping[str, Json], current: Stack | None, provider: str
) -> dict[str, str]:
    """
    Every parameter of the stack.

    Args:
        wishes: what is asked for.
        template: from `template.parse`.
        current: the stack that is there; what is not asked for keeps its value.
        provider: ARN of the account's identity provider for GitHub, empty when there is none.

    Raises:
        CommandError: the stack belongs to another repository.
    """
    declared = template["Parameters"]
    assert isinstance(declared, dict)
    values = {
        name: str(one["Default"])
        for name, one in declared.items()
        if isinstance(one, dict) and "Default" in one
    }
    if current is not None and current.parameters:
        _same_repository(wishes, current)
        values.update({key: one for key, one in current.parameters.items() if key in declared})
    else:
        values["OidcProviderArn"] = provider
    owner, _, name = wishes.repository.partition("/")
    values.update(Name=wishes.name, GitHubOrg=owner, GitHubRepo=name)
    usual = f"ghcr.io/{wishes.repository.lower()}"
    values["ImageRepository"] = wishes.registry or values.get("ImageRepository") or usual
    code = _FUNCTION.fullmatch(wishes.function) if wishes.function else None
    asked: dict[str, str | None] = {
        "GitHubOwnerId": _word(wishes.owner_id),
        "GitHubRepositoryId": _word(wishes.repository_id),
        "GitHubEnvironment": wishes.environment,
        "Nat": None if wishes.nat is None else ("yes" if wishes.nat else "no"),
        "BudgetUsd": None if wishes.budget is None else f"{wishes.budget:g}",
        "BudgetEmail": wishes.email,
        "LambdaCodeBucket": code["bucket"] if code else None,
        "LambdaCodeKey": code["key"] if code else None,
    }
    values.update({key: one for key, one in asked.items() if one is not None})
    return values


def identity_provider(aws: Aws) -> str:
    """ARN of the account's identity provider for GitHub Actions; empty when it has none."""
    with translated("looking for the identity provider of GitHub"):
        answer = aws.iam.list_open_id_connect_providers()
    found = [str(one["Arn"]) for one in answer["OpenIDConnectProviderList"]]
    return next((arn for arn in found if arn.endswith(_PROVIDER)), "")


def site(outputs: Mapping[str, str]) -> AwsSite:
    """
    The block of `rpac.yaml` from a stack's outputs.

    Raises:
        CloudError: an output is missing or is not what it should be.
    """
    fields: dict[str, object] = {}
    for field in AwsSite.model_fields:
        value = outputs.get("".join(part.capitalize() for part in field.split("_")))
        if value:
            fields[field] = value.split(",") if field in _LISTS else value
    try:
        return AwsSite.model_validate(fields)
    except ValidationError as exc:
        wrong = ", ".join(sorted({str(one["loc"][0]) for one in exc.errors()}))
        raise CloudError(
            f"the stack's outputs are not what rpac needs: {wrong}",
            hint="it was made by another template; take it away with --delete, or name another",
        ) from exc


def block(made: AwsSite) -> dict[str, Json]:
    """A site as it is written: in the order of the model, without what has no value."""
    values: dict[str, Json] = made.model_dump(exclude_defaults=True)
    return values


def settings_change(root: Path, made: AwsSite | None) -> Change | None:
    """
    The change of `rpac.yaml` that names a site, or takes it out; None when nothing changes.

    Raises:
        CommandError: the file cannot be read.
        ExperimentError: it has mistakes, or cannot be changed in place.
    """
    before = file_changes.read(root, CONFIG_FILE)
    if before is None and made is None:
        return None
    text = f"schema: {SCHEMA}\n" if before is None else before
    after = yaml_io.with_value(
        text, ("clouds", "aws"), block(made) if made else None, file=CONFIG_FILE
    )
    parse_site_text(after.encode())
    return None if after == before else Change(path=CONFIG_FILE, before=before, after=after)


def _same_repository(wishes: Wishes, current: Stack) -> None:
    has = f"{current.parameters.get('GitHubOrg')}/{current.parameters.get('GitHubRepo')}"
    if has.lower() != wishes.repository.lower():
        raise CommandError(
            f"the name {wishes.name!r} belongs to {has} in this account and region",
            hint="another name for this repository: --name",
        )


def _word(number: int | None) -> str | None:
    return None if number is None else str(number)
