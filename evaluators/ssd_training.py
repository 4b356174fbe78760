"""Trains any network with an SSD head on detection data, and measures its mAP."""

from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evaluators import ssd
from evaluators.coco_map import coco_map
from evaluators.detection_data import DetectionData, Split
from evaluators.muon import Muon
from evaluators.quality import Diverged, OutOfTime

FOCAL_GAMMA = 0.0
"""Focusing of the class loss; 0 leaves the alpha-balanced cross entropy (arXiv 1708.02002, eq. 3).

SSDLite was published with 2, which all but mutes a class score once it is half right. In 400,000 steps that is made
up for; in the 100 of this proxy it halves mAP.
"""
WARM_UP = 0.2
STATISTICS_BATCHES = 8
IMAGES_AT_ONCE = 32


def train_detector(
    module: nn.Module,
    data: DetectionData,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    min_anchor_scale: float,
    match_iou: float,
    horizontal_flip: bool,
    seed: int,
    time_limit_s: float = math.inf,
) -> float:
    """Train any network with an SSD head (see ``ssd``) in place; the mean loss over the last tenth of the steps.

    Muon with a linear warm-up and a linear way down. At the end the batch statistics are estimated anew: so few
    steps leave the running ones behind. Raises ``Diverged``, ``OutOfTime``.
    """
    started = time.monotonic()
    count, classes = len(data.train), len(data.class_names)
    anchors = ssd.anchors(feature_sizes(module, data.image_size), data.image_size, min_scale=min_anchor_scale)
    sides = [
        _targets(data.train, anchors, match_iou, data.image_size, side) for side in (False, True)[: 1 + horizontal_flip]
    ]
    codes, labels = (torch.stack(parts) for parts in zip(*sides, strict=True))
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(count) for _ in range(math.ceil(steps * batch_size / count))])
    optimizer = Muon(module, learning_rate=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _slope(step / steps))
    losses: list[float] = []
    module.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(steps):
            if time.monotonic() - started > time_limit_s:
                raise OutOfTime(f"{step} of {steps} steps took the {time_limit_s:g} s that training may take")
            chosen = order[step * batch_size : (step + 1) * batch_size]
            flipped = rng.random(batch_size) < 0.5 if horizontal_flip else np.zeros(batch_size, np.bool_)
            images = data.train.images[chosen]
            images[flipped] = images[flipped, :, :, ::-1]
            side = torch.from_numpy(flipped.astype(np.int64))
            found, scores = ssd.flatten(module(_network_input(images)), classes)
            loss = ssd.loss(found, scores, codes[side, chosen], labels[side, chosen], gamma=FOCAL_GAMMA)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise Diverged(
                    f"the loss is {losses[-1]} at step {step + 1} of {steps}; a lower learning rate may help"
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        estimate_statistics(module, data.train, rng)
    return float(np.mean(losses[-max(1, steps // 10) :]))


def _slope(done: float) -> float:
    """The learning rate's factor when this share of the steps is done."""
    return 0.1 + 0.9 * done / WARM_UP if done < WARM_UP else (1 - done) / (1 - WARM_UP)


def validate_detector(module: nn.Module, data: DetectionData, *, min_anchor_scale: float) -> dict[str, float]:
    """``map`` and ``map50`` on the validation images. Raises ``Diverged`` when the network's answers are not finite."""
    split, size, classes = data.validation, data.image_size, len(data.class_names)
    anchors = ssd.anchors(feature_sizes(module, size), size, min_scale=min_anchor_scale)
    found = []
    module.eval()
    with torch.no_grad():
        for first in range(0, len(split), IMAGES_AT_ONCE):
            codes, scores = ssd.flatten(module(_network_input(split.images[first : first + IMAGES_AT_ONCE])), classes)
            if not (codes.isfinite().all() and scores.isfinite().all()):
                raise Diverged("the trained network's outputs are not finite; a lower learning rate may help")
            found += ssd.detections(codes, scores, anchors, size)
    return coco_map(
        [(boxes.numpy(), scores.numpy(), labels.numpy()) for boxes, scores, labels in found],
        list(zip(split.boxes, split.labels, strict=True)),
        classes,
    )


def feature_sizes(module: nn.Module, image_size: int) -> list[tuple[int, int]]:
    """Height and width of every level of the head, found by a run on an empty image."""
    was_training = module.training
    module.eval()
    with torch.no_grad():
        outputs = module(torch.zeros(1, 3, image_size, image_size))
    module.train(was_training)
    if not isinstance(outputs, dict):
        raise ValueError("no SSD head: the network returns one tensor, not a dict of box0, class0, box1, class1, ...")
    return [tuple(outputs[f"box{level}"].shape[2:]) for level in range(ssd.level_count(outputs))]


def estimate_statistics(module: nn.Module, split: Split, rng: np.random.Generator) -> None:
    """Replace batch normalisation's running statistics by means over some batches (arXiv 2105.07576, section 3)."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
    module.train()
    with torch.no_grad():
        for _ in range(STATISTICS_BATCHES if norms else 0):
            chosen = rng.choice(len(split), IMAGES_AT_ONCE, replace=len(split) < IMAGES_AT_ONCE)
            module(_network_input(split.images[chosen]))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def _network_input(images: npt.NDArray[np.uint8]) -> Tensor:
    """Pixels 0..255 as -1..1, laid out with channels last, which convolutions on a CPU like best."""
    pixels = torch.from_numpy(np.array(images)).to(torch.float32, memory_format=torch.channels_last)
    return pixels.div_(127.5).sub_(1)


def _targets(split: Split, anchors: Tensor, match_iou: float, size: int, flipped: bool) -> tuple[Tensor, Tensor]:
    """What the network should answer: codes [N, A, 4] and classes [N, A], 0 for background."""
    all_codes, all_classes = [], []
    for first in range(0, len(split), IMAGES_AT_ONCE):
        chunk = slice(first, first + IMAGES_AT_ONCE)
        most = max(1, *map(len, split.labels[chunk]))
        boxes = np.stack([np.pad(b, ((0, most - len(b)), (0, 0))) for b in split.boxes[chunk]])
        labels = np.stack([np.pad(label + 1, (0, most - len(label))) for label in split.labels[chunk]])
        if flipped:
            boxes[..., [0, 2]] = size - boxes[..., [2, 0]]
        boxes_, labels_ = torch.from_numpy(boxes), torch.from_numpy(labels)
        index = ssd.match(anchors, boxes_, threshold=match_iou)
        matched, index = index >= 0, index.clamp(min=0)
        target = boxes_.gather(1, index[..., None].expand(-1, -1, 4))
        target = torch.where(matched[..., None], target, anchors)
        all_codes.append(ssd.encode(target, anchors))
        all_classes.append(torch.where(matched, labels_.gather(1, index), 0))
    return torch.cat(all_codes), torch.cat(all_classes)
