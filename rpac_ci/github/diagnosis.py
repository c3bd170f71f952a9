"""What `rpac doctor` found: one finding for each thing that was looked at, with its fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rpac_ci.errors import CloudError, CredentialsError
from rpac_ci.github.oidc import Subjects

if TYPE_CHECKING:
    from rpac_ci.canonical import Json


class Severity(StrEnum):
    """How bad a finding is; `error` means that the bot does not work, or not safely."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was looked at (a stable word), what is so, and what to do about it."""

    topic: str
    severity: Severity
    what: str
    fix: str = ""

    def to_json(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "topic": self.topic, "severity": self.severity.value, "what": self.what,
            "fix": self.fix,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All findings, and what clouds have to be told where GitHub could be asked."""

    findings: tuple[Finding, ...]
    subjects: Subjects | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing has to be fixed."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)

    def text(self) -> str:
        """For a terminal."""
        blocks = [_lines(finding) for finding in self.findings]
        if self.subjects:
            blocks.append(self.subjects.text())
        errors = sum(finding.severity is Severity.ERROR for finding in self.findings)
        warnings = sum(finding.severity is Severity.WARNING for finding in self.findings)
        return "\n".join([*blocks, f"\n{errors} to fix, {warnings} to think about"])

    def to_json(self) -> dict[str, Json]:
        """For programs."""
        return {
            "healthy": self.healthy,
            "findings": [finding.to_json() for finding in self.findings],
            "oidc": self.subjects.to_json() if self.subjects else None,
        }


def fine(topic: str, what: str) -> Finding:
    """A finding that needs nothing."""
    return Finding(topic=topic, severity=Severity.OK, what=what)


def look(
    topic: str, right: str, check: Callable[[], Iterator[Finding]],
    *, severity: Severity = Severity.WARNING,
) -> Iterator[Finding]:  # fmt: skip
    """
    What a check finds; when it cannot look, that: it never counts as fine.

    Args:
        topic: of the finding.
        right: that is missing when the look is not allowed.
        check: the look.
        severity: of a look that was not allowed.
    """
    try:
        yield from check()
    except CredentialsError as exc:
        yield Finding(
            topic=topic, severity=severity, what=f"not checked: {exc.message}",
            fix=exc.hint if severity is Severity.ERROR else f"look with the right {right}",
        )  # fmt: skip
    except CloudError as exc:
        yield Finding(
            topic=topic, severity=severity, what=f"not checked: {exc.message}", fix=exc.hint
        )


def _lines(finding: Finding) -> str:
    fix = "".join(f"\n         {line}" for line in finding.fix.splitlines())
    return f"{finding.severity:<8} {finding.topic}: {finding.what}{fix}"
