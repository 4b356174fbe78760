"""Parts of tensors, their shapes and their order, and constants."""

from __future__ import annotations

import torch
from torch import fx
from torch.export.graph_signature import InputKind

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.pytorch.from_module.call import AtenCall, AtenHandler, describe_location
from search_spaces.pytorch.from_module.operands import ADVICE, LayerScaleFactors, OnesTensor, UnsupportedValue

_REORDERS = ("permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "numpy_T", "mT")


def _cat(b: Builder, call: AtenCall) -> Tensor:
    return b.concat([call.tensor(t) for t in call["tensors"]], call.axis())


def _stack(b: Builder, call: AtenCall) -> Tensor:
    axis = call["dim"] % len(call.node.meta["val"].shape) - 1
    parts = [call.tensor(t) for t in call["tensors"]]
    call.shape  # noqa: B018  refuses a stack along the batch axis
    return b.concat([b.reshape(t, (*t.shape[:axis], 1, *t.shape[axis:])) for t in parts], axis)


def _reshape(b: Builder, call: AtenCall) -> Tensor | LayerScaleFactors:
    source = call.node.args[0]
    if isinstance(source, fx.Node) and call.program.state_names.get(source, ("", ""))[0] == InputKind.PARAMETER:
        return LayerScaleFactors(source, tuple(call.node.meta["val"].shape))
    return b.reshape(call.x, call.shape)


def permutation(node: fx.Node) -> list[int] | None:
    """The order of axes that a node makes, batch axis included; ``None`` where it does something else."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    if node.target._schema.name.removeprefix("aten::") not in _REORDERS:
        return None
    source = node.args[0]
    assert isinstance(source, fx.Node)
    # PyTorch's own rule, seen from extents that all differ
    probe = torch.empty(tuple(range(1, source.meta["val"].dim() + 1)), device="meta")
    permuted = node.target(probe, *node.args[1:], **node.kwargs)
    return [n - 1 for n in permuted.shape]


def _permute(b: Builder, call: AtenCall) -> Tensor:
    axes = permutation(call.node)
    assert axes is not None
    if axes[0] != 0:
        raise call.unsupported_error("it moves the batch axis; reorder within a sample only")
    return b.permute(call.x, [axis - 1 for axis in axes[1:]])


def _slice(b: Builder, call: AtenCall) -> Tensor | UnsupportedValue:
    if isinstance(call.first, UnsupportedValue):
        return call.first
    extent = call.node_shape(call.node.args[0])[call["dim"]]
    start, stop, step = (call.arguments.get(name) for name in ("start", "end", "step"))
    if call.op == "narrow":
        if isinstance(start, int) and isinstance(extent, int) and start < 0:
            start += extent  # else a stop of 0 would be the beginning
        stop = start + call["length"] if isinstance(start, int) and isinstance(call["length"], int) else call["length"]
    if call["dim"] % len(call.node_shape(call.node.args[0])) == 0:
        if start in (None, 0) and step in (None, 1) and call.program.unbatched(call.node.meta["val"]):
            return call.x
        return UnsupportedValue(
            f"{describe_location(call.node, call.op)}: it takes samples from the batch; a graph describes one sample"
        )
    if not all(n is None or isinstance(n, int) for n in (start, stop, step)) or step not in (None, 1):
        raise call.unsupported_error(f"a graph slices by constants in steps of 1, not {start}:{stop}:{step}; {ADVICE}")
    start, stop, _ = slice(start, stop).indices(extent)
    return b.slice(call.x, call.axis(), start, stop)


def _select(b: Builder, call: AtenCall) -> Tensor:
    x, axis, index = call.x, call.axis(), call["index"]
    if not isinstance(index, int):
        raise call.unsupported_error(f"its index must be a constant; {ADVICE}")
    index %= x.shape[axis]
    return b.reshape(b.slice(x, axis, index, index + 1), call.shape)


def _split(b: Builder, call: AtenCall) -> list[Tensor]:
    x, axis = call.x, call.axis()
    parts: list[Tensor] = []
    start = 0
    for fake in call.node.meta["val"]:
        shape = call.shape_of(fake)
        extent = shape[axis] if call.op != "unbind" else 1
        parts.append(b.reshape(b.slice(x, axis, start, start + extent), shape))
        start += extent
    return parts


def _same(b: Builder, call: AtenCall) -> Tensor:
    if call.program.unbatched(call.node.meta["val"]) != call.x.shape:
        raise call.unsupported_error(f"it repeats elements, which no operation of a graph does; {ADVICE}")
    return call.x


def _zero(b: Builder, call: AtenCall) -> Tensor:
    call.require(fill_value=0)
    return b.zero(call.shape)


def _ones_like(b: Builder, call: AtenCall) -> OnesTensor | UnsupportedValue:
    size = tuple(call.node.meta["val"].shape)
    if len(size) > 2 and size[:2] == (1, 1):
        return OnesTensor(size[2:], ((0, 0),) * len(size[2:]))
    return UnsupportedValue(
        f"{describe_location(call.node, call.op)}: a constant tensor is no operand of a graph; {ADVICE}"
    )


ATEN_HANDLERS: dict[str, AtenHandler] = {
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "_unsafe_view"), _reshape),
    **dict.fromkeys(_REORDERS, _permute),
    **dict.fromkeys(("slice", "narrow"), _slice),
    "select": _select,
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "tensor_split", "unbind"), _split),
    **dict.fromkeys(
        ("clone", "contiguous", "alias", "lift_fresh_copy", "expand", "expand_as", "to", "_to_copy"), _same
    ),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "full", "full_like", "new_full"), _zero),
    **dict.fromkeys(("ones_like", "ones", "new_ones"), _ones_like),
}
