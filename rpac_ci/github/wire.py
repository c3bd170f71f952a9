"""
Requests to GitHub over the wire, by PyGithub; the only module that imports it.

PyGithub signs, connects and encodes. What it would do on its own is switched off: it repeats POST,
sleeps until a limit is over, and fetches whole objects for one field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rpac_ci import __version__
from rpac_ci.errors import GitHubError
from rpac_ci.github.fields import Json
from rpac_ci.github.transport import Query

if TYPE_CHECKING:
    from github.Requester import Requester

_API_VERSION = "2022-11-28"


def requester(api_url: str, token: str, timeout_s: int) -> Requester:
    """What sends requests with a token; it repeats none, and does not wait between them."""
    from github import Auth, Github

    client = Github(
        auth=Auth.Token(token) if token else None,
        base_url=api_url,
        timeout=timeout_s,
        user_agent=f"rpac-ci/{__version__}",
        retry=None,
        seconds_between_requests=None,
        seconds_between_writes=None,
        lazy=True,
        api_version=_API_VERSION,
    )
    return client.requester


def sent(
    asking: Requester, verb: str, path: str, query: Query | None, body: Json
) -> tuple[int, Mapping[str, str], str]:
    """
    One request over the wire.

    The texts of exceptions stay out of messages: they may quote addresses and headers.
    """
    from requests import exceptions

    table: tuple[tuple[type[Exception], str, str, bool], ...] = (
        (exceptions.Timeout, "did not answer in time", "try again later", True),
        (
            exceptions.SSLError,
            "shows a certificate that is not trusted here",
            "REQUESTS_CA_BUNDLE names the file of trusted authorities",
            False,
        ),
        (exceptions.ConnectionError, "cannot be reached", "try again later", True),
        (exceptions.RequestException, "broke off its answer", "try again later", True),
        (ValueError, "answered with headers that are not understood", "", True),
        (RuntimeError, "sends to another address", "see GITHUB_API_URL", False),
    )
    parameters = dict(query) if query else None
    try:
        return asking.requestJson(verb, path, parameters=parameters, input=body)
    except tuple(row[0] for row in table) as exc:
        _, what, hint, transient = next(row for row in table if isinstance(exc, row[0]))
        raise GitHubError(f"GitHub {what}: {verb} {path}", hint=hint, transient=transient) from exc
