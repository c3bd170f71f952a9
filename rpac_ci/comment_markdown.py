"""
Which lines of a Markdown text are plain text at its top level, read as CommonMark.

Imported only for comments that may hold a command: the parser takes 80 ms to load.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

LAZY = "without an empty line before it, it belongs to the quote or list above"
HEADING = "the line below makes it a heading, put an empty line between"
UNCLOSED = "it stands in HTML that is not closed, such as <details> without </details>"
DEEP = "too many brackets are open in its paragraph to say what is a link"
GOES_ON = "it goes on in the next line: code, a link, HTML or a backslash does not end with it"

_STARTS, _LINE, _BREAK = "rpac_starts", "rpac_line", "softbreak"
_MAX_NESTING = 100  # of lists and quotes, two for each list; what is deeper is not read
_MAX_BRACKETS = 10  # open at once: looking for links in links takes long, and then loses track
_FOOTNOTE = re.compile(r" {0,3}\[\^[^\]]+\]:")  # not CommonMark, but GitHub's
_INDENT = re.compile(r"\A {0,3}(?![ \t])")
# what is inside of these is quoted, hidden, or no plain text; their content may be Markdown
_CONTAINERS = re.compile(
    "blockquote|code|del|details|div|dl|figure|iframe|kbd|math|noscript|object|ol|picture|plaintext"
    "|pre|q|s|samp|script|select|span|strike|style|sub|summary|sup|svg|table|template|textarea"
    "|title|tt|ul|var|xmp",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(?:(!--)|([!?]|/(?![A-Za-z]))|(/?)([A-Za-z][^\s/>]*))")
_COMMENT_END = re.compile("--!?>")
_TAG_REST = re.compile(r"""(?:[^"'>]|"[^"]*"|'[^']*')*+>""")


def text_lines(lines: Sequence[str], wanted: Collection[int]) -> Iterator[tuple[int, str]]:
    """
    Those of the wanted lines that are plain text in a paragraph at the top level.

    Args:
        lines: of the Markdown, without their ends.
        wanted: numbers of lines, from 0.

    Yields:
        The line's number, and what keeps it from standing alone: "" when nothing does. Lines in
        code, quotes, lists, tables, headings and HTML are left out, except where they are in it
        only by a rule of Markdown that few people know.
    """
    markdown, env, tokens = _markdown(), dict[str, Any](), list[Token]()
    markdown.block.parse("\n".join(lines), markdown, env, tokens)
    html = _Html()
    for token in tokens:
        own = [n for n in range(*(token.map or (0, 0))) if n in wanted]
        if token.type == "html_block":
            html.read(token.content, closed_by_container=token.level > 0)
        elif token.type == "paragraph_open" and token.level == 0:
            assert token.map
            yield from _of_paragraph(lines, range(*token.map), wanted, env, html)
        elif token.type == "paragraph_open":
            yield from ((n, LAZY) for n in own if lines[n].startswith("/") and html.shows(n))
        elif token.type == "heading_open" and token.level == 0 and token.markup in ("=", "-"):
            yield from ((n, HEADING) for n in own if html.shows(n))
    yield from ((n, UNCLOSED) for n in html.hidden)


def _of_paragraph(
    lines: Sequence[str], own: range, wanted: Collection[int], env: dict[str, Any], html: _Html
) -> Iterator[tuple[int, str]]:
    starts: dict[int, int] = {}
    text = ""
    special = _is_footnote_or_formula(lines, own)
    for n in own:
        if n in wanted and not special:
            starts[len(text)] = n
        text += _INDENT.sub("", lines[n]) + "\n"
    text = text.removesuffix("\n")
    if not starts and "<" not in text:
        return
    if _open_brackets(text) > _MAX_BRACKETS:
        html.broken |= "<" in text
        yield from ((n, DEEP) for n in starts.values())
        return
    markdown, children = _markdown(), list[Token]()
    markdown.inline.parse(text, markdown, {**env, _STARTS: starts}, children)
    plain = [child for child in children if child.level == 0]
    breaks = {child.meta["at"] for child in plain if child.type == _BREAK and child.meta}
    for child in children:
        if child.type == "html_inline":
            html.read(child.content)
        elif child.type == _LINE and child.level == 0 and html.shows(starts[child.meta["at"]]):
            end = text.find("\n", child.meta["at"])
            yield starts[child.meta["at"]], "" if end == -1 or end in breaks else GOES_ON


def _open_brackets(text: str) -> int:
    """How many are open at most."""
    most = depth = 0
    for bracket in re.findall(r"[\[\]]", text):
        depth = depth + 1 if bracket == "[" else max(0, depth - 1)
        most = max(most, depth)
    return most


def _is_footnote_or_formula(lines: Sequence[str], own: range) -> bool:
    return any(_FOOTNOTE.match(line) for line in lines[max(own.start - 1, 0) : own.stop]) or any(
        lines[n].strip().startswith("$$") for n in own
    )


@functools.cache
def _markdown() -> MarkdownIt:
    """
    CommonMark with GitHub's tables and struck out text.

    Emphasis is left out, since `*.nc` in two commands is none. Two rules note where lines start
    and end: text in code, titles and descriptions never comes to them.
    """
    markdown = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING})
    markdown.enable(["table", "strikethrough"]).disable("emphasis")
    markdown.inline.ruler.before("text", "rpac_line", _line)
    markdown.inline.ruler.at("newline", _newline)
    return markdown


def _line(state: StateInline, silent: bool) -> bool:
    if state.pos not in state.env.get(_STARTS, ()):
        return False
    if not silent:
        state.push(_LINE, "", 0).meta = {"at": state.pos}
    state.pos += 1
    return True


def _newline(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "\n":
        return False
    if not silent:
        state.push(_BREAK, "br", 0).meta = {"at": state.pos}
    state.pos += 1
    return True


class _Html:
    """Which elements are open behind the HTML that was read."""

    def __init__(self) -> None:
        self.hidden: list[int] = []  # lines asked for in what has not been closed yet
        self._elements: Counter[str] = Counter()
        self.broken = False  # nobody knows what is open from here on

    def shows(self, number: int) -> bool:
        """Whether a line that comes now is inside of nothing."""
        if self._open:
            self.hidden.append(number)
        return not self._open

    @property
    def _open(self) -> bool:
        return self.broken or any(self._elements.values())

    def read(self, html: str, *, closed_by_container: bool = False) -> None:
        """
        Take in the next piece.

        Args:
            html: of a block or of one tag.
            closed_by_container: elements left open end with the quote or list around them.
        """
        at = 0
        while tag := _TAG.search(html, at):
            at = _end_of(html, tag)
            if at == -1:
                self.broken = True
                return
            name = tag[4] or ""
            if _CONTAINERS.fullmatch(name) and not closed_by_container:
                self._count(name.lower(), -1 if tag[3] else 1)
        if not self._open:
            self.hidden.clear()

    def _count(self, name: str, more: int) -> None:
        self._elements[name] = max(0, self._elements[name] + more)


def _end_of(html: str, tag: re.Match[str]) -> int:
    """Where a tag or comment ends; -1 when it does not."""
    if tag[4]:
        rest = _TAG_REST.match(html, tag.end())
        return rest.end() if rest else -1
    if tag[1]:
        end = _COMMENT_END.search(html, tag.end() - 2)  # <!--> is a whole one
        return end.end() if end else -1
    return html.find(">", tag.end()) + 1 or -1
