"""
`rpac doctor`: what the bot needs, looked at from here and through GitHub's API; nothing is changed.

Every finding says how bad it is and what to do. What a token may not read is a finding of its own,
with the name of the right, and never counts as fine.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rpac_ci import __version__
from rpac_ci.errors import ExperimentError
from rpac_ci.git import Git
from rpac_ci.github.diagnosis import Finding, Report, Severity, fine
from rpac_ci.github.oidc import check_environment
from rpac_ci.github.setup import generated
from rpac_ci.github.setup.generated import State
from rpac_ci.github.setup.sources import HERE, Source
from rpac_ci.site_config import CONFIG_FILE, SiteConfig, load_site

OLDEST_GIT = (2, 31)  # settings by GIT_CONFIG_COUNT, which keep tokens out of arguments
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A server with Actions, and where its API is."""

    server_url: str
    api_url: str
    repository: str
    token: str = field(repr=False)


def examine(
    start: Path, environ: Mapping[str, str], *, environment: str, offline: bool = False
) -> Report:
    """
    Look at a repository.

    Args:
        start: a folder in it.
        environ: variables of the process; a token is taken from there.
        environment: of GitHub, whose jobs may enter a cloud.
        offline: GitHub is not asked.

    Raises:
        HistoryError: not in a git repository.
        CommandError: no environment can have this name.
    """
    check_environment(environment)
    git = Git.discover(start)
    config, found = _settings_file(git.root)
    findings = [*_tools(git), *found, *file_findings(_working_tree(git.root), "here")]
    host, why = (None, "asked not to") if offline else find_host(git, environ)
    if host is None:
        findings.append(
            Finding(topic="github", severity=Severity.NOTE, what=f"GitHub was not asked: {why}")
        )
        return Report(findings=tuple(findings))
    from rpac_ci.github.client import GitHub
    from rpac_ci.github.doctor_settings import look

    github = GitHub(host.api_url, host.token, host.repository)
    asked, subjects = look(github, git, config, host.server_url, environment)
    return Report(findings=(*findings, *asked), subjects=subjects)


def _tools(git: Git) -> Iterator[Finding]:
    said = git.maybe("version") or ""
    number = re.search(r"(\d+)\.(\d+)", said)
    if number is None or (int(number[1]), int(number[2])) < OLDEST_GIT:
        oldest = ".".join(map(str, OLDEST_GIT))
        yield Finding(
            topic="git", severity=Severity.ERROR, what=f"{said or 'git does not answer'}",
            fix=f"install git {oldest} or newer",
        )  # fmt: skip
    else:
        yield fine("git", said)
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield Finding(
            topic="python",
            severity=Severity.ERROR,
            what=version,
            fix=f"use Python {oldest} or newer",
        )
    else:
        yield fine("python", version)


def _settings_file(root: Path) -> tuple[SiteConfig, list[Finding]]:
    try:
        config = load_site(root)
    except ExperimentError as exc:
        finding = Finding(
            topic="settings", severity=Severity.ERROR, what=exc.message,
            fix=exc.hint or "until this is on the default branch, the bot refuses everything",
        )  # fmt: skip
        return SiteConfig(), [finding]
    if not (root / CONFIG_FILE).exists():
        what = f"no {CONFIG_FILE}: everything has its default"
        return config, [Finding(topic="settings", severity=Severity.NOTE, what=what)]
    if not config.enabled:
        what = "switched off: the bot answers, and starts nothing"
        fix = f"enabled: true in {CONFIG_FILE}"
        return config, [Finding(topic="settings", severity=Severity.WARNING, what=what, fix=fix)]
    return config, [fine("settings", f"{CONFIG_FILE} is valid")]


def _working_tree(root: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for path in generated.FILES:
        try:
            found[path] = (root / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            found[path] = None
    return found


def file_findings(found: Mapping[str, str | None], where: str) -> Iterator[Finding]:
    """
    Whether the files that rpac keeps are those of this version.

    Args:
        found: path -> content, None where there is none.
        where: they were looked for, in words.
    """
    source = generated.recorded_source(found.get(generated.ACTION)) or Source(HERE)
    wanted = generated.render(source)
    states = {path: generated.state(text, wanted[path]) for path, text in found.items()}
    fixes = {
        State.MISSING: (Severity.ERROR, "rpac init, then commit and push them"),
        State.OUTDATED: (Severity.WARNING, "rpac init --upgrade, then commit and push them"),
        State.NEWER: (Severity.WARNING, f"upgrade rpac, which is {__version__} here"),
        State.EDITED: (Severity.NOTE, "see that what was edited is still right; rpac leaves it"),
        State.FOREIGN: (Severity.ERROR, "rename what is there, then: rpac init"),
    }
    for state, (severity, fix) in fixes.items():
        paths = [path for path, one in states.items() if one is state]
        if paths:
            what = f"{state} {where}: {', '.join(paths)}"
            yield Finding(topic="workflows", severity=severity, what=what, fix=fix)
    if all(state is State.CURRENT for state in states.values()):
        yield fine("workflows", f"as rpac {__version__} writes them, {where}")


def find_repository(git: Git, environ: Mapping[str, str]) -> tuple[str, str]:
    """
    The server and OWNER/NAME of a clone; the name is empty when `origin` is not on GitHub.

    Args:
        git: a clone, whose `origin` names the repository unless the variables do.
        environ: variables of the process.
    """
    remote = git.maybe("config", "--get", "remote.origin.url") or ""
    found = re.fullmatch(
        r"(?:https://(?:[^@/]*@)?|ssh://git@|git@)(?P<host>[A-Za-z0-9.-]+)(?::[0-9]+)?[/:]"
        r"(?P<name>[A-Za-z0-9_-]+/[A-Za-z0-9._-]+?)(?:\.git)?/?",
        remote,
    )
    server = environ.get("GITHUB_SERVER_URL", "").rstrip("/")
    name = environ.get("GITHUB_REPOSITORY") or (found["name"] if found else "")
    return server or (f"https://{found['host']}" if found else "https://github.com"), name


def find_host(git: Git, environ: Mapping[str, str]) -> tuple[Host | None, str]:
    """
    Where to ask, with which token.

    Args:
        git: a clone, whose `origin` names the repository unless the variables do.
        environ: variables of the process.

    Returns:
        None with the reason why GitHub cannot be asked.
    """
    server, name = find_repository(git, environ)
    if not name:
        return None, "the remote 'origin' is no repository on GitHub"
    token = environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN") or ""
    api = environ.get("GITHUB_API_URL", "")
    if server == "https://github.com":
        api = api or "https://api.github.com"
    elif not api:
        # a token goes to no server only because somebody's clone names it
        return None, f"set GITHUB_API_URL to ask {server}, for example {server}/api/v3"
    if not token:
        return (
            None,
            "set GITHUB_TOKEN or GH_TOKEN, for example: GH_TOKEN=$(gh auth token) rpac doctor",
        )
    return Host(server_url=server, api_url=api, repository=name, token=token), ""
