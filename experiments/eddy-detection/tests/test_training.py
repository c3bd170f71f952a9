"""Loss, batches and a training of seconds."""

import json
import math
from pathlib import Path

import pytest
import torch

from detection import find
from examples import ExampleError, Examples, Mirror, take
from loss import detection_loss
from network import STRIDE, Detector, Head
from outcome import measure
from ranks import Ranks
from scores import curve, match
from training import Plan, batch_loss, fit, make_network, shares

CPU = torch.device("cpu")


class Share(Ranks):
    """One of several ranks, whose companions are other objects of this process."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__()
        self.rank, self.size = rank, size


def train(parts: tuple[Examples, Examples], plan: Plan) -> tuple[Detector, list[float]]:
    network, losses = make_network(parts[0], plan), []
    fit(network, parts, plan, Ranks(), lambda _epoch, loss, _test: losses.append(loss))
    return network, losses


def perfect(examples: Examples) -> Head:
    """What a network would say that knows the truth."""
    images, truth = take(examples, torch.arange(len(examples.images)))
    grid = images.shape[2] // STRIDE
    objectness = torch.full((len(images), grid, grid), -20.0)
    boxes = torch.zeros(len(images), grid, grid, 4)
    kinds = torch.zeros(len(images), 2, grid, grid)
    for image, kind, box in zip(*truth[:3], strict=True):
        column, row = (box[:2] // STRIDE).long().tolist()
        objectness[image, row, column] = 20.0
        boxes[image, row, column] = box
        kinds[image, kind, row, column] = 20.0
    return Head(objectness, boxes, kinds)


def test_the_loss_of_the_truth_is_nothing_and_each_mistake_costs(
    parts: tuple[Examples, Examples],
) -> None:
    examples = parts[1]
    _, truth = take(examples, torch.arange(len(examples.images)))
    right = perfect(examples)
    assert detection_loss(right, truth).item() == pytest.approx(0, abs=1e-3)
    empty = right._replace(objectness=torch.full_like(right.objectness, -20.0))
    assert detection_loss(empty, truth).item() == pytest.approx(20, abs=1e-3)  # one object each
    shifted = right._replace(boxes=right.boxes + torch.tensor([2.0, 0, 0, 0]))
    assert 0.2 < detection_loss(shifted, truth).item() < 2
    confused = right._replace(kinds=-right.kinds)
    assert detection_loss(confused, truth).item() > 5
    alarm = right.objectness.clone()
    alarm[:, 0, 0] = 20.0
    assert detection_loss(right._replace(objectness=alarm), truth).item() > 19


def test_what_lies_outside_the_core_costs_nothing(parts: tuple[Examples, Examples]) -> None:
    examples = parts[1]
    _, truth = take(examples, torch.arange(len(examples.images)))
    alarm = perfect(examples)
    alarm.objectness[:, 0, 0] = 20.0
    truth.counted[:, 0, 0] = False
    assert detection_loss(alarm, truth).item() == pytest.approx(0, abs=1e-3)


def test_a_neighbour_that_finds_the_box_too_is_not_called_wrong(
    parts: tuple[Examples, Examples],
) -> None:
    examples = parts[1]
    _, truth = take(examples, torch.arange(len(examples.images)))
    head = perfect(examples)
    for image, _, box in zip(*truth[:3], strict=True):
        column, row = (box[:2] // STRIDE).long().tolist()
        head.objectness[image, row, column + 1] = 20.0
        head.boxes[image, row, column + 1] = box
    assert detection_loss(head, truth).item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("flips", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
def test_boxes_follow_the_image_when_it_is_varied(
    parts: tuple[Examples, Examples], flips: tuple[int, int, int]
) -> None:
    examples, count = parts[1], len(parts[1].images)
    mirror = Mirror(*(torch.full((count,), flip) for flip in flips))
    images, truth = take(examples, torch.arange(count), mirror)
    assert not torch.equal(images[:, 0], examples.images[:, 0])
    for image, kind, box in zip(*truth[:3], strict=True):
        x, y = box[:2].long().tolist()
        assert (images[image, 0, y, x].item() > 0) is bool(kind)  # bright discs are class 1
    again = Examples(images, truth.counted, examples.truth._replace(kind=truth.kind,
        boxes=truth.boxes), *examples[3:])  # fmt: skip
    back, true = take(again, torch.arange(count), mirror)
    torch.testing.assert_close(back, examples.images)
    torch.testing.assert_close(true.boxes, examples.truth.boxes)


def test_a_short_training_learns_and_repeats_itself_to_the_last_bit(
    parts: tuple[Examples, Examples], plan: Plan
) -> None:
    network, losses = train(parts, plan)
    assert len(losses) == plan.epochs
    assert losses[-1] < 0.5 * losses[0]
    again, same = train(parts, plan)
    assert same == losses
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert train(parts, plan._replace(seed=4))[1] != losses


def test_a_longer_training_finds_the_discs(parts: tuple[Examples, Examples], plan: Plan) -> None:
    network, _ = train(parts, plan._replace(epochs=30))
    found = find(network, parts[1], CPU)
    matched = match(found, parts[1].truth, 0.5)
    curves = {name: curve(found, matched, parts[1].truth, k) for k, name in enumerate("ab")}
    assert measure(curves, 0.3)["map50"] > 0.8


@pytest.mark.parametrize("size", [2, 4])
def test_the_ranks_together_have_the_gradient_of_the_batch(
    parts: tuple[Examples, Examples], plan: Plan, size: int
) -> None:
    def gradient(rank: int, of: int) -> torch.Tensor:
        network = make_network(parts[0], plan)
        images, truth = shares(parts[0], plan, 0, Share(rank, of))[1]
        loss = batch_loss(network, images, truth, CPU)
        return torch.cat(
            [part.flatten() for part in torch.autograd.grad(loss, list(network.parameters()))]
        )

    mean = sum(gradient(rank, size) for rank in range(size)) / size
    torch.testing.assert_close(mean, gradient(0, 1), rtol=1e-4, atol=1e-5)


def test_a_batch_that_cannot_be_shared_is_refused(
    parts: tuple[Examples, Examples], plan: Plan
) -> None:
    network = make_network(parts[0], plan)
    for ranks, batch in ((Share(0, 3), 4), (Ranks(), 17)):
        with pytest.raises(ExampleError, match=f"batch: got {batch}, expected a multiple of"):
            fit(network, parts, plan._replace(batch=batch), ranks, lambda *_: None)


def test_the_metrics_of_nothing_found_are_zero(parts: tuple[Examples, Examples]) -> None:
    truth = parts[1].truth
    none = truth._replace(**{name: getattr(truth, name)[:0] for name in truth._fields})
    curves = {"dark": curve(none, match(none, truth, 0.5), truth, 0)}
    metrics = measure(curves, 0.4)
    assert (metrics["map50"], metrics["precision"], metrics["recall"], metrics["f1"]) == (0,) * 4
    assert not any(math.isnan(value) for value in json.loads(json.dumps(metrics)).values())


def test_weights_of_equal_seeds_are_equal_files(
    parts: tuple[Examples, Examples], plan: Plan, tmp_path: Path
) -> None:
    for name in ("one.pt", "two.pt"):
        folder = tmp_path / name[:3]
        folder.mkdir()
        torch.save(make_network(parts[0], plan).state_dict(), folder / "model.pt")
    one, two = (tmp_path / name / "model.pt" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
