"""
Azure Resource Manager by its REST: what is set up is described in JSON there and here, and each
kind of resource has a version of its own.

What takes long goes on at Azure whoever watches. Interrupted, it is found under way by the next
call.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from rpac_ci import __version__
from rpac_ci.clouds.azure import paces
from rpac_ci.clouds.azure.clients import AZURE, CONNECT_S, ENDPOINT, READ_S, retries, signed_in
from rpac_ci.clouds.azure.errors import error_of, missing_sdk, translated
from rpac_ci.errors import CancelledError, CloudError, ProvisioningError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.rest import HttpResponse

Json: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[str], None]

SCOPE = f"{AZURE}/.default"
LIMIT_S = 3600.0
RESOURCES = "2021-04-01"  # of resource groups, resources and providers
SUBSCRIPTIONS = "2022-12-01"
RIGHTS = "2022-04-01"  # of permissions, roles and their assignments
_GOING_ON = {"accepted", "creating", "deleting", "inprogress", "running", "updating"}


class Arm:
    """One subscription, as the person or program that is signed in may see it."""

    def __init__(self, subscription: str, *, who: TokenCredential | None = None) -> None:
        """
        Args:
            subscription: its id.
            who: asks; by default whom azure-identity finds.

        Raises:
            CommandError: the SDK is not installed.
        """
        try:
            from azure.core.pipeline.policies import RedirectPolicy, UserAgentPolicy
            from azure.mgmt.core import ARMPipelineClient
            from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy
        except ImportError as exc:
            raise missing_sdk() from exc
        self.subscription = subscription
        self._who = who or signed_in()
        self._client: Any = ARMPipelineClient(
            os.environ.get(ENDPOINT) or AZURE,
            policies=[
                UserAgentPolicy(f"rpac/{__version__}"), RedirectPolicy(), retries(),
                ARMChallengeAuthenticationPolicy(self._who, SCOPE),
            ],
        )  # fmt: skip

    @property
    def place(self) -> str:
        """The subscription's path."""
        return f"/subscriptions/{self.subscription}"

    def group(self, name: str) -> str:
        """A resource group's path."""
        return f"{self.place}/resourceGroups/{name}"

    def caller(self) -> Json:
        """
        The claims of whoever asks, from their token: `oid`, `tid`, `idtyp` and what else there is.

        Raises:
            SignInError: nobody is signed in.
        """
        with translated("asking who this is"):
            token = self._who.get_token(SCOPE).token
        try:
            part = token.split(".")[1]
            claims: Json = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (IndexError, ValueError):
            return {}  # its form is Azure's own affair
        return claims

    def get(self, path: str, version: str, doing: str) -> Json | None:
        """
        What is at a path; None where there is nothing.

        Raises:
            CloudError: Azure cannot be asked.
        """
        answer = self._send("GET", path, version, doing, gone_is_fine=True)
        return None if answer.status_code == 404 else _body(answer)

    def listed(self, path: str, version: str, doing: str, **query: str) -> Iterator[Json]:
        """
        Every item of a list, page by page; none where what it belongs to is not there.

        Raises:
            CloudError: Azure cannot be asked.
        """
        answer = self._send("GET", path, version, doing, query=query, gone_is_fine=True)
        while answer.status_code != 404:
            page = _body(answer)
            yield from page.get("value", [])
            if not (more := page.get("nextLink")):
                return
            answer = self._send("GET", more, "", doing)

    def put(self, path: str, version: str, body: Json, doing: str) -> Json:
        """
        Make or change something; returns without waiting for the end.

        Raises:
            CloudError: Azure does not take it.
        """
        return _body(self._send("PUT", path, version, doing, body=body))

    def ask(
        self, path: str, version: str, doing: str, body: Json | None = None, *,
        limit_s: float = LIMIT_S,
    ) -> Json:  # fmt: skip
        """
        Have something worked out, and wait for the answer.

        Raises:
            CloudError: Azure cannot do it, or takes longer than `limit_s` seconds.
            CancelledError: interrupted.
        """
        answer = self._send("POST", path, version, doing, body=body)
        return _body(self._end(answer, doing, limit_s))

    def delete(self, path: str, version: str, doing: str, **query: str) -> None:
        """
        Remove something, and wait until it is gone; silent when it is gone already.

        Raises:
            CloudError: it cannot be removed.
            CancelledError: interrupted; Azure goes on.
        """
        answer = self._send("DELETE", path, version, doing, query=query, gone_is_fine=True)
        self._end(answer, doing, LIMIT_S)

    def upload(self, url: str, content: bytes, doing: str) -> str:
        """
        Send a ZIP file to where an app takes its code.

        Returns:
            What the app answers, as text.

        Raises:
            CloudError: it does not take it.
        """
        from azure.core.rest import HttpRequest

        request = HttpRequest(
            "POST", url, headers={"Content-Type": "application/zip"}, content=content
        )
        return self._sent(request, doing, read_s=10 * READ_S).text()

    def read(self, url: str, doing: str) -> Json:
        """
        What is at a whole address.

        Raises:
            CloudError: there is nothing, or it cannot be asked.
        """
        return _body(self._send("GET", url, "", doing))

    def _send(
        self, method: str, path: str, version: str, doing: str, *, body: Json | None = None,
        query: Mapping[str, str] | None = None, gone_is_fine: bool = False,
    ) -> HttpResponse:  # fmt: skip
        from azure.core.rest import HttpRequest

        asked = {**({"api-version": version} if version else {}), **(query or {})}
        request = HttpRequest(method, path, params=asked, json=body)
        return self._sent(request, doing, gone_is_fine=gone_is_fine)

    def _sent(
        self, request: Any, doing: str, *, gone_is_fine: bool = False, read_s: float = READ_S
    ) -> HttpResponse:
        request.url = self._client.format_url(request.url)
        with translated(doing):
            answer: HttpResponse = self._client.send_request(
                request, connection_timeout=CONNECT_S, read_timeout=read_s
            )
            if not (gone_is_fine and answer.status_code == 404):
                _raise_for(answer)
            return answer

    def _end(self, answer: HttpResponse, doing: str, limit_s: float) -> HttpResponse:
        """The last answer of what takes long."""
        state = answer.headers.get("Azure-AsyncOperation")
        where = state or answer.headers.get("Location")
        if answer.status_code not in {200, 201, 202} or not where:
            return answer
        if answer.status_code != 202 and not state:
            return answer
        for _ in watched(limit_s, doing):
            answer = self._send("GET", where, "", doing, gone_is_fine=True)
            if state is None:
                if answer.status_code != 202:
                    return answer
                continue
            said = _body(answer)
            status = str(said.get("status", "Succeeded"))
            if status.lower() in _GOING_ON:
                continue
            if status.lower() != "succeeded":
                raise failed(doing, said.get("error"))
            return answer
        raise CloudError(f"{doing}: not done after {limit_s:.0f} s", transient=True)


def watched(limit_s: float, doing: str) -> Iterator[float]:
    """
    Looks at something that Azure does in its own time.

    Raises:
        CancelledError: interrupted; Azure goes on by itself.
    """
    try:
        yield from paces.until(limit_s)
    except KeyboardInterrupt as exc:
        raise CancelledError(
            f"interrupted while {doing}; Azure goes on with it by itself",
            hint="the same command again waits for it and goes on from there",
        ) from exc


def failed(doing: str, error: Any) -> CloudError:
    """The error for what an operation says of itself at its end."""
    reasons = list(reasons_of(error))
    if not reasons:
        return ProvisioningError(f"{doing}: Azure names no reason")
    code, message = reasons[0]
    known = error_of(code, f"{doing}: {code}: {message}")
    # an unknown code says nothing about machines here
    return known if _is_known(code) else ProvisioningError(known.message)


def reasons_of(error: Any) -> Iterator[tuple[str, str]]:
    """Code and message of an error, the innermost first: the outer ones say that there are more."""
    if not isinstance(error, Mapping):
        return
    inner = error.get("error")
    if isinstance(inner, Mapping):
        yield from reasons_of(inner)
        return
    for one in error.get("details") or []:
        yield from reasons_of(one)
    code, message = str(error.get("code", "")), " ".join(str(error.get("message", "")).split())
    if code or message:
        yield code, message


def _is_known(code: str) -> bool:
    from rpac_ci.clouds.azure.errors import CODES

    return code in CODES


def _raise_for(answer: HttpResponse) -> None:
    if answer.status_code < 400:
        return
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
    from azure.mgmt.core.exceptions import ARMErrorFormat

    kind = ResourceNotFoundError if answer.status_code == 404 else HttpResponseError
    raise kind(response=answer, error_format=ARMErrorFormat)


def _body(answer: HttpResponse) -> Json:
    if not answer.text().strip():
        return {}
    try:
        value = answer.json()
    except ValueError as exc:
        raise CloudError("the answer is not one of Azure's", transient=True) from exc
    return value if isinstance(value, dict) else {"value": value}
