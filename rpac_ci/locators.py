"""
Where data is, as people write it. Pure.

    file:scenes.nc                              beside the experiment, or file:///… anywhere here
    https://example.org/scenes.nc
    s3://<bucket>/<key>?region=us-west-2        the region may be left out; public ones need no
                                                account; &requester_pays=true for those that do
    earthdata://<host>/<bucket>/<key>           NASA's Earthdata Cloud: the file's https address,
                                                with earthdata: in the place of https:
    pypi:<wheel file name>!/<member>            public and immutable; index from pip's settings

As in any URL, what has a meaning there (`%`, `?`, `#`) is written `%25`, `%3F`, `%23` in a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias, assert_never
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from rpac_ci.errors import CommandError

_SECRET = re.compile(
    r"x-(amz|goog)-.*|sig|signature|.*token|.*secret.*|passw(or)?d|(api|access)_?key.*|auth"
    r"|credentials?|awsaccesskeyid",
    re.IGNORECASE,
)

_HTTPS = "https://<host>/<path> without user or password"
_S3 = "s3://<bucket>/<key>, and where needed ?region=us-west-2 and &requester_pays=true"
_EARTHDATA = "earthdata://<archive>.earthdata.nasa.gov/<bucket>/<key>, or .earthdatacloud.nasa.gov"
_FORMS = "file:…, https://…, s3://…, earthdata://… or pypi:<wheel>!/<member>"
_BUCKET = re.compile(r"(?!.*\.\.)(?![0-9.]+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+){1,3}-[0-9]{1,2}")
# the reader's token is shown to these hosts, so that nobody else may name himself here
_ARCHIVE = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.){1,4}earthdata(cloud)?\.nasa\.gov")
_MAX_KEY = 1024  # bytes, by S3


@dataclass(frozen=True, slots=True)
class FileLocator:
    """A file of this machine; a relative path starts at the experiment's folder."""

    path: str


@dataclass(frozen=True, slots=True)
class HttpsLocator:
    """A file behind an https URL."""

    url: str


@dataclass(frozen=True, slots=True)
class S3Locator:
    """An object in a bucket of S3."""

    bucket: str
    key: str
    region: str | None = None
    requester_pays: bool = False

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class EarthdataLocator:
    """An object in NASA's Earthdata Cloud: one of its archives, and where it is in there."""

    host: str
    bucket: str
    key: str

    @property
    def url(self) -> str:
        """Where the archive gives the file to those who have signed in."""
        return f"https://{self.host}/{self.bucket}/{quote(self.key)}"

    def __str__(self) -> str:
        return f"earthdata://{self.host}/{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class PypiLocator:
    """A member of a wheel on the package index."""

    wheel: str
    project: str
    version: str
    member: str


Locator: TypeAlias = FileLocator | HttpsLocator | S3Locator | EarthdataLocator | PypiLocator


def parse_locator(uri: str) -> Locator:
    """
    Read a data locator.

    Raises:
        CommandError: unknown scheme or wrong form, with the accepted one as hint.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        path = unquote(rest.removeprefix("//"))
        if not path or "\0" in path or (not path.startswith("/") and ".." in Path(path).parts):
            raise CommandError(
                f"got {uri!r}", hint="file:<path inside the experiment's folder> or file:///<path>"
            )
        return FileLocator(path)
    if scheme == "https":
        try:
            parts = urlsplit(uri)
        except ValueError as exc:
            raise CommandError(f"got {without_login(uri)!r}: {exc}", hint=_HTTPS) from exc
        names = _names(parts.query) + _names(parts.fragment)
        if secret := next(filter(_SECRET.fullmatch, names), None):
            raise CommandError(
                f"the URL carries {secret}, which looks like a credential",
                hint="locators are committed: use one that needs no signature",
            )
        if parts.username or parts.password:
            raise CommandError("the URL carries a user or password", hint=_HTTPS)
        if not parts.hostname:
            raise CommandError(f"got {uri!r}", hint=_HTTPS)
        return HttpsLocator(uri)
    if scheme == "s3":
        return _parse_s3(rest)
    if scheme == "earthdata":
        return _parse_earthdata(rest)
    if scheme == "pypi":
        return _parse_pypi(uri, rest)
    raise CommandError(f"got {without_login(uri)!r}", hint=_FORMS)


def without_login(url: str) -> str:
    """A URL fit to be shown: without the user and password that it may hold."""
    return re.sub(r"(?<=://)[^/?#]*@", "…@", url)


def _names(query: str) -> list[str]:
    return [name for name, _ in parse_qsl(query, keep_blank_values=True)]


def _parse_s3(rest: str) -> S3Locator:
    address, _, query = rest.partition("?")
    bucket, key = _object(address, _S3)
    region, requester_pays = None, False
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as exc:
        raise CommandError("what follows the ? is not <name>=<value>", hint=_S3) from exc
    for name, value in options:
        if _SECRET.fullmatch(name):
            raise CommandError(
                f"the locator carries {name}, which looks like a credential",
                hint="locators are committed: credentials are found where the SDK looks for them",
            )
        if name == "region" and region is None and _REGION.fullmatch(value):
            region = value
        elif name == "requester_pays" and value in ("true", "false"):
            requester_pays = value == "true"
        else:
            raise CommandError(f"got {name[:40]!r} with a value that it cannot have", hint=_S3)
    return S3Locator(bucket, key, region, requester_pays)


def _parse_earthdata(rest: str) -> EarthdataLocator:
    if not rest.startswith("//") or "?" in rest:
        raise CommandError("an archive, a bucket and a key are expected", hint=_EARTHDATA)
    host, _, address = rest.removeprefix("//").partition("/")
    _refuse_login(host, _EARTHDATA)
    if not _ARCHIVE.fullmatch(host):
        what = f"{host[:100]!r} is no archive of NASA's Earthdata Cloud"
        raise CommandError(what, hint=_EARTHDATA)
    return EarthdataLocator(host, *_object(f"//{address}", _EARTHDATA))


def _object(address: str, hint: str) -> tuple[str, str]:
    """
    Bucket and key of `//<bucket>/<key>`.

    Raises:
        CommandError: it has not this form, or the key is a path that leads elsewhere.
    """
    bucket, slash, path = address.removeprefix("//").partition("/")
    if not address.startswith("//") or not slash or not path:
        raise CommandError("a bucket and a key are expected", hint=hint)
    _refuse_login(bucket, hint)
    if not _BUCKET.fullmatch(bucket):
        raise CommandError(f"{bucket[:100]!r} is not the name of a bucket", hint=hint)
    try:
        key = unquote(path, errors="strict")
    except UnicodeDecodeError as exc:
        raise CommandError("the key is not UTF-8", hint=hint) from exc
    parts = key.split("/")
    if "#" in path or not key.isprintable() or len(key.encode()) > _MAX_KEY:
        raise CommandError("the key has a sign that it cannot have, or is too long", hint=hint)
    if any(part in ("", ".", "..") for part in parts):
        raise CommandError("the key has an empty part, `.` or `..`", hint=hint)
    return bucket, key


def _refuse_login(host: str, hint: str) -> None:
    if "@" in host:
        raise CommandError("the locator carries a user or password", hint=hint)


def _parse_pypi(uri: str, rest: str) -> PypiLocator:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    wheel, bang, member = rest.partition("!/")
    hint = "pypi:<project>-<version>-<tags>.whl!/<member>"
    if not bang or not member or ".." in PurePosixPath(member).parts or member.startswith("/"):
        raise CommandError(f"got {uri!r}", hint=hint)
    try:
        project, version, _, _ = parse_wheel_filename(wheel)
    except InvalidWheelFilename as exc:
        raise CommandError(f"got {uri!r}: {exc}", hint=hint) from exc
    return PypiLocator(wheel, str(project), str(version), member)


def shown(locator: Locator) -> str:
    """What a message calls it."""
    match locator:
        case FileLocator(path):
            return f"file:{path}"
        case HttpsLocator(url):
            return url
        case S3Locator() | EarthdataLocator():
            return str(locator)
        case PypiLocator(wheel=wheel, member=member):
            return f"{member} of {wheel}"
        case _:
            assert_never(locator)


def file_name(locator: Locator) -> str:
    """The name the content has in a node's data folder."""
    match locator:
        case FileLocator(path):
            name = PurePosixPath(path).name
        case HttpsLocator(url):
            name = PurePosixPath(unquote(urlsplit(url).path)).name
        case S3Locator(key=key) | EarthdataLocator(key=key):
            name = PurePosixPath(key).name
        case PypiLocator(member=member):
            name = PurePosixPath(member).name
        case _:
            assert_never(locator)
    return name if name not in ("", ".", "..") and "/" not in name and "\0" not in name else "data"
