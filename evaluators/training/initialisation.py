"""Initialisation before the first step, so that short trainings learn: zero branches, biases, output layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from search_spaces.pytorch.module import GraphModule, to_module


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
    """Remove the bias of every convolution that only normalisations read: they subtract it again.

    The network computes the same functions; ``Muon`` takes a missing bias as the sign of weights whose scale does not
    matter.
    """
    nodes = module.graph.nodes
    reader_ops: dict[int, set[str]] = {index: {"output"} for _, index in module.graph.outputs}
    for node in nodes:
        for index in node.inputs:
            reader_ops.setdefault(index, set()).add(node.op)
    for name, layer in module.layers.items():
        readers = reader_ops.get(int(name), {"output"})
        if nodes[int(name)].op == "conv" and all(op in OPS and OPS[op].normalises for op in readers):
            layer.register_parameter("bias", None)


def complete_state(module: GraphModule) -> dict[str, Tensor]:
    """The module's weights and statistics on the processor, under all names that ``to_module`` of its graph has.

    Biases that ``remove_redundant_biases`` took out are zero.
    """
    state = module.state_dict()
    return {
        name: state[name].detach().cpu().clone() if name in state else torch.zeros_like(fresh)
        for name, fresh in to_module(module.graph).state_dict().items()
    }


def initialise_output_layers(module: GraphModule, bias: Callable[[str], float]) -> None:
    """Start every output convolution that has a bias as a constant: weights 0, the bias by the output's name."""
    with torch.no_grad():
        for name, index in module.graph.outputs:
            layer = dict(module.layers.items()).get(str(index))
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.weight.zero_()
                layer.bias.fill_(bias(name))


def zero_output_layers(module: GraphModule) -> None:
    """Start every output at zero, so that all classes are equally likely."""
    with torch.no_grad():
        for _, index in module.graph.outputs:
            last = dict(module.layers.items()).get(str(index))
            if isinstance(last, nn.Linear | nn.Conv2d):
                for parameter in last.parameters():
                    parameter.zero_()


def residual_norms(graph: Graph) -> list[int]:
    """The normalisations that end a residual branch: operands of a sum that another operand of it leads to."""
    sums = [node.inputs for node in graph.nodes if node.op == "add"]
    summed = {i for operands in sums for i in operands}
    summed_ancestors: list[frozenset[int]] = []  # per node
    for node in graph.nodes:
        summed_ancestors.append(frozenset().union(*(summed_ancestors[i] | ({i} & summed) for i in node.inputs)))
    return sorted(
        {
            i
            for operands in sums
            for i in operands
            if OPS[graph.nodes[i].op].normalises and not summed_ancestors[i].isdisjoint(operands)
        }
    )
