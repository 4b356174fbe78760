"""Padding, poolings, reductions and resizing."""

from __future__ import annotations

from math import inf, prod
from typing import Any

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.pytorch.from_module.call import AtenCall, AtenHandler
from search_spaces.pytorch.from_module.operands import (
    ADVICE,
    OnesTensor,
    PaddedTensor,
    Pads,
    UnsupportedValue,
    WindowCoverage,
    absorbable_pads,
    add_pads,
)


def _pad(b: Builder, call: AtenCall) -> PaddedTensor | OnesTensor | Tensor:
    call.require(mode="constant")
    fill = call.arguments.get("value") or 0.0
    flat_pads = call["pad"]
    if not all(isinstance(n, int) and n >= 0 for n in flat_pads) or not isinstance(fill, int | float):
        raise call.unsupported_error(f"padding must be constants of at least 0, not {flat_pads} of {fill}; {ADVICE}")
    sides = tuple(zip(flat_pads[::2], flat_pads[1::2], strict=True))[::-1]  # PyTorch lists the last axis first
    value = call.first
    if isinstance(value, OnesTensor) and fill == 0 and len(sides) <= len(value.size):
        return OnesTensor(value.size, add_pads(value.pads, ((0, 0),) * (len(value.size) - len(sides)) + sides))
    rank = len(call.shape)
    if len(sides) > rank:
        raise call.unsupported_error("it pads the batch axis; a graph describes what happens to one sample")
    sides = ((0, 0),) * (rank - len(sides)) + sides
    if isinstance(value, PaddedTensor) and value.fill == fill:
        return PaddedTensor(value.x, add_pads(value.pads, sides), float(fill))
    return PaddedTensor(call.x, sides, float(fill)) if any(map(any, sides)) else call.x


def _pool(b: Builder, call: AtenCall) -> Tensor | WindowCoverage:
    kind = call.op[:3]
    rank = int(call.op[8])
    kernel = call.per_axis("kernel_size", rank)
    stride = call.per_axis("stride", rank) if call["stride"] else kernel
    call.require(divisor_override=None)
    if kind == "max" and set(call.per_axis("dilation", rank)) != {1}:
        raise call.unsupported_error(f"a graph's pooling has no dilation; {ADVICE}")
    own_pads: Pads = tuple((n, n) for n in call.per_axis("padding", rank))
    counted = kind == "avg" and call["count_include_pad"]
    value = call.first
    if isinstance(value, OnesTensor):  # of what to_module() writes for an average that does not count uneven padding
        if kind != "avg" or any(map(any, own_pads)) or call["ceil_mode"]:
            raise call.unsupported_error(f"a constant tensor is no operand of a graph; {ADVICE}")
        return WindowCoverage(value.size, ("avg", kernel, stride, value.pads, True))
    frame = absorbable_pads(value, -inf if kind == "max" else 0)
    if frame is not None and (kind == "max" or counted or not any(map(any, own_pads))):
        x, pads, counted = value.x, add_pads(own_pads, frame), kind == "avg"
    else:
        x, pads = call.x, own_pads
    if call["ceil_mode"]:
        # Windows that begin inside and end outside: more padding behind, which an average never counts.
        reach = [(n - 1) * s + k for n, s, k in zip(call.shape[1:], stride, kernel, strict=True)]
        behind = [max(r - n - sum(p), 0) for r, n, p in zip(reach, x.shape[1:], pads, strict=True)]
        if any(behind) and any(map(any, pads)) and counted:
            raise call.unsupported_error(
                f"an average that counts padding and rounds up has two kinds of padding; {ADVICE}"
            )
        counted = counted and not any(behind)
        pads = tuple((before, after + n) for (before, after), n in zip(pads, behind, strict=True))
    return b.pool(x, kind, kernel, stride, padding=pads, count_padding=counted)


def _adaptive_pool(b: Builder, call: AtenCall) -> Any:
    kind, x = call.op[9:12], call.x
    results = call.node.meta["val"]
    size = call.shape_of(results if kind == "avg" else results[0])[1:]
    if any(n % m for n, m in zip(x.shape[1:], size, strict=True)):
        raise call.unsupported_error(f"windows of different sizes: {x.shape[1:]} does not divide into {size}; {ADVICE}")
    if prod(size) == 1:
        pooled = b.global_pool(x, kind)
    else:
        window = tuple(n // m for n, m in zip(x.shape[1:], size, strict=True))
        pooled = b.pool(x, kind, window, window, padding=0)
    return pooled if kind == "avg" else [pooled, UnsupportedValue("indices of a maximum are no tensor of a graph")]


def _reduce(b: Builder, call: AtenCall) -> Tensor:
    """Mean or maximum over some axes of a sample, by way of a global pooling over the last ones."""
    call.require(dtype=None)
    x, kind = call.x, {"mean": "avg", "amax": "max"}[call.op]
    if not call.arguments.get("dim"):
        raise call.unsupported_error("it reduces the batch axis; name the axes of one sample")
    dim = call["dim"]
    reduced_axes = sorted(call.axes(dim if isinstance(dim, list | tuple) else [dim]))
    remaining_axes = [axis for axis in range(len(x.shape)) if axis not in reduced_axes]
    shape = call.shape
    x = b.permute(x, remaining_axes + reduced_axes)
    if len(remaining_axes) != 1:
        x = b.reshape(x, (prod(x.shape[: len(remaining_axes)]), *x.shape[len(remaining_axes) :]))
    return b.reshape(b.global_pool(x, kind), shape)


def _resize(b: Builder, call: AtenCall) -> Tensor:
    call.require(align_corners=False)
    x, size = call.x, call.shape[1:]
    factors = call.arguments.get("scale_factors") or [
        call.arguments.get(name) for name in ("scales", "scales_d", "scales_h", "scales_w") if name in call.arguments
    ]
    # PyTorch takes places from the factor, the graph from the sizes: the same where the factor is exact.
    if any(f is not None and n * f != m for n, f, m in zip(x.shape[1:], factors or [None] * 3, size, strict=False)):
        raise call.unsupported_error(
            f"scale {factors} does not take {x.shape[1:]} to {size} evenly; give the size instead"
        )
    return b.resize(x, size, "nearest" if "nearest" in call.op else "bilinear")


ATEN_HANDLERS: dict[str, AtenHandler] = {
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **dict.fromkeys([f"{kind}_pool{rank}d" for kind in ("max", "avg") for rank in (1, 2, 3)], _pool),
    **dict.fromkeys([f"adaptive_{kind}_pool{rank}d" for kind in ("max", "avg") for rank in (1, 2, 3)], _adaptive_pool),
    **dict.fromkeys(("mean", "amax"), _reduce),
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d"), _resize),
}
