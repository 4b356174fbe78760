"""The training loop: any network, any loss, a stated number of steps on images that are read batch by batch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evaluators.data.data_set import DataSet, Indices, Normalisation, Pixels, Split
from evaluators.evaluator import CurvePoint, Diverged, NothingToTrain, OutOfTime
from evaluators.training.muon import Muon
from evaluators.training.task import BatchLoss

WARMUP_FRACTION = 0.2
BATCH_NORM_BATCHES = 8
EVALUATION_BATCH_SIZE = 32
CURVE_POINTS = 10


@dataclass(frozen=True)
class TrainingRun:
    """What a training leaves beside the weights: the mean loss over the last tenth of its steps, and its curve.

    A point of the curve has the mean ``loss`` since the one before. ``images``: trained on, repeats counted.
    """

    final_loss: float
    curve: tuple[CurvePoint, ...]
    images: int


def train(
    module: nn.Module,
    data: DataSet,
    loss: BatchLoss,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    horizontal_flip: bool,
    seed: int,
    time_limit_s: float = math.inf,
) -> TrainingRun:
    """Train in place, where the module is, on the training images of ``data``.

    Muon with linear warm-up and linear decay; ``horizontal_flip`` mirrors half of the images, at random. At the end
    the batch statistics are estimated again: after so few steps the running ones lag behind. Raises ``Diverged``,
    ``OutOfTime``, ``NothingToTrain``, and ``DataError`` for an image that cannot be read.
    """
    if next(module.parameters(), None) is None:
        raise NothingToTrain("the network has no parameters")
    started = time.monotonic()
    count = len(data.train)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(count) for _ in range(math.ceil(steps * batch_size / count))])
    optimizer = Muon(module, learning_rate=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate_factor(step / steps))
    device = device_of(module)
    losses: list[float] = []
    module.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for step in range(steps):
            if time.monotonic() - started > time_limit_s:
                raise OutOfTime(f"{step} of {steps} steps took the {time_limit_s:g} s that training may take")
            image_indices = order[step * batch_size : (step + 1) * batch_size]
            flipped = rng.random(batch_size) < 0.5 if horizontal_flip else np.zeros(batch_size, np.bool_)
            batch = data.train.images(image_indices)
            batch[flipped] = batch[flipped, :, :, ::-1]
            batch_loss = loss(module(network_input(batch, data.normalisation, device)), image_indices, flipped)
            losses.append(batch_loss.item())
            if not math.isfinite(losses[-1]):
                raise Diverged(
                    f"the loss is {losses[-1]} at step {step + 1} of {steps}; a lower learning rate may help"
                )
            optimizer.zero_grad()
            batch_loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        reestimate_batch_norm(module, data, rng)
    return TrainingRun(
        float(np.mean(losses[-max(1, steps // 10) :])), _learning_curve(losses, batch_size), steps * batch_size
    )


def _learning_rate_factor(progress: float) -> float:
    """The learning rate's factor when this fraction of the steps is done."""
    return (
        0.1 + 0.9 * progress / WARMUP_FRACTION if progress < WARMUP_FRACTION else (1 - progress) / (1 - WARMUP_FRACTION)
    )


def _learning_curve(losses: list[float], batch_size: int) -> tuple[CurvePoint, ...]:
    ends = np.unique(np.linspace(0, len(losses), min(CURVE_POINTS, len(losses)) + 1).round().astype(int)).tolist()
    return tuple(
        CurvePoint(end * batch_size, {"loss": float(np.mean(losses[start:end]))}) for start, end in pairwise(ends)
    )


def device_of(module: nn.Module) -> torch.device:
    """Where the module's weights are; the processor for one without any."""
    weight = next(module.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device


def network_input(images: Pixels, normalisation: Normalisation, device: torch.device | str = "cpu") -> Tensor:
    """The images [N, C, S, S] as a network sees them, channels last, which is faster for convolutions on a CPU.

    8-bit colour is -1..1.
    """
    if images.dtype != np.uint8:
        images = images.astype(np.float32)
    pixels = torch.from_numpy(images).to(device).to(torch.float32, memory_format=torch.channels_last)
    means, stds = normalisation.mean, normalisation.std
    offsets = [mean / std for mean, std in zip(means, stds, strict=True)]
    if len(set(stds)) == len(set(offsets)) == 1:
        return pixels.div_(stds[0]).sub_(offsets[0])
    std, offset = (torch.tensor(row, device=pixels.device).view(-1, 1, 1) for row in (stds, offsets))
    return pixels.div_(std).sub_(offset)


def reestimate_batch_norm(module: nn.Module, data: DataSet, rng: np.random.Generator) -> None:
    """Replace batch normalisation's running statistics by means over some batches (arXiv 2105.07576, section 3)."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
    module.train()
    count, device = len(data.train), device_of(module)
    with torch.no_grad():
        for _ in range(BATCH_NORM_BATCHES if norms else 0):
            image_indices = rng.choice(count, EVALUATION_BATCH_SIZE, replace=count < EVALUATION_BATCH_SIZE)
            module(network_input(data.train.images(image_indices), data.normalisation, device))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def predict_batches(module: nn.Module, split: Split, normalisation: Normalisation) -> Iterator[tuple[Indices, Any]]:
    """Indices of the split's images with the network's outputs, without gradients; leaves the network in eval mode.

    Raises ``Diverged`` when they are not finite.
    """
    module.eval()
    device = device_of(module)
    for first in range(0, len(split), EVALUATION_BATCH_SIZE):
        chunk = np.arange(first, min(first + EVALUATION_BATCH_SIZE, len(split)))
        with torch.no_grad():
            outputs = module(network_input(split.images(chunk), normalisation, device))
        if not all(
            tensor.isfinite().all() for tensor in (outputs.values() if isinstance(outputs, dict) else [outputs])
        ):
            raise Diverged("the trained network's outputs are not finite; a lower learning rate may help")
        yield chunk, outputs
