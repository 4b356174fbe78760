"""Memory that training a network on the device takes: what the backward pass needs, parameters, gradients, optimiser.

``full`` counts what automatic differentiation keeps: the inputs of convolutions, linear layers, normalisations and of
activations whose slope depends on them. ``mobiletl`` is MobileTL (arXiv 2212.03246, section 3): normalisations inside a
residual block train their shift alone and keep nothing, activations keep a bit an element, and only the last blocks are
trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from search_spaces.graph.fragment import FLOAT_BYTES, Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS

SCHEMES = ("full", "mobiletl")


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one training step. ``activations`` grow with the batch, the others do not."""

    activations: int
    parameters: int
    gradients: int
    optimiser: int

    @property
    def kib(self) -> float:
        """All of it."""
        return (self.activations + self.parameters + self.gradients + self.optimiser) / 1024


def training_memory(
    graph: Graph, *, batch: int = 1, scheme: str = "full", trained_share: float = 1.0, optimiser_copies: int = 1
) -> TrainingMemory:
    """What a step of training takes in float32.

    ``trained_share``: the last nodes by this share of the network's multiply-adds are trained, what is before them is
    frozen and keeps nothing. ``optimiser_copies``: numbers kept for every trained one, 1 with momentum, 2 with Adam.
    Raises ``ValueError``.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"no scheme {scheme!r} of training memory; there are {', '.join(SCHEMES)}")
    if batch < 1 or optimiser_copies < 0 or not 0 < trained_share <= 1:
        raise ValueError("batch must be 1 at least, optimiser_copies 0, and trained_share above 0 and at most 1")
    first = _first_trained(graph, trained_share)
    saved_bits: dict[int, int] = {}  # bits of each tensor, by node: a tensor that two operations need is kept once
    trained = 0
    inner = _inner_norms(graph) if scheme == "mobiletl" else frozenset()
    for index, (node, figures) in enumerate(zip(graph.nodes, graph.node_counts(), strict=True)):
        if index < first:
            continue
        shifts_only = index in inner
        trained += node.shape[0] if shifts_only else figures.params
        for i, bits in _saved_tensors(node, index, scheme, shifts_only):
            saved_bits[i] = max(saved_bits.get(i, 0), bits)
    elements = {i: prod(graph.nodes[i].shape) for i in saved_bits}
    activations = sum(ceil(batch * elements[i] * bits / 8) for i, bits in saved_bits.items())
    numbers = trained * FLOAT_BYTES
    return TrainingMemory(activations, graph.params * FLOAT_BYTES, numbers, optimiser_copies * numbers)


def training_memory_kib(graph: Graph) -> float:
    """The metric: one image, everything trained, with momentum."""
    return training_memory(graph).kib


def _first_trained(graph: Graph, share: float) -> int:
    if share == 1:
        return 0
    remaining_macs = share * graph.macs
    figures = graph.node_counts()
    for index in range(len(figures) - 1, -1, -1):
        remaining_macs -= figures[index].macs
        if remaining_macs < 0:
            return index + 1
    return 0


def _saved_tensors(node: Node, index: int, scheme: str, shifts_only: bool) -> list[tuple[int, int]]:
    """The tensors that a node's backward pass needs, with the bits an element of each."""
    operation = OPS[node.op]
    if shifts_only:
        return []
    if operation.activation and scheme == "mobiletl":
        return [(index, 1)]
    tensors = {"operands": node.inputs, "result": (index,), "": ()}[operation.keeps(node.attrs)]
    return [(i, 8 * FLOAT_BYTES) for i in tensors]


def _inner_norms(graph: Graph) -> frozenset[int]:
    """Normalisations before an activation: those inside a block, which MobileTL trains the shift of alone."""
    return frozenset(
        node.inputs[0]
        for node in graph.nodes
        if OPS[node.op].activation and OPS[graph.nodes[node.inputs[0]].op].normalises
    )
