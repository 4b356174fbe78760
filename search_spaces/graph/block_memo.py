"""Blocks made once and spliced into every graph that has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Piece, Rebuilt, labels_from
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import OPS
from search_spaces.graph.provenance import BlockCall, CallNames, Label, ScopeEvents
from search_spaces.graph.splice import MAY_CONTAIN_ZERO

P = ParamSpec("P")
Input = TypeVar("Input", bound="Tensor | Sequence[Tensor]")
Output = TypeVar("Output", bound="Tensor | tuple[Tensor, ...]")

# By shapes and arguments: the fragment, None where it cannot be shared, and whether the block returns one tensor
_BlockMemo = dict[Any, tuple[Fragment | None, bool]]
_tuple_new = tuple.__new__  # makes a named tuple in half the time
_BLOCK_MEMOS: dict[Callable[..., Any], _BlockMemo] = {}  # by block


def block(
    function: Callable[Concatenate[Builder, Input, P], Output],
) -> Callable[Concatenate[Builder, Input, P], Output]:
    """Make a block cheap to repeat: equal arguments on equal shapes reuse the nodes of the first call.

    ``function(builder, x, ...)`` takes a tensor or a sequence of tensors first and returns a tensor or a tuple of
    them; its other arguments must be hashable and, with the shapes, decide the result alone. Blocks whose border
    the normal form may cross are simply called again, so the graph is the same with and without the decorator.
    """
    memo: _BlockMemo = {}
    name = getattr(function, "__name__", "block").lstrip("_")

    def call(builder: Builder, x: Input, args: Any, kwargs: Any) -> Output:
        builder.enter_scope("", name)
        try:
            return function(builder, x, *args, **kwargs)
        finally:
            builder.leave_scope()

    @wraps(function)
    def spliced(builder: Builder, x: Input, *args: P.args, **kwargs: P.kwargs) -> Output:
        operands: tuple[Tensor, ...]
        shapes: tuple[Any, ...]
        if isinstance(x, Tensor):
            operands, shapes = (x,), x.shape
        else:
            operands = tuple(x)
            shapes = tuple([t.shape for t in operands])
        key = (shapes, args, tuple(kwargs.items())) if kwargs else (shapes, args)
        try:
            entry = memo.get(key)
        except TypeError:  # an argument that is not hashable
            return call(builder, x, args, kwargs)
        if entry is None:
            if any([isinstance(value, Tensor) for value in (*args, *kwargs.values())]):
                return call(builder, x, args, kwargs)
            entry = _trace_block(call, x, args, kwargs)
            memo_put(memo, key, entry)
        fragment, single = entry
        if fragment is None or builder.zeros != "absorb":
            return call(builder, x, args, kwargs)
        if single and isinstance(x, Tensor) and fragment.length > 1 and x.node.op not in MAY_CONTAIN_ZERO:
            return builder.splice_unary(fragment, x)  # type: ignore[return-value]
        if any([t.contains_zero for t in operands if t.node.op in MAY_CONTAIN_ZERO]) or (
            len(operands) > 1 and len({t.index for t in operands}) < len(operands)
        ):
            return call(builder, x, args, kwargs)
        tensors = builder.splice(fragment, operands)
        return tensors[0] if single else tensors  # type: ignore[return-value]

    _BLOCK_MEMOS[spliced] = memo
    return cast(Callable[Concatenate[Builder, Input, P], Output], spliced)


def sequential(
    function: Callable[Concatenate[Builder, Tensor, P], Tensor],
    builder: Builder,
    x: Tensor,
    calls: Sequence[tuple[Any, ...]],
    scopes: CallNames | None = None,
) -> Tensor:
    """``x = function(builder, x, *arguments)`` for the arguments of each call in turn, and quicker for a ``@block``.

    ``scopes`` names the sections of the calls: a function, importable by its name, and its argument that together give
    a name for each call where somebody asks for them.
    """
    lookup = _BLOCK_MEMOS.get(function, {}).get
    position = 0
    while position < len(calls):
        if builder.zeros == "absorb" and x.node.op not in MAY_CONTAIN_ZERO:
            if scopes is not None:
                builder.sections_of_calls(scopes, position)
            x, position = builder.splice_memoised(lookup, x, calls, position)
        if position < len(calls):  # its arguments are new, or it has to be called
            if scopes is not None:
                builder.section_of_call(scopes, position)
            x = function(builder, x, *calls[position])  # type: ignore[call-arg]
            position += 1
    return x


def _trace_block(
    call: Callable[[Builder, Any, Any, Any], Any], x: Tensor | Sequence[Tensor], args: Any, kwargs: Any
) -> tuple[Fragment | None, bool]:
    """Run a block on a scratch builder; the fragment it makes where that is closed, and whether it returns one."""
    scratch = Builder()
    shapes = (x.shape,) if isinstance(x, Tensor) else tuple(t.shape for t in x)
    placeholders = [scratch.input(shape) for shape in shapes]
    sequence_type: Any = getattr(type(x), "_make", type(x))  # a list, a tuple, or one with names
    result = call(scratch, placeholders[0] if isinstance(x, Tensor) else sequence_type(placeholders), args, kwargs)
    single = isinstance(result, Tensor)
    tensors = (result,) if single else result
    if not shapes or not tensors or type(tensors) is not tuple:
        return None, single
    shift = len(shapes)  # the operands are the scratch builder's first nodes
    nodes = _relative_nodes(scratch.pieces[shift:], shift)
    if _is_shareable_outside(nodes, [t.index - shift for t in tensors], shift):
        return None, single
    graph = scratch.build({str(i): t for i, t in enumerate(tensors)})
    output_indices = tuple([i - shift for _, i in graph.outputs])
    if min(output_indices) < 0 or len(set(output_indices)) < len(output_indices):
        return None, single  # it returns an operand, or one tensor twice
    pieces = graph.pieces[shift:]
    if list(pieces) != scratch.pieces[shift:]:  # something was swept or flattened
        nodes = _relative_nodes(pieces, shift)
    parts = [piece.fragment for piece in pieces]
    made_of = tuple([piece.fragment for piece in graph.pieces])
    make_labels = partial(_relative_labels, made_of, graph.provenance, shift)
    fragment = Fragment(tuple(nodes), output_indices, shapes, parts=parts, make_labels=make_labels)
    return (fragment if fragment.closed else None), single


def _relative_nodes(pieces: Sequence[Piece], shift: int) -> list[Node]:
    """The nodes of these pieces as a fragment has them, whose operands are the ``shift`` nodes before the pieces."""
    nodes = []
    for fragment, inputs, _, base in pieces:
        first = base - shift
        outside = [i - shift if i >= shift else -i - 1 for i in inputs]
        for node in fragment.nodes:
            op, attrs, reads, shape = node
            relative = tuple([first + i if i >= 0 else outside[-i - 1] for i in reads])
            nodes.append(node if relative == reads else _tuple_new(Node, (op, attrs, relative, shape)))
    return nodes


def _relative_labels(fragments: Sequence[Fragment], provenance: ScopeEvents | Rebuilt, shift: int) -> tuple[Label, ...]:
    """The labels of a traced block's nodes, ``shift`` operands before them, numbers of calls from its first node on."""
    return tuple(
        [
            Label(path, tuple([BlockCall(block, number - shift) for block, number in calls]))
            for path, calls in labels_from(fragments, provenance)[shift:]
        ]
    )


def _is_shareable_outside(nodes: Sequence[Node], output_indices: Sequence[int], operands: int) -> bool:
    """Whether the code around a block could make one of its nodes, dead ones included, and so ought to share it.

    ``nodes`` are all of the block's, relative to it: the k-th operand is ``-(k + 1)``. From outside one sees those, the
    outputs, and what a fold brings back: a reshape of an output reshape reads what that read, ReLU6 of an output ReLU
    likewise.
    """
    seen = {*range(-operands, 0), *output_indices}
    unfolded_sources = {
        i: nodes[i].inputs[0] for i in output_indices if i >= 0 and OPS[nodes[i].op].replaceable(nodes[i].attrs)
    }
    for node_index, node in enumerate(nodes):
        if OPS[node.op].parameters is None and node.op != "input":
            visible = seen.union([read for i, read in unfolded_sources.items() if i != node_index])
            if visible.issuperset(node.inputs):
                return True
    return False
