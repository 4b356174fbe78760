"""Keys of what learns: programs in AutoML-Zero's form, and optimisers."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import numpy
import torch
from torch import nn

from nas.hashing.probe.key import ProbeError, ProbeKey
from nas.hashing.probe.outputs import Reading, key_of_readings, named_as, not_finite, reading_of, twice
from nas.hashing.probe.random_numbers import uniform
from nas.hashing.probe.sandbox import reset_randomness, surroundings

State = MutableMapping[str, Any]


def probe_program(
    setup: Callable[[State], object],
    predict: Callable[[State], object],
    learn: Callable[[State], object],
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
    what = named_as(predict)

    def task(seed: int) -> Reading:
        numbers = uniform(f"task {seed}", (2 * examples + 2) * features).reshape(-1, features) * 2
        teacher, bend, points = numbers[0], numbers[1], numbers[2:]
        targets = numpy.tanh(points @ teacher) + 0.3 * (points @ bend)
        state: dict[str, Any] = {}
        structure: list[object] = []
        errors: list[float] = []
        reset_randomness(seed)
        try:
            setup(state)
            for place, (x, y) in enumerate(zip(points, targets, strict=True)):
                state["x"] = x.copy()
                state.pop("y", None)  # not to be seen by a prediction
                returned = predict(state)
                if returned is not None:
                    state["prediction"] = returned
                error = float(y) - float(state["prediction"])
                if math.isfinite(error):
                    errors.append(error)
                else:
                    structure.append((place, repr(error)))
                if place < examples:
                    state["y"] = float(y)
                    learn(state)
        except Exception as error:  # noqa: BLE001 - whatever it raises is what it does
            structure.append(("raises", type(error).__name__, len(errors)))
        return tuple(structure), errors

    with surroundings(seconds, what):
        readings = twice(lambda: [task(seed) for seed in range(seeds)], what)
    return key_of_readings("program", (features, examples), readings)


def probe_optimizer(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    shapes: Sequence[tuple[int, ...]] = ((3, 2), (4,)),
    *,
    steps: int = 12,
    seconds: float = 10.0,
) -> ProbeKey:
    """The key of an optimiser's step law: how parameters of these ``shapes`` move, step by step.

    ``steps`` with fixed gradients of many sizes (a constant added to a denominator must show), then as many, with an
    optimiser made anew, down a fixed loss that is not quadratic. ``step`` gets a closure where it insists on one.
    """
    what = named_as(make)
    sizes = (1.0, 0.5, 2.0, 0.1, 1e-3, 1e-7, 1e-8, 0.3)  # a fall after a rise tells AMSGrad from Adam

    def trajectory(fixed: bool) -> Reading:
        reset_randomness(0)
        parameters = [
            nn.Parameter(torch.tensor(uniform(f"start {i}", math.prod(s))).reshape(s)) for i, s in enumerate(shapes)
        ]
        anchors = [torch.tensor(uniform(f"anchor {i}", math.prod(s))).reshape(s) * 2 for i, s in enumerate(shapes)]
        optimizer = make(parameters)
        insists = [
            p
            for p in inspect.signature(optimizer.step).parameters.values()
            if p.default is p.empty and "closure" in p.name
        ]
        structure: list[object] = []
        values: list[float] = []
        for step in range(steps):

            def closure(step: int = step) -> float:
                optimizer.zero_grad()
                if fixed:
                    for place, parameter in enumerate(parameters):
                        name = f"gradient {step} {place}"
                        gradient = torch.tensor(uniform(name, parameter.numel())).reshape(parameter.shape)
                        parameter.grad = gradient * sizes[(step + 3 * place) % len(sizes)]
                    return 0.0
                loss = torch.zeros(())
                for parameter, anchor in zip(parameters, anchors, strict=True):
                    away = parameter - anchor
                    loss = loss + torch.log(torch.cosh(2 * away)).sum() + 0.1 * (away**4).sum() + away.sum() ** 2
                loss.backward()  # type: ignore[no-untyped-call]
                return float(loss)

            before = [p.detach().clone() for p in parameters]
            if insists:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
            for old, parameter in zip(before, parameters, strict=True):
                # Moves, not positions: a small rate would vanish beside them. What rounding leaves of none is none.
                moves = (parameter.detach() - old).numpy().ravel()
                structure.append(not_finite(moves))
                floor = 1e-14 * float(old.abs().max())
                values += reading_of(numpy.where(numpy.abs(moves) > floor, moves, 0.0), what)[1]
        return tuple(structure), values

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.optim.SGD([nn.Parameter(torch.zeros(1))])  # the first optimiser imports much: no part of the time
    with surroundings(seconds, what):
        try:
            readings = twice(lambda: [trajectory(True), trajectory(False)], what)
        except ProbeError:
            raise
        except Exception as error:
            raise ProbeError(f"the optimiser of {what} failed: {type(error).__name__}: {error}") from error
    return key_of_readings("optimizer", (list(shapes), steps), readings)
