"""The template of `rpac setup aws`, and what it lets whom do, for people who review it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from rpac_ci import yaml_io

FILE = "aws.yaml"
_VARIABLE = re.compile(r"\$\{([A-Za-z0-9.:]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One statement: who may do what to which resources; places are shown as `${Name}`."""

    who: str  # the logical name of the role
    why: str  # the statement's own name
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "role": self.who, "statement": self.why, "actions": list(self.actions),
            "resources": list(self.resources), "conditions": dict(self.conditions),
        }  # fmt: skip


@cache
def text() -> str:
    """The template as it is sent to CloudFormation."""
    return (resources.files("rpac_ci.infrastructure") / FILE).read_text(encoding="utf-8")


def parse(template: str) -> dict[str, Any]:
    """A template as plain values."""
    value: Any = yaml_io.loads(template.encode(), file=FILE).value
    return dict(value)


def grants(template: Mapping[str, Any]) -> Iterator[Grant]:
    """
    Every right that the template gives to a role, in the order of the file.

    Args:
        template: from `parse`.

    Returns:
        Statements of the roles' own policies; one with the action `(policy of AWS)` for each policy
        that AWS writes. A policy of the template that several roles have is told for each.
    """
    made: Mapping[str, Any] = template["Resources"]
    for name, resource in made.items():
        if resource["Type"] != "AWS::IAM::Role":
            continue
        properties = resource["Properties"]
        for attached in properties.get("ManagedPolicyArns", []):
            own = str(attached.get("Ref")) if isinstance(attached, dict) else ""
            if own in made:
                yield from _statements(name, made[own]["Properties"]["PolicyDocument"])
            else:
                yield Grant(
                    who=name, why="of AWS", actions=("(policy of AWS)",),
                    resources=(shown(attached),), conditions={},
                )  # fmt: skip
        for policy in properties.get("Policies", []):
            yield from _statements(name, policy["PolicyDocument"])


def trusts(template: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each role, and in words who may take it on."""
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::IAM::Role":
            continue
        for statement in resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
            principal = statement["Principal"]
            if "Service" in principal:
                yield name, f"the service {principal['Service']}"
            else:
                equals = statement["Condition"]["StringEquals"]
                subjects = next(value for key, value in equals.items() if key.endswith(":sub"))
                forms = sorted(set(_subjects(subjects)))
                yield name, f"jobs on GitHub whose subject is {' or '.join(forms)}"


def review(template: Mapping[str, Any], values: Mapping[str, str]) -> str:
    """
    The permission list for a terminal: role, who takes it on, actions, resources.

    Args:
        template: from `parse`.
        values: parameter -> value; what is not there stays `${Name}`.
    """
    lines: list[str] = []
    given = list(grants(template))
    for who, by in trusts(template):
        lines.append(f"{who}: for {by}")
        for grant in (one for one in given if one.who == who):
            lines.append(f"  {grant.why}: {' '.join(grant.actions)}")
            lines += [f"      on {resource}" for resource in grant.resources]
            lines += [
                f"      only if {key} is {' or '.join(map(str, wanted))}"
                for key, wanted in conditions(grant)
            ]
    return _VARIABLE.sub(lambda found: values.get(found[1], found[0]), "\n".join(lines))


def conditions(grant: Grant) -> Iterator[tuple[str, list[str]]]:
    """Each condition of a grant: the key, and the values of which one has to be there."""
    for wanted in grant.conditions.values():
        for key, values in wanted.items():
            yield key, [shown(value) for value in _many(values)]


def shown(value: Any) -> str:
    """A value of the template in one line, references as `${Name}`."""
    if isinstance(value, dict):
        if "Ref" in value:
            return f"${{{value['Ref']}}}"
        if "Fn::Sub" in value:
            return str(value["Fn::Sub"])
        if "Fn::GetAtt" in value:
            return f"${{{'.'.join(value['Fn::GetAtt'])}}}"
    return str(value)


def filled(text_with_places: str, values: Mapping[str, str]) -> str:
    """`${Name}` and its kin replaced; what is not known becomes `*`."""
    return _VARIABLE.sub(lambda found: values.get(found[1], "*"), text_with_places)


def _statements(who: str, document: Mapping[str, Any]) -> Iterator[Grant]:
    for statement in document["Statement"]:
        yield Grant(
            who=who,
            why=statement.get("Sid", ""),
            actions=tuple(_many(statement["Action"])),
            resources=tuple(shown(one) for one in _many(statement["Resource"])),
            conditions=statement.get("Condition", {}),
        )


def _subjects(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and "Fn::If" in value:
        for branch in value["Fn::If"][1:]:
            yield from _subjects(branch)
    else:
        for one in _many(value):
            yield shown(one)


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
