"""Keys of callables: what they compute on numbers."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.hashing.probe.key import ProbeError, ProbeKey
from nas.hashing.probe.outputs import ProbeOutput, as_array, key_of_outputs, output_of, qualified_name, run_twice
from nas.hashing.probe.random_numbers import Floats, uniform
from nas.hashing.probe.sandbox import sandbox, seed_global_generators

VECTOR_LENGTH = 8  # of the vectors that a callable gets when its inputs are not described
_INPUT_SCALES = (1.0, 10.0, 100.0)  # of the inputs, seed by seed, so that thresholds such as relu6's are met


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
    shapes = [(VECTOR_LENGTH,)] * _argument_count(function) if inputs is None else [tuple(s) for s in inputs]
    with sandbox(seconds, qualified_name(function)):
        points = [
            [
                (
                    uniform(f"argument {index} of seed {seed}", math.prod(s)) * _INPUT_SCALES[seed % len(_INPUT_SCALES)]
                ).reshape(s)
                for index, s in enumerate(shapes)
            ]
            for seed in range(seeds)
        ]

        def runs() -> list[ProbeOutput]:
            by_point = [_outputs_by_kind(function, p, inputs is None, seed) for seed, p in enumerate(points)]
            outputs: list[ProbeOutput] = []
            for of_kind in zip(*by_point, strict=True):
                outputs = list(of_kind)
                if not all(isinstance(s, tuple) and s[:1] == ("raises",) for s, _ in outputs):
                    break
            return outputs

        outputs = run_twice(runs, qualified_name(function))
    return key_of_outputs("callable", (shapes,), outputs)


def _argument_count(function: Callable[..., object]) -> int:
    """How many arguments a callable needs."""
    if isinstance(function, np.ufunc):
        return function.nin
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ProbeError(f"{qualified_name(function)} does not say what it takes; describe its `inputs`") from error
    required = [p for p in parameters if p.default is p.empty]
    for parameter in required:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise ProbeError(f"{qualified_name(function)} takes {parameter}, of any number; describe its `inputs`")
    return len(required)


def _call(function: Callable[..., object], arguments: list[Any], seed: int) -> object:
    """What a call returns, or changes where it returns nothing; what it raises, as a result of its own."""
    try:
        fresh = copy.deepcopy(function)  # objects may count their calls
    except Exception as error:
        raise ProbeError(f"{qualified_name(function)} cannot be copied: {type(error).__name__}: {error}") from error
    seed_global_generators(seed)
    try:
        result = fresh(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it raises is what it does
        return _RaisedError(type(error).__name__)
    return arguments if result is None else result


class _RaisedError(str):
    """The name of an exception's type, in place of a result."""

    __slots__ = ()


def _outputs_by_kind(
    function: Callable[..., object], points: list[Floats], inferred: bool, seed: int
) -> Iterator[ProbeOutput]:
    """The callable on arrays, on tensors and, where the inputs were inferred, on plain numbers one by one."""
    subject = qualified_name(function)

    def read(result: object) -> ProbeOutput:
        return (("raises", str(result)), []) if isinstance(result, _RaisedError) else output_of(result, subject)

    scalars = [float(p) if not p.ndim else None for p in points]
    for make in (np.array, torch.tensor):
        arguments = [make(p) if s is None else s for p, s in zip(points, scalars, strict=True)]
        yield read(_call(function, arguments, seed))
    if inferred:
        results = [_call(function, [float(p[index]) for p in points], seed) for index in range(VECTOR_LENGTH)]
        is_scalar = all(isinstance(r, float | int | np.number | Tensor) and not isinstance(r, bool) for r in results)
        if is_scalar and all(np.ndim(as_array(r, subject)) == 0 for r in results):
            yield read(np.array([as_array(r, subject) for r in results]))  # as if it had taken the vector
        else:
            parts = [read(r) for r in results]
            kind = "raises" if all(isinstance(r, _RaisedError) for r in results) else "one by one"
            yield (kind, [s for s, _ in parts]), [v for _, values in parts for v in values]
