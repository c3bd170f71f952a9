"""One family of errors, and exit codes that scripts can rely on."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Iterator

import pytest

from rpac_ci import cli, errors
from rpac_ci.cli import group, runs
from rpac_ci.errors import ExitCode, ExperimentError, Problem, RpacError, SourceError

# part of the public contract: DESIGN.md section 4, and `rpac --help`
CODES = {
    "OK": 0,
    "NOT_REPRODUCED": 1,
    "INVALID_INPUT": 2,
    "RUN_FAILED": 3,
    "REFUSED": 4,
    "COULD_NOT_RUN": 5,
    "HISTORY": 6,
    "INCONCLUSIVE": 7,
    "CANCELLED": 130,
}
FAMILY = {
    "RpacError": 2,
    "CommandError": 2,
    "ExperimentError": 2,
    "PipelineError": 2,
    "PolicyError": 4,
    "GitHubError": 5,
    "StorageError": 5,
    "SourceError": 5,
    "EnvironmentBuildError": 5,
    "CloudError": 5,
    "CapacityError": 5,
    "CredentialsError": 5,
    "QuotaError": 5,
    "SignInError": 5,
    "ThrottledError": 5,
    "ProvisioningError": 5,
    "HistoryError": 6,
    "RunNotFoundError": 6,
    "CancelledError": 130,
}
PROBLEM = Problem(file="x.yaml", line=3, column=5, what="got 0", right="at least 1")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """`cli.run` listens to SIGTERM; afterwards the tests' own process does so as before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def family() -> dict[str, type[RpacError]]:
    """Every error of the package."""
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: error for name, error in found if issubclass(error, RpacError)}


def test_the_exit_codes() -> None:
    assert {code.name: code.value for code in ExitCode} == CODES


def test_the_exit_code_of_every_error() -> None:
    assert {name: int(error.exit_code) for name, error in family().items()} == FAMILY


def test_help_names_every_exit_code() -> None:
    for code in ExitCode:
        if code is not ExitCode.OK:
            assert f"; {code.value} " in group.EXIT_CODES.replace("\n", " ")


@pytest.mark.parametrize("error", family().values())
def test_every_error_has_a_message_a_hint_and_a_sentence_about_it(error: type[RpacError]) -> None:
    if error is not ExperimentError:
        made = error("it is so", hint="try this")
        assert (str(made), made.message, made.hint) == ("it is so", "it is so", "try this")
        assert error("it is so").hint == ""
    assert error.__doc__
    assert error.__doc__.strip().endswith(".")


def test_problems_are_told_as_editors_and_compilers_tell_them() -> None:
    bare = Problem(file="x.yaml", line=1, column=1, what="it is empty")
    assert str(PROBLEM) == "x.yaml:3:5: got 0, at least 1"
    assert str(bare) == "x.yaml:1:1: it is empty"
    error = ExperimentError([PROBLEM, bare], hint="see README")
    assert str(error) == "x.yaml:3:5: got 0, at least 1\nx.yaml:1:1: it is empty"
    assert error.problems == [PROBLEM, bare]
    assert error.hint == "see README"


def test_a_source_that_may_come_back_is_transient() -> None:
    assert SourceError("503", transient=True).transient
    assert not SourceError("404").transient


@pytest.mark.parametrize("error", [e for n, e in family().items() if n != "ExperimentError"])
def test_the_command_line_turns_an_error_into_one_message_and_its_code(
    error: type[RpacError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_: object) -> None:
        raise error("it is so", hint="try this")

    monkeypatch.setattr(runs.validate, "callback", fails)
    assert cli.run(["validate"]) == error.exit_code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "rpac: it is so\n      hint: try this\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["reproduce", "--help"], 0),
        (["no-such-command"], 2),
        (["reproduce"], 2),
        (["validate", "--no-such-option"], 2),
        (["history", "-n", "0"], 2),
        (["-C", "/no/such/folder", "validate"], 2),
    ],
)
def test_usage(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert bool(said.err) is (code != 0)


def test_an_interrupt_is_a_cancellation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.validate, "callback", interrupted)
    assert cli.run(["validate"]) == ExitCode.CANCELLED
    assert capsys.readouterr().err.endswith("rpac: interrupted\n")
