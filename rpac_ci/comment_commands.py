"""
The commands of a comment, and nothing that only looks like one.

A command is a line that starts with `/verb` in a paragraph at the top level of a comment, read as
CommonMark: not in code, quotes, lists, tables, headings, HTML comments, `<details>`, titles of
links or descriptions of images, and not in what the bot itself wrote. Its words are split as a
shell does it, without any expansion. Words that other programs read (`/lgtm`, `/usr/bin`) are left
alone unless one is nearly one of ours.

Comments are untrusted: nothing here raises, and the time is linear in the length. The Markdown
parser is imported only for comments in which a line looks like a command.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rpac_ci.command_table import VERBS, near
from rpac_ci.commands import Command, parse_words
from rpac_ci.errors import CommandError

MARKER = "<!-- rpac:"  # begins every comment of the bot
MAX_COMMANDS = 5
MAX_COMMENT = 65_536  # characters, as GitHub has it
MAX_LINE = 4096

MAX_PROBLEMS = 20  # that are told

_SLASHES = "/／⁄∕⧸╱"
_MAY_HOLD_ONE = re.compile(rf"^[^\w\n\u3164\uffa0]{{0,16}}[\u3164\uffa0{_SLASHES}]", re.MULTILINE)
_WORD = r"([A-Za-z][A-Za-z_-]{0,31})(?=[ \t]|$)"
_HEAD = re.compile(rf" {{0,3}}/{_WORD}")
_LOOKS_ALIKE = re.compile(rf" */{_WORD}")
# letters and marks that show nothing, though Python calls them printable
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# letters of other scripts that look like ours; Unicode's own table knows other forms of ours
_ALIKE = str.maketrans(
    "АВЕНІЈКМОРСТХЅаеорсухіјѕһԁԛԝɑıοαικνορτυ∕⧸⁄╱", "ABEHIJKMOPCTXSaeopcyxijshdqwaioaiknoptu////"
)
_BY_HAND = "write the line again by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """A command of a comment: as written, and in which line (from 1)."""

    command: Command
    text: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedComment:
    """
    What a comment asks for: commands or problems, never both.

    Problems and hints are plain text that may hold words of the comment.
    """

    commands: tuple[CommandLine, ...] = ()
    problems: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    understood: tuple[CommandLine, ...] = ()  # beside problems: to be looked at, not to be run


class _Candidate(NamedTuple):
    """A line that looks like a command, wherever it stands; with a problem it is none."""

    text: str
    problem: str = ""
    hint: str = ""


def is_own(body: str) -> bool:
    """Whether a comment is the bot's: nothing in it is a command."""
    return body.lstrip().startswith(MARKER)


def parse_comment(body: str, *, limit: int = MAX_COMMANDS) -> ParsedComment:
    """
    Find the commands of a comment.

    When anything is wrong with one of them, none is to be run: a person who made a slip in one line
    may have made another that shows in none.

    Args:
        body: Markdown, as GitHub has it.
        limit: how many commands a comment may hold; of more, none counts.

    Returns:
        The commands in their order, or every problem; neither for a comment without commands.
    """
    if is_own(body) or not _MAY_HOLD_ONE.search(body.replace("\r", "\n")):
        return ParsedComment()
    lines = re.split(r"\r\n|\r|\n", body)
    looked_at = ((number, _candidate(line)) for number, line in enumerate(lines))
    candidates = {number: candidate for number, candidate in looked_at if candidate}
    if not candidates:
        return ParsedComment()
    if len(body) > MAX_COMMENT:
        return _refused(f"the comment has more than {MAX_COMMENT} characters")

    from rpac_ci.comment_markdown import text_lines

    found = []
    for number, misplaced in sorted(text_lines(lines, candidates)):
        one = candidates[number]
        if not (misplaced and one.problem):
            found.append((number + 1, one._replace(problem=misplaced or one.problem)))
    if sum(not one.problem for _, one in found) > limit:
        return _refused(f"more than {limit} commands in one comment, so none of them is run")
    return _parse(found)


def parse_line(text: str) -> Command:
    """
    One command that is not part of a comment, with or without its slash.

    Raises:
        CommandError: with every problem found, one a line.
    """
    text = text.strip(" \t\r\n")
    if odd := _odd(text):
        raise CommandError(f"{_named(odd)} in a command", hint=_BY_HAND)
    if len(text) > MAX_LINE:
        raise CommandError(f"a command of more than {MAX_LINE} characters")
    try:
        words = shlex.split(text.removeprefix("/"), comments=False, posix=True)
    except ValueError as exc:
        raise CommandError("a quote is not closed, or a backslash stands at the end") from exc
    return parse_words(words)


def _parse(found: Sequence[tuple[int, _Candidate]]) -> ParsedComment:
    commands, problems, hints = [], [], []
    for number, one in found:
        told, hint = one.problem, one.hint
        if not told:
            try:
                command = parse_line(one.text)
                commands.append(CommandLine(command=command, text=one.text, line=number))
                continue
            except CommandError as exc:
                told, hint = exc.message, exc.hint.replace("usage: ", "usage: /")
        problems += [f"line {number}: {problem}" for problem in told.split("\n")]
        hints += [hint, _foreign_letters(one.text)]
    if not problems:
        return ParsedComment(commands=tuple(commands))
    if (more := len(problems) - MAX_PROBLEMS) > 0:
        problems[MAX_PROBLEMS:] = [f"and {more} more"]
    known = dict.fromkeys(hint for hint in hints[: 2 * MAX_PROBLEMS] if hint)
    return ParsedComment(problems=tuple(problems), hints=tuple(known), understood=tuple(commands))


def _refused(problem: str) -> ParsedComment:
    return ParsedComment(problems=(problem,))


def _candidate(line: str) -> _Candidate | None:
    """What a line would be if it stood in plain text."""
    odd = _odd(line)
    if not odd and (head := _HEAD.match(line)):
        return _spelled(line.strip(" \t"), head[1])
    if (line.isascii() and not odd) or not any(slash in line[:64] for slash in _SLASHES):
        return None
    seen = _LOOKS_ALIKE.match(_plain(line[:64]))
    meant = near(seen[1], VERBS) if seen else None
    if not meant:
        return None
    named = _named(odd or next(letter for letter in line if not letter.isascii()))
    return _Candidate("", f"{named} in what looks like /{meant}", _BY_HAND)


def _spelled(text: str, word: str) -> _Candidate | None:
    if word in VERBS:
        return _Candidate(text)
    if not (meant := near(word, VERBS)):
        return None  # of another program
    problem = f"there is no command '/{word}', did you mean '/{meant}'?"
    return _Candidate(text, problem, "commands are lower case" if word.lower() == meant else "")


def _odd(text: str) -> str:
    """The first character that does not show, or shows as something else than it is."""
    if text.isascii() and text.replace("\t", " ").isprintable():
        return ""
    letters = (c for c in text if c != "\t" and (not c.isprintable() or _INVISIBLE.match(c)))
    return next(letters, "")


def _plain(text: str) -> str:
    """A text as it looks, in ASCII as far as it looks like that."""
    spread = unicodedata.normalize("NFKD", text).translate(_ALIKE)
    visible = (c for c in spread if c.isspace() or (c.isprintable() and not _INVISIBLE.match(c)))
    return "".join(" " if c.isspace() else c for c in visible if not unicodedata.combining(c))


def _named(letter: str) -> str:
    name = unicodedata.name(letter, "")
    return f"U+{ord(letter):04X}" + (f" ({name})" if name else "")


def _foreign_letters(text: str) -> str:
    """Names them: what is wrong with `сloud=local` may be what it is written with."""
    named = [_named(letter) for letter in dict.fromkeys(text) if not letter.isascii()]
    return f"not ASCII: {', '.join(named[:3])}" if named else ""
