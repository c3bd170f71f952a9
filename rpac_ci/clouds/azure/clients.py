"""
Clients of Azure Batch and of its management plane; credentials as azure-identity finds them.

Pools are made through the management plane, because only pools made there have an identity. All
else goes to the Batch account itself. `AZURE_RESOURCE_MANAGER_ENDPOINT` leads the first to another
server that speaks the same API; where the second is, `rpac.yaml` says.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rpac_ci import __version__
from rpac_ci.clouds.azure import connections
from rpac_ci.clouds.azure.credentials import credential
from rpac_ci.clouds.azure.errors import missing_sdk, translated
from rpac_ci.errors import CommandError

if TYPE_CHECKING:
    from azure.batch import BatchClient
    from azure.core.credentials import TokenCredential
    from azure.core.pipeline.policies import RetryPolicy
    from azure.mgmt.batch import BatchManagementClient

    from rpac_ci.site_clouds import AzureSite

API_VERSION = "2025-06-01"  # of both planes
ENDPOINT = "AZURE_RESOURCE_MANAGER_ENDPOINT"
AZURE = "https://management.azure.com"
CONNECT_S, READ_S = 5, 30
TRIES = 4
METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"})


class Azure:
    """One Batch account; threads may share it."""

    def __init__(self, account: AzureSite, *, credential: TokenCredential | None = None) -> None:
        """
        Args:
            account: what the repository uses of Azure.
            credential: who asks; by default whom azure-identity finds.

        Raises:
            CommandError: the SDK is not installed.
        """
        self.account = account
        self._credential = credential or signed_in()
        self._making = threading.Lock()

    @cached_property
    def batch(self) -> BatchClient:
        """The account itself."""
        from azure.batch import BatchClient

        with translated("connecting to Azure Batch"), self._making:
            return BatchClient(
                self.account.account_url, self._credential, api_version=API_VERSION,
                **_options(self.account.account_url),
            )  # fmt: skip

    @cached_property
    def managed(self) -> BatchManagementClient:
        """The management plane."""
        from azure.mgmt.batch import BatchManagementClient

        elsewhere = os.environ.get(ENDPOINT) or None
        if elsewhere and not elsewhere.startswith("https://"):
            raise CommandError(
                f"{ENDPOINT}={elsewhere}: no token is sent without TLS",
                hint="an address with https://",
            )
        with translated("connecting to Azure Resource Manager"), self._making:
            return BatchManagementClient(
                self._credential, self.account.subscription, elsewhere,
                api_version=API_VERSION, **_options(elsewhere or AZURE),
            )  # fmt: skip

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        """
        A request to the account that starts something and is done with that.

        The SDK's own functions for these (`begin_…`) start a thread that waits for the end; that
        for terminating jobs fails in 15.1.0 when it is given no reason.

        Args:
            method: such as DELETE.
            path: below the account, such as /pools/x.
            body: as JSON.
        """
        from azure.core.rest import HttpRequest

        kind = {"Content-Type": "application/json; odata=minimalmetadata"} if body else {}
        request = HttpRequest(
            method, path, params={"api-version": API_VERSION}, headers=kind, json=body
        )
        self.batch.send_request(request).raise_for_status()

    def listed(self, path: str) -> Iterator[dict[str, Any]]:
        """
        The items of a list, as JSON.

        For lists that grow with the runs of a study: to make one of the SDK's models takes a
        thousand times what it takes to read its JSON.

        Args:
            path: below the account, such as /nodecounts.
        """
        from azure.core.rest import HttpRequest

        page, query = path, {"api-version": API_VERSION}
        while page:
            answer = self.batch.send_request(HttpRequest("GET", page, params=query))
            answer.raise_for_status()
            said = answer.json()
            yield from said["value"]
            page, query = said.get("odata.nextLink", ""), {}  # a link says all of it

    def endpoint(self) -> str | None:
        """Where Batch is asked when that is not Azure itself; None for Azure."""
        url = self.account.account_url
        host = urlsplit(url).hostname or ""
        return None if host.endswith(".batch.azure.com") else url


def retries() -> RetryPolicy[Any, Any]:
    """What is asked again, and how often."""
    from azure.core.pipeline.policies import RetryPolicy

    class Retries(RetryPolicy[Any, Any]):
        """Also of what makes things: they have names, and are found to be there already."""

        def configure_retries(self, options: dict[str, Any]) -> dict[str, Any]:
            return {**super().configure_retries(options), "methods": METHODS}

    return Retries(retry_total=TRIES - 1, retry_backoff_max=10)


def _options(url: str) -> dict[str, Any]:
    return {
        "transport": connections.transport(url),
        "connection_timeout": CONNECT_S, "read_timeout": READ_S,
        "retry_policy": retries(),
        "user_agent": f"rpac/{__version__}",
    }  # fmt: skip


def signed_in() -> TokenCredential:
    """
    Who asks, as azure-identity finds them.

    Raises:
        CommandError: the SDK is not installed.
        SignInError: nobody is signed in.
    """
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # errors say it in one line
    try:
        import azure.batch
        import azure.mgmt.batch  # noqa: F401 - said now rather than in the middle of a run

        with translated("signing in to Azure"):
            return credential()
    except ImportError as exc:
        raise missing_sdk() from exc
