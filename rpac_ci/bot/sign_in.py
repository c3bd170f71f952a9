"""
How a job on GitHub enters a cloud: with a token that GitHub signs for this very job (OIDC), and the
role that the repository's settings name. Nothing is stored; the clouds' SDKs do the rest.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from rpac_ci.errors import CredentialsError, PolicyError
from rpac_ci.github.oidc import AWS_AUDIENCE, AWS_ROLE

TIMEOUT_S = 20.0


def sign_in(cloud: str, environ: MutableMapping[str, str]) -> None:
    """
    Set the variables by which a cloud's SDK finds the job's token and role.

    Outside of a job that may ask for a token nothing is changed: the SDK finds what is there.

    Args:
        cloud: to enter.
        environ: of this process.

    Raises:
        PolicyError: the repository names no role.
        CredentialsError: GitHub gives no token.
    """
    address = environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")
    if cloud != "aws" or not address:
        return
    role = environ.get(AWS_ROLE)
    if not role:
        raise PolicyError(
            f"the repository has no variable {AWS_ROLE}: its jobs do not know their role on AWS",
            hint=f"gh variable set {AWS_ROLE} --body ARN; rpac setup aws prints the line",
        )
    token = _token(address, environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", ""), AWS_AUDIENCE)
    path = Path(environ.get("RUNNER_TEMP") or "/tmp") / "rpac-aws-token"  # noqa: S108
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    environ["AWS_ROLE_ARN"] = role
    environ["AWS_WEB_IDENTITY_TOKEN_FILE"] = str(path)
    environ["AWS_ROLE_SESSION_NAME"] = f"rpac-{environ.get('GITHUB_RUN_ID', 'job')}"


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
    if not isinstance(token, str) or not token:
        raise CredentialsError(f"GitHub's token for {audience} is empty")
    return token
