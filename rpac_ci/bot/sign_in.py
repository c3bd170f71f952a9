"""
How a job on GitHub enters a cloud: with a token that GitHub signs for this very job (OIDC), and the
role or identity that the repository's settings name. No secret is kept; the SDKs do the rest.

GitHub's tokens live for about five minutes, and a job may need the cloud for an hour: its SDK asks
again when what it was given runs out, and for every service apart. So a fresh one is always there.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

from rpac_ci.errors import CredentialsError, PolicyError
from rpac_ci.github.oidc import ENTRANCES

TIMEOUT_S = 20.0
RENEW_S = 120.0  # two may go wrong before a token is too old


@contextmanager
def signed_in(
    cloud: str, environ: MutableMapping[str, str], *, renew_s: float = RENEW_S
) -> Iterator[None]:
    """
    Have a token of this job, never older than a few minutes, where a cloud's SDK looks for it.

    Outside of a job that may ask for a token nothing is changed: the SDK finds what is there.

    Args:
        cloud: to enter.
        environ: of this process; the SDK's variables are set in it.
        renew_s: seconds after which the token is replaced by a fresh one.

    Raises:
        PolicyError: the repository does not say as whom its jobs enter.
        CredentialsError: GitHub gives no token.
    """
    entrance = ENTRANCES.get(cloud)
    address = environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")
    if entrance is None or not address:
        yield
        return
    missing = [name for name in entrance.variables if not environ.get(name)]
    if missing:
        raise PolicyError(
            f"the repository has no variable {' and no '.join(missing)}: "
            f"its jobs do not know {entrance.whom}",
            hint="; ".join(f"gh variable set {name} --body VALUE" for name in missing)
            + f"; rpac setup {cloud} prints the line",
        )
    bearer = environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    with tempfile.TemporaryDirectory(prefix="rpac-", dir=environ.get("RUNNER_TEMP")) as folder:
        file = Path(folder, "token")

        def renew() -> None:
            _put(file, _token(address, bearer, entrance.audience))

        renew()
        environ[entrance.file] = str(file)
        environ.update({theirs: environ[ours] for ours, theirs in entrance.variables.items()})
        if cloud == "aws":
            environ["AWS_ROLE_SESSION_NAME"] = f"rpac-{environ.get('GITHUB_RUN_ID', 'job')}"
        with _every(renew_s, renew):
            yield


@contextmanager
def _every(seconds: float, renew: Callable[[], None]) -> Iterator[None]:
    """Meanwhile, do this again and again; what goes wrong once may go well the next time."""
    over = threading.Event()

    def again() -> None:
        while not over.wait(seconds):
            with suppress(CredentialsError, OSError):
                renew()

    thread = threading.Thread(target=again, name="rpac-sign-in", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(TIMEOUT_S)


def _put(file: Path, token: str) -> None:
    """Readers find the one token or the other, and nobody else reads either."""
    handle, fresh = tempfile.mkstemp(dir=file.parent)  # for this user alone
    with os.fdopen(handle, "w", encoding="ascii") as writing:
        writing.write(token)
    Path(fresh).replace(file)


def _token(address: str, bearer: str, audience: str) -> str:
    import requests

    try:
        answer = requests.get(
            address,
            params={"audience": audience},
            headers={"Authorization": f"Bearer {bearer}"},
            timeout=TIMEOUT_S,
            allow_redirects=False,
        )
        answer.raise_for_status()
        token = answer.json()["value"]
    except (requests.RequestException, ValueError, KeyError, TypeError) as exc:
        status = getattr(getattr(exc, "response", None), "status_code", type(exc).__name__)
        raise CredentialsError(
            f"GitHub gives this job no token for {audience}: {status}",
            hint="the job needs 'permissions: id-token: write'",
        ) from exc
    if not isinstance(token, str) or not token.isascii() or not token:
        raise CredentialsError(f"GitHub's token for {audience} cannot be read")
    return token
