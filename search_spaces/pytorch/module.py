"""From a graph to a ``torch.nn.Module`` that computes it, one layer for each operation with parameters."""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import Tensor, nn

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import HE, OPS
from search_spaces.pytorch.operations import pytorch_operation


class GraphModule(nn.Module):
    """Computes a graph. ``layers[str(i)]`` is the layer of node ``i``, for the nodes that have parameters.

    ``forward`` takes the graph's inputs in order, each ``(batch, *shape)``, and returns a dict of outputs by name, or
    the tensor alone where the graph has one output.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        nodes = graph.nodes
        self.layers = nn.ModuleDict()
        last: dict[int, int] = {}
        for index, node in enumerate(nodes):
            for i in node.inputs:
                last[i] = index
            layer = pytorch_operation(node.op).layer
            if layer is not None:
                self.layers[str(index)] = layer(node, tuple(nodes[i].shape for i in node.inputs))
        for _, index in graph.outputs:
            last[index] = len(nodes)
        # What each node is the last to read, so that running needs no more memory than the graph says.
        self._released_after: list[list[int]] = [[] for _ in nodes]
        for index, end in last.items():
            if end < len(nodes):
                self._released_after[end].append(index)

    def forward(self, *inputs: Tensor) -> Tensor | dict[str, Tensor]:
        expected = self.graph.input_shapes
        if len(inputs) != len(expected):
            raise ValueError(f"the network takes {len(expected)} input(s), not {len(inputs)}")
        for value, shape in zip(inputs, expected, strict=True):
            if tuple(value.shape[1:]) != shape:
                raise ValueError(f"the network takes (batch, {', '.join(map(str, shape))}), not {tuple(value.shape)}")
        values: dict[int, Tensor] = {}
        position = 0
        for index, node in enumerate(self.graph.nodes):
            if node.op == "input":
                operands = [inputs[position]]
                position += 1
            else:
                operands = [values[i] for i in node.inputs] or [inputs[0]]
            compute = pytorch_operation(node.op).function
            values[index] = self.layers[str(index)](*operands) if compute is None else compute(node, *operands)
            for i in self._released_after[index]:
                del values[i]
        if len(self.graph.outputs) == 1:
            return values[self.graph.outputs[0][1]]
        return {name: values[index] for name, index in self.graph.outputs}


def _initialise(module: GraphModule, seed: int) -> None:
    """What the rows of the operations say: He's normal draws for convolutions, Glorot's for linear layers, constants.

    Each layer draws from its own generator, so that the layers before it do not shift its weights.
    """
    nodes = module.graph.nodes
    with torch.no_grad():
        for position, (index, layer) in enumerate(module.layers.items()):
            node = nodes[int(index)]
            generator: torch.Generator | None = None
            for path, parameter in layer.named_parameters():
                initial = OPS[node.op].initial(path.rpartition(".")[2], node.attrs)
                if not isinstance(initial, str):
                    parameter.fill_(initial)
                    continue
                if generator is None:
                    generator = torch.Generator().manual_seed((seed * 1_000_003 + position) % (1 << 63))
                fan_in = prod(parameter.shape[1:])
                variance = 2 / fan_in if initial == HE else 2 / (fan_in + parameter.shape[0])
                parameter.normal_(0.0, sqrt(variance), generator=generator)


def to_module(graph: Graph, seed: int = 0) -> GraphModule:
    """An ``nn.Module`` that computes ``graph``, with weights drawn from ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):  # layers draw default weights as they are made; leave no trace of that
        module = GraphModule(graph)
    _initialise(module, seed)
    return module
