"""
Objects of S3 as data, read by obstore.

A bucket is first asked without a signature, as the public ones are; when it refuses, with the
credentials that the SDK finds, where there are any. So public data needs neither an account nor a
right, and credentials are used for nothing that does not need them.

NASA's Earthdata Cloud wants a token (`EARTHDATA_TOKEN`, or the entry of `urs.earthdata.nasa.gov` in
a netrc). Machines in its own region read from S3, with credentials of an hour that the archive
gives for the token; to all others the archive gives the same file by https.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from rpac_ci import downloads, store_access
from rpac_ci.downloads import Reader, RefusedError, read_url
from rpac_ci.errors import SourceError
from rpac_ci.locators import EarthdataLocator, S3Locator

if TYPE_CHECKING:
    from obstore import GetResult
    from requests import PreparedRequest, Response, Session

PART = 1 << 16  # bytes at least in a chunk: a server that drips must be noticed
RETRIES, RETRY_S = 3, 120.0
LONGEST = timedelta(days=1)  # of one object; slow ones are given up before
EARTHDATA_LOGIN = "urs.earthdata.nasa.gov"
EARTHDATA_REGION = "us-west-2"
DEFAULT_REGION = "us-east-1"
# where obstore looks for credentials when boto3 is not there to look
_SIGNS_OF_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_METADATA_ENDPOINT",
)  # fmt: skip
_SIGN_IN_HINT = (
    f"a token of Earthdata Login in EARTHDATA_TOKEN, or a netrc entry for {EARTHDATA_LOGIN}"
)


# --- S3 -----------------------------------------------------------------------------------------


def read_s3(locator: S3Locator, reader: Reader, *, anonymous: bool = False) -> Iterator[bytes]:
    """
    The bytes of an object.

    Args:
        locator: of it.
        reader: of its bytes.
        anonymous: asked without a signature only, as those have to who have no account on AWS.

    Raises:
        RefusedError: it may not be read, or only by those who pay for it.
        SourceError: it cannot be had; `transient` when a later try may help.
    """
    region = locator.region or _region_of(locator.bucket, store_access.s3_endpoint())
    what, refusals = str(locator), []
    for way in _ways(locator, anonymous=anonymous):
        try:
            found = _open(what, locator.bucket, locator.key, region, way)
        except RefusedError as exc:
            refusals.append(exc.message)
        else:
            yield from _stream(what, found, reader)
            return
    if refusals:
        raise RefusedError(refusals[-1], hint=_refused(locator, len(refusals)))
    raise RefusedError(
        f"{locator} is read at the reader's cost, and there are no credentials of AWS",
        hint="sign in to the account that pays",
    )


def _ways(locator: S3Locator, *, anonymous: bool) -> Iterator[dict[str, Any]]:
    """Whom to ask as: nobody, where that may do, then who is signed in."""
    if not locator.requester_pays:
        yield {"skip_signature": True}
    if not anonymous and _has_credentials():
        yield {**store_access.s3_credentials(), "request_payer": locator.requester_pays}


def _refused(locator: S3Locator, ways: int) -> str:
    if locator.requester_pays:
        return "the credentials in use have no right to it, or none to let their account pay"
    pays = "; &requester_pays=true for a bucket whose readers pay"
    if ways == 1:
        return f"it is not public, and there are no credentials of AWS{pays}"
    return f"it is not public, and the credentials in use have no right to it{pays}"


def _has_credentials() -> bool:
    if importlib.util.find_spec("boto3") is not None:
        import boto3

        return boto3.Session().get_credentials() is not None
    return any(os.environ.get(name) for name in _SIGNS_OF_CREDENTIALS)


@cache
def _region_of(bucket: str, endpoint: str | None) -> str:
    """Where a bucket is: S3 tells everybody."""
    import requests

    timeout = (downloads.CONNECT_TIMEOUT_S, downloads.READ_TIMEOUT_S)
    url = f"{endpoint or 'https://s3.amazonaws.com'}/{bucket}"
    try:
        said = requests.head(url, timeout=timeout, allow_redirects=False)
    except requests.RequestException as exc:
        raise SourceError(
            f"the region of s3://{bucket} cannot be asked for: {downloads.reason(exc)}",
            hint="say it: ?region=…", transient=True,
        ) from exc  # fmt: skip
    if said.status_code == 404:
        raise SourceError(f"there is no bucket s3://{bucket}")
    # a server that only speaks like S3 may not tell
    return said.headers.get("x-amz-bucket-region") or os.environ.get("AWS_REGION", DEFAULT_REGION)


def _open(what: str, bucket: str, key: str, region: str, way: dict[str, Any]) -> GetResult:
    """An object asked for, in one way to be somebody; its bytes are still to come."""
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    options: dict[str, Any] = store_access.s3_options(region) | way
    options["client_options"] = {
        **options.get("client_options", {}),
        "connect_timeout": timedelta(seconds=downloads.CONNECT_TIMEOUT_S),
        "read_timeout": timedelta(seconds=downloads.READ_TIMEOUT_S),
        "timeout": LONGEST,
    }
    options["retry_config"] = {
        "max_retries": RETRIES,
        "retry_timeout": timedelta(seconds=RETRY_S),
    }
    try:
        return obstore.get(S3Store(bucket, **options), key)
    except (BaseError, FileNotFoundError, ValueError) as exc:
        raise _translated(what, exc) from exc


def _stream(what: str, found: GetResult, reader: Reader) -> Iterator[bytes]:
    """The bytes; where the connection breaks, obstore asks for the rest."""
    from obstore.exceptions import BaseError

    parts = iter(found.stream(min_chunk_size=PART))

    def read(_: int) -> bytes:
        try:
            return bytes(next(parts, b""))
        except (BaseError, OSError) as exc:
            problem = _translated(what, exc)
            raise SourceError(problem.message, transient=True) from exc

    yield from reader.chunks(read, int(found.meta["size"]))


def _translated(what: str, exc: Exception) -> SourceError:
    """What obstore says, without the credentials' provider's own words."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    text = str(exc)
    line = text.partition("\n\nDebug source")[0]
    code = next(iter(re.findall(r"<Code>(\w+)</Code>", text)), "")
    status = int(next(iter(re.findall(r"status code: (\d{3})", line)), 0))
    if isinstance(exc, FileNotFoundError):
        return SourceError(f"{what} is not there ({code or 'no such object'})")
    if code in ("ExpiredToken", "InvalidAccessKeyId", "TokenRefreshRequired"):
        hint = "sign in again: the credentials have run out or are none"
        return SourceError(f"{what} cannot be read: {code}", hint=hint)
    if isinstance(exc, UnauthenticatedError) and not status:
        return SourceError(f"{what} cannot be read: the credentials cannot be had")
    if isinstance(exc, (PermissionDeniedError, UnauthenticatedError)):
        return RefusedError(f"{what} may not be read ({code or f'answer {status or 403}'})")
    if "redirect" in line.lower():
        return SourceError(f"{what} is in another region", hint="?region=<its region>, or leave it")
    said = code or line.partition(" - ")[2].strip() or line
    return SourceError(
        f"{what} cannot be read: {said[:200]}", transient=not 400 <= status < 500 or status == 429
    )


# --- NASA's Earthdata Cloud ---------------------------------------------------------------------


def read_earthdata(locator: EarthdataLocator, reader: Reader) -> Iterator[bytes]:
    """
    The bytes of an object of an archive: from S3 where that is near, else by https.

    Raises:
        RefusedError: nobody is signed in, or may not read it.
        SourceError: it cannot be had; `transient` when a later try may help.
    """
    token = os.environ.get("EARTHDATA_TOKEN")
    if not token and not _in_netrc():
        raise RefusedError(f"{locator} needs to be signed in to Earthdata", hint=_SIGN_IN_HINT)
    if os.environ.get("AWS_REGION") == EARTHDATA_REGION:
        found = _open_nearby(locator, token)
        if found is not None:
            yield from _stream(str(locator), found, reader)
            return
    headers = {"Authorization": f"Bearer {token}"} if token else None
    try:
        yield from read_url(locator.url, reader, headers=headers, check=_signed_in)
    except RefusedError as exc:
        hint = f"is the token still good, and its licence accepted? {_SIGN_IN_HINT}"
        raise RefusedError(f"{locator} may not be read: {exc.message}", hint=hint) from exc


def _open_nearby(locator: EarthdataLocator, token: str | None) -> GetResult | None:
    """The object in S3; None where S3 takes this machine for one of elsewhere."""
    way = _credentials(locator, token)
    try:
        return _open(str(locator), locator.bucket, locator.key, EARTHDATA_REGION, way)
    except RefusedError:
        return None  # the variable says so and the machine is not there: https is for everybody


def _credentials(locator: EarthdataLocator, token: str | None) -> dict[str, Any]:
    """What the archive gives for the token: keys of S3 that are good for an hour."""
    import requests
    from obstore.auth.earthdata import NasaEarthdataCredentialProvider

    try:
        with _session() as session:
            given = NasaEarthdataCredentialProvider(
                f"https://{locator.host}/s3credentials", host=EARTHDATA_LOGIN, auth=token,
                session=session,
            )()  # fmt: skip
        return {
            "access_key_id": given["access_key_id"],
            "secret_access_key": given["secret_access_key"],
            "session_token": given["token"],
        }
    except requests.HTTPError as exc:
        status = exc.response.status_code
        kind = RefusedError if status in (401, 403) or exc.response.is_redirect else SourceError
        raise kind(
            f"{locator.host} gives no credentials: it answered {status}", hint=_SIGN_IN_HINT,
            transient=status >= 500,
        ) from exc  # fmt: skip
    except requests.RequestException as exc:
        what = f"{locator.host} gives no credentials: {downloads.reason(exc)}"
        raise SourceError(what, transient=True) from exc
    except (KeyError, ValueError, TypeError) as exc:
        what = f"{locator.host} gives credentials that are not understood"
        raise SourceError(what) from exc


def _session() -> Session:
    """One that does not wait for ever, and leaves nothing that is not https to others."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class Timed(HTTPAdapter):
        def send(self, request: PreparedRequest, **more: Any) -> Response:  # type: ignore[override]
            more["timeout"] = (downloads.CONNECT_TIMEOUT_S, downloads.READ_TIMEOUT_S)
            return super().send(request, **more)

    retry = Retry(total=3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    session = requests.Session()
    session.adapters.clear()
    session.mount("https://", Timed(max_retries=retry))
    return session


def _signed_in(response: Response) -> None:
    """
    Raises:
        RefusedError: what came is the page where people sign in.
    """
    from urllib.parse import urlsplit

    if urlsplit(response.url).hostname == EARTHDATA_LOGIN:
        raise RefusedError("the archive asks to sign in")


def _in_netrc() -> bool:
    from requests.utils import get_netrc_auth

    return get_netrc_auth(f"https://{EARTHDATA_LOGIN}") is not None
