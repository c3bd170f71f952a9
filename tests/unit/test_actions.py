"""What a job of GitHub Actions gives and takes, and what others cannot make it do."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rpac_ci.errors import CommandError
from rpac_ci.github.actions import (
    HIDDEN,
    MAX_OUTPUTS,
    MAX_SUMMARY,
    Host,
    Level,
    annotation,
    mask,
    neutral_log,
    redact,
)
from rpac_ci.github.events import CommentCreated, Ignored, Reason
from tests.conftest import asset

TOKEN = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"
ENVIRON = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_EVENT_NAME": "issue_comment",
    "GITHUB_EVENT_PATH": str(asset("events/issue_comment_created.json")),
    "GITHUB_REPOSITORY": "octocat/experiments",
    "GITHUB_RUN_ID": "1658821493",
}


def outputs(path: Path) -> dict[str, str]:
    """What the runner reads from an output file."""
    found: dict[str, str] = {}
    lines = path.read_bytes().decode().split("\n")
    while lines and lines != [""]:
        name, _, delimiter = lines.pop(0).partition("<<")
        end = lines.index(delimiter)
        found[name] = "\n".join(lines[:end])
        lines = lines[end + 1 :]
    return found


def test_what_the_runner_sets_is_read(tmp_path: Path) -> None:
    host = Host.read(
        ENVIRON
        | {
            "GITHUB_API_URL": "https://github.example.org/api/v3/",
            "GITHUB_SERVER_URL": "https://github.example.org",
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "GITHUB_RUN_ATTEMPT": "2",
            "GITHUB_JOB": "decide",
            "GITHUB_WORKFLOW_REF": "octocat/experiments/.github/workflows/rpac.yml@refs/heads/main",
            "GITHUB_SHA": "c0ffee0000000000000000000000000000000002",
            "GITHUB_ACTOR": "octocat",
        }
    )
    assert host == Host(
        event_name="issue_comment",
        event_path=asset("events/issue_comment_created.json"),
        repository="octocat/experiments",
        run_id=1658821493,
        run_attempt=2,
        api_url="https://github.example.org/api/v3",
        server_url="https://github.example.org",
        token=TOKEN,
        output=tmp_path / "output",
        summary_path=tmp_path / "summary",
        job="decide",
        workflow_ref="octocat/experiments/.github/workflows/rpac.yml@refs/heads/main",
        sha="c0ffee0000000000000000000000000000000002",
        actor="octocat",
    )
    assert host.run_url == "https://github.example.org/octocat/experiments/actions/runs/1658821493"
    assert TOKEN not in repr(host)


def test_what_is_not_set_is_as_on_github_com() -> None:
    host = Host.read(ENVIRON | {"GITHUB_API_URL": ""})
    assert (host.api_url, host.server_url) == ("https://api.github.com", "https://github.com")
    assert (host.token, host.run_attempt, host.output) == ("", 1, None)


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(CommandError, match="GITHUB_EVENT_NAME, GITHUB_RUN_ID") as caught:
        Host.read(ENVIRON | {"GITHUB_EVENT_NAME": "", "GITHUB_RUN_ID": ""})
    assert "GitHub Actions" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_REPOSITORY", "octocat"),
        ("GITHUB_REPOSITORY", "octocat/../x"),
        ("GITHUB_RUN_ID", "-1"),
        ("GITHUB_RUN_ID", "1\n"),
        ("GITHUB_RUN_ID", "9" * 40),
        ("GITHUB_RUN_ATTEMPT", "first"),
        ("GITHUB_API_URL", "file:///etc"),
        ("GITHUB_API_URL", "https://api.github.com@example.org"),
        ("GITHUB_API_URL", "https://api.github.com\n"),
        ("GITHUB_SERVER_URL", "github.com"),
    ],
)
def test_a_variable_that_is_malformed_is_named(name: str, value: str) -> None:
    with pytest.raises(CommandError, match=f"^{name}: expected"):
        Host.read(ENVIRON | {name: value})


def test_the_event_is_read_from_its_file(tmp_path: Path) -> None:
    assert isinstance(Host.read(ENVIRON).event(), CommentCreated)
    (tmp_path / "large").write_bytes(b" " * (25 * 1024 * 1024 + 1))
    large = Host.read(ENVIRON | {"GITHUB_EVENT_PATH": str(tmp_path / "large")}).event()
    assert isinstance(large, Ignored)
    assert large.code == Reason.TOO_LARGE
    with pytest.raises(CommandError, match="cannot be read"):
        Host.read(ENVIRON | {"GITHUB_EVENT_PATH": str(tmp_path / "none")}).event()


def host(tmp_path: Path) -> Host:
    """A host with files for outputs and the summary."""
    paths = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    return Host.read(ENVIRON | paths)


def test_outputs_are_what_was_set(tmp_path: Path) -> None:
    some = host(tmp_path)
    values = {
        "runs": '[{"run": "x"}]',
        "empty": "",
        "lines": "one\ntwo\n\nrpac_0\nEOF",
        "forged": "x\nother<<EOF\ny\nEOF",
        "signs": "🌊 % :: ,",
    }
    for name, value in values.items():
        some.set_output(name, value)
    assert some.output is not None
    assert outputs(some.output) == values


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(alphabet="a<=\nEOF_rpac"), min_size=1, max_size=4))
def test_no_value_begins_another_output(tmp_path: Path, values: list[str]) -> None:
    (tmp_path / "GITHUB_OUTPUT").unlink(missing_ok=True)
    for number, value in enumerate(values):
        host(tmp_path).set_output(f"v{number}", value)
    found = outputs(tmp_path / "GITHUB_OUTPUT")
    assert found == {f"v{number}": value for number, value in enumerate(values)}


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a<<b", "a\n", "1a", "é", "x" * 101])
def test_a_bad_name_of_an_output_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="expected the name of an output"):
        host(tmp_path).set_output(name, "x")
    assert not (tmp_path / "GITHUB_OUTPUT").exists()


def test_an_output_is_never_lost_silently(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="GITHUB_OUTPUT"):
        Host.read(ENVIRON).set_output("runs", "[]")
    host(tmp_path).set_output("a", "x" * (MAX_OUTPUTS // 2))
    with pytest.raises(CommandError, match=f"limited to {MAX_OUTPUTS} bytes"):
        host(tmp_path).set_output("b", "x" * (MAX_OUTPUTS // 2))


def test_the_summary_grows_until_it_is_full(tmp_path: Path) -> None:
    some, page = host(tmp_path), tmp_path / "GITHUB_STEP_SUMMARY"
    assert some.summary("# One")
    assert some.summary("# Two \ud800")
    assert page.read_text() == "# One\n# Two ?\n"
    assert some.summary(("🌊" * 1000 + "\n") * 1000)
    assert MAX_SUMMARY - 5000 < page.stat().st_size <= MAX_SUMMARY
    assert "_Shortened" in page.read_text()[-100:]
    page.write_bytes(b"x" * (MAX_SUMMARY - 500))
    assert not some.summary("more")
    assert page.stat().st_size <= MAX_SUMMARY
    assert not Host.read(ENVIRON).summary("nowhere")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (annotation(Level.NOTICE, "all is well"), "::notice::all is well"),
        (
            annotation(Level.ERROR, "got 0", file="experiments/a.yaml", line=3, column=5),
            "::error file=experiments/a.yaml,line=3,col=5::got 0",
        ),
        (
            annotation(Level.WARNING, "50 %\r\nand more", title="a: b, c"),
            "::warning title=a%3A b%2C c::50 %25%0D%0Aand more",
        ),
        (
            annotation(Level.ERROR, "x", file="a,line=9::y\n::add-mask::z"),
            "::error file=a%2Cline=9%3A%3Ay%0A%3A%3Aadd-mask%3A%3Az::x",
        ),
        (annotation(Level.ERROR, "::warning::x\n::y"), "::error::::warning::x%0A::y"),
    ],
)
def test_annotations(line: str, expected: str) -> None:
    assert line == expected


@given(st.text(), st.text())
def test_an_annotation_is_one_line(message: str, file: str) -> None:
    line = annotation(Level.ERROR, message, file=file)
    assert "\n" not in line
    assert "\r" not in line
    properties, _, data = line.removeprefix("::error ").partition("::")
    assert properties.count("=") == file.count("=") + 1
    assert ("," in properties, ":" in properties) == (False, False)
    decoded = data.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
    assert decoded == message


def test_every_line_of_a_secret_is_masked() -> None:
    assert mask("abc") == "::add-mask::abc"
    assert mask("a%\r\n\n b\n") == "::add-mask::a%25\n::add-mask:: b"
    assert mask("") == mask(" \n") == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello\n", "| hello"),
        ("", "|"),
        ("a\n\nb", "| a\n|\n| b"),
        ("::set-output name=x::y", "| ::set-output name=x::y"),
        ("  ::add-mask::x", "|   ::add-mask::x"),
        ("progress\r::stop-commands::x", "| progress\n| ::stop-commands::x"),
        ("a ##[add-mask]x", "| a ## [add-mask]x"),
        ("###[[group]", "| ### [[group]"),
        ("\x1b[31mred\x07", "| \\x1b[31mred\\x07"),
        ("tab\there", "| tab\there"),
        ("a\u2028::error::x", "| a\\u2028::error::x"),
        ("\ud800", "| \\ud800"),
    ],
)
def test_a_log_of_others_as_it_is_printed(text: str, shown: str) -> None:
    assert neutral_log(text) == shown


@given(st.text() | st.text(alphabet=":#[\r\n x"))
def test_the_runner_obeys_nothing_of_a_log(text: str) -> None:
    shown = neutral_log(text)
    for line in re.split(r"\r\n|\r|\n", shown):
        assert line.startswith("|")
        assert "##[" not in line
    shown.encode()


def test_secrets_go_out_in_no_form() -> None:
    basic = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    text = f"{TOKEN} https://x:{TOKEN}@github.com Authorization: Basic {basic} ok"
    clean = redact(text, [TOKEN])
    assert TOKEN not in clean
    assert clean.startswith(f"{HIDDEN} https://x:{HIDDEN}@github.com Authorization: Basic ")
    assert clean.endswith(" ok")
    assert base64.b64encode(TOKEN.encode()).decode()[8:24] not in clean


@given(st.binary(max_size=9), st.binary(max_size=9), st.booleans())
def test_a_secret_inside_base64_is_found_wherever_it_lies(
    before: bytes, after: bytes, urlsafe: bool
) -> None:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    encoded = encode(before + TOKEN.encode() + after).decode()
    clean = redact(encoded, [TOKEN])
    assert HIDDEN in clean
    assert len(clean) < len(encoded) - 40


@pytest.mark.parametrize(
    ("text", "secrets", "clean"),
    [
        ("nothing here", [], "nothing here"),
        ("nothing here", ["", " ", "e", "not"], "nothing here"),
        ("a key1 b", ["key1\n"], "a *** b"),
        ("p%40ss%2Fword p@ss/word", ["p@ss/word"], "*** ***"),
        ("secret and secret-longer", ["secret", "secret-longer"], "*** and ***"),
        ("first-line | second-line", ["first-line\nsecond-line"], "*** | ***"),
    ],
)
def test_secrets_that_are_removed(text: str, secrets: list[str], clean: str) -> None:
    assert redact(text, secrets) == clean
