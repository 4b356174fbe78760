"""A graph with its weights as the module that converters read: evaluation mode, a tuple of outputs, pooling windows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.export.converters.exported import Agreement, agreement, check_finite
from search_spaces.export.weights import Array, Weights, check_weights
from search_spaces.graph.graph import Graph
from search_spaces.graph.serialise import graph_from_json
from search_spaces.pytorch.module import GraphModule


def with_windowed_pooling(graph: Graph) -> Graph:
    """The same network, node for node, whose global pooling is a window over the whole image.

    As a mean over two axes it would become MEAN or ReduceMean, which compilers for NPUs leave to the processor; as a
    window it becomes AVERAGE_POOL_2D or AveragePool.
    """
    document: dict[str, Any] = json.loads(graph.to_json())
    rows = document["nodes"]
    for node, row in zip(graph.nodes, rows, strict=True):
        size = graph.nodes[node.inputs[0]].shape[1:] if node.op == "global_pool" else ()
        if size:
            row.update(op="pool", kernel=size, stride=[1] * len(size), padding=[[0, 0]] * len(size))
            row["count_padding"] = False
    result = graph_from_json(json.dumps(document))
    assert [n.shape for n in result.nodes] == [n.shape for n in graph.nodes]  # weights go by node number
    return result


def module_with_weights(graph: Graph, weights: Weights) -> GraphModule:
    """The module of ``graph`` with ``weights`` copied in, in evaluation mode. ``WeightsError`` for another graph's."""
    check_weights(graph, weights)
    with torch.random.fork_rng(devices=[]):
        module = GraphModule(graph)
    for key, value in module.state_dict().items():
        index, name = int(key.split(".")[1]), key.rpartition(".")[2]
        if name != "num_batches_tracked":
            value.copy_(torch.from_numpy(np.array(weights[index][name], dtype=np.float32)))
    return module.eval()


class DeployedModule(nn.Module):
    """A graph's module whose outputs are a tuple in the graph's order.

    ``images_last``: images come and go ``(batch, height, width, channels)``, as TFLite has them.
    """

    def __init__(self, module: GraphModule, images_last: bool) -> None:
        super().__init__()
        self.module = module
        self.images_last = images_last

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs in the graph's order, each with a batch axis."""
        if self.images_last:
            inputs = tuple([x.permute(0, 3, 1, 2) if x.dim() == 4 else x for x in inputs])
        result = self.module(*inputs)
        outputs = list(result.values()) if isinstance(result, dict) else [result]
        if self.images_last:
            outputs = [y.permute(0, 2, 3, 1) if y.dim() == 4 else y for y in outputs]
        return tuple(outputs)


def module_outputs(module: GraphModule, sample: tuple[Array, ...], exactly: bool = False) -> dict[str, Array]:
    """What the module makes of one sample without a batch axis; outputs by name, likewise. ``exactly``: in float64."""
    dtype = torch.float64 if exactly else torch.float32
    with torch.inference_mode():
        result = module.to(dtype)(*[torch.from_numpy(x)[None].to(dtype) for x in sample])
    outputs = result if isinstance(result, dict) else {module.graph.outputs[0][0]: result}
    return {name: value[0].numpy() for name, value in outputs.items()}


class PyTorchReference(NamedTuple):
    """What PyTorch makes of samples in float32, and how near that is to what it makes of them in float64."""

    outputs: list[dict[str, Array]]
    rounding: tuple[Agreement, ...]


def reference(graph: Graph, weights: Weights, samples: Sequence[tuple[Array, ...]], where: str) -> PyTorchReference:
    """PyTorch's outputs. Raises ``ConversionError`` where they are not finite: then nothing can be compared."""
    module = module_with_weights(graph, weights)
    outputs = [module_outputs(module, sample) for sample in samples]
    check_finite(outputs, where)
    exact = [module_outputs(module, sample, exactly=True) for sample in samples]
    return PyTorchReference(outputs, agreement(exact, outputs, where))
