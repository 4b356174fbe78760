"""YOLO around the network: points, task-aligned assignment, loss and decoding for an anchor-free head.

Boxes are x1, y1, x2, y2 in pixels. A head gives per level i, of stride 8 * 2**i, the maps ``box{i}`` [N, 4*B, h, w],
logits of the B distances 0..B-1 to the left, top, right and bottom in units of the stride, and ``class{i}``
[N, C, h, w], logits without a background (``search_spaces.families.leyolo.dnin``). The parts and their weights are
those of YOLOv8, which LeYOLO (arXiv 2406.14239) was trained with; each follows its paper.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from evaluators.tasks.ssd import best_boxes, level_count

FIRST_STRIDE = 8


class YoloLosses(NamedTuple):
    """The three parts of the loss, each with its gain."""

    box: Tensor
    classes: Tensor
    distances: Tensor

    @property
    def total(self) -> Tensor:
        return self.box + self.classes + self.distances


def points(feature_sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """The middles [A, 2] of all cells, x and y in pixels, and their strides [A]; by level, row and column."""
    centres, strides = [], []
    for level, (height, width) in enumerate(feature_sizes):
        stride = float(FIRST_STRIDE << level)
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        centres.append(torch.stack([x, y], -1).reshape(-1, 2) * stride)
        strides.append(torch.full((height * width,), stride))
    return torch.cat(centres), torch.cat(strides)


def flatten(outputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Distance logits [N, A, 4, B] and class logits [N, A, C], in the order of ``points``."""
    levels = range(level_count(outputs))
    distances, classes = (
        torch.cat([outputs[f"{kind}{level}"].flatten(2) for level in levels], 2).transpose(1, 2)
        for kind in ("box", "class")
    )
    return distances.reshape(*distances.shape[:2], 4, -1), classes


def decode(distances: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Boxes [..., A, 4] of distance logits [..., A, 4, B]: every side at the expectation of its distribution."""
    bins = torch.arange(distances.shape[-1], dtype=distances.dtype, device=distances.device)
    reach = (distances.softmax(-1) @ bins) * strides[:, None]
    return torch.cat([centres - reach[..., :2], centres + reach[..., 2:]], -1)


def ciou(first: Tensor, second: Tensor) -> Tensor:
    """Complete IoU [...] of boxes [..., 4], pair by pair (arXiv 1911.08287, eq. 8 to 11); from -2 up to 1.

    The trade-off of the aspect ratios' term takes no part in the gradient, as there.
    """
    tiny = 1e-7
    size, other = (boxes[..., 2:] - boxes[..., :2] for boxes in (first, second))
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    iou = shared / (size.prod(-1) + other.prod(-1) - shared + tiny)
    enclosing = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    centre_offset = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    slant, other_slant = (torch.atan(s[..., 0] / (s[..., 1] + tiny)) for s in (size, other))
    shape = 4 / math.pi**2 * (slant - other_slant).square()
    weight = (shape / (1 - iou + shape + tiny)).detach()
    return iou - centre_offset.square().sum(-1) / (enclosing.square().sum(-1) + tiny) - weight * shape


def distribution_focal(logits: Tensor, target: Tensor) -> Tensor:
    """Distribution focal loss [...] of logits [..., B] (arXiv 2006.04388, eq. 6); targets [...] are in 0..B-1."""
    lower_bin = target.detach().floor().clamp(max=logits.shape[-1] - 2)
    upper_weight = target - lower_bin
    scores = logits.log_softmax(-1)
    lower_index = lower_bin.long()[..., None]
    lower_score, upper_score = scores.gather(-1, lower_index)[..., 0], scores.gather(-1, lower_index + 1)[..., 0]
    return -(lower_score * (1 - upper_weight) + upper_score * upper_weight)


@torch.no_grad()
def assign(
    scores: Tensor,
    boxes: Tensor,
    centres: Tensor,
    true_boxes: Tensor,
    true_classes: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 6.0,
    max_points: int = 10,
) -> tuple[Tensor, Tensor]:
    """For every point the true box assigned to it, or -1, and its soft target in 0..1: both [N, A].

    Task-aligned assignment (TOOD, arXiv 2108.07755, section 3.2 and eq. 3): a box takes the ``max_points`` points
    inside it of the highest score**alpha * overlap**beta, with the score of its own class; a point that several took
    goes to the one it overlaps most. The soft target is that alignment, scaled so that each box's best is its best
    overlap. Overlap is CIoU, or 0 below, as in YOLOv8. ``scores`` [N, A, C] are sigmoids, ``boxes`` [N, A, 4]
    predictions; of ``true_boxes`` [N, M, 4], with ``true_classes`` [N, M] in 0..C-1, those without area are padding.
    """
    count = true_boxes.shape[1]
    if not count:
        return scores.new_full(scores.shape[:2], -1, dtype=torch.int64), scores.new_zeros(scores.shape[:2])
    real = (true_boxes[..., 2:] > true_boxes[..., :2]).all(-1)
    corners = true_boxes[:, :, None]
    inside = ((centres > corners[..., :2]) & (centres < corners[..., 2:])).all(-1) & real[..., None]
    overlap = ciou(boxes[:, None], corners).clamp(min=0) * inside
    of_class = scores.transpose(1, 2).gather(1, true_classes[..., None].expand(-1, -1, scores.shape[1]))
    alignment = of_class**alpha * overlap**beta
    best, top_index = torch.where(inside, alignment, -1.0).topk(min(max_points, scores.shape[1]))
    assigned = torch.zeros_like(inside).scatter(2, top_index, best >= 0)
    assigned_box = torch.where(assigned, overlap, -1.0).argmax(1)
    assigned &= assigned_box[:, None] == torch.arange(count, device=assigned_box.device)[:, None]
    alignment, overlap = alignment * assigned, overlap * assigned
    scale = overlap.amax(2) / alignment.amax(2).clamp(min=torch.finfo(alignment.dtype).tiny)
    soft_target = (alignment * scale[..., None]).amax(1)
    return torch.where(assigned.any(1), assigned_box, -1), soft_target


def loss(
    distances: Tensor,
    logits: Tensor,
    centres: Tensor,
    strides: Tensor,
    true_boxes: Tensor,
    true_classes: Tensor,
    *,
    box_gain: float = 7.5,
    class_gain: float = 0.5,
    distance_gain: float = 1.5,
) -> YoloLosses:
    """The loss of a batch, with the assignment of ``assign``: see there for the true boxes.

    Binary cross-entropy of the soft targets (TOOD, eq. 4 without its focal weight), 1 - CIoU, and the distribution
    focal loss, the mean of the four sides; the last two are weighted by the soft target. All are divided by the
    sum of soft targets, at least 1, and so are a mean over the batch; YOLOv8 multiplies its by the batch size.
    """
    boxes = decode(distances, centres, strides)
    assigned_box, soft_target = assign(logits.detach().sigmoid(), boxes.detach(), centres, true_boxes, true_classes)
    positive = assigned_box >= 0
    image, point = positive.nonzero(as_tuple=True)
    matched_boxes = image, assigned_box[positive]
    target = torch.zeros_like(logits)
    target[image, point, true_classes[matched_boxes]] = soft_target[positive].to(logits.dtype)
    count = soft_target.sum().clamp(min=1)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    target_boxes, weight = true_boxes[matched_boxes].to(boxes.dtype), soft_target[positive]
    box_loss = ((1 - ciou(boxes[positive], target_boxes)) * weight).sum()
    reach = (
        torch.cat([centres[point] - target_boxes[:, :2], target_boxes[:, 2:] - centres[point]], -1)
        / strides[point, None]
    )
    reach = reach.clamp(0, distances.shape[-1] - 1)
    distance_loss = (distribution_focal(distances[positive], reach).mean(-1) * weight).sum()
    return YoloLosses(box_gain * box_loss / count, class_gain * entropy / count, distance_gain * distance_loss / count)


def detections(
    distances: Tensor,
    logits: Tensor,
    centres: Tensor,
    strides: Tensor,
    image_size: int,
    *,
    min_score: float = 1e-3,
    max_detections: int = 100,
    max_iou: float | None = None,
    candidates: int = 300,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Per image boxes [D, 4] inside the image, scores [D] in falling order, labels [D] in 0..C-1; D at most
    ``max_detections``.

    The best-scored (point, class) pairs as they are. This training rewards several points for one box, whose doubles
    cost precision: with ``max_iou`` (YOLOv8's is 0.7) the best ``candidates`` pairs go through non-maximum suppression
    within their class.
    """
    candidates = max_detections if max_iou is None else candidates
    boxes = decode(distances, centres, strides)
    return best_boxes(
        boxes,
        logits.sigmoid(),
        image_size,
        min_score=min_score,
        max_iou=max_iou,
        candidates=candidates,
        max_detections=max_detections,
    )
