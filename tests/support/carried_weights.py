"""An oracle of equal networks: both run in float64, with the weights of one carried over to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from search_spaces.pytorch.module import GraphModule, to_module
from tests.support.channel_oracle import mixes_parts, passes_parts
from tests.support.isomorphism import Reading, isomorphism, read, regions_of
from tests.support.reencode import Region

RegionByNode = dict[int, Region]
Blocks = list[tuple[Any, int]]


def _region_by_node(reading: Reading) -> RegionByNode:
    """The regions of those nodes that are in one."""
    return {member: region for region in regions_of(reading) for member in (*region.concats, *region.carriers)}


def _blocks(
    graph: Graph, reading: Reading, regions: RegionByNode, name_of: Callable[[Any], Any], index: int, axis: int
) -> Blocks:
    """The blocks along an axis of a node inside a region: (block, extent) in order."""
    node = graph.nodes[index]
    if node.op != "concat":
        wide = [i for i in node.inputs if graph.nodes[i].shape[axis] > 1]
        return _blocks(graph, reading, regions, name_of, wide[0], axis)
    region = regions[reading.index_of[index]]
    operands = list(node.inputs)
    while any(graph.nodes[i][:2] == node[:2] for i in operands):
        operands = [j for i in operands for j in (graph.nodes[i].inputs if graph.nodes[i][:2] == node[:2] else [i])]
    blocks: Blocks = []
    for k, i in enumerate(operands):
        token = name_of(("lane", region.concats[0], k) if len(region.concats) > 1 else reading.index_of[i])
        inner = regions.get(reading.index_of[i])
        if inner is not None and inner.axis == axis:
            parts = _blocks(graph, reading, regions, name_of, i, axis)
            blocks += [((token, part), extent) for part, extent in parts]
        else:
            blocks.append((token, graph.nodes[i].shape[axis]))
    return blocks


class LayerPair(NamedTuple):
    """A layer of one network, and its equal in the other.

    Element ``c`` along ``axis`` of the other's tensors is element ``order[c]`` of the one's; ``None``: all as they are.
    """

    one: int
    other: int
    axis: int
    order: list[int] | None

    def carry_over(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        """A tensor of the one layer in the order of the other."""
        if self.order is None or tensor.dim() == 0 or (self.axis == 1 and name.endswith("bias")):
            return tensor
        return tensor.index_select(self.axis, torch.tensor(self.order))


def layer_pairs(one: Graph, other: Graph) -> list[LayerPair]:
    """The layers of two equal networks in pairs."""
    readings = read(one), read(other)
    mapping = isomorphism(*readings)
    assert mapping is not None
    layer_of = {readings[0].index_of[i]: i for i, node in enumerate(one.nodes) if OPS[node.op].parameters}
    regions = [_region_by_node(reading) for reading in readings]
    pairs = []
    for index, node in enumerate(other.nodes):
        if OPS[node.op].parameters is None:
            continue
        layer = layer_of[mapping[readings[1].index_of[index]]]
        region = regions[1].get(readings[1].index_of[node.inputs[0]])
        operand = other.nodes[node.inputs[0]]
        if region is None or not (mixes_parts(node, operand, region.axis) or passes_parts(node, operand, region.axis)):
            pairs.append(LayerPair(layer, index, 0, None))
            continue
        mine = _blocks(one, readings[0], regions[0], lambda t: t, one.nodes[layer].inputs[0], region.axis)
        theirs = _blocks(other, readings[1], regions[1], lambda t: mapping[t], node.inputs[0], region.axis)
        starts: dict[Any, list[int]] = {}
        offset = 0
        for token, extent in mine:
            starts.setdefault(token, []).append(offset)
            offset += extent
        order: list[int] = []
        for token, extent in theirs:
            start = starts[token].pop(0)
            order += range(start, start + extent)
        pairs.append(LayerPair(layer, index, 1 if mixes_parts(node, operand, region.axis) else 0, order))
    return pairs


def module_outputs(graph: Graph, module: GraphModule, inputs: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a module returns, by the names of the graph's outputs."""
    result = module(*inputs)
    return {graph.outputs[0][0]: result} if isinstance(result, torch.Tensor) else dict(result)


def disagreement(one: Graph, other: Graph, seed: int, train: bool) -> float:
    """The largest relative difference of outputs and of gradients of all weights, the same weights in both.

    Weights, biases and statistics are random everywhere, so that nothing is hidden behind a zero. In float64.
    """
    pairs = layer_pairs(one, other)
    generator = torch.Generator().manual_seed(seed)
    modules = [to_module(graph, seed).double().train(train) for graph in (one, other)]
    with torch.no_grad():
        for tensor in [*modules[0].parameters(), *modules[0].buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * 0.6 + 0.2)
                if tensor.dim() > 1:
                    tensor.sub_(0.5)
        for pair in pairs:
            source = modules[0].layers[str(pair.one)].state_dict()
            target = modules[1].layers[str(pair.other)].state_dict()
            for name, tensor in target.items():
                tensor.copy_(pair.carry_over(source[name], name))
    assert len(pairs) == len(modules[0].layers) == len(modules[1].layers)
    inputs = [torch.randn(4, *shape, generator=generator, dtype=torch.float64) for shape in one.input_shapes]
    both_outputs = [module_outputs(graph, module, inputs) for graph, module in zip((one, other), modules, strict=True)]
    assert both_outputs[0].keys() == both_outputs[1].keys()
    weights = {
        name: torch.randn(both_outputs[0][name].shape, generator=generator, dtype=torch.float64)
        for name in both_outputs[0]
    }
    for outputs in both_outputs:
        loss = sum((value * weights[name]).sum() for name, value in outputs.items())
        if isinstance(loss, torch.Tensor) and loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
    compared = [(both_outputs[0][name], both_outputs[1][name]) for name in both_outputs[0]]
    for pair in pairs:
        gradients = dict(modules[0].layers[str(pair.one)].named_parameters())
        for name, parameter in modules[1].layers[str(pair.other)].named_parameters():
            mine, theirs = gradients[name].grad, parameter.grad
            assert (mine is None) == (theirs is None)
            if mine is not None and theirs is not None:
                compared.append((pair.carry_over(mine, name), theirs))
    # Relative to the largest numbers: a difference is as exact as what it is a difference of.
    return max(
        float((a - b).detach().abs().max() / (a.detach().abs().max() + 1.0)) if torch.isfinite(a).all() else 0.0
        for a, b in compared
    )
