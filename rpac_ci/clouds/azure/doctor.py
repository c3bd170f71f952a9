"""
`rpac doctor azure`: is what `rpac.yaml` names there, closed, and allowed; nothing is changed.

A right that is missing for a look is a finding of its own: the look was not taken, and never counts
as fine.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rpac_ci.clouds.azure import deployment as deployments
from rpac_ci.clouds.azure import setup as setups
from rpac_ci.clouds.azure import template
from rpac_ci.clouds.azure.arm import RIGHTS, Arm
from rpac_ci.clouds.azure.deployment import Deployment, kind_and_name
from rpac_ci.clouds.site_setup import NAME, named_in_settings
from rpac_ci.github.diagnosis import Finding, Severity, fine, look
from rpac_ci.github.oidc import AZURE_AUDIENCE

if TYPE_CHECKING:
    from rpac_ci.site_clouds import AzureSite

FEW_JOBS = 20  # that may be open at once
FEW_CORES = 4
_SETUP = "rpac setup azure"
_WRITE = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"
_QUOTAS = "portal: the Batch account, Quotas, Request quota increase"
_MODES = {"BatchService": "batch_service", "UserSubscription": "user_subscription"}


def examine(made: AzureSite, arm: Arm) -> list[Finding]:
    """
    Look at a site.

    Args:
        made: what `rpac.yaml` names.
        arm: its subscription.

    Returns:
        One finding for each thing that was looked at, or that could not be.
    """
    findings: list[Finding] = []
    entered: list[bool] = []

    def who() -> Iterator[Finding]:
        claims = arm.caller()
        found = setups.the_subscription(arm)
        entered.append(True)
        called = claims.get("upn") or claims.get("appid") or claims.get("oid") or "somebody"
        yield fine("azure credentials", f"{called}, in {found.get('displayName', 'it')}")
        if found.get("state", "Enabled") != "Enabled":
            yield Finding(
                topic="azure credentials", severity=Severity.ERROR,
                what=f"the subscription is {found['state']}", fix="portal: Subscriptions",
            )  # fmt: skip

    findings += look("azure credentials", "Reader", who, severity=Severity.ERROR)
    if not entered:
        return findings
    batch = (
        f"{arm.group(made.resource_group)}/providers/Microsoft.Batch/batchAccounts/{made.account}"
    )
    store = (
        f"{arm.group(made.resource_group)}/providers/Microsoft.Storage/storageAccounts/"
        f"{made.store.removeprefix('az://').partition('/')[0]}"
    )
    checks: Sequence[tuple[str, Callable[[], Iterator[Finding]]]] = (
        ("azure providers", lambda: _providers(arm)),
        ("azure deployment", lambda: _deployment(made, arm)),
        ("azure rights", lambda: _rights(made, arm, batch, store)),
        ("azure account", lambda: _account(made, arm, batch)),
        ("azure store", lambda: _store(arm, store)),
        ("azure nodes", lambda: _nodes(made, arm, store)),
        ("azure jobs", lambda: _jobs(made, arm)),
    )
    for topic, check in checks:
        findings += look(topic, "Reader of the resource group", check)
    return findings


def _providers(arm: Arm) -> Iterator[Finding]:
    topic = "azure providers"
    if missing := setups.unregistered(arm, setups.PROVIDERS):
        for one in missing:
            yield Finding(
                topic=topic, severity=Severity.ERROR, what=f"{one} is not registered",
                fix=f"az provider register --namespace {one} --subscription {arm.subscription}",
            )  # fmt: skip
    else:
        yield fine(topic, f"{', '.join(setups.PROVIDERS)} are registered")


def _deployment(made: AzureSite, arm: Arm) -> Iterator[Finding]:
    topic = "azure deployment"
    name = deployments.deployment_name(made.name)
    # a name that rpac would not give was not deployed by rpac
    found = (
        deployments.find(arm, made.resource_group, made.name)
        if NAME.fullmatch(made.name) else None
    )  # fmt: skip
    if found is None:
        yield Finding(
            topic=topic, severity=Severity.NOTE,
            what=f"there is no deployment {name} in {made.resource_group}",
            fix=f"if nobody made it by hand: {_SETUP}",
        )  # fmt: skip
    elif found.under_way:
        yield Finding(
            topic=topic, severity=Severity.WARNING, what=f"{name} is at {found.status}",
            fix=f"{_SETUP} waits for it and goes on",
        )  # fmt: skip
    elif not found.done:
        why = f": {found.reason}" if found.reason else ""
        yield Finding(
            topic=topic, severity=Severity.ERROR, what=f"{name} is at {found.status}{why}",
            fix=f"repair the reason, then {_SETUP} goes on from there",
        )  # fmt: skip
    else:
        yield named_in_settings(
            topic, made, setups.site(found.outputs),
            name=found.name, status="done", setup=_SETUP,
        )  # fmt: skip
        yield from _function(found)


def _function(found: Deployment) -> Iterator[Finding]:
    if found.parameters.get("function") == setups.UNPUBLISHED:
        yield Finding(
            topic="azure function", severity=Severity.WARNING,
            what="it has no code: publishing it was interrupted, or refused",
            fix=f"{_SETUP} --function FILE",
        )  # fmt: skip


def _rights(made: AzureSite, arm: Arm, batch: str, store: str) -> Iterator[Finding]:
    """Each right of a driver, asked for whoever looks."""
    topic = "azure rights"
    places = {
        "batchAccounts batch": batch,
        "containers container": f"{store}/blobServices/default/containers/"
        f"{made.store.removeprefix('az://').split('/')[1]}",
        "userAssignedIdentities nodes": made.identity,
    }
    missing: list[str] = []
    for grant in template.grants(template.parse(template.text())["resources"]):
        if grant.who == "jobs":
            missing += _denied(arm, grant, places[grant.on])
    if missing:
        yield Finding(
            topic=topic, severity=Severity.ERROR,
            what=f"whoever looks may not: {', '.join(missing)}",
            fix=f"{_SETUP} --operator OBJECT-ID gives them to somebody; jobs on GitHub have them",
        )  # fmt: skip
    else:
        yield fine(topic, "whoever looks may do all that a driver needs")


def _denied(arm: Arm, grant: template.Grant, place: str) -> list[str]:
    path = f"{place}/providers/Microsoft.Authorization/permissions"
    given = list(arm.listed(path, RIGHTS, "asking what may be done"))
    return [
        action
        for actions, plane in ((grant.actions, "actions"), (grant.data_actions, "dataActions"))
        for action in actions
        if not any(_allows(one, action, plane) for one in given)
    ]


def _allows(permission: Mapping[str, Any], action: str, plane: str) -> bool:
    refused = f"not{plane[0].upper()}{plane[1:]}"
    return _matches(permission.get(plane), action) and not _matches(permission.get(refused), action)


def _matches(patterns: Any, action: str) -> bool:
    return any(fnmatch.fnmatchcase(action.lower(), str(one).lower()) for one in patterns or ())


def _account(made: AzureSite, arm: Arm, batch: str) -> Iterator[Finding]:
    topic = "azure account"
    found = arm.get(batch, template.version_of("Microsoft.Batch/batchAccounts"),
                    "looking at the Batch account")  # fmt: skip
    if found is None:
        yield _absent(topic, batch)
        return
    properties = found["properties"]
    mode = _MODES.get(str(properties.get("poolAllocationMode")))
    if mode != made.pool_allocation_mode:
        yield Finding(
            topic=topic, severity=Severity.ERROR,
            what=f"its machines are {mode}, and rpac.yaml says {made.pool_allocation_mode}",
            fix=f"{_SETUP} writes what is so into rpac.yaml",
        )  # fmt: skip
    if "SharedKey" in (properties.get("allowedAuthenticationModes") or ["SharedKey"]):
        yield Finding(
            topic=topic, severity=Severity.WARNING,
            what=f"{made.account} can be entered with a key, whatever roles say", fix=_SETUP,
        )  # fmt: skip
    ours = mode == "batch_service"
    yield from _quota("pools", properties.get("poolQuota"), 2)
    yield from _quota("open jobs", properties.get("activeJobAndJobScheduleQuota"), FEW_JOBS)
    if ours:  # in one's own subscription the quotas are those of its virtual machines
        yield from _quota("dedicated cores", properties.get("dedicatedCoreQuota"), FEW_CORES)
        if properties.get("dedicatedCoreQuotaPerVMFamilyEnforced"):
            families = properties.get("dedicatedCoreQuotaPerVMFamily") or []
            if not any(one.get("coreQuota") for one in families):
                yield Finding(
                    topic="azure quotas", severity=Severity.ERROR,
                    what="no family of machines has any core", fix=_QUOTAS,
                )  # fmt: skip


def _quota(what: str, value: int | None, few: int) -> Iterator[Finding]:
    if value is None:
        return
    text = f"{value} {what} at a time"
    if value < few:
        severity = Severity.ERROR if value < 1 else Severity.WARNING
        yield Finding(topic="azure quotas", severity=severity, what=text, fix=_QUOTAS)
    else:
        yield fine("azure quotas", text)


def _store(arm: Arm, store: str) -> Iterator[Finding]:
    topic = "azure store"
    version = template.version_of("Microsoft.Storage/storageAccounts")
    account = kind_and_name(store)[1]
    found = arm.get(store, version, "looking at the storage account")
    if found is None:
        yield _absent(topic, store)
        return
    properties = found["properties"]
    closed = True
    for key, wanted, what, severity in (
        ("allowBlobPublicAccess", False, "could be made public", Severity.ERROR),
        ("allowSharedKeyAccess", False, "can be entered with a key, whatever roles say: a node "
         "that had it could write control/", Severity.ERROR),
        ("minimumTlsVersion", "TLS1_2", "takes old versions of TLS", Severity.WARNING),
        ("supportsHttpsTrafficOnly", True, "takes requests without TLS", Severity.ERROR),
    ):  # fmt: skip
        if properties.get(key) != wanted:
            closed = False
            yield Finding(topic=topic, severity=severity, what=f"{account} {what}", fix=_SETUP)
    kept = arm.get(f"{store}/blobServices/default", version, "looking at its versions")
    versioned = bool(kept and kept["properties"].get("isVersioningEnabled"))
    if not versioned:
        yield Finding(
            topic=topic, severity=Severity.WARNING, what=f"{account} keeps no old versions",
            fix=f"az storage account blob-service-properties update -n {account} "
            "--enable-versioning true",
        )  # fmt: skip
    if closed and versioned:
        yield fine(topic, f"{account} is versioned, closed to the public and takes no keys")


def _nodes(made: AzureSite, arm: Arm, store: str) -> Iterator[Finding]:
    """Whether nodes may write what only drivers may say."""
    topic = "azure nodes"
    version = template.version_of("Microsoft.ManagedIdentity/userAssignedIdentities")
    found = arm.get(made.identity, version, "looking at the identity of the nodes")
    if found is None:
        yield _absent(topic, made.identity)
        return
    properties = found["properties"]
    if properties["clientId"] != made.identity_client_id:
        yield Finding(
            topic=topic, severity=Severity.ERROR,
            what="identity_client_id in rpac.yaml is of another identity", fix=_SETUP,
        )  # fmt: skip
    path = f"{store}/providers/Microsoft.Authorization/roleAssignments"
    ours = {"$filter": f"principalId eq '{properties['principalId']}'"}
    # of the storage account, of what it is in and of what is in it
    given = list(arm.listed(path, RIGHTS, "looking at what nodes may do", **ours))
    free = [one for one in given if _writes_anything(arm, one["properties"])]
    if free:
        yield Finding(
            topic=topic, severity=Severity.ERROR,
            what=f"{len(free)} of the roles that nodes have on the store name no place: they may "
            "write more than their runs",
            fix="remove those that rpac did not give: portal, the storage account, Access control",
        )  # fmt: skip
    elif not given:
        yield Finding(
            topic=topic,
            severity=Severity.ERROR,
            what="nodes have no right to the store",
            fix=_SETUP,
        )
    else:
        yield fine(topic, "nodes write runs/ and nothing else")


def _writes_anything(arm: Arm, assignment: Mapping[str, Any]) -> bool:
    if assignment.get("condition"):
        return False
    role = arm.get(assignment["roleDefinitionId"], RIGHTS, "looking at a role of the nodes")
    rights = role["properties"]["permissions"] if role else []
    return any(_allows(one, _WRITE, "dataActions") for one in rights)


def _jobs(made: AzureSite, arm: Arm) -> Iterator[Finding]:
    """Who can enter from GitHub."""
    topic = "azure jobs"
    jobs = made.identity.removesuffix("-nodes") + "-jobs"
    version = template.version_of(template.CREDENTIAL)
    if not made.identity.endswith("-nodes"):
        return
    found = list(
        arm.listed(f"{jobs}/federatedIdentityCredentials", version, "looking at who may enter")
    )
    wrong = [
        str(one["properties"]["subject"]) for one in found
        if one["properties"]["audiences"] != [AZURE_AUDIENCE]
        or ":environment:" not in one["properties"]["subject"]
    ]  # fmt: skip
    if wrong:
        yield Finding(
            topic=topic, severity=Severity.ERROR,
            what=f"more than jobs of one environment may enter: {', '.join(wrong)}",
            fix=f"remove these federated credentials of {jobs.rpartition('/')[2]}",
        )  # fmt: skip
    elif not found:
        yield Finding(
            topic=topic, severity=Severity.WARNING, what="no job on GitHub can enter", fix=_SETUP
        )
    else:
        subjects = ", ".join(sorted(str(one["properties"]["subject"]) for one in found))
        yield fine(topic, f"who may enter: {subjects}")


def _absent(topic: str, resource: str) -> Finding:
    kind, name = kind_and_name(resource)
    return Finding(
        topic=topic, severity=Severity.ERROR, what=f"there is no {name} ({kind})",
        fix=f"{_SETUP}; or rpac.yaml names another",
    )  # fmt: skip
