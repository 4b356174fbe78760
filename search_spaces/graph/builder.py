"""The only way to make a graph: constructors that return the normal form.

Every constructor applies the rules that look at its operands (identity and zero removed, equal parameter-free
operations shared, nested activations folded); ``Builder.build`` applies those that need the whole graph (dead
branches swept, sums and concatenations that feed one sum or concatenation flattened). ``@block`` makes a function
of a builder and a tensor cheap to repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod
from numbers import Real
from operator import index
from typing import Any, ParamSpec, TypeVar

from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph, Piece
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import MAX_TENSOR_ELEMENTS, OPS, Attrs, GraphError, Shape
from search_spaces.graph.zero_channels import removable_zero_operands

Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]


Ints = int | Sequence[int]


_PRIMITIVE_FRAGMENTS: dict[tuple[str, Attrs, tuple[Shape, ...]], Fragment] = {}


# act(outer) after act(inner): what both together are, where that is one of them
_FOLDED_ACTIVATIONS = {
    ("relu", "relu"): "relu",
    ("relu6", "relu6"): "relu6",
    ("relu", "relu6"): "relu6",
    ("relu6", "relu"): "relu6",
}


FOLDABLE_ACTIVATIONS = {("act", (inner,)) for (_, inner), both in _FOLDED_ACTIVATIONS.items() if both != inner}


_tuple_new = tuple.__new__  # of a named tuple, in half the time


MAY_CONTAIN_ZERO = ("zero", "concat")  # what may hold zeros


class Tensor:
    """A value in a network under construction: its ``shape``, without the batch axis, and where it comes from."""

    __slots__ = ("builder", "index", "node", "operands", "shape")

    def __init__(self, builder: Builder, index: int, node: Node, operands: tuple[Tensor, ...] = ()) -> None:
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
    def contains_zero(self) -> bool:
        """Whether it is zero, or a concatenation with zero parts, however deep."""
        return self.node.op == "zero" or (self.node.op == "concat" and self.index in self.builder._concats_with_zeros)


def _as_int(name: str, value: object) -> int:
    """``value`` as a plain ``int``: a graph holds one kind of number, so that equal ones look equal everywhere."""
    try:
        return int(index(value))  # type: ignore[arg-type]
    except TypeError:
        raise GraphError(f"{name} must be a whole number, not {value!r}") from None


def _as_float(name: str, value: object) -> float:
    try:
        if isinstance(value, Real):
            return float(value) + 0.0  # minus zero is zero
    except OverflowError:
        pass
    raise GraphError(f"{name} must be a number, not {value!r}")


def _as_bool(name: str, value: object) -> bool:
    if value is not True and value is not False:
        raise GraphError(f"{name} must be true or false, not {value!r}")
    return value


def _axis_index(name: str, axis: object, x: Tensor) -> int:
    """An axis counted from the front; negative ones count from the end."""
    axis = _as_int(name, axis)
    return axis + len(x.shape) if axis < 0 else axis


def _as_ints(name: str, values: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple([_as_int(name, v) for v in values])
    except TypeError:
        raise GraphError(f"{name} must be a sequence of whole numbers, not {values!r}") from None


def _per_axis(name: str, value: Ints, rank: int) -> tuple[int, ...]:
    """One number for every spatial axis, each at least 1."""
    values = _as_ints(name, value) if isinstance(value, Sequence) else (_as_int(name, value),) * rank
    if len(values) != rank:
        raise GraphError(f"{name} has {len(values)} values for {rank} spatial axes: {value!r}")
    for v in values:
        if v < 1:
            raise GraphError(f"{name} must be at least 1 on every axis, not {value!r}")
    return values


def same_padding(extent: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME: ``ceil(extent / stride)`` outputs, the odd element of padding behind."""
    total = max((-(-extent // stride) - 1) * stride + dilation * (kernel - 1) + 1 - extent, 0)
    return total // 2, total - total // 2


def _resolve_padding(
    padding: Padding, size: Shape, kernel: Shape, stride: Shape, dilation: Shape
) -> tuple[tuple[int, int], ...]:
    if padding == "same":
        return tuple(same_padding(*axis) for axis in zip(size, kernel, stride, dilation, strict=True))
    if padding == "valid":
        return ((0, 0),) * len(size)
    if isinstance(padding, str):
        raise GraphError(f"padding must be 'same', 'valid', a number or (before, after) pairs, not {padding!r}")
    if not isinstance(padding, Sequence):
        return ((_as_int("padding", padding),) * 2,) * len(size)
    sides = [_as_ints("padding", p if isinstance(p, Sequence) else (p, p)) for p in padding]  # type: ignore[arg-type]
    if len(sides) != len(size) or any([len(pair) != 2 for pair in sides]):
        raise GraphError(f"padding must be one (before, after) pair for each of {len(size)} axes, not {padding!r}")
    return tuple([(before, after) for before, after in sides])


class Builder:
    """Builds one graph. Not to be shared between threads; a tensor belongs to the builder that made it.

    ``zeros`` says what normalisation, and convolutions and linear layers with a bias, leave of a zero: ``"absorb"``
    nothing, so that dead branches vanish whole; ``"bias"`` their shift, a constant that is trained, as in a network
    that is run as it was written.
    """

    def __init__(self, zeros: str = "absorb") -> None:
        if zeros not in ("absorb", "bias"):
            raise GraphError(f"zeros must be 'absorb' or 'bias', not {zeros!r}")
        self.zeros = zeros
        self._pieces: list[Piece] = []
        self._node_count = 0
        self._tensor_count = 0  # tensors
        self._inputs: list[int] = []
        self._common_subexpressions: dict[tuple[str, Attrs, tuple[int, ...]], Tensor] = {}
        self._concats_with_zeros: set[int] = set()  # concatenations that hold zeros
        self._flattenable: list[int] = []  # sums that feed a sum, concatenations that feed one: build() looks again
        self._has_unfolded_pair = False  # a pair that folds, but across a block's border

    # -- structure ---------------------------------------------------------------------------------------------

    def _splice(self, fragment: Fragment, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        base = self._node_count
        if len(operands) == 1:
            (x,) = operands
            inputs, producers = (x.index,), (x.node.op,)
            same_builder = x.builder is self
        else:
            inputs = tuple([t.index for t in operands])  # type: ignore[assignment]
            producers = tuple([t.node.op for t in operands])  # type: ignore[assignment]
            same_builder = all([t.builder is self for t in operands])
        if not same_builder:
            raise GraphError("a tensor of another builder was used; build one network with one Builder")
        self._pieces.append(Piece(fragment, inputs, producers, base))
        self._node_count = base + len(fragment.nodes)
        self._tensor_count += len(fragment.outputs)
        # Behind a block's border the operands of its last node are out of reach; build() folds what is left there.
        nodes = fragment.nodes
        visible_operands = operands if len(nodes) == 1 else ()
        return tuple([Tensor(self, base + o, nodes[o], visible_operands) for o in fragment.outputs])

    def _splice_unary(self, fragment: Fragment, x: Tensor) -> Tensor:
        """As ``_splice``, of a fragment of several nodes with one operand and one output."""
        if x.builder is not self:
            raise GraphError("a tensor of another builder was used; build one network with one Builder")
        base = self._node_count
        self._pieces.append(_tuple_new(Piece, (fragment, (x.index,), (x.node.op,), base)))
        self._node_count = base + fragment.length
        self._tensor_count += 1
        return Tensor(self, base + fragment.end, fragment.last)

    def _splice_memoised(
        self,
        known: Callable[[Any], tuple[Fragment | None, bool] | None],
        x: Tensor,
        calls: Sequence[tuple[Any, ...]],
        at: int,
    ) -> tuple[Tensor, int]:
        """What ``_splice_unary`` makes of each call from ``at`` on, as far as its fragment is known; how far that is."""
        index, node, base = x.index, x.node, self._node_count
        fragment: Fragment | None = None
        pieces = self._pieces
        if x.builder is not self:
            raise GraphError("a tensor of another builder was used; build one network with one Builder")
        first = at
        for arguments in calls[at:] if at else calls:
            entry = known((node.shape, arguments))
            if entry is None or not entry[1]:
                break
            fragment = entry[0]
            if fragment is None or fragment.length < 2 or node.op in MAY_CONTAIN_ZERO:
                break
            pieces.append(_tuple_new(Piece, (fragment, (index,), (node.op,), base)))
            index, node, base = base + fragment.end, fragment.last, base + fragment.length
            at += 1
        if at == first:
            return x, at
        self._tensor_count += at - first
        self._node_count = base
        return Tensor(self, index, node), at

    def _emit(self, op: str, attrs: Attrs, operands: tuple[Tensor, ...] = ()) -> Tensor:
        shapes = tuple([t.shape for t in operands])
        key = (op, attrs, shapes)
        fragment = _PRIMITIVE_FRAGMENTS.get(key)
        if fragment is None:
            shape = OPS[op].shape(shapes, attrs)
            if prod(shape) > MAX_TENSOR_ELEMENTS:
                raise GraphError(f"{op}: a tensor of {' x '.join(map(str, shape))} elements is beyond any memory")
            node = Node(op, attrs, tuple(range(-1, -len(shapes) - 1, -1)), shape)
            fragment = Fragment((node,), (0,), shapes)
            memo_put(_PRIMITIVE_FRAGMENTS, key, fragment)
        if fragment.parametric or op == "input":
            return self._splice(fragment, operands)[0]
        subexpression_key = (op, attrs, tuple([t.index for t in operands]))
        known = self._common_subexpressions.get(subexpression_key)
        if known is None:
            known = self._common_subexpressions[subexpression_key] = self._splice(fragment, operands)[0]
        return known

    def add_json_node(self, row: object, tensors: Sequence[Tensor]) -> Tensor:
        """One node of a graph's JSON through its constructor. Raises ``GraphError``."""
        op = row.get("op") if isinstance(row, Mapping) else None
        if not isinstance(row, Mapping) or not isinstance(op, str) or op not in OPS:
            raise GraphError(f"expected an object with a known `op`; known: {', '.join(OPS)}")
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
                raise GraphError(f"{op}: an input must be the number of an earlier node")
            operands.append(tensors[i])
        attrs = tuple(_attribute_from_json(op, row[name]) for name in names)
        # The shape rule checks types and ranges before a constructor computes with them.
        OPS[op].shape(tuple(t.shape for t in operands), attrs)
        return self._construct(op, attrs, operands)

    def rebuild(self, node: Node, operands: Sequence[Tensor]) -> Tensor:
        """A node of another graph through its constructor, on operands of this one. Raises ``GraphError``."""
        return self._construct(node.op, node.attrs, operands)

    def _construct(self, op: str, attrs: Attrs, operands: Sequence[Tensor]) -> Tensor:
        given = dict(zip(OPS[op].attrs, attrs, strict=True))
        made: Tensor = self.concat(operands, **given) if op == "concat" else getattr(self, op)(*operands, **given)
        return made

    def build(self, outputs: Tensor | Mapping[str, Tensor]) -> Graph:
        """The finished graph with these outputs; one tensor alone becomes the output named ``output``."""
        outputs_by_name = {"output": outputs} if isinstance(outputs, Tensor) else dict(outputs)
        if not outputs_by_name or not self._inputs:
            raise GraphError("a graph needs at least one input and one output")
        output_indices = []
        for name, tensor in outputs_by_name.items():
            if not isinstance(tensor, Tensor) or tensor.builder is not self:
                raise GraphError(f"output {name!r} is not a tensor of this builder")
            if not isinstance(name, str) or not name.isprintable() or not name:
                raise GraphError(f"output {name!r} needs a name of printable characters")
            output_indices.append(tensor.index)
        builder: Builder = self
        while True:
            if not builder._is_normal_form(output_indices):
                builder, output_indices = builder._rebuild_nodes(output_indices)
            elif builder._concats_with_zeros and (dropped := builder._removable_zero_operands(output_indices))[0]:
                builder, output_indices = builder._rebuild_nodes(
                    output_indices, *dropped
                )  # only now: what is written twice is shared by now
            else:
                break
        return Graph(
            tuple(builder._pieces), tuple(zip(outputs_by_name, output_indices, strict=True)), builder._node_count
        )

    def _removable_zero_operands(self, output_indices: Sequence[int]) -> tuple[dict[int, set[int]], set[int]]:
        return removable_zero_operands(
            Graph(tuple(self._pieces), (), self._node_count).nodes, output_indices, self.zeros
        )

    def _rebuild_nodes(
        self, output_indices: Sequence[int], dropped: Mapping[int, Collection[int]] = {}, shrunk: Collection[int] = ()
    ) -> tuple[Builder, list[int]]:
        """The nodes that ``output_indices`` need, constructed anew, node by node and with nested sums flattened.

        Concatenations lose the operands in ``dropped``, and depthwise convolutions in ``shrunk`` those channels.
        """
        nodes = Graph(tuple(self._pieces), (), self._node_count).nodes
        use_counts = dict.fromkeys(output_indices, 2)  # an output is never flattened into a sum that uses it
        consumer: dict[int, Node] = {}
        for node_index in range(len(nodes) - 1, -1, -1):
            if node_index in use_counts:
                for i in nodes[node_index].inputs:
                    use_counts[i] = use_counts.get(i, 0) + 1
                    consumer[i] = nodes[node_index]
        builder = Builder(self.zeros)
        made: dict[int, Sequence[Tensor]] = {}  # what stands for a node: itself, or the terms of a flattened one
        for node_index, node in enumerate(nodes):
            if node_index not in use_counts and node.op != "input":
                continue
            unread = dropped.get(node_index, ())
            operands = [t for p, i in enumerate(node.inputs) if p not in unread for t in made[i]]
            if node_index in shrunk:
                (x,) = operands
                node = _with_output_channels(node, x.channels)
            if node.op in ("add", "concat") and use_counts[node_index] == 1 and consumer[node_index][:2] == node[:2]:
                made[node_index] = operands
            else:
                made[node_index] = (builder.rebuild(node, operands),)
        return builder, [made[i][0].index for i in output_indices]

    def _is_normal_form(self, output_indices: list[int]) -> bool:
        if self._has_unfolded_pair:
            return False
        used = set(output_indices).union(self._inputs, *[inputs for _, inputs, _, _ in self._pieces])
        if len(used) < self._tensor_count:  # something that nothing reads
            return False
        if not self._flattenable:
            return True
        use_counts: dict[int, int] = dict.fromkeys(self._flattenable, 0)
        for i in output_indices:
            if i in use_counts:
                use_counts[i] += 1
        for fragment, inputs, _, _ in self._pieces:
            for node in fragment.nodes if len(inputs) else ():
                for i in node.inputs:
                    if i < 0 and inputs[-i - 1] in use_counts:
                        use_counts[inputs[-i - 1]] += 1
        return all(count > 1 for count in use_counts.values())

    # -- sources -----------------------------------------------------------------------------------------------

    def input(self, shape: Sequence[int]) -> Tensor:
        """An input of ``shape``, channels first, without the batch axis."""
        x = self._emit("input", (_as_ints("shape", shape),))
        self._inputs.append(x.index)
        return x

    def zero(self, shape: Sequence[int]) -> Tensor:
        """A constant zero: it vanishes from sums, and whatever is computed from it alone vanishes too."""
        return self._emit("zero", (_as_ints("shape", shape),))

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
        out_channels, groups = _as_int("conv: out_channels", out_channels), _as_int("conv: groups", groups)
        kernel, stride = _per_axis("conv: kernel", kernel, rank), _per_axis("conv: stride", stride, rank)
        dilation = _per_axis("conv: dilation", dilation, rank)
        dilation = tuple([1 if k == 1 else d for k, d in zip(kernel, dilation, strict=True)])
        pads = _resolve_padding(padding, size, kernel, stride, dilation)
        attrs = (out_channels, kernel, stride, pads, dilation, groups, _as_bool("conv: bias", bias))
        if x.is_zero and not (bias and self.zeros == "bias"):
            return self.zero(OPS["conv"].shape((x.shape,), attrs))
        if groups == 1 and x.contains_zero:
            x = self._drop_zero_channels(x, 0)
        return self._emit("conv", attrs, (x,))

    def _drop_zero_channels(self, x: Tensor, axis: int) -> Tensor:
        """What a dense layer over ``axis`` sees of ``x``: weights on channels that are always zero never learn."""
        if not x.contains_zero or x.node.attrs != (axis,):
            return x
        return self.concat([self._drop_zero_channels(t, axis) for t in x.operands if not t.is_zero], axis)

    def depthwise(self, x: Tensor, kernel: Ints = 3, stride: Ints = 1, **options: Any) -> Tensor:
        """Depthwise convolution: ``conv`` with one group a channel."""
        return self.conv(x, x.channels, kernel, stride, groups=x.channels, **options)

    def linear(self, x: Tensor, out_features: int, *, bias: bool = True) -> Tensor:
        """Linear layer over the last axis of ``x``."""
        attrs = (_as_int("linear: out_features", out_features), _as_bool("linear: bias", bias))
        if x.is_zero and not (bias and self.zeros == "bias"):
            return self._absorb("linear", attrs, (x,))
        if x.contains_zero:
            OPS["linear"].shape((x.shape,), attrs)
            x = self._drop_zero_channels(x, len(x.shape) - 1)
        return self._emit("linear", attrs, (x,))

    def norm(
        self, x: Tensor, kind: str = "batch", *, eps: float = 1e-5, momentum: float = 0.1, axis: int = 0
    ) -> Tensor:
        """Batch normalisation over channels, or layer normalisation over one axis, with scale and shift.

        ``momentum`` is PyTorch's: the weight of the new statistics.
        """
        attrs = (
            kind,
            _as_float("norm: eps", eps),
            _as_float("norm: momentum", momentum) if kind == "batch" else 0.0,
            _axis_index("norm: axis", axis, x),
        )
        if x.is_zero and self.zeros == "absorb":
            return self._absorb("norm", attrs, (x,))
        return self._emit("norm", attrs, (x,))

    def layer_scale(self, x: Tensor, initial: float = 1e-6) -> Tensor:
        """LayerScale (arXiv 2103.17239, eq. 4): a trained factor for each channel, ``initial`` at first."""
        attrs = (_as_float("layer_scale: initial", initial),)
        return self._absorb("layer_scale", attrs, (x,)) if x.is_zero else self._emit("layer_scale", attrs, (x,))

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
                self._has_unfolded_pair = True
        if x.is_zero and fn not in ("sigmoid", "hsigmoid"):
            return self._absorb("act", (fn,), (x,))
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
                self._flattenable.append(t.index)
        return self._emit("add", (), tuple(terms))

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """Elementwise product; axes of extent 1 broadcast."""
        if a.is_zero or b.is_zero:
            return self._absorb("mul", (), (a, b))
        return self._emit("mul", (), (a, b) if a.index <= b.index else (b, a))

    def concat(self, operands: Sequence[Tensor], axis: int = 0) -> Tensor:
        """Concatenation along ``axis`` (0: channels)."""
        if not operands:
            raise GraphError("concat: needs at least one operand")
        if len(operands) == 1:
            return operands[0]
        attrs = (_axis_index("concat: axis", axis, operands[0]),)
        if (
            self._concats_with_zeros
        ):  # parts of zeros are dropped where they stand in the concatenation that a dense layer reads
            operands = [
                part
                for t in operands
                for part in (t.operands if t.node[:2] == ("concat", attrs) and t.contains_zero and t.operands else (t,))
            ]
        if any([t.is_zero for t in operands]):
            shape = OPS["concat"].shape(tuple([t.shape for t in operands]), attrs)
            operands = self._merge_adjacent_zeros(operands, attrs[0])
            if len(operands) == 1:
                return self.zero(shape)
        for t in operands:
            if t.node.op == "concat" and t.node.attrs == attrs:
                self._flattenable.append(t.index)
        made = self._emit("concat", attrs, tuple(operands))
        if any([t.contains_zero for t in operands]):
            self._concats_with_zeros.add(made.index)
        return made

    def _merge_adjacent_zeros(self, operands: Sequence[Tensor], axis: int) -> list[Tensor]:
        """The operands of a concatenation, neighbouring zeros as one."""
        together: list[Tensor] = []
        for t in operands:
            if t.is_zero and together and together[-1].is_zero:
                shape = list(t.shape)
                shape[axis] += together.pop().shape[axis]
                t = self.zero(shape)
            together.append(t)
        return together

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
        kernel, stride = _per_axis("pool: kernel", kernel, rank), _per_axis("pool: stride", stride, rank)
        pads = _resolve_padding(padding, size, kernel, stride, (1,) * rank)
        if kind == "max" or not any(map(any, pads)):
            count_padding = False
        attrs = (kind, kernel, stride, pads, _as_bool("pool: count_padding", count_padding))
        if x.is_zero or prod(kernel) == prod(stride) == 1:
            return self._absorb("pool", attrs, (x,))
        return self._emit("pool", attrs, (x,))

    def global_pool(self, x: Tensor, kind: str = "avg") -> Tensor:
        """Mean or maximum over all spatial axes, which stay with extent 1."""
        if prod(x.shape[1:]) == 1 or x.is_zero:
            return self._absorb("global_pool", (kind,), (x,))
        return self._emit("global_pool", (kind,), (x,))

    def resize(self, x: Tensor, size: Sequence[int], mode: str = "nearest") -> Tensor:
        """Resize the spatial axes to ``size``."""
        attrs = (_as_ints("resize: size", size), mode)
        if x.is_zero or x.shape[1:] == attrs[0]:
            return self._absorb("resize", attrs, (x,))
        return self._emit("resize", attrs, (x,))

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """Matrix product over the last two axes; the axes before them must be equal."""
        if a.is_zero or b.is_zero:
            return self._absorb("matmul", (), (a, b))
        return self._emit("matmul", (), (a, b))

    def softmax(self, x: Tensor, axis: int = -1) -> Tensor:
        """Softmax over one axis."""
        return self._emit("softmax", (_axis_index("softmax: axis", axis, x),), (x,))

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same elements, in order, in another shape."""
        attrs = (_as_ints("reshape: shape", shape),)
        if x.node.op == "reshape":
            if x.operands:
                x = x.operands[0]
            if x.node.op == "reshape":
                self._has_unfolded_pair = True
        if x.is_zero or x.shape == attrs[0]:
            return self._absorb("reshape", attrs, (x,))
        return self._emit("reshape", attrs, (x,))

    def permute(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Axes in another order: axis ``i`` of the result is axis ``axes[i]`` of ``x``."""
        attrs = (_as_ints("permute: axes", axes),)
        if x.is_zero or attrs[0] == tuple(range(len(x.shape))):
            return self._absorb("permute", attrs, (x,))
        return self._emit("permute", attrs, (x,))

    def slice(self, x: Tensor, axis: int, start: int, stop: int) -> Tensor:
        """Elements ``start`` to ``stop`` (exclusive) of one axis."""
        axis = _axis_index("slice: axis", axis, x)
        attrs = (axis, _as_int("slice: start", start), _as_int("slice: stop", stop))
        if x.is_zero or (axis < len(x.shape) and attrs[1:] == (0, x.shape[axis])):
            return self._absorb("slice", attrs, (x,))
        return self._emit("slice", attrs, (x,))

    def scale(self, x: Tensor, factor: float) -> Tensor:
        """Multiply by a constant."""
        attrs = (_as_float("scale: factor", factor),)
        if factor == 0:
            return self.zero(x.shape)
        if factor == 1 or x.is_zero:
            return self._absorb("scale", attrs, (x,))
        return self._emit("scale", attrs, (x,))

    def _absorb(self, op: str, attrs: Attrs, operands: Sequence[Tensor]) -> Tensor:
        """What an operation that is checked but changes nothing leaves: its operand, or zero where that is zero."""
        shape = OPS[op].shape(tuple([t.shape for t in operands]), attrs)
        if any([t.is_zero for t in operands]):
            return self.zero(shape)
        return operands[0]


def _with_output_channels(depthwise: Node, channels: int) -> Node:
    """A depthwise convolution of so many channels."""
    given = dict(zip(OPS["conv"].attrs, depthwise.attrs, strict=True)) | {"out_channels": channels, "groups": channels}
    return depthwise._replace(attrs=tuple(given.values()))


def _attribute_from_json(op: str, value: object, depth: int = 2) -> object:
    """JSON's lists as the tuples that attributes are; padding, the deepest of them, holds pairs."""
    if isinstance(value, list) and depth:
        return tuple([_attribute_from_json(op, v, depth - 1) for v in value])
    if isinstance(value, list | dict):
        raise GraphError(f"{op}: an attribute is a number, a text, true, false, or a list of them or of pairs")
    return value


P = ParamSpec("P")


InputT = TypeVar("InputT", bound="Tensor | Sequence[Tensor]")


OutputT = TypeVar("OutputT", bound="Tensor | tuple[Tensor, ...]")
