"""Probes: what must be equal is, what must differ does, and the caller's things stay as they were."""

from __future__ import annotations

import contextlib
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.hashing.probe import (
    ProbeError,
    ProbeKey,
    probe_callable,
    probe_module,
    probe_optimizer,
    probe_program,
    same_key,
)

ROOT = Path(__file__).parents[3]
IMAGE = (4, 4, 4)
Builder = Callable[[], nn.Module]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small lose by threads, most of all where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Net(nn.Module):
    """Layers by name, and what is computed with them."""

    def __init__(self, compute: Callable[[Any, Tensor], Any], **layers: Any) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.compute = compute

    def forward(self, x: Tensor) -> Any:
        return self.compute(self, x)


def conv(out: int = 4, kernel: int = 3, width: int = 4, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(width, out, kernel, padding=kernel // 2, **more)


def key(module: nn.Module, shape: tuple[int, ...] = IMAGE, **more: Any) -> ProbeKey:
    return probe_module(module, [shape], **more)


def zero_gamma(width: int = 4) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width)
    nn.init.zeros_(norm.weight)
    return norm


def residual(branches: int) -> nn.Module:
    paths = nn.ModuleList(nn.Sequential(conv(), nn.ReLU(), conv(), zero_gamma()) for _ in range(branches))
    return Net(lambda n, x: x + sum(path(x) for path in n.paths), paths=paths)


def dense_after_concat(compute: Callable[[Any, Tensor], Any]) -> Builder:
    return lambda: Net(compute, a=conv(2), b=conv(3, kernel=1), norm=nn.BatchNorm2d(5), dense=conv(4, width=5))


class Attention(nn.Module):
    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        for name in names:
            setattr(self, name, nn.Parameter(torch.randn(4, 4)))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        q, k, v = (x @ getattr(self, name) for name in ("q", "k", "v"))
        made: Tensor = torch.softmax(q @ k.transpose(1, 2), -1) @ v
        return made


EQUAL: dict[str, tuple[Builder, Builder]] = {
    "new weights": (conv, conv),
    "permuted branches": (
        lambda: Net(lambda n, x: n.a(x) + F.relu(n.b(x)), a=conv(), b=conv(kernel=1)),
        lambda: Net(lambda n, x: F.relu(n.a(x)) + n.b(x), a=conv(kernel=1), b=conv()),
    ),
    "permuted branches of one shape": (
        lambda: Net(lambda n, x: torch.tanh(n.a(x)) * n.b(n.a(F.relu(x))) + n.c(x), a=conv(), b=conv(), c=conv()),
        lambda: Net(lambda n, x: n.a(x) + torch.tanh(n.c(x)) * n.b(n.c(F.relu(x))), a=conv(), b=conv(), c=conv()),
    ),
    "renamed attributes": (
        lambda: Net(lambda n, x: n.stem(n.head(x)), stem=conv(), head=conv()),
        lambda: Net(lambda n, x: n.z(n.y(x)), y=conv(), z=conv()),
    ),
    "nested": (
        lambda: nn.Sequential(conv(), nn.ReLU(), conv()),
        lambda: nn.Sequential(nn.Sequential(conv()), nn.ReLU(), conv()),
    ),
    "dead branch": (
        lambda: Net(lambda n, x: n.a(x), a=conv()),
        lambda: Net(lambda n, x: (n.a(x), n.b(x))[0], a=conv(), b=conv()),
    ),
    "in place": (
        lambda: nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(), conv()),
        lambda: nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), conv()),
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
        lambda: nn.Sequential(Net(lambda n, x: x.mean((2, 3), keepdim=True) + x), conv(), nn.BatchNorm2d(4), conv()),
        lambda: nn.Sequential(
            Net(lambda n, x: x.mean(2, keepdim=True).mean(3, keepdim=True) + x), conv(), nn.BatchNorm2d(4), conv()
        ),
    ),
    "an identity": (lambda: nn.Sequential(conv(), nn.Dropout(0.0), nn.Identity()), conv),
    "pooling is linear": (
        lambda: Net(lambda n, x: F.avg_pool2d(n.a(x) + n.b(x), 2), a=conv(), b=conv()),
        lambda: Net(lambda n, x: F.avg_pool2d(n.a(x), 2) + F.avg_pool2d(n.b(x), 2), a=conv(), b=conv()),
    ),
}

DIFFERENT: dict[str, tuple[Builder, Builder]] = {
    "shared and copied": (
        lambda: Net(lambda n, x: n.a(x) + n.a(F.relu(x)), a=conv()),
        lambda: Net(lambda n, x: n.a(x) + n.b(F.relu(x)), a=conv(), b=conv()),
    ),
    "shared and copied, same input": (
        lambda: Net(lambda n, x: n.a(x) + n.a(x), a=conv()),
        lambda: Net(lambda n, x: n.a(x) + n.b(x), a=conv(), b=conv()),
    ),
    "twice": (lambda: Net(lambda n, x: n.a(x) + n.a(x), a=conv()), conv),
    "conv-conv": (lambda: nn.Sequential(conv(), conv()), conv),
    "conv1x1-conv3x3": (lambda: nn.Sequential(conv(kernel=1), conv()), conv),
    "zero-initialised branches": (lambda: residual(2), lambda: residual(3)),
    "norm-norm": (
        lambda: nn.Sequential(conv(), nn.BatchNorm2d(4), nn.BatchNorm2d(4)),
        lambda: nn.Sequential(conv(), nn.BatchNorm2d(4)),
    ),
    "bare norm-norm": (lambda: nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4)), lambda: nn.BatchNorm2d(4)),
    "concat into a grouped convolution": (
        lambda: Net(lambda n, x: n.g(torch.cat([n.a(x), x], 1)), a=conv(), g=nn.Conv2d(8, 4, 1, groups=4)),
        lambda: Net(
            lambda n, x: n.g(torch.cat([n.a(x), x], 1)[:, torch.tensor([0, 2, 1, 3, 4, 5, 6, 7])]),
            a=conv(),
            g=nn.Conv2d(8, 4, 1, groups=4),
        ),
    ),
    "dilation": (lambda: conv(), lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2)),
    "activation": (lambda: nn.Sequential(conv(), nn.ReLU()), lambda: nn.Sequential(conv(), nn.ReLU6())),
    "bias": (
        lambda: nn.Sequential(conv(), nn.BatchNorm2d(4)),
        lambda: nn.Sequential(conv(bias=False), nn.BatchNorm2d(4)),
    ),
    "epsilon": (lambda: nn.BatchNorm2d(4, eps=1e-3), lambda: nn.BatchNorm2d(4)),
    "dropout": (lambda: nn.Sequential(conv(), nn.Dropout(0.1)), lambda: nn.Sequential(conv(), nn.Dropout(0.2))),
    "stopped gradient": (
        lambda: nn.Sequential(conv(), conv()),
        lambda: Net(lambda n, x: n.b(n.a(x).detach()), a=conv(), b=conv()),
    ),
    "difference of copies": (  # both are zero, with zero gradients, where the copies have equal weights
        lambda: Net(lambda n, x: (n.a(x) - n.b(x)) ** 2, a=conv(), b=conv()),
        lambda: Net(lambda n, x: (n.a(x) - n.b(x)) ** 4, a=conv(), b=conv()),
    ),
    "output order": (
        lambda: Net(lambda n, x: (n.a(x), x), a=conv()),
        lambda: Net(lambda n, x: (x, n.a(x)), a=conv()),
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
    "frozen weights": (lambda: conv().requires_grad_(False), conv),
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_computes_the_same_has_one_key(name: str) -> None:
    x, y = (key(build()) for build in EQUAL[name])
    assert same_key(x, y)
    assert same_key(y, x)


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_computes_something_else_has_another_key(name: str) -> None:
    x, y = (key(build()) for build in DIFFERENT[name])
    assert not same_key(x, y)
    assert x.text != y.text
    assert x.alternate != y.alternate


def stack(activations: Sequence[type[nn.Module]], width: int) -> nn.Module:
    blocks = [(conv(width, width=width, bias=False), nn.BatchNorm2d(width), kind()) for kind in activations]
    return nn.Sequential(*(layer for block in blocks for layer in block))


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("kinds", [(nn.ReLU, nn.ReLU6), (nn.ReLU6, nn.ReLU), (nn.Hardswish, nn.SiLU)])
def test_bounds_of_activations_are_met_at_every_depth(
    kinds: tuple[type[nn.Module], type[nn.Module]], width: int
) -> None:
    usual, other = kinds
    texts = {key(stack([usual] * 6, width), (width, 8, 8)).text}
    for place in range(6):
        row = [usual] * 6
        row[place] = other
        texts.add(key(stack(row, width), (width, 8, 8)).text)
    assert len(texts) == 7


# -- an oracle: cells as in NAS-Bench-201, and their canonical forms by brute force -----------------------------------

Cell = tuple[str, ...]  # operations of the edges 01, 02, 12, 03, 13, 23
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPS = ("none", "skip", "conv1", "conv3", "pool")


class CellModule(nn.Module):
    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.layers = nn.ModuleDict()
        for edge, op in enumerate(cell):
            if op.startswith("conv"):
                self.layers[str(edge)] = nn.Sequential(
                    nn.ReLU(), conv(kernel=int(op[-1]), bias=False), nn.BatchNorm2d(4)
                )

    def forward(self, x: Tensor) -> Tensor:
        nodes: list[Any] = [x, 0.0, 0.0, 0.0]
        for edge, ((start, end), op) in enumerate(zip(EDGES, self.cell, strict=True)):
            value = nodes[start] if isinstance(nodes[start], Tensor) else torch.zeros_like(x)
            if op == "skip":
                nodes[end] = nodes[end] + value
            elif op == "pool":
                nodes[end] = nodes[end] + F.avg_pool2d(value, 3, 1, 1, count_include_pad=False)
            elif op != "none":
                nodes[end] = nodes[end] + self.layers[str(edge)](value)
        return nodes[3] if isinstance(nodes[3], Tensor) else torch.zeros_like(x)


Sum = dict[tuple[int, Any], Fraction]  # (poolings, what is pooled: "x" or the edge of a convolution) -> factor


def canonical(cell: Cell) -> Any:
    """The least description of a cell over all names of its convolutions.

    Sums are flat, pooling is linear and leaves constants alone, a batch norm forgets a positive factor and turns a
    constant (zero too, and a constant after a 1x1 convolution) into its own trained constant.
    """
    nodes: list[Sum] = [{(0, "x"): Fraction(1)}, {}, {}, {}]
    made: dict[int, tuple[str, Sum]] = {}
    for edge, ((start, end), op) in enumerate(zip(EDGES, cell, strict=True)):
        source, target = nodes[start], nodes[end]
        terms: Sum = {}
        if op == "skip":
            terms = source
        elif op == "pool":
            terms = {(k if is_constant(made, base) else k + 1, base): v for (k, base), v in source.items()}
        elif op != "none":
            if all(is_constant(made, base) for _, base in source) and (op == "conv1" or not source):
                made[edge] = ("constant", {})
            else:
                total = sum(source.values())
                made[edge] = (op, {term: v / total for term, v in source.items()})
            terms = {(0, edge): Fraction(1)}
        for term, factor in terms.items():
            target[term] = target.get(term, Fraction(0)) + factor
    live: set[int] = set()
    pending = [base for _, base in nodes[3] if base != "x"]
    while pending:
        edge = pending.pop()
        if edge not in live:
            live.add(edge)
            pending += [base for _, base in made[edge][1] if base != "x"]

    def told(terms: Sum, names: dict[Any, int]) -> list[Any]:
        return sorted((k, -1 if base == "x" else names[base], factor) for (k, base), factor in terms.items())

    def forms() -> Iterator[Any]:
        for order in permutations(sorted(live)):
            names = {edge: place for place, edge in enumerate(order)}
            yield [told(nodes[3], names), [(made[edge][0], told(made[edge][1], names)) for edge in order]]

    return min(forms())


def is_constant(made: dict[int, tuple[str, Sum]], base: Any) -> bool:
    return base != "x" and made[base][0] == "constant"


def sample_of_cells() -> list[Cell]:
    rng = random.Random(0)
    cells = [tuple(rng.choice(OPS) for _ in EDGES) for _ in range(100)]
    for cell in cells[:40]:  # sparser relatives, among which many are equal
        edge = rng.randrange(6)
        cells.append((*cell[:edge], rng.choice(("none", "skip")), *cell[edge + 1 :]))
    known = [
        "conv1 none conv3 none none skip",
        "conv3 none skip none skip skip",  # one convolution used twice, and
        "conv3 conv3 none none skip skip",  # two: one string of the published benchmark
        "none none none skip none none",
        "none skip none none none skip",  # both the identity
        "none none conv1 none none skip",
        "none none none none none conv3",  # both a trained constant
        "none none conv3 none none conv3",
        "none none conv1 none none conv1",
        "skip none none none conv1 none",
        "skip skip none none conv1 none",
        "skip skip skip none none conv1",  # twice its input into a batch norm
        "none none none conv1 none none",
        "pool none none none skip none",
        "none none none pool none none",
    ]
    return [*cells, *(tuple(text.split()) for text in known)]


def test_probes_part_cells_as_their_canonical_forms_do() -> None:
    cells = sample_of_cells()
    forms = [repr(canonical(cell)) for cell in cells]
    keys = [probe_module(CellModule(cell), [IMAGE]) for cell in cells]
    by_form: dict[str, set[str]] = {}
    by_text: dict[str, set[str]] = {}
    for form, found in zip(forms, keys, strict=True):
        by_form.setdefault(form, set()).add(found.text)
        by_text.setdefault(found.text, set()).add(form)
    assert 60 < len(by_form) < len(cells)
    assert {form: texts for form, texts in by_form.items() if len(texts) > 1} == {}
    assert {text: found for text, found in by_text.items() if len(found) > 1} == {}


# -- what a probe leaves alone, and what it refuses -------------------------------------------------------------------


def test_the_module_and_all_random_states_stay_as_they_were() -> None:
    module = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.Dropout(), Net(lambda n, x: x + torch.rand(1))).float()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    states = random.getstate(), numpy.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]
    with torch.no_grad():
        key(module)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert [m.training for m in module.modules()] == modes
    assert all(p.grad is None and p.dtype == torch.float32 for p in module.parameters())
    assert random.getstate() == states[0]
    assert (numpy.random.get_state()[1] == states[1]).all()  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.get_default_dtype() == torch.float32
    assert same_key(key(module), key(module.eval()))


def test_weights_are_not_part_of_a_key_but_constants_are() -> None:
    module = nn.Sequential(conv(), nn.BatchNorm2d(4))
    first = key(module)
    module.train()(torch.randn(8, 4, 4, 4))  # running statistics move
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert same_key(first, key(module))
    scale = Net(lambda n, x: x * n.scale)
    scale.register_buffer("scale", torch.tensor(2.0))
    other = Net(lambda n, x: x * n.scale)
    other.register_buffer("scale", torch.tensor(3.0))
    assert not same_key(key(scale), key(other))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.LazyConv2d(4, 3), "lazy parameters"),
        (lambda: Net(lambda n, x: x, kept=(i for i in range(3))), "cannot be copied"),
        (lambda: Net(lambda n, x: x, kept=torch.ones(1, requires_grad=True) * 2), "computed with gradients"),
        (lambda: conv(width=3), "failed on inputs of shapes"),
        (lambda: Net(lambda n, x: object()), "returned a object"),
        (
            lambda: Net(lambda n, x: n.w.to(torch.complex128), w=nn.Parameter(torch.ones(2, dtype=torch.cfloat))),
            "complex",
        ),
    ],
)
def test_what_cannot_be_probed_is_refused_with_a_reason(build: Builder, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        key(build())


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="batch of 2 or more"):
        key(conv(), batch=1)


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
    first = key(module, shape)
    assert first.text == key(module, shape).text
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
    roots = [key(Net(lambda n, x, s=s: torch.sqrt(s * n.a(x)), a=conv())) for s in (1, -1)]
    assert not same_key(*roots)
    assert all(math.isfinite(v) for root in roots for v in root.values)


def test_values_that_straddle_a_border_of_one_grid_stay_the_same() -> None:
    from nas.hashing.probe.key import probe_key_of

    for base in numpy.exp(numpy.arange(-3, 3) * 1e-6 + 1e-15):  # on the borders of the first grid, or nearly
        x, y = (probe_key_of("test", (), [base * (1 + e), 2.0, 0.0, -1e-9]) for e in (-1e-14, 1e-14))
        assert same_key(x, y)
    assert not same_key(probe_key_of("test", (), [1.0]), probe_key_of("test", (), [1.0 + 1e-5]))
    assert not same_key(probe_key_of("test", (), [1.0]), probe_key_of("other", (), [1.0]))
    assert probe_key_of("test", (), [1.0]).text.startswith("probe-1:")


# -- callables --------------------------------------------------------------------------------------------------------


def branch(x: float) -> float:
    return x if x > 0 else 0.0


SAME_CALLABLES: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (lambda x: x * 2, lambda x: x + x),
    (lambda x: math.sin(x), numpy.sin),
    (torch.sin, numpy.sin) if False else (lambda x: torch.sin(x), numpy.sin),
    (branch, lambda x: numpy.maximum(x, 0)),
    (lambda x, y: (x + y) + 1, lambda a, b: a + (b + 1)),
    (lambda x: numpy.sqrt(x), lambda z: z**0.5),
    (lambda x: x + numpy.random.rand(), lambda x: numpy.random.rand() + x),
    (lambda x: {"b": x, "a": -x}, lambda x: {"a": -x, "b": x}),
]
OTHER_CALLABLES: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (lambda x: x + 1, lambda x: x + 2),
    (lambda x: x, lambda x: numpy.minimum(x, 6)),
    (lambda x, y: x - y, lambda x, y: y - x),
    (lambda x: (x, -x), lambda x: (-x, x)),
    (lambda x: 1 / 0, lambda x: [][0]),
    (lambda x: numpy.sqrt(x), lambda x: numpy.sqrt(abs(x))),
    (lambda x: numpy.log(x), lambda x: numpy.sqrt(x) * numpy.nan),
    (lambda x: x + random.random(), lambda x: x),
    (lambda x: x > 0, lambda x: (x > 0) * 1.0),
]


@pytest.mark.parametrize("pair", range(len(SAME_CALLABLES)))
def test_callables_that_compute_the_same_have_one_key(pair: int) -> None:
    x, y = map(probe_callable, SAME_CALLABLES[pair])
    assert same_key(x, y)


@pytest.mark.parametrize("pair", range(len(OTHER_CALLABLES)))
def test_callables_that_compute_something_else_differ(pair: int) -> None:
    x, y = map(probe_callable, OTHER_CALLABLES[pair])
    assert not same_key(x, y)


def test_callables_take_described_inputs_and_may_change_them() -> None:
    def scale(x: Any) -> None:
        x *= 3

    assert same_key(probe_callable(lambda *a: a[0] @ a[1], [(2, 3), (3,)]), probe_callable(numpy.dot, [(2, 3), (3,)]))
    assert same_key(probe_callable(scale), probe_callable(lambda x: [x * 3]))
    assert same_key(probe_callable(lambda x, s: x * s, [(3,), ()]), probe_callable(lambda x, s: s * x, [(3,), ()]))
    with pytest.raises(ProbeError, match="describe its `inputs`"):
        probe_callable(lambda *a: a)


def test_a_callable_that_is_not_the_same_twice_is_refused() -> None:
    seen: list[int] = []

    def counting(x: Any) -> Any:
        seen.append(1)
        return x + len(seen)

    with pytest.raises(ProbeError, match="the same twice"):
        probe_callable(counting)


# -- learning programs ------------------------------------------------------------------------------------------------


def start(state: Any) -> None:
    state["w"] = numpy.zeros(4)


def guess(state: Any) -> None:
    state["prediction"] = state["w"] @ state["x"]


def step_by(rate: float) -> Callable[[Any], None]:
    def learn(state: Any) -> None:
        state["w"] = state["w"] + rate * (state["y"] - state["prediction"]) * state["x"]

    return learn


def test_programs_are_told_apart_by_their_errors() -> None:
    def same_guess(state: Any) -> float:
        return sum(a * b for a, b in zip(reversed(state["x"]), reversed(state["w"]), strict=True))

    def peek(state: Any) -> float:
        return float(state["y"])

    first = probe_program(start, guess, step_by(0.1))
    assert same_key(first, probe_program(start, same_guess, step_by(0.1)))
    assert not same_key(first, probe_program(start, guess, step_by(0.2)))
    assert not same_key(first, probe_program(start, guess, lambda state: None))
    assert not same_key(first, probe_program(start, peek, step_by(0.1)))
    nan, inf = (probe_program(start, lambda s, v=v: v, lambda s: None) for v in (math.nan, math.inf))
    assert not same_key(nan, inf)
    assert nan.values == ()
    drawn = [probe_program(start, lambda s: s["w"] @ s["x"] + random.gauss(0, 1), step_by(0.1)) for _ in range(2)]
    assert same_key(*drawn)


# -- optimisers -------------------------------------------------------------------------------------------------------


class ByHand(torch.optim.Optimizer):
    def __init__(self, parameters: list[nn.Parameter], rate: float) -> None:
        super().__init__(parameters, {"rate": rate})

    def step(self) -> None:  # type: ignore[override]
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter -= group["rate"] * parameter.grad


def test_optimizers_are_told_apart_by_their_moves() -> None:
    def law(kind: Any, **more: Any) -> ProbeKey:
        return probe_optimizer(lambda p: kind(p, **more))

    sgd = law(torch.optim.SGD, lr=0.1, momentum=0)
    assert same_key(sgd, probe_optimizer(lambda p: ByHand(p, 0.1)))
    adam = law(torch.optim.Adam, lr=1e-3)
    assert same_key(adam, law(torch.optim.AdamW, lr=1e-3, weight_decay=0))
    others = [
        law(torch.optim.SGD, lr=0.11),
        law(torch.optim.SGD, lr=0.1, momentum=0.9),
        law(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
        law(torch.optim.AdamW, lr=1e-3, weight_decay=1e-2),
        law(torch.optim.Adam, lr=1e-3, weight_decay=1e-2),
        law(torch.optim.Adam, lr=1e-3, eps=1e-9),
        law(torch.optim.Adam, lr=1e-3, amsgrad=True),
        law(torch.optim.SGD, lr=1e-8),
        law(torch.optim.SGD, lr=2e-8),
        law(torch.optim.LBFGS, lr=1e-2),
        law(torch.optim.RMSprop, lr=1e-3),
    ]
    keys = [sgd, adam, *others]
    assert len({k.text for k in keys}) == len({k.alternate for k in keys}) == len(keys)
    with pytest.raises(ProbeError, match="the optimiser of"):
        law(torch.optim.SGD, lr=-1)


# -- the same everywhere ----------------------------------------------------------------------------------------------

PRINT_KEYS = """
import sys, numpy, torch
from torch import nn
torch.set_num_threads(int(sys.argv[1]))
from nas.hashing.probe import probe_callable, probe_module, probe_optimizer
net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, groups=32), nn.Flatten(),
                    nn.Linear(32 * 28 * 28, 10))
print(probe_module(net, [(3, 32, 32)]).text)
print(probe_callable(lambda x: {"b": numpy.tanh(x), "a": x}).text)
print(probe_optimizer(lambda p: torch.optim.Adam(p)).text)
"""


def test_keys_are_the_same_in_other_processes_with_other_seeds_and_thread_counts() -> None:
    told = set()
    for seed, threads in (("1", "1"), ("2", "2")):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", PRINT_KEYS, threads]
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        told.add(ran.stdout)
    assert len(told) == 1


def test_the_time_of_an_optimizer_is_not_that_of_importing_it() -> None:
    code = """
import sys, torch
from nas.hashing.probe import probe_optimizer
known = ["torch._dynamo" in sys.modules]
probe_optimizer(lambda p: known.append("torch._dynamo" in sys.modules) or torch.optim.SGD(p))
print(known[0], known[1])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.split() == ["False", "True"], ran.stdout + ran.stderr


def test_importing_the_probe_is_left_to_who_needs_it() -> None:
    code = "import sys, nas, nas.hashing; print('nas.hashing.probe' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.strip() == "False", ran.stderr
