"""The state of lowering a graph: where each node's value is, and in which order its axes are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from search_spaces.export.names import value_name
from search_spaces.export.tflite.program import TfliteProgram
from search_spaces.export.weights import Weights, consumers
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape

Order = tuple[int, ...]
CHANNELS_LAST = (1, 2, 0)  # an image with its channels last


class UnsupportedInTflite(Exception):
    """Why one node has no form in TFLite; becomes an ``UnsupportedNode``."""


class StoredTensor(NamedTuple):
    """A tensor that holds a node's value: its axis ``i + 1`` is the node's axis ``order[i]``."""

    tensor: int
    order: Order


def natural_order(shape: Shape) -> Order:
    """Channels last for images, the graph's own order for everything else."""
    return CHANNELS_LAST if len(shape) == 3 else tuple(range(len(shape)))


def stored_shape(shape: Shape, order: Order) -> Shape:
    """Shape of the tensor that holds a node of ``shape`` in ``order``."""
    return (1, *[shape[a] for a in order])


class LoweringState:
    """The program so far. ``stored[i]`` is where node ``i`` is; ``readers`` say who reads it."""

    def __init__(self, graph: Graph, weights: Weights) -> None:
        self.graph = graph
        self.weights = weights
        self.readers = consumers(graph)
        self.program = TfliteProgram()
        self.stored: dict[int, StoredTensor] = {}
        self._copies: dict[tuple[int, Order], int] = {}

    def lower(self, rule: Callable[[LoweringState, int, Node], None], index: int, node: Node) -> str | None:
        """Run the rule of one node; the reason where it has none in TFLite, and a stand-in for its value."""
        try:
            rule(self, index, node)
        except UnsupportedInTflite as problem:
            order = natural_order(node.shape)
            self.stored[index] = StoredTensor(self.program.tensor(stored_shape(node.shape, order)), order)
            return str(problem)
        return None

    def shape(self, index: int) -> Shape:
        return self.graph.nodes[index].shape

    def order(self, index: int) -> Order:
        return self.stored[index].order

    def get(self, index: int, order: Order) -> int:
        """The tensor that holds node ``index`` in ``order``, transposed where it was not."""
        tensor, current = self.stored[index]
        if current == order:
            return tensor
        key = (index, order)
        if key not in self._copies:
            axes = (0, *[1 + current.index(a) for a in order])
            if sum(n > 1 for n in self.program.tensors[tensor].shape) > 6:
                raise UnsupportedInTflite("it takes a transposition of more than six axes")
            self._copies[key] = self.program.transpose(tensor, axes)
        return self._copies[key]

    def get_in_graph_order(self, index: int) -> int:
        """Node ``index`` in the graph's own order."""
        return self.get(index, tuple(range(len(self.shape(index)))))

    def emit(self, index: int, code: str, inputs: tuple[int, ...], order: Order, **options: object) -> int:
        """Append the operator that makes the value of node ``index`` in ``order``."""
        node = self.graph.nodes[index]
        shape = stored_shape(node.shape, order)
        result = self.program.emit(code, inputs, shape, value_name(self.graph, index), **options)
        self.stored[index] = StoredTensor(result, order)
        return result

    def sole_reader(self, index: int, op: str) -> int | None:
        """The one node that reads ``index``, where there is one, of that operation."""
        readers = self.readers[index]
        alone = len(readers) == 1 and readers[0] >= 0 and self.graph.nodes[readers[0]].op == op
        return readers[0] if alone else None
