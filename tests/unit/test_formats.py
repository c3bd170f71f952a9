"""
Reports and timelines: equal records give equal files, and no text of a stranger shapes them.

After a change that is meant, `python -m tests.unit.test_formats` writes the golden files again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from html import escape
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rpac_ci.driver import load_pipeline
from rpac_ci.formats.markdown import TIMELINE, report
from rpac_ci.formats.markdown_parts import text
from rpac_ci.formats.timeline import timeline
from rpac_ci.pipeline import Pipeline
from rpac_ci.records import Phase, RunRecord
from tests.conftest import asset

FIGURES = ["figures/map.png"]
MARKDOWN = MarkdownIt("commonmark").enable("table")
SVG = "{http://www.w3.org/2000/svg}"

# what a stranger may try, in a title, a metric's name, a log
HOSTILE = [
    "| a | b |", "`", "```", "~~~~", "*x*", "__x__", "# x", "> x", "- x", "+ x", "1. x", "2) x",
    "---", "===", "<script>alert(1)</script>", "<!--", "</details>", "<details>", "[x](https://h/x)",
    "![x](https://h/x.png)", "[x]: https://h", "<https://h>", "&lt;b&gt;", "&#42;", "\\", "x\\",
    "\\|", "\n\n# x\n\n", "x\r\ny", "\ttab", "    code", "`|`", "~x~", "!", "${site.store}", "``x`",
]  # fmt: skip


def stored() -> tuple[RunRecord, Pipeline]:
    """The record and the pipeline of tests/assets."""
    record = RunRecord.model_validate(json.loads(asset("record.json").read_bytes()))
    return record, load_pipeline(asset("pipeline.yaml").read_bytes())


def with_texts(value: str, *, failed: bool = False) -> tuple[RunRecord, Pipeline]:
    """The same with one text wherever a person, a command or a machine has a say."""
    record, pipe = stored()
    raw: dict[str, Any] = json.loads(record.to_bytes())
    around, outcome, reference = raw["circumstances"], raw["outcome"], raw["reference"]
    raw["title"] = value
    around["requested"]["words"] = f"reproduce exp {value}"
    around["remarks"] = reference["remarks"] = [value]
    around["engine"]["versions"] = {"dask": value}
    around["packages"] = {"dask": value}
    around["python"] = value
    for node in around["nodes"]:
        node.update(cpu=value, system=value, kernel=value)
    outcome["metrics"] = {f"m{value}": {"value": 1, "unit": value}}
    outcome["extra"] = [value]
    reference["changed"] = {f"args.{value}": [value, value]}
    raw["identity"]["data"]["field"]["uri"] = f"file:{value}"
    raw["identity"]["environment"]["lock"] = "a" + value.replace("\\", "")
    check = raw["verdict"]["checks"][0]
    check.update(name=f"m{value}x", rule=value, unit=value, note=f"x{value}")
    raw["verdict"]["reason"] = value
    if failed:
        outcome.update(status="failed", reason="command failed", message=value, hint=value)
        outcome.update(log_tail=f"before\n{value}\nafter", exit_code=1)
        raw["verdict"]["checks"] = []
    data = {"field": pipe.data["field"].model_copy(update={"license": value, "doi": value})}
    return RunRecord.model_validate(raw), pipe.model_copy(update={"data": data})


def written(value: str, *, failed: bool = False) -> str:
    """The report with one text everywhere."""
    record, pipe = with_texts(value, failed=failed)
    return report(record, pipe, figures=FIGURES)


def flat(tokens: list[Token]) -> Iterator[Token]:
    """Tokens and those inside them."""
    for token in tokens:
        yield token
        yield from flat(token.children or [])


@cache
def shape(markdown: str) -> list[str]:
    """What a reader's program makes of it, without the words."""
    tokens = flat(MARKDOWN.parse(markdown))
    return [token.type for token in tokens if token.type not in ("text", "text_special")]


# --- the report ---------------------------------------------------------------------------------


def test_the_report_as_it_is_written() -> None:
    record, pipe = stored()
    assert report(record, pipe, figures=FIGURES) == asset("report.md").read_text(encoding="utf-8")


def test_the_sections_of_a_report() -> None:
    tokens = MARKDOWN.parse(asset("report.md").read_text(encoding="utf-8"))
    titles = [
        inline.content for opening, inline in pairwise(tokens) if opening.type == "heading_open"
    ]
    assert titles == [
        "exp: compared (variant)", "Checks", "What changed", "Figures", "Phases", "Nodes",
        "Inputs", "Outputs", "Software", "Repeat it",
    ]  # fmt: skip


def test_a_failed_run_says_why_and_shows_the_end_of_its_log() -> None:
    markdown = written("no space left", failed=True)
    assert "command failed: no space left" in markdown
    assert "Exit code of the command: 1" in markdown
    assert "What to try: no space left" in markdown
    assert "## Checks" not in markdown
    fences = [token.content for token in MARKDOWN.parse(markdown) if token.type == "fence"]
    assert fences[0] == "before\nno space left\nafter\n"


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("failed", [False, True])
def test_no_text_of_a_stranger_changes_the_shape_of_a_report(hostile: str, failed: bool) -> None:
    assert shape(written(hostile, failed=failed)) == shape(written("plain", failed=failed))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_log_is_shown_to_the_letter(hostile: str) -> None:
    tokens = MARKDOWN.parse(written(hostile, failed=True))
    log = next(token for token in tokens if token.type == "fence")
    expected = f"before\n{hostile}\nafter\n".replace("\r\n", "\n")
    assert log.content == expected


visible = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@given(st.text(visible, min_size=1))
@example("- x")
@example("+ x")
@example("1. x")
@example("1) x")
@example("---")
@example("=")
@example("a &amp; b")
@example("&#x41;")
@example("x\\")
def test_text_is_shown_as_it_is_on_one_line(value: str) -> None:
    shown = " ".join(value.split())
    expected = f"<p>{escape(shown, quote=False).replace(chr(34), '&quot;')}</p>\n" if shown else ""
    assert MARKDOWN.render(text(value)) == expected


@pytest.mark.parametrize(
    "name", ["map.png", "a b.png", "a>b).png", "[x](y).png", "é%20.png", "a&b.png"]
)
def test_every_link_stays_inside_the_runs_folder(name: str) -> None:
    record, pipe = stored()
    tokens = list(flat(MARKDOWN.parse(report(record, pipe, figures=[f"figures/{name}"]))))
    assert not [token for token in tokens if token.type == "link_open"]
    sources = [str(token.attrs["src"]) for token in tokens if token.type == "image"]
    assert len(sources) == 2
    assert sources[1] == TIMELINE
    for source in sources:
        assert source.startswith("figures/")
        assert ":" not in source
        assert ".." not in source


def test_what_is_not_known_is_not_made_up() -> None:
    record, pipe = stored()
    raw: dict[str, Any] = json.loads(record.to_bytes())
    raw["outcome"]["cost_usd"] = None
    raw["identity"]["source"]["commit"] = None
    raw["identity"]["environment"] = {"kind": "host"}
    raw["identity"]["data"]["field"].update(sha256=None, size=None)
    markdown = report(RunRecord.model_validate(raw), pipe, figures=[])
    assert "| Cost | unknown |" in markdown
    assert "| Code | no commit, content" in markdown
    assert "No environment is declared: the software is whatever the machine had." in markdown
    assert "`https://example.org/field.nc` | – | – | author |" in markdown
    assert "## Figures" not in markdown


def test_a_report_from_the_record_in_git_is_the_one_written_at_the_end_of_the_run() -> None:
    record, pipe = with_texts("x")
    again = RunRecord.model_validate(json.loads(record.to_bytes()))
    assert report(again, load_pipeline(pipe.to_bytes()), figures=FIGURES) == written("x")


# --- the timeline -------------------------------------------------------------------------------

names = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=12)
seconds = st.integers(0, 10**10).map(lambda milliseconds: milliseconds / 1000)
some_phases = st.lists(
    st.builds(
        Phase,
        name=names,
        start_s=seconds,
        duration_s=seconds,
        inside=st.sampled_from([None, "watch"]),
    ),
    max_size=8,
)


@given(some_phases, names)
@example([], "<&\"'>")
@example([Phase(name="<b>&", start_s=0.0, duration_s=0.0)], "x")
def test_a_timeline_is_well_formed_and_its_bars_lie_inside(phases: list[Phase], title: str) -> None:
    svg = timeline(phases, title=title)
    root = ET.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.attrib["aria-label"] == title
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    background, *bars = root.iter(f"{SVG}rect")
    assert float(background.attrib["width"]) == width
    assert len(bars) == len(phases)
    for bar in bars:
        assert 0 <= float(bar.attrib["x"]) <= float(bar.attrib["x"]) + float(bar.attrib["width"])
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width
        assert 0 <= float(bar.attrib["y"]) < height
    assert 1 <= len(list(root.iter(f"{SVG}line"))) <= 7


def test_equal_phases_are_equal_bytes_in_any_order() -> None:
    phases = stored()[0].circumstances.phases
    one = timeline(phases, title="phases of a run")
    assert timeline(phases, title="phases of a run") == one
    assert timeline(phases[::-1], title="phases of a run") == one


def test_a_timeline_names_every_phase_and_its_duration() -> None:
    phases = stored()[0].circumstances.phases
    words = [e.text for e in ET.fromstring(timeline(phases, title="t")).iter(f"{SVG}text")]
    assert words[0] == "t"
    for name, duration in (("stage", "2.2 s"), ("watch", "1 min 20 s"), ("command", "1 min 8 s")):
        assert words[words.index(name) + 1] == duration


if __name__ == "__main__":
    asset("report.md").write_text(report(*stored(), figures=FIGURES), encoding="utf-8")
