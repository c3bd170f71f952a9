"""Overlap, suppression, and boxes as the head writes them."""

import pytest
import torch

from boxes import decode, encode, overlap, suppress
from loss import generalised_overlap


def random_boxes(count: int, seed: int, side: float = 40.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = side * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    return torch.cat([centre, 1 + 14 * torch.rand(count, 2, generator=generator)], dim=1)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([5, 5, 4, 4], 1.0),
        ([7, 5, 4, 4], 8 / 24),  # half of each is shared
        ([5, 5, 2, 2], 4 / 16),  # one in the other
        ([9, 5, 4, 4], 0.0),  # they touch
        ([20, 20, 4, 4], 0.0),
        ([6, 6, 4, 4], 9 / 23),
        ([5, 5, 0, 0], 0.0),
    ],
)
def test_overlap_of_cases_done_by_hand(other: list[float], expected: float) -> None:
    mine, theirs = torch.tensor([5.0, 5.0, 4.0, 4.0]), torch.tensor(other, dtype=torch.float32)
    assert overlap(mine, theirs).item() == pytest.approx(expected)
    assert overlap(theirs, mine).item() == pytest.approx(expected)


def test_overlap_is_what_counting_small_squares_gives() -> None:
    first, second = random_boxes(30, 1), random_boxes(30, 2)
    fine = (torch.arange(1200, dtype=torch.float64) + 0.5) / 20.0 - 10.0  # 0.05 wide, -10 to 50

    def covered(box: torch.Tensor) -> torch.Tensor:
        along = [(fine - box[axis]).abs() < box[2 + axis] / 2 for axis in (1, 0)]
        return along[0][:, None] & along[1][None]

    for one, other in zip(first, second, strict=True):
        a, b = covered(one), covered(other)
        counted = (a & b).sum() / (a | b).sum()
        assert overlap(one, other).item() == pytest.approx(counted.item(), abs=0.02)


def test_generalised_overlap_also_tells_far_from_near() -> None:
    box = torch.tensor([5.0, 5.0, 4.0, 4.0])
    # 2 apart: shared 0, union 32, common box 4 x 10
    assert generalised_overlap(box, torch.tensor([11.0, 5.0, 4.0, 4.0])).item() == pytest.approx(
        -8 / 40
    )
    assert generalised_overlap(box, box).item() == pytest.approx(1.0)
    far = generalised_overlap(box, torch.tensor([30.0, 5.0, 4.0, 4.0])).item()
    assert -1 < far < -8 / 40


def test_suppression_keeps_the_best_of_those_that_overlap() -> None:
    boxes = torch.tensor(
        [[5.0, 5, 4, 4], [5.5, 5, 4, 4], [20, 20, 4, 4], [6.5, 5, 4, 4], [20, 20, 4, 4]]
    )
    scores = torch.tensor([0.8, 0.9, 0.3, 0.7, 0.3])
    # 1 removes 0 (overlap 0.78) and 3 (0.6); of the equal ones the first stays
    assert suppress(boxes, scores, 0.5).tolist() == [1, 2]
    # 3 overlaps 1 by exactly 0.6: not more than the threshold, so it stays
    assert suppress(boxes, scores, 0.61).tolist() == [1, 3, 2]
    assert suppress(boxes[:0], scores[:0], 0.5).tolist() == []


def test_what_is_suppressed_overlaps_something_better_and_what_stays_does_not() -> None:
    boxes = random_boxes(80, 4)
    scores = torch.rand(80, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    kept = suppress(boxes, scores, 0.3).tolist()
    assert kept == sorted(kept, key=lambda number: -scores[number])
    assert 1 < len(kept) < 80
    for number in range(80):
        better = [k for k in kept if scores[k] > scores[number]]
        overlaps = [overlap(boxes[number], boxes[k]).item() > 0.3 for k in better]
        assert any(overlaps) is (number not in kept)


@pytest.mark.parametrize("stride", [1, 2, 8])
def test_boxes_survive_being_written_on_the_head(stride: int) -> None:
    boxes = random_boxes(50, 6)
    place, code = encode(boxes, stride)
    assert code[:, :2].min() >= 0
    assert code[:, :2].max() < 1
    for box, (row, column), values in zip(boxes, place.tolist(), code, strict=True):
        grid = torch.zeros(4, 40 // stride + 1, 40 // stride + 1, dtype=torch.float64)
        grid[:, row, column] = values
        torch.testing.assert_close(decode(grid, stride)[row, column], box)


def test_rows_and_columns_are_not_mixed_up() -> None:
    place, code = encode(torch.tensor([[13.0, 4.5, 2.0, 6.0]]), 2)
    assert place.tolist() == [[2, 6]]  # row from y, column from x
    torch.testing.assert_close(code[0], torch.tensor([0.5, 0.25, 0.0, 1.0986123]))


def test_absurd_sizes_stay_numbers() -> None:
    code = torch.full((4, 1, 1), 1e4)
    assert torch.isfinite(decode(code, 2)).all()
