"""A graph under construction: its pieces so far, and how fragments, made before or now, are appended to them.

A fragment is a run of nodes that graphs share; a piece is one in its place. ``builder.Builder`` adds the constructors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph, Piece
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import MAX_TENSOR_ELEMENTS, OPS, Attrs, GraphError, Shape

MAY_CONTAIN_ZERO = ("zero", "concat")  # operations whose results may hold constant zeros

_PRIMITIVE_FRAGMENTS: dict[tuple[str, Attrs, tuple[Shape, ...]], Fragment] = {}
_OTHER_BUILDER = "a tensor of another builder was used; build one network with one Builder"
_tuple_new = tuple.__new__  # makes a named tuple in half the time


class Tensor:
    """A value in a network under construction: its ``shape``, without the batch axis, and where it comes from."""

    __slots__ = ("builder", "index", "node", "operands", "shape")

    def __init__(self, builder: Splicer, index: int, node: Node, operands: tuple[Tensor, ...] = ()) -> None:
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
        return self.node.op == "zero" or (self.node.op == "concat" and self.index in self.builder.concats_with_zeros)


class Splicer:
    """The pieces of one graph, in order. Not to be shared between threads.

    ``zeros`` is the builder's policy: what normalisation and biases leave of a constant zero.
    """

    def __init__(self, zeros: str) -> None:
        if zeros not in ("absorb", "bias"):
            raise GraphError(f"zeros must be 'absorb' or 'bias', not {zeros!r}")
        self.zeros = zeros
        self.pieces: list[Piece] = []
        self.node_count = 0
        self.tensor_count = 0
        self.concats_with_zeros: set[int] = set()
        self._common_subexpressions: dict[tuple[str, Attrs, tuple[int, ...]], Tensor] = {}

    def nodes(self) -> tuple[Node, ...]:
        """All nodes so far, those that nothing reads included."""
        return Graph(tuple(self.pieces), (), self.node_count).nodes

    def splice(self, fragment: Fragment, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Append a fragment that reads ``operands``; the tensors are its outputs."""
        base = self.node_count
        if len(operands) == 1:
            (x,) = operands
            inputs, producers = (x.index,), (x.node.op,)
            same_builder = x.builder is self
        else:
            inputs = tuple([t.index for t in operands])  # type: ignore[assignment]
            producers = tuple([t.node.op for t in operands])  # type: ignore[assignment]
            same_builder = all([t.builder is self for t in operands])
        if not same_builder:
            raise GraphError(_OTHER_BUILDER)
        self.pieces.append(Piece(fragment, inputs, producers, base))
        self.node_count = base + len(fragment.nodes)
        self.tensor_count += len(fragment.outputs)
        # Behind a block's border the operands of its last node are out of reach; build() folds what is left there.
        nodes = fragment.nodes
        visible_operands = operands if len(nodes) == 1 else ()
        return tuple([Tensor(self, base + o, nodes[o], visible_operands) for o in fragment.outputs])

    def splice_unary(self, fragment: Fragment, x: Tensor) -> Tensor:
        """As ``splice``, of a fragment of several nodes with one operand and one output."""
        if x.builder is not self:
            raise GraphError(_OTHER_BUILDER)
        base = self.node_count
        self.pieces.append(_tuple_new(Piece, (fragment, (x.index,), (x.node.op,), base)))
        self.node_count = base + fragment.length
        self.tensor_count += 1
        return Tensor(self, base + fragment.end, fragment.last)

    def splice_memoised(
        self,
        lookup: Callable[[Any], tuple[Fragment | None, bool] | None],
        x: Tensor,
        calls: Sequence[tuple[Any, ...]],
        start: int,
    ) -> tuple[Tensor, int]:
        """``splice_unary`` for each call from ``start`` on, up to the first whose fragment ``lookup`` does not have.

        Returns the last tensor and the index of the call at which it stopped.
        """
        index, node, base = x.index, x.node, self.node_count
        fragment: Fragment | None = None
        pieces = self.pieces
        if x.builder is not self:
            raise GraphError(_OTHER_BUILDER)
        position = start
        for arguments in calls[start:] if start else calls:
            entry = lookup((node.shape, arguments))
            if entry is None or not entry[1]:
                break
            fragment = entry[0]
            if fragment is None or fragment.length < 2 or node.op in MAY_CONTAIN_ZERO:
                break
            pieces.append(_tuple_new(Piece, (fragment, (index,), (node.op,), base)))
            index, node, base = base + fragment.end, fragment.last, base + fragment.length
            position += 1
        if position == start:
            return x, start
        self.tensor_count += position - start
        self.node_count = base
        return Tensor(self, index, node), position

    def _emit(self, op: str, attrs: Attrs, operands: tuple[Tensor, ...] = ()) -> Tensor:
        """Append one operation; one without parameters on the same operands is shared. Raises ``GraphError``."""
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
            return self.splice(fragment, operands)[0]
        subexpression_key = (op, attrs, tuple([t.index for t in operands]))
        shared = self._common_subexpressions.get(subexpression_key)
        if shared is None:
            shared = self._common_subexpressions[subexpression_key] = self.splice(fragment, operands)[0]
        return shared
