"""A graph under construction: its pieces so far, and how fragments, made before or now, are appended to them.

A fragment is a run of nodes that graphs share; a piece is one in its place. ``builder.Builder`` adds the constructors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, Self

from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph, Piece, Rebuilt
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import MAX_TENSOR_ELEMENTS, OPS, Attrs, GraphError, Shape
from search_spaces.graph.provenance import CallNames, Label, ScopeEvents, ScopeReplay

MAY_CONTAIN_ZERO = ("zero", "concat")  # operations whose results may hold constant zeros

# Of whoever wants to know which builders are made, as a space whose function names no sections does
OBSERVED_BUILDERS: ContextVar[list[Splicer] | None] = ContextVar("OBSERVED_BUILDERS", default=None)

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
        self._scope_events: list[Any] = []  # ``ScopeEvents``
        observed = OBSERVED_BUILDERS.get()
        if observed is not None:
            observed.append(self)
        self._rebuilt_from: Rebuilt | None = None

    # -- names -----------------------------------------------------------------------------------------------------

    def section(self, name: str, block: str = "") -> Self:
        """What follows belongs to the section ``name``, up to the next one or the end of the scope around.

        Names of sections make names of nodes, such as ``stage2.layer1/expand/conv``, and bear on nothing else. An empty
        name ends a section. ``block`` says that all of it is one block, where no block function makes it. Returns
        itself: ``conv_norm_act(b.section("stem"), x, 32, 3, 2)``.
        """
        self._scope_events.extend((len(self.pieces), "section", name, block, self.node_count))
        return self

    def section_of_choice(self, name: str) -> None:
        """As ``section``, for a space whose function names none: where that has begun one, it stays."""
        self._scope_events.extend((len(self.pieces), "section_of_choice", name, None, None))

    def sections_of_calls(self, names: CallNames, first: int) -> None:
        """The next pieces are a call each, and sections that ``names`` gives the names of, from number ``first`` on."""
        self._scope_events.extend((len(self.pieces), "sections_of_calls", *names, first))

    def section_of_call(self, names: CallNames, position: int) -> None:
        """As ``section``, of the name that ``names`` gives at this position."""
        self._scope_events.extend((len(self.pieces), "section_of_call", *names, position))

    @property
    def names_sections(self) -> bool:
        """Whether whoever builds has named sections or scopes, as against parts of blocks."""
        replay = ScopeReplay()
        replay.marks(self._scope_events)
        return replay.names_sections

    def part(self, name: str) -> Self:
        """What follows is this part of the section, or of the block function that runs, up to the next part.

        An empty name ends a part. Returns itself.
        """
        self._scope_events.extend((len(self.pieces), "part", name, None, None))
        return self

    @contextmanager
    def scope(self, name: str, block: str = "") -> Iterator[Self]:
        """What is made within the ``with`` statement belongs to ``name``; sections and parts in there are within it.

        It is itself within the section, part or scope that it stands in.
        ``block`` as for ``section``. Raises ``GraphError`` for a name that cannot be printed.
        """
        if not isinstance(name, str) or (name and not name.isprintable()):
            raise GraphError(f"a scope needs a name of printable characters, not {name!r}")
        self.enter_scope(name, block)
        try:
            yield self
        finally:
            self.leave_scope()

    def enter_scope(self, name: str, block: str) -> None:
        """Begin a scope, which ``leave_scope`` ends. ``scope`` does both."""
        self._scope_events.extend((len(self.pieces), "enter", name, block, self.node_count))

    def leave_scope(self) -> None:
        """End the scope that was begun last."""
        self._scope_events.extend((len(self.pieces), "leave", None, None, None))

    def label_next(self, label: Label) -> None:
        """What follows has this label, as that of a node in another graph."""
        self._scope_events.extend((len(self.pieces), "label", label, None, None))

    def nodes(self) -> tuple[Node, ...]:
        """All nodes so far, those that nothing reads included."""
        return self.unfinished().nodes

    def unfinished(self) -> Graph:
        """What there is so far as a graph without outputs: not in normal form."""
        return Graph(tuple(self.pieces), (), self.node_count, self.provenance())

    def provenance(self) -> ScopeEvents | Rebuilt:
        """Where a graph of the pieces so far has its labels from."""
        return self._rebuilt_from or self._scope_events.copy()

    def splice(self, fragment: Fragment, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Append a fragment that reads ``operands``; the tensors are its outputs."""
        base = self.node_count
        inputs: tuple[int, ...]
        producers: tuple[str, ...]
        if len(operands) == 1:
            (x,) = operands
            inputs, producers = (x.index,), (x.node.op,)
            same_builder = x.builder is self
        else:
            inputs = tuple([t.index for t in operands])
            producers = tuple([t.node.op for t in operands])
            same_builder = all([t.builder is self for t in operands])
        if not same_builder:
            raise GraphError(_OTHER_BUILDER)
        self.pieces.append(_tuple_new(Piece, (fragment, inputs, producers, base)))
        self.node_count = base + fragment.length
        self.tensor_count += len(fragment.outputs)
        # Behind a block's border the operands of its last node are out of reach; build() folds what is left there.
        nodes = fragment.nodes
        if fragment.length == 1:
            return (Tensor(self, base, nodes[0], operands),)
        return tuple([Tensor(self, base + o, nodes[o]) for o in fragment.outputs])

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
        pieces, new, producers = self.pieces, _tuple_new, (node.op,)
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
            pieces.append(new(Piece, (fragment, (index,), producers, base)))
            index, node, producers = base + fragment.end, fragment.last, fragment.end_producer
            base += fragment.length
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
