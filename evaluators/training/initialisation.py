"""What is set or removed in a module before its first step, so that short trainings learn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import GraphModule


def zero_residual_branches(module: GraphModule) -> None:
    """Start every residual branch at zero.

    A network whose branches add nothing at first learns as a shallow one does (arXiv 1706.02677, section 5.1), which
    is what makes a hundred steps enough.
    """
    with torch.no_grad():
        for index in residual_norms(module.graph):
            layer = module.layers[str(index)]
            if isinstance(layer, _BatchNorm):
                layer.weight.zero_()


def remove_redundant_biases(module: GraphModule) -> None:
    """Take the bias from every convolution whose result goes to normalisations alone, which take it out again.

    What the network can compute stays the same; ``Muon`` knows the weights whose scale does not matter by that they
    have no bias.
    """
    nodes = module.graph.nodes
    readers: dict[int, set[str]] = {index: {"output"} for _, index in module.graph.outputs}
    for node in nodes:
        for index in node.inputs:
            readers.setdefault(index, set()).add(node.op)
    for name, layer in module.layers.items():
        if nodes[int(name)].op == "conv" and readers.get(int(name)) == {"norm"}:
            layer.register_parameter("bias", None)


def initialise_output_layers(module: GraphModule, bias: Callable[[str], float]) -> None:
    """Let every output that is a convolution with a bias start constant: weights 0, the bias by the output's name."""
    with torch.no_grad():
        for name, index in module.graph.outputs:
            predictor = dict(module.layers.items()).get(str(index))
            if isinstance(predictor, nn.Conv2d) and predictor.bias is not None:
                predictor.weight.zero_()
                predictor.bias.fill_(bias(name))


def residual_norms(graph: Graph) -> list[int]:
    """The normalisations that end a residual branch: operands of a sum that another operand of it leads to."""
    sums = [node.inputs for node in graph.nodes if node.op == "add"]
    summed = {i for operands in sums for i in operands}
    before: list[frozenset[int]] = []  # per node, the summed nodes that lead to it
    for node in graph.nodes:
        before.append(frozenset().union(*(before[i] | ({i} & summed) for i in node.inputs)))
    return sorted(
        {i for operands in sums for i in operands if graph.nodes[i].op == "norm" and not before[i].isdisjoint(operands)}
    )
