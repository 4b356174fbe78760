"""Modules that compute the same have one probe key, others differ, and what a probe leaves alone or refuses."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.hashing.probe import (
    ProbeError,
    probe_callable,
    probe_module,
    same_key,
)
from tests.support.probed_modules import IMAGE, Net, convolution, module_key

Builder = Callable[[], nn.Module]


def zero_gamma(width: int = 4) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width)
    nn.init.zeros_(norm.weight)
    return norm


def residual(branches: int) -> nn.Module:
    paths = nn.ModuleList(nn.Sequential(convolution(), nn.ReLU(), convolution(), zero_gamma()) for _ in range(branches))
    return Net(lambda n, x: x + sum(path(x) for path in n.paths), paths=paths)


def dense_after_concat(compute: Callable[[Any, Tensor], Any]) -> Builder:
    return lambda: Net(
        compute, a=convolution(2), b=convolution(3, kernel=1), norm=nn.BatchNorm2d(5), dense=convolution(4, width=5)
    )


class Attention(nn.Module):
    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        for name in names:
            setattr(self, name, nn.Parameter(torch.randn(4, 4)))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        q, k, v = (x @ getattr(self, name) for name in ("q", "k", "v"))
        attended: Tensor = torch.softmax(q @ k.transpose(1, 2), -1) @ v
        return attended


EQUAL: dict[str, tuple[Builder, Builder]] = {
    "new weights": (convolution, convolution),
    "permuted branches": (
        lambda: Net(lambda n, x: n.a(x) + F.relu(n.b(x)), a=convolution(), b=convolution(kernel=1)),
        lambda: Net(lambda n, x: F.relu(n.a(x)) + n.b(x), a=convolution(kernel=1), b=convolution()),
    ),
    "permuted branches of one shape": (
        lambda: Net(
            lambda n, x: torch.tanh(n.a(x)) * n.b(n.a(F.relu(x))) + n.c(x),
            a=convolution(),
            b=convolution(),
            c=convolution(),
        ),
        lambda: Net(
            lambda n, x: n.a(x) + torch.tanh(n.c(x)) * n.b(n.c(F.relu(x))),
            a=convolution(),
            b=convolution(),
            c=convolution(),
        ),
    ),
    "renamed attributes": (
        lambda: Net(lambda n, x: n.stem(n.head(x)), stem=convolution(), head=convolution()),
        lambda: Net(lambda n, x: n.z(n.y(x)), y=convolution(), z=convolution()),
    ),
    "nested": (
        lambda: nn.Sequential(convolution(), nn.ReLU(), convolution()),
        lambda: nn.Sequential(nn.Sequential(convolution()), nn.ReLU(), convolution()),
    ),
    "dead branch": (
        lambda: Net(lambda n, x: n.a(x), a=convolution()),
        lambda: Net(lambda n, x: (n.a(x), n.b(x))[0], a=convolution(), b=convolution()),
    ),
    "in place": (
        lambda: nn.Sequential(convolution(), nn.BatchNorm2d(4), nn.ReLU(), convolution()),
        lambda: nn.Sequential(convolution(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), convolution()),
    ),
    "concat into a dense convolution": (
        dense_after_concat(lambda n, x: n.dense(torch.cat([n.a(x), n.b(x)], 1))),
        dense_after_concat(lambda n, x: n.dense(torch.cat([n.b(x), n.a(x)], 1))),
    ),
    "concat, norm, dense convolution": (
        dense_after_concat(lambda n, x: n.dense(F.relu(n.norm(torch.cat([n.a(x), n.b(x)], 1))))),
        dense_after_concat(lambda n, x: n.dense(F.relu(n.norm(torch.cat([n.b(x), n.a(x)], 1))))),
    ),
    "order of creation of bare parameters": (lambda: Attention("qkv"), lambda: Attention("vqk")),
    "a parameter's side of a product": (
        lambda: Net(lambda n, x: x * n.w, w=nn.Parameter(torch.ones(4, 1, 1))),
        lambda: Net(lambda n, x: n.other * x, other=nn.Parameter(torch.zeros(4, 1, 1))),
    ),
    "another order of summation": (
        lambda: nn.Sequential(
            Net(lambda n, x: x.mean((2, 3), keepdim=True) + x), convolution(), nn.BatchNorm2d(4), convolution()
        ),
        lambda: nn.Sequential(
            Net(lambda n, x: x.mean(2, keepdim=True).mean(3, keepdim=True) + x),
            convolution(),
            nn.BatchNorm2d(4),
            convolution(),
        ),
    ),
    "an identity": (lambda: nn.Sequential(convolution(), nn.Dropout(0.0), nn.Identity()), convolution),
    "pooling is linear": (
        lambda: Net(lambda n, x: F.avg_pool2d(n.a(x) + n.b(x), 2), a=convolution(), b=convolution()),
        lambda: Net(lambda n, x: F.avg_pool2d(n.a(x), 2) + F.avg_pool2d(n.b(x), 2), a=convolution(), b=convolution()),
    ),
}


DIFFERENT: dict[str, tuple[Builder, Builder]] = {
    "shared and copied": (
        lambda: Net(lambda n, x: n.a(x) + n.a(F.relu(x)), a=convolution()),
        lambda: Net(lambda n, x: n.a(x) + n.b(F.relu(x)), a=convolution(), b=convolution()),
    ),
    "shared and copied, same input": (
        lambda: Net(lambda n, x: n.a(x) + n.a(x), a=convolution()),
        lambda: Net(lambda n, x: n.a(x) + n.b(x), a=convolution(), b=convolution()),
    ),
    "twice": (lambda: Net(lambda n, x: n.a(x) + n.a(x), a=convolution()), convolution),
    "conv-conv": (lambda: nn.Sequential(convolution(), convolution()), convolution),
    "conv1x1-conv3x3": (lambda: nn.Sequential(convolution(kernel=1), convolution()), convolution),
    "zero-initialised branches": (lambda: residual(2), lambda: residual(3)),
    "norm-norm": (
        lambda: nn.Sequential(convolution(), nn.BatchNorm2d(4), nn.BatchNorm2d(4)),
        lambda: nn.Sequential(convolution(), nn.BatchNorm2d(4)),
    ),
    "bare norm-norm": (lambda: nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4)), lambda: nn.BatchNorm2d(4)),
    "concat into a grouped convolution": (
        lambda: Net(lambda n, x: n.g(torch.cat([n.a(x), x], 1)), a=convolution(), g=nn.Conv2d(8, 4, 1, groups=4)),
        lambda: Net(
            lambda n, x: n.g(torch.cat([n.a(x), x], 1)[:, torch.tensor([0, 2, 1, 3, 4, 5, 6, 7])]),
            a=convolution(),
            g=nn.Conv2d(8, 4, 1, groups=4),
        ),
    ),
    "dilation": (lambda: convolution(), lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2)),
    "activation": (lambda: nn.Sequential(convolution(), nn.ReLU()), lambda: nn.Sequential(convolution(), nn.ReLU6())),
    "bias": (
        lambda: nn.Sequential(convolution(), nn.BatchNorm2d(4)),
        lambda: nn.Sequential(convolution(bias=False), nn.BatchNorm2d(4)),
    ),
    "epsilon": (lambda: nn.BatchNorm2d(4, eps=1e-3), lambda: nn.BatchNorm2d(4)),
    "dropout": (
        lambda: nn.Sequential(convolution(), nn.Dropout(0.1)),
        lambda: nn.Sequential(convolution(), nn.Dropout(0.2)),
    ),
    "stopped gradient": (
        lambda: nn.Sequential(convolution(), convolution()),
        lambda: Net(lambda n, x: n.b(n.a(x).detach()), a=convolution(), b=convolution()),
    ),
    "difference of copies": (  # both are zero, with zero gradients, where the copies have equal weights
        lambda: Net(lambda n, x: (n.a(x) - n.b(x)) ** 2, a=convolution(), b=convolution()),
        lambda: Net(lambda n, x: (n.a(x) - n.b(x)) ** 4, a=convolution(), b=convolution()),
    ),
    "output order": (
        lambda: Net(lambda n, x: (n.a(x), x), a=convolution()),
        lambda: Net(lambda n, x: (x, n.a(x)), a=convolution()),
    ),
    "roles of bare parameters": (
        lambda: Attention("qkv"),
        lambda: Net(
            lambda n, x: (
                (f := x.flatten(2).transpose(1, 2)) is not None
                and torch.softmax((f @ n.q) @ (f @ n.k).transpose(1, 2), -1) @ (f @ n.k)
            ),
            q=nn.Parameter(torch.ones(4, 4)),
            k=nn.Parameter(torch.ones(4, 4)),
        ),
    ),
    "frozen weights": (lambda: convolution().requires_grad_(False), convolution),
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_computes_the_same_has_one_key(name: str) -> None:
    x, y = (module_key(build()) for build in EQUAL[name])
    assert same_key(x, y)
    assert same_key(y, x)


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_computes_something_else_has_another_key(name: str) -> None:
    x, y = (module_key(build()) for build in DIFFERENT[name])
    assert not same_key(x, y)
    assert x.text != y.text
    assert x.alternate != y.alternate


def stack(activations: Sequence[type[nn.Module]], width: int) -> nn.Module:
    blocks = [(convolution(width, width=width, bias=False), nn.BatchNorm2d(width), kind()) for kind in activations]
    return nn.Sequential(*(layer for block in blocks for layer in block))


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("kinds", [(nn.ReLU, nn.ReLU6), (nn.ReLU6, nn.ReLU), (nn.Hardswish, nn.SiLU)])
def test_bounds_of_activations_are_met_at_every_depth(
    kinds: tuple[type[nn.Module], type[nn.Module]], width: int
) -> None:
    usual, other = kinds
    texts = {module_key(stack([usual] * 6, width), (width, 8, 8)).text}
    for index in range(6):
        row = [usual] * 6
        row[index] = other
        texts.add(module_key(stack(row, width), (width, 8, 8)).text)
    assert len(texts) == 7


# -- what a probe leaves alone, and what it refuses -------------------------------------------------------------------


def test_the_module_and_all_random_states_stay_as_they_were() -> None:
    module = nn.Sequential(convolution(), nn.BatchNorm2d(4), nn.Dropout(), Net(lambda n, x: x + torch.rand(1))).float()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]
    with torch.no_grad():
        module_key(module)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert [m.training for m in module.modules()] == modes
    assert all(p.grad is None and p.dtype == torch.float32 for p in module.parameters())
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.get_default_dtype() == torch.float32
    assert same_key(module_key(module), module_key(module.eval()))


def test_weights_are_not_part_of_a_key_but_constants_are() -> None:
    module = nn.Sequential(convolution(), nn.BatchNorm2d(4))
    first = module_key(module)
    module.train()(torch.randn(8, 4, 4, 4))  # running statistics move
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert same_key(first, module_key(module))
    scale = Net(lambda n, x: x * n.scale)
    scale.register_buffer("scale", torch.tensor(2.0))
    other = Net(lambda n, x: x * n.scale)
    other.register_buffer("scale", torch.tensor(3.0))
    assert not same_key(module_key(scale), module_key(other))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.LazyConv2d(4, 3), "lazy parameters"),
        (lambda: Net(lambda n, x: x, kept=(i for i in range(3))), "cannot be copied"),
        (lambda: Net(lambda n, x: x, kept=torch.ones(1, requires_grad=True) * 2), "computed with gradients"),
        (lambda: convolution(width=3), "failed on inputs of shapes"),
        (lambda: Net(lambda n, x: object()), "returned a object"),
        (
            lambda: Net(lambda n, x: n.w.to(torch.complex128), w=nn.Parameter(torch.ones(2, dtype=torch.cfloat))),
            "complex",
        ),
    ],
)
def test_what_cannot_be_probed_is_refused_with_a_reason(build: Builder, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        module_key(build())


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="batch of 2 or more"):
        module_key(convolution(), batch=1)


def test_a_probe_that_takes_too_long_is_stopped() -> None:
    def stuck(x: Any) -> Any:
        while True:
            with contextlib.suppress(Exception):  # code that catches all it can
                x = x + 1

    start = time.monotonic()
    with pytest.raises(ProbeError, match=r"took more than 0.2 s"):
        probe_callable(stuck, seconds=0.2)
    with pytest.raises(ProbeError, match=r"took more than 0.2 s"):
        probe_module(Net(lambda n, x: stuck(x)), [IMAGE], seconds=0.2)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.LSTM(4, 3, batch_first=True), (5, 4)),
        (nn.GRU(4, 3), (5, 4)),
        (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), (5, 4)),
        (nn.Sequential(nn.ConvTranspose2d(4, 3, 3, 2), nn.InstanceNorm2d(3, affine=True), nn.PReLU(3)), IMAGE),
        (nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.GroupNorm(2, 8), nn.GELU()), IMAGE),
        (nn.Sequential(nn.Conv2d(4, 4, 3, (2, 1), 1, groups=4, padding_mode="reflect")), (4, 6, 5)),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (4,)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_modules_of_many_kinds_have_repeatable_keys(module: nn.Module, shape: tuple[int, ...]) -> None:
    first = module_key(module, shape)
    assert first.text == module_key(module, shape).text
    assert len(set(first.values)) > 3
    assert all(math.isfinite(v) for v in first.values)


def test_depthwise_convolutions_are_computed_as_torch_does() -> None:
    from nas.hashing.probe.parameter_fill import depthwise_conv2d

    x, weight, bias = torch.randn(2, 6, 9, 7), torch.randn(6, 1, 3, 2), torch.randn(6)
    for stride, padding, dilation in ((1, 0, 1), ((2, 1), (1, 2), (2, 1)), (3, 2, 1)):
        named = {"input": x, "weight": weight, "bias": bias, "groups": 6}
        named |= {"stride": stride, "padding": padding, "dilation": dilation}
        torch.testing.assert_close(depthwise_conv2d(named), F.conv2d(**named))


def test_integer_inputs_and_positions_of_nan_are_read() -> None:
    tokens = torch.tensor([[0, 1, 2], [2, 2, 1]])
    embedding = probe_module(nn.Embedding(3, 4), [tokens])
    assert not same_key(embedding, probe_module(nn.Embedding(3, 4), [tokens.flip(0)]))
    roots = [module_key(Net(lambda n, x, s=s: torch.sqrt(s * n.a(x)), a=convolution())) for s in (1, -1)]
    assert not same_key(*roots)
    assert all(math.isfinite(v) for root in roots for v in root.values)


def test_values_that_straddle_a_border_of_one_grid_stay_the_same() -> None:
    from nas.hashing.probe.key import probe_key_of

    for base in np.exp(np.arange(-3, 3) * 1e-6 + 1e-15):  # on the borders of the first grid, or nearly
        x, y = (probe_key_of("test", (), [base * (1 + e), 2.0, 0.0, -1e-9]) for e in (-1e-14, 1e-14))
        assert same_key(x, y)
    assert not same_key(probe_key_of("test", (), [1.0]), probe_key_of("test", (), [1.0 + 1e-5]))
    assert not same_key(probe_key_of("test", (), [1.0]), probe_key_of("other", (), [1.0]))
    assert probe_key_of("test", (), [1.0]).text.startswith("probe-1:")
