"""The only way to make a graph: constructors that return the normal form.

Every constructor applies the rules that look at its operands (identity and zero removed, equal parameter-free
operations shared, nested activations folded); ``Builder.build`` applies those that need the whole graph (dead
branches swept, sums and concatenations that feed one sum or concatenation flattened). ``@block`` makes a function
of a builder and a tensor cheap to repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from math import prod
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from search_spaces.graph import Fragment, Graph, Node, Piece
from search_spaces.ops import OPS, Attrs, GraphError, Shape

Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]
Ints = int | Sequence[int]

_MEMO_LIMIT = 1 << 16
_PRIMITIVES: dict[tuple[str, Attrs, tuple[Shape, ...]], Fragment] = {}

# act(outer) after act(inner): what both together are, where that is one of them
_FOLDED_ACTIVATIONS = {
    ("relu", "relu"): "relu",
    ("relu6", "relu6"): "relu6",
    ("relu", "relu6"): "relu6",
    ("relu6", "relu"): "relu6",
}


class Tensor:
    """A value in a network under construction: its ``shape``, without the batch axis, and where it comes from."""

    __slots__ = ("builder", "index", "node", "operands", "shape")

    def __init__(self, builder: Builder, index: int, node: Node, operands: tuple[Tensor, ...]) -> None:
        self.builder = builder
        self.index = index
        self.node = node
        self.shape = node.shape
        self.operands = operands

    def __repr__(self) -> str:
        return f"<Tensor {self.node.op} {self.shape}>"

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def is_zero(self) -> bool:
        return self.node.op == "zero"

    @property
    def holds_zero(self) -> bool:
        """Whether it is zero, or a concatenation with zero parts."""
        return self.is_zero or (self.node.op == "concat" and any(t.is_zero for t in self.operands))


def _per_axis(name: str, value: Ints, rank: int) -> tuple[int, ...]:
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank:
        raise GraphError(f"{name} has {len(values)} values for {rank} spatial axes: {value!r}")
    return values


def same_padding(extent: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME: ``ceil(extent / stride)`` outputs, the odd element of padding behind."""
    total = max((-(-extent // stride) - 1) * stride + dilation * (kernel - 1) + 1 - extent, 0)
    return total // 2, total - total // 2


def _resolve_padding(
    padding: Padding, size: Shape, kernel: Shape, stride: Shape, dilation: Shape
) -> tuple[tuple[int, int], ...]:
    if padding == "same":
        for s in stride:
            if not isinstance(s, int) or s < 1:
                raise GraphError(f"stride must be a whole number of at least 1, not {s!r}")
        return tuple(same_padding(*axis) for axis in zip(size, kernel, stride, dilation, strict=True))
    if padding == "valid":
        return ((0, 0),) * len(size)
    if isinstance(padding, str):
        raise GraphError(f"padding must be 'same', 'valid', a number or (before, after) pairs, not {padding!r}")
    if isinstance(padding, int):
        return ((padding, padding),) * len(size)
    return tuple((p, p) if isinstance(p, int) else (p[0], p[1]) for p in padding)


class Builder:
    """Builds one graph. Not to be shared between threads; a tensor belongs to the builder that made it."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._count = 0
        self._inputs = 0
        self._shared: dict[tuple[int, tuple[int, ...]], Tensor] = {}
        self._nested: list[int] = []  # sums that feed a sum, concatenations that feed one: build() looks again
        self._unfolded = False  # a pair that folds, but across a block's border

    # -- structure ---------------------------------------------------------------------------------------------

    def _splice(self, fragment: Fragment, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        base = self._count
        if len(operands) == 1:
            (x,) = operands
            inputs, producers = (x.index,), (x.node.op,)
            mine = x.builder is self
        else:
            inputs = tuple([t.index for t in operands])  # type: ignore[assignment]
            producers = tuple([t.node.op for t in operands])  # type: ignore[assignment]
            mine = all([t.builder is self for t in operands])
        if not mine:
            raise GraphError("a tensor of another builder was used; build one network with one Builder")
        self._pieces.append(Piece(fragment, inputs, producers, base))
        self._count = base + len(fragment.nodes)
        # Behind a block's border the operands of its last node are out of reach; build() folds what is left there.
        near = operands if len(fragment.nodes) == 1 else ()
        return tuple([Tensor(self, base + o, fragment.nodes[o], near) for o in fragment.outputs])

    def _emit(self, op: str, attrs: Attrs, operands: tuple[Tensor, ...] = ()) -> Tensor:
        shapes = tuple([t.shape for t in operands])
        key = (op, attrs, shapes)
        fragment = _PRIMITIVES.get(key)
        if fragment is None:
            shape = OPS[op].shape(shapes, attrs)
            node = Node(op, attrs, tuple(range(-1, -len(shapes) - 1, -1)), shape)
            fragment = Fragment((node,), (0,), shapes)
            if len(_PRIMITIVES) >= _MEMO_LIMIT:
                _PRIMITIVES.clear()
            _PRIMITIVES[key] = fragment
        if fragment.parametric or op == "input":
            return self._splice(fragment, operands)[0]
        sharing = (id(fragment), tuple([t.index for t in operands]))
        known = self._shared.get(sharing)
        if known is None:
            known = self._shared[sharing] = self._splice(fragment, operands)[0]
        return known

    def splice(self, fragment: Fragment, operands: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Put a closed fragment into the graph as it is and return its outputs."""
        if not fragment.closed:
            raise GraphError("only a closed fragment can be spliced in as a whole")
        if tuple(t.shape for t in operands) != fragment.input_shapes:
            raise GraphError("the operands' shapes are not those that the fragment was made for")
        return self._splice(fragment, tuple(operands))

    def apply_row(self, row: object, tensors: Sequence[Tensor]) -> Tensor:
        """One node of a graph's JSON through its constructor. Raises ``GraphError``."""
        if not isinstance(row, Mapping) or row.get("op") not in OPS:
            raise GraphError(f"expected an object with a known `op`, not {str(row)[:80]!r}")
        op: str = row["op"]
        names = OPS[op].attrs
        unknown = set(row) - set(names) - {"op", "inputs"}
        missing = set(names) - set(row)
        if unknown or missing:
            raise GraphError(f"{op}: attributes must be {', '.join(names) or 'none'}, not {sorted(map(str, row))}")
        operands = []
        inputs = row.get("inputs", [])
        if not isinstance(inputs, list):
            raise GraphError(f"{op}: inputs must be a list of node numbers")
        for i in inputs:
            if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < len(tensors):
                raise GraphError(f"{op}: input {i!r} is not an earlier node")
            operands.append(tensors[i])
        attrs = tuple(_tuples(row[name]) for name in names)
        try:
            # The shape rule checks types and ranges before a constructor computes with them.
            OPS[op].shape(tuple(t.shape for t in operands), attrs)
        except (TypeError, AttributeError) as error:
            raise GraphError(f"{op}: attributes make no sense ({error})") from None
        return _CONSTRUCTORS[op](self, operands, dict(zip(names, attrs, strict=True)))

    def build(self, outputs: Tensor | Mapping[str, Tensor]) -> Graph:
        """The finished graph with these outputs; one tensor alone becomes the output named ``output``."""
        chosen = {"output": outputs} if isinstance(outputs, Tensor) else dict(outputs)
        if not chosen:
            raise GraphError("a graph needs at least one output")
        for name, tensor in chosen.items():
            if not isinstance(tensor, Tensor) or tensor.builder is not self:
                raise GraphError(f"output {name!r} is not a tensor of this builder")
        ends = tuple([(name, tensor.index) for name, tensor in chosen.items()])
        if self._is_normal([index for _, index in ends]):
            return Graph(tuple(self._pieces), ends, self._count)
        nodes, indices = _normalise(list(Graph(tuple(self._pieces), (), self._count).nodes), [i for _, i in ends])
        fragment = Fragment(tuple(nodes), tuple(sorted(set(indices))), ())
        named = tuple((name, index) for (name, _), index in zip(ends, indices, strict=True))
        return Graph((Piece(fragment, (), (), 0),), named, len(nodes))

    def _is_normal(self, ends: list[int]) -> bool:
        if self._unfolded:
            return False
        used = set(ends)
        for _, inputs, _, _ in self._pieces:
            used.update(inputs)
        for fragment, _, _, base in self._pieces:
            for o in fragment.outputs:
                if base + o not in used and fragment.nodes[o].op != "input":
                    return False
        if not self._nested:
            return True
        uses: dict[int, int] = dict.fromkeys(self._nested, 0)
        for i in ends:
            if i in uses:
                uses[i] += 1
        for fragment, inputs, _, _ in self._pieces:
            for node in fragment.nodes if len(inputs) else ():
                for i in node.inputs:
                    if i < 0 and inputs[-i - 1] in uses:
                        uses[inputs[-i - 1]] += 1
        return all(count > 1 for count in uses.values())

    # -- sources -----------------------------------------------------------------------------------------------

    def input(self, shape: Sequence[int]) -> Tensor:
        """An input of ``shape``, channels first, without the batch axis."""
        self._inputs += 1
        return self._emit("input", (tuple(shape),))

    def zero(self, shape: Sequence[int]) -> Tensor:
        """A constant zero: it vanishes from sums, and whatever is computed from it alone vanishes too."""
        return self._emit("zero", (tuple(shape),))

    # -- operations with parameters ------------------------------------------------------------------------------

    def conv(
        self,
        x: Tensor,
        out_channels: int,
        kernel: Ints = 1,
        stride: Ints = 1,
        *,
        groups: int = 1,
        dilation: Ints = 1,
        padding: Padding = "same",
        bias: bool = False,
    ) -> Tensor:
        """Convolution over all spatial axes of ``x`` (one to three); ``padding='same'`` is TensorFlow's SAME."""
        size = x.shape[1:]
        rank = len(size)
        kernel, stride = _per_axis("kernel", kernel, rank), _per_axis("stride", stride, rank)
        dilation = _per_axis("dilation", dilation, rank)
        dilation = tuple([1 if k == 1 else d for k, d in zip(kernel, dilation, strict=True)])
        pads = _resolve_padding(padding, size, kernel, stride, dilation)
        attrs = (out_channels, kernel, stride, pads, dilation, groups, bias)
        if x.holds_zero:
            shape = OPS["conv"].shape((x.shape,), attrs)
            if x.is_zero:
                return self.zero(shape)
            if groups == 1 and x.node.attrs == (0,):
                # Weights on channels that are always zero never learn: the convolution of the rest is the same.
                x = self.concat([t for t in x.operands if not t.is_zero])
        return self._emit("conv", attrs, (x,))

    def depthwise(self, x: Tensor, kernel: Ints = 3, stride: Ints = 1, **options: Any) -> Tensor:
        """Depthwise convolution: ``conv`` with one group a channel."""
        return self.conv(x, x.channels, kernel, stride, groups=x.channels, **options)

    def linear(self, x: Tensor, out_features: int, *, bias: bool = True) -> Tensor:
        """Linear layer over the last axis of ``x``."""
        if x.is_zero:
            return self.zero(OPS["linear"].shape((x.shape,), (out_features, bias)))
        return self._emit("linear", (out_features, bias), (x,))

    def norm(
        self, x: Tensor, kind: str = "batch", *, eps: float = 1e-5, momentum: float = 0.1, axis: int = 0
    ) -> Tensor:
        """Batch normalisation over channels, or layer normalisation over one axis, with scale and shift.

        ``momentum`` is PyTorch's: the weight of the new statistics.
        """
        if x.is_zero:
            return x
        axis = axis + len(x.shape) if isinstance(axis, int) and axis < 0 else axis
        return self._emit("norm", (kind, float(eps), float(momentum) if kind == "batch" else 0.0, axis), (x,))

    # -- operations without parameters -----------------------------------------------------------------------------

    def act(self, x: Tensor, fn: str) -> Tensor:
        """Activation by name; ``identity`` returns ``x``."""
        if fn == "identity":
            return x
        if x.node.op == "act":
            folded = _FOLDED_ACTIVATIONS.get((fn, x.node.attrs[0]))
            if folded == x.node.attrs[0]:
                return x
            if folded is not None:
                if x.operands:
                    return self._emit("act", (folded,), (x.operands[0],))
                self._unfolded = True
        if x.is_zero and fn not in ("sigmoid", "hsigmoid"):
            return x
        return self._emit("act", (fn,), (x,))

    def add(self, *operands: Tensor) -> Tensor:
        """Sum of tensors of one shape. Zero terms vanish; the order does not matter; ``x + x`` stays two terms."""
        if not operands:
            raise GraphError("add: needs at least one operand")
        if any(t.shape != operands[0].shape for t in operands):
            raise GraphError(f"add: operands differ in shape: {', '.join(str(t.shape) for t in operands)}")
        terms = sorted((t for t in operands if not t.is_zero), key=lambda t: t.index)
        if len(terms) < 2:
            return terms[0] if terms else operands[0]
        for t in terms:
            if t.node.op == "add":
                self._nested.append(t.index)
        return self._emit("add", (), tuple(terms))

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """Elementwise product; axes of extent 1 broadcast."""
        if a.is_zero or b.is_zero:
            return self.zero(OPS["mul"].shape((a.shape, b.shape), ()))
        return self._emit("mul", (), (a, b) if a.index <= b.index else (b, a))

    def concat(self, operands: Sequence[Tensor], axis: int = 0) -> Tensor:
        """Concatenation along ``axis`` (0: channels)."""
        if not operands:
            raise GraphError("concat: needs at least one operand")
        if len(operands) == 1:
            return operands[0]
        if all(t.is_zero for t in operands):
            return self.zero(OPS["concat"].shape(tuple(t.shape for t in operands), (axis,)))
        for t in operands:
            if t.node.op == "concat" and t.node.attrs == (axis,):
                self._nested.append(t.index)
        return self._emit("concat", (axis,), tuple(operands))

    def pool(
        self,
        x: Tensor,
        kind: str,
        kernel: Ints,
        stride: Ints = 1,
        *,
        padding: Padding = "same",
        count_padding: bool = False,
    ) -> Tensor:
        """Max or average pooling; ``count_padding`` says whether an average divides by padded places too."""
        size = x.shape[1:]
        rank = len(size)
        kernel, stride = _per_axis("kernel", kernel, rank), _per_axis("stride", stride, rank)
        pads = _resolve_padding(padding, size, kernel, stride, (1,) * rank)
        if kind == "max" or not any(map(any, pads)):
            count_padding = False
        attrs = (kind, kernel, stride, pads, count_padding)
        if x.is_zero:
            return self.zero(OPS["pool"].shape((x.shape,), attrs))
        if prod(kernel) == 1 and prod(stride) == 1 and not any(map(any, pads)):
            return x
        return self._emit("pool", attrs, (x,))

    def global_pool(self, x: Tensor, kind: str = "avg") -> Tensor:
        """Mean or maximum over all spatial axes, which stay with extent 1."""
        if prod(x.shape[1:]) == 1 or x.is_zero:
            shape = OPS["global_pool"].shape((x.shape,), (kind,))
            return self.zero(shape) if x.is_zero else x
        return self._emit("global_pool", (kind,), (x,))

    def resize(self, x: Tensor, size: Sequence[int], mode: str = "nearest") -> Tensor:
        """Resize the spatial axes to ``size``."""
        attrs = (tuple(size), mode)
        if x.is_zero:
            return self.zero(OPS["resize"].shape((x.shape,), attrs))
        return x if x.shape[1:] == attrs[0] else self._emit("resize", attrs, (x,))

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """Matrix product over the last two axes; the axes before them must be equal."""
        if a.is_zero or b.is_zero:
            return self.zero(OPS["matmul"].shape((a.shape, b.shape), ()))
        return self._emit("matmul", (), (a, b))

    def softmax(self, x: Tensor, axis: int = -1) -> Tensor:
        """Softmax over one axis."""
        return self._emit("softmax", (axis + len(x.shape) if axis < 0 else axis,), (x,))

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same elements, in order, in another shape."""
        attrs = (tuple(shape),)
        if x.is_zero:
            return self.zero(OPS["reshape"].shape((x.shape,), attrs))
        if x.node.op == "reshape":
            if x.operands:
                x = x.operands[0]
            else:
                self._unfolded = True
        return x if x.shape == attrs[0] else self._emit("reshape", attrs, (x,))

    def permute(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Axes in another order: axis ``i`` of the result is axis ``axes[i]`` of ``x``."""
        attrs = (tuple(axes),)
        if x.is_zero:
            return self.zero(OPS["permute"].shape((x.shape,), attrs))
        return x if attrs[0] == tuple(range(len(x.shape))) else self._emit("permute", attrs, (x,))

    def slice(self, x: Tensor, axis: int, start: int, stop: int) -> Tensor:
        """Elements ``start`` to ``stop`` (exclusive) of one axis."""
        attrs = (axis, start, stop)
        if x.is_zero:
            return self.zero(OPS["slice"].shape((x.shape,), attrs))
        whole = 0 <= axis < len(x.shape) and (start, stop) == (0, x.shape[axis])
        return x if whole else self._emit("slice", attrs, (x,))

    def scale(self, x: Tensor, factor: float) -> Tensor:
        """Multiply by a constant."""
        if factor == 1 or x.is_zero:
            return x
        return self.zero(x.shape) if factor == 0 else self._emit("scale", (float(factor),), (x,))


def _tuples(value: object) -> object:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _unary(method: str) -> Callable[[Builder, list[Tensor], dict[str, Any]], Tensor]:
    def construct(builder: Builder, operands: list[Tensor], attrs: dict[str, Any]) -> Tensor:
        return getattr(builder, method)(*operands, **attrs)  # type: ignore[no-any-return]

    return construct


_CONSTRUCTORS: dict[str, Callable[[Builder, list[Tensor], dict[str, Any]], Tensor]] = {op: _unary(op) for op in OPS} | {
    "concat": lambda builder, operands, attrs: builder.concat(operands, **attrs)
}


def _normalise(nodes: list[Node], ends: list[int]) -> tuple[list[Node], list[int]]:
    """Rules that need the whole graph, to their fixed point: dead nodes, nested sums, equal free operations."""
    while True:
        before = len(nodes)
        uses = _live_uses(nodes, ends)
        where: dict[int, int] = {}
        operands_of: dict[int, tuple[int, ...]] = {}
        shared: dict[tuple[Any, ...], int] = {}
        kept: list[Node] = []
        for index, node in enumerate(nodes):
            if index not in uses and node.op != "input":
                continue
            inputs: list[int] = []
            for i in node.inputs:
                inner = nodes[i]
                nested = inner.op == node.op and node.op in ("add", "concat") and inner.attrs == node.attrs
                inputs.extend(operands_of[i] if nested and uses[i] == 1 else (i,))
            operands_of[index] = tuple(inputs)
            placed = [where[i] for i in inputs]
            if node.op == "add":
                placed.sort()
            elif node.op in ("act", "reshape") and kept[placed[0]].op == node.op:
                inner = kept[placed[0]]
                attrs: Attrs | None = node.attrs
                if node.op == "act":
                    folded = _FOLDED_ACTIVATIONS.get((node.attrs[0], inner.attrs[0]))
                    attrs = None if folded is None else (folded,)
                if attrs is not None:
                    node, placed = node._replace(attrs=attrs), list(inner.inputs)
                    if node.op == "reshape" and kept[placed[0]].shape == node.shape:
                        where[index] = placed[0]
                        continue
            op = OPS[node.op]
            key = (node.op, node.attrs, tuple(placed), node.shape)
            if op.parameters is None and node.op != "input" and key in shared:
                where[index] = shared[key]
                continue
            where[index] = shared[key] = len(kept)
            kept.append(node._replace(inputs=tuple(placed)))
        nodes, ends = kept, [where[i] for i in ends]
        if len(nodes) == before:
            return nodes, ends


def _live_uses(nodes: list[Node], ends: list[int]) -> dict[int, int]:
    """How often each node that some output needs is used."""
    uses: dict[int, int] = {}
    for i in ends:
        uses[i] = uses.get(i, 0) + 1
    for index in range(len(nodes) - 1, -1, -1):
        if index in uses:
            for i in nodes[index].inputs:
                uses[i] = uses.get(i, 0) + 1
    return uses


P = ParamSpec("P")
In = TypeVar("In", bound="Tensor | Sequence[Tensor]")
Out = TypeVar("Out", bound="Tensor | tuple[Tensor, ...]")


def block(
    function: Callable[Concatenate[Builder, In, P], Out],
) -> Callable[Concatenate[Builder, In, P], Out]:
    """Make a block cheap to repeat: equal arguments on equal shapes reuse the nodes of the first call.

    ``function(builder, x, ...)`` takes a tensor or a sequence of tensors first and returns a tensor or a tuple of
    them; its other arguments must be hashable and, with the shapes, decide the result alone. Blocks whose border
    the normal form may cross are simply called again, so the graph is the same with and without the decorator.
    """
    memo: dict[Any, tuple[Fragment | None, bool]] = {}

    @wraps(function)
    def repeated(builder: Builder, x: In, *args: P.args, **kwargs: P.kwargs) -> Out:
        operands: tuple[Tensor, ...]
        shapes: tuple[Any, ...]
        if isinstance(x, Tensor):
            operands, shapes = (x,), x.shape
        else:
            operands = tuple(x)
            shapes = tuple([t.shape for t in operands])
        key = (shapes, args, tuple(kwargs.items()))
        entry = memo.get(key)
        if entry is None:
            entry = _record(function, x, args, kwargs)
            if len(memo) >= _MEMO_LIMIT:
                memo.clear()
            memo[key] = entry
        fragment, single = entry
        if fragment is None or any([t.holds_zero for t in operands if t.node.op in ("zero", "concat")]):
            return function(builder, x, *args, **kwargs)
        tensors = builder._splice(fragment, operands)
        return tensors[0] if single else tensors  # type: ignore[return-value]

    return cast(Callable[Concatenate[Builder, In, P], Out], repeated)


def _record(
    function: Callable[..., Any], x: Tensor | Sequence[Tensor], args: Any, kwargs: Any
) -> tuple[Fragment | None, bool]:
    """Run a block on a scratch builder; the fragment it makes where that is closed, and whether it returns one."""
    scratch = Builder()
    shapes = (x.shape,) if isinstance(x, Tensor) else tuple(t.shape for t in x)
    stand_ins = [scratch.input(shape) for shape in shapes]
    result = function(scratch, stand_ins[0] if isinstance(x, Tensor) else type(x)(stand_ins), *args, **kwargs)  # type: ignore[call-arg]
    single = isinstance(result, Tensor)
    tensors = (result,) if single else tuple(result)
    distinct = {t.index for t in tensors}
    if len(distinct) != len(tensors) or any(t.is_zero or t.index < len(shapes) for t in tensors):
        return None, single
    graph = scratch.build({str(i): t for i, t in enumerate(tensors)})
    shift = len(shapes)
    nodes = tuple(
        node._replace(inputs=tuple(i - shift if i >= shift else -i - 1 for i in node.inputs))
        for node in graph.nodes[shift:]
    )
    fragment = Fragment(nodes, tuple(index - shift for _, index in graph.outputs), shapes)
    return (fragment if fragment.closed else None), single
