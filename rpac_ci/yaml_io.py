"""
YAML with positions: plain values for the models, line and column for the messages.

The only importer of ruamel. Files come from pull requests, so the reader is narrow on purpose:
no anchors and aliases (a few lines of them can expand to gigabytes), no tags, no duplicate keys,
bounded size and depth.
"""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from rpac_ci.canonical import Json
from rpac_ci.errors import ExperimentError, Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24

KeyPath = tuple[str | int, ...]
_PREFIX = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as plain values, with the position of every key and item."""

    file: str
    value: Json
    positions: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)

    def problem(self, path: KeyPath, what: str, right: str = "") -> Problem:
        """A `Problem` at the nearest place that is in the file: a missing key's parent, say."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.positions:
                line, column = self.positions[path[:end]]
                return Problem(file=self.file, line=line, column=column, what=what, right=right)
        return Problem(file=self.file, line=1, column=1, what=what, right=right)


def load(path: Path, *, shown_as: str = "") -> Document:
    """
    Read one YAML file.

    Raises:
        ExperimentError: unreadable, not UTF-8, not YAML, or more than the reader accepts.
    """
    name = shown_as or str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            # a pipe or a device could be read for ever
            raise _error(name, (1, 1), "not a regular file", "a file with YAML")
        if status.st_size > MAX_BYTES:
            raise _too_large(name, status.st_size)
        data = path.read_bytes()
    except OSError as exc:
        raise _error(name, (1, 1), f"cannot be read: {exc.strerror or exc}") from exc
    return loads(data, file=name)


def loads(data: bytes, *, file: str) -> Document:
    """Read YAML from bytes; see `load`."""
    if len(data) > MAX_BYTES:
        raise _too_large(file, len(data))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        where = _place(data[: exc.start].decode("utf-8", "replace"))
        raise _error(file, where, "not UTF-8 text", "save the file as UTF-8") from exc
    builder = _Builder(file)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else builder.place
        what = str(exc.problem or exc.context or "not YAML").strip()
        right = "indent with spaces" if "'\\t'" in what else ""
        raise _error(file, place, f"not YAML: {what}", right) from exc
    except ReaderError as exc:
        what = f"unacceptable character #x{ord(text[exc.position]):04x}"
        raise _error(file, _place(text[: exc.position]), f"not YAML: {what}") from exc
    except (YAMLError, ValueError, OverflowError, AssertionError) as exc:
        # ruamel's own slips, for instance on "\\U00110000"
        reason = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise _error(file, builder.place, f"not YAML: {reason[:200]}") from exc
    if builder.problems:
        raise ExperimentError(builder.problems)
    return Document(file, builder.value, builder.positions)


def with_value(text: str, path: tuple[str, str], value: Json, *, file: str) -> str:
    """
    A file's text with another value at one place, comments and all else as they are.

    Only the lines of the top-level key `path[0]` are written again, and the comments among them
    are kept.

    Args:
        text: of the file.
        path: a top-level key and a key in its mapping.
        value: plain values; None takes the key away, and its parent when that is empty then.
        file: its name, for messages.

    Raises:
        ExperimentError: the text is not YAML, or not written so that one part can be replaced (all
            of it in braces, for example); nobody's file is damaged for that.
    """
    document = loads(text.encode(), file=file)
    before = document.value if document.value is not None else {}
    if not isinstance(before, dict):
        raise ExperimentError([document.problem((), "not a mapping", "keys and values")])
    top, key = path
    parent = before.get(top)
    inner = {} if not isinstance(parent, dict) else dict(parent)
    inner.pop(key, None)
    if value is not None:
        inner[key] = value
    wanted = {name: one for name, one in before.items() if name != top}
    if inner:
        wanted[top] = inner
    begin, end = _lines_of(document, text, top)
    lines = text.splitlines(keepends=True)
    old = "".join(lines[begin:end])
    new = _rewritten(old, top, key, value) if inner else ""
    if old == "" and lines and not lines[-1].endswith("\n"):
        new = f"\n{new}"
    edited = "".join([*lines[:begin], new, *lines[end:]])
    try:
        right = (loads(edited.encode(), file=file).value or {}) == wanted
    except ExperimentError:
        right = False
    if not right:
        what = "cannot be changed in place"
        raise ExperimentError([document.problem((top,), what, "one key on each line")])
    return edited


def _lines_of(document: Document, text: str, top: str) -> tuple[int, int]:
    """The lines of a top-level key, without the comments and blank lines before the next one."""
    lines = text.splitlines()
    if (top,) not in document.positions:
        return len(lines), len(lines)
    begin = document.positions[(top,)][0] - 1
    later = [place[0] - 1 for key, place in document.positions.items() if len(key) == 1]
    end = min((line for line in later if line > begin), default=len(lines))
    while end - 1 > begin and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return begin, end


def _rewritten(old: str, top: str, key: str, value: Json) -> str:
    """The lines of one top-level key with another value in it; comments are kept."""
    yaml = YAML()  # the reader that keeps comments
    yaml.preserve_quotes = True
    yaml.width = 2**16  # lines are as long as people made them
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = yaml.load(old) if old else {}
    tree = tree if isinstance(tree, dict) else {}
    if not isinstance(tree.get(top), dict):
        tree[top] = {}
    parent = tree[top]
    if value is None:
        parent.pop(key, None)
    elif isinstance(value, dict) and isinstance(parent.get(key), dict):
        there = parent[key]
        for gone in [name for name in there if name not in value]:
            del there[gone]
        for name, one in value.items():
            if there.get(name) != one:
                there[name] = one
    else:
        parent[key] = value
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _too_large(file: str, size: int) -> ExperimentError:
    return _error(file, (1, 1), f"{size} bytes", f"at most {MAX_BYTES} bytes of YAML")


def _place(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _error(file: str, place: tuple[int, int], what: str, right: str = "") -> ExperimentError:
    line, column = place
    return ExperimentError([Problem(file=file, line=line, column=column, what=what, right=right)])


class _Builder:
    """
    Builds plain values from parse events, noting positions and problems on the way.

    Events come before anchors are resolved, so an alias is seen as what it is, at its place, and no
    nesting is deep enough to exhaust the stack.
    """

    def __init__(self, file: str) -> None:
        self.value: Json = None
        self.positions: dict[KeyPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self.place = (1, 1)
        self._file = file
        self._open: list[_Open] = []
        self._documents = 0

    def take(self, event: Any) -> None:
        """One event of the parser."""
        self.place = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _error(self._file, self.place, "another document", "one in each file")
        elif isinstance(event, AliasEvent):
            self._refuse("an alias", "write the value out")
            self._put(None)
        elif isinstance(event, ScalarEvent):
            self._put(event.value if self._expects_key() else self._scalar(event), event=event)
        elif isinstance(event, (SequenceStartEvent, MappingStartEvent)):
            self._start(event)
        elif isinstance(event, (SequenceEndEvent, MappingEndEvent)):
            self._open.pop()

    def _expects_key(self) -> bool:
        return bool(self._open) and self._open[-1].expects_key

    def _start(self, event: Any) -> None:
        is_list = isinstance(event, SequenceStartEvent)
        if len(self._open) >= MAX_DEPTH:
            right = f"at most {MAX_DEPTH} levels"
            raise ExperimentError([*self.problems, self._problem("nested too deeply", right)])
        if self._expects_key():
            self._refuse("a key that is not a word", "a word")
        if str(event.tag or "") not in ("", _PREFIX + ("seq" if is_list else "map")):
            self._refuse(f"the tag {event.tag}", "a plain value without tags")
        value: list[Json] | dict[str, Json] = [] if is_list else {}
        self._open.append(_Open(self._put(value), value))

    def _put(self, value: Json, *, event: Any = None) -> KeyPath:
        """Place a value in what is open; returns its path."""
        if not self._open:
            self.positions.setdefault((), self.place)
            self.value = value
            return ()
        parent = self._open[-1]
        if isinstance(parent.value, list):
            path: KeyPath = (*parent.path, len(parent.value))
            self.positions.setdefault(path, self.place)
            parent.value.append(value)
            return path
        if parent.expects_key:
            parent.key, parent.expects_key = self._key(event, value, parent), False
            return parent.path
        parent.expects_key = True
        path = (*parent.path, parent.key or "")
        if parent.key is not None:
            parent.value[parent.key] = value
        return path

    def _key(self, event: Any, value: Json, parent: _Open) -> str | None:
        """A mapping's next key; None when it is refused, and then its value is left out."""
        if event is None:
            return None
        if str(event.tag or "") not in ("", _PREFIX + "str"):
            self._refuse(f"the tag {event.tag}", "a plain value without tags")
        key = str(value)
        if key in parent.value:
            self._refuse(f"duplicate key {_short(key)}", "each key once")
            return None
        self.positions[(*parent.path, key)] = self.place
        return key

    def _scalar(self, event: Any) -> Json:
        text = str(event.value)
        kind = str(event.tag or "")
        if not kind:
            kind = _PREFIX + ("str" if event.style else _kind_of(text))
        name = kind.removeprefix(_PREFIX)
        if kind == name or name not in _SCALARS:
            self._refuse(f"the tag {event.tag}", "a plain value without tags")
            return None
        try:
            return _SCALARS[name](text)
        except (ValueError, KeyError):
            self._refuse(f"{_short(text)} is not a valid {name}", "a plain value")
            return None

    def _refuse(self, what: str, right: str) -> None:
        self.problems.append(self._problem(what, right))

    def _problem(self, what: str, right: str) -> Problem:
        line, column = self.place
        return Problem(file=self._file, line=line, column=column, what=what, right=right)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    path: KeyPath
    value: Any
    key: str | None = None
    expects_key: bool = field(init=False)

    def __post_init__(self) -> None:
        self.expects_key = isinstance(self.value, dict)


# YAML 1.2's core schema, whatever a %YAML directive says: `yes` is a word and 012 is twelve
_FORMS = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
}
_MAX_NUMBER = 320  # characters; more than any float needs


def _kind_of(text: str) -> str:
    return next((kind for kind, form in _FORMS.items() if form.fullmatch(text)), "str")


def _integer(text: str) -> int:
    if len(text) > _MAX_NUMBER or not _FORMS["int"].fullmatch(text):
        raise ValueError(text)
    if text[:2] in ("0o", "0x"):
        return int(text, 0)
    return int(text)


def _float(text: str) -> float:
    if len(text) > _MAX_NUMBER or not _FORMS["float"].fullmatch(text):
        raise ValueError(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Callable[[str], Json]] = {
    "null": lambda _: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": _integer,
    "float": _float,
    "str": str,
}


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
