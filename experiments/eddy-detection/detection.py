"""From a trained network to boxes."""

import torch
from torch import Tensor

from boxes import suppress
from examples import Examples, take
from network import Detector
from scores import Found

CHUNK = 16  # images at a time
SAME_FROM = 0.4  # two boxes that overlap more are the same eddy; eddies of one map do not
LEAST_SCORE = 0.03  # what is less is not even a guess


@torch.no_grad()
def find(network: Detector, examples: Examples, device: torch.device) -> Found:
    """
    Find the objects in every image.

    A cell of the head gives one box of one class; its score is objectness times the probability of
    the class. Doubles are suppressed whatever their class, for no place is two things at once.

    Args:
        network: trained.
        examples: the images; only their counted cells are asked.
        device: where the network is.

    Returns:
        Detections by image and falling score, in cells of the image.
    """
    parts = []
    for first in range(0, len(examples.images), CHUNK):
        chosen = torch.arange(first, min(first + CHUNK, len(examples.images)))
        images, truth = take(examples, chosen)
        head = network(images.to(device))
        sure, kinds = head.kinds.softmax(dim=1).max(dim=1)
        scores = (head.objectness.sigmoid() * sure).cpu() * truth.counted
        for number, image in enumerate(chosen.tolist()):
            taken = scores[number] >= LEAST_SCORE
            parts.append(
                _single(image, kinds[number].cpu()[taken], head.boxes[number].cpu()[taken],
                        scores[number][taken])
            )  # fmt: skip
    return Found(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _single(image: int, kinds: Tensor, boxes: Tensor, scores: Tensor) -> Found:
    kept = suppress(boxes, scores, SAME_FROM)
    number = torch.full((len(kept),), image, dtype=torch.long)
    return Found(number, kinds[kept], boxes[kept], scores[kept])


def in_frame(examples: Examples, found: Found) -> Tensor:
    """
    Corners in the unit that people use: degrees east and north, or shares of the image.

    Returns:
        (n, 4) float64: x0, y0, x1, y1.
    """
    frame = examples.frames[found.image]
    boxes = found.boxes.double()
    ends = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1)
    return frame[:, [0, 1, 0, 1]] + ends * frame[:, 2:]
