"""Keys of learning programs in AutoML-Zero's form, and of optimisers."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.hashing.probe.key import ProbeError, ProbeKey
from nas.hashing.probe.outputs import (
    ProbeOutput,
    key_of_outputs,
    nonfinite_digest,
    output_of,
    qualified_name,
    run_twice,
)
from nas.hashing.probe.random_numbers import uniform
from nas.hashing.probe.sandbox import sandbox, seed_global_generators

ProgramState = MutableMapping[str, Any]

_GRADIENT_SIZES = (1.0, 0.5, 2.0, 0.1, 1e-3, 1e-7, 1e-8, 0.3)  # a fall after a rise tells AMSGrad from Adam


def probe_program(
    setup: Callable[[ProgramState], object],
    predict: Callable[[ProgramState], object],
    learn: Callable[[ProgramState], object],
    *,
    features: int = 4,
    examples: int = 10,
    seeds: int = 3,
    seconds: float = 10.0,
) -> ProbeKey:
    """The key of a learning program in AutoML-Zero's form (arXiv 2003.03384, fig. 1): its errors, in order.

    The functions share a dictionary: ``setup`` fills it; ``predict`` reads ``state["x"]``, a float64 vector of
    ``features``, and writes ``state["prediction"]`` or returns it; ``learn`` may also read ``state["y"]``. Each of
    ``seeds`` fixed regression tasks has ``examples`` to train on and as many to validate on. A task ends with the first
    exception, whose type is part of the key.
    """
    subject = qualified_name(predict)

    def task(seed: int) -> ProbeOutput:
        numbers = uniform(f"task {seed}", (2 * examples + 2) * features).reshape(-1, features) * 2
        teacher, bend, points = numbers[0], numbers[1], numbers[2:]
        targets = np.tanh(points @ teacher) + 0.3 * (points @ bend)
        state: dict[str, Any] = {}
        structure: list[object] = []
        errors: list[float] = []
        seed_global_generators(seed)
        try:
            setup(state)
            for index, (x, y) in enumerate(zip(points, targets, strict=True)):
                state["x"] = x.copy()
                state.pop("y", None)  # not to be seen by a prediction
                returned = predict(state)
                if returned is not None:
                    state["prediction"] = returned
                error = float(y) - float(state["prediction"])
                if math.isfinite(error):
                    errors.append(error)
                else:
                    structure.append((index, repr(error)))
                if index < examples:
                    state["y"] = float(y)
                    learn(state)
        except Exception as error:  # noqa: BLE001 - whatever it raises is what it does
            structure.append(("raises", type(error).__name__, len(errors)))
        return tuple(structure), errors

    with sandbox(seconds, subject):
        outputs = run_twice(lambda: [task(seed) for seed in range(seeds)], subject)
    return key_of_outputs("program", (features, examples), outputs)


def probe_optimizer(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    shapes: Sequence[tuple[int, ...]] = ((3, 2), (4,)),
    *,
    steps: int = 12,
    seconds: float = 10.0,
) -> ProbeKey:
    """The key of an optimiser's step law: how parameters of these ``shapes`` move, step by step.

    ``steps`` with fixed gradients of many sizes (a constant added to a denominator must show), then as many, with a
    new optimiser, down a fixed loss that is not quadratic. ``step`` gets a closure where it insists on one.
    """
    subject = qualified_name(make)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.optim.SGD([nn.Parameter(torch.zeros(1))])  # the first optimiser imports much: no part of the time
    with sandbox(seconds, subject):
        try:
            outputs = run_twice(
                lambda: [_trajectory(make, shapes, steps, fixed, subject) for fixed in (True, False)], subject
            )
        except ProbeError:
            raise
        except Exception as error:
            raise ProbeError(f"the optimiser of {subject} failed: {type(error).__name__}: {error}") from error
    return key_of_outputs("optimizer", (list(shapes), steps), outputs)


def _trajectory(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    shapes: Sequence[tuple[int, ...]],
    steps: int,
    fixed: bool,
    subject: str,
) -> ProbeOutput:
    """How a new optimiser moves parameters: with fixed gradients, or else down a fixed loss that is not quadratic."""
    seed_global_generators(0)
    parameters = [nn.Parameter(_fixed_tensor(f"start {i}", s)) for i, s in enumerate(shapes)]
    anchors = [_fixed_tensor(f"anchor {i}", s) * 2 for i, s in enumerate(shapes)]
    optimizer = make(parameters)
    step_parameters = inspect.signature(optimizer.step).parameters.values()
    needs_closure = any(p.default is p.empty and "closure" in p.name for p in step_parameters)
    structure: list[object] = []
    values: list[float] = []
    for step in range(steps):

        def closure(step: int = step) -> float:
            optimizer.zero_grad()
            if fixed:
                for index, parameter in enumerate(parameters):
                    gradient = _fixed_tensor(f"gradient {step} {index}", tuple(parameter.shape))
                    parameter.grad = gradient * _GRADIENT_SIZES[(step + 3 * index) % len(_GRADIENT_SIZES)]
                return 0.0
            loss = torch.zeros(())
            for parameter, anchor in zip(parameters, anchors, strict=True):
                offset = parameter - anchor
                loss = loss + torch.log(torch.cosh(2 * offset)).sum() + 0.1 * (offset**4).sum() + offset.sum() ** 2
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss)

        before = [p.detach().clone() for p in parameters]
        if needs_closure:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
        for old, parameter in zip(before, parameters, strict=True):
            # Moves, not positions: a small rate would vanish beside them. Moves of rounding size count as none.
            moves = (parameter.detach() - old).numpy().ravel()
            structure.append(nonfinite_digest(moves))
            floor = 1e-14 * float(old.abs().max())
            values += output_of(np.where(np.abs(moves) > floor, moves, 0.0), subject)[1]
    return tuple(structure), values


def _fixed_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(uniform(name, math.prod(shape))).reshape(shape)
