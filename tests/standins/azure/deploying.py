"""
What a subscription has, and how deployments of a template change it: resource by resource, each
time somebody looks, in an order that its dependencies allow.

Expressions are worked out (`arm_expressions`); whether Azure would take what comes out is not
known. Nothing is checked by the services themselves, and no right is: tests say what is refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.standins.azure.arm_expressions import Evaluator, ExpressionError
from tests.standins.azure.state import Json, RefusedError, now

REGISTERED = "microsoft.storage"  # with every subscription
AT_ONCE = 12  # resources that are made between two looks
_NAMESPACE = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")
_TYPES = {"string": str, "int": int, "bool": bool, "object": dict, "array": list}


@dataclass
class Deployment:
    """A deployment of a template into a resource group."""

    asked: Json  # properties
    state: str = "Accepted"
    left: list[str] = field(default_factory=list)
    operations: list[Json] = field(default_factory=list)
    error: Json | None = None
    outputs: Json = field(default_factory=dict)
    values: Json = field(default_factory=dict)
    at: str = field(default_factory=now)


class _Later(dict[str, Any]):
    """Properties of a resource that is not there yet."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Any:
        inner = f"{self._name}.{key}"
        return _Later(inner) if key in {"identity", "primaryEndpoints"} else f"[{inner}]"


class Subscription:
    """Its resource groups with all that is in them; ids are kept in small letters."""

    def __init__(self, number: str, batch: str) -> None:
        """
        Args:
            number: of the subscription.
            batch: host and path of the Batch account that there is.
        """
        self.number, self.batch = number, batch
        self.tenant = str(uuid.uuid5(_NAMESPACE, "tenant"))
        self.groups: dict[str, Json] = {}
        self.resources: dict[str, Json] = {}
        self.deployments: dict[tuple[str, str], Deployment] = {}
        self.registered = {REGISTERED}
        # what tests change: resources that Azure refuses by their names in the template, and
        # deployments that never get on
        self.refused: dict[str, tuple[str, str]] = {}
        self.uncertain: dict[str, str] = {}  # of which it cannot say what would change, and why
        self.stuck = False
        self.published: dict[str, bytes] = {}
        self.on_container: Callable[[str, bool], None] = lambda _name, _made: None

    def forget(self) -> None:
        """Have nothing again."""
        if self._stores():
            self.on_container("rpac", False)
        for kept in (self.groups, self.resources, self.deployments, self.published):
            kept.clear()
        self.refused.clear()
        self.uncertain.clear()
        self.registered = {REGISTERED}
        self.stuck = False

    # --- templates --------------------------------------------------------------------------------

    def deploy(self, group: str, name: str, properties: Json) -> Deployment:
        """Begin a deployment."""
        old = self.deployments.get((group, name))
        if old and old.state in {"Accepted", "Running"}:
            raise RefusedError(409, "DeploymentActive", "The deployment is still active.")
        evaluator = self._evaluator(group, properties, later=True)
        made = Deployment(asked=properties, values=evaluator.values)
        made.left = self._order(properties["template"], evaluator)
        self.deployments[group, name] = made
        return made

    def look(self, group: str, name: str) -> Deployment | None:
        """A deployment, which gets on a little whenever somebody looks."""
        found = self.deployments.get((group, name))
        if found and found.state in {"Accepted", "Running"} and not self.stuck:
            found.state = "Running"
            self._get_on(group, found)
        return found

    def changes(self, group: str, properties: Json) -> list[Json]:
        """What a deployment would change."""
        evaluator = self._evaluator(group, properties, later=True)
        told: list[Json] = []
        named: set[str] = set()
        for symbol in self._order(properties["template"], evaluator):
            try:
                number, body = self._body(group, symbol, properties["template"], evaluator)
            except ExpressionError as exc:
                raise RefusedError(400, "InvalidTemplate", str(exc)) from exc
            named.add(number.lower())
            there = self.resources.get(number.lower())
            change: Json = {"resourceId": number, "symbolicName": symbol, "after": body}
            if why := self.uncertain.get(symbol):
                told.append({**change, "changeType": "Unsupported", "unsupportedReason": why})
                continue
            if there is None:
                told.append({**change, "changeType": "Create"})
                continue
            known = {key: there[key] for key in body}
            if known == body:
                told.append({**change, "changeType": "NoChange", "before": known})
                continue
            delta = [
                {"path": path, "propertyChangeType": "Modify", "before": old, "after": new}
                for path, old, new in _differences(known, body)
            ]
            told.append({**change, "changeType": "Modify", "before": known, "delta": delta})
        place = self._group(group)["id"].lower()
        told += [
            {"resourceId": one["id"], "changeType": "Ignore", "before": {}, "after": {}}
            for key, one in self.resources.items()
            if key.startswith(f"{place}/") and key not in named
        ]
        return told

    def _get_on(self, group: str, found: Deployment) -> None:
        template = found.asked["template"]
        evaluator = self._evaluator(group, found.asked, later=False)
        for symbol in found.left[:AT_ONCE]:
            number, body = self._body(group, symbol, template, evaluator)
            kind = template["resources"][symbol]["type"]
            target = {"id": number, "resourceType": kind, "resourceName": number.rsplit("/", 1)[1]}
            if symbol in self.refused:
                code, message = self.refused[symbol]
                error = {"code": code, "message": message}
                found.operations.append(_operation(symbol, "Failed", target, {"error": error}))
                found.state = "Failed"
                found.error = {
                    "code": "DeploymentFailed", "message": "At least one resource failed.",
                    "details": [error],
                }  # fmt: skip
                return
            self._make(number, kind, body)
            found.operations.append(_operation(symbol, "Succeeded", target, None))
            found.left.remove(symbol)
        if not found.left:
            out = template["outputs"]
            found.outputs = {
                key: {"type": one["type"].capitalize(), "value": evaluator.value(one["value"])}
                for key, one in out.items()
            }
            found.state = "Succeeded"

    def _make(self, number: str, kind: str, body: Json) -> None:
        there = self.resources.get(number.lower())
        stored = self._stores()
        if kind == "Microsoft.Consumption/budgets" and there:
            old, new = (one["properties"]["timePeriod"] for one in (there, body))
            if old != new:
                raise AssertionError("Azure refuses another first month of a budget")
        if kind.endswith("/eventSubscriptions"):
            function = body["properties"]["destination"]["properties"]["resourceId"]
            if function.partition("/functions/")[0].lower() not in self.published:
                raise AssertionError("Azure refuses a subscription that calls no function")
        self.resources[number.lower()] = {
            **body, "id": number, "name": number.rsplit("/", 1)[1], "type": kind,
        }  # fmt: skip
        if self._stores() > stored == 0:
            self.on_container("rpac", True)

    # --- resources --------------------------------------------------------------------------------

    def remove(self, number: str) -> None:
        """A resource with all that is below it."""
        key, stored = number.lower(), self._stores()
        for one in self._below(key):
            del self.resources[one]
        if stored > self._stores() == 0:
            self.on_container("rpac", False)
        self.published.pop(key, None)

    def remove_group(self, name: str) -> None:
        """A resource group with all that is in it; roles are not in it, and stay."""
        place = self._group(name)["id"].lower()
        for one in [key for key in self.resources if key.startswith(f"{place}/")]:
            if "/roledefinitions/" not in one and one in self.resources:
                self.remove(one)
        del self.groups[name.lower()]
        for key in [key for key in self.deployments if key[0] == name]:
            del self.deployments[key]

    def _stores(self) -> int:
        """Containers of stores; Azurite has one account, so all of them are one there."""
        return sum(key.endswith("/containers/rpac") for key in self.resources)

    def _below(self, key: str) -> list[str]:
        return [one for one in self.resources if one == key or one.startswith(f"{key}/")]

    def _group(self, name: str) -> Json:
        found = self.groups.get(name.lower())
        if found is None:
            raise RefusedError(404, "ResourceGroupNotFound", f"Resource group '{name}'")
        return found

    # --- evaluation -------------------------------------------------------------------------------

    def _evaluator(self, group: str, properties: Json, *, later: bool) -> Evaluator:
        there, template = self._group(group), properties["template"]
        values = {key: one["value"] for key, one in properties["parameters"].items()}
        _check_values(template["parameters"], values)
        holder: list[Evaluator] = []

        def reference(symbol: str, full: bool) -> Any:
            number, _ = self._place(group, symbol, template, holder[0])
            found = self.resources.get(number.lower())
            if found is None:
                if later:
                    return _Later(symbol)
                raise ExpressionError(f"{symbol} is referred to before it is there")
            return self.shown(found) if full else self.shown(found)["properties"]

        place = f"/subscriptions/{self.number}"
        whose = {"id": place, "subscriptionId": self.number, "tenantId": self.tenant}
        try:
            made = Evaluator(template, values, subscription=whose, group=there, reference=reference)
        except ExpressionError as exc:
            raise RefusedError(400, "InvalidTemplate", str(exc)) from exc
        holder.append(made)
        return made

    def _order(self, template: Json, evaluator: Evaluator) -> list[str]:
        resources = template["resources"]
        wanted = [name for name, one in resources.items()
                  if evaluator.value(one.get("condition", True))]  # fmt: skip
        done: list[str] = []
        while len(done) < len(wanted):
            ready = [
                name for name in wanted if name not in done
                and {one for one in resources[name].get("dependsOn", []) if one in wanted}
                <= set(done)
            ]  # fmt: skip
            if not ready:
                raise RefusedError(400, "InvalidTemplate", "resources wait for each other")
            done += ready
        return done

    def _place(
        self, group: str, symbol: str, template: Json, evaluator: Evaluator
    ) -> tuple[str, Json]:
        one = template["resources"][symbol]
        name, (provider, *kinds) = evaluator.value(one["name"]), one["type"].split("/")
        pairs = zip(kinds, name.split("/"), strict=True)
        scope = evaluator.value(one["scope"]) if "scope" in one else self._group(group)["id"]
        path = "/".join(part for pair in pairs for part in pair)
        return f"{scope}/providers/{provider}/{path}", one

    def _body(
        self, group: str, symbol: str, template: Json, evaluator: Evaluator
    ) -> tuple[str, Json]:
        number, one = self._place(group, symbol, template, evaluator)
        kept = {"tags", "location", "kind", "sku", "identity", "properties"} & set(one)
        return number, {key: evaluator.value(one[key]) for key in sorted(kept)}

    def shown(self, found: Mapping[str, Any]) -> Json:
        """A resource with what Azure makes known of it."""
        properties: Json = {**found.get("properties", {}), "provisioningState": "Succeeded"}
        key, kind = found["id"].lower(), found["type"].lower()
        if kind.endswith("/userassignedidentities"):
            properties |= {"clientId": _number(key, "client"), "tenantId": self.tenant,
                           "principalId": _number(key, "principal")}  # fmt: skip
        if kind == "microsoft.batch/batchaccounts":
            properties["accountEndpoint"] = self.batch
        if kind == "microsoft.storage/storageaccounts":
            host = f"https://{found['name']}.blob.core.windows.net/"
            properties["primaryEndpoints"] = {"blob": host}
        if kind == "microsoft.insights/components":
            properties["ConnectionString"] = f"InstrumentationKey={_number(key, 'insights')}"
        if kind == "microsoft.web/sites":
            properties["hostNameSslStates"] = [
                {"name": f"{found['name']}.azurewebsites.net", "hostType": "Standard"},
                {"name": self.batch.partition("/")[0], "hostType": "Repository"},
            ]
        shown = {**found, "properties": properties}
        if "identity" in found and kind.endswith("/systemtopics"):
            shown["identity"] = {**found["identity"], "principalId": _number(key, "principal")}
        return shown


def _number(*parts: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "-".join(parts)))


def _operation(symbol: str, state: str, target: Json, message: Json | None) -> Json:
    return {
        "id": f"{target['id']}/operation", "operationId": _number(symbol, now()),
        "properties": {
            "provisioningOperation": "Create", "provisioningState": state, "timestamp": now(),
            "targetResource": target, **({"statusMessage": message} if message else {}),
        },
    }  # fmt: skip


def _check_values(declared: Json, values: Json) -> None:
    for name, value in values.items():
        one = declared.get(name)
        if one is None:
            raise RefusedError(400, "InvalidTemplate", f"there is no parameter {name}")
        if not isinstance(value, _TYPES[one["type"].lower()]):
            raise RefusedError(400, "InvalidTemplate", f"the parameter {name} is {value!r}")
        if "allowedValues" in one and value not in one["allowedValues"]:
            raise RefusedError(400, "InvalidTemplate", f"{name} may not be {value!r}")
        if isinstance(value, str) and not (
            one.get("minLength", 0) <= len(value) <= one.get("maxLength", 10**6)
        ):
            raise RefusedError(400, "InvalidTemplate", f"{name} has {len(value)} characters")


def _differences(old: Json, new: Json, place: str = "") -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for key in sorted(old.keys() | new.keys()):
        one, other, path = old.get(key), new.get(key), f"{place}{key}"
        if isinstance(one, dict) and isinstance(other, dict):
            found += _differences(one, other, f"{path}.")
        elif one != other:
            found.append((path, one, other))
    return found
