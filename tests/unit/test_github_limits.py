"""Text that fits: parts are short enough, whole in themselves, and together they say everything."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rpac_ci.formats import markdown_parts
from rpac_ci.github.limits import (
    CHECK_BYTES,
    COMMENT_CHARACTERS,
    SHORTEST,
    fit_bytes,
    fit_comment,
    mention_safe,
    split,
    table_safe,
)

COMMONMARK = MarkdownIt("commonmark").enable("table")
NOTE = "_Shortened: the whole text is in the report of the run._"
LINES = "\n".join(f"line {number}" for number in range(400))


def is_closed(part: str) -> bool:
    """Whether text after a part is a paragraph of its own: nothing of the part is left open."""
    tokens = COMMONMARK.parse(part + "\n\nsentinel\n")
    last = [token.type for token in tokens[-3:]]
    return last == ["paragraph_open", "inline", "paragraph_close"] and tokens[-2].level == 1 and (
        tokens[-2].content == "sentinel"
    )  # fmt: skip


def details(part: str) -> int:
    """How many details are left open."""
    return part.count("<details") - part.count("</details>")


def words(text: str) -> list[str]:
    """The numbered words of a text."""
    return re.findall(r"w\d+", text)


def test_what_fits_is_left_alone() -> None:
    text = "# Title\n\n```\ncode\n```\n"
    assert fit_comment(text) == text
    assert fit_bytes(text) == text
    assert split(text) == [text]
    exact = "x" * COMMENT_CHARACTERS
    assert fit_comment(exact) == exact
    assert len(fit_comment(exact + "x")) <= COMMENT_CHARACTERS


def test_what_does_not_fit_says_where_the_whole_is() -> None:
    fitted = fit_comment(LINES, 1000)
    assert fitted.startswith("line 0\nline 1\n")
    assert fitted.endswith(f"\n\n{NOTE}")
    assert 800 < len(fitted) <= 1000
    assert fit_comment(LINES, 1000, whole="[here](https://example.org)").endswith(
        "in [here](https://example.org)._"
    )
    assert len(fit_comment(LINES, 1000, whole="x" * 5000)) <= 1000


def test_bytes_are_not_characters() -> None:
    text = "🌊 über\n" * 10_000
    assert len(text) > CHECK_BYTES
    fitted = fit_bytes(text)
    assert CHECK_BYTES - 100 < len(fitted.encode()) <= CHECK_BYTES
    assert fitted.endswith(NOTE)
    emoji = "🌊" * 20_000  # passes a test of characters
    assert len(fit_bytes(emoji).encode()) <= CHECK_BYTES


def test_a_code_block_is_closed_and_opened_again() -> None:
    text = f"before\n\n````text\n{LINES}\n```\nno end\n````\n\nafter"
    parts = split(text, 1000)
    assert len(parts) > 3
    assert parts[0].startswith("before\n\n````text\nline 0\n")
    assert all(part.endswith("\n````") for part in parts[:-1])
    assert all(part.startswith("````text\nline ") for part in parts[1:])
    assert parts[-1].endswith("\n```\nno end\n````\n\nafter")
    assert fit_comment(text, 1000).endswith(f"\n````\n\n{NOTE}")


def test_details_are_closed_and_opened_again() -> None:
    text = markdown_parts.details("The log", f"```text\n{LINES}\n```") + "\n\nafter"
    parts = split(text, 1000)
    assert parts[0].startswith("<details><summary>The log</summary>\n\n```text\nline 0")
    assert all(part.endswith("\n```\n\n</details>") for part in parts[:-1])
    again = "<details><summary>The log (continued)</summary>\n\n```text\nline"
    assert all(part.startswith(again) for part in parts[1:])
    assert fit_comment(text, 1000).endswith(f"\n```\n\n</details>\n\n{NOTE}")


def test_a_table_has_its_header_in_every_part() -> None:
    rows = [(f"run {number}", "ok") for number in range(200)]
    parts = split(markdown_parts.table(("Run", "Verdict"), rows), 1000)
    assert len(parts) > 3
    for part in parts:
        assert part.startswith("| Run | Verdict |\n| --- | --- |\n| run ")
        assert COMMONMARK.render(part).count("<table>") == 1
        assert "<p>" not in COMMONMARK.render(part)


def test_parts_end_between_blocks_where_they_can() -> None:
    paragraph = "word " * 60
    parts = split("\n\n".join([paragraph.strip()] * 9), 1000)
    assert all(part.strip().count("\n\n") == 2 for part in parts)


def test_a_letter_a_flag_and_a_family_stay_whole() -> None:
    for sign in ("e\N{COMBINING ACUTE ACCENT}", "👨‍👩‍👧‍👦", "🇩🇪", "👍🏽", "\\*"):
        for shift in range(4):
            parts = split("x" * shift + sign * 700, 1000)
            assert "".join(parts) == "x" * shift + sign * 700
            for part in parts:
                assert part.lstrip("x").replace(sign, "") == ""


def test_a_long_line_is_cut_at_a_space() -> None:
    parts = split("lengthy " * 500, 1000)
    assert all(part.endswith("lengthy ") for part in parts[:-1])


def test_a_line_that_is_too_long_fills_the_part_it_begins_in() -> None:
    parts = split("# Title\n\n" + "word " * 400, 1000)
    assert len(parts[0]) > 700
    assert len(parts) == 3


def test_a_code_block_of_a_list_is_closed() -> None:
    parts = split(f"- item\n  ```text\n{LINES}\n  ```\n\nafter", 1000)
    assert all(is_closed(part) for part in parts)
    assert parts[-1].endswith("\n  ```\n\nafter")


def test_a_cut_line_opens_no_code_block() -> None:
    text = ("word " * 170 + "```x ") * 4
    for part in split(text, 1000):
        assert "<pre>" not in COMMONMARK.render(part)


@pytest.mark.parametrize("fence", ["`" * 5000, "~" * 5000, "  " + "`" * 61])
def test_a_fence_that_is_too_long_to_be_closed_is_text(fence: str) -> None:
    parts = split(f"{fence}\n{LINES}", 1000)
    assert all(len(part) <= 1000 and is_closed(part) for part in parts)
    assert sum(part.count(fence[-1]) for part in parts) == fence.count(fence[-1])


def test_an_open_html_comment_hides_nothing_that_comes_after() -> None:
    fitted = fit_comment(f"<!-- begin\n{LINES}\n-->\nafter", 1000)
    assert fitted.endswith(f"\n-->\n\n{NOTE}")


def test_text_that_github_would_refuse_is_made_acceptable() -> None:
    assert fit_comment("a\ud800b\0c\r\nd\re") == "a?b\N{REPLACEMENT CHARACTER}c\nd\ne"


@pytest.mark.parametrize("limit", [0, -1, SHORTEST - 1])
def test_there_is_a_limit_to_limits(limit: int) -> None:
    for function in (fit_comment, fit_bytes, split):
        with pytest.raises(ValueError, match="expected a limit of at least"):
            function("x", limit)


tricky = st.sampled_from(
    [
        "```", "~~~", "````text", "  ```", "```a`b", "- ```", "> ```", "    ```", "`````", "<!--",
        "-->",
        "<details><summary>More</summary>", "<details>", "</details>", "`<details>`", "| a | b |",
        "| --- | --- |", "---", "# title", "- item", "", "", "\\", "🇩🇪👍🏽é",
    ]
)  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Markdown with numbered words, some lines of it long."""
    number, lines = 0, []
    for _ in range(draw(st.integers(1, 40))):
        if draw(st.booleans()):
            lines.append(draw(tricky))
        else:
            count = draw(st.sampled_from([1, 10, 60, 400]))
            lines.append(" ".join(f"w{n}" for n in range(number, number + count)))
            number += count
    return "\n".join(lines)


@given(documents(), st.sampled_from([1000, 1500, 4000]))
def test_parts_fit_are_closed_and_lose_nothing(text: str, limit: int) -> None:
    parts = split(text, limit)
    for part in parts:
        assert len(part) <= limit
        assert is_closed(part) or parts == [text], part
    assert words(" ".join(parts)) == words(text)


@given(documents(), st.sampled_from([1000, 1500, 4000]))
def test_a_shortened_text_fits_and_its_note_is_seen(text: str, limit: int) -> None:
    for fitted, size in (
        (done := fit_comment(text, limit), len(done)),
        (done := fit_bytes(text, limit), len(done.encode())),
    ):
        assert size <= limit
        if fitted != text:
            assert f"<p><em>{NOTE[1:-1]}</em></p>" in COMMONMARK.render(fitted)
            assert words(fitted) == words(text)[: len(words(fitted))]


@given(st.text(max_size=4000), st.integers(1000, 2000))
def test_any_text_fits(text: str, limit: int) -> None:
    assert all(0 < len(part) <= limit for part in split(text * 3, limit)) or not text
    assert len(fit_bytes(text * 3, limit).encode()) <= limit


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("@octocat", "@&#8203;octocat"),
        ("a@b.org", "a@&#8203;b.org"),
        ("@octocat/team", "@&#8203;octocat/team"),
        ("fixes #1", "fixes \\#&#8203;1"),
        ("octocat/x#12", "octocat/x\\#&#8203;12"),
        ("closes GH-3", "closes GH-&#8203;3"),
        ("gh-3", "gh-&#8203;3"),
        ("https://github.com/o/r/issues/1", "https:&#8203;//github.com/o/r/issues/1"),
        ("www.example.org", "www&#8203;.example.org"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("a\nb\r\nc", "a b c"),
        ("| cell | **bold** [x](y)", "\\| cell \\| \\*\\*bold\\*\\* \\[x\\](y)"),
        ("a\u202eb\x1bc\ud800", "a\ufffdb\ufffdc?"),
        ("${{ secrets.X }} {{ x }}", "${{ secrets.X }} {{ x }}"),
        ("&#64;octocat", "\\&\\#&#8203;64;octocat"),
    ],
)
def test_text_of_others_has_no_effect(text: str, shown: str) -> None:
    assert mention_safe(text) == shown


@given(st.text() | st.text(alphabet="@#1aGH-:/w.x &;\\`"))
def test_no_text_of_others_is_a_reference(text: str) -> None:
    html = re.sub(r"<[^>]*>", "", COMMONMARK.render("x " + mention_safe(text)))
    assert not re.search(r"@\w|#\d|GH-\d|://|www\.", html.replace("&amp;", "&"), re.IGNORECASE)


def test_a_cell_is_short_and_one_cell() -> None:
    assert table_safe("a | b\nc") == "a \\| b c"
    assert table_safe("x" * 300) == "x" * 199 + "…"
    assert table_safe("🇩🇪" * 200) == "🇩🇪" * 99 + "…"


def test_a_long_report_is_shortened_at_once() -> None:
    hostile = ["`" * 30_000 + "a" * 30_000, "<details" * 9000, "`a``b" * 20_000, "\n" * 70_000,
               "|-" * 40_000, "\\" * 80_000, "\N{COMBINING ACUTE ACCENT}" * 80_000]  # fmt: skip
    for text in hostile:
        assert len(fit_comment(text * 2)) <= COMMENT_CHARACTERS
