"""What GitHub Actions gives to a job and takes from it: variables, outputs, annotations, pages."""

from __future__ import annotations

import base64
import re
import secrets as random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from rpac_ci.errors import CommandError
from rpac_ci.github import events as github_events
from rpac_ci.github import limits as github_limits
from rpac_ci.github.fields import is_full_name

MAX_SUMMARY = 1024 * 1024  # bytes a step; what is larger is not shown at all
MAX_OUTPUTS = 1024 * 1024  # bytes a job
HIDDEN = "***"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,253}(/[A-Za-z0-9._/-]*)?")
_REQUIRED = ("GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
# where the runner's reader ends a line: a lone carriage return is an end, too
_LINE_ENDS = re.compile(r"\r\n|\r|\n")


class Level(StrEnum):
    """How loud an annotation is."""

    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The job this process runs in. The token is in no representation of it."""

    event_name: str
    event_path: Path
    repository: str
    run_id: int
    run_attempt: int = 1
    api_url: str = "https://api.github.com"
    server_url: str = "https://github.com"
    token: str = field(default="", repr=False)
    output: Path | None = None
    summary_path: Path | None = None
    job: str = ""
    workflow_ref: str = ""
    sha: str = ""
    actor: str = ""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Host:
        """
        Read the standard variables of a job.

        Args:
            environ: of the process.

        Raises:
            CommandError: a variable is missing or malformed; all of them are named at once.
        """
        missing = [name for name in _REQUIRED if not environ.get(name)]
        if missing:
            raise CommandError(
                f"not in the environment: {', '.join(missing)}",
                hint="this command is made for a job of GitHub Actions, which sets them",
            )
        if not is_full_name(environ["GITHUB_REPOSITORY"]):
            raise CommandError("GITHUB_REPOSITORY: expected owner/name")
        return cls(
            event_name=environ["GITHUB_EVENT_NAME"],
            event_path=Path(environ["GITHUB_EVENT_PATH"]),
            repository=environ["GITHUB_REPOSITORY"],
            run_id=_number(environ, "GITHUB_RUN_ID"),
            run_attempt=_number(environ, "GITHUB_RUN_ATTEMPT"),
            api_url=_url(environ, "GITHUB_API_URL", "https://api.github.com"),
            server_url=_url(environ, "GITHUB_SERVER_URL", "https://github.com"),
            token=environ.get("GITHUB_TOKEN", "").strip(),
            output=_path(environ, "GITHUB_OUTPUT"),
            summary_path=_path(environ, "GITHUB_STEP_SUMMARY"),
            job=environ.get("GITHUB_JOB", ""),
            workflow_ref=environ.get("GITHUB_WORKFLOW_REF", ""),
            sha=environ.get("GITHUB_SHA", ""),
            actor=environ.get("GITHUB_ACTOR", ""),
        )

    @property
    def run_url(self) -> str:
        """Where people see this run of the workflow."""
        return f"{self.server_url}/{self.repository}/actions/runs/{self.run_id}"

    def event(self) -> github_events.Event:
        """
        Read the event that started the job.

        Raises:
            CommandError: its file cannot be read; what is in the file is never an error.
        """
        try:
            with self.event_path.open("rb") as file:
                raw = file.read(github_events.MAX_BYTES + 1)
        except (OSError, ValueError) as exc:
            raise CommandError(f"the event's file cannot be read: {exc}") from exc
        return github_events.read_event(self.event_name, raw)

    def set_output(self, name: str, value: str) -> None:
        """
        Hand a value to the jobs that come after this one.

        Args:
            name: as the workflow knows it.
            value: anything; it cannot end its own entry and begin another.

        Raises:
            CommandError: a bad name, no GITHUB_OUTPUT, or more than a job may hand on.
        """
        if not _NAME.fullmatch(name):
            raise CommandError(f"got {name[:80]!r}, expected the name of an output")
        if self.output is None:
            raise CommandError("not in the environment: GITHUB_OUTPUT")
        delimiter = f"rpac_{random.token_hex(16)}"
        entry = _encode(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")
        if _size(self.output) + len(entry) > MAX_OUTPUTS:
            raise CommandError(f"the outputs of a job are limited to {MAX_OUTPUTS} bytes")
        with self.output.open("ab") as file:
            file.write(entry)

    def summary(self, markdown: str) -> bool:
        """
        Add to the job's summary page, shortened to what the page can hold.

        Returns:
            Whether there was a page and room on it.
        """
        if self.summary_path is None:
            return False
        room = MAX_SUMMARY - _size(self.summary_path) - 1
        if room < github_limits.SHORTEST:
            return False
        text = github_limits.fit_bytes(markdown, limit=room)
        with self.summary_path.open("ab") as file:
            file.write(_encode(text + "\n"))
        return True


def annotation(
    level: Level,
    message: str,
    *,
    file: str | None = None,
    line: int | None = None,
    column: int | None = None,
    title: str | None = None,
) -> str:
    """
    The line that, printed by a job, shows a message at a place in a file.

    Args:
        level: how loud.
        message: text, several lines if need be.
        file: relative to the repository.
        line: from 1.
        column: from 1.
        title: shown above the message.
    """
    places = {"file": file, "line": line, "col": column, "title": title}
    properties = ",".join(
        f"{name}={_property(str(value))}" for name, value in places.items() if value is not None
    )
    return f"::{level}{' ' if properties else ''}{properties}::{_data(message)}"


def mask(text: str) -> str:
    """The lines that, printed by a job, hide a secret in its log from there on."""
    lines = [line for line in _LINE_ENDS.split(text) if line.strip()]
    return "\n".join(f"::add-mask::{_data(line)}" for line in lines)


def neutral_log(text: str) -> str:
    """
    Text of others as it may be printed to a job's log: the runner obeys nothing in it.

    Every line begins with `| `, since the runner takes commands at the start of a line (`::`), and
    `##[`, which it takes anywhere, is pulled apart. Control characters are shown, not sent.

    Source: ActionCommand.cs of actions/runner.
    """
    lines = _LINE_ENDS.split(text.removesuffix("\n"))
    return "\n".join(f"| {_shown(line)}".rstrip() for line in lines)


def redact(text: str, secrets: Iterable[str]) -> str:
    """
    Remove secrets from text that goes out, also where they are base64 (as in a Basic header, after
    any user's name) or percent-encoded.
    """
    forms = {form for secret in secrets for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def _forms(secret: str) -> Iterator[str]:
    for part in {secret.strip(), *(line.strip() for line in secret.splitlines())}:
        if len(part) < 4:  # nothing this short is a secret, and hiding it would garble everything
            continue
        yield part
        yield quote(part, safe="")
        raw = _encode(part)
        if len(raw) >= 8:
            for form in _inside_base64(raw):
                yield form
                yield form.replace("+", "-").replace("/", "_")


def _inside_base64(raw: bytes) -> Iterator[str]:
    """The characters that stand for these bytes alone, at each of the three ways they can lie."""
    for before, first in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        yield encoded[first : (before + len(raw)) * 8 // 6]


def _shown(line: str) -> str:
    line = "".join(c if c == "\t" or c.isprintable() else _escaped(c) for c in line)
    return line.replace("##[", "## [")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name) or "1"
    if not re.fullmatch(r"[1-9][0-9]{0,17}", value):
        raise CommandError(f"{name}: expected a whole number above zero")
    return int(value)


def _url(environ: Mapping[str, str], name: str, default: str) -> str:
    value = environ.get(name) or default
    if not _URL.fullmatch(value):
        raise CommandError(f"{name}: expected an address such as {default}")
    return value.rstrip("/")


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    value = environ.get(name)
    return Path(value) if value else None
