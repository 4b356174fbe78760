"""The outputs of a run, as structure and numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.hashing.probe.key import ProbeError, ProbeKey, parts_digest, probe_key_of
from nas.hashing.probe.random_numbers import Floats, uniform

ProbeOutput = tuple[object, list[float]]


MAX_EXACT_ELEMENTS = 16  # results of callables up to this many elements are read whole


def qualified_name(thing: object) -> str:
    """What messages call an object: its own qualified name, or its type's."""
    return getattr(thing, "__qualname__", None) or type(thing).__qualname__


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """What containers hold, named by key or position; keys in sorted order, for dictionaries have no order here."""
    if isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield from leaves(value[key], f"{path}/{key!r}")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from leaves(part, f"{path}/{index}")
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), f"{path}/{field.name!r}")
    else:
        yield path, value


def as_array(value: object, subject: str) -> NDArray[Any]:
    """A number, array or tensor as a numpy array. Raises ``ProbeError`` for anything else."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        value = value.double() if value.dtype == torch.bfloat16 else value
        return np.asarray(value.numpy())
    if isinstance(value, bool | int | float | complex | np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.kind in "biufc":
            return array
    raise ProbeError(
        f"{subject} returned a {type(value).__name__}, which a probe cannot read; return numbers or arrays"
    )


def nonfinite_digest(array: Floats) -> bytes:
    """Where an array holds NaN, inf and -inf; empty where it holds none."""
    if np.isfinite(array).all():
        return b""
    return parts_digest(nonfinite_kinds(array).tobytes())


def nonfinite_kinds(array: Floats) -> NDArray[np.int64]:
    """0 for a number, 1 for NaN, 2 for inf, 3 for -inf."""
    kinds: NDArray[np.int64] = np.isnan(array) + 2 * np.isposinf(array) + 3 * np.isneginf(array)
    return kinds


def output_of(value: object, subject: str) -> ProbeOutput:
    """Structure and numbers of a result: small arrays whole and in order, larger ones as two random projections."""
    structure: list[object] = []
    values: list[float] = []
    for path, leaf in leaves(value):
        if leaf is None or isinstance(leaf, str):
            structure.append((path, leaf))
            continue
        array = as_array(leaf, subject)
        if array.dtype.kind == "c":
            array = np.stack([array.real, array.imag], -1)
        kind = "truth" if array.dtype.kind == "b" else "number"
        flat = array.astype(np.float64).ravel()
        structure.append((path, kind, array.shape, nonfinite_digest(flat)))
        flat = np.where(np.isfinite(flat), flat, 0.0)
        floor = 1e-13 * np.abs(flat).max(initial=0.0)
        if flat.size > MAX_EXACT_ELEMENTS:
            scale = np.abs(flat).max(initial=0.0) or 1.0
            weights = uniform("result", flat.size)
            flat = np.array([weights @ (flat / scale), weights**2 @ (flat / scale)]) * scale
        values += [float(v) if abs(v) > floor else 0.0 for v in flat]
    return tuple(structure), values


def run_twice(runs: Callable[[], list[ProbeOutput]], subject: str) -> list[ProbeOutput]:
    """The outputs of a run, compared with a second one. Raises ``ProbeError`` where they differ."""
    first = runs()
    if first != runs():
        raise ProbeError(f"{subject} does not give the same twice; it keeps state, or draws numbers nobody can reset")
    return first


def key_of_outputs(kind: str, arguments: tuple[object, ...], outputs: list[ProbeOutput]) -> ProbeKey:
    """The key of what was probed: its kind, how it was called, and the outputs in order."""
    return probe_key_of(kind, (*arguments, [s for s, _ in outputs]), [v for _, values in outputs for v in values])
