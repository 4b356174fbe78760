"""Blocks made once and spliced into every graph that has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.memo import memo_put
from search_spaces.graph.normal_form import FOLDABLE_ACTIVATIONS
from search_spaces.graph.operations import OPS
from search_spaces.graph.splice import MAY_CONTAIN_ZERO

P = ParamSpec("P")
Input = TypeVar("Input", bound="Tensor | Sequence[Tensor]")
Output = TypeVar("Output", bound="Tensor | tuple[Tensor, ...]")

# By shapes and arguments: the fragment, None where it cannot be shared, and whether the block returns one tensor
_BlockMemo = dict[Any, tuple[Fragment | None, bool]]
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
            return builder.splice_unary(fragment, x)  # type: ignore[return-value]
        if any([t.contains_zero for t in operands if t.node.op in MAY_CONTAIN_ZERO]) or (
            len(operands) > 1 and len({t.index for t in operands}) < len(operands)
        ):
            return function(builder, x, *args, **kwargs)
        tensors = builder.splice(fragment, operands)
        return tensors[0] if single else tensors  # type: ignore[return-value]

    _BLOCK_MEMOS[spliced] = memo
    return cast(Callable[Concatenate[Builder, Input, P], Output], spliced)


def sequential(
    function: Callable[Concatenate[Builder, Tensor, P], Tensor],
    builder: Builder,
    x: Tensor,
    calls: Sequence[tuple[Any, ...]],
) -> Tensor:
    """``x = function(builder, x, *arguments)`` for the arguments of each call in turn, and quicker for a ``@block``."""
    lookup = _BLOCK_MEMOS.get(function, {}).get
    position = 0
    while position < len(calls):
        if builder.zeros == "absorb" and x.node.op not in MAY_CONTAIN_ZERO:
            x, position = builder.splice_memoised(lookup, x, calls, position)
        if position < len(calls):  # its arguments are new, or it has to be called
            x = function(builder, x, *calls[position])  # type: ignore[call-arg]
            position += 1
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
    if _is_shareable_outside(scratch.nodes(), [t.index for t in tensors], len(shapes)):
        return None, single
    graph = scratch.build({str(i): t for i, t in enumerate(tensors)})
    shift = len(shapes)
    output_indices = tuple([i - shift for _, i in graph.outputs])
    if min(output_indices) < 0 or len(set(output_indices)) < len(output_indices):
        return None, single  # it returns an operand, or one tensor twice
    nodes = tuple(
        node._replace(inputs=tuple(i - shift if i >= shift else -i - 1 for i in node.inputs))
        for node in graph.nodes[shift:]
    )
    fragment = Fragment(nodes, output_indices, shapes)
    return (fragment if fragment.closed else None), single


def _is_shareable_outside(nodes: Sequence[Node], output_indices: Sequence[int], operands: int) -> bool:
    """Whether the code around a block could make one of its nodes, dead ones included, and so ought to share it.

    ``nodes`` are all of the block's, its operands first. From outside one sees those, the outputs, and what a fold
    brings back: a reshape of an output reshape reads what that read, ReLU6 of an output ReLU likewise.
    """
    seen = {*range(operands), *output_indices}
    unfolded_sources = {
        i: nodes[i].inputs[0]
        for i in output_indices
        if nodes[i].op == "reshape" or nodes[i][:2] in FOLDABLE_ACTIVATIONS
    }
    for node_index, node in enumerate(nodes):
        if OPS[node.op].parameters is None and node.op != "input":
            visible = seen.union([read for i, read in unfolded_sources.items() if i != node_index])
            if visible.issuperset(node.inputs):
                return True
    return False
