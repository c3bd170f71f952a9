"""
The function of `rpac setup aws --function`: goes on with runs when AWS has news of them.

Prerequisites: the environment that the stack gives it.

    RPAC_SITE                      `clouds.aws` of rpac.yaml, as JSON
    RPAC_GITHUB_REPOSITORY         OWNER/NAME, to be told of runs that are released; optional
    RPAC_GITHUB_TOKEN_PARAMETER    name of the SecureString with the token for that; optional
    GITHUB_API_URL                 where GitHub's API is, when not at https://api.github.com

Woken by AWS Batch (a job has ended, a queue is blocked), by the bucket (a result, a request to
cancel) and by a timer, which heals what was lost. When a run cannot go on, the function says so in
its log and fails, so that AWS calls it again and counts it; the run stays open.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Protocol

from rpac_ci.clouds.aws.clients import clients
from rpac_ci.clouds.aws.errors import code_of, translated
from rpac_ci.clouds.aws.plan import CLOUD
from rpac_ci.errors import CloudError
from rpac_ci.functions import serving
from rpac_ci.functions.notices import API, Dispatch
from rpac_ci.functions.serving import KEY, RUN
from rpac_ci.site_clouds import AwsSite

_JOB = re.compile(rf"[a-z][a-z0-9]*-({RUN})-[0-9]+")
_KEY = re.compile(rf"(?:.+/)?{KEY}")


class Context(Protocol):
    """What AWS Lambda tells a function of its call."""

    def get_remaining_time_in_millis(self) -> int:
        """How long it may still go on."""
        ...


def handler(event: object, context: Context) -> dict[str, str]:
    """
    Go on with the runs that an event means, as far as they go without waiting.

    Returns:
        How far each has come, run -> status.

    Raises:
        CloudError: some could not go on; the others have.
    """
    site = site_of(os.environ)
    return serving.serve(
        CLOUD, site, runs_meant(event), lambda: _sender(site, os.environ),
        lambda: context.get_remaining_time_in_millis() / 1000,
    )  # fmt: skip


def runs_meant(event: object) -> set[str] | None:
    """
    The runs that an event is about.

    Args:
        event: as EventBridge, the timer or a person sends it.

    Returns:
        Their ids; None when it does not say, so that it could be any open run.
    """
    if not isinstance(event, Mapping):
        return None
    detail = event.get("detail")
    if not isinstance(detail, Mapping):
        return None
    match event.get("source"):
        case "aws.batch":
            return _only(_JOB, detail.get("jobName"))
        case "aws.s3":
            found = detail.get("object")
            return _only(_KEY, found.get("key") if isinstance(found, Mapping) else None)
        case _:
            return None


def _only(pattern: re.Pattern[str], name: object) -> set[str] | None:
    found = pattern.fullmatch(name) if isinstance(name, str) else None
    return {found[1]} if found else None


def site_of(environment: Mapping[str, str]) -> AwsSite:
    """The site that the function serves; see `serving.site_of`."""
    return serving.site_of(AwsSite, CLOUD, environment)


def _sender(site: AwsSite, environment: Mapping[str, str]) -> Dispatch | None:
    """Who tells GitHub; None where no token is kept for that."""
    repository = environment.get(serving.REPOSITORY)
    name = environment.get("RPAC_GITHUB_TOKEN_PARAMETER")
    if not repository or not name:
        return None
    try:
        with translated("reading the token for GitHub"):
            found: dict[str, Any] = clients(site.region).ssm.get_parameter(
                Name=name, WithDecryption=True
            )
    except CloudError as exc:
        if code_of(exc) == "ParameterNotFound":
            return None
        raise
    api = environment.get(serving.API_URL) or API
    return Dispatch(repository=repository, token=found["Parameter"]["Value"].strip(), api=api)
