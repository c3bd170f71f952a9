"""
A stand-in for Azure: Azure Batch over TLS on a real socket, Azurite for Blob Storage beside it, and
the endpoint where machines get the tokens of their identity.

Drivers and nodes sign in as programs on Azure's own hosts do, by `IDENTITY_ENDPOINT`; the address
is in the environment of every node here, where real machines find it without being told. Jobs on
GitHub have none and go to Entra (`of_jobs`, see `entra`). Nobody checks what an identity may do.
See `azurite`, `service` and `tasks` for where else it differs.

Every request and answer is checked against the models of Azure's SDK (`roundtrip`); what does not
fit is in `violations`, and fails the test when it is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
import trustme

from tests.standins import azurite
from tests.standins.azure import entra, rest
from tests.standins.azure.blobs import Blobs
from tests.standins.azure.deploying import Subscription
from tests.standins.azure.management import Management
from tests.standins.azure.rest import Answer, Api
from tests.standins.azure.service import Service
from tests.standins.azure.tasks import NODE_ROOT, Containers, Processes

CONTAINER = "runs"
SUBSCRIPTION = "01234567-89ab-cdef-0123-456789abcdef"
GROUP = "lab"
CLIENT_ID = "89abcdef-0123-4567-89ab-cdef01234567"
IDENTITY = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/rpac-node"
)


class _Server(ThreadingHTTPServer):
    """Batch with the management plane, the token endpoint, or blobs."""

    daemon_threads = True
    request_queue_size = 128  # a study comes with all its runs at once

    def __init__(self, host: str, context: ssl.SSLContext | None) -> None:
        self.answer: Callable[[str, str, Mapping[str, str], bytes], Answer]
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer is one packet: a second waits 40 ms for the first's receipt

            def _any(self) -> None:
                try:
                    server.serve(self)
                except OSError:
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        super().__init__((host, 0), Handler)
        if context:
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self._send(handler, self.answer(handler.command, handler.path, headers, body))

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        status, headers, said = answer
        handler.send_response(status)
        # of what HEAD asks for, the size is in the headers
        for name, value in {"content-length": str(len(said)), **headers, "request-id": "0"}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(said)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what these tests are about."""


@dataclass(frozen=True)
class AzureStandin:
    """A subscription of Azure that is none, with everything in it that a repository needs."""

    api: Api
    environment: Mapping[str, str]
    site: Mapping[str, Any]

    @property
    def management(self) -> Management:
        """The subscription, as its management plane sees it."""
        assert self.api.management
        return self.api.management

    @property
    def service(self) -> Service:
        """What happens in the Batch account."""
        return self.api.service

    @property
    def of_jobs(self) -> Mapping[str, str]:
        """The environment of a job on GitHub: whom it acts as, and nothing that lets it in."""
        address = self.environment["AZURE_RESOURCE_MANAGER_ENDPOINT"]
        return {
            **{n: v for n, v in self.environment.items() if not n.startswith("IDENTITY_")},
            "AZURE_AUTHORITY_HOST": address, "RPAC_AZURE_CLIENT_ID": entra.CLIENT,
            "RPAC_AZURE_TENANT_ID": entra.TENANT,
        }  # fmt: skip

    def settings(self) -> str:
        """`rpac.yaml` of a repository that uses it."""
        block = json.dumps(dict(self.site))
        head = "schema: rpac/site/1\nallow: {clouds: [local, azure]}\n"
        return f"{head}clouds:\n  azure: {block}\n"


@contextlib.contextmanager
def serve(
    folder: Path,
    *,
    docker: bool,
    repository: str = "localhost:1/rpac",
    blobs: Blobs | None = None,
) -> Iterator[AzureStandin]:
    """
    A running stand-in.

    Args:
        folder: for its files.
        docker: whether tasks are containers; else they are processes of this machine.
        repository: of the nodes' images.
        blobs: what answers in the place of Azurite, or before it.
    """
    host = _bridge() if docker else "127.0.0.1"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    bundle = folder / "bundle.pem"  # what is trusted otherwise stays so
    bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    certificate = authority.issue_cert("localhost", "127.0.0.1", host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    chain, key = folder / "certificate.pem", folder / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key))
    nodes = folder / "nodes"
    nodes.mkdir()
    with contextlib.ExitStack() as stack:
        servers = [_Server("127.0.0.1", context), _Server(host, None), _Server(host, context)]
        batch, machines, gate = [stack.enter_context(server) for server in servers]
        store = ""
        if blobs is None or blobs.needs_azurite:
            store = stack.enter_context(azurite.serve(folder, host, chain, key))
        if blobs is not None:
            if blobs.needs_azurite:
                blobs.begin(store, bundle)
            store = f"https://{host}:{gate.server_port}/{azurite.ACCOUNT}"
            gate.answer = blobs.answer
        address = f"https://localhost:{batch.server_port}"
        identity = {
            "IDENTITY_ENDPOINT": f"http://{host}:{machines.server_port}/msi/token",
            "IDENTITY_HEADER": rest.SECRET,
        }
        trusted = f"{NODE_ROOT}/authority.pem" if docker else str(bundle)
        of_nodes = {**identity, "SSL_CERT_FILE": trusted}
        site = {
            "location": "eastus", "name": "rpaclab", "subscription": SUBSCRIPTION,
            "resource_group": GROUP, "account_url": f"{address}/labbatch",
            "store": f"az://{azurite.ACCOUNT}/{CONTAINER}/here", "repository": repository,
            "identity": IDENTITY, "identity_client_id": CLIENT_ID,
        }  # fmt: skip
        runner = Containers() if docker else Processes()
        service = Service("labbatch", f"{address}/labbatch", runner, nodes, of_nodes)
        stack.callback(service.close)
        api = Api(service, site)
        batch.answer = partial(_of_azure, api)
        machines.answer = lambda _, path, headers, __: api.token(path, headers)
        for server in servers if blobs else servers[:2]:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(server.shutdown)
        _container(store, api, bundle, CONTAINER)
        subscription = Subscription(SUBSCRIPTION, f"{urlsplit(address).netloc}/labbatch")
        subscription.on_container = partial(_container, store, api, bundle)
        api.management = Management(subscription, service, api.violations)
        environment = {
            **identity, "AZURE_STORAGE_ENDPOINT": store, "AZURE_RESOURCE_MANAGER_ENDPOINT": address,
            "SSL_CERT_FILE": str(bundle), "REQUESTS_CA_BUNDLE": str(bundle),
        }  # fmt: skip
        yield AzureStandin(api, environment, site)
    assert api.violations == []


def _of_azure(api: Api, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Batch, the management plane and Entra have one address."""
    if path.endswith("/oauth2/v2.0/token"):
        return api.entra.answer(path, body)
    return api.answer(method, path, headers, body)


def _container(store: str, api: Api, bundle: Path, name: str, there: bool = True) -> None:
    """Make a container of a repository's store, or remove it with all that is in it."""
    asked = f"/msi/token?resource={rest.STORAGE}"
    token = json.loads(api.token(asked, {"x-identity-header": rest.SECRET})[2])["access_token"]
    headers = {"authorization": f"Bearer {token}", "x-ms-version": "2023-11-03"}
    url = f"{store}/{name}?restype=container"
    ask = requests.put if there else requests.delete
    done = ask(url, headers=headers, timeout=30, verify=str(bundle))
    assert done.status_code in (201, 202), done.text


def _bridge() -> str:
    """The address of this machine that containers see."""
    found = subprocess.run(
        ["docker", "network", "inspect", "bridge", "--format={{(index .IPAM.Config 0).Gateway}}"],
        check=True, capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    return found.stdout.strip() or "172.17.0.1"
