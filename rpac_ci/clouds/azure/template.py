"""
The template of `rpac setup azure`, and what it lets whom do, for people who review it.

Rights are read from the template itself: roles with their actions, and the assignments that give
them to somebody for one resource, perhaps under a condition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

FILE = "azure.json"
ASSIGNMENT, ROLE = (
    "Microsoft.Authorization/roleAssignments",
    "Microsoft.Authorization/roleDefinitions",
)
CREDENTIAL = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"
# roles that Azure writes, by their variables in the template
BUILT_IN = {
    "blobDataOwner": "Storage Blob Data Owner",
    "blobDataContributor": "Storage Blob Data Contributor",
    "monitoringMetricsPublisher": "Monitoring Metrics Publisher",
}
WHO = {
    "jobs": "jobs of the repository on GitHub", "operator": "whoever drives runs from a terminal",
    "actor": "the function", "nodes": "nodes of runs", "topic": "Event Grid",
}  # fmt: skip
_ACTION = re.compile(r"ActionMatches\{'[A-Za-z./]*/blobs/([a-z/]+)'\}")
_PLACE = re.compile(r"StringStartsWith '([^']+)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One assignment of a role: who may do what to which resource."""

    who: str  # a key of `WHO`
    role: str  # as the template or Azure names it
    on: str  # kind of the resource and the variable with its name, such as `batchAccounts batch`
    actions: tuple[str, ...] = ()  # of the management plane; none for a role of Azure's
    data_actions: tuple[str, ...] = ()
    condition: str = ""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "who": self.who, "role": self.role, "on": self.on, "actions": list(self.actions),
            "data_actions": list(self.data_actions), "condition": self.condition,
        }  # fmt: skip


@cache
def text() -> str:
    """The template as it is kept."""
    return (resources.files("rpac_ci.infrastructure") / FILE).read_text(encoding="utf-8")


def parse(template: str) -> dict[str, Any]:
    """A template as plain values."""
    value: dict[str, Any] = json.loads(template)
    return value


def versions(template: Mapping[str, Any]) -> dict[str, str]:
    """Version of the API for each kind of resource, by its name in small letters."""
    return {
        str(one["type"]).lower(): str(one["apiVersion"]) for one in template["resources"].values()
    }


def version_of(kind: str) -> str:
    """Version of the API for one kind of resource."""
    return versions(parse(text()))[kind.lower()]


def parts(template: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The resources that certain values of the parameters ask for, by their names in the file."""
    wanted = {
        "[variables('withOperator')]": bool(values.get("operator")),
        "[variables('withFunction')]": bool(values.get("function")),
        "[variables('withEvents')]": bool(values.get("function") and values.get("events")),
        "[variables('withAlerts')]": bool(values.get("function") and values.get("email")),
        "[variables('withBudget')]": bool(
            values.get("budget") not in {None, "0"} and values.get("email")
        ),
        "[variables('withIds')]": bool(values.get("ownerId") and values.get("repositoryId")),
    }
    return {
        name: one
        for name, one in template["resources"].items()
        if "condition" not in one or wanted[one["condition"]]
    }


def grants(made: Mapping[str, Mapping[str, Any]]) -> Iterator[Grant]:
    """
    Every right that is given, in the order of the file.

    Args:
        made: resources, from `parts` or of a whole template.
    """
    roles = {name: one["properties"] for name, one in made.items() if one["type"] == ROLE}
    for one in made.values():
        if one["type"] != ASSIGNMENT:
            continue
        properties = one["properties"]
        variable = _variable(properties["roleDefinitionId"])
        role = roles.get(variable)
        (permission,) = role["permissions"] if role else ({},)
        yield Grant(
            who=_who(properties["principalId"]),
            role=_title(role["roleName"]) if role else BUILT_IN[variable],
            on=_resource(one["scope"]),
            actions=tuple(permission.get("actions", ())),
            data_actions=tuple(permission.get("dataActions", ())),
            condition=properties.get("condition", ""),
        )


def subjects(made: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> list[str]:
    """The subjects of jobs on GitHub that may enter."""
    owner, _, project = str(values["repository"]).partition("/")
    known = {
        "variables('owner')": owner, "variables('project')": project,
        **{f"parameters('{name}')": str(value) for name, value in values.items()},
    }  # fmt: skip
    found = []
    for one in made.values():
        if one["type"] == CREDENTIAL:
            form, *names = _arguments(one["properties"]["subject"])
            found.append(form.strip("'").format(*(known[name] for name in names)))
    return found


def review(made: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> str:
    """The permission list for a terminal: who, by which role, what and on which resource."""
    lines = [
        f"jobs of the repository on GitHub: those whose subject is {one}"
        for one in subjects(made, values)
    ]
    given = list(grants(made))
    for who in dict.fromkeys(grant.who for grant in given):
        named = f" ({values['operator']})" if who == "operator" else ""
        lines.append(f"{WHO[who]}{named}:")
        for grant in (one for one in given if one.who == who):
            own = bool(grant.actions or grant.data_actions)
            lines.append(f"  {grant.role}{'' if own else ' (a role of Azure)'}")
            lines += [f"      {action}" for action in (*grant.actions, *grant.data_actions)]
            lines.append(f"      on {grant.on}")
            lines += [f"      only {one}" for one in said_conditions(grant.condition)]
    return "\n".join(lines)


def said_conditions(condition: str) -> list[str]:
    """
    A condition in words, one line for each of its clauses.

    A clause is `(<not these actions>) OR (<below these paths>)`, and all of them hold.
    """
    told = []
    for clause in condition.split(") AND ((") if condition else []:
        actions = _ACTION.findall(clause)
        listing = "AND SubOperationMatches{'Blob.List'}" in clause
        places = " or ".join(f"{place}*" for place in _PLACE.findall(clause))
        told.append(f"{'list' if listing else ' and '.join(actions)} below {places}")
    return told


def _who(principal: str) -> str:
    if principal == "[parameters('operator')]":
        return "operator"
    return str(re.findall(r"reference\('(\w+)'", principal)[0])


def _variable(expression: str) -> str:
    return str(re.findall(r"variables\('(\w+)'\)", expression)[-1])


def _resource(scope: str) -> str:
    kind = re.findall(r"'(Microsoft\.[\w./]+)'", scope)[0].rpartition("/")[2]
    *_, last = re.findall(r"variables\('(\w+)'\)|'([\w-]+)'\)", scope)
    return f"{kind} {last[0] or last[1]}"


def _title(name: str) -> str:
    """Of a role: what stands between the site's name and what makes it the only one."""
    return re.sub(r"^\[format\('rpac \{0\} (.*) \(\{1\}\)'.*$", r"\1", name)


def _arguments(expression: str) -> list[str]:
    inside = expression.removeprefix("[format(").removesuffix(")]")
    return re.findall(r"'[^']*'(?!\))|\w+\('[^']+'\)", inside)
