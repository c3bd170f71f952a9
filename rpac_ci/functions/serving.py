"""What the functions of all clouds have in common: their settings, the runs that keys name."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from rpac_ci.errors import CloudError, CommandError
from rpac_ci.functions.going_on import go_on
from rpac_ci.functions.notices import Notices, Send
from rpac_ci.site_clouds import AwsSite, AzureSite, SiteClouds
from rpac_ci.site_config import SiteConfig
from rpac_ci.workspace import Place

RUN = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}"
# of objects that are news: a result, a request to cancel, a notice of the provider
KEY = rf"runs/({RUN})/(?:attempt/[0-9]+/done|cancel\.json|notices/[^/]+\.json)"
AZURE_LIMIT_S = 1800  # of one call, by the host.json of its package
REPOSITORY, API_URL = "RPAC_GITHUB_REPOSITORY", "GITHUB_API_URL"

Site = TypeVar("Site", AwsSite, AzureSite)
_log = logging.getLogger("rpac")


def site_of(kind: type[Site], cloud: str, environment: Mapping[str, str]) -> Site:
    """
    The site that a function serves.

    Raises:
        CommandError: its environment does not say, or not rightly.
    """
    try:
        return kind.model_validate_json(environment.get("RPAC_SITE", ""))
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CommandError(
            f"RPAC_SITE is not clouds.{cloud} as JSON: {where}: {first['msg']}",
            hint=f"rpac setup {cloud} writes it into the function's environment",
        ) from exc


def serve(
    cloud: str, site: AwsSite | AzureSite, runs: Collection[str] | None,
    sender: Callable[[], Send | None], left_s: Callable[[], float], *, patience_s: float = 0,
) -> dict[str, str]:  # fmt: skip
    """
    Go on with open runs of a site, as far as they go without waiting.

    Args:
        cloud: whose site it is.
        site: that has the runs.
        runs: those that are meant; None means all open ones.
        sender: asked when somebody is to be told of a run; None means that nobody is.
        left_s: how long the function may go on, in seconds.
        patience_s: see `go_on`.

    Returns:
        How far each has come, run -> status.

    Raises:
        CloudError: some could not go on; the others have.
    """
    _log.setLevel(logging.INFO)
    folder = Path(tempfile.gettempdir()) / "rpac"  # the only one a function may write to
    config = SiteConfig(clouds=SiteClouds.model_validate({cloud: site}))
    place = Place(root=folder, config=config, cache=folder / "cache", cloud=cloud)
    gone = go_on(place, runs, Notices(place.storage, sender), left_s, patience_s=patience_s)
    if stuck := [one.run for one in gone if one.problem]:
        raise CloudError(f"could not go on: {', '.join(stuck)}", transient=True)
    return {one.run: one.status for one in gone}
