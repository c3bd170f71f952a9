"""Where the runners take rpac from: found out from the installed distribution, never guessed."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rpac_ci.errors import CommandError

DISTRIBUTION = "rpac-ci"
# rules over contents and seeds are judged by jobs, too; runs on clouds and images begin there
EXTRAS = "[aws,azure,compare,containers]"
HERE = "."

_NAME = re.compile(rf"{DISTRIBUTION}(?:\[[a-z,-]+\])?")
_URL = r"git\+https://[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?(?:/[A-Za-z0-9][A-Za-z0-9._~-]{0,99}){1,8}"
_GIT = re.compile(rf"(?:{_NAME.pattern} @ )?(?P<url>{_URL}@(?:[0-9a-f]{{40}}|[0-9a-f]{{64}}))")
_RELEASE = re.compile(rf"{_NAME.pattern}==(?P<version>[0-9][0-9A-Za-z.!]{{0,60}})")
_HERE = re.compile(r"\.(?:\[[a-z,-]+\])?")
_HINT = (
    "name what runners can reach: --source git+https://HOST/OWNER/NAME@COMMIT (all digits of the "
    f"commit) or --source {DISTRIBUTION}==VERSION"
)


@dataclass(frozen=True, slots=True)
class Source:
    """What a runner installs; `where` is `.`, `git+https://…@<commit>` or a release's version."""

    where: str

    @classmethod
    def parse(cls, text: str) -> Source:
        """
        Read a source as people or generated files write it.

        Raises:
            CommandError: anything else; what is written here ends up in a workflow.
        """
        if _HERE.fullmatch(text):
            return cls(HERE)
        if found := _GIT.fullmatch(text):
            return cls(found["url"])
        if found := _RELEASE.fullmatch(text):
            return cls(found["version"])
        raise CommandError(f"{text[:200]!a} is no source of rpac", hint=_HINT)

    @property
    def requirement(self) -> str:
        """In the words of pip."""
        if self.where == HERE:
            return f"{HERE}{EXTRAS}"
        if self.where.startswith("git+"):
            return f"{DISTRIBUTION}{EXTRAS} @ {self.where}"
        return f"{DISTRIBUTION}{EXTRAS}=={self.where}"

    def __str__(self) -> str:
        if self.where == HERE or self.where.startswith("git+"):
            return self.where
        return f"{DISTRIBUTION}=={self.where}"


def find(root: Path, given: str | None, recorded: Source | None, *, upgrade: bool) -> Source:
    """
    The source to write.

    Args:
        root: top of the repository.
        given: by the person, or None.
        recorded: what the repository's action names now, or None.
        upgrade: the files are to be those of the installed version, so its source comes first.

    Raises:
        CommandError: nothing is known that a runner could reach.
    """
    if given is not None:
        source = Source.parse(given)
        if source.where == HERE and not is_own_repository(root):
            raise CommandError("the source '.' is for the repository of rpac itself", hint=_HINT)
        return source
    if is_own_repository(root):
        return Source(HERE)
    if recorded is not None and recorded.where != HERE and not upgrade:
        return recorded
    try:
        return installed()
    except CommandError:
        if recorded is None or recorded.where == HERE:
            raise
        return recorded


def is_own_repository(root: Path) -> bool:
    """Whether a repository is that of rpac, whose runners install what they check out."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        named = project["name"] == DISTRIBUTION
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return named and (root / "rpac_ci" / "__init__.py").is_file()


def installed() -> Source:
    """
    The source of the rpac that runs now.

    Raises:
        CommandError: it comes from a place that only this machine has.
    """
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise CommandError("rpac runs from files that nobody installed", hint=_HINT) from None
    return of_distribution(distribution.version, distribution.read_text("direct_url.json"))


def of_distribution(version: str, direct_url: str | None) -> Source:
    """
    The source of an installed distribution.

    Args:
        version: of it.
        direct_url: its `direct_url.json`; None when it comes from an index.

    Raises:
        CommandError: it comes from a place that only this machine has, or with a password.

    Source: PEP 610.
    """
    if direct_url is None:
        return Source.parse(f"{DISTRIBUTION}=={version}")
    try:
        origin = json.loads(direct_url)
        url, vcs = str(origin["url"]), origin.get("vcs_info")
        commit = str(vcs["commit_id"]) if vcs and vcs["vcs"] == "git" else None
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise CommandError("rpac's direct_url.json cannot be read", hint=_HINT) from exc
    if commit is None:
        raise CommandError(
            "rpac was installed from a file or folder, which no runner can reach", hint=_HINT
        )
    try:
        return Source.parse(f"git+{url}@{commit}")
    except CommandError as exc:  # ssh, or an address with a token: neither belongs in a workflow
        raise CommandError(
            "rpac was installed from git, but not over https without credentials", hint=_HINT
        ) from exc
