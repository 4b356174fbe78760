"""The optimizer: what counts as scale-free, what an orthogonal step is, and that the rest is plain Nesterov."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from evaluators.training.muon import Muon, scale_free_weights


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 16, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.Conv2d(16, 5, 1),
    )


def with_gradients(module: nn.Module, scale: float = 1.0) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    return module


def test_weights_that_a_normalisation_follows_are_scale_free() -> None:
    module = network()
    free, other = scale_free_weights(module)
    assert [w.shape for w in free] == [(8, 3, 3, 3), (8, 1, 3, 3), (16, 8, 1, 1)]
    assert len(free) + len(other) == len(list(module.parameters()))


def test_orthogonal_steps_move_all_directions_alike_whatever_the_gradients_scale() -> None:
    steps = []
    for scale in (1.0, 1e6):
        module = with_gradients(network(), scale)
        before = [w.detach().clone() for w in scale_free_weights(module)[0]]
        Muon(module, learning_rate=1.0, iterations=5).step()
        after = scale_free_weights(module)[0]
        steps.append([b - a.detach() for a, b in zip(after, before, strict=True)])
    for step, larger in zip(*steps, strict=True):
        torch.testing.assert_close(step, larger, rtol=1e-3, atol=1e-3)
    first, depthwise, expand = steps[0]
    for step, factor in ((first, 1.0), (expand, 2**0.5)):  # 16 rows of 8 columns: times sqrt(2)
        values = torch.linalg.svdvals(step.flatten(1)) / factor
        assert float(values.min()) > 0.5
        assert float(values.max()) < 1.3
    torch.testing.assert_close(depthwise.flatten(1).norm(dim=1), torch.ones(8))


def test_everything_else_moves_as_torch_sgd_with_nesterov() -> None:
    module, twin = network(), network()
    optimizer = Muon(module, learning_rate=0.1)
    other = torch.optim.SGD(scale_free_weights(twin)[1], lr=0.1, momentum=0.9, nesterov=True)
    for scale in (1.0, -0.3, 2.0):
        with_gradients(module, scale)
        with_gradients(twin, scale)
        optimizer.step()
        other.step()
    for mine, theirs in zip(scale_free_weights(module)[1], scale_free_weights(twin)[1], strict=True):
        torch.testing.assert_close(mine, theirs)


def test_parameters_without_a_gradient_stay_and_closures_are_refused() -> None:
    module = network()
    optimizer = Muon(module, learning_rate=1.0)
    before = [p.detach().clone() for p in module.parameters()]
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    with pytest.raises(ValueError, match="no closure"):
        optimizer.step(lambda: 0.0)
