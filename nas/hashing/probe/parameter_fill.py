"""Lazy deterministic initialisation: parameters are filled when an operation first reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nas.hashing.probe.channels import (
    ARGUMENT_NAMES,
    BATCH_NORM_ARGUMENTS,
    INSTANCE_NORM_ARGUMENTS,
    ChannelRole,
    channel_projections,
    channel_role,
    channel_rows,
    channelwise_parameters,
    dense_parameters,
    scaled_parameters,
    tensor_digest,
)
from nas.hashing.probe.key import parts_digest
from nas.hashing.probe.random_numbers import Floats, UInt64s, mix, seed_from_digest, uniform_pairs

NORM_EPS = 1e-12  # in place of a batch norm's own; smaller would turn rounding noise of a constant into a signal
# Attributes and methods of a parameter that do not read its values.
# fmt: off
_METADATA_ATTRIBUTES = frozenset((
    "shape", "dtype", "device", "requires_grad", "is_leaf", "ndim", "layout", "grad", "grad_fn", "names", "size",
    "dim", "numel", "nelement", "stride", "type", "is_contiguous", "is_floating_point", "is_complex", "is_cuda",
    "is_sparse", "is_quantized", "is_meta", "is_nested", "is_same_size", "element_size", "storage_offset",
    "ndimension", "get_device", "__len__", "__hash__",
))
# fmt: on
_DROPOUTS = frozenset(
    (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, torch.dropout)
)


class ParameterInstance(NamedTuple):
    """Parameters that one operation read first: a layer of the module.

    ``digest``: of what they were drawn from. ``draw_index``: the least of the parameters' indices. ``projections``: by
    parameter, the direction that its gradient is projected onto.
    """

    digest: bytes
    draw_index: int
    projections: list[tuple[int, Floats]]


class ParameterFiller(TorchFunctionMode):
    """Fills parameters when an operation first reads them, from what else that operation reads.

    So neither names nor the order of creation or of execution matter. Batch norms go by the batch; dropout is left to
    the evaluation mode, but its rate and input are noted. ``perturbed``: the index of the parameter whose instance is
    to be filled otherwise.
    """

    def __init__(self, parameters: Sequence[Tensor], perturbed: int | None) -> None:
        super().__init__()
        self.unread = {id(p): index for index, p in enumerate(parameters) if p.requires_grad}
        self.perturbed = perturbed
        self.instances: list[ParameterInstance] = []
        self.dropouts: list[bytes] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        argument_names = ARGUMENT_NAMES.get(func)
        if argument_names:
            named = {**dict(zip(argument_names, args, strict=False)), **kwargs}
            if self.unread:
                candidates = (named.get("weight"), named.get("bias"))
                unfilled = [p for p in candidates if p is not None and id(p) in self.unread]
                if unfilled:
                    self._fill(unfilled, channel_role(func, named), [named["input"]])
            if argument_names is BATCH_NORM_ARGUMENTS and (x := named["input"]).numel() > x.shape[1]:
                return torch.batch_norm(
                    x, named.get("weight"), named.get("bias"), None, None, True, 0.0, NORM_EPS, False
                )
            if argument_names in (BATCH_NORM_ARGUMENTS, INSTANCE_NORM_ARGUMENTS):
                return func(named["input"], None, None, named.get("weight"), named.get("bias"), True, 0.0, NORM_EPS)
            if func is F.conv2d and named.get("groups", 1) > 1:
                return depthwise_conv2d(named)
            return func(*args, **kwargs)
        if self.unread:
            self._fill_on_first_read(func, args, kwargs)
        if func in _DROPOUTS:
            rate = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
            if rate > 0:
                self.dropouts.append(
                    parts_digest(float(rate), self._channels_digest(args[0] if args else kwargs["input"]))
                )
        return func(*args, **kwargs)

    def _channels_digest(self, tensor: Tensor) -> bytes:
        return bytes(np.sort(channel_projections(channel_rows(tensor, min(1, tensor.ndim - 1)), False)).tobytes())

    def _fill_on_first_read(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(func.__self__, "__name__", "")
        if name in _METADATA_ATTRIBUTES:
            return
        tensors = list(_tensors((*args, *kwargs.values())))
        unfilled = list({id(t): t for t in tensors if id(t) in self.unread}.values())
        if unfilled:
            self._fill(unfilled, None, [t for t in tensors if id(t) not in self.unread])

    def _fill(self, unfilled: list[Tensor], channels: ChannelRole | None, others: list[Tensor]) -> None:
        indices = [self.unread.pop(id(p)) for p in unfilled]
        shapes = tuple(tuple(p.shape) for p in unfilled)
        is_marked = min(indices) == self.perturbed
        if channels is None:
            digest = parts_digest(is_marked, shapes, sorted(tensor_digest(t) for t in others))
            random_values = [
                uniform_pairs(seed_from_digest(parts_digest(digest, number)), p.numel())[0]
                for number, p in enumerate(unfilled)
            ]
        else:
            base = _seed_of_parts(is_marked, shapes, channels.dense, channels.settings)
            seeds = mix(channel_projections(channel_rows(channels.tensor, channels.axis), channels.centred) + base)
            digest = parts_digest(np.sort(seeds).tobytes())
            random_values = (
                dense_parameters(unfilled, channels, seeds, digest)
                if channels.dense
                else channelwise_parameters(unfilled, seeds)
            )
        projections = []
        for parameter, index, numbers in zip(unfilled, indices, random_values, strict=True):
            numbers = numbers.reshape(*parameter.shape, 2)
            np.copyto(parameter.detach().numpy(), scaled_parameters(numbers[..., 0]))
            projections.append((index, numbers[..., 1].ravel() * 2 - 1))
        self.instances.append(ParameterInstance(digest, min(indices), projections))


def _tensors(arguments: Any) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from _tensors(argument)
        elif isinstance(argument, dict):
            yield from _tensors(argument.values())


@lru_cache(maxsize=4096)
def _seed_of_parts(*parts: object) -> UInt64s:
    return seed_from_digest(parts_digest(*parts))


def depthwise_conv2d(named: Mapping[str, Any]) -> Tensor:
    """``F.conv2d`` with one group a channel, which torch computes a channel at a time in float64: slow."""
    x, weight, bias = named["input"], named["weight"], named.get("bias")
    padding = named.get("padding", 0)
    is_supported = x.ndim == 4 and weight.shape[:2] == (x.shape[1], 1) and not isinstance(padding, str)
    if not is_supported:
        result: Tensor = F.conv2d(**named)
        return result
    kernel = tuple(weight.shape[2:])
    stride, dilation = named.get("stride", 1), named.get("dilation", 1)
    pairs = [v if isinstance(v, list | tuple) else (v,) for v in (padding, stride, dilation)]
    (p0, p1), (s0, s1), (d0, d1) = ((v[0], v[-1]) for v in pairs)
    patches = F.unfold(x, kernel, (d0, d1), (p0, p1), (s0, s1))
    size = (x.shape[2] + 2 * p0 - d0 * (kernel[0] - 1) - 1) // s0 + 1
    products = patches.view(x.shape[0], x.shape[1], kernel[0] * kernel[1], -1) * weight.view(1, x.shape[1], -1, 1)
    output: Tensor = products.sum(2).view(x.shape[0], x.shape[1], size, -1)
    return output if bias is None else output + bias.view(1, -1, 1, 1)
