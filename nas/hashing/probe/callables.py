"""Keys of callables: what they compute on numbers."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from nas.hashing.probe.key import ProbeError, ProbeKey
from nas.hashing.probe.outputs import Reading, array_of, key_of_readings, named_as, reading_of, twice
from nas.hashing.probe.random_numbers import Reals, uniform
from nas.hashing.probe.sandbox import reset_randomness, surroundings

LENGTH = 8  # of the vectors that a callable gets when its inputs are not described
_SCALES = (1.0, 10.0, 100.0)  # of the inputs, seed by seed, so that thresholds such as relu6's are met


def probe_callable(
    function: Callable[..., object],
    inputs: Sequence[tuple[int, ...]] | None = None,
    *,
    seeds: int = 3,
    seconds: float = 10.0,
) -> ProbeKey:
    """The key of what a callable computes on numbers.

    ``inputs`` is a shape for each argument, ``()`` for a plain float; without it, each argument that the signature
    needs is a vector of 8. Tried on numpy arrays, then on tensors and, without ``inputs``, on floats one by one: the
    first of these on which it does not always raise counts, and which one that was does not. What is raised is part of
    the key, by type. ``random``, numpy and torch are reset before every call, objects copied; a callable that is
    nevertheless not the same twice is a ``ProbeError``.
    """
    shapes = [(LENGTH,)] * _arguments(function) if inputs is None else [tuple(s) for s in inputs]
    with surroundings(seconds, named_as(function)):
        points = [
            [
                (uniform(f"argument {place} of seed {seed}", math.prod(s)) * _SCALES[seed % len(_SCALES)]).reshape(s)
                for place, s in enumerate(shapes)
            ]
            for seed in range(seeds)
        ]

        def runs() -> list[Reading]:
            kinds = zip(*(_attempts(function, p, inputs is None, seed) for seed, p in enumerate(points)), strict=True)
            readings: list[Reading] = []
            for kind in kinds:
                readings = list(kind)
                if not all(isinstance(s, tuple) and s[:1] == ("raises",) for s, _ in readings):
                    break
            return readings

        readings = twice(runs, named_as(function))
    return key_of_readings("callable", (shapes,), readings)


def _arguments(function: Callable[..., object]) -> int:
    """How many arguments a callable needs."""
    if isinstance(function, numpy.ufunc):
        return function.nin
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ProbeError(f"{named_as(function)} does not say what it takes; describe its `inputs`") from error
    needed = [p for p in parameters if p.default is p.empty]
    for parameter in needed:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise ProbeError(f"{named_as(function)} takes {parameter}, of any number; describe its `inputs`")
    return len(needed)


def _call(function: Callable[..., object], arguments: list[Any], seed: int) -> object:
    """What a call returns, or changes where it returns nothing; what it raises, as a result of its own."""
    try:
        fresh = copy.deepcopy(function)  # objects may count their calls
    except Exception as error:
        raise ProbeError(f"{named_as(function)} cannot be copied: {type(error).__name__}: {error}") from error
    reset_randomness(seed)
    try:
        result = fresh(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it raises is what it does
        return _Raised(type(error).__name__)
    return arguments if result is None else result


class _Raised(str):
    """The name of an exception's type, in place of a result."""

    __slots__ = ()


def _attempts(function: Callable[..., object], points: list[Reals], inferred: bool, seed: int) -> Iterator[Reading]:
    """The callable on arrays, on tensors and, where vectors were our own idea, on plain numbers one by one."""
    what = named_as(function)

    def read(result: object) -> Reading:
        return (("raises", str(result)), []) if isinstance(result, _Raised) else reading_of(result, what)

    scalars = [float(p) if not p.ndim else None for p in points]
    for make in (numpy.array, torch.tensor):
        given = [make(p) if s is None else s for p, s in zip(points, scalars, strict=True)]
        yield read(_call(function, given, seed))
    if inferred:
        results = [_call(function, [float(p[place]) for p in points], seed) for place in range(LENGTH)]
        single = all(isinstance(r, float | int | numpy.number | Tensor) and not isinstance(r, bool) for r in results)
        if single and all(numpy.ndim(array_of(r, what)) == 0 for r in results):
            yield read(numpy.array([array_of(r, what) for r in results]))  # as if it had taken the vector
        else:
            parts = [read(r) for r in results]
            kind = "raises" if all(isinstance(r, _Raised) for r in results) else "one by one"
            yield (kind, [s for s, _ in parts]), [v for _, values in parts for v in values]
