"""SynFlow: the synaptic flow of an untrained network."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS


@dataclass(frozen=True)
class SynFlow:
    """Sum of ``|weight * gradient|`` of a linearised network fed with ones, as a logarithm.

    All weights are made positive and normalisations are left out, as in zero-cost NAS (arXiv 2101.08134, sec. 3);
    the network is built at ``image_size`` and ``width`` where its space has such options.
    """

    name: str = "synflow"
    image_size: int = 64
    width: float = 0.25

    @property
    def proxy(self) -> dict[str, Any]:
        return {"image_size": self.image_size, "width": self.width}

    def score(self, graph: Graph) -> float:
        import torch

        from search_spaces.pytorch.module import to_module

        module = to_module(graph, seed=0).double().eval()
        with torch.no_grad():
            for index, layer in module.layers.items():
                for parameter in layer.parameters():
                    parameter.abs_()
                if OPS[graph.nodes[int(index)].op].normalises:
                    module.layers[index] = torch.nn.Identity()
        outputs = module(*(torch.ones(1, *shape, dtype=torch.float64) for shape in graph.input_shapes))
        tensors = outputs.values() if isinstance(outputs, dict) else [outputs]
        torch.stack([t.sum() for t in tensors]).sum().backward()  # type: ignore[no-untyped-call]
        flow = sum(float((p.detach() * p.grad).abs().sum()) for p in module.parameters() if p.grad is not None)
        return log(flow) if flow > 0 else float("-inf")
