"""
How this process reaches Azure: certificates, proxies and connections, settled once for a server.

`requests` settles them for each request and reads its bundle of certificates for each connection,
which is 30 ms of a processor: a study opens a connection for every run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import TYPE_CHECKING, Any

from rpac_ci.errors import CommandError

if TYPE_CHECKING:
    from azure.core.pipeline.transport import RequestsTransport
    from requests import PreparedRequest

AT_ONCE = 128  # connections to one server
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # in the order in which `requests` looks


def transport(url: str) -> RequestsTransport:
    """
    What carries the requests of a client of Azure's SDK; threads may share it.

    The environment says what it says to `requests`: `HTTPS_PROXY`, `NO_PROXY` and the bundle of
    certificates. Only a netrc has no say: what stands there would take the place of the token.

    Args:
        url: of the server.

    Raises:
        CommandError: there are no certificates where the environment says.
    """
    from azure.core.pipeline.transport import RequestsTransport
    from requests import Session
    from requests.adapters import HTTPAdapter
    from requests.utils import get_environ_proxies

    trusted = _trusted(_bundle())

    class Adapter(HTTPAdapter):
        """Connections that share what is trusted; see "Transport Adapters" of `requests`."""

        def build_connection_pool_key_attributes(
            self, request: PreparedRequest, verify: Any, cert: Any = None
        ) -> Any:
            host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
            return host, {"ssl_context": trusted}

        def cert_verify(self, *_: Any, **__: Any) -> None:
            """The context knows what is trusted."""

        def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
            if proxy.lower().startswith("https:"):
                more["proxy_ssl_context"] = trusted
            return super().proxy_manager_for(proxy, **more)

    session = Session()
    session.trust_env = False
    session.proxies.update(get_environ_proxies(url))
    session.mount("https://", Adapter(pool_maxsize=AT_ONCE, max_retries=0))
    return RequestsTransport(session=session)


def _bundle() -> str:
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    return next(filter(None, map(os.environ.get, BUNDLES)), DEFAULT_CA_BUNDLE_PATH)


class _Settled(SSLContext):
    """A context that threads connect with at once, so nobody changes it once it is made."""

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Nothing: urllib3 would set them again for each connection; HTTP/1.1 needs none."""


@cache
def _trusted(bundle: str) -> SSLContext:
    """What checks servers as urllib3's own does, with these certificates read."""
    from urllib3.util import create_urllib3_context

    context = _Settled(PROTOCOL_TLS_CLIENT)
    context.verify_flags |= create_urllib3_context().verify_flags
    place = "capath" if Path(bundle).is_dir() else "cafile"
    try:
        context.load_verify_locations(**{place: bundle})
    except OSError as exc:
        raise CommandError(
            f"no certificates can be read from {bundle}: {exc.strerror or exc}",
            hint=f"{' and '.join(BUNDLES)} name a file or a folder of certificates",
        ) from exc
    return context
