"""Checks of a space's networks: counts, training, and graphs as JSON."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from nas.hashing import functional_hash
from nas.testing.space_under_test import SpaceUnderTest
from search_spaces.graph.graph import Graph
from search_spaces.graph.serialise import graph_from_json

if TYPE_CHECKING:
    import torch


class NetworkChecks(SpaceUnderTest):
    """Every choice makes a network, and what a graph says of itself is true of its module."""

    def test_every_option_of_every_choice_makes_a_network(self) -> None:
        self.space.check(self.seed)

    def test_networks_count_what_their_modules_do(self) -> None:
        """Parameters, running statistics, shapes, and half of the operations that PyTorch's flop counter sees."""
        for genotype, graph in self.sampled_networks(self.space):
            differences = module_differences(graph)
            assert not differences, f"{genotype!r}: {'; '.join(differences)}"

    def test_networks_run_and_learn(self) -> None:
        for genotype, graph in islice(self.sampled_networks(self.space.with_options(**self.small)), self.trained):
            faults = training_faults(graph, self.seed)
            assert not faults, f"{genotype!r}: {'; '.join(faults)}"

    def test_networks_survive_json(self) -> None:
        for genotype, graph in self.sampled_networks(self.space):
            again = graph_from_json(graph.to_json())
            assert again.digest == graph.digest, f"the graph of {genotype!r} comes back from JSON as another"
            same = functional_hash(again) == functional_hash(graph)
            assert same, f"the graph of {genotype!r} comes back from JSON with another key"


def _named_outputs(graph: Graph, outputs: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return outputs if isinstance(outputs, dict) else {graph.outputs[0][0]: outputs}


def module_differences(graph: Graph) -> list[str]:
    """Where the graph's counts are not those of its module, which runs without memory or arithmetic."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from search_spaces.pytorch.module import GraphModule

    batch = 2
    with torch.device("meta"):
        module = GraphModule(graph).eval()
        inputs = [torch.empty(batch, *shape) for shape in graph.input_shapes]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        outputs = _named_outputs(graph, module(*inputs))
    params = sum(p.numel() for p in module.parameters())
    statistics = sum(b.numel() for n, b in module.named_buffers() if not n.endswith("num_batches_tracked"))
    pairs: list[tuple[str, object, object]] = [
        ("parameters", graph.params, params),
        ("variables", graph.variables, params + statistics),
        ("MACs", graph.macs, counter.get_total_flops() / 2 / batch),
        ("output shapes", graph.output_shapes, {name: tuple(value.shape[1:]) for name, value in outputs.items()}),
    ]
    return [
        f"{what}: the graph says {graph_value}, its module has {module_value}"
        for what, graph_value, module_value in pairs
        if graph_value != module_value
    ]


def training_faults(graph: Graph, seed: int) -> list[str]:
    """What goes wrong in a step of training: outputs or gradients that are no finite numbers, or not there."""
    import torch

    from search_spaces.pytorch.module import to_module

    generator = torch.Generator().manual_seed(seed)
    module = to_module(graph, seed).train()
    outputs = _named_outputs(
        graph, module(*[torch.randn(2, *shape, generator=generator) for shape in graph.input_shapes])
    )
    faults = [f"output {name!r} is not finite" for name, value in outputs.items() if not value.isfinite().all()]
    shapes = {name: tuple(value.shape[1:]) for name, value in outputs.items()}
    faults += [] if shapes == graph.output_shapes else [f"outputs are {shapes}, not {graph.output_shapes}"]
    losses = [value.square().mean() for value in outputs.values() if value.requires_grad]
    if losses:
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    used = _nodes_before_outputs(graph)
    for name, parameter in module.named_parameters():
        index = int(name.split(".")[1])
        if index in used and (parameter.grad is None or not parameter.grad.isfinite().all()):
            what = "no gradient" if parameter.grad is None else "a gradient that is not finite"
            faults.append(f"{name} of node {index} ({graph.nodes[index].op}) has {what}")
    return faults


def _nodes_before_outputs(graph: Graph) -> set[int]:
    """Indices of the nodes that an output depends on."""
    used = {index for _, index in graph.outputs}
    for index in range(len(graph) - 1, -1, -1):
        if index in used:
            used.update(graph.nodes[index].inputs)
    return used
