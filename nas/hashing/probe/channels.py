"""How operations treat the channels of their input, and parameters drawn from what those channels hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from nas.hashing.probe.key import parts_digest
from nas.hashing.probe.outputs import as_array, nonfinite_kinds
from nas.hashing.probe.random_numbers import (
    MIX_1,
    PROJECTION_MULTIPLIERS,
    Floats,
    UInt64s,
    mix,
    projection_directions,
    seed_from_digest,
    uniform_pairs,
)


class ChannelRole(NamedTuple):
    """How an operation treats the channels of what it reads.

    ``dense``: the weight's ``weight_axis`` belongs to the input's ``axis`` and any order of channels will do; else each
    channel has parameters of its own.
    """

    tensor: Tensor
    axis: int
    dense: bool
    weight: Tensor | None
    weight_axis: int = 1
    centred: bool = False
    settings: object = None


_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_CONV_TRANSPOSE = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
BATCH_NORM_ARGUMENTS = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
INSTANCE_NORM_ARGUMENTS = (
    "input",
    "running_mean",
    "running_var",
    "weight",
    "bias",
    "use_input_stats",
    "momentum",
    "eps",
)
ARGUMENT_NAMES: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), _CONV),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), _CONV_TRANSPOSE),
    F.linear: ("input", "weight", "bias"),
    F.batch_norm: BATCH_NORM_ARGUMENTS,
    F.instance_norm: INSTANCE_NORM_ARGUMENTS,
}


def channel_role(function: Any, named: Mapping[str, Any]) -> ChannelRole | None:
    """The role of the input's channels in a call with these arguments; ``None`` where they have none of their own."""
    x, weight = named["input"], named.get("weight")
    if function in (F.batch_norm, F.instance_norm):
        settings = (named.get("momentum", 0.1), named.get("eps", 1e-5))
        return ChannelRole(x, 1, False, None, centred=True, settings=settings) if x.ndim > 1 else None
    if not isinstance(weight, Tensor):
        return None
    if function is F.linear:
        return ChannelRole(x, x.ndim - 1, True, weight) if weight.ndim == 2 else None
    axis, groups = x.ndim - weight.ndim + 1, named.get("groups", 1)
    if groups == 1:
        return ChannelRole(x, axis, True, weight, weight_axis=1 if ARGUMENT_NAMES[function] is _CONV else 0)
    return ChannelRole(x, axis, False, None) if groups == x.shape[axis] else None


def channel_rows(tensor: Tensor, axis: int) -> Floats:
    """A row for each index of ``axis``."""
    array = tensor.detach().numpy()
    return array.swapaxes(0, axis).reshape(array.shape[axis], -1)


def channel_projections(rows: Floats, centred: bool) -> UInt64s:
    """Rounded projections of each row in a word, not mixed. One number scales all rows; ``centred`` shifts each.

    ``rows`` is ``(channels, positions)``.
    """
    if not rows.size:
        return np.zeros(len(rows), np.uint64)
    flat = rows.ravel()
    square = float(np.einsum("i,i", flat, flat))  # not BLAS, whose threads cost more than they bring here
    codes = None
    if not math.isfinite(square):
        finite = np.isfinite(rows)
        codes = nonfinite_kinds(rows)
        rows = np.where(finite, rows, 0.0)
        rows = rows / (np.abs(rows).max() or 1.0)
        square = float((rows * rows).sum())
    if centred:
        rows = rows - (rows.sum(1) / rows.shape[1])[:, None]
        flat = rows.ravel()
        remainder = float(np.einsum("i,i", flat, flat))
        square = remainder if remainder > 1e-18 * square else 0.0  # what is left of a constant is noise
    if square > 0:
        projected = np.einsum("cp,dp->cd", rows, projection_directions(rows.shape[1]))
        cells = np.rint(projected / math.sqrt(square / rows.size)).astype(np.int64)
    else:
        cells = np.zeros((len(rows), 2), np.int64)
    if codes is not None:
        cells[:, 0] += np.rint(codes @ projection_directions(rows.shape[1])[0] * 1e3).astype(np.int64) << 20
    words: UInt64s = cells.view(np.uint64) * PROJECTION_MULTIPLIERS
    return words[:, 0] + words[:, 1]


def tensor_digest(tensor: Tensor) -> bytes:
    """Sixteen bytes of a tensor's shape and its rounded projections."""
    array = as_array(tensor, "the module")
    parts = np.stack([array.real, array.imag]) if array.dtype.kind == "c" else array
    return parts_digest(
        array.shape, channel_projections(parts.astype(np.float64, copy=False).reshape(1, -1), False).tobytes()
    )


def dense_parameters(unfilled: list[Tensor], channels: ChannelRole, seeds: UInt64s, digest: bytes) -> list[Floats]:
    """Each input channel brings its slice of the weight along, equal channels equal slices; the rest belongs to all."""
    random_values = []
    for number, parameter in enumerate(unfilled):
        if parameter is channels.weight:
            axis, shape = channels.weight_axis, list(parameter.shape)
            width = shape.pop(axis)
            numbers = uniform_pairs(seeds, parameter.numel() // width).reshape(width, *shape, 2)
            random_values.append(numbers.swapaxes(0, 1) if axis else numbers)
        else:
            random_values.append(uniform_pairs(seed_from_digest(parts_digest(digest, number)), parameter.numel())[0])
    return random_values


def channelwise_parameters(unfilled: list[Tensor], seeds: UInt64s) -> list[Floats]:
    """Each channel brings its own parameters along; those of equal channels differ by how many came before."""
    seed_list = seeds.tolist()
    if len(set(seed_list)) < len(seed_list):
        counts: Counter[int] = Counter()
        earlier = []
        for seed in seed_list:
            earlier.append(counts[seed])
            counts[seed] += 1
        seeds = mix(seeds + np.array(earlier, np.uint64) * MIX_1)
    ends = list(accumulate((p.numel() // len(seeds) for p in unfilled), initial=0))
    numbers = uniform_pairs(seeds, ends[-1])
    return [numbers[:, start:end] for start, end in pairwise(ends)]


def scaled_parameters(random_values: Floats) -> Floats:
    """Parameters from numbers in [0, 1): weights as He et al. scale them; vectors in 0.5 to 8, a quarter negative.

    Vectors are spread so that activations are met above the 6 at which some of them bend, and lean to the positive so
    that a constant seldom dies in a ReLU with all of its channels.
    """
    if random_values.ndim > 1:
        return (random_values * 2 - 1) * math.sqrt(6 * random_values.shape[0] / max(random_values.size, 1))
    negative = random_values < 0.25
    sizes = 0.5 * np.exp2(np.where(negative, 16 * random_values, (random_values - 0.25) * (16 / 3)))
    return np.where(negative, -sizes, sizes)
