"""The names of a network's tensors: the name of a node and that of its parameter or running statistic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS, Shape

if TYPE_CHECKING:
    from torch import Tensor

    from search_spaces.pytorch.module import GraphModule


class GraphTensor(NamedTuple):
    """One parameter or running statistic of a graph: its node, its own name there, and its shape."""

    node: int
    array: str
    shape: Shape


def graph_tensors(graph: Graph) -> dict[str, GraphTensor]:
    """All parameters and running statistics by name, such as ``stage2.layer1/expand/conv.weight``, in order."""
    tensors: dict[str, GraphTensor] = {}
    nodes = graph.nodes
    for index, (node, name) in enumerate(zip(nodes, graph.names, strict=True)):
        row = OPS[node.op]
        operands = tuple([nodes[i].shape for i in node.inputs])
        arrays = row.parameters(operands, node.attrs) if row.parameters else []
        arrays = arrays + (row.buffers(operands, node.attrs) if row.buffers else [])
        for array, shape in arrays:
            tensors[f"{name}.{array}"] = GraphTensor(index, array, shape)
    return tensors


def named_tensors(module: GraphModule) -> dict[str, Tensor]:
    """The parameters and running statistics of a module that ``to_module`` made, by name; they share its memory."""
    by_node: dict[tuple[int, str], Tensor] = {}
    state: Mapping[str, Tensor] = module.state_dict()
    for key, tensor in state.items():
        prefix, index, *_, array = key.split(".")
        if prefix == "layers":
            by_node[int(index), array] = tensor
    return {name: by_node[node, array] for name, (node, array, _) in graph_tensors(module.graph).items()}


def state_keys(module: GraphModule) -> dict[str, str]:
    """The key in ``module.state_dict()`` of each named tensor."""
    keys: dict[tuple[int, str], str] = {}
    for key in module.state_dict():
        prefix, index, *_, array = key.split(".")
        if prefix == "layers":
            keys[int(index), array] = key
    return {name: keys[node, array] for name, (node, array, _) in graph_tensors(module.graph).items()}
