"""
The commands of a comment: one test for each phrase, and the attacks of which nothing must come.

The ids of the tables begin with the number of the kind of attack: 1 to 3 code and quotes, 4 HTML,
5 links and images, 6 the bot's own words, 7 and 8 characters, 9 and 10 sizes, 11 to 20 words.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpac_ci.command_table import VERBS, help_text
from rpac_ci.commands import (
    Accept,
    Approve,
    Cancel,
    Command,
    Compare,
    Help,
    History,
    Plan,
    Reproduce,
    Status,
    Target,
)
from rpac_ci.comment_commands import (
    MAX_COMMENT,
    MAX_LINE,
    MAX_PROBLEMS,
    ParsedComment,
    is_own,
    parse_comment,
    parse_line,
)
from rpac_ci.errors import CommandError

RUN = "20260102T030405Z-0a1b2c3d"
NOTHING = ParsedComment()
EXP = Target("exp-42")


def commands(body: str) -> list[Command]:
    """What runs; a comment with problems runs nothing."""
    parsed = parse_comment(body)
    assert not parsed.problems
    return [found.command for found in parsed.commands]


def problems(body: str) -> list[str]:
    """What is wrong with a comment of which nothing runs."""
    parsed = parse_comment(body)
    assert parsed.commands == ()
    return list(parsed.problems)


# --- phrases ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("/reproduce exp-42", Reproduce(EXP)),
        (f"/reproduce exp-42@{RUN}", Reproduce(Target("exp-42", RUN))),
        ("/reproduce exp-42 cloud=local nodes=2", Reproduce(EXP, ("cloud=local", "nodes=2"))),
        ("/reproduce exp-42 nodes=1,2,4 repeat=3", Reproduce(EXP, ("nodes=1,2,4", "repeat=3"))),
        ("/plan exp-42 sha=1a2b3c4", Plan(EXP, ("sha=1a2b3c4",))),
        ("/approve 0123456789abcdef", Approve("0123456789abcdef")),
        (f"/accept {RUN}", Accept(RUN)),
        ("/status", Status()),
        ("/status 0a1b2c3d", Status("0a1b2c3d")),
        (f"/cancel {RUN}", Cancel(RUN)),
        ("/history", History()),
        ("/history exp-42 cloud=aws since=7d", History("exp-42", ("cloud=aws", "since=7d"))),
        ("/history metric.accuracy>0.9", History(None, ("metric.accuracy>0.9",))),
        (f"/compare {RUN} 4e5f6071", Compare(RUN, "4e5f6071")),
        ("/help", Help()),
        ("/help reproduce", Help("reproduce")),
        ("/help /reproduce", Help("reproduce")),
        ("/help keys", Help("keys")),
    ],
)  # fmt: skip
def test_a_phrase(line: str, command: Command) -> None:
    assert commands(line) == [command]
    assert parse_line(line) == command
    assert parse_line(line[1:]) == command


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("args.name='two words'", "args.name=two words"),
        ('args.name="two words"', "args.name=two words"),
        ("'args.name=two words'", "args.name=two words"),
        ("args.name=two\\ words", "args.name=two words"),
        ("args.name='a\\,b'", "args.name=a\\,b"),
        ("args.name='it'\"'\"'s'", "args.name=it's"),
        ("args.name=#1", "args.name=#1"),
        ("args.name=Überblick", "args.name=Überblick"),
        ("args.pattern=*.nc", "args.pattern=*.nc"),
        ("args.pattern=_a_*b*", "args.pattern=_a_*b*"),
        ("args.name=&amp;", "args.name=&amp;"),
        ("args.name=<b>", "args.name=<b>"),
        ("args.name=[a](b)", "args.name=[a](b)"),
        ("args.name=`a`", "args.name=`a`"),
        ("data.field=https://host/x?a=b&copy=1", "data.field=https://host/x?a=b&copy=1"),
    ],
)
def test_values_are_taken_as_a_shell_takes_them_without_expanding(words: str, value: str) -> None:
    assert commands(f"/reproduce exp-42 {words}") == [Reproduce(EXP, (value,))]


@pytest.mark.parametrize(
    "body",
    [
        "/help",
        "/help\n",
        "\n\n/help\n\n",
        "/help   ",
        "/help\t",
        "   /help",
        "/help\r\n",
        "/help\rthanks",
        "text before\n/help",
        "text before\n   /help\ntext after",
        "text **bold\n/help\nbold** text",
        "text  \n/help",
        "text\\\n/help",
        "# heading\n/help",
        "***\n/help",
        "> quoted\n\n/help",
        "```\ncode\n```\n/help",
        "- item\n\n/help",
        "<!-- hidden -->\n\n/help",
        "<!-- hidden -->\n/help",
        "<details>\n\nlong\n\n</details>\n\n/help",
        "<br>\n\n/help",
        "see <https://example.org> and <name@example.org>\n/help",
        "an <unknown> word\n/help",
        "[a]: https://example.org 'title'\n/help",
        "a `code` and ![image](x 'title')\n/help",
        "[[[[[[[[a]]]]]]]] [" + "[a]" * 99 + "\n/help",
        "5 < 6 and 7 > 6\n/help",
        "a | b\n--- | ---\n1 | 2\n\n/help",
        "- " * 30 + "deep\n\n/help",
        "".join("  " * depth + "- deep\n" for depth in range(30)) + "\n/help",
        "# Überschrift 🙂\n\n/help",
        "/lgtm\n/help",
        "/usr/bin/python\n/help",
    ],
)
def test_where_a_command_may_stand(body: str) -> None:
    assert commands(body) == [Help()]


def test_each_command_is_told_with_its_line_and_text() -> None:
    parsed = parse_comment("Hello\n\n  /plan exp-42  \r\n/reproduce exp-42 args.name='a b'\nBye")
    assert [(found.line, found.text) for found in parsed.commands] == [
        (3, "/plan exp-42"),
        (4, "/reproduce exp-42 args.name='a b'"),
    ]


# --- attacks ------------------------------------------------------------------------------------

IGNORED = {
    "1 fenced block": "```\n/reproduce exp-42\n```",
    "1 fence with tildes and a language": "~~~sh\n/reproduce exp-42\n~~~",
    "1 fence that is never closed": "text\n\n```\n/reproduce exp-42\n\n/help",
    "1 longer fence": "````\n```\n/reproduce exp-42\n```\n/help\n````",
    "1 indented block": "text\n\n    /reproduce exp-42",
    "1 indented by a tab": "text\n\n\t/reproduce exp-42",
    "1 indented behind a line of text": "text\n    /reproduce exp-42",
    "1 formula": "$$\n/reproduce exp-42\n$$",
    "2 quote": "> /reproduce exp-42",
    "2 quote without a space": ">/reproduce exp-42",
    "2 quote in a quote": "> > /reproduce exp-42\n> /help",
    "2 alert": "> [!NOTE]\n> /reproduce exp-42",
    "2 list": "- /reproduce exp-42\n* /help\n1. /help",
    "2 paragraph of a list": "- item\n\n  /reproduce exp-42",
    "2 footnote": "text[^1]\n\n[^1]: see\n/reproduce exp-42",
    "3 inline code": "`/reproduce exp-42`",
    "3 inline code over lines": "`see\n/reproduce exp-42\n`",
    "3 longer inline code": "``see `\n/reproduce exp-42\n``",
    "4 HTML comment": "<!-- /reproduce exp-42 -->",
    "4 HTML comment over lines": "<!--\n\n/reproduce exp-42\n\n-->",
    "4 HTML comment in a line": "text <!--\n/reproduce exp-42\n--> text",
    "4 HTML comment that is never closed": "<!--\n/reproduce exp-42",
    "4 details": "<details>\n/reproduce exp-42\n</details>",
    "4 details with Markdown in it": "<details><summary>s</summary>\n\n/help\n\n</details>",
    "4 details in capitals": "<DETAILS open>\n\n/reproduce exp-42\n\n</DETAILS>",
    "4 details in details": "<details>\n\n<details>\n\n</details>\n\n/help\n\n</details>",
    "4 details that only a comment closes": "<details> <!-- </details> -->\n\n/help\n\n</details>",
    "4 details that only a value closes": "<details a='</details>'>\n\n/help\n\n</details>",
    "4 details that only a quote closes": "<details>\n\n> </details>\n\n/help\n\n</details>",
    "4 details that begin in a line": "see <details>\n/reproduce exp-42\n</details>",
    "4 block of HTML": "<div>\n/reproduce exp-42\n</div>",
    "4 preformatted": "<pre>\n\n/reproduce exp-42\n\n</pre>",
    "4 code element over paragraphs": "<code>\n\n/reproduce exp-42\n\n</code>",
    "4 struck out": "<del>\n\n/reproduce exp-42\n\n</del>",
    "4 struck out by tildes": "~~old\n/reproduce exp-42\nold~~",
    "4 table": "| a | b |\n| --- | --- |\n/reproduce exp-42 | x\n",
    "4 head of a table": "/reproduce exp-42 | x\n--- | ---\n",
    "4 heading": "# /reproduce exp-42",
    "4 attribute": "text <a title='\n/reproduce exp-42\n'>x</a>",
    "5 title of a link": "[text](https://example.org '\n/reproduce exp-42\n')",
    "5 text of a link": "[text\n/reproduce exp-42\n](https://example.org)",
    "5 description of an image": "![text\n/reproduce exp-42\n](https://example.org/a.png)",
    "5 title of an image": '![text](https://example.org/a.png "\n/reproduce exp-42\n")',
    "5 title of a reference": "[a]: https://example.org '\n/reproduce exp-42\n'",
    "5 destination": "</reproduce exp-42>",
    "6 the bot's own comment": "<!-- rpac:run -->\n\n/reproduce exp-42",
    "6 the bot's own comment, quoted": "> <!-- rpac:run -->\n> /reproduce exp-42",
    "6 the bot's help": help_text("reproduce"),
    "7 a word joined by a no-break space": "see\u00a0/reproduce exp-42",
    "14 another program's": "/lgtm\n/retest\n/ok-to-test\n/cc @octokit",
    "15 paths": "/etc/passwd\n/status/1\n/help/index.html\n/reproduce/../x\n/",
    "21 a mention": "@octocat /reproduce exp-42",
    "22 template text": "${{ github.token }} {{ /reproduce exp-42 }}",
    "23 log lines": "::set-output name=a::/reproduce exp-42\n::add-mask::/help",
}


@pytest.mark.parametrize("body", IGNORED.values(), ids=IGNORED)
def test_what_is_not_a_command(body: str) -> None:
    assert parse_comment(body) == NOTHING
    assert parse_comment(body.replace("\n", "\r\n")) == NOTHING


ODD = {
    "7 no-break space": ("/reproduce\u00a0exp-42", "U+00A0 (NO-BREAK SPACE)"),
    "7 no-break space before": ("\u00a0/help", "U+00A0 (NO-BREAK SPACE)"),
    "7 zero width": ("/reproduce exp-42\u200b", "U+200B (ZERO WIDTH SPACE)"),
    "7 zero width in the verb": ("/repro\u200dduce x", "U+200D (ZERO WIDTH JOINER)"),
    "7 byte order mark": ("\ufeff/help", "U+FEFF (ZERO WIDTH NO-BREAK SPACE)"),
    "7 soft hyphen": ("/re\u00adproduce exp-42", "U+00AD (SOFT HYPHEN)"),
    "7 variation selector": ("/plan exp-42\ufe0f", "U+FE0F (VARIATION SELECTOR-16)"),
    "7 filler": ("\u3164/help", "U+3164 (HANGUL FILLER)"),
    "7 line separator": ("/help\u2028", "U+2028 (LINE SEPARATOR)"),
    "7 vertical tab": ("/help\x0bplan", "U+000B"),
    "7 indented": ("text\n    /help\u200b", "U+200B (ZERO WIDTH SPACE)"),
    "8 bidi override": ("/reproduce exp-42 args.x=\u202ea", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
    "8 bidi isolate": ("\u2066/help\u2069", "U+2066 (LEFT-TO-RIGHT ISOLATE)"),
    "8 Cyrillic verb": ("/\u0440l\u0430n exp-42", "U+0440 (CYRILLIC SMALL LETTER ER)"),
    "8 Greek letter": ("/\u03c1lan exp-42", "U+03C1 (GREEK SMALL LETTER RHO)"),
    "8 Cyrillic capital": ("/\u041dELP", "U+041D (CYRILLIC CAPITAL LETTER EN)"),
    "8 full-width slash": ("\uff0fplan exp-42", "U+FF0F (FULLWIDTH SOLIDUS)"),
    "8 division slash": ("\u2215plan exp-42", "U+2215 (DIVISION SLASH)"),
    "8 bold letter": ("/\U0001d429lan exp-42", "U+1D429 (MATHEMATICAL BOLD SMALL P)"),
    "8 accent": ("/r\u00e9produce exp-42", "U+00E9 (LATIN SMALL LETTER E WITH ACUTE)"),
    "8 slip": ("/repr\u043educ exp-42", "U+043E (CYRILLIC SMALL LETTER O)"),
    "15 NUL": ("/plan exp-42\x00", "U+0000"),
    "15 NUL in the verb": ("/pl\x00an exp-42", "U+0000"),
    "16 escape": ("/plan exp-42 args.x=\x1b[31m", "U+001B"),
    "half a pair": ("/plan exp-42 args.x=\ud83d", "U+D83D"),
}


@pytest.mark.parametrize(("body", "named"), ODD.values(), ids=ODD)
def test_characters_that_do_not_show_are_named(body: str, named: str) -> None:
    (told,) = problems(body)
    assert re.fullmatch(rf"line [12]: {re.escape(named)} in what looks like /[a-z]+", told)
    assert parse_comment(body).hints == ("write the line again by hand",)
    assert parse_comment(f"```\n{body}\n```") == NOTHING
    assert parse_comment(f"`text\n{body}\n`") == NOTHING


OPEN_QUOTE = "a quote is not closed, or a backslash stands at the end"
GOES_ON = "it goes on in the next line: code, a link, HTML or a backslash does not end with it"
LAZY = "line 2: without an empty line before it, it belongs to the quote or list above"
UNCLOSED = "line 3: it stands in HTML that is not closed, such as <details> without </details>"
DEEP = "line 2: too many brackets are open in its paragraph to say what is a link"
NO_TARGET = "expected <experiment> or <experiment>@<run>"
NO_WORD = "expected a lower-case word, for example cloud=local"
NO_INTEGER = "expected a whole number, for example nodes=4"
# the comment, and what is told; "line 1: " is left out
REFUSED = {
    "2 lazy line of a quote": ("> quoted\n/help", LAZY),
    "2 lazy line of a list": ("- item\n/help", LAZY),
    "3 code that begins in a command": ("/plan a args.x=`\n/plan b args.x=`", GOES_ON),
    "4 details that are never closed": ("<details>\n\n/help", UNCLOSED),
    "4 comment that a block leaves open": ("<div> <!-- </div>\n\n/help\n\n-->", UNCLOSED),
    "4 comment that a quoted block leaves open": ("> <div> <!--\n\n/help", UNCLOSED),
    "4 tag that is left open": ("<div title='\n\n/help", UNCLOSED),
    "4 heading by the line below": (
        "/help\n---",
        "the line below makes it a heading, put an empty line between",
    ),
    "5 link that begins in a command": ("/plan a args.x=[a\nb](c)", GOES_ON),
    "5 link in too many brackets": ("[" * 30 + "a](b '\n/help\n')", DEEP),
    "5 HTML in too many brackets": ("[" * 30 + "<details>\n\n/help", UNCLOSED),
    "8 key": ("/plan exp-42 \u0441loud=a", "unknown key '\u0441loud', did you mean 'cloud'?"),
    "11 unclosed quote": ("/plan exp-42 args.name='a b", OPEN_QUOTE),
    "11 backslash": ("/plan exp-42 \\", OPEN_QUOTE),
    "12 duplicate key": ("/plan exp-42 nodes=1 nodes=2", "nodes is given twice"),
    "12 duplicate argument": ("/plan exp-42 args.a=1 args.a=1", "args.a is given twice"),
    "13 empty value": ("/plan exp-42 args.name=", "args.name: the value is empty"),
    "13 empty value in quotes": ("/plan exp-42 args.name=''", "args.name: the value is empty"),
    "14 way out": ("/plan ../../.github", f"got '../../.github', {NO_TARGET}"),
    "14 key that is none": ("/plan exp=../../.github", f"got 'exp=../../.github', {NO_TARGET}"),
    "15 absolute path": ("/plan /etc/passwd", f"got '/etc/passwd', {NO_TARGET}"),
    "16 semicolon": ("/plan exp-42;ls", f"got 'exp-42;ls', {NO_TARGET}"),
    "16 semicolon apart": ("/plan exp-42 ; ls", "got ';', expected key=value",
                           "got 'ls', expected key=value"),
    "16 backticks": ("/plan `ls`", f"got '`ls`', {NO_TARGET}"),
    "16 dollar": ("/plan exp-42 nodes=$(ls)", f"nodes: got '$(ls)', {NO_INTEGER}"),
    "16 newline in a value": ("/plan exp-42 args.x='a\nb'", OPEN_QUOTE),
    "16 line that is continued": ("/plan exp-42 \\\nnodes=2", GOES_ON),
    "17 leading dash": ("/plan -oProxyCommand=ls", f"got '-oProxyCommand=ls', {NO_TARGET}"),
    "17 option": ("/plan exp-42 --dirty", "got '--dirty', expected key=value"),
    "18 case": ("/plan exp-42 cloud=AZURE ", f"cloud: got 'AZURE', {NO_WORD}"),
    "18 space": ("/plan exp-42 'cloud=azure '", f"cloud: got 'azure ', {NO_WORD}"),
    "20 1e999": ("/plan exp-42 nodes=1e999", f"nodes: got '1e999', {NO_INTEGER}"),
    "20 negative": (
        "/plan exp-42 nodes=-1",
        "nodes: got '-1', expected at least 1, for example nodes=4",
    ),
    "20 hexadecimal": ("/plan exp-42 nodes=0x10", f"nodes: got '0x10', {NO_INTEGER}"),
    "20 full width": ("/plan exp-42 nodes=\uff14", f"nodes: got '\uff14', {NO_INTEGER}"),
    "20 NaN": (
        "/plan exp-42 cost=NaN",
        "cost: got 'NaN', expected a price such as '5 USD', for example cost=5USD",
    ),
    "21 mention": ("/plan @everyone", f"got '@everyone', {NO_TARGET}"),
    "22 template text": ("/plan ${{github.token}}", f"got '${{{{github.token}}}}', {NO_TARGET}"),
    "47 plan id cut short": (
        "/approve 01234567",
        "got '01234567', expected the 16 lower-case hex digits of a plan",
    ),
    "57 image without digest": (
        "/plan exp-42 image=dask:latest",
        "image: got 'dask:latest', an image without a digest, which can change; "
        "expected name@sha256:<64 hex digits>, "
        "for example image=registry.example/lab/dask@sha256:8f0c4e2a…",
    ),
    "upper case": ("/Plan exp-42", "there is no command '/Plan', did you mean '/plan'?"),
    "slip": ("/plann exp-42", "there is no command '/plann', did you mean '/plan'?"),
}  # fmt: skip


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(row: tuple[str, ...]) -> None:
    body, *told = row
    expected = [one if one.startswith("line ") else f"line 1: {one}" for one in told]
    assert problems(body) == expected
    assert problems(body.replace("\n", "\r\n")) == expected


def test_one_problem_and_nothing_of_the_comment_is_run() -> None:
    assert problems("/plan exp-42\n\nthen\n\n/reproduce exp-42 node=2") == [
        "line 5: unknown key 'node', did you mean 'nodes'?"
    ]


def test_all_problems_are_told_at_once_with_what_would_be_right() -> None:
    parsed = parse_comment("/plan exp_42 node=2 cpus=0\n/Help\ntext\n/cancel \u0445")
    assert parsed.problems == (
        f"line 1: got 'exp_42', {NO_TARGET}",
        "line 1: unknown key 'node', did you mean 'nodes'?",
        "line 1: cpus: got '0', expected at least 1, for example cpus=2",
        "line 2: there is no command '/Help', did you mean '/help'?",
        "line 4: got '\u0445', expected the id of a run, or four or more letters of one end of it",
    )
    assert parsed.hints == (
        "usage: /plan <experiment>[@<run>] [key=value …]",
        "commands are lower case",
        "usage: /cancel <run>",
        "not ASCII: U+0445 (CYRILLIC SMALL LETTER HA)",
    )


def test_a_cloud_that_does_not_exist_is_left_to_the_plan() -> None:
    """19: which clouds there are is not a question of form."""
    assert commands("/plan exp-42 cloud=gcp") == [Plan(EXP, ("cloud=gcp",))]


@pytest.mark.parametrize("value", ["$(ls)", "${HOME}", ";ls", "a|b", "~", "*", "{{x}}", "::x::"])
def test_nothing_is_expanded(value: str) -> None:
    """16, 22: a value is text to whatever takes text; there is no shell."""
    assert commands(f"/plan exp-42 args.x='{value}'") == [Plan(EXP, (f"args.x={value}",))]
    assert commands(f"/plan exp-42 args.x={value}") == [Plan(EXP, (f"args.x={value}",))]


# --- limits -------------------------------------------------------------------------------------


def test_as_many_commands_as_the_limit_and_no_more() -> None:
    assert commands("/help\n" * 5) == [Help()] * 5
    assert problems("/help\n" * 6) == [
        "more than 5 commands in one comment, so none of them is run"
    ]
    assert parse_comment("/help\n/status", limit=1).problems == (
        "more than 1 commands in one comment, so none of them is run",
    )
    assert len(parse_comment("/help\n" * 9, limit=9).commands) == 9


def test_what_is_no_command_does_not_count() -> None:
    quoted = "> /help\n" * 20 + "\n" + "```\n" + "/help\n" * 20 + "```\n\n/help"
    assert commands(quoted) == [Help()]


def test_not_all_of_very_many_problems_are_told() -> None:
    told = problems("/Help\n" * 1000)
    assert told[:1] == ["line 1: there is no command '/Help', did you mean '/help'?"]
    assert told[MAX_PROBLEMS:] == [f"and {1000 - MAX_PROBLEMS} more"]


def test_a_line_and_a_comment_that_are_too_long() -> None:
    assert problems("/plan exp-42 " + "x" * MAX_LINE) == [
        f"line 1: a command of more than {MAX_LINE} characters"
    ]
    fits = "/help\n\n" + "x" * (MAX_COMMENT - 7)
    assert commands(fits) == [Help()]
    assert problems(fits + "x") == [f"the comment has more than {MAX_COMMENT} characters"]
    assert parse_comment("x" * (MAX_COMMENT + 9)) == NOTHING


LONG = {
    "9 text": "word " * 13_000 + "\n\n/help",
    "10 commands": "/help\n" * 10_000,
    "10 paragraphs of commands": "/help\n\n" * 9_000,
    "10 slips": "".join(f"/helpp{n}\n/x{n}\n" for n in range(4_000)),
    "brackets": "[" * 65_000 + "\n/help",
    "brackets in lines": "[\n" * 30_000 + "/help",
    "images": "![" * 32_000 + "\n/help",
    "brackets in pairs": ("[" * 10 + "]" * 10) * 3_200 + "\n/help",
    "nested links": ("[" * 10 + "](a)" * 10) * 1_300 + "\n/help",
    "links": "[a](" * 16_000 + "\n/help",
    "stars": "*" * 65_000 + "\n/help",
    "stars and letters": "*a_" * 20_000 + "\n/help",
    "tildes": "~~a" * 20_000 + "\n/help",
    "backticks": "".join("`" * n + "a" for n in range(1, 350)) + "\n/help",
    "angles": "<a " * 20_000 + "\n/help",
    "open values": "<a b='" * 10_000 + "\n/help",
    "open comments": "<!-- " * 13_000 + "\n/help",
    "HTML": "<div a='\n" * 7_000 + "\n/help",
    "tags": "<div></div>" * 5_000 + "\n\n/help",
    "quotes": ">" * 65_000 + "\n\n/help",
    "lists": "- " * 32_000 + "\n\n/help",
    "quotes in lines": "> " * 90 + "a\n" + ("> " * 90 + "a\n") * 330 + "\n/help",
    "deep lists": "".join("  " * depth + "- a\n" for depth in range(240)) + "\n/help",
    "quoted lists": "> - " * 16_000 + "\n\n/help",
    "items": "- a\n" * 16_000 + "\n/help",
    "tables": "a|b\n-|-\n" * 8_000 + "\n/help",
    "references": "[a]: b\n" * 9_000 + "\n/help",
    "open references": '[a]: b "\n' * 7_000 + "\n/help",
    "entities": "&a" * 32_000 + "\n/help",
    "zero width": "\u200b" * 65_000 + "\n/help",
    "other letters": "\u0440\n" * 30_000 + "/help",
    "quotes of a shell": "/plan exp-42 " + "'" * 60_000,
    "image names": "/plan exp-42 image=" + "a-" * 2_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("body", LONG.values(), ids=LONG)
def test_the_longest_comment_takes_no_long_time(body: str) -> None:
    """The slowest takes 0.6 s here; what is quadratic would take minutes."""
    before = time.process_time()
    parse_comment(body[-MAX_COMMENT:])
    assert time.process_time() - before < 10


# --- the bot's own words ------------------------------------------------------------------------


def test_what_the_bot_wrote_is_known_by_its_marker() -> None:
    assert is_own("<!-- rpac:run 1 -->\n/help")
    assert is_own("\n  <!-- rpac:help -->")
    assert not is_own("text <!-- rpac:run -->")
    assert not is_own("> <!-- rpac:run -->")
    assert not is_own("<!-- other -->")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no command ''"),
        ("plan exp-42\nnodes=2", "U+000A in a command"),
        ("plan exp-42\u200b", "U+200B (ZERO WIDTH SPACE) in a command"),
        ("//help", "there is no command '/help', did you mean 'help'?"),
        ("plan 'x", "a quote is not closed, or a backslash stands at the end"),
        ("rm -rf /", "there is no command 'rm'"),
    ],
)
def test_a_line_that_is_no_command(text: str, says: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_line(text)
    assert caught.value.message == says


def test_spaces_around_a_line_do_not_count() -> None:
    assert parse_line("  /help\tplan \r\n") == Help("plan")


# --- imports ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "loaded"),
    [
        ("Thanks, `a/b` looks good!\n\n- [x] done\n/lgtm\n/usr/bin/env", False),
        ("> /help\n\n    /help\n- /help", False),
        ("```\n/help\n```", True),
        ("/help", True),
        ("no slash at all", False),
    ],
)
def test_markdown_is_imported_only_for_what_may_be_a_command(body: str, loaded: bool) -> None:
    code = (
        "import sys; from rpac_ci.comment_commands import parse_comment; "
        "parse_comment(sys.argv[1]); "
        "print('markdown_it' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, body], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(loaded), "False"]


# --- properties ---------------------------------------------------------------------------------

COMMANDS = st.sampled_from(["/help", "/status", "/plan exp-42 nodes=2", f"/cancel {RUN}"])
TEXT = st.sampled_from(["text", "more *text*", "a `b` c", "/lgtm", "1 < 2", "[a](b 'c')", "ÄÖ 🙂"])
LINES = st.lists(COMMANDS | TEXT, min_size=1, max_size=4)


def _block(before: str, after: str, prefix: str = "") -> st.SearchStrategy[str]:
    return LINES.map(lambda some: "\n".join([before, *(prefix + line for line in some), after]))


SILENT = st.one_of(
    _block("```", "```"),
    _block("~~~ sh", "~~~"),
    _block("", "", prefix="    "),
    _block("", "", prefix="> "),
    _block("", "", prefix=">> "),
    _block("", "", prefix="- "),
    _block("", "", prefix="# "),
    _block("<!--", "-->"),
    _block("<details>\n<summary>x</summary>\n", "\n</details>"),
    _block("<details>\n", "\n</details>"),
    _block("<pre>", "</pre>"),
    _block("text `` `", "`` text"),
    _block("[text](x '", "')").filter(lambda text: "'c'" not in text),
    TEXT,
)


@given(st.lists(SILENT | COMMANDS.map(lambda line: ("run", line)), max_size=6), st.booleans())
def test_only_what_stands_in_plain_text_is_run(
    parts: list[str | tuple[str, str]], crlf: bool
) -> None:
    expected = [part[1] for part in parts if isinstance(part, tuple)]
    body = "\n\n".join(part[1] if isinstance(part, tuple) else part for part in parts)
    parsed = parse_comment(body.replace("\n", "\r\n") if crlf else body, limit=9)
    assert parsed.problems == ()
    assert [found.text for found in parsed.commands] == expected


PIECES = st.sampled_from(
    ["/help", "/plan exp-42", "/", "\n", "\n\n", "\r\n", " ", "    ", "\t", ">", "> ", "- ", "1. ",
     "```", "~~~", "`", "``", "<!--", "-->", "<details>", "</details>", "<div", "'", '"', "[", "](",
     ")", "![", "]: ", "\\", "*", "~~", "|", "-|-", "---", "===", "#", "$$", "[^1]:", "&", "\u200b",
     "\u00a0", "\x00", "\ud800", "\u202e", "\u0440", "é", "🙂", "<", ">", "<?", "<!X", "<![CDATA["]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=4), max_size=30).map("".join))
def test_any_text_is_parsed_without_an_error(body: str) -> None:
    parsed = parse_comment(body)
    assert not (parsed.commands and parsed.problems)
    lines = body.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for found in parsed.commands:
        assert lines[found.line - 1].strip(" \t") == found.text
        assert found.text.split()[0] == f"/{found.command.verb}"
        assert found.text.isprintable() or "\t" in found.text


@given(st.sampled_from(sorted(VERBS)), st.text(max_size=20))
def test_any_words_behind_a_verb_are_a_command_or_problems(verb: str, rest: str) -> None:
    parsed = parse_comment(f"/{verb} {rest}")
    first = f"/{verb} {rest}".replace("\r", "\n").split("\n")[0]
    assert all(found.line > 1 or found.text == first.strip(" \t") for found in parsed.commands)
