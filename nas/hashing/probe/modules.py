"""Keys of modules: what they compute, and how their parameters enter, whatever their values, names and order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nas.hashing.probe.key import ProbeError, ProbeKey, grid_cells, probe_key_of, values_close
from nas.hashing.probe.module_copy import copy_module
from nas.hashing.probe.outputs import leaves, nonfinite_digest, output_of, qualified_name
from nas.hashing.probe.parameter_fill import ParameterFiller, ParameterInstance
from nas.hashing.probe.random_numbers import Floats, uniform
from nas.hashing.probe.sandbox import sandbox, seed_global_generators

MIN_RELATIVE_GRADIENT = 1e-8  # gradients below this part of the largest are noise: the layer is without influence


def probe_module(
    module: nn.Module,
    inputs: Sequence[tuple[int, ...] | Tensor],
    *,
    batch: int = 4,
    marks: int = 8,
    seconds: float = 60.0,
) -> ProbeKey:
    """The key of what a module computes and how its parameters enter, whatever their values, names and order.

    ``inputs`` are shapes without the batch, or tensors (with it) to use as they are, such as token indices; float64
    numbers of ``batch`` examples are made for the shapes. Runs a float64 copy on the CPU in evaluation mode, but with
    batch norms going by the batch; the module and every random state stay as they were. Frozen parameters
    (``requires_grad=False``) and buffers are constants of the function and keep their values.

    Layers that read the same at first get the same weights, and only gradients tell them apart; up to ``marks`` runs
    more, each with one of those layers marked, make that sharper. ``ProbeError`` where the module cannot be copied,
    fails, or takes more than ``seconds``.
    """
    if batch < 2:
        raise ValueError(f"batch norms need a batch of 2 or more, not {batch}")
    subject = qualified_name(type(module))
    with sandbox(seconds, subject):
        points = [
            x.detach().to("cpu", torch.float64 if x.is_floating_point() else x.dtype)
            if isinstance(x, Tensor)
            else _probe_input(index, (batch, *x))
            for index, x in enumerate(inputs)
        ]
        unmarked = _run(module, points, None)
        groups: dict[bytes, list[int]] = {}
        for instance in unmarked.reached:
            groups.setdefault(instance.digest, []).append(instance.draw_index)
        unmarked_structure, marked_runs, marks_left = repr(unmarked.structure), [], marks
        for _, digest, indices in sorted((len(p), d, sorted(p)) for d, p in groups.items() if len(p) > 1):
            marks_left -= len(indices)
            if marks_left < 0:
                break
            runs = [_run(module, points, index) for index in indices]
            # A mark that changes nothing is on a layer without influence, of which there may be any number.
            runs = [
                run
                for run in runs
                if repr(run.structure) != unmarked_structure or not values_close(run.values, unmarked.values)
            ]
            marked_runs += [(digest, run) for run in runs if len(runs) > 1]
    marked_runs.sort(key=lambda m: (m[0], repr(m[1].structure), grid_cells(m[1].values, 0.0, 1e8).tobytes()))
    values = [*unmarked.values, *(v for _, run in marked_runs for v in run.values)]
    shapes = [tuple(x.shape) for x in points]
    structure = (shapes, unmarked.structure, [(digest, run.structure) for digest, run in marked_runs])
    return probe_key_of("module", structure, values)


def _probe_input(index: int, shape: tuple[int, ...]) -> Tensor:
    """A batch of inputs whose examples are of different sizes: small ones saturate nothing, large ones meet bounds."""
    numbers = torch.tensor(uniform(f"input {index}", math.prod(shape))).reshape(shape)
    sizes = torch.tensor([1.0, 10.0, 0.5, 4.0]).repeat(1 + shape[0] // 4)[: shape[0]]
    return numbers * sizes.reshape(-1, *[1] * (len(shape) - 1))


class _ProbeRun(NamedTuple):
    """``reached`` are the instances on the way to an output, with and without influence."""

    structure: object
    values: list[float]
    reached: list[ParameterInstance]


def _run(module: nn.Module, inputs: Sequence[Tensor], perturbed: int | None) -> _ProbeRun:
    """Run a copy forward and back; ``perturbed``: the parameter whose instance is filled otherwise."""
    copied, parameters = copy_module(module)
    subject = qualified_name(type(module))
    filler = ParameterFiller(parameters, perturbed)
    seed_global_generators(0)
    try:
        with filler:
            result = copied(*(x.clone() for x in inputs))
    except ProbeError:
        raise
    except Exception as error:
        shapes = [tuple(x.shape) for x in inputs]
        raise ProbeError(f"{subject} failed on inputs of shapes {shapes}: {type(error).__name__}: {error}") from error
    structure, values, loss = _read_outputs(result, subject)
    items: list[_InstanceGradient] = []
    if loss is not None:
        gradients = _parameter_gradients(loss, parameters, filler, subject)
        items = [item for instance in filler.instances if (item := _instance_gradient(instance, gradients))]
    reached = [item[4] for item in items]
    top = max((max(abs(a), abs(b)) for _, _, a, b, _ in items), default=0.0)
    items = [item for item in items if item[1] or max(abs(item[2]), abs(item[3])) > MIN_RELATIVE_GRADIENT * top]
    items.sort(key=lambda item: item[:4])
    values += [v for item in items for v in item[2:4]]
    structure += [[item[:2] for item in items], sorted(filler.dropouts)]
    return _ProbeRun(structure, values, reached)


def _read_outputs(result: object, subject: str) -> tuple[list[object], list[float], Tensor | None]:
    """What a module returned: structure, two projections of each output, and a loss whose gradients reach them all.

    The loss is ``None`` where no output has a gradient.
    """
    structure: list[object] = []
    values: list[float] = []
    loss: Tensor | None = None
    for path, leaf in leaves(result):
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            leaf_structure, numbers = output_of(leaf, subject)
            structure.append((path, leaf_structure))
            values += numbers
            continue
        output = leaf.double()
        array = output.detach().numpy().ravel()
        weights = uniform(path, array.size)
        pattern = nonfinite_digest(array)
        structure.append((path, tuple(leaf.shape), pattern))
        if pattern:
            output = torch.where(torch.isfinite(output), output, 0.0)
            array = np.where(np.isfinite(array), array, 0.0)
        terms = weights * array
        floor = 1e-12 * float(np.abs(terms).sum())
        values += [v if abs(v) > floor else 0.0 for v in (float(terms.sum()), float((terms * weights).sum()))]
        if output.requires_grad:
            part = torch.dot(output.reshape(-1), torch.tensor(weights))
            loss = part if loss is None else loss + part
    return structure, values, loss


def _parameter_gradients(
    loss: Tensor, parameters: Sequence[Tensor], filler: ParameterFiller, subject: str
) -> dict[int, Floats]:
    """The gradients of the trained parameters that the loss depends on, by the parameters' indices."""
    trained = [p for p in parameters if p.requires_grad]
    indices = [index for index, p in enumerate(parameters) if p.requires_grad]
    try:
        gradient_list = torch.autograd.grad(loss, trained, allow_unused=True)
    except RuntimeError as error:
        raise ProbeError(f"the gradient of {subject} cannot be computed: {error}") from error
    gradients = {
        index: (g.to_dense() if g.is_sparse else g).numpy().ravel()
        for index, g in zip(indices, gradient_list, strict=True)
        if g is not None
    }
    if any(id(parameters[index]) in filler.unread for index in gradients):
        raise ProbeError(
            f"{subject} reads parameters where torch functions cannot be watched, as compiled and scripted modules do"
        )
    return gradients


# (the instance's digest, where its gradient is not finite, two projections of the gradient, the instance)
_InstanceGradient = tuple[bytes, bytes, float, float, ParameterInstance]


def _instance_gradient(instance: ParameterInstance, gradients: Mapping[int, Floats]) -> _InstanceGradient | None:
    """The gradient of an instance, projected; ``None`` where no output depends on it.

    All parameters go into one sum: a gradient that is zero but for noise, as of a bias before a norm, drowns there.
    """
    if not any(index in gradients for index, _ in instance.projections):
        return None
    first = second = 0.0
    patterns = []
    for index, direction in instance.projections:
        gradient = gradients.get(index)
        if gradient is None:
            continue
        total = float(np.einsum("i,i", direction, gradient))
        if not math.isfinite(total):
            patterns.append(nonfinite_digest(gradient))
            gradient = np.where(np.isfinite(gradient), gradient, 0.0)
            total = float(np.einsum("i,i", direction, gradient))
        first += total
        second += float(np.einsum("i,i", direction * direction, gradient))
    return instance.digest, b"".join(patterns), first, second, instance
