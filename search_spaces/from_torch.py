"""From an ``nn.Module`` to the graph that it computes: the inverse of ``module.py``, through ``torch.export``.

The exported program is read operation by operation, each through a constructor of ``Builder``, and what comes out
is checked against the shape that PyTorch found. What the vocabulary lacks is refused, never approximated.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isclose, prod
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.export.graph_signature import InputKind
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.utils import _pytree as pytree

from search_spaces.builder import Builder, Tensor
from search_spaces.graph import Graph
from search_spaces.ops import GraphError, Shape

Pads = tuple[tuple[int, int], ...]
ADVICE = "replace it, or write the network with nas.Builder"


class UnsupportedModule(ValueError):
    """A module that no graph describes: what in it, where, and what to do."""


@dataclass(frozen=True)
class _Padded:
    """A tensor in a frame of one value, until a convolution or a pooling takes the frame as its padding."""

    x: Tensor
    pads: Pads  # for every axis of the tensor, channels first
    fill: float


@dataclass(frozen=True)
class _Ones:
    """Ones of one sample and one channel, in a frame of zeros: what counts a window's real places."""

    size: Shape
    pads: Pads


@dataclass(frozen=True)
class _Coverage:
    """The share of each window that is no padding: an average divided by it leaves the padding out."""

    size: Shape
    window: tuple[Any, ...]  # attributes of the pooling that divides by padded places too


@dataclass(frozen=True)
class _PlusThree:
    """``x + 3``, the first step of a hard sigmoid written out."""

    x: Tensor


@dataclass(frozen=True)
class _SixTimes:
    """Six times an activation of ``x``: ``relu6(x + 3)`` is that of a hard sigmoid, ``x * relu6(x + 3)`` of a swish."""

    fn: str
    x: Tensor


@dataclass(frozen=True)
class _Unusable:
    """What no operation of a graph can read, and why."""

    reason: str


def graph_from_module(module: nn.Module, inputs: Sequence[tuple[int, ...]] | tuple[int, ...]) -> Graph:
    """The graph of what ``module`` computes from ``inputs``: shapes without the batch axis, channels first.

    The module is read in the mode it is in and left as it was; its weights are no part of the graph. ``forward`` runs
    once, on stand-ins: parameters that this run does not use are not in the graph, and where Python's own random
    numbers choose a branch it is the one they chose. Dropout is refused in training and nothing in evaluation. One
    tensor becomes the output ``output``, a dict keeps its keys, a tuple or list becomes ``output0``, ``output1``, ...
    Raises ``UnsupportedModule``.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"graph_from_module takes an nn.Module, not {type(module).__name__}")
    shapes = _input_shapes(inputs)
    return _Reader(module, _exported(module, shapes)).graph()


def _input_shapes(inputs: Sequence[tuple[int, ...]] | tuple[int, ...]) -> list[Shape]:
    several: Any = [inputs] if inputs and all(isinstance(n, int) for n in inputs) else inputs
    shapes = [tuple(shape) if isinstance(shape, Sequence) else () for shape in several]
    if not shapes or not all(shape and all(isinstance(n, int) and n > 0 for n in shape) for shape in shapes):
        raise UnsupportedModule(f"inputs must be shapes such as (3, 224, 224), one or several, not {inputs!r}")
    return shapes


def _exported(module: nn.Module, shapes: Sequence[Shape]) -> ExportedProgram:
    """The module's operations on batches of any size, as PyTorch's own layers call them."""
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    examples = tuple(torch.zeros((2, *shape), dtype=like.dtype, device=like.device) for shape in shapes)
    dynamic: ShapesCollection = ShapesCollection()  # type: ignore[no-untyped-call]
    for example in examples:
        dynamic[example] = {0: Dim("batch")}
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise UnsupportedModule("a module compiled by torch.jit cannot be traced; give the module it was made of")
    kept = [(part, dict(part.__dict__), dict(part._buffers)) for part in module.modules()]
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The tensor attributes? .* assigned during export", UserWarning)
            return torch.export.export(
                module,
                examples,
                dynamic_shapes=dynamic.dynamic_shapes(module, examples),  # type: ignore[no-untyped-call]
                strict=False,
            )
    except Exception as error:  # PyTorch names no common class, and forward() may raise anything
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UnsupportedModule(
            f"torch.export cannot trace {type(module).__name__} for any batch size:"
            f" {type(error).__name__}: {lines[0] if lines else 'no reason given'}"
        ) from error
    finally:  # forward() may have kept some of what it was traced with
        for part, attributes, buffers in kept:
            part.__dict__.clear()
            part.__dict__.update(attributes)
            part._buffers.clear()
            part._buffers.update(buffers)


# -- one operation of the exported program -----------------------------------------------------------------------------


class _Call:
    """One operation: its arguments by name, and the shape of its result without the batch axis."""

    def __init__(self, reader: _Reader, node: fx.Node) -> None:
        self.reader = reader
        self.node = node
        self.op = str(node.target)
        self.arguments: dict[str, Any] = {}
        if isinstance(node.target, torch._ops.OpOverload):
            schema = node.target._schema
            self.op = schema.name.removeprefix("aten::")
            if schema.is_mutable:
                self.op = self.op.removesuffix("_")
            self.arguments = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
            self.arguments |= zip([a.name for a in schema.arguments], node.args, strict=False)
            self.arguments |= node.kwargs

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def refusal(self, reason: str) -> UnsupportedModule:
        return UnsupportedModule(f"{_place(self.node, self.op)}: {reason}")

    def only(self, **expected: Any) -> None:
        """Refuse any of these arguments that has another value; one that the operation has not is fine."""
        for name, value in expected.items():
            if self.arguments.get(name, value) != value:
                raise self.refusal(f"{name} must be {value!r} in a graph, not {self.arguments[name]!r}; {ADVICE}")

    def value(self, argument: Any) -> Any:
        """What a node stands for."""
        if not isinstance(argument, fx.Node):
            raise self.refusal(f"its operand must be a tensor of the network, not {argument!r}; {ADVICE}")
        return self.reader.values[self.reader.itself.get(argument, argument)]

    def tensor(self, argument: Any) -> Tensor:
        value = self.value(argument)
        b = self.reader.b
        if isinstance(value, _Padded) and value.fill == 0:
            return _framed(b, value)
        if isinstance(value, _SixTimes):
            return b.scale(b.act(value.x, value.fn), 6)
        if isinstance(value, Tensor):
            return value
        reasons = {
            _Padded: "padding with another value than zero is known in front of a maximum pooling alone, as -inf",
            _PlusThree: f"adding a constant is no operation of a graph; {ADVICE}",
        }
        raise self.refusal(
            value.reason if isinstance(value, _Unusable) else reasons.get(type(value), f"no tensor; {ADVICE}")
        )

    @property
    def first(self) -> Any:
        return self.value(self.node.args[0])

    @property
    def x(self) -> Tensor:
        """The first operand."""
        return self.tensor(self.node.args[0])

    def shape_of(self, fake: Any) -> Shape:
        """A result's shape without the batch axis, which must be the first."""
        shape = self.reader.unbatched(fake)
        if not shape:
            raise self.refusal(
                f"its result {tuple(fake.shape)} does not keep the batch as first of several axes;"
                " reshape and reorder within a sample only"
            )
        return shape

    @property
    def shape(self) -> Shape:
        return self.shape_of(self.node.meta["val"])

    def axis(self, name: str = "dim") -> int:
        """An axis of the unbatched tensor; the batch axis is refused."""
        return self.axes([self[name]])[0]

    def axes(self, given: Iterable[Any]) -> list[int]:
        rank = len(self.node_shape(self.node.args[0]))
        axes = [axis % rank for axis in given]
        if 0 in axes:
            raise self.refusal("it works along the batch axis; a graph describes what happens to one sample")
        return [axis - 1 for axis in axes]

    def node_shape(self, argument: Any) -> tuple[Any, ...]:
        """The batched shape of an argument, or of the first of several."""
        node = argument if isinstance(argument, fx.Node) else argument[0]
        return tuple(node.meta["val"].shape)

    def number(self, name: str) -> float | None:
        """A Python constant; ``None`` where the argument is a tensor."""
        given = self[name]
        if isinstance(given, int | float) and not isinstance(given, bool):
            return float(given)
        if isinstance(given, fx.Node) and isinstance(given.meta.get("val"), torch.Tensor):
            return None
        raise self.refusal(f"its operand {given!r} must be a constant or a tensor of the network; {ADVICE}")

    def per_axis(self, name: str, rank: int) -> tuple[int, ...]:
        given = self[name]
        values = tuple(given) if isinstance(given, list | tuple) else (given,)
        return values * rank if len(values) == 1 else values

    def weight(self, name: str, kind: InputKind = InputKind.PARAMETER) -> None:
        """Take a parameter or buffer for this operation alone."""
        node = self[name]
        known = self.reader.owned.get(node) if isinstance(node, fx.Node) else None
        if known is None or known[0] != kind:
            raise self.refusal(
                f"its {name} must be a {kind.name.lower()} of the module as it is, none computed or constant"
            )
        path = known[1]
        tensor = self.reader.states[path]
        if kind == InputKind.PARAMETER and not tensor.requires_grad:
            raise self.refusal(f"the parameter {path} is frozen, but all weights of a graph learn; set requires_grad")
        place = (tensor.untyped_storage()._cdata, tensor.storage_offset())
        user, use = self.reader.claimed.setdefault(place, (self.node, name))
        if (user, use) != (self.node, name):
            raise self.refusal(
                f"tied weights: {path} also serves {_place(user, 'an operation')}; a graph has weights for each use,"
                " so call a module once and share no parameter"
            )


def _place(node: fx.Node, op: str) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    name = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
    return f"{op} in {path or 'the module itself'}" + (f" ({name})" if name else "")


def _framed(b: Builder, padded: _Padded) -> Tensor:
    """Zeros around a tensor, where no padding of a window says it."""
    x = padded.x
    for axis, (before, after) in enumerate(padded.pads):
        zeros = [b.zero((*x.shape[:axis], n, *x.shape[axis + 1 :])) if n else None for n in (before, after)]
        x = b.concat([part for part in (zeros[0], x, zeros[1]) if part is not None], axis)
    return x


# -- operations with parameters ----------------------------------------------------------------------------------------


def _conv(b: Builder, call: _Call) -> Tensor:
    call.weight("weight")
    out_channels, _, *kernel = call.node_shape(call["weight"])
    rank = len(kernel)
    value = call.first
    frame = _frame(value, 0)
    x = call.x if frame is None else value.x
    dilation = call.per_axis("dilation", rank)
    if call["padding"] == "valid":
        own = ((0, 0),) * rank
    elif call["padding"] == "same":  # PyTorch has it at stride 1 alone
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        own = tuple((n // 2, n - n // 2) for n in total)
    else:
        own = tuple((n, n) for n in call.per_axis("padding", rank))
    bias = call["bias"] is not None
    if bias:
        call.weight("bias")
    _not_zero(call, x, bias)
    return b.conv(
        x,
        out_channels,
        kernel,
        call.per_axis("stride", rank),
        groups=call["groups"],
        dilation=dilation,
        padding=own if frame is None else _sum_pads(own, frame),
        bias=bias,
    )


def _frame(value: Any, fill: float) -> Pads | None:
    """The padding of the spatial axes that a window may take from its operand; ``None`` where there is none."""
    return value.pads[1:] if isinstance(value, _Padded) and value.fill == fill and not any(value.pads[0]) else None


def _sum_pads(own: Pads, frame: Pads) -> Pads:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(own, frame, strict=True))


def _not_zero(call: _Call, x: Tensor, shifts: bool) -> None:
    if x.is_zero and shifts:  # the normal form takes a layer of nothing for nothing; this one yields its bias
        raise call.refusal(f"it adds a bias to a constant zero; {ADVICE}")


def _linear(b: Builder, call: _Call) -> Tensor:
    call.weight("weight")
    bias = call["bias"] is not None
    if bias:
        call.weight("bias")
    _not_zero(call, call.x, bias)
    return b.linear(call.x, call.node_shape(call["weight"])[0], bias=bias)


def _batch_norm(b: Builder, call: _Call) -> Tensor:
    if call["weight"] is None or call["bias"] is None:
        raise call.refusal("a graph's batch normalisation has a scale and a shift; set affine=True")
    if call["running_mean"] is None or call["running_var"] is None:
        raise call.refusal("a graph's batch normalisation has running statistics; set track_running_stats=True")
    reader = call.reader
    if call["training"] != reader.module.training:
        mode = "evaluation" if reader.module.training else "training"
        raise call.refusal(f"it is in {mode} mode, the module is not; call train() or eval() on the whole module")
    for name in ("weight", "bias"):
        call.weight(name)
    for name in ("running_mean", "running_var"):
        call.weight(name, InputKind.BUFFER)
    owner = reader.module.get_submodule(reader.owned[call["running_mean"]][1].rpartition(".")[0])
    if getattr(owner, "momentum", 0.0) is None:
        raise call.refusal("a graph's batch normalisation has a momentum, no cumulative average; set momentum")
    _not_zero(call, call.x, True)
    return b.norm(call.x, "batch", eps=call["eps"], momentum=call["momentum"])


def _layer_norm(b: Builder, call: _Call) -> Tensor | None:
    if len(call["normalized_shape"]) != 1:
        raise call.refusal(f"a graph normalises over one axis, not {call['normalized_shape']}; {ADVICE}")
    if call["weight"] is None or call["bias"] is None:
        raise call.refusal("a graph's layer normalisation has a scale and a shift; set elementwise_affine and bias")
    call.weight("weight")
    call.weight("bias")
    _not_zero(call, call.x, True)
    # An axis moved to the end and back, as to_module() does it, is that axis.
    source, users = call.node.args[0], list(call.node.users)
    assert isinstance(source, fx.Node)
    there, back = _permutation(source), _permutation(users[0]) if len(users) == 1 else None
    if there and back and there[0] == 0 and [there[i] for i in back] == list(range(len(there))):
        whole = call.tensor(source.args[0])
        call.reader.values[users[0]] = b.norm(whole, "layer", eps=call["eps"], axis=there[-1] - 1)
        return None
    return b.norm(call.x, "layer", eps=call["eps"], axis=-1)


# -- elementwise -------------------------------------------------------------------------------------------------------


def _act(fn: str, **expected: Any) -> Callable[[Builder, _Call], Tensor]:
    def act(b: Builder, call: _Call) -> Tensor:
        call.only(**expected)
        return b.act(call.x, fn)

    return act


def _clamp(b: Builder, call: _Call) -> Tensor | _SixTimes:
    low, high = (call.arguments.get(name) for name in ("min", "max"))
    if call.op in ("hardtanh", "relu6"):
        low, high = (call["min_val"], call["max_val"]) if call.op == "hardtanh" else (0, 6)
    if low != 0 or high not in (None, 6):
        raise call.refusal(f"a graph clamps to at least 0 (ReLU) or 0 to 6 (ReLU6), not {low} to {high}; {ADVICE}")
    if high == 6 and isinstance(call.first, _PlusThree):
        return _SixTimes("hsigmoid", call.first.x)
    return b.act(call.x, "relu" if high is None else "relu6")


def _add(b: Builder, call: _Call) -> Tensor | _PlusThree:
    sign = -1 if call.op == "sub" else 1
    constant = call.number("other")
    factor = sign * (call.number("alpha") or 0.0)
    if constant is None:
        return b.add(call.x, b.scale(call.tensor(call["other"]), factor))
    if constant * factor == 3:
        return _PlusThree(call.x)
    if constant * factor != 0:
        raise call.refusal(f"adding a constant is no operation of a graph; {ADVICE}")
    return call.x


def _mul(b: Builder, call: _Call) -> Tensor | _SixTimes:
    constant = call.number("other")
    if constant is not None:
        return _scaled(b, call, constant)
    one, other = call.value(call["self"]), call.value(call["other"])
    for gate, x in ((one, other), (other, one)):
        if isinstance(gate, _SixTimes) and gate.fn == "hsigmoid" and x is gate.x:
            return _SixTimes("hswish", gate.x)
    return b.mul(call.x, call.tensor(call["other"]))


def _scaled(b: Builder, call: _Call, factor: float) -> Tensor:
    if isinstance(call.first, _SixTimes) and isclose(factor, 1 / 6, rel_tol=1e-6):
        return b.act(call.first.x, call.first.fn)
    return b.scale(call.x, factor)


def _div(b: Builder, call: _Call) -> Tensor:
    call.only(rounding_mode=None)
    constant = call.number("other")
    if constant is not None:
        if constant == 0:
            raise call.refusal("division by zero")
        return _scaled(b, call, 1 / constant)
    x, coverage = call.x, call.value(call["other"])
    if isinstance(coverage, _Coverage):
        if x.is_zero:
            return x
        if x.node.attrs == coverage.window and x.operands and x.operands[0].shape[1:] == coverage.size:
            kind, kernel, stride, pads, _ = coverage.window
            return b.pool(x.operands[0], kind, kernel, stride, padding=pads, count_padding=False)
    raise call.refusal(f"a graph divides by constants alone; {ADVICE}")


def _dropout(b: Builder, call: _Call) -> Tensor:
    if call["train"] and call["p"] != 0:
        raise call.refusal("dropout changes training, which a graph does not say; set p to 0, or call eval() first")
    return call.x


def _softmax(b: Builder, call: _Call) -> Tensor:
    call.only(dtype=None, half_to_float=False)
    return b.softmax(call.x, call.axis())


# -- windows -----------------------------------------------------------------------------------------------------------


def _pad(b: Builder, call: _Call) -> _Padded | _Ones | Tensor:
    call.only(mode="constant")
    fill = call.arguments.get("value") or 0.0
    given = call["pad"]
    if not all(isinstance(n, int) and n >= 0 for n in given) or not isinstance(fill, int | float):
        raise call.refusal(f"padding must be constants of at least 0, not {given} of {fill}; {ADVICE}")
    sides = tuple(zip(given[::2], given[1::2], strict=True))[::-1]  # PyTorch lists the last axis first
    value = call.first
    if isinstance(value, _Ones) and fill == 0 and len(sides) <= len(value.size):
        return _Ones(value.size, _sum_pads(value.pads, ((0, 0),) * (len(value.size) - len(sides)) + sides))
    rank = len(call.shape)
    if len(sides) > rank:
        raise call.refusal("it pads the batch axis; a graph describes what happens to one sample")
    sides = ((0, 0),) * (rank - len(sides)) + sides
    if isinstance(value, _Padded) and value.fill == fill:
        return _Padded(value.x, _sum_pads(value.pads, sides), float(fill))
    return _Padded(call.x, sides, float(fill)) if any(map(any, sides)) else call.x


def _pool(b: Builder, call: _Call) -> Tensor | _Coverage:
    kind = call.op[:3]
    rank = int(call.op[8])
    kernel = call.per_axis("kernel_size", rank)
    stride = call.per_axis("stride", rank) if call["stride"] else kernel
    call.only(divisor_override=None)
    if kind == "max" and set(call.per_axis("dilation", rank)) != {1}:
        raise call.refusal(f"a graph's pooling has no dilation; {ADVICE}")
    own: Pads = tuple((n, n) for n in call.per_axis("padding", rank))
    counted = kind == "avg" and call["count_include_pad"]
    value = call.first
    if isinstance(value, _Ones):  # of what to_module() writes for an average that does not count uneven padding
        if kind != "avg" or any(map(any, own)) or call["ceil_mode"]:
            raise call.refusal(f"a constant tensor is no operand of a graph; {ADVICE}")
        return _Coverage(value.size, ("avg", kernel, stride, value.pads, True))
    frame = _frame(value, -inf if kind == "max" else 0)
    if frame is not None and (kind == "max" or counted or not any(map(any, own))):
        x, pads, counted = value.x, _sum_pads(own, frame), kind == "avg"
    else:
        x, pads = call.x, own
    if call["ceil_mode"]:
        # Windows that begin inside and end outside: more padding behind, which an average never counts.
        reach = [(n - 1) * s + k for n, s, k in zip(call.shape[1:], stride, kernel, strict=True)]
        behind = [max(r - n - sum(p), 0) for r, n, p in zip(reach, x.shape[1:], pads, strict=True)]
        if any(behind) and any(map(any, pads)) and counted:
            raise call.refusal(f"an average that counts padding and rounds up has two kinds of padding; {ADVICE}")
        counted = counted and not any(behind)
        pads = tuple((before, after + n) for (before, after), n in zip(pads, behind, strict=True))
    return b.pool(x, kind, kernel, stride, padding=pads, count_padding=counted)


def _adaptive_pool(b: Builder, call: _Call) -> Any:
    kind, x = call.op[9:12], call.x
    results = call.node.meta["val"]
    size = call.shape_of(results if kind == "avg" else results[0])[1:]
    if any(n % m for n, m in zip(x.shape[1:], size, strict=True)):
        raise call.refusal(f"windows of different sizes: {x.shape[1:]} does not divide into {size}; {ADVICE}")
    if prod(size) == 1:
        pooled = b.global_pool(x, kind)
    else:
        window = tuple(n // m for n, m in zip(x.shape[1:], size, strict=True))
        pooled = b.pool(x, kind, window, window, padding=0)
    return pooled if kind == "avg" else [pooled, _Unusable("indices of a maximum are no tensor of a graph")]


def _reduce(b: Builder, call: _Call) -> Tensor:
    """Mean or maximum over some axes of a sample, by way of a global pooling over the last ones."""
    call.only(dtype=None)
    x, kind = call.x, {"mean": "avg", "amax": "max"}[call.op]
    if not call.arguments.get("dim"):
        raise call.refusal("it reduces the batch axis; name the axes of one sample")
    dim = call["dim"]
    gone = sorted(call.axes(dim if isinstance(dim, list | tuple) else [dim]))
    kept = [axis for axis in range(len(x.shape)) if axis not in gone]
    shape = call.shape
    x = b.permute(x, kept + gone)
    if len(kept) != 1:
        x = b.reshape(x, (prod(x.shape[: len(kept)]), *x.shape[len(kept) :]))
    return b.reshape(b.global_pool(x, kind), shape)


def _resize(b: Builder, call: _Call) -> Tensor:
    call.only(align_corners=False)
    x, size = call.x, call.shape[1:]
    factors = call.arguments.get("scale_factors") or [
        call.arguments.get(name) for name in ("scales", "scales_d", "scales_h", "scales_w") if name in call.arguments
    ]
    # PyTorch takes places from the factor, the graph from the sizes: the same where the factor is exact.
    if any(f is not None and n * f != m for n, f, m in zip(x.shape[1:], factors or [None] * 3, size, strict=False)):
        raise call.refusal(f"scale {factors} does not take {x.shape[1:]} to {size} evenly; give the size instead")
    return b.resize(x, size, "nearest" if "nearest" in call.op else "bilinear")


# -- products and structure --------------------------------------------------------------------------------------------


def _matmul(b: Builder, call: _Call) -> Tensor:
    return b.matmul(call.x, call.tensor(call.node.args[1]))


def _attention(b: Builder, call: _Call) -> Tensor:
    call.only(attn_mask=None, dropout_p=0.0, is_causal=False, enable_gqa=False)
    query, key, value = (call.tensor(call[name]) for name in ("query", "key", "value"))
    rank = len(key.shape)
    scores = b.matmul(query, b.permute(key, (*range(rank - 2), rank - 1, rank - 2)))
    factor = query.shape[-1] ** -0.5 if call["scale"] is None else call["scale"]
    return b.matmul(b.softmax(b.scale(scores, factor)), value)


def _cat(b: Builder, call: _Call) -> Tensor:
    return b.concat([call.tensor(t) for t in call["tensors"]], call.axis())


def _stack(b: Builder, call: _Call) -> Tensor:
    axis = call["dim"] % len(call.node.meta["val"].shape) - 1
    parts = [call.tensor(t) for t in call["tensors"]]
    call.shape  # noqa: B018  refuses a stack along the batch axis
    return b.concat([b.reshape(t, (*t.shape[:axis], 1, *t.shape[axis:])) for t in parts], axis)


def _reshape(b: Builder, call: _Call) -> Tensor:
    return b.reshape(call.x, call.shape)


_REORDERS = ("permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "numpy_T", "mT")


def _permutation(node: fx.Node) -> list[int] | None:
    """The order of axes that a node makes, batch axis included; ``None`` where it does something else."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    if node.target._schema.name.removeprefix("aten::") not in _REORDERS:
        return None
    source = node.args[0]
    assert isinstance(source, fx.Node)
    # PyTorch's own rule, told by extents that differ
    probe = torch.empty(tuple(range(1, source.meta["val"].dim() + 1)), device="meta")
    made = node.target(probe, *node.args[1:], **node.kwargs)
    return [n - 1 for n in made.shape]


def _permute(b: Builder, call: _Call) -> Tensor:
    axes = _permutation(call.node)
    assert axes is not None
    if axes[0] != 0:
        raise call.refusal("it moves the batch axis; reorder within a sample only")
    return b.permute(call.x, [axis - 1 for axis in axes[1:]])


def _slice(b: Builder, call: _Call) -> Tensor | _Unusable:
    if isinstance(call.first, _Unusable):
        return call.first
    extent = call.node_shape(call.node.args[0])[call["dim"]]
    start, stop, step = (call.arguments.get(name) for name in ("start", "end", "step"))
    if call.op == "narrow":
        stop = start + call["length"] if isinstance(start, int) and isinstance(call["length"], int) else call["length"]
    if call["dim"] % len(call.node_shape(call.node.args[0])) == 0:
        if start in (None, 0) and step in (None, 1) and call.reader.unbatched(call.node.meta["val"]):
            return call.x
        return _Unusable(f"{_place(call.node, call.op)}: it takes samples from the batch; a graph describes one sample")
    if not all(n is None or isinstance(n, int) for n in (start, stop, step)) or step not in (None, 1):
        raise call.refusal(f"a graph slices by constants in steps of 1, not {start}:{stop}:{step}; {ADVICE}")
    start, stop, _ = slice(start, stop).indices(extent)
    return b.slice(call.x, call.axis(), start, stop)


def _select(b: Builder, call: _Call) -> Tensor:
    x, axis, place = call.x, call.axis(), call["index"]
    if not isinstance(place, int):
        raise call.refusal(f"its index must be a constant; {ADVICE}")
    place %= x.shape[axis]
    return b.reshape(b.slice(x, axis, place, place + 1), call.shape)


def _split(b: Builder, call: _Call) -> list[Tensor]:
    x, axis = call.x, call.axis()
    parts: list[Tensor] = []
    start = 0
    for fake in call.node.meta["val"]:
        shape = call.shape_of(fake)
        extent = shape[axis] if call.op != "unbind" else 1
        parts.append(b.reshape(b.slice(x, axis, start, start + extent), shape))
        start += extent
    return parts


def _same(b: Builder, call: _Call) -> Tensor:
    if call.reader.unbatched(call.node.meta["val"]) != call.x.shape:
        raise call.refusal(f"it repeats elements, which no operation of a graph does; {ADVICE}")
    return call.x


def _zero(b: Builder, call: _Call) -> Tensor:
    if call.op.startswith("full") or call.op == "new_full":
        call.only(fill_value=0)
    return b.zero(call.shape)


def _ones_like(b: Builder, call: _Call) -> _Ones | _Unusable:
    size = tuple(call.node.meta["val"].shape)
    if len(size) > 2 and size[:2] == (1, 1):
        return _Ones(size[2:], ((0, 0),) * len(size[2:]))
    return _Unusable(f"{_place(call.node, call.op)}: a constant tensor is no operand of a graph; {ADVICE}")


_Row = Callable[[Builder, _Call], Any]
_OPERATIONS: dict[str, _Row] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "relu": _act("relu"),
    **dict.fromkeys(("relu6", "hardtanh", "clamp", "clamp_min"), _clamp),
    "hardswish": _act("hswish"),
    "hardsigmoid": _act("hsigmoid"),
    "sigmoid": _act("sigmoid"),
    "silu": _act("silu"),
    "gelu": _act("gelu", approximate="none"),
    "tanh": _act("tanh"),
    "leaky_relu": _act("leaky_relu", negative_slope=0.1),
    **dict.fromkeys(("add", "sub"), _add),
    **dict.fromkeys(("mul", "multiply"), _mul),
    **dict.fromkeys(("div", "divide", "true_divide"), _div),
    "neg": lambda b, call: b.scale(call.x, -1),
    "softmax": _softmax,
    "_softmax": _softmax,
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _dropout),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **dict.fromkeys([f"{kind}_pool{rank}d" for kind in ("max", "avg") for rank in (1, 2, 3)], _pool),
    **dict.fromkeys([f"adaptive_{kind}_pool{rank}d" for kind in ("max", "avg") for rank in (1, 2, 3)], _adaptive_pool),
    **dict.fromkeys(("mean", "amax"), _reduce),
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d"), _resize),
    **dict.fromkeys(("matmul", "bmm"), _matmul),
    "scaled_dot_product_attention": _attention,
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


# -- the whole program -------------------------------------------------------------------------------------------------


class _Reader:
    """Reads one exported program. ``values`` holds what each of its nodes stands for."""

    def __init__(self, module: nn.Module, program: ExportedProgram) -> None:
        self.module = module
        self.program = program
        self.b = Builder()
        self.nodes = list(program.graph.nodes)
        self.values: dict[fx.Node, Any] = {}
        self.states: dict[str, torch.Tensor] = {
            **dict(module.named_parameters(remove_duplicate=False)),
            **dict(module.named_buffers(remove_duplicate=False)),
        }
        self.owned: dict[fx.Node, tuple[InputKind, str]] = {}  # parameters and buffers by their names in the module
        self.claimed: dict[tuple[Any, ...], tuple[fx.Node, str]] = {}  # what each weight's memory serves as
        self.itself: dict[fx.Node, fx.Node] = {}  # what an operation in place returns: the tensor that it changed
        self.memory: dict[fx.Node, fx.Node] = {}  # what may be a view: the tensor whose memory it shows
        self.last_use = {source: place for place, node in enumerate(self.nodes) for source in node.all_input_nodes}

    def graph(self) -> Graph:
        self._read_inputs()
        needed = self._needed()
        for place, node in enumerate(self.nodes):
            if node.op == "get_attr":
                self.values[node] = _Unusable(f"the constant {node.target} is no parameter; {ADVICE}")
            elif node.op == "call_function" and node in needed and node not in self.values:
                self._read(place, node)
        outputs = {}
        for name, node in self._outputs().items():
            call = _Call(self, self.nodes[-1])
            call.op = f"output {name!r}"
            outputs[name] = call.tensor(node)
        return self.b.build(outputs)

    def unbatched(self, fake: Any) -> Shape | None:
        """The shape behind the batch axis; ``None`` where that is not first, or another extent is not constant."""
        if not isinstance(fake, torch.Tensor) or fake.dim() < 1:
            return None
        first, *rest = fake.shape
        if isinstance(first, int) or not statically_known_true(first == self.batch):
            return None
        return tuple(rest) if all(isinstance(n, int) for n in rest) else None

    def _read_inputs(self) -> None:
        placeholders = [node for node in self.nodes if node.op == "placeholder"]
        for node, spec in zip(placeholders, self.program.graph_signature.input_specs, strict=True):
            if spec.kind == InputKind.USER_INPUT:
                fake = node.meta["val"]
                self.batch, self.dtype = fake.shape[0], fake.dtype
                self.values[node] = self.b.input(tuple(fake.shape[1:]))
                continue
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.target in self.states:
                self.owned[node] = (spec.kind, spec.target)
            self.values[node] = _Unusable(
                f"{spec.target} is a {spec.kind.name.lower().replace('_', ' ')} used as a tensor; in a graph only"
                " convolutions, linear layers and normalisations have weights, and there are no constants"
            )

    def _needed(self) -> set[fx.Node]:
        """The nodes that the outputs are computed from, and those that change a tensor in place."""
        needed: set[fx.Node] = set()
        for node in reversed(self.nodes):
            if node.op == "output" or _in_place(node) or any(user in needed for user in node.users):
                needed.add(node)
        return needed

    def _read(self, place: int, node: fx.Node) -> None:
        fake = node.meta.get("val")
        call = _Call(self, node)
        if node.target is operator.getitem:
            self.values[node] = call.value(node.args[0])[node.args[1]]
            self.memory[node] = self._memory_of(node.args[0])
            return
        if isinstance(fake, torch.SymInt | torch.SymFloat | torch.SymBool | int | float | bool):
            self.values[node] = _Unusable("a number that depends on the batch or on data is no constant")
            return
        if _in_place(node):
            target = node.args[0]
            assert isinstance(target, fx.Node)
            if target in self.owned:
                if call.op == "add" and self.owned[target][1].rpartition(".")[2] == "num_batches_tracked":
                    return  # batch normalisation's own count
                raise call.refusal(f"it changes {self.owned[target][1]}; a graph has no state but running statistics")
            changed = self.itself.get(target, target)
            self._check_views(place, call, changed)
        read = _OPERATIONS.get(call.op)
        if read is None or not isinstance(node.target, torch._ops.OpOverload):
            raise call.refusal(f"a graph has no such operation; {ADVICE}")
        try:
            value = read(self.b, call)
        except GraphError as error:
            raise call.refusal(str(error)) from None
        if isinstance(value, Tensor):
            if call.shape != value.shape:
                raise call.refusal(f"its result is {call.shape}, where the graph's is {value.shape}; {ADVICE}")
            if fake is not None and fake.dtype != self.dtype:
                raise call.refusal(f"it changes the number format from {self.dtype} to {fake.dtype}; a graph has one")
        if _in_place(node):
            self.itself[node] = changed
            self.values[changed] = value
        else:
            self.values[node] = value
            if _may_be_view(node):
                self.memory[node] = self._memory_of(node.args[0])

    def _memory_of(self, shown: Any) -> fx.Node:
        node: fx.Node = self.itself.get(shown, shown)
        return self.memory.get(node, node)

    def _check_views(self, place: int, call: _Call, changed: fx.Node) -> None:
        """Refuse a change in place that another view of the same memory shows later."""
        memory = self._memory_of(changed)
        for node in self.values:
            other = self.itself.get(node, node)
            if other is not changed and self._memory_of(other) is memory and self.last_use.get(node, -1) > place:
                raise call.refusal(
                    "it changes a tensor in place that a view shows too; use the operation that makes a new one"
                )

    def _outputs(self) -> dict[str, fx.Node]:
        """The nodes that ``forward`` returns, by name."""
        returned: Any = self.nodes[-1].args[0]
        structure = pytree.tree_unflatten(list(range(len(returned))), self.program.call_spec.out_spec)
        if isinstance(structure, int):
            structure = {"output": structure}
        elif isinstance(structure, list | tuple):
            structure = {f"output{i}": place for i, place in enumerate(structure)}
        if (
            not isinstance(structure, Mapping)
            or not structure
            or not all(isinstance(p, int) for p in structure.values())
        ):
            raise UnsupportedModule("forward() must return a tensor, or a dict, tuple or list of tensors, not nested")
        outputs = {}
        for name, place in structure.items():
            node = returned[place]
            if not isinstance(name, str) or not isinstance(node, fx.Node):
                raise UnsupportedModule(f"output {name!r} of forward() must be a tensor with a text for its name")
            outputs[name] = node
        return outputs


def _in_place(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _may_be_view(node: fx.Node) -> bool:
    """Whether the result may share its first operand's memory; dropout that does nothing returns its operand."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema
    return "dropout" in schema.name or any(r.alias_info is not None for r in schema.returns)
