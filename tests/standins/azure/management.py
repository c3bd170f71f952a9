"""
Azure Resource Manager by its REST, as far as `rpac setup azure` and `rpac doctor azure` ask it, and
the address where an app takes its code.

An unknown request, parameter or version of the API is a violation, which fails the test; bodies of
deployments and what is answered about them are read by the models of Azure's SDK. What takes long
is asked for again: `202` with an address first, the end at the next look.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from azure.mgmt.resource.deployments import models

from rpac_ci.clouds.azure import template
from tests.standins.azure import answers
from tests.standins.azure.deploying import Deployment, Subscription
from tests.standins.azure.roundtrip import problems
from tests.standins.azure.service import Service
from tests.standins.azure.state import Json, RefusedError

Answer = tuple[int, dict[str, str], bytes]
JSON_TYPE = {"content-type": "application/json"}
DEPLOYMENTS, RESOURCES, RIGHTS, SUBSCRIPTIONS = (
    "2025-04-01", "2021-04-01", "2022-04-01", "2022-12-01",
)  # fmt: skip
_SUBSCRIPTION = r"/subscriptions/(?P<subscription>[^/]+)"
_GROUP = rf"{_SUBSCRIPTION}/resourceGroups/(?P<group>[^/]+)"
_DEPLOYMENT = rf"{_GROUP}/providers/Microsoft\.Resources/deployments/(?P<name>[^/]+)"
_RIGHTS = r"(?P<scope>/subscriptions/.+?)/providers/Microsoft\.Authorization"
_ALL = {"actions": ["*"], "notActions": [], "dataActions": ["*"], "notDataActions": []}
_SLOW = ("microsoft.batch/batchaccounts", "microsoft.web/serverfarms")


class Management:
    """Answers for one subscription."""

    def __init__(self, subscription: Subscription, service: Service, violations: list[str]) -> None:
        self.subscription, self._service, self.violations = subscription, service, violations
        self.calls: list[str] = []  # method and path
        self.interrupt: Callable[[str], None] = lambda _: None  # what tests do at a request
        # rights of whoever asks, everywhere; tests take some away
        self.rights: list[Json] = [dict(_ALL)]
        self.refused: dict[str, tuple[int, str]] = {}  # by a pattern of method and path
        self.given_up: dict[str, tuple[str, str]] = {}  # begun, and then not done; by the same
        self._results: dict[str, Callable[[], Json | None]] = {}
        self._numbers = itertools.count(1)
        self._versions = template.versions(template.parse(template.text()))

    def forget(self) -> None:
        """Be as at the beginning, with nothing in the subscription."""
        self.subscription.forget()
        self.refused.clear()
        self.given_up.clear()
        self.interrupt = lambda _: None
        self.rights[:] = [dict(_ALL)]

    def knows(self, path: str) -> bool:
        """Whether a request is one for it; pools are not."""
        if "/microsoft.batch/" in path.lower() and not path.endswith("/register"):
            mine = re.match(_GROUP, path, re.IGNORECASE)
            group = mine["group"].lower() if mine else ""
            return group in self.subscription.groups and "/pools" not in path
        return path.startswith(("/subscriptions", "/operations/", "/api/publish", "/api/deploym"))

    def answer(self, method: str, url: str, body: bytes) -> Answer:
        """One request of somebody who is signed in."""
        split = urlsplit(url)
        path, query = unquote(split.path), dict(parse_qsl(split.query))
        self.calls.append(f"{method} {path}")
        self.interrupt(f"{method} {path}")
        for pattern, (status, code) in self.refused.items():
            if re.search(pattern, f"{method} {path}", re.IGNORECASE):
                return _said(status, answers.error(code, "no right to this", managed=True))
        for asked, pattern, version, handler in self._routes():
            found = re.fullmatch(pattern, path, re.IGNORECASE) if asked == method else None
            if found:
                self._check(method, path, query, version)
                try:
                    said: Answer = handler(self, found.groupdict(), query, body)
                except RefusedError as exc:
                    error = answers.error(exc.code, exc.message, managed=True)
                    return _said(exc.status, error)
                except AssertionError as exc:
                    return self._violated(str(exc))
                return said
        return self._resource(method, path, query)

    def _check(self, method: str, path: str, query: Mapping[str, str], version: str) -> None:
        if query.get("api-version", "") != version:
            self.violations.append(f"{method} {path}: api-version {query.get('api-version')}")
        if unknown := set(query) - {"api-version", "$filter", "force", "RemoteBuild"}:
            self.violations.append(f"{method} {path}: parameters {unknown}")

    @staticmethod
    def _routes() -> Iterator[tuple[str, str, str, Any]]:
        of = Management
        yield from (
            ("GET", "/subscriptions", SUBSCRIPTIONS, of._list_subscriptions),
            ("GET", _SUBSCRIPTION, SUBSCRIPTIONS, of._get_subscription),
            ("GET", rf"{_SUBSCRIPTION}/providers", RESOURCES, of._list_providers),
            ("POST", rf"{_SUBSCRIPTION}/providers/(?P<name>[\w.]+)/register", RESOURCES,
             of._register),
            ("GET", _GROUP, RESOURCES, of._get_group),
            ("PUT", _GROUP, RESOURCES, of._put_group),
            ("DELETE", _GROUP, RESOURCES, of._delete_group),
            ("GET", rf"{_GROUP}/resources", RESOURCES, of._list_resources),
            ("GET", _DEPLOYMENT, DEPLOYMENTS, of._get_deployment),
            ("PUT", _DEPLOYMENT, DEPLOYMENTS, of._put_deployment),
            ("DELETE", _DEPLOYMENT, DEPLOYMENTS, of._delete_deployment),
            ("GET", rf"{_DEPLOYMENT}/operations", DEPLOYMENTS, of._list_operations),
            ("POST", rf"{_DEPLOYMENT}/whatIf", DEPLOYMENTS, of._what_if),
            ("GET", rf"{_RIGHTS}/permissions", RIGHTS, of._list_rights),
            ("GET", rf"{_RIGHTS}/(?P<kind>roleDefinitions|roleAssignments)", RIGHTS,
             of._list_roles),
            ("GET", r"/operations/(?P<number>\d+)", "", of._result),
            ("POST", "/api/publish", "", of._publish),
            ("GET", r"/api/deployments/(?P<number>[\w-]+)", "", of._published),
        )  # fmt: skip

    # --- subscription and groups ------------------------------------------------------------------

    def _list_subscriptions(self, parts: Json, query: Json, body: bytes) -> Answer:
        return _said(200, {"value": [self._shown_subscription()]})

    def _get_subscription(self, parts: Json, query: Json, body: bytes) -> Answer:
        if parts["subscription"] != self.subscription.number:
            raise RefusedError(404, "SubscriptionNotFound", "no such subscription")
        return _said(200, self._shown_subscription())

    def _shown_subscription(self) -> Json:
        number = self.subscription.number
        return {"id": f"/subscriptions/{number}", "subscriptionId": number, "state": "Enabled",
                "displayName": "Lab", "tenantId": self.subscription.tenant}  # fmt: skip

    def _list_providers(self, parts: Json, query: Json, body: bytes) -> Answer:
        names = {kind.partition("/")[0] for kind in self._versions} - {"microsoft.authorization"}
        states = {True: "Registered", False: "NotRegistered"}
        value = [{"namespace": name, "registrationState": states[self._registered(name)]}
                 for name in sorted(names)]  # fmt: skip
        return _said(200, {"value": value})

    def _registered(self, name: str) -> bool:
        return name.lower() in self.subscription.registered

    def _register(self, parts: Json, query: Json, body: bytes) -> Answer:
        self.subscription.registered.add(parts["name"].lower())
        return _said(200, {"namespace": parts["name"], "registrationState": "Registering"})

    def _get_group(self, parts: Json, query: Json, body: bytes) -> Answer:
        return _said(200, self.subscription._group(parts["group"]))

    def _put_group(self, parts: Json, query: Json, body: bytes) -> Answer:
        asked, name = json.loads(body), parts["group"]
        number = f"/subscriptions/{self.subscription.number}/resourceGroups/{name}"
        made = {"id": number, "name": name, "location": asked["location"], "tags": asked["tags"],
                "properties": {"provisioningState": "Succeeded"}}  # fmt: skip
        self.subscription.groups[name.lower()] = made
        return _said(201, made)

    def _delete_group(self, parts: Json, query: Json, body: bytes) -> Answer:
        self.subscription._group(parts["group"])
        return self._later(lambda: self.subscription.remove_group(parts["group"]))

    def _list_resources(self, parts: Json, query: Json, body: bytes) -> Answer:
        place = self.subscription._group(parts["group"])["id"].lower()
        value = [
            {key: one[key] for key in ("id", "name", "type", "location", "tags") if key in one}
            for key, one in self.subscription.resources.items()
            if key.startswith(f"{place}/") and one["type"].count("/") == 1
            and not one["type"].startswith(("Microsoft.Authorization", "Microsoft.Consumption"))
        ]  # fmt: skip
        return _said(200, {"value": value})

    # --- deployments ------------------------------------------------------------------------------

    def _get_deployment(self, parts: Json, query: Json, body: bytes) -> Answer:
        self.subscription._group(parts["group"])
        found = self.subscription.look(parts["group"], parts["name"])
        if found is None:
            raise RefusedError(404, "DeploymentNotFound", "no such deployment")
        return self._read(models.DeploymentExtended, 200, self._shown(parts, found))

    def _put_deployment(self, parts: Json, query: Json, body: bytes) -> Answer:
        asked = self._taken(models.Deployment, body)
        found = self.subscription.deploy(parts["group"], parts["name"], asked["properties"])
        return self._read(models.DeploymentExtended, 201, self._shown(parts, found))

    def _delete_deployment(self, parts: Json, query: Json, body: bytes) -> Answer:
        if (parts["group"], parts["name"]) not in self.subscription.deployments:
            return 204, {}, b""
        key = (parts["group"], parts["name"])
        return self._later(lambda: self.subscription.deployments.pop(key, None))

    def _list_operations(self, parts: Json, query: Json, body: bytes) -> Answer:
        found = self.subscription.deployments.get((parts["group"], parts["name"]))
        if found is None:
            raise RefusedError(404, "DeploymentNotFound", "no such deployment")
        for one in found.operations:
            self._checked(models.DeploymentOperation, one)
        return _said(200, {"value": found.operations})

    def _what_if(self, parts: Json, query: Json, body: bytes) -> Answer:
        asked = self._taken(models.DeploymentWhatIf, body)
        changes = self.subscription.changes(parts["group"], asked["properties"])
        result: Json = {"status": "Succeeded", "properties": {"changes": changes}}
        for pattern, (code, message) in self.given_up.items():
            if re.search(pattern, f"POST {parts['name']}/whatIf", re.IGNORECASE):
                inner = {"code": code, "message": message}
                outer = {"code": "InvalidTemplateDeployment", "message": "See inner errors."}
                result = {"status": "Failed", "error": {**outer, "details": [inner]}}
        self._checked(models.WhatIfOperationResult, result)
        return self._later(lambda: result)

    def _shown(self, parts: Json, found: Deployment) -> Json:
        place = self.subscription._group(parts["group"])["id"]
        parameters = {
            key: {"type": "String", "value": value} for key, value in found.values.items()
        }
        properties: Json = {
            "provisioningState": found.state, "mode": "Incremental", "parameters": parameters,
            "timestamp": found.at, "correlationId": "0",
        }  # fmt: skip
        if found.outputs:
            properties["outputs"] = found.outputs
        if found.error:
            properties["error"] = found.error
        return {
            "id": f"{place}/providers/Microsoft.Resources/deployments/{parts['name']}",
            "name": parts["name"], "type": "Microsoft.Resources/deployments",
            "properties": properties,
        }  # fmt: skip

    # --- rights -----------------------------------------------------------------------------------

    def _list_rights(self, parts: Json, query: Json, body: bytes) -> Answer:
        return _said(200, {"value": self.rights})

    def _list_roles(self, parts: Json, query: Json, body: bytes) -> Answer:
        scope, kind = parts["scope"].lower(), parts["kind"].lower()
        found = [
            one for key, one in self.subscription.resources.items()
            if f"/microsoft.authorization/{kind}/" in key and key.startswith(f"{scope}/")
        ]  # fmt: skip
        asked = query.get("$filter", "")
        if kind == "roledefinitions" and asked != "type eq 'CustomRole'":
            self.violations.append(f"roleDefinitions: filter {asked}")
        elif kind == "roleassignments" and asked:
            who = re.fullmatch(r"principalId eq '([^']+)'", asked)
            if who is None:
                self.violations.append(f"roleAssignments: filter {asked}")
            found = [one for one in found
                     if who is None or one["properties"]["principalId"] == who[1]]  # fmt: skip
        return _said(200, {"value": found})

    # --- code of an app ---------------------------------------------------------------------------

    def _publish(self, parts: Json, query: Json, body: bytes) -> Answer:
        if query != {"RemoteBuild": "false"}:
            self.violations.append(f"publish: {query}")
        (app,) = [key for key, one in self.subscription.resources.items()
                  if one["type"] == "Microsoft.Web/sites"]  # fmt: skip
        self.subscription.published[app] = body
        return 202, JSON_TYPE, b'"0a1b-2c3d"'

    def _published(self, parts: Json, query: Json, body: bytes) -> Answer:
        return _said(200, {"id": parts["number"], "status": 4, "status_text": ""})

    # --- any resource by its id -------------------------------------------------------------------

    def _resource(self, method: str, path: str, query: Json) -> Answer:
        group = re.match(_GROUP, path, re.IGNORECASE)
        if method not in {"GET", "DELETE"} or group is None:
            return self._violated(f"{method} {path} is no request that is known")
        if group["group"].lower() not in self.subscription.groups:
            gone = answers.error("ResourceGroupNotFound", "no such group", managed=True)
            return _said(404, gone)
        kind = "/".join(
            [path.rpartition("/providers/")[2].split("/")[0],
             *path.rpartition("/providers/")[2].split("/")[1::2]]
        )  # fmt: skip
        version = self._versions.get(kind.lower())
        if version is None:
            return self._violated(f"{method} {path}: a resource of the kind {kind}")
        self._check(method, path, query, version)
        key = path.lower()
        if key.endswith("/batchaccounts/labbatch"):  # as its address has it here
            key = next((one for one in self.subscription.resources
                        if re.search(r"/batchaccounts/[^/]+$", one)), key)  # fmt: skip
        if key.endswith("/federatedidentitycredentials"):
            value = [one for name, one in self.subscription.resources.items()
                     if name.startswith(f"{key}/")]  # fmt: skip
            return _said(200, {"value": value})
        found = self.subscription.resources.get(key)
        if found is None:
            absent = answers.error("ResourceNotFound", "no such resource", managed=True)
            return (204, {}, b"") if method == "DELETE" else _said(404, absent)
        if method == "GET":
            return _said(200, self._with_quotas(self.subscription.shown(found)))
        return self._delete(key, found["type"].lower())

    def _delete(self, key: str, kind: str) -> Answer:
        if kind == "microsoft.authorization/roledefinitions":
            used = any(
                str(one.get("properties", {}).get("roleDefinitionId", "")).lower() == key
                for one in self.subscription.resources.values()
            )
            if used:
                why = "There are existing role assignments referencing role."
                return _said(400, answers.error("RoleDefinitionHasAssignments", why, managed=True))
        for pattern, (code, message) in self.given_up.items():
            if re.search(pattern, f"DELETE {key}", re.IGNORECASE):
                error = {"code": code, "message": message}
                return self._later(partial(dict, status="Failed", error=error), told=True)
        if kind in _SLOW:
            return self._later(lambda: self.subscription.remove(key), told=kind == _SLOW[0])
        self.subscription.remove(key)
        return 200, {}, b""

    def _with_quotas(self, shown: Json) -> Json:
        if shown["type"] != "Microsoft.Batch/batchAccounts":
            return shown
        settings = self._service.settings
        families = [{"name": n, "coreQuota": q} for n, q in settings.families.items()]
        return {**shown, "properties": {
            **shown["properties"], "poolQuota": settings.pools,
            "activeJobAndJobScheduleQuota": settings.jobs, "dedicatedCoreQuota": settings.cores,
            "dedicatedCoreQuotaPerVMFamily": families,
            "dedicatedCoreQuotaPerVMFamilyEnforced": True,
        }}  # fmt: skip

    # --- what takes long --------------------------------------------------------------------------

    def _later(self, end: Callable[[], Any], *, told: bool = False) -> Answer:
        """
        Done at the second look.

        Args:
            end: does it; what it returns is the answer.
            told: whether each look gets the state in words, which is the other way that Azure has.
        """
        number = str(next(self._numbers))
        looks = iter((False,))

        def look() -> Json | None:
            if not next(looks, True):
                return {"status": "InProgress"} if told else None
            return end() or ({"status": "Succeeded"} if told else {})

        self._results[number] = look
        where = f"https://{self.subscription.batch.partition('/')[0]}/operations/{number}"
        header = "azure-asyncoperation" if told else "location"
        return 202, {header: where, "retry-after": "0"}, b""

    def _result(self, parts: Json, query: Json, body: bytes) -> Answer:
        said = self._results[parts["number"]]()
        if said is None:
            return 202, {"location": f"/operations/{parts['number']}"}, b""
        return _said(200, said) if said else (204, {}, b"")

    # --- checks -----------------------------------------------------------------------------------

    def _taken(self, model: type[Any], body: bytes) -> Json:
        asked: Json = json.loads(body)
        self.violations += problems(model, asked, sent=True)
        return asked

    def _read(self, model: type[Any], status: int, shown: Json) -> Answer:
        self._checked(model, shown)
        return _said(status, shown)

    def _checked(self, model: type[Any], shown: Json) -> None:
        self.violations += problems(model, shown, sent=False, whole=False)

    def _violated(self, what: str) -> Answer:
        self.violations.append(what)
        return 501, {}, b""


def _said(status: int, value: Json) -> Answer:
    return status, JSON_TYPE, json.dumps(value).encode()
