"""Parameters filled when an operation first reads them, from what else that operation reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nas.hashing.probe.channels import (
    ARGUMENTS,
    BATCH_NORM,
    INSTANCE_NORM,
    Channels,
    channels_of,
    contents,
    draw_dense,
    draw_each,
    of_tensor,
    rows_of,
    spread,
)
from nas.hashing.probe.key import digest_of
from nas.hashing.probe.random_numbers import Reals, Words, draw, mix, seed_of

NORM_EPS = 1e-12  # in place of a batch norm's own; smaller would turn rounding noise of a constant into a signal
# What may be asked of a parameter without reading it.
# fmt: off
_UNREAD = frozenset((
    "shape", "dtype", "device", "requires_grad", "is_leaf", "ndim", "layout", "grad", "grad_fn", "names", "size",
    "dim", "numel", "nelement", "stride", "type", "is_contiguous", "is_floating_point", "is_complex", "is_cuda",
    "is_sparse", "is_quantized", "is_meta", "is_nested", "is_same_size", "element_size", "storage_offset",
    "ndimension", "get_device", "__len__", "__hash__",
))
# fmt: on
_DROPOUTS = frozenset(
    (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, torch.dropout)
)


class Instance(NamedTuple):
    """Parameters that one operation read first. ``tests`` are what their gradients are projected onto."""

    digest: bytes
    place: int
    tests: list[tuple[int, Reals]]


class Watch(TorchFunctionMode):
    """Fills parameters when an operation first reads them, from what else that operation reads.

    So neither names nor the order of creation or of execution matter. Batch norms go by the batch; dropout is left to
    the evaluation mode, but its rate and place are noted. ``marked`` is the place of an instance to fill otherwise.
    """

    def __init__(self, parameters: Sequence[Tensor], marked: int | None) -> None:
        super().__init__()
        self.waiting = {id(p): place for place, p in enumerate(parameters) if p.requires_grad}
        self.marked = marked
        self.instances: list[Instance] = []
        self.dropouts: list[bytes] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        order = ARGUMENTS.get(func)
        if order:
            named = {**dict(zip(order, args, strict=False)), **kwargs}
            if self.waiting:
                candidates = (named.get("weight"), named.get("bias"))
                new = [p for p in candidates if p is not None and id(p) in self.waiting]
                if new:
                    self._fill(new, channels_of(func, named), [named["input"]])
            if order is BATCH_NORM and (x := named["input"]).numel() > x.shape[1]:
                return torch.batch_norm(
                    x, named.get("weight"), named.get("bias"), None, None, True, 0.0, NORM_EPS, False
                )
            if order in (BATCH_NORM, INSTANCE_NORM):
                return func(named["input"], None, None, named.get("weight"), named.get("bias"), True, 0.0, NORM_EPS)
            if func is F.conv2d and named.get("groups", 1) > 1:
                return depthwise(named)
            return func(*args, **kwargs)
        if self.waiting:
            self._first_reads(func, args, kwargs)
        if func in _DROPOUTS:
            rate = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
            if rate > 0:
                self.dropouts.append(digest_of(float(rate), self._of_channels(args[0] if args else kwargs["input"])))
        return func(*args, **kwargs)

    def _of_channels(self, tensor: Tensor) -> bytes:
        return bytes(numpy.sort(contents(rows_of(tensor, min(1, tensor.ndim - 1)), False)).tobytes())

    def _first_reads(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(func.__self__, "__name__", "")
        if name in _UNREAD:
            return
        tensors = list(_tensors((*args, *kwargs.values())))
        new = list({id(t): t for t in tensors if id(t) in self.waiting}.values())
        if new:
            self._fill(new, None, [t for t in tensors if id(t) not in self.waiting])

    def _fill(self, new: list[Tensor], channels: Channels | None, others: list[Tensor]) -> None:
        places = [self.waiting.pop(id(p)) for p in new]
        shapes = tuple(tuple(p.shape) for p in new)
        mark = min(places) == self.marked
        if channels is None:
            digest = digest_of(mark, shapes, sorted(of_tensor(t) for t in others))
            drawn = [draw(seed_of(digest_of(digest, number)), p.numel())[0] for number, p in enumerate(new)]
        else:
            base = _base(mark, shapes, channels.dense, channels.settings)
            seeds = mix(contents(rows_of(channels.tensor, channels.axis), channels.centred) + base)
            digest = digest_of(numpy.sort(seeds).tobytes())
            drawn = draw_dense(new, channels, seeds, digest) if channels.dense else draw_each(new, seeds)
        tests = []
        for parameter, place, numbers in zip(new, places, drawn, strict=True):
            numbers = numbers.reshape(*parameter.shape, 2)
            numpy.copyto(parameter.detach().numpy(), spread(numbers[..., 0]))
            tests.append((place, numbers[..., 1].ravel() * 2 - 1))
        self.instances.append(Instance(digest, min(places), tests))


def _tensors(arguments: Any) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from _tensors(argument)
        elif isinstance(argument, dict):
            yield from _tensors(argument.values())


@lru_cache(maxsize=4096)
def _base(*parts: object) -> Words:
    return seed_of(digest_of(*parts))


def depthwise(named: Mapping[str, Any]) -> Tensor:
    """``F.conv2d`` with one group a channel, which torch computes a channel at a time in float64: slow."""
    x, weight, bias = named["input"], named["weight"], named.get("bias")
    padding = named.get("padding", 0)
    fits = x.ndim == 4 and weight.shape[:2] == (x.shape[1], 1) and not isinstance(padding, str)
    if not fits:
        result: Tensor = F.conv2d(**named)
        return result
    kernel = tuple(weight.shape[2:])
    stride, dilation = named.get("stride", 1), named.get("dilation", 1)
    pairs = [v if isinstance(v, list | tuple) else (v,) for v in (padding, stride, dilation)]
    (p0, p1), (s0, s1), (d0, d1) = ((v[0], v[-1]) for v in pairs)
    patches = F.unfold(x, kernel, (d0, d1), (p0, p1), (s0, s1))
    size = (x.shape[2] + 2 * p0 - d0 * (kernel[0] - 1) - 1) // s0 + 1
    products = patches.view(x.shape[0], x.shape[1], kernel[0] * kernel[1], -1) * weight.view(1, x.shape[1], -1, 1)
    made: Tensor = products.sum(2).view(x.shape[0], x.shape[1], size, -1)
    return made if bias is None else made + bias.view(1, -1, 1, 1)
