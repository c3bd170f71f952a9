"""
Where data is, as people write it. Pure.

    file:scenes.nc                              beside the experiment, or file:///… anywhere here
    https://example.org/scenes.nc
    pypi:<wheel file name>!/<member>            public and immutable; index from pip's settings
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias, assert_never
from urllib.parse import parse_qsl, unquote, urlsplit

from rpac_ci.errors import CommandError

_SECRET = re.compile(
    r"x-(amz|goog)-.*|sig|signature|.*token|.*secret.*|passw(or)?d|(api|access)_?key.*|auth"
    r"|credentials?|awsaccesskeyid",
    re.IGNORECASE,
)

_HTTPS = "https://<host>/<path> without user or password"


@dataclass(frozen=True, slots=True)
class FileLocator:
    """A file of this machine; a relative path starts at the experiment's folder."""

    path: str


@dataclass(frozen=True, slots=True)
class HttpsLocator:
    """A file behind an https URL."""

    url: str


@dataclass(frozen=True, slots=True)
class PypiLocator:
    """A member of a wheel on the package index."""

    wheel: str
    project: str
    version: str
    member: str


Locator: TypeAlias = FileLocator | HttpsLocator | PypiLocator


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
    if scheme == "pypi":
        return _parse_pypi(uri, rest)
    raise CommandError(
        f"got {without_login(uri)!r}", hint="file:…, https://… or pypi:<wheel>!/<member>"
    )


def without_login(url: str) -> str:
    """A URL fit to be shown: without the user and password that it may hold."""
    return re.sub(r"(?<=://)[^/?#]*@", "…@", url)


def _names(query: str) -> list[str]:
    return [name for name, _ in parse_qsl(query, keep_blank_values=True)]


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


def file_name(locator: Locator) -> str:
    """The name the content has in a node's data folder."""
    match locator:
        case FileLocator(path):
            name = PurePosixPath(path).name
        case HttpsLocator(url):
            name = PurePosixPath(unquote(urlsplit(url).path)).name
        case PypiLocator(member=member):
            name = PurePosixPath(member).name
        case _:
            assert_never(locator)
    return name if name not in ("", ".", "..") and "/" not in name and "\0" not in name else "data"
