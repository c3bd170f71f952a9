"""Matching and average precision, by hand and against a plain calculation."""

import math

import numpy as np
import pytest
import torch

from boxes import overlap
from scores import Curve, Found, at_score, average_precision, curve, match


def found(rows: list[tuple[int, int, list[float], float]]) -> Found:
    image, kind, boxes, scores = zip(*rows, strict=True)
    return Found(torch.tensor(image), torch.tensor(kind), torch.tensor(boxes), torch.tensor(scores))


BOX, NEAR, FAR = [5.0, 5, 4, 4], [5.0, 5, 4, 5], [30.0, 30, 4, 4]


def test_a_detection_needs_the_image_the_class_and_the_place() -> None:
    truth = found([(0, 0, BOX, 1.0), (1, 1, BOX, 1.0)])
    rows = [(0, 0, NEAR, 0.9), (0, 1, BOX, 0.8), (1, 0, BOX, 0.7), (1, 1, FAR, 0.6), (2, 0, BOX, 1)]
    assert match(found(rows), truth, 0.5).tolist() == [0, -1, -1, -1, -1]


def test_the_better_score_takes_the_box_and_a_second_detection_is_false() -> None:
    truth = found([(0, 0, BOX, 1.0)])
    both = found([(0, 0, BOX, 0.3), (0, 0, NEAR, 0.9)])
    assert match(both, truth, 0.5).tolist() == [-1, 0]
    assert match(both, truth, 0.8).tolist() == [-1, 0]  # 16 of 20: exactly the threshold
    assert match(both, truth, 0.81).tolist() == [0, -1]  # now the better one misses it


def curve_of(right: list[bool], truths: int) -> Curve:
    hits = torch.tensor(right, dtype=torch.float64).cumsum(0)
    count = torch.arange(1, len(right) + 1, dtype=torch.float64)
    return Curve(torch.linspace(1, 0.1, len(right)), hits / count, hits / truths, truths)


@pytest.mark.parametrize(
    ("right", "truths", "expected"),
    [
        ([True, True], 2, 1.0),
        ([True, True], 4, 0.5),  # half is never found
        ([False, False], 3, 0.0),
        ([False, True], 1, 0.5),
        # recall 1/3, 1/3, 2/3, 2/3, 1 with best precision 1, 2/3, 3/5
        ([True, False, True, False, True], 3, (1 + 2 / 3 + 3 / 5) / 3),
        # the dip at the second is lifted to 3/4, which comes later
        ([True, False, True, True], 3, (1 + 3 / 4 + 3 / 4) / 3),
    ],
)
def test_average_precision_of_cases_done_by_hand(
    right: list[bool], truths: int, expected: float
) -> None:
    assert average_precision(curve_of(right, truths)) == pytest.approx(expected)


def test_no_detection_is_zero_and_no_truth_is_no_number() -> None:
    empty = torch.zeros(0, dtype=torch.float64)
    assert average_precision(Curve(empty, empty, empty, 3)) == 0.0
    assert math.isnan(average_precision(Curve(empty, empty, empty, 0)))
    assert at_score(Curve(empty, empty, empty, 3), 0.5) == (0.0, 0.0)


def plain_average_precision(boxes: Found, truth: Found, kind: int) -> float:
    """The definition word for word: for each recall the best precision at it or beyond."""
    order = sorted(range(len(boxes.scores)), key=lambda k: -boxes.scores[k].item())
    free, points, hits, taken = set(range(len(truth.scores))), [], 0, 0
    total = int((truth.kind == kind).sum())
    for number in order:
        if boxes.kind[number] != kind:
            continue
        taken += 1
        same = [
            t
            for t in range(len(truth.scores))
            if truth.kind[t] == kind and truth.image[t] == boxes.image[number]
        ]
        shares = [overlap(boxes.boxes[number], truth.boxes[t]).item() for t in same]
        if shares and max(shares) >= 0.5 and same[int(np.argmax(shares))] in free:
            free.remove(same[int(np.argmax(shares))])
            hits += 1
        points.append((hits / total, hits / taken))
    area, reached = 0.0, 0.0
    for recall in sorted({point[0] for point in points}):
        best = max(precision for r, precision in points if r >= recall)
        area, reached = area + (recall - reached) * best, recall
    return area


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = found(
        [
            (int(rng.integers(3)), int(rng.integers(2)), [*rng.uniform(0, 20, 2), 6.0, 6.0], 1.0)
            for _ in range(20)
        ]
    )
    near = rng.integers(20, size=50)
    boxes = torch.tensor(rng.normal(0, 1.5, (50, 4)) * [1, 1, 0.3, 0.3]) + truth.boxes[near]
    scores = torch.tensor(rng.permutation(50) / 50)
    boxes_found = Found(truth.image[near], truth.kind[near], boxes, scores)
    matched = match(boxes_found, truth, 0.5)
    for kind in (0, 1):
        of = curve(boxes_found, matched, truth, kind)
        expected = plain_average_precision(boxes_found, truth, kind)
        assert 0 < expected < 1
        assert average_precision(of) == pytest.approx(expected)


def test_precision_and_recall_at_a_score() -> None:
    of = curve_of([True, True, False, True], 5)._replace(scores=torch.tensor([0.9, 0.6, 0.5, 0.2]))
    assert at_score(of, 0.5) == pytest.approx((2 / 3, 2 / 5))
    assert at_score(of, 0.95) == (0.0, 0.0)
    assert at_score(of, 0.0) == pytest.approx((3 / 4, 3 / 5))
