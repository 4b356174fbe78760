"""One operation as two tiny networks whose difference is the operation, so that all else that takes time cancels.

Both networks hold copies of the operation side by side on the same input. What every inference costs, such as launch,
input and output, is in both alike and goes with the difference. Unlike a chain, this measures operations that change
channels and size. Of every result a strided pooling picks one element in 64, which costs next to nothing and keeps the
outputs small. Operations without weights would be one and the same on one input; each copy gets an input of its own
from a depthwise 1x1 convolution, which both networks have.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from hardware_models.operation_table.fusion import FusedOperation, fuse_graph
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS, Shape

SUBSAMPLE_STRIDE, SMALL_RESULT_ELEMENTS = 8, 2048
"""The stride of what is picked, and results of how many elements are left whole."""
COPIES_BY_WORK = ((3e6, 8), (3e7, 4), (1.5e8, 2))
"""Up to how many multiply-adds, or weights times 150, an operation is copied how often; above them once.

By weights, since many copies of them would drive each other out of caches that hold those of one.
"""


class OperationInstance(NamedTuple):
    """An operation with the nodes that make it, the first of which reads ``shapes``."""

    operation: FusedOperation
    nodes: tuple[Node, ...]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return self.operation.inputs


class NetworkPair(NamedTuple):
    """Two networks whose latencies differ by ``copies`` times the operation."""

    longer: Graph
    shorter: Graph
    copies: int


def operation_instances(graph: Graph) -> list[OperationInstance]:
    """Every operation of a graph, as often as it is there."""
    nodes = graph.nodes
    return [OperationInstance(group.operation, tuple([nodes[i] for i in group.nodes])) for group in fuse_graph(graph)]


def network_pair(instance: OperationInstance) -> NetworkPair:
    """The two networks of an operation. Raises ``GraphError`` where there are none."""
    work = max(instance.operation.macs, 150 * instance.operation.weights)
    copies = next((count for limit, count in COPIES_BY_WORK if work <= limit), 1)
    if OPS[instance.nodes[0].op].weighs_inputs:
        return NetworkPair(_network(instance, copies + 1, True), _network(instance, 1, True), copies)
    return NetworkPair(_network(instance, copies, True), _network(instance, copies, False), copies)


def _network(instance: OperationInstance, copies: int, with_operation: bool) -> Graph:
    builder, first = Builder(), OPS[instance.nodes[0].op]
    sources = [builder.input(shape) for shape in instance.shapes]
    results: list[Tensor] = []
    for _ in range(copies):
        operands = sources if first.weighs_inputs else [_distinct_input(builder, x) for x in sources]
        # What is read twice is not folded: neither was it where this operation stands alone
        if not with_operation or first.fuses:
            results += [_subsample(builder, x) for x in operands]
        if with_operation:
            results.append(_subsample(builder, _apply(builder, instance, operands)))
    return builder.build(_concatenate_by_shape(builder, results))


def _distinct_input(builder: Builder, x: Tensor) -> Tensor:
    """The same shape, but no other tensor's value."""
    if 2 <= len(x.shape) <= 4:
        return builder.conv(x, x.channels, 1, groups=x.channels)
    return builder.layer_scale(x, 0.5)


def _apply(builder: Builder, instance: OperationInstance, operands: list[Tensor]) -> Tensor:
    x = builder.rebuild(instance.nodes[0], operands)
    for node in instance.nodes[1:]:
        x = builder.rebuild(node, [x])
    return x


def _subsample(builder: Builder, x: Tensor) -> Tensor:
    if prod(x.shape) <= SMALL_RESULT_ELEMENTS:
        return x
    if len(x.shape) == 3:
        stride = tuple([min(SUBSAMPLE_STRIDE, extent) for extent in x.shape[1:]])
        return builder.pool(x, "max", 1, stride, padding="valid")
    if len(x.shape) > 1 and x.shape[0] > 1:
        return builder.slice(x, 0, 0, 1)
    return x


def _concatenate_by_shape(builder: Builder, results: list[Tensor]) -> dict[str, Tensor]:
    """One output for all of one shape but for its channels."""
    tensors_by_shape: dict[Shape, list[Tensor]] = {}
    for tensor in dict.fromkeys(results):
        tensors_by_shape.setdefault((len(tensor.shape), *tensor.shape[1:]), []).append(tensor)
    return {f"output{i}": builder.concat(tensors) for i, tensors in enumerate(tensors_by_shape.values())}
