"""SSD around the network: anchors, box coding, matching, loss, decoding and non-maximum suppression.

Boxes are x1, y1, x2, y2 in pixels. A head gives per level i the maps ``box{i}`` [N, A*4, h, w] and ``class{i}``
[N, A*(C+1), h, w], anchor-major; class 0 is the background, which has no target of its own: all scores zero.
Follows Liu et al. 2016 (SSD, arXiv 1512.02325) with the settings of the TensorFlow Object Detection API that
MobileDets (arXiv 2004.14525) were trained with.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

ANCHORS_FIRST_LEVEL = (3, 4, 6)
ANCHORS_OTHER_LEVELS = (4, 6)
"""How many anchors a position may have: 4 or 6 in the paper (section 3.1), and 3 in the API's reduced lowest level."""
CODE_SCALE = (10.0, 10.0, 5.0, 5.0)
ASPECT_RATIOS = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)


def level_count(outputs: Mapping[str, object]) -> int:
    """Number of levels; ValueError unless the names are exactly box0, class0, box1, class1, ..."""
    levels = len(outputs) // 2
    expected = {f"{kind}{level}" for level in range(levels) for kind in ("box", "class")}
    if not levels or set(outputs) != expected:
        raise ValueError(f"no detection head: outputs are {sorted(outputs)}, not box0, class0, box1, class1, ...")
    return levels


def anchor_counts(shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Anchors at each position of each level of a head, from the shapes (channels first) of its outputs.

    ValueError for a number that ``anchors`` does not support.
    """
    counts = tuple(shapes[f"box{level}"][0] // 4 for level in range(level_count(shapes)))
    for level, count in enumerate(counts):
        if shapes[f"box{level}"][0] % 4 or count not in (ANCHORS_FIRST_LEVEL if level == 0 else ANCHORS_OTHER_LEVELS):
            allowed = ANCHORS_OTHER_LEVELS if level else ANCHORS_FIRST_LEVEL
            raise ValueError(
                f"box{level} has {shapes[f'box{level}'][0]} channels, 4 for each anchor at a position; anchors are"
                f" defined for {' or '.join(str(4 * number) for number in allowed)}"
            )
    return counts


def anchors(
    feature_sizes: Sequence[tuple[int, int]],
    image_size: int,
    *,
    counts: Sequence[int] | None = None,
    min_scale: float = 0.2,
    max_scale: float = 0.95,
) -> Tensor:
    """Anchors [A, 4] in pixels, ordered by level, row, column, shape; they may reach over the image's edge.

    Scales are fractions of the image's side, spaced evenly from the first level to the last (SSD, section 2.2).
    ``counts`` are the anchors at each position of each level, by default 3 on the first level and 6 on all others.
    3 are a square at half of min_scale and the ratios 2 and 1/2 at min_scale; 6 are ``ASPECT_RATIOS`` at the level's
    scale and a square at the geometric mean with the next scale (1 after the last); 4 are the same without the ratios
    3 and 1/3. ValueError for other counts.
    """
    levels = len(feature_sizes)
    if counts is None:
        counts = (ANCHORS_FIRST_LEVEL[0],) + (ANCHORS_OTHER_LEVELS[-1],) * (levels - 1)
    anchor_counts({f"{kind}{i}": (4 * count,) for i, count in enumerate(counts) for kind in ("box", "class")})
    steps = [min_scale + (max_scale - min_scale) * level / max(1, levels - 1) for level in range(levels)]
    scales = [*steps, 1.0]
    parts: list[npt.NDArray[np.float64]] = []
    for level, ((height, width), count) in enumerate(zip(feature_sizes, counts, strict=True)):
        if count == 3:
            shapes = [(min_scale / 2, 1.0), (min_scale, 2.0), (min_scale, 0.5)]
        else:
            shapes = [(scales[level], ratio) for ratio in ASPECT_RATIOS[: count - 1]]
            shapes.append((math.sqrt(scales[level] * scales[level + 1]), 1.0))
        half = np.array([[scale * math.sqrt(ratio), scale / math.sqrt(ratio)] for scale, ratio in shapes]) / 2
        y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
        centre = np.stack([x, y], axis=-1)[:, :, None, :]
        parts.append(np.concatenate([centre - half, centre + half], axis=-1).reshape(-1, 4))
    return torch.from_numpy((np.concatenate(parts) * image_size).astype(np.float32))


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Codes [..., 4] of boxes relative to anchors: y, x, height, width as the Faster R-CNN box coder has them."""
    (by, bx, bh, bw), (ay, ax, ah, aw) = _centres(boxes), _centres(anchors)
    codes = torch.stack([(by - ay) / ah, (bx - ax) / aw, (bh / ah).log(), (bw / aw).log()], -1)
    return codes * codes.new_tensor(CODE_SCALE)


def decode(codes: Tensor, anchors: Tensor) -> Tensor:
    """Boxes [..., 4] from codes; the inverse of ``encode``. Sizes end at exp(6) anchors, so no box is infinite."""
    ty, tx, th, tw = (codes / codes.new_tensor(CODE_SCALE)).unbind(-1)
    ay, ax, ah, aw = _centres(anchors)
    y, x = ty * ah + ay, tx * aw + ax
    half_h, half_w = th.clamp(max=6).exp() * ah / 2, tw.clamp(max=6).exp() * aw / 2
    return torch.stack([x - half_w, y - half_h, x + half_w, y + half_h], -1)


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (y1 + y2) / 2, (x1 + x2) / 2, y2 - y1, x2 - x1


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union [..., A, B] of boxes [..., A, 4] and [..., B, 4]; 0 where both are empty."""
    low = torch.maximum(first[..., :, None, :2], second[..., None, :, :2])
    high = torch.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    width, height = (high - low).clamp(min=0).unbind(-1)
    shared = width * height
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    return shared / (areas[0][..., :, None] + areas[1][..., None, :] - shared).clamp(min=1e-9)


def match(anchors: Tensor, boxes: Tensor, *, threshold: float = 0.5) -> Tensor:
    """Index [..., A] of the box matched to each anchor, or -1, from boxes [..., M, 4]; those without area are padding.

    An anchor takes the box it overlaps most when the IoU reaches the threshold; besides, each box takes its best
    anchor whatever the IoU, so that none stays unmatched (force match; of two such boxes the first wins).
    """
    count = boxes.shape[-2]
    overlap = iou(anchors, boxes)
    if not count:
        return overlap.new_full(overlap.shape[:-1], -1, dtype=torch.int64)
    best, index = overlap.max(-1)
    index = torch.where(best >= threshold, index, -1)
    number = torch.where((boxes[..., 2:] > boxes[..., :2]).all(-1), torch.arange(count, device=boxes.device), count)
    forced_match = torch.full_like(index, count).scatter_reduce(-1, overlap.argmax(-2), number, "amin")
    return torch.where(forced_match < count, forced_match, index)


def flatten(outputs: Mapping[str, Tensor], num_classes: int) -> tuple[Tensor, Tensor]:
    """Codes [N, A, 4] and class logits [N, A, num_classes + 1] in the order of ``anchors``."""
    depths = {"box": 4, "class": num_classes + 1}
    parts: dict[str, list[Tensor]] = {"box": [], "class": []}
    for level in range(level_count(outputs)):
        for kind, depth in depths.items():
            map_ = outputs[f"{kind}{level}"]
            parts[kind].append(map_.permute(0, 2, 3, 1).reshape(len(map_), -1, depth))
    return torch.cat(parts["box"], 1), torch.cat(parts["class"], 1)


def loss(
    codes: Tensor,
    logits: Tensor,
    target_codes: Tensor,
    target_classes: Tensor,
    *,
    alpha: float = 0.75,
    gamma: float = 2.0,
) -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017, arXiv 1708.02002, eq. 5) + smooth L1 (delta 1), over the matched anchors.

    target_codes [N, A, 4]; target_classes int64 [N, A] in 0..C, where 0 is background and gives no class a target.
    Divided by the number of matched anchors, the box part by the code size 4 too.
    """
    matched = target_classes > 0
    count = matched.sum().clamp(min=1)
    target = functional.one_hot(target_classes, logits.shape[-1]).to(logits.dtype)
    target[..., 0] = 0
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    score = logits.sigmoid()
    miss = target + score - 2 * target * score
    weight = 1 - alpha + (2 * alpha - 1) * target
    focal = (weight * miss**gamma * entropy).sum()
    box = functional.smooth_l1_loss(codes[matched], target_codes[matched], reduction="sum", beta=1.0) / 4
    return (focal + box) / count


def detections(
    codes: Tensor,
    logits: Tensor,
    anchors: Tensor,
    image_size: int,
    *,
    min_score: float = 1e-8,
    max_iou: float = 0.6,
    candidates: int = 200,
    max_detections: int = 100,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Per image boxes [D, 4] inside the image, scores [D] in falling order, labels [D] in 0..C-1; D at most
    ``max_detections``.

    The best-scored (anchor, class) pairs go through non-maximum suppression within their class.
    """
    boxes, scores = decode(codes, anchors), logits[..., 1:].sigmoid()
    return best_boxes(
        boxes,
        scores,
        image_size,
        min_score=min_score,
        max_iou=max_iou,
        candidates=candidates,
        max_detections=max_detections,
    )


def best_boxes(
    boxes: Tensor,
    scores: Tensor,
    image_size: int,
    *,
    min_score: float,
    max_iou: float | None,
    candidates: int,
    max_detections: int,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """As ``detections``, from boxes [N, A, 4] and scores [N, A, C] of at most ``candidates`` (box, class) pairs.

    Without ``max_iou`` nothing is suppressed.
    """
    classes = scores.shape[-1]
    scores, order = scores.flatten(1).topk(min(candidates, scores[0].numel()))
    labels = order % classes
    boxes = boxes.clamp(0, image_size).gather(1, (order // classes)[..., None].expand(-1, -1, 4))
    keep = torch.ones_like(labels, dtype=torch.bool)
    if max_iou is not None:
        keep = non_maximum_suppression(boxes + labels[..., None] * 2.0 * image_size, max_iou=max_iou)
    keep &= scores >= min_score
    keep &= keep.cumsum(1) <= max_detections
    return [(b[k], s[k], c[k]) for b, s, c, k in zip(boxes, scores, labels, keep, strict=True)]


def non_maximum_suppression(boxes: Tensor, *, max_iou: float) -> Tensor:
    """Which of the boxes [N, K, 4], sorted by falling score, greedy suppression keeps: bool [N, K].

    A box is suppressed when a better one that stays overlaps it by more than max_iou. All images at once: the keep mask
    is updated until it no longer changes, which gives the greedy result (Cluster-NMS, Zheng et al. 2020, arXiv
    2005.03572).
    """
    suppresses = (iou(boxes, boxes) > max_iou).triu(1)
    keep = torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    while True:
        next_keep = ~(suppresses & keep[..., None]).any(1)
        if torch.equal(next_keep, keep):
            return keep
        keep = next_keep
