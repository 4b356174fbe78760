"""The training loop: any network, any loss, a stated number of steps on images held in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evaluators.evaluator import Diverged, NothingToTrain, OutOfTime
from evaluators.training.muon import Muon

WARMUP_FRACTION = 0.2
BATCH_NORM_BATCHES = 8
EVALUATION_BATCH_SIZE = 32

BatchLoss = Callable[[Any, npt.NDArray[np.int64], npt.NDArray[np.bool_]], Tensor]
"""The loss of a batch from the network's outputs, the indices of its images, and which of them are mirrored."""


def train(
    module: nn.Module,
    images: npt.NDArray[np.uint8],
    loss: BatchLoss,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    horizontal_flip: bool,
    seed: int,
    time_limit_s: float = math.inf,
) -> float:
    """Train in place on images [N, 3, S, S]; the mean loss over the last tenth of the steps.

    Muon with linear warm-up and linear decay; ``horizontal_flip`` mirrors half of the images, at random. At the end
    the batch statistics are estimated again: after so few steps the running ones lag behind. Raises ``Diverged``,
    ``OutOfTime``, ``NothingToTrain``.
    """
    if next(module.parameters(), None) is None:
        raise NothingToTrain("the network has no parameters")
    started = time.monotonic()
    count = len(images)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(count) for _ in range(math.ceil(steps * batch_size / count))])
    optimizer = Muon(module, learning_rate=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate_factor(step / steps))
    losses: list[float] = []
    module.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(steps):
            if time.monotonic() - started > time_limit_s:
                raise OutOfTime(f"{step} of {steps} steps took the {time_limit_s:g} s that training may take")
            image_indices = order[step * batch_size : (step + 1) * batch_size]
            flipped = rng.random(batch_size) < 0.5 if horizontal_flip else np.zeros(batch_size, np.bool_)
            batch = images[image_indices]
            batch[flipped] = batch[flipped, :, :, ::-1]
            batch_loss = loss(module(network_input(batch)), image_indices, flipped)
            losses.append(batch_loss.item())
            if not math.isfinite(losses[-1]):
                raise Diverged(
                    f"the loss is {losses[-1]} at step {step + 1} of {steps}; a lower learning rate may help"
                )
            optimizer.zero_grad()
            batch_loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        reestimate_batch_norm(module, images, rng)
    return float(np.mean(losses[-max(1, steps // 10) :]))


def _learning_rate_factor(progress: float) -> float:
    """The learning rate's factor when this fraction of the steps is done."""
    return (
        0.1 + 0.9 * progress / WARMUP_FRACTION if progress < WARMUP_FRACTION else (1 - progress) / (1 - WARMUP_FRACTION)
    )


def network_input(images: npt.NDArray[np.uint8]) -> Tensor:
    """Pixels 0..255 of images [N, 3, S, S] as -1..1, channels last, which is faster for convolutions on a CPU."""
    pixels = torch.from_numpy(np.array(images)).to(torch.float32, memory_format=torch.channels_last)
    return pixels.div_(127.5).sub_(1)


def reestimate_batch_norm(module: nn.Module, images: npt.NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Replace batch normalisation's running statistics by means over some batches (arXiv 2105.07576, section 3)."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
    module.train()
    with torch.no_grad():
        for _ in range(BATCH_NORM_BATCHES if norms else 0):
            image_indices = rng.choice(len(images), EVALUATION_BATCH_SIZE, replace=len(images) < EVALUATION_BATCH_SIZE)
            module(network_input(images[image_indices]))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def predict_batches(module: nn.Module, images: npt.NDArray[np.uint8]) -> Iterator[tuple[slice, Any]]:
    """Slices of the images with the network's outputs, without gradients; leaves the network in eval mode.

    Raises ``Diverged`` when they are not finite.
    """
    module.eval()
    for first in range(0, len(images), EVALUATION_BATCH_SIZE):
        chunk = slice(first, min(first + EVALUATION_BATCH_SIZE, len(images)))
        with torch.no_grad():
            outputs = module(network_input(images[chunk]))
        if not all(
            tensor.isfinite().all() for tensor in (outputs.values() if isinstance(outputs, dict) else [outputs])
        ):
            raise Diverged("the trained network's outputs are not finite; a lower learning rate may help")
        yield chunk, outputs
