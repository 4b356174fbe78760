"""Blocks made once and spliced into every graph that has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, cast

from search_spaces.graph.builder import FOLDABLE_ACTIVATIONS, MAY_CONTAIN_ZERO, Builder, InputT, OutputT, P, Tensor
from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import OPS

_BlockMemo = dict[Any, tuple[Fragment | None, bool]]


_BLOCK_MEMOS: dict[Callable[..., Any], _BlockMemo] = {}  # of every block


def block(
    function: Callable[Concatenate[Builder, InputT, P], OutputT],
) -> Callable[Concatenate[Builder, InputT, P], OutputT]:
    """Make a block cheap to repeat: equal arguments on equal shapes reuse the nodes of the first call.

    ``function(builder, x, ...)`` takes a tensor or a sequence of tensors first and returns a tensor or a tuple of
    them; its other arguments must be hashable and, with the shapes, decide the result alone. Blocks whose border
    the normal form may cross are simply called again, so the graph is the same with and without the decorator.
    """
    memo: _BlockMemo = {}

    @wraps(function)
    def spliced(builder: Builder, x: InputT, *args: P.args, **kwargs: P.kwargs) -> OutputT:
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
            return function(builder, x, *args, **kwargs)
        if entry is None:
            if any([isinstance(value, Tensor) for value in (*args, *kwargs.values())]):
                return function(builder, x, *args, **kwargs)
            entry = _trace_block(function, x, args, kwargs)
            memo_put(memo, key, entry)
        fragment, single = entry
        if fragment is None or builder.zeros != "absorb":
            return function(builder, x, *args, **kwargs)
        if single and isinstance(x, Tensor) and fragment.length > 1 and x.node.op not in MAY_CONTAIN_ZERO:
            return builder._splice_unary(fragment, x)  # type: ignore[return-value]
        if any([t.contains_zero for t in operands if t.node.op in MAY_CONTAIN_ZERO]) or (
            len(operands) > 1 and len({t.index for t in operands}) < len(operands)
        ):
            return function(builder, x, *args, **kwargs)
        tensors = builder._splice(fragment, operands)
        return tensors[0] if single else tensors  # type: ignore[return-value]

    _BLOCK_MEMOS[spliced] = memo
    return cast(Callable[Concatenate[Builder, InputT, P], OutputT], spliced)


def sequential(
    function: Callable[Concatenate[Builder, Tensor, P], Tensor],
    builder: Builder,
    x: Tensor,
    calls: Sequence[tuple[Any, ...]],
) -> Tensor:
    """``x = function(builder, x, *arguments)`` for the arguments of each call in turn, and quicker for a ``@block``."""
    known = _BLOCK_MEMOS.get(function, {}).get
    at = 0
    while at < len(calls):
        if builder.zeros == "absorb" and x.node.op not in MAY_CONTAIN_ZERO:
            x, at = builder._splice_memoised(known, x, calls, at)
        if at < len(calls):  # the first time that one is met, or a block that has to be called
            x = function(builder, x, *calls[at])  # type: ignore[call-arg]
            at += 1
    return x


def _trace_block(
    function: Callable[..., Any], x: Tensor | Sequence[Tensor], args: Any, kwargs: Any
) -> tuple[Fragment | None, bool]:
    """Run a block on a scratch builder; the fragment it makes where that is closed, and whether it returns one."""
    scratch = Builder()
    shapes = (x.shape,) if isinstance(x, Tensor) else tuple(t.shape for t in x)
    placeholders = [scratch.input(shape) for shape in shapes]
    sequence_type: Any = getattr(type(x), "_make", type(x))  # a list, a tuple, or one with names
    result = function(
        scratch, placeholders[0] if isinstance(x, Tensor) else sequence_type(placeholders), *args, **kwargs
    )
    single = isinstance(result, Tensor)
    tensors = (result,) if single else result
    if not shapes or not tensors or type(tensors) is not tuple:
        return None, single
    made = Graph(tuple(scratch._pieces), (), scratch._node_count).nodes
    if _is_shareable_outside(made, [t.index for t in tensors], len(shapes)):
        return None, single
    graph = scratch.build({str(i): t for i, t in enumerate(tensors)})
    shift = len(shapes)
    output_indices = tuple([i - shift for _, i in graph.outputs])
    if min(output_indices) < 0 or len(set(output_indices)) < len(
        output_indices
    ):  # it returns an operand, or one tensor twice
        return None, single
    nodes = tuple(
        node._replace(inputs=tuple(i - shift if i >= shift else -i - 1 for i in node.inputs))
        for node in graph.nodes[shift:]
    )
    fragment = Fragment(nodes, output_indices, shapes)
    return (fragment if fragment.closed else None), single


def _is_shareable_outside(made: Sequence[Node], output_indices: Sequence[int], operands: int) -> bool:
    """Whether the code around a block could make one of its nodes, dead ones included, and so ought to share it.

    ``made`` is all that the block made, its operands first. From outside one sees those, the outputs, and what a
    fold brings back: a reshape of an output reshape reads what that read, ReLU6 of an output ReLU likewise.
    """
    seen = {*range(operands), *output_indices}
    unfolded_sources = {
        i: made[i].inputs[0] for i in output_indices if made[i].op == "reshape" or made[i][:2] in FOLDABLE_ACTIVATIONS
    }
    for node_index, node in enumerate(made):
        if OPS[node.op].parameters is None and node.op != "input":
            visible = seen.union([read for i, read in unfolded_sources.items() if i != node_index])
            if visible.issuperset(node.inputs):
                return True
    return False
