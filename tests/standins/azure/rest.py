"""
The REST of Azure Batch (data plane), of what is used of its management plane, and of the endpoint
where a machine gets its identity's tokens.

It takes what the SDK's models know and nothing else: an unknown request, parameter or key, another
version of the API and a body that does not read back as itself are violations, which fail the test.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from azure.mgmt.batch import models as managed

from tests.standins.azure import answers
from tests.standins.azure.entra import Entra
from tests.standins.azure.management import Management
from tests.standins.azure.roundtrip import problems
from tests.standins.azure.routes import MANAGED, ROUTES, Route
from tests.standins.azure.service import Service
from tests.standins.azure.state import SIZES, Json, RefusedError, check_id, invalid

VERSION = "2025-06-01"
BATCH, ARM, STORAGE = (
    "https://batch.core.windows.net/", "https://management.azure.com", "https://storage.azure.com",
)  # fmt: skip
SECRET = "header-of-the-machine"
ISSUER = "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/"
Answer: TypeAlias = tuple[int, dict[str, str], bytes]


@dataclass
class Fault:
    """An answer in the place of, or behind, the service's own; used up after `times` requests."""

    action: str  # such as CreateJob; `*` for all
    status: int = 503
    code: str = "ServerBusy"
    message: str = "The server is busy"
    times: int = 1
    after: bool = False  # what was asked has been done, and the answer gets lost
    skip: int = 0  # so many requests go well before
    cut: bool = False  # instead of an answer the connection is closed

    def strike(self) -> None:
        """It happens now."""
        if self.cut:
            raise ConnectionAbortedError
        raise RefusedError(self.status, self.code, self.message)


@dataclass
class Call:
    """One request."""

    action: str
    path: str
    body: Any = field(default=None, repr=False)
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Request:
    """A request that has been read."""

    parts: Mapping[str, str]  # of the path
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Json


class Api:
    """Answers requests for one account."""

    def __init__(self, service: Service, site: Mapping[str, Any]) -> None:
        """
        Args:
            service: what happens.
            site: `clouds.azure` of the repository that the account is for.
        """
        self.service, self.site = service, site
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.violations: list[str] = []
        self.entra = Entra(access_token)
        self.management: Management | None = None
        self.before: Callable[[Call], None] = lambda _: None
        self.after: Callable[[Call], None] = lambda _: None  # done, and not answered yet
        self._lock = threading.Lock()

    def count(self) -> Counter[str]:
        """Actions asked for, by how often."""
        with self._lock:
            return Counter(call.action for call in self.calls)

    def answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request."""
        split = urlsplit(url)
        if self.management and self.management.knows(split.path):
            try:
                self._entered(headers, ARM)
            except RefusedError as exc:
                shown = answers.error(exc.code, exc.message, managed=True)
                return exc.status, {"content-type": "application/json"}, json.dumps(shown).encode()
            return self.management.answer(method, url, body)
        is_managed = split.path.startswith("/subscriptions/")
        path = split.path if is_managed else split.path.removeprefix(f"/{self.service.account}")
        routes = MANAGED if is_managed else ROUTES
        found = ((route, route.match(method, path)) for route in routes)
        route, parts = next(((r, p) for r, p in found if p is not None), (None, None))
        if route is None or parts is None:
            return self._violated(f"{method} {path} is no request that is known")
        query = dict(parse_qsl(split.query))
        call = Call(route.action, path, json.loads(body) if body else None)
        fault = self._note(call)
        self.before(call)
        try:
            if fault and not fault.after:
                fault.strike()
            self._check(route, query, headers, is_managed)
            request = Request(parts, query, headers, call.body or {})
            if route.takes:
                self._round(route.takes, request.body, sent=True)
            with self.service.lock:
                status, more, said = getattr(self, f"_{_snake(route.action)}")(route, request)
            self.after(call)
            if fault:
                fault.strike()
        except RefusedError as exc:
            shown = answers.error(exc.code, exc.message, managed=is_managed)
            return exc.status, {"content-type": "application/json"}, json.dumps(shown).encode()
        return status, more, said

    def token(self, url: str, headers: Mapping[str, str]) -> Answer:
        """What a machine's token endpoint says."""
        query = dict(parse_qsl(urlsplit(url).query))
        if headers.get("x-identity-header") != SECRET:
            return 401, {}, b"{}"
        resource, client = query["resource"], query.get("client_id", "driver")
        said = {
            "access_token": access_token(resource, client), "token_type": "Bearer",
            "expires_on": str(int(time.time()) + 3600), "expires_in": "3600",
            "resource": resource, "client_id": client,
        }  # fmt: skip
        return 200, {"content-type": "application/json"}, json.dumps(said).encode()

    # --- checks -----------------------------------------------------------------------------------

    def _note(self, call: Call) -> Fault | None:
        with self._lock:
            self.calls.append(call)
            fault = next((f for f in self.faults if f.action in ("*", call.action)), None)
            if fault and fault.skip:
                fault.skip -= 1
                return None
            if fault:
                fault.times -= 1
                if not fault.times:
                    self.faults.remove(fault)
            return fault

    def _check(
        self, route: Route, query: Mapping[str, str], headers: Mapping[str, str], is_managed: bool
    ) -> None:
        if query.get("api-version") != VERSION:
            self.violations.append(f"{route.action}: api-version {query.get('api-version')}")
            raise RefusedError(400, "UnsupportedRequestVersion", "another version of the API")
        if unknown := set(query) - route.query:
            self.violations.append(f"{route.action}: parameters {unknown}")
        if route.method in ("POST", "PATCH") and not is_managed and route.takes:
            kind = headers.get("content-type", "")
            if not kind.startswith("application/json; odata=minimalmetadata"):
                self.violations.append(f"{route.action}: content type {kind}")
        self._entered(headers, ARM if is_managed else BATCH)

    def _entered(self, headers: Mapping[str, str], audience: str) -> None:
        token = headers.get("authorization", "").removeprefix("Bearer ").split(".")
        if len(token) != 3:
            raise RefusedError(401, "InvalidAuthenticationInfo", "there is no token")
        claims = json.loads(base64.urlsafe_b64decode(token[1] + "=="))
        if claims["aud"].rstrip("/") != audience.rstrip("/"):
            raise RefusedError(401, "AuthenticationFailed", f"a token for {claims['aud']}")

    def _round(self, model: type[Any], body: Any, *, sent: bool, whole: bool = True) -> None:
        found = problems(model, body, sent=sent, whole=whole)
        if found:
            self.violations.extend(found)
            if sent:
                raise RefusedError(400, "InvalidRequestBody", "; ".join(found))

    def _violated(self, what: str) -> Answer:
        self.violations.append(what)
        return 501, {}, b""

    # --- answers ----------------------------------------------------------------------------------

    def _one(self, route: Route, request: Request, shown: Json) -> Answer:
        shown = answers.select(shown, request.query.get("$select"))
        assert route.gives
        self._round(route.gives, shown, sent=False, whole="$select" not in request.query)
        return route.status, {"content-type": "application/json"}, json.dumps(shown).encode()

    def _many(self, route: Route, request: Request, shown: list[Json]) -> Answer:
        if asked := request.query.get("$filter"):
            begins = re.fullmatch(r"startswith\(id,\s*'([A-Za-z0-9_-]+)'\)", asked)
            if begins is None:
                self.violations.append(f"{route.action}: filter {asked}")
                raise RefusedError(400, "InvalidQueryParameterValue", "$filter")
            shown = [one for one in shown if one["id"].startswith(begins[1])]
        start, page = int(request.query.get("$skiptoken", 0)), self.service.settings.page
        names = request.query.get("$select")
        items = [answers.select(one, names) for one in shown[start : start + page]]
        assert route.gives
        for one in items:
            self._round(route.gives, one, sent=False, whole=not names)
        said: Json = {"odata.metadata": f"{self.service.url}/$metadata", "value": items}
        if len(shown) > start + page:
            more = "&".join(f"{k}={v}" for k, v in request.query.items() if k != "$skiptoken")
            place = route.path.format(**request.parts)
            said["odata.nextLink"] = f"{self.service.url}{place}?{more}&$skiptoken={start + page}"
        return 200, {"content-type": "application/json"}, json.dumps(said).encode()

    def _list_images(self, route: Route, request: Request) -> Answer:
        return self._many(route, request, self.service.settings.images)

    # --- pools ------------------------------------------------------------------------------------

    def _create_pool(self, route: Route, request: Request) -> Answer:
        self._own(request)
        name, body = check_id(request.parts["pool"]), request.body
        if request.headers.get("if-none-match") == "*" and name in self.service.pools:
            raise RefusedError(412, "PreconditionFailed", "the pool exists")
        if [*body["identity"]["userAssignedIdentities"]] != [self.site["identity"]]:
            raise RefusedError(403, "LinkedAuthorizationFailed", "no right to the identity")
        found = self.service.create_pool(name, body)
        resource = route.path.format(**request.parts)
        return self._one(route, request, answers.managed_pool(found, resource))

    def _get_pool(self, route: Route, request: Request) -> Answer:
        found = self.service.pool(request.parts["pool"])
        return self._one(route, request, answers.pool(found, self.service.url))

    def _list_pools(self, route: Route, request: Request) -> Answer:
        pools = self.service.pools.values()
        return self._many(route, request, [answers.pool(p, self.service.url) for p in pools])

    def _count_nodes(self, route: Route, request: Request) -> Answer:
        if "$filter" in request.query:  # that of one pool, which nobody needs here
            self.violations.append(f"{route.action}: filter {request.query['$filter']}")
        pools = self.service.pools.values()
        return self._many(route, request, [answers.counts(pool) for pool in pools])

    def _delete_pool(self, route: Route, request: Request) -> Answer:
        self.service.delete_pool(request.parts["pool"])
        return route.status, {}, b""

    def _list_nodes(self, route: Route, request: Request) -> Answer:
        found = self.service.pool(request.parts["pool"])
        nodes = [answers.node(node, found, self.service.url) for node in found.nodes]
        return self._many(route, request, nodes)

    def _get_account(self, route: Route, request: Request) -> Answer:
        self._own(request)
        settings = self.service.settings
        families = [{"name": n, "coreQuota": q} for n, q in settings.families.items()]
        shown = {
            "id": route.path.format(**request.parts), "name": self.service.account,
            "type": "Microsoft.Batch/batchAccounts", "location": self.site["location"],
            "properties": {
                "accountEndpoint": urlsplit(self.service.url).netloc,
                "provisioningState": "Succeeded", "poolAllocationMode": settings.mode,
                "dedicatedCoreQuota": settings.cores, "lowPriorityCoreQuota": settings.cores,
                "dedicatedCoreQuotaPerVMFamily": families,
                "dedicatedCoreQuotaPerVMFamilyEnforced": settings.per_family,
                "poolQuota": settings.pools,
                "activeJobAndJobScheduleQuota": settings.jobs,
            },
        }  # fmt: skip
        return self._one(route, request, shown)

    def _list_sizes(self, route: Route, request: Request) -> Answer:
        shown = [{"name": n, "familyName": family} for n, (family, _) in SIZES.items()]
        for one in shown:
            self._round(managed.SupportedSku, one, sent=False, whole=False)
        return 200, {"content-type": "application/json"}, json.dumps({"value": shown}).encode()

    def _own(self, request: Request) -> None:
        parts = request.parts
        asked = (parts["subscription"], parts["group"], parts["account"])
        ours = (self.site["subscription"], self.site["resource_group"], self.service.account)
        if asked != ours:
            raise RefusedError(404, "ResourceNotFound", "no such account")

    # --- jobs and tasks ---------------------------------------------------------------------------

    def _list_jobs(self, route: Route, request: Request) -> Answer:
        jobs = self.service.jobs.values()
        return self._many(route, request, [answers.job(job, self.service.url) for job in jobs])

    def _create_job(self, route: Route, request: Request) -> Answer:
        self.service.create_job(request.body)
        return route.status, {}, b""

    def _get_job(self, route: Route, request: Request) -> Answer:
        found = self.service.job(request.parts["job"])
        return self._one(route, request, answers.job(found, self.service.url))

    def _update_job(self, route: Route, request: Request) -> Answer:
        found = self.service.open_job(request.parts["job"])
        found.asked = {**found.asked, **request.body}
        return route.status, {}, b""

    def _terminate_job(self, route: Route, request: Request) -> Answer:
        why = request.body.get("terminateReason", "UserTerminate")
        self.service.terminate_job(request.parts["job"], why)
        return route.status, {}, b""

    def _delete_job(self, route: Route, request: Request) -> Answer:
        self.service.delete_job(request.parts["job"])
        return route.status, {}, b""

    def _create_tasks(self, route: Route, request: Request) -> Answer:
        job = self.service.open_job(request.parts["job"])
        if not 1 <= len(request.body["value"]) <= 100:
            raise invalid("up to a hundred tasks at once")
        results: list[Json] = []
        for asked in request.body["value"]:
            try:
                self.service.create_task(job, asked)
                results.append({"status": "success", "taskId": asked["id"]})
            except RefusedError as exc:
                error = {"code": exc.code, "message": {"lang": "en-US", "value": exc.message}}
                failed = {"status": "clienterror", "taskId": asked["id"], "error": error}
                results.append(failed)
        return self._one(route, request, {"value": results})

    def _list_tasks(self, route: Route, request: Request) -> Answer:
        job = self.service.job(request.parts["job"])
        tasks = [answers.task(task, job, self.service.url) for task in job.tasks.values()]
        return self._many(route, request, tasks)

    def _get_file(self, route: Route, request: Request) -> Answer:
        job = self.service.job(request.parts["job"])
        task = job.tasks.get(request.parts["task"])
        if task is None:
            raise RefusedError(404, "TaskNotFound", "The specified task does not exist.")
        there = request.parts["file"] in ("stdout.txt", "stderr.txt")
        if not there or task.running is None or job.pool not in self.service.pools:
            raise RefusedError(404, "FileNotFound", "The specified file does not exist.")
        content = task.running.output(request.parts["file"])
        return 200, {"content-type": "application/octet-stream"}, content


def access_token(resource: str, client: str) -> str:
    """A token of a client for a resource, valid for an hour, in the form of a JWT."""
    now = int(time.time())
    claims = {
        "aud": resource, "iss": ISSUER, "iat": now - 9, "nbf": now - 9, "exp": now + 3600,
        "appid": client,
    }  # fmt: skip
    return ".".join([_encoded({"alg": "RS256", "typ": "JWT"}), _encoded(claims), "c2lnbmF0dXJl"])


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _encoded(value: Json) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
