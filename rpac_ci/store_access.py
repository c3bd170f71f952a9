"""How stores are opened, and who asks them: folders, S3, Blob Storage, and what speaks like it."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpac_ci.errors import StorageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

# A store that is away is asked again for about half a minute. obstore's own ten tries are over in
# two seconds, and with them were a node whose network blinked. One request may stall for 30 s,
# so the time for all tries has to be longer than that.
_TRIES, _FIRST_PAUSE, _LONGEST_PAUSE = 30, timedelta(milliseconds=100), timedelta(seconds=3)
_GIVE_UP = timedelta(minutes=3)
_AZURE_KEYS = (
    "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY",
    "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_TOKEN",
)  # fmt: skip
_AZURE_ENDPOINT = "AZURE_STORAGE_ENDPOINT"


def folder_of(url: str) -> Path:
    """The folder of a `file:` URL."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    return Path(url2pathname(urlsplit(url).path))


def open_store(url: str, region: str | None) -> ObjectStore:
    """
    The store at a URL: a folder, S3, Blob Storage.

    Raises:
        StorageError: it cannot be opened.
    """
    from obstore.store import LocalStore, from_url

    try:
        if url.startswith("file:"):  # from_url refuses a line break in the path
            return LocalStore(folder_of(url), mkdir=True)
        if url.startswith("s3:"):
            return _open_s3(url, region)
        if url.startswith("az:"):
            return _open_azure(url)
        return from_url(url)
    except StorageError:
        raise
    except Exception as exc:
        raise StorageError(f"the store {url!r} cannot be opened: {exc}") from exc


def _open_s3(url: str, region: str | None) -> ObjectStore:
    from obstore.store import S3Store

    return S3Store.from_url(url, retry_config=_retries(), **s3_options(region), **s3_credentials())


def _open_azure(url: str) -> ObjectStore:
    from urllib.parse import urlsplit

    from obstore.store import AzureStore

    where = urlsplit(url)
    container, _, prefix = where.path.strip("/").partition("/")
    # where there is one, it leads to what speaks like Blob Storage
    if os.environ.get(_AZURE_ENDPOINT, "").startswith("http:"):
        raise StorageError(
            f"{_AZURE_ENDPOINT}={os.environ[_AZURE_ENDPOINT]}: no token is sent without TLS",
            hint="an address with https://",
        )
    return AzureStore(
        container,
        prefix=prefix or None,
        account_name=where.netloc,
        retry_config=_retries(),
        **azure_credentials(),
    )


def _retries() -> RetryConfig:
    return {
        "max_retries": _TRIES,
        "retry_timeout": _GIVE_UP,
        # a pause is of random length, up to three times the one before
        "backoff": {"init_backoff": _FIRST_PAUSE, "max_backoff": _LONGEST_PAUSE, "base": 3},
    }


def azure_credentials() -> dict[str, Any]:
    """
    Those of the SDK where there is one: it knows `az login`, GitHub's tokens and identities.

    Nodes have none, and obstore asks for the token of their machine's identity. A key or a SAS in
    obstore's own variables goes before both.
    """
    import importlib.util

    if any(os.environ.get(name) for name in _AZURE_KEYS):
        return {}
    try:
        there = importlib.util.find_spec("azure.identity") is not None
    except ModuleNotFoundError:  # not even the package it is in
        there = False
    if not there:
        return {}
    from obstore.auth.azure import AzureCredentialProvider

    from rpac_ci.clouds.azure.credentials import credential

    logging.getLogger("azure.identity").setLevel(logging.CRITICAL)  # errors say it in one line
    return {"credential_provider": AzureCredentialProvider(credential())}


def s3_endpoint() -> str | None:
    """The server that takes the place of S3, where the SDK's variables name one."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def s3_options(region: str | None) -> dict[str, Any]:
    """How obstore finds S3, or what speaks like it."""
    options: dict[str, Any] = {"region": region} if region else {}
    if endpoint := s3_endpoint():
        options["endpoint"] = endpoint
        # named on purpose by whoever set it; AWS itself is never asked without TLS
        options["client_options"] = {"allow_http": endpoint.startswith("http:")}
    return options


def s3_credentials() -> dict[str, Any]:
    """Those of the SDK where there is one: it knows profiles and single sign-on."""
    import importlib.util

    if importlib.util.find_spec("boto3") is None:
        return {}
    from obstore.auth.boto3 import Boto3CredentialProvider

    return {"credential_provider": Boto3CredentialProvider()}
