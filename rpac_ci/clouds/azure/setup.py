"""
`rpac setup azure`: from what a person asks for to the values of the template, and from what was
deployed to the block `clouds.azure` of `rpac.yaml`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rpac_ci.clouds.azure import paces
from rpac_ci.clouds.azure.arm import RESOURCES, SUBSCRIPTIONS, Arm, Json, Tell, watched
from rpac_ci.clouds.site_setup import (
    check_budget,
    check_name,
    check_repository,
    check_same_repository,
    made_site,
)
from rpac_ci.errors import CloudError, CommandError, ProvisioningError, SignInError
from rpac_ci.github.oidc import check_environment
from rpac_ci.site_clouds import AzureSite

# kinds of resources that a subscription has to be told of once; it costs nothing
PROVIDERS = ("Microsoft.Batch", "Microsoft.ManagedIdentity", "Microsoft.Storage")
OF_FUNCTION = (
    "Microsoft.EventGrid", "Microsoft.Insights", "Microsoft.OperationalInsights", "Microsoft.Web",
)  # fmt: skip
OF_BUDGET = ("Microsoft.Consumption",)
UNPUBLISHED = "unpublished"  # of an app that has no code yet
REGISTER_S = 600.0
PUBLISH_S = 900.0
_PUBLISHED, _REFUSED = 4, 3  # states of a deployment of code
_SECRET = re.compile(r"https://[a-zA-Z0-9-]{3,24}\.vault\.azure\.net/secrets/[A-Za-z0-9-]{1,127}")
_OBJECT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VAULT = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.KeyVault/vaults/[^/]+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person asks for; None keeps what was deployed, or the template's default."""

    name: str
    repository: str  # OWNER/NAME on GitHub, letter by letter
    location: str | None = None
    owner_id: int | None = None
    repository_id: int | None = None
    environment: str | None = None
    registry: str | None = None
    operator: str | None = None  # object id
    key_vault: str | None = None  # resource id; with it, machines are of the own subscription
    subnet: str | None = None  # resource id
    budget: float | None = None  # in a month
    email: str | None = None
    function: Path | None = None  # ZIP file with its code
    github_secret: str | None = None  # URL of a secret in a Key Vault

    def __post_init__(self) -> None:
        check_name(self.name)
        check_repository(self.repository)
        if self.environment is not None:
            check_environment(self.environment)
        check_budget(self.budget, self.email)
        for value, form, what, hint in (
            (self.operator, _OBJECT, "object id", "az ad signed-in-user show --query id"),
            (self.key_vault, _VAULT, "Key Vault", "its resource id: /subscriptions/…/vaults/NAME"),
            (self.github_secret, _SECRET, "secret in a Key Vault",
             "https://VAULT.vault.azure.net/secrets/NAME"),
        ):  # fmt: skip
            if value is not None and not form.fullmatch(value):
                raise CommandError(f"{value[:150]!a} is no {what}", hint=hint)


def code_of_function(file: Path) -> tuple[bytes, str]:
    """
    The function's ZIP file, and its digest.

    Raises:
        CommandError: it cannot be read, or is no such file.
    """
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise CommandError(f"{file} cannot be read: {exc.strerror}") from exc
    if not content.startswith(b"PK"):
        raise CommandError(
            f"{file} is no ZIP file", hint="rpac setup azure --build-function FILE makes one"
        )
    return content, hashlib.sha256(content).hexdigest()


def parameters(
    wishes: Wishes, template: Mapping[str, Any], current: Mapping[str, Any] | None,
    caller: Mapping[str, Any], *, digest: str | None = None, now: datetime | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Every parameter of the template that has no default, or another value than that.

    Args:
        wishes: what is asked for.
        template: from `template.parse`.
        current: values of the last deployment; what is not asked for keeps its value.
        caller: claims of who asks, who drives runs from a terminal where nobody else is named.
        digest: of the function's code.
        now: the time, for the budget's first month.

    Raises:
        CommandError: the name belongs to another repository.
    """
    declared = template["parameters"]
    values = {
        name: one["defaultValue"]
        for name, one in declared.items()
        if "defaultValue" in one and not str(one["defaultValue"]).startswith("[")
    }
    if current:
        check_same_repository(
            wishes.name, wishes.repository, str(current.get("repository")), "this resource group"
        )
        values.update({key: one for key, one in current.items() if key in declared})
    elif caller.get("oid"):
        values["operator"] = caller["oid"]
        values["operatorType"] = "ServicePrincipal" if caller.get("idtyp") == "app" else "User"
    values.update(name=wishes.name, repository=wishes.repository)
    usual = f"ghcr.io/{wishes.repository.lower()}"
    values["images"] = wishes.registry or values.get("images") or usual
    asked: dict[str, Any] = {
        "location": wishes.location,
        "ownerId": None if wishes.owner_id is None else str(wishes.owner_id),
        "repositoryId": None if wishes.repository_id is None else str(wishes.repository_id),
        "environment": wishes.environment,
        "operator": wishes.operator,
        "keyVault": wishes.key_vault,
        "poolAllocationMode": "user_subscription" if wishes.key_vault else None,
        "subnet": wishes.subnet,
        "budget": None if wishes.budget is None else f"{wishes.budget:g}",
        "email": wishes.email,
        "githubSecret": wishes.github_secret,
        "function": digest,
        "events": True if digest else None,
    }
    values.update({key: one for key, one in asked.items() if one is not None})
    if values["budget"] != "0" and not values["budgetStart"]:
        values["budgetStart"] = f"{now or datetime.now(UTC):%Y-%m}-01T00:00:00Z"
    return values


def the_subscription(arm: Arm) -> Json:
    """
    The subscription as Azure describes it.

    Raises:
        CommandError: whoever asks cannot see it.
        CloudError: Azure cannot be asked.
    """
    found = arm.get(arm.place, SUBSCRIPTIONS, "looking at the subscription")
    if found is None:
        raise CommandError(
            f"there is no subscription {arm.subscription}, or you may not see it",
            hint="az account list; az login --tenant TENANT",
        )
    return found


def only_subscription(arm: Arm) -> str:
    """
    The id of the one subscription that whoever asks can see.

    Raises:
        CommandError: there are several.
        SignInError: there is none.
    """
    doing = "looking for subscriptions"
    found = [str(one["subscriptionId"])
             for one in arm.listed("/subscriptions", SUBSCRIPTIONS, doing)]  # fmt: skip
    if not found:
        raise SignInError("no subscription of Azure can be seen", hint="az login")
    if len(found) > 1:
        raise CommandError(
            f"there are {len(found)} subscriptions", hint="--subscription ID; az account list"
        )
    return found[0]


def providers(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of resources that some values ask for."""
    return (
        *PROVIDERS,
        *(OF_FUNCTION if values.get("function") else ()),
        *(OF_BUDGET if values.get("budget", "0") != "0" else ()),
    )


def unregistered(arm: Arm, wanted: tuple[str, ...]) -> list[str]:
    """
    The kinds of resources that the subscription has not been told of.

    Raises:
        CloudError: Azure cannot be asked.
    """
    states = {
        str(one["namespace"]).lower(): one.get("registrationState")
        for one in arm.listed(f"{arm.place}/providers", RESOURCES, "asking what is registered")
    }
    return [one for one in wanted if states.get(one.lower()) != "Registered"]


def register(arm: Arm, missing: list[str], tell: Tell) -> None:
    """
    Tell the subscription of kinds of resources, and wait until it knows them.

    Raises:
        ProvisioningError: it takes too long.
        CloudError: Azure refuses.
    """
    for one in missing:
        tell(f"registering {one}")
        arm.ask(f"{arm.place}/providers/{one}/register", RESOURCES, f"registering {one}")
    if missing and not any(
        not unregistered(arm, tuple(missing)) for _ in watched(REGISTER_S, "registering")
    ):
        raise ProvisioningError(
            f"not registered after {REGISTER_S:.0f} s: {', '.join(missing)}",
            hint="the same command again waits for it",
        )


def publish(arm: Arm, app: str, version: str, content: bytes, tell: Tell) -> None:
    """
    Give an app its code, and wait until it has it.

    Args:
        arm: the subscription.
        app: path of the app.
        version: of the API for apps.
        content: ZIP file.
        tell: is told of it.

    Raises:
        ProvisioningError: the app does not take it.
        CloudError: it cannot be reached.
    """
    doing = "publishing the function"
    tell(doing)
    found = arm.get(app, version, doing)
    hosts = found["properties"].get("hostNameSslStates", []) if found else []
    host = next((one["name"] for one in hosts if one.get("hostType") == "Repository"), None)
    if host is None:
        raise ProvisioningError(f"{doing}: the app does not say where", hint="try again later")
    address = f"https://{host}/api"
    number = _uploaded(arm, f"{address}/publish?RemoteBuild=false", content).strip().strip('"')
    for _ in watched(PUBLISH_S, doing):
        said = arm.read(f"{address}/deployments/{number}", doing)
        if said.get("status") == _PUBLISHED:
            return
        if said.get("status") == _REFUSED:
            why = " ".join(str(said.get("status_text") or "Azure names no reason").split())
            raise ProvisioningError(f"{doing}: {why[:500]}")
    raise ProvisioningError(f"{doing}: not done after {PUBLISH_S:.0f} s", hint="try again")


def _uploaded(arm: Arm, url: str, content: bytes) -> str:
    """The number of the deployment; an app that is new is not found at once."""
    problem: CloudError | None = None
    for _ in paces.until(PUBLISH_S / 3):
        try:
            return arm.upload(url, content, "publishing the function")
        except CloudError as exc:
            if not exc.transient and "404" not in exc.message:
                raise
            problem = exc
    assert problem is not None
    raise problem


def site(outputs: Mapping[str, Any]) -> AzureSite:
    """
    The block of `rpac.yaml` from the outputs of a deployment.

    Raises:
        CloudError: something is missing or is not what it should be.
    """
    found = outputs.get("site")
    return made_site(AzureSite, found if isinstance(found, dict) else {})
