"""Constructors of inputs and of operations without parameters, each with the rules that its operands decide."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import attrgetter

from search_spaces.graph.arguments import (
    Ints,
    Padding,
    as_bool,
    as_float,
    as_int,
    as_ints,
    axis_index,
    per_axis,
    resolve_padding,
)
from search_spaces.graph.operations import ACTIVATIONS, OPS, Attrs, GraphError, folded_activation
from search_spaces.graph.splice import Splicer, Tensor

_index_of = attrgetter("index")


class TensorOperations(Splicer):
    """The constructors of a ``Builder`` whose operations have no parameters."""

    def __init__(self, zeros: str) -> None:
        super().__init__(zeros)
        self._inputs: list[int] = []
        # ``Builder.build`` looks again at sums that feed a sum, concatenations that feed a concatenation, ...
        self._flattenable: list[int] = []
        # ... and at pairs of operations that fold into one across a block's border.
        self._has_unfolded_pair = False

    def input(self, shape: Sequence[int]) -> Tensor:
        """An input of ``shape``, channels first, without the batch axis."""
        x = self._emit("input", (as_ints("shape", shape),))
        self._inputs.append(x.index)
        return x

    def zero(self, shape: Sequence[int]) -> Tensor:
        """A constant zero: it vanishes from sums, and whatever is computed from it alone vanishes too."""
        return self._emit("zero", (as_ints("shape", shape),))

    # -- elementwise -----------------------------------------------------------------------------------------------

    def act(self, x: Tensor, fn: str) -> Tensor:
        """Activation by name; ``identity`` returns ``x``."""
        if fn == "identity":
            return x
        if x.node.op == "act":
            folded = folded_activation(fn, x.node.attrs[0])
            if folded == x.node.attrs[0]:
                return x
            if folded is not None:
                if x.operands:
                    return self._emit("act", (folded,), (x.operands[0],))
                self._has_unfolded_pair = True
        if x.is_zero and fn in ACTIVATIONS and ACTIVATIONS[fn].zero_at_zero:
            return self._absorb("act", (fn,), (x,))
        return self._emit("act", (fn,), (x,))

    def add(self, *operands: Tensor) -> Tensor:
        """Sum of tensors of one shape. Zero terms vanish; the order does not matter; ``x + x`` stays two terms."""
        if not operands:
            raise GraphError("add: needs at least one operand")
        shape = operands[0].shape
        if any([t.shape != shape for t in operands]):
            raise GraphError(f"add: operands differ in shape: {', '.join(str(t.shape) for t in operands)}")
        terms = sorted([t for t in operands if t.node.op != "zero"], key=_index_of)
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
        attrs = (axis_index("concat: axis", axis, len(operands[0].shape)),)
        if self.concats_with_zeros:
            # Zero parts are dropped in the concatenation that a dense layer reads, so they move up to it.
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
        result = self._emit("concat", attrs, tuple(operands))
        if any([t.contains_zero for t in operands]):
            self.concats_with_zeros.add(result.index)
        return result

    def _merge_adjacent_zeros(self, operands: Sequence[Tensor], axis: int) -> list[Tensor]:
        """The operands of a concatenation, neighbouring zeros as one."""
        merged: list[Tensor] = []
        for t in operands:
            if t.is_zero and merged and merged[-1].is_zero:
                shape = list(t.shape)
                shape[axis] += merged.pop().shape[axis]
                t = self.zero(shape)
            merged.append(t)
        return merged

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
        """Max or average pooling; ``count_padding`` says whether an average divides by padding too."""
        size = x.shape[1:]
        rank = len(size)
        kernel, stride = per_axis("pool: kernel", kernel, rank), per_axis("pool: stride", stride, rank)
        pads = resolve_padding(padding, size, kernel, stride, (1,) * rank)
        if kind == "max" or not any(map(any, pads)):
            count_padding = False
        attrs = (kind, kernel, stride, pads, as_bool("pool: count_padding", count_padding))
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
        attrs = (as_ints("resize: size", size), mode)
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
        return self._emit("softmax", (axis_index("softmax: axis", axis, len(x.shape)),), (x,))

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same elements, in order, in another shape."""
        attrs = (as_ints("reshape: shape", shape),)
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
        attrs = (as_ints("permute: axes", axes),)
        if x.is_zero or attrs[0] == tuple(range(len(x.shape))):
            return self._absorb("permute", attrs, (x,))
        return self._emit("permute", attrs, (x,))

    def slice(self, x: Tensor, axis: int, start: int, stop: int) -> Tensor:
        """Elements ``start`` to ``stop`` (exclusive) of one axis."""
        axis = axis_index("slice: axis", axis, len(x.shape))
        attrs = (axis, as_int("slice: start", start), as_int("slice: stop", stop))
        if x.is_zero or (axis < len(x.shape) and attrs[1:] == (0, x.shape[axis])):
            return self._absorb("slice", attrs, (x,))
        return self._emit("slice", attrs, (x,))

    def scale(self, x: Tensor, factor: float) -> Tensor:
        """Multiply by a constant."""
        attrs = (as_float("scale: factor", factor),)
        if factor == 0:
            return self.zero(x.shape)
        if factor == 1 or x.is_zero:
            return self._absorb("scale", attrs, (x,))
        return self._emit("scale", attrs, (x,))

    def operation(self, op: str, operands: Sequence[Tensor], attrs: Attrs = ()) -> Tensor:
        """An operation of the vocabulary by its row alone, for those without a constructor of their own.

        What its row says of zeros, of the order of operands and of parameters holds. Raises ``GraphError``.
        """
        row = OPS.get(op)
        if row is None or len(attrs) != len(row.attrs):
            known = f"no operation {op!r}; known: {', '.join(OPS)}"
            raise GraphError(known if row is None else f"{op}: attributes must be {', '.join(row.attrs) or 'none'}")
        if operands and all([t.is_zero for t in operands]):
            shape = row.shape(tuple([t.shape for t in operands]), attrs)
            if row.zero_at_zero(attrs) and not (row.shifts(attrs) and self.zeros == "bias"):
                return self.zero(shape)
        if row.commutative:
            operands = sorted(operands, key=_index_of)
        return self._emit(op, attrs, tuple(operands))

    def _absorb(self, op: str, attrs: Attrs, operands: Sequence[Tensor]) -> Tensor:
        """What an operation that is checked but changes nothing leaves: its operand, or zero where that is zero."""
        shape = OPS[op].shape(tuple([t.shape for t in operands]), attrs)
        if any([t.is_zero for t in operands]):
            return self.zero(shape)
        return operands[0]
