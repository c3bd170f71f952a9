"""One table of commands: what is made of it fits what the parsers and the command line do."""

from __future__ import annotations

import shlex

import click
import pytest

from rpac_ci import filters
from rpac_ci.cli.group import cli
from rpac_ci.command_keys import KEYS
from rpac_ci.command_table import (
    KEYS_TOPIC,
    VERBS,
    Kind,
    Role,
    Verb,
    help_text,
    near,
    terminal_help,
    topic_of,
)
from rpac_ci.commands import Overrides, parse_words
from rpac_ci.comment_commands import ParsedComment, parse_comment
from rpac_ci.errors import CommandError

TOPICS = [None, *VERBS, KEYS_TOPIC]
verbs = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


def test_the_commands_and_who_may_use_them() -> None:
    assert {name: verb.role.value for name, verb in VERBS.items()} == {
        "reproduce": "write",
        "plan": "write",
        "approve": "maintain",
        "accept": "maintain",
        "status": "read",
        "cancel": "write",
        "history": "read",
        "compare": "read",
        "help": "read",
    }
    assert all(verb.comment for verb in VERBS.values())


def test_roles_include_those_below_them() -> None:
    roles = [Role.READ, Role.TRIAGE, Role.WRITE, Role.MAINTAIN, Role.ADMIN]
    assert list(Role) == roles
    for n, role in enumerate(roles):
        assert [role.includes(other) for other in roles] == [True] * (n + 1) + [False] * (4 - n)


@verbs
def test_examples_are_commands(verb: Verb) -> None:
    for example in verb.examples:
        assert parse_words(shlex.split(example)).verb == verb.name


@verbs
def test_arguments_that_may_be_left_out_come_last_and_the_rest_at_the_end(verb: Verb) -> None:
    required = [argument.required for argument in verb.arguments]
    assert required == sorted(required, reverse=True)
    assert not any(argument.kind.takes_the_rest for argument in verb.arguments[:-1])


@verbs
def test_descriptions_are_one_sentence(verb: Verb) -> None:
    assert verb.description.endswith(".")
    assert verb.description.count(". ") == 0
    assert "|" not in verb.description + verb.usage  # they stand in tables


def test_usage_shows_what_may_be_left_out() -> None:
    assert VERBS["reproduce"].usage == "reproduce <experiment>[@<run>] [key=value …]"
    assert VERBS["status"].usage == "status [<run>]"
    assert VERBS["compare"].usage == "compare <run> <run> [unfair=true]"


def test_every_kind_of_argument_is_used() -> None:
    assert {a.kind for verb in VERBS.values() for a in verb.arguments} == set(Kind)


def test_keys_are_those_of_the_overrides() -> None:
    fields = set(Overrides.__dataclass_fields__) - {"words"}
    assert {name.partition(".")[0] for name in KEYS} == fields | {"repeat"}
    assert " ".join(KEYS) == (
        "cloud region runtime engine nodes machine cpus memory gpus spot image seed repeat time "
        "cost sha args.<name> data.<name>"
    )


def test_the_filters_that_history_names_are_those_there_are() -> None:
    told = VERBS["history"].details[-1]
    assert told == f"Keys: `{' '.join(told[7:-2].split())}`."
    assert set(told[7:-2].split()) == set(filters.KEYS)


# --- the command line ---------------------------------------------------------------------------


def test_the_command_line_takes_its_help_from_the_table() -> None:
    shared = [name for name in VERBS if name in cli.commands and VERBS[name].terminal]
    assert {"reproduce", "plan", "accept", "history", "compare"} <= set(shared)
    for name in shared:
        assert cli.commands[name].help == terminal_help(name)


def test_what_is_for_comments_alone_is_not_in_the_command_line() -> None:
    only = {name for name, verb in VERBS.items() if not verb.terminal}
    assert only == {"approve", "help"}
    assert only & set(cli.commands) == set()


@pytest.mark.parametrize("name", ["reproduce", "history"])
def test_help_of_the_command_line(name: str) -> None:
    command = cli.commands[name]
    shown = command.get_help(click.Context(command, info_name=f"rpac {name}", max_content_width=80))
    assert VERBS[name].description in shown
    assert "`" not in shown
    lines = [line.strip() for line in shown.splitlines()]
    assert [f"rpac {example}" for example in VERBS[name].examples if len(example) < 60] == [
        line for line in lines if line.startswith("rpac ")
    ]


# --- /help --------------------------------------------------------------------------------------


def test_help_lists_every_command_with_its_role() -> None:
    text = help_text()
    for verb in VERBS.values():
        assert f"| `/{verb.usage}` | {verb.role} | {verb.description} |" in text


def test_help_shows_the_roles_of_the_site() -> None:
    assert "| `/approve <plan>` | admin |" in help_text(roles={"approve": "admin"})
    assert "who: admin" in help_text("approve", roles={"approve": "admin"})
    assert "who: maintain" in help_text("approve", roles={"plan": "admin"})


def test_help_on_one_command_has_its_examples() -> None:
    text = help_text("/reproduce")
    assert text.startswith("`/reproduce <experiment>[@<run>] [key=value …]` · who: write\n")
    for example in VERBS["reproduce"].examples:
        assert f"\n/{example}\n" in text


def test_help_on_keys_has_all_of_them() -> None:
    for name, key in KEYS.items():
        assert f"| `{name}` | {key.description} | `{key.shown_example}` |" in help_text(KEYS_TOPIC)


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize(
    "quoted",
    [
        pytest.param(lambda text: text, id="copied"),
        pytest.param(
            lambda text: "".join(f"> {line}\n" for line in text.splitlines()), id="quoted"
        ),
        pytest.param(lambda text: f"<!-- rpac: help -->\n{text}", id="as posted"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(lambda text: f"I read\n{text}\nand now?", id="between text"),
    ],
)
def test_help_runs_nothing_when_it_comes_back(topic: str | None, quoted: object) -> None:
    assert callable(quoted)
    assert parse_comment(quoted(help_text(topic))) == ParsedComment()


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("reproduc", "there is no help on 'reproduc', did you mean 'reproduce'?"),
        ("key", "there is no help on 'key', did you mean 'keys'?"),
        ("zzz", "there is no help on 'zzz'"),
        ("", "there is no help on ''"),
        ("//plan", "there is no help on '//plan', did you mean 'plan'?"),
        ("x" * 999, f"there is no help on '{'x' * 80}'"),
    ],
)
def test_no_help(topic: str, says: str) -> None:
    for ask in (topic_of, help_text):
        with pytest.raises(CommandError) as caught:
            ask(topic)
        assert caught.value.message == says
        assert caught.value.hint == "topics: " + " ".join([*VERBS, "keys"])


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("Reproduce", "reproduce"),
        ("reprodcue", "reproduce"),
        ("cance", "cancel"),
        ("lgtm", None),
        ("retest", None),
        ("path", None),
        ("assign", None),
        ("rerun", None),
    ],
)
def test_the_command_that_somebody_may_have_meant(word: str, meant: str | None) -> None:
    assert near(word, VERBS) == meant
