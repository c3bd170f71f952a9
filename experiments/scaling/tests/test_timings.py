"""Numbers and figure of a timeline done by hand."""

from pathlib import Path

import pytest
from PIL import Image

from figures import draw_timeline
from timings import Span, running, summarize

EDGES = [100.0, 104.0, 107.0]
SPANS = [
    Span(0, 0, "b:1", 100.5, 102.5),
    Span(0, 1, "a:1", 100.5, 103.5),
    Span(1, 0, "a:1", 104.5, 106.5),
    Span(1, 1, "b:1", 104.5, 105.5),
]


def test_busy_and_overhead_share_the_workers_time() -> None:
    summary = summarize("dask", SPANS, 1.25, EDGES)
    assert summary["workers"] == ["a:1", "b:1"]
    assert (summary["wall_s"], summary["busy_s"], summary["ready_s"]) == (7.0, 8.0, 1.25)
    assert summary["busy_share"] == pytest.approx(8 / 14, abs=1e-4)
    assert summary["overhead_per_task_s"] == pytest.approx((14 - 8) / 4)
    assert summary["rounds_s"] == [4.0, 3.0]
    first = summary["tasks"][0]
    assert first == {"round": 0, "task": 0, "worker": 1, "start_s": 0.5, "end_s": 2.5}


def test_tasks_at_once_rise_and_fall() -> None:
    moments = dict(running(SPANS))  # the last word on each moment
    assert moments == {100.5: 2, 102.5: 1, 103.5: 0, 104.5: 2, 105.5: 1, 106.5: 0}


@pytest.mark.parametrize("workers", [1, 40])
def test_the_figure_grows_with_the_workers_up_to_a_limit(tmp_path: Path, workers: int) -> None:
    spans = [Span(0, n, f"node-{n:02d}", 100.0 + n / 100, 103.0) for n in range(workers)]
    edges = [100.0, 104.0]
    path = tmp_path / "timeline.png"
    draw_timeline(path, spans, edges, summarize("process", spans, 0.1, edges))
    with Image.open(path) as picture:
        assert picture.width == 900
        assert 300 < picture.height < 1200
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 8
