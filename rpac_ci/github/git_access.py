"""
How git speaks to GitHub in a job: the token in the environment of git processes alone, never in an
address, a file or an argument.
"""

from __future__ import annotations

import base64
from collections.abc import MutableMapping

from rpac_ci.git import Git
from rpac_ci.github.actions import Host

# GitHub's own account for what its workflows commit
NAME = "github-actions[bot]"
EMAIL = "41898282+github-actions[bot]@users.noreply.github.com"


def authenticate(environ: MutableMapping[str, str], host: Host, token: str = "") -> None:
    """
    Let git processes use a token for this server, and commit under the bot's name.

    Args:
        environ: of this process, which git's processes inherit.
        host: the job.
        token: the job's own when "".
    """
    token = token or host.token
    if token:
        basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        key = f"http.{host.server_url}/.extraheader"
        _configure(environ, key, f"AUTHORIZATION: basic {basic}")
    for name, value in (
        ("GIT_AUTHOR_NAME", NAME), ("GIT_AUTHOR_EMAIL", EMAIL),
        ("GIT_COMMITTER_NAME", NAME), ("GIT_COMMITTER_EMAIL", EMAIL),
    ):  # fmt: skip
        environ.setdefault(name, value)
    _configure(environ, "user.name", NAME)
    _configure(environ, "user.email", EMAIL)


def authenticate_in_job(environ: MutableMapping[str, str]) -> None:
    """The same, where this is a job of GitHub Actions that was given a token."""
    if environ.get("GITHUB_ACTIONS") == "true" and environ.get("GITHUB_TOKEN"):
        authenticate(environ, Host.read(environ))


def _configure(environ: MutableMapping[str, str], key: str, value: str) -> None:
    """A setting for all git processes; the last one of a key replaces an older token."""
    count = int(environ.get("GIT_CONFIG_COUNT") or 0)
    for number in range(count):
        if environ.get(f"GIT_CONFIG_KEY_{number}") == key:
            environ[f"GIT_CONFIG_VALUE_{number}"] = value
            return
    environ[f"GIT_CONFIG_KEY_{count}"] = key
    environ[f"GIT_CONFIG_VALUE_{count}"] = value
    environ["GIT_CONFIG_COUNT"] = str(count + 1)


def ensure_origin(git: Git, host: Host) -> None:
    """Make sure that the remote `origin` is the job's repository."""
    address = f"{host.server_url}/{host.repository}"
    if git.maybe("config", "--get", "remote.origin.url") is None:
        git.run("remote", "add", "origin", address)
