"""
The functions of `rpac setup azure --function`: they go on with runs when the store has news of
them, and by a timer.

Prerequisites: the application settings that the template gives them.

    RPAC_SITE                 `clouds.azure` of rpac.yaml, as JSON
    AZURE_CLIENT_ID           of the user-assigned identity that they act as, which goes on with
                              runs as a driver does
    RPAC_GITHUB_REPOSITORY    OWNER/NAME, to be told of runs that are released; optional
    RPAC_GITHUB_SECRET        the token for that, as a reference to Key Vault; optional
    GITHUB_API_URL            where GitHub's API is, when not at https://api.github.com

`stored` gets the event BlobCreated of the store's account from Event Grid: an event that says which
object there is, never the object. What is no news of a run of this store is done with at once,
without a request. Azure Batch has no events, and an object says that nodes are about to end, not
that they have: so `stored` waits a little. Event Grid waits for half a minute and then sends the
event again; the second call finds that the first is at it, or does what that has left.

`timer` looks after all open runs and heals what was lost. When a run cannot go on, both say so in
their log and fail, so that Azure counts it, and Event Grid sends the event again; the run stays
open.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import azure.functions as func

from rpac_ci.clouds.azure.plan import CLOUD
from rpac_ci.errors import CredentialsError
from rpac_ci.functions import serving
from rpac_ci.functions.notices import API, Dispatch
from rpac_ci.functions.serving import AZURE_LIMIT_S, KEY
from rpac_ci.site_clouds import AzureSite

SECRET = "RPAC_GITHUB_SECRET"  # noqa: S105 - the name of a setting
SCHEDULE = "0 */10 * * * *"  # with seconds: every ten minutes
PATIENCE_S = 60.0  # for Azure Batch to see that a task has ended
_CREATED = "Microsoft.Storage.BlobCreated"
_UNRESOLVED = "@Microsoft.KeyVault("  # what a reference is when Azure could not follow it
_KEY = re.compile(KEY)

app = func.FunctionApp()


@app.function_name("stored")
@app.event_grid_trigger(arg_name="event")
def stored(event: func.EventGridEvent) -> None:
    """
    Go on with the run that an event of the store means.

    Raises:
        CloudError: it could not go on.
    """
    site = site_of(os.environ)
    if runs := runs_meant(event, site):
        _advance(site, runs)


@app.function_name("timer")
@app.timer_trigger(arg_name="timer", schedule=SCHEDULE)
def timer(timer: func.TimerRequest) -> None:  # noqa: ARG001 - Azure asks for it
    """
    Go on with all open runs.

    Raises:
        CloudError: some could not go on; the others have.
    """
    _advance(site_of(os.environ), None)


def runs_meant(event: object, site: AzureSite) -> set[str]:
    """
    The run that an event is news of.

    Args:
        event: as Event Grid sends it.
        site: whose store is meant.

    Returns:
        Its id; none where the event is of another kind, container or account, or malformed.
    """
    if not isinstance(event, func.EventGridEvent) or event.event_type != _CREATED:
        return set()
    topic: object = event.topic
    subject: object = event.subject
    if not isinstance(topic, str) or not isinstance(subject, str):
        return set()
    store = urlsplit(site.store)
    container, _, prefix = store.path.strip("/").partition("/")
    before = f"/blobServices/default/containers/{container}/blobs/{prefix}{'/' * bool(prefix)}"
    ours = topic.rpartition("/")[2].lower() == store.netloc and subject.startswith(before)
    found = _KEY.fullmatch(subject.removeprefix(before)) if ours else None
    return {found[1]} if found else set()


def site_of(environment: Mapping[str, str]) -> AzureSite:
    """The site that the functions serve; see `serving.site_of`."""
    return serving.site_of(AzureSite, CLOUD, environment)


def _advance(site: AzureSite, runs: Collection[str] | None) -> None:
    end = time.monotonic() + AZURE_LIMIT_S
    serving.serve(
        CLOUD, site, runs, lambda: _sender(os.environ), lambda: end - time.monotonic(),
        patience_s=PATIENCE_S,
    )  # fmt: skip


def _sender(environment: Mapping[str, str]) -> Dispatch | None:
    """Who tells GitHub; None where no token is kept for that."""
    repository = environment.get(serving.REPOSITORY)
    token = environment.get(SECRET, "").strip()
    if not repository or not token:
        return None
    if token.startswith(_UNRESOLVED):
        raise CredentialsError(
            f"Azure could not read the secret that the setting {SECRET} refers to",
            hint="does the vault have it, and may the functions' identity read it?",
        )
    api = environment.get(serving.API_URL) or API
    return Dispatch(repository=repository, token=token, api=api)
