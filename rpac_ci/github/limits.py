"""
What fits into GitHub's text fields, and text of others that does nothing there.

A comment holds 65,536 characters, a summary of a check run 65,535 bytes. What is longer is
shortened or split between blocks; open code blocks, `<details>`, tables and HTML comments are
closed at the end of a part and opened again in the next one. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

COMMENT_CHARACTERS = 65_536
CHECK_BYTES = 65_535
SHORTEST = 1000  # nothing is fitted into less: what closes and opens blocks needs room, too

Measure: TypeAlias = Callable[[str], int]

_MAX_FENCE = 60  # a longer one could not be closed in a small part; it is shown as text
_MAX_DETAILS = 4  # nested more deeply they stay open, and GitHub closes them
_MAX_TITLE = 40
_MAX_HEADER = 120
_MAX_TAG_LINE = 10_000  # a longer line is none of ours, and looking for tags in it takes long
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)")
_LONG_FENCE = re.compile(r" {0,3}(`{61}|~{61})")
_COMMENT = re.compile(r" {0,3}<!--")
# https://spec.commonmark.org/0.31.2/#html-blocks, kind 6
_HTML_BLOCK = re.compile(
    r" {0,3}</?(address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|"
    r"details|dialog|dir|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|"
    r"head|header|hr|html|iframe|legend|li|link|main|menu|menuitem|nav|noframes|ol|optgroup|option|"
    r"p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul)(\s|/?>|$)",
    re.IGNORECASE,
)
_DETAILS = re.compile(r"<(/?)details\b[^>]*>", re.IGNORECASE)
_SUMMARY = re.compile(r"<summary>([^<>]*)</summary>", re.IGNORECASE)
_CODE = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)")
_TABLE_RULE = re.compile(r" {0,3}\|?( *:?-+:? *\|)+( *:?-+:? *)?")
_JOINED = re.compile("[\u200c\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
_FLAGS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
_ZERO = "&#8203;"  # a space without width, as others use it to stop GitHub's references


def fit_comment(
    markdown: str, limit: int = COMMENT_CHARACTERS, *, whole: str = "the report of the run"
) -> str:
    """
    Markdown that fits into a comment.

    Args:
        markdown: of any length.
        limit: in characters.
        whole: where the whole text is, as Markdown; said when the text was shortened.
    """
    return _fit(markdown, limit, len, whole)


def fit_bytes(
    markdown: str, limit: int = CHECK_BYTES, *, whole: str = "the report of the run"
) -> str:
    """Markdown that fits into a field which is limited in bytes; otherwise as `fit_comment`."""
    return _fit(markdown, limit, _bytes, whole)


def split(markdown: str, limit: int = COMMENT_CHARACTERS) -> list[str]:
    """
    Markdown in parts that stand alone; nothing of it is lost.

    Args:
        markdown: of any length.
        limit: of a part, in characters.
    """
    _require(limit)
    text = _clean(markdown)
    return [text] if len(text) <= limit else list(_parts(text, limit, len))


def mention_safe(text: str) -> str:
    """
    Text of others as one line of Markdown, shown as it is and without effect: nobody is notified,
    no issue, pull request or address is linked, nothing is closed, and no letters are turned round.

    A backslash or an entity would not do: GitHub looks for references after rendering.
    """
    from rpac_ci.formats import markdown_parts

    shown = markdown_parts.text(_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", _clean(text)))
    shown = re.sub(r"@(?=\w)", f"@{_ZERO}", shown)
    shown = re.sub(r"(\\#|(?i:\bGH-))(?=\d)", rf"\1{_ZERO}", shown)
    return re.sub(r"(?i)(?<=:)(?=//)|(?<=\bwww)(?=\.)", _ZERO, shown)


def table_safe(text: str, limit: int = 200) -> str:
    """Text of others as a cell of a table, no longer than the limit before it is escaped."""
    flat = " ".join(_clean(text).split())
    if len(flat) > limit:
        flat = flat[: _whole_letters(flat, limit - 1)] + "…"
    return mention_safe(flat)


@dataclass(frozen=True, slots=True)
class _Open:
    """What is open after a line."""

    fence: str = ""
    info: str = ""
    details: tuple[str, ...] = ()  # titles
    table: tuple[str, ...] = ()  # header and rule
    html: bool = False  # until the next empty line no fence begins
    comment: bool = False
    last: str = ""

    def after(self, line: str) -> _Open:
        """What is open after one more line."""
        if self.fence:
            return self._in_fence(line)
        if self.comment:
            return replace(self, comment="-->" not in line)
        if not self.html and _COMMENT.match(line):
            return replace(self, comment="-->" not in line, table=(), last="")
        if not self.html and (match := _FENCE.fullmatch(line)):
            fence, info = match[1], match[2].strip().split(" ")[0][:20]
            return replace(self, fence=fence, info=info, table=(), last="")
        html = bool(line.strip()) and (self.html or bool(_HTML_BLOCK.match(line)))
        return replace(
            self, details=self._details(line), table=self._table(line), html=html, last=line
        )

    def at_margin(self, line: str) -> str:
        """
        The line, without indentation where it begins a code block.

        An indented one may belong to an item of a list, which ends it where nobody says so.
        """
        begins = not (self.fence or self.comment or self.html) and _FENCE.fullmatch(line)
        return line.lstrip(" ") if begins else line

    def closing(self) -> str:
        """The lines that close it all."""
        ends = [self.fence] if self.fence else []
        ends += ["-->"] if self.comment else []
        if self.details:
            ends += ["", *["</details>"] * len(self.details)]
        return "".join(f"\n{end}" for end in ends)

    def opening(self) -> str:
        """The lines that open it again."""
        lines = [f"<details><summary>{title} (continued)</summary>\n" for title in self.details]
        if self.fence:
            lines.append(self.fence + self.info)
        elif self.comment:
            lines.append("<!--")
        else:
            lines += self.table
        return "".join(f"{line}\n" for line in lines)

    def again(self) -> _Open:
        """What is open after `opening()`: blank lines have ended blocks of HTML."""
        return replace(self, html=False, last=self.table[-1] if self.table else "")

    @property
    def is_between(self) -> bool:
        """Whether nothing is torn apart here."""
        return not (self.fence or self.comment or self.table or self.html)

    def _in_fence(self, line: str) -> _Open:
        bare = line.strip()
        closes = set(bare) == {self.fence[0]} and len(bare) >= len(self.fence)
        closes = closes and not line.startswith(" " * 4)
        return replace(self, fence="", info="") if closes else self

    def _details(self, line: str) -> tuple[str, ...]:
        found = self.details
        if "details" not in line.lower() or len(line) > _MAX_TAG_LINE:
            return found
        summary = _SUMMARY.search(line)
        title = summary[1].strip()[:_MAX_TITLE] if summary else ""
        for end in _DETAILS.findall(_CODE.sub("", line)):
            found = found[:-1] if end else (*found, title or "…")
        return found[:_MAX_DETAILS]

    def _table(self, line: str) -> tuple[str, ...]:
        if self.table:
            return self.table if "|" in line else ()
        begins = "|" in self.last and _TABLE_RULE.fullmatch(line)
        return (self.last, line) if begins and len(self.last) + len(line) < _MAX_HEADER else ()


def _fit(markdown: str, limit: int, measure: Measure, whole: str) -> str:
    _require(limit)
    text = _clean(markdown)
    if measure(text) <= limit:
        return text
    note = f"\n\n_Shortened: the whole text is in {whole}._"
    if measure(note) > limit // 4:
        note = "\n\n_Shortened._"
    return next(_parts(text, limit - measure(note), measure)) + note


def _require(limit: int) -> None:
    if limit < SHORTEST:
        raise ValueError(f"got {limit}, expected a limit of at least {SHORTEST}")


def _parts(text: str, limit: int, measure: Measure) -> Iterator[str]:
    lines, at, state = text.split("\n"), 0, _Open()
    while at < len(lines):
        opening, state = state.opening(), state.again()
        room = limit - measure(opening)
        count, used, state = _fitting(lines, at, state, room, measure)
        if used <= room // 2 and (following := at + count) < len(lines):
            left = room - used - 1
            lines[following : following + 1] = _divided(lines[following], state, left, measure)
            count, state = count + 1, state.after(lines[following])
        yield opening + "\n".join(lines[at : at + count]) + state.closing()
        at += count
        while state.is_between and at < len(lines) and not lines[at]:
            at += 1


def _fitting(
    lines: list[str], at: int, state: _Open, room: int, measure: Measure
) -> tuple[int, int, _Open]:
    """How many lines go into the room, best to the end of a block; their size; what is open."""
    size, taken, best = -1, (0, 0, state), (0, 0, state)
    for number in range(at, len(lines)):
        line = lines[number] = state.at_margin(lines[number])
        if _LONG_FENCE.match(line) and not state.fence:
            break  # shown as text, by `_divided`
        state = state.after(line)
        size += measure(line) + 1
        if size + measure(state.closing()) > room:
            break
        taken = (number - at + 1, size, state)
        if state.is_between and not line and size > room // 2:
            best = taken
    else:
        return taken
    return best if best[0] else taken


def _divided(line: str, state: _Open, room: int, measure: Measure) -> list[str]:
    """A line that is too long for the room: a piece that is not, and the rest."""
    line = state.at_margin(line)
    if not state.fence and _LONG_FENCE.match(line):
        line = "\\" + line.lstrip()
    room -= measure(state.closing()) + measure("\n</details>") + 2 * _MAX_FENCE
    if measure(line) <= room:
        return [line]
    end = len(line[:room].encode()[:room].decode("utf-8", "ignore")) if measure is _bytes else room
    end = _whole_letters(line, end)
    space = line.rfind(" ", end - 100, end)
    end = space + 1 if space > 0 and line[:space].strip() else end
    rest = line[end:]
    if not state.fence and (_FENCE.match(rest) or _COMMENT.match(rest)):
        rest = "\\" + rest.lstrip()
    return [line[:end], rest]


def _whole_letters(line: str, end: int) -> int:
    """Where to cut at or before a place so that no letter, sign or escape falls apart."""
    for at in range(end, max(0, end - 40), -1):
        if at >= len(line):
            return at
        before = line[:at]
        if not (
            unicodedata.combining(line[at])
            or _JOINED.match(line[at])
            or line[at - 1] == "\u200d"
            or (line[at] in _FLAGS and (at - len(before.rstrip(_FLAGS))) % 2)
            or (at - len(before.rstrip("\\"))) % 2
        ):
            return at
    return end


def _clean(text: str) -> str:
    """Text that GitHub takes: valid Unicode, without NUL, with one kind of line end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode()


def _bytes(text: str) -> int:
    return len(text.encode())
