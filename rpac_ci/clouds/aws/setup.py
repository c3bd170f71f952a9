"""
`rpac setup aws`: from what a person asks for to the stack's parameters, and from the stack's
outputs to the block `clouds.aws` of `rpac.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rpac_ci.canonical import Json
from rpac_ci.clouds.aws.errors import translated
from rpac_ci.clouds.site_setup import (
    check_budget,
    check_name,
    check_repository,
    check_same_repository,
    made_site,
)
from rpac_ci.errors import CommandError
from rpac_ci.github.oidc import check_environment
from rpac_ci.site_clouds import AwsSite

if TYPE_CHECKING:
    from rpac_ci.clouds.aws.clients import Aws
    from rpac_ci.clouds.aws.stack import Stack

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
        check_repository(self.repository)
        if self.environment is not None:
            check_environment(self.environment)
        check_budget(self.budget, self.email)
        if self.function is not None and not _FUNCTION.fullmatch(self.function):
            raise CommandError(
                f"{self.function[:150]!a} is no object in a bucket", hint="s3://BUCKET/KEY"
            )


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
        has = f"{current.parameters.get('GitHubOrg')}/{current.parameters.get('GitHubRepo')}"
        check_same_repository(wishes.name, wishes.repository, has, "this account and region")
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
    return made_site(AwsSite, fields)


def _word(number: int | None) -> str | None:
    return None if number is None else str(number)
