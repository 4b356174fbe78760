"""The training loop: order, mirrored images, batch statistics, normalisation, learning curve, limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.data.data_set import Normalisation
from evaluators.evaluator import Diverged, OutOfMemory, OutOfTime
from evaluators.training.initialisation import remove_redundant_biases
from evaluators.training.loop import (
    EVALUATION_BATCH_SIZE,
    TrainingRun,
    network_input,
    predict_batches,
    reestimate_batch_norm,
    train,
)
from evaluators.training.memory_limit import check_training_memory
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import to_module
from tests.support.data_sets import in_memory, noise_data

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
DATA = in_memory(IMAGES, np.zeros(40, np.int64))
MIDDLE = DATA.normalisation


def brightness_net(size: int = 8) -> nn.Module:
    torch.manual_seed(0)
    last = nn.Linear(8 * (size - 2) ** 2, 1)
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), last)


class Recorder:
    """A loss that records its arguments: how far the output is from the brightness of the image's left half."""

    def __init__(self) -> None:
        self.image_indices: list[int] = []
        self.flipped: list[bool] = []

    def __call__(self, outputs: Any, image_indices: Any, flipped: Any) -> Tensor:
        self.image_indices += image_indices.tolist()
        self.flipped += flipped.tolist()
        brightness = torch.from_numpy(IMAGES[image_indices][:, :, :, :4].mean((1, 2, 3)) / 127.5 - 1).float()
        return functional.mse_loss(outputs[:, 0], brightness)


def run(module: nn.Module, loss: Any, **changes: Any) -> TrainingRun:
    settings: dict[str, Any] = {
        "steps": 10,
        "batch_size": 8,
        "learning_rate": 0.02,
        "horizontal_flip": False,
        "seed": 0,
    }
    return train(module, DATA, loss, **{**settings, **changes})


def test_every_image_is_seen_once_before_any_is_seen_again() -> None:
    loss = Recorder()
    run(brightness_net(), loss, steps=10)
    assert len(loss.image_indices) == 80
    assert sorted(loss.image_indices[:40]) == sorted(loss.image_indices[40:]) == list(range(40))
    assert loss.image_indices[:40] != loss.image_indices[40:]
    assert not any(loss.flipped)


def test_the_loss_is_told_which_images_the_network_saw_in_a_mirror() -> None:
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = brightness_net()

        def forward(self, x: Tensor) -> Tensor:
            if self.training and torch.is_grad_enabled():
                seen.append(x.clone())
            answer: Tensor = self.inner(x)
            return answer

    loss = Recorder()
    before = IMAGES.copy()
    run(Watch(), loss, horizontal_flip=True)
    assert 20 < sum(loss.flipped) < 60
    for pixels, number, flipped in zip(torch.cat(seen), loss.image_indices, loss.flipped, strict=True):
        plain = network_input(IMAGES[number : number + 1], MIDDLE)[0]
        assert torch.equal(pixels, plain.flip(-1) if flipped else plain)
    assert np.array_equal(IMAGES, before)


def test_the_loss_falls_and_the_mean_of_the_last_tenth_is_returned() -> None:
    losses: list[float] = []
    inner = Recorder()

    def loss(*arguments: Any) -> Tensor:
        value = inner(*arguments)
        losses.append(value.item())
        return value

    result = run(brightness_net(), loss, steps=60)
    assert result.final_loss == pytest.approx(np.mean(losses[-6:]))
    assert result.final_loss < 0.5 * np.mean(losses[:6])
    assert result.images == 60 * 8
    assert [point.images for point in result.curve] == [48 * part for part in range(1, 11)]
    expected = np.reshape(losses, (10, 6)).mean(1)
    assert [point.metrics["loss"] for point in result.curve] == pytest.approx(expected.tolist())


@pytest.mark.parametrize(("steps", "points"), [(1, 1), (3, 3), (10, 10), (11, 10), (97, 10)])
def test_the_learning_curve_has_ten_points_or_one_a_step(steps: int, points: int) -> None:
    result = run(brightness_net(), Recorder(), steps=steps)
    assert len(result.curve) == points
    assert result.curve[-1].images == result.images == 8 * steps


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    nets = [brightness_net() for _ in range(3)]
    state = torch.get_rng_state()
    first, second, other = (
        run(net, Recorder(), seed=seed).final_loss for net, seed in zip(nets, (3, 3, 4), strict=True)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert first == second != other
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_pixels_come_as_minus_one_to_one() -> None:
    pixels = network_input(np.array([[[[0, 255]], [[51, 204]], [[0, 0]]]], np.uint8), MIDDLE)
    torch.testing.assert_close(pixels[0, :2, 0], torch.tensor([[-1.0, 1.0], [-0.6, 0.6]]))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_every_channel_has_its_own_mean_and_spread(depth: Any) -> None:
    images = np.random.default_rng(0).integers(0, np.iinfo(np.uint16).max, (4, 2, 5, 5)).astype(depth)
    before = images.copy()
    channels = images.astype(np.float64).transpose(1, 0, 2, 3).reshape(2, -1)
    normalisation = Normalisation(tuple(channels.mean(1)), tuple(channels.std(1)))
    pixels = network_input(images, normalisation)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels.std((0, 2, 3), correction=0), torch.ones(2))
    assert np.array_equal(images, before)


def test_batch_statistics_are_those_of_the_data() -> None:
    norm = nn.BatchNorm2d(3, momentum=0.01)
    reestimate_batch_norm(norm, DATA, np.random.default_rng(0))
    assert norm.momentum == 0.01
    pixels = network_input(IMAGES, MIDDLE)
    torch.testing.assert_close(norm.running_mean, pixels.mean((0, 2, 3)), rtol=0, atol=0.03)
    torch.testing.assert_close(norm.running_var, pixels.var((0, 2, 3)), rtol=0.1, atol=0)


def test_predictions_cover_all_images_without_gradients() -> None:
    net = brightness_net()
    parts = []
    for chunk, outputs in predict_batches(net, DATA.validation, MIDDLE):
        assert torch.is_grad_enabled()  # only the forward passes are without gradients
        assert not outputs.requires_grad
        assert len(chunk) == len(outputs) <= EVALUATION_BATCH_SIZE
        parts.append(outputs)
    assert not net.training
    torch.testing.assert_close(torch.cat(parts), net(network_input(IMAGES, MIDDLE)).detach())
    nn.init.constant_(net[4].bias, float("nan"))  # type: ignore[index]
    with pytest.raises(Diverged, match="outputs are not finite"):
        next(predict_batches(net, DATA.validation, MIDDLE))


def test_planned_failures() -> None:
    with pytest.raises(Diverged, match="the loss is nan at step 1 of 10"):
        run(brightness_net(), lambda outputs, *_: outputs.sum() * float("nan"))
    with pytest.raises(OutOfTime, match=r"of 10 steps took the 1e-09 s"):
        run(brightness_net(), Recorder(), time_limit_s=1e-9)


def test_only_the_images_of_a_batch_are_read() -> None:
    data = noise_data("class", 100_000)
    train(
        brightness_net(16),
        data,
        lambda outputs, *_: outputs.square().mean(),
        steps=2,
        batch_size=8,
        learning_rate=0.02,
        horizontal_flip=False,
        seed=0,
    )
    assert data.train.read == 2 * 8 + 8 * EVALUATION_BATCH_SIZE


# -- idle biases -----------------------------------------------------------------------------------------------------


def test_only_biases_that_a_normalisation_takes_out_are_dropped() -> None:
    b = Builder()
    x = b.input((3, 8, 8))
    hidden = b.act(b.norm(b.conv(x, 4, 3, bias=True)), "silu")
    shared = b.conv(hidden, 4, 1, bias=True)  # read by a normalisation and by an output
    graph = b.build({"y": b.conv(b.norm(shared), 2, 1, bias=True), "shared": shared})
    plain, dropped = (to_module(graph, 0).train() for _ in range(2))
    remove_redundant_biases(dropped)
    biases = [layer.bias is not None for layer in dropped.layers.values() if isinstance(layer, nn.Conv2d)]
    assert biases == [False, True, True]
    pixels = torch.rand(4, 3, 8, 8)
    for name, answer in plain(pixels).items():
        torch.testing.assert_close(dropped(pixels)[name], answer, rtol=1e-4, atol=1e-5)


def test_memory_is_estimated_from_activations_and_parameters() -> None:
    def graph(side: int) -> Graph:
        b = Builder()
        return b.build({"y": b.conv(b.input((3, side, side)), 64, 3, padding=1)})

    check_training_memory(graph(32), 16, 150)
    with pytest.raises(OutOfMemory, match=r"estimated at \d+ MiB, over the limit of 150 MiB"):
        check_training_memory(graph(128), 16, 150)
