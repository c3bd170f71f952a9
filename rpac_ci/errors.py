"""One family of exceptions, each with advice for the reader and the process's exit code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What a finished `rpac` command says to the shell; part of the public contract."""

    OK = 0
    NOT_REPRODUCED = 1
    INVALID_INPUT = 2
    RUN_FAILED = 3
    REFUSED = 4
    COULD_NOT_RUN = 5
    HISTORY = 6
    INCONCLUSIVE = 7
    CANCELLED = 130


class RpacError(Exception):
    """Base of every error that a user can do something about."""

    exit_code: ExitCode = ExitCode.INVALID_INPUT
    transient = False  # whether the same thing may succeed later

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class CommandError(RpacError):
    """The words of a command are not understood."""


class PolicyError(RpacError):
    """The request is understood and not allowed, or waits for an approval."""

    exit_code = ExitCode.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a file: where it is, what is wrong and what would be right."""

    file: str
    line: int
    column: int
    what: str
    right: str = ""

    def __str__(self) -> str:
        right = f", {self.right}" if self.right else ""
        return f"{self.file}:{self.line}:{self.column}: {self.what}{right}"


class ExperimentError(RpacError):
    """An experiment's file has mistakes; all of them are listed at once."""

    def __init__(self, problems: list[Problem], *, hint: str = "") -> None:
        super().__init__("\n".join(str(problem) for problem in problems), hint=hint)
        self.problems = problems


class PipelineError(RpacError):
    """An experiment and its overrides do not make a pipeline."""


class CancelledError(RpacError):
    """A person interrupted the work."""

    exit_code = ExitCode.CANCELLED


class StorageError(RpacError):
    """The object store cannot be read or written; a later try may succeed."""

    exit_code = ExitCode.COULD_NOT_RUN
    transient = True


class SourceError(RpacError):
    """Data could not be fetched, or its content is not what was declared."""

    exit_code = ExitCode.COULD_NOT_RUN

    def __init__(self, message: str, *, hint: str = "", transient: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.transient = transient


class EnvironmentBuildError(RpacError):
    """The experiment's environment could not be built from its lock."""

    exit_code = ExitCode.COULD_NOT_RUN


class CloudError(RpacError):
    """A cloud could not do what was asked."""

    exit_code = ExitCode.COULD_NOT_RUN

    def __init__(self, message: str, *, hint: str = "", transient: bool | None = None) -> None:
        super().__init__(message, hint=hint)
        if transient is not None:
            self.transient = transient


class CredentialsError(CloudError):
    """The cloud does not know who asks, or does not let them do this."""


class SignInError(CredentialsError):
    """Nobody is signed in to the cloud (any more): the same thing may succeed after that."""

    transient = True


class QuotaError(CloudError):
    """The account may not have as much as was asked for."""


class ThrottledError(CloudError):
    """The cloud was asked too often; later it will answer."""

    transient = True


class CapacityError(CloudError):
    """The cloud does not have the machines that were asked for."""


class ProvisioningError(CloudError):
    """Machines were granted but could not be started."""


class GitHubError(RpacError):
    """GitHub did not do what was asked, or could not be asked."""

    exit_code = ExitCode.COULD_NOT_RUN

    def __init__(
        self, message: str, *, hint: str = "", status: int | None = None, transient: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status  # of the answer over HTTP; None when there was none
        self.transient = transient


class HistoryError(RpacError):
    """Git or the reproduction log is missing, unreadable or contradicts itself."""

    exit_code = ExitCode.HISTORY


class RunNotFoundError(HistoryError):
    """No run, or more than one, has this id."""
