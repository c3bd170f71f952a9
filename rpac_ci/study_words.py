"""
Words of a study: lists of values and repeats -> the words of each run. Pure.

`nodes=1,2 args.trees=50,150 repeat=3` are twelve runs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rpac_ci.command_keys import KEYS, REPEAT
from rpac_ci.errors import CommandError

if TYPE_CHECKING:
    from rpac_ci.pipeline import Definition

MAX_MEMBERS = 100
_ONE_VALUE = ("time", "cost", "sha")  # keys of which a list makes no sense


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What is varied: key -> values as typed, and how often each combination is run."""

    values: Mapping[str, Sequence[str]]
    fixed: Sequence[str]  # words with one value
    repeat: int

    @property
    def members(self) -> int:
        """How many runs that makes."""
        product = self.repeat
        for values in self.values.values():
            product *= len(values)
        return product


def axes(words: Sequence[str]) -> Axes | None:
    """
    The lists among the words of a command; None when there is none, so that it is one run.

    A comma separates values; `\\,` is a comma inside one.

    Raises:
        CommandError: an empty or repeated value, a list where one value is wanted, too many runs;
            all of it at once.
    """
    found, problems = split(words)
    if problems:
        raise CommandError("\n".join(problems))
    one = not found.values and not any(word.partition("=")[0] == REPEAT for word in words)
    return None if one else found


def split(words: Sequence[str]) -> tuple[Axes, list[str]]:
    """The lists among the words of a command, and what is wrong with them, one text for each."""
    values: dict[str, list[str]] = {}
    fixed, repeats, problems = [], list[int](), []
    for word in words:
        key, equals, text = word.partition("=")
        parts = [part.replace("\\,", ",") for part in re.split(r"(?<!\\),", text)]
        try:
            if key == REPEAT:
                repeats.append(_repeat(text, known=repeats))
            elif len(parts) == 1:
                fixed.append(key + equals + parts[0])
            else:
                values[key] = _list(key, parts, known=values)
        except ValueError as exc:
            problems.append(str(exc))
    found = Axes(values=values, fixed=fixed, repeat=repeats[0] if repeats else 1)
    if found.members > MAX_MEMBERS:
        problems.append(f"that makes {found.members} runs, at most {MAX_MEMBERS} in one study")
    return found, problems


def _repeat(text: str, known: Sequence[int]) -> int:
    if known:
        raise ValueError(
            f"{REPEAT} is given twice, expected a count such as {KEYS[REPEAT].example}"
        )
    try:
        read = KEYS[REPEAT].read(text)
    except ValueError as exc:
        raise ValueError(f"{REPEAT}: {exc}") from exc
    assert isinstance(read, int)
    return read


def _list(key: str, parts: list[str], known: Mapping[str, object]) -> list[str]:
    if key in _ONE_VALUE:
        raise ValueError(f"{key}: one value for the whole study, got a list")
    if key in known:
        raise ValueError(f"{key[:80]} is given twice")
    if "" in parts or len(set(parts)) != len(parts):
        given = ",".join(parts)[:80]
        raise ValueError(f"{key[:80]}: an empty value, or one that stands twice: {given!r}")
    return parts


def members(found: Axes, definition: Definition) -> list[tuple[str, ...]]:
    """
    The words of each run, in the order of the lists.

    Repeats are the same run again; where results are judged over seeds, the seed counts up.

    Raises:
        CommandError: a comma may be part of a text.
    """
    from rpac_ci.pipeline import varies_by_seed  # which imports what only runs need

    for key in found.values:
        family, _, name = key.partition(".")
        arg = definition.args.get(name) if family == "args" else None
        if arg and isinstance(arg.value, str) and "," in arg.value:
            raise CommandError(
                f"{key}: its declared value holds a comma, so is {','.join(found.values[key])!r} "
                "one text or a list?",
                hint="write '\\,' for a comma that belongs to the text",
            )
    count_up = found.repeat > 1 and varies_by_seed(definition) and "seed" not in found.values
    words = []
    for values in itertools.product(*found.values.values()):
        own = [f"{key}={value}" for key, value in zip(found.values, values, strict=True)]
        for n in range(found.repeat):
            seed = (
                [f"seed={definition.seed + n}"] if count_up and definition.seed is not None else []
            )
            words.append((*found.fixed, *own, *seed))
    return words


def changes_of(words: Sequence[str], found: Axes) -> dict[str, str]:
    """Of a member's words those that tell it from the others."""
    keys = {*found.values, "seed"}
    pairs = (word.partition("=")[::2] for word in words)
    return {key: value for key, value in pairs if key in keys}
