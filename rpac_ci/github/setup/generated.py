"""
The files that rpac writes and keeps: workflows and the action that installs rpac.

The first line of each says which version wrote it, with a hash of the rest; so an upgrade knows
what people have changed, and leaves that alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from importlib import resources
from types import MappingProxyType

from packaging.version import InvalidVersion, Version

from rpac_ci import __version__
from rpac_ci.errors import CommandError
from rpac_ci.github.setup.sources import Source

ACTION = ".github/actions/rpac/action.yml"
WORKFLOWS = ("rpac.yml", "rpac-run.yml", "rpac-validate.yml", "rpac-upkeep.yml")
# path in the repository -> template
FILES: Mapping[str, str] = MappingProxyType(
    {**{f".github/workflows/{name}": name for name in WORKFLOWS}, ACTION: "action.yml"}
)

_FIRST = re.compile(r"# rpac: (?P<version>[0-9A-Za-z.+!-]{1,64}) sha256:(?P<hash>[0-9a-f]{64})\n")
_SECOND = "# Written by `rpac init`; `rpac init --upgrade` renews it as long as nobody edits it.\n"
_PLACE = "@SOURCE@"
_DEFAULT = re.compile(r'^    default: "(?P<source>[^"\\\n]{1,1000})"$', re.MULTILINE)


class State(StrEnum):
    """What is there in place of a file that rpac writes."""

    MISSING = "missing"
    CURRENT = "current"
    OUTDATED = "outdated"  # written by rpac, untouched, not what this version writes
    NEWER = "newer"  # written by a later version
    EDITED = "edited"  # written by rpac, changed by hand
    FOREIGN = "foreign"  # somebody's own


def render(source: Source) -> dict[str, str]:
    """
    The files of this version.

    Args:
        source: what the runners install.

    Returns:
        Path in the repository -> content.
    """
    folder = resources.files(__package__) / "templates"
    templates = {path: (folder / name).read_text(encoding="utf-8") for path, name in FILES.items()}
    return {
        path: signed(template.replace(_PLACE, source.requirement))
        for path, template in templates.items()
    }


def signed(body: str, version: str = __version__) -> str:
    """A file's content under the line that lets an upgrade recognize it."""
    rest = _SECOND + body
    return f"# rpac: {version} sha256:{_hash(rest)}\n{rest}"


def state(found: str | None, wanted: str) -> State:
    """
    What a file is, compared with what this version writes.

    Args:
        found: its content; None when there is none.
        wanted: from `render`.
    """
    if found is None:
        return State.MISSING
    found = _unix(found)
    if _rest(found) == _rest(wanted):
        return State.CURRENT  # only the version differs, which changes nothing
    first = _FIRST.match(found)
    if first is None:
        return State.FOREIGN
    if _hash(found[first.end() :]) != first["hash"]:
        return State.EDITED
    return State.NEWER if _is_later(first["version"]) else State.OUTDATED


def version_of(found: str) -> str | None:
    """The version that wrote a file; None when rpac did not."""
    first = _FIRST.match(_unix(found))
    return first["version"] if first else None


def recorded_source(action: str | None) -> Source | None:
    """The source that a repository's action names; None when it names none that we know."""
    found = _DEFAULT.search(_unix(action)) if action else None
    try:
        return Source.parse(found["source"]) if found else None
    except CommandError:
        return None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")  # git may be told to check files out so


def _rest(text: str) -> str:
    return text.partition("\n")[2] if _FIRST.match(text) else text


def _is_later(version: str) -> bool:
    try:
        return Version(version) > Version(__version__)
    except InvalidVersion:
        return True  # not ours to judge, so not ours to overwrite
