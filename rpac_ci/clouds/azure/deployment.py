"""
One deployment of the template into a resource group: looked at, what it would change, applied.

Azure keeps the last deployment of a name with its values, so that one is what a site is made of. It
goes on by itself whoever watches: what is interrupted here is taken up by the next call. What fails
in the middle stays as far as it came, and the same deployment again goes on from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rpac_ci.clouds.azure.arm import RESOURCES, Arm, Json, Tell, failed, reasons_of, watched
from rpac_ci.errors import CloudError, CommandError, ProvisioningError

VERSION = "2025-04-01"
BUDGETS = "2023-11-01"
TAG = "rpac-name"
LIMIT_S = 3600.0
WHAT_IF_S = 600.0
GROUP = re.compile(r"[A-Za-z0-9_.()-]{0,89}[A-Za-z0-9_()-]")
_GOING_ON = {"Accepted", "Running", "Creating", "Created", "Updating", "Ready"}
_CHANGES = {"Create": "add", "Modify": "modify", "Delete": "remove", "Deploy": "deploy"}
_UNCERTAIN = "Unsupported"
_DONE = {"Succeeded", "Failed", "Canceled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployment as Azure describes it."""

    name: str
    group: str
    status: str
    reason: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def under_way(self) -> bool:
        """Whether Azure is at work on it."""
        return self.status in _GOING_ON

    @property
    def done(self) -> bool:
        """Whether it was made as a whole."""
        return self.status == "Succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceChange:
    """What would become of one resource; `details` names the properties that would change."""

    action: str
    resource: str
    kind: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f": {', '.join(self.details)}" if self.details else ""
        return f"{self.action:<7} {self.resource} ({self.kind}){what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What a deployment would change; `uncertain` are resources of which Azure cannot say it."""

    changes: tuple[ResourceChange, ...]
    uncertain: tuple[ResourceChange, ...] = ()


def deployment_name(name: str) -> str:
    """The deployment, and where none is named the resource group, of a site's name."""
    return f"rpac-{name}"


def path_of(arm: Arm, group: str, name: str) -> str:
    """The path of a site's deployment."""
    return f"{arm.group(group)}/providers/Microsoft.Resources/deployments/{deployment_name(name)}"


def ensure_group(arm: Arm, group: str, location: str, name: str, *, ours: bool) -> bool:
    """
    Have the resource group, empty where there was none: only in one can changes be asked for.

    Args:
        arm: the subscription.
        group: its name.
        location: where it is made.
        name: of the site, the value of its tag.
        ours: whether it bears the site's name, and must not be somebody else's.

    Returns:
        Whether it was made now.

    Raises:
        CommandError: it is there, and of something else.
        CloudError: Azure cannot be asked, or refuses.
    """
    found = arm.get(arm.group(group), RESOURCES, f"looking at the resource group {group}")
    if found is None:
        body = {"location": location, "tags": {TAG: name}}
        arm.put(arm.group(group), RESOURCES, body, f"making the resource group {group}")
        return True
    if ours and not is_ours(found, name):
        raise CommandError(
            f"the resource group {group} is there already, and not of rpac",
            hint="to use it all the same: --resource-group; or another name: --name",
        )
    return False


def is_ours(found: Mapping[str, Any], name: str) -> bool:
    """Whether a resource group or a resource has the tag of a site."""
    return (found.get("tags") or {}).get(TAG) == name


def discard_group(arm: Arm, group: str) -> None:
    """Take a resource group back that was made for a look; one with something in it stays."""
    doing = f"taking the resource group {group} back"
    if next(iter(arm.listed(f"{arm.group(group)}/resources", RESOURCES, doing)), None) is None:
        arm.delete(arm.group(group), RESOURCES, doing)


def find(arm: Arm, group: str, name: str) -> Deployment | None:
    """
    The last deployment of a site; None where there is none.

    Raises:
        CloudError: Azure cannot be asked.
    """
    called = deployment_name(name)
    found = arm.get(path_of(arm, group, name), VERSION, f"looking at the deployment {called}")
    if found is None:
        return None
    properties = found["properties"]
    reasons = [f"{code}: {said}" for code, said in reasons_of(properties.get("error"))]
    return Deployment(
        name=called, group=group, status=properties["provisioningState"],
        reason=reasons[0] if reasons else "",
        parameters={
            key: one.get("value") for key, one in (properties.get("parameters") or {}).items()
        },
        outputs={key: one.get("value") for key, one in (properties.get("outputs") or {}).items()},
    )  # fmt: skip


def settled(arm: Arm, group: str, name: str, tell: Tell) -> Deployment | None:
    """
    A site's deployment when nothing is under way any more; waits for that, and tells of it.

    Raises:
        CloudError: Azure cannot be asked, or it takes longer than an hour.
        CancelledError: interrupted; it goes on by itself.
    """
    found = find(arm, group, name)
    if found is None or not found.under_way:
        return found
    tell(f"{found.name} is at {found.status}; waiting")
    return _watch(arm, group, name, tell, seen=set())


def what_if(
    arm: Arm, group: str, name: str, template: Json, parameters: Mapping[str, Any]
) -> WhatIf:
    """
    Have Azure say what a deployment would change; nothing is changed.

    Raises:
        ProvisioningError: Azure refuses the template or the values.
        CloudError: Azure cannot be asked.
    """
    doing = "asking what would change"
    body = {"properties": {**_properties(template, parameters),
                           "whatIfSettings": {"resultFormat": "FullResourcePayloads"}}}  # fmt: skip
    answer = arm.ask(f"{path_of(arm, group, name)}/whatIf", VERSION, doing, body, limit_s=WHAT_IF_S)
    if answer.get("status", "Succeeded") != "Succeeded":
        raise failed(doing, answer.get("error"))
    told = answer.get("properties", {}).get("changes", [])
    roles = _roles(told)
    return WhatIf(
        changes=tuple(
            _change(one, _CHANGES[one["changeType"]], roles)
            for one in told if one["changeType"] in _CHANGES
        ),
        uncertain=tuple(
            _change(one, "perhaps", roles) for one in told if one["changeType"] == _UNCERTAIN
        ),
    )  # fmt: skip


def apply(
    arm: Arm, group: str, name: str, template: Json, parameters: Mapping[str, Any], tell: Tell
) -> Deployment:
    """
    Deploy, and tell of each resource.

    Raises:
        ProvisioningError: Azure could not; what it has made by then stays.
        CancelledError: interrupted; it goes on by itself.
    """
    called = deployment_name(name)
    doing = f"deploying {called}"
    seen = {str(one["operationId"]) for one in _operations(arm, group, name)}
    body = {"properties": _properties(template, parameters)}
    arm.put(path_of(arm, group, name), VERSION, body, doing)
    made = _watch(arm, group, name, tell, set(seen))
    if made is None or not made.done:
        status = made.status if made else "gone"
        why = "; ".join(_failures(arm, group, name, seen)) or (made.reason if made else "")
        raise ProvisioningError(
            f"the deployment {called} is at {status}: {why or 'Azure names no reason'}",
            hint="what was made by then stays; repair the reason, then give the same command again",
        )
    return made


def _properties(template: Json, parameters: Mapping[str, Any]) -> Json:
    values = {key: {"value": value} for key, value in parameters.items()}
    return {"mode": "Incremental", "template": template, "parameters": values}


def _roles(changes: list[Mapping[str, Any]]) -> dict[str, str]:
    """Roles and their assignments, whose own names are numbers: id -> name of the role."""
    said = {
        str(one.get("resourceId")): (one.get("after") or one.get("before") or {}).get(
            "properties", {}
        )
        for one in changes
    }
    names = {number: str(what["roleName"]) for number, what in said.items() if "roleName" in what}
    given = {number: names.get(str(what.get("roleDefinitionId"))) for number, what in said.items()}
    return names | {number: name for number, name in given.items() if name}


def _change(change: Mapping[str, Any], action: str, roles: Mapping[str, str]) -> ResourceChange:
    number = str(change.get("resourceId", ""))
    kind, resource = kind_and_name(number)
    resource = roles.get(number, resource)
    details = [str(one["path"]) for one in change.get("delta") or []]
    if reason := change.get("unsupportedReason"):
        details = [" ".join(str(reason).split())[:200]]
    return ResourceChange(action=action, resource=resource, kind=kind, details=tuple(details))


def kind_and_name(resource: str) -> tuple[str, str]:
    """Kind and name of a resource: of the last provider in its id, with those of its parents."""
    _, _, last = resource.rpartition("/providers/")
    words = last.split("/")
    kind = "/".join([*words[:1], *words[1::2]])
    return kind, "/".join(words[2::2]) or resource.rpartition("/")[2]


def _watch(arm: Arm, group: str, name: str, tell: Tell, seen: set[str]) -> Deployment | None:
    called = deployment_name(name)
    for _ in watched(LIMIT_S, f"deploying {called}"):
        found = find(arm, group, name)
        for one in _operations(arm, group, name):
            if one["operationId"] in seen:
                continue
            properties = one["properties"]
            target = properties.get("targetResource")
            if properties["provisioningState"] in _DONE:
                seen.add(str(one["operationId"]))
                if target:
                    kind = target["resourceType"]
                    tell(f"{properties['provisioningState']:<9} {target['resourceName']} ({kind})")
        if found is None or not found.under_way:
            return found
    raise CloudError(f"{called} is still under way after {LIMIT_S:.0f} s", transient=True)


def _operations(arm: Arm, group: str, name: str) -> Iterator[Json]:
    yield from arm.listed(
        f"{path_of(arm, group, name)}/operations", VERSION, "reading how far the deployment is"
    )


def _failures(arm: Arm, group: str, name: str, before: set[str]) -> list[str]:
    """What failed first, and why."""
    told = []
    for one in _operations(arm, group, name):
        properties = one["properties"]
        if one["operationId"] in before or properties["provisioningState"] != "Failed":
            continue
        reasons = list(reasons_of(properties.get("statusMessage")))
        target = properties.get("targetResource", {}).get("resourceName", "a resource")
        code, said = reasons[0] if reasons else ("", "Azure names no reason")
        told.append(f"{target}: {code}{': ' if code else ''}{said}")
    return told[:3]
