"""Probe keys of callables, learning programs and optimisers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.hashing.probe import (
    ProbeError,
    ProbeKey,
    probe_callable,
    probe_optimizer,
    probe_program,
    same_key,
)


def branch(x: float) -> float:
    return x if x > 0 else 0.0


SAME_CALLABLES: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (lambda x: x * 2, lambda x: x + x),
    (lambda x: math.sin(x), np.sin),
    (lambda x: torch.sin(x), np.sin),
    (branch, lambda x: np.maximum(x, 0)),
    (lambda x, y: (x + y) + 1, lambda a, b: a + (b + 1)),
    (lambda x: np.sqrt(x), lambda z: z**0.5),
    (lambda x: x + np.random.rand(), lambda x: np.random.rand() + x),
    (lambda x: {"b": x, "a": -x}, lambda x: {"a": -x, "b": x}),
]


OTHER_CALLABLES: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (lambda x: x + 1, lambda x: x + 2),
    (lambda x: x, lambda x: np.minimum(x, 6)),
    (lambda x, y: x - y, lambda x, y: y - x),
    (lambda x: (x, -x), lambda x: (-x, x)),
    (lambda x: 1 / 0, lambda x: [][0]),
    (lambda x: np.sqrt(x), lambda x: np.sqrt(abs(x))),
    (lambda x: np.log(x), lambda x: np.sqrt(x) * np.nan),
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

    assert same_key(probe_callable(lambda *a: a[0] @ a[1], [(2, 3), (3,)]), probe_callable(np.dot, [(2, 3), (3,)]))
    assert same_key(probe_callable(scale), probe_callable(lambda x: [x * 3]))
    assert same_key(probe_callable(lambda x, s: x * s, [(3,), ()]), probe_callable(lambda x, s: s * x, [(3,), ()]))
    with pytest.raises(ProbeError, match="describe its `inputs`"):
        probe_callable(lambda *a: a)


def test_a_callable_that_is_not_the_same_twice_is_refused() -> None:
    calls: list[int] = []

    def counting(x: Any) -> Any:
        calls.append(1)
        return x + len(calls)

    with pytest.raises(ProbeError, match="the same twice"):
        probe_callable(counting)


# -- learning programs ------------------------------------------------------------------------------------------------


def start(state: Any) -> None:
    state["w"] = np.zeros(4)


def guess(state: Any) -> None:
    state["prediction"] = state["w"] @ state["x"]


def step_by(rate: float) -> Callable[[Any], None]:
    def learn(state: Any) -> None:
        state["w"] = state["w"] + rate * (state["y"] - state["prediction"]) * state["x"]

    return learn


def test_programs_differ_by_their_errors() -> None:
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
    randomised = [probe_program(start, lambda s: s["w"] @ s["x"] + random.gauss(0, 1), step_by(0.1)) for _ in range(2)]
    assert same_key(*randomised)


# -- optimisers -------------------------------------------------------------------------------------------------------


class ByHand(torch.optim.Optimizer):
    def __init__(self, parameters: list[nn.Parameter], rate: float) -> None:
        super().__init__(parameters, {"rate": rate})

    def step(self) -> None:  # type: ignore[override]
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter -= group["rate"] * parameter.grad


def test_optimizers_differ_by_their_moves() -> None:
    def law(kind: Any, **more: Any) -> ProbeKey:
        return probe_optimizer(lambda p: kind(p, **more), seconds=60)

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
