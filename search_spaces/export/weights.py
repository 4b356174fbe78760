"""The weights of a graph as numpy arrays by node, drawn from a seed or taken from a trained module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import HE, OPS, GraphError, Shape

if TYPE_CHECKING:
    from search_spaces.pytorch.module import GraphModule

Array: TypeAlias = NDArray[Any]


class WeightsError(GraphError):
    """Weights that are not those of the graph; the message names the node, the operation and the array."""


@dataclass(frozen=True)
class Weights:
    """Arrays by node and name: ``weights[i]["weight"]``, with the names and shapes of ``OPS``' parameters and buffers.

    Float32, in the layout of PyTorch: a convolution's weight is ``(out, in / groups, *kernel)``.
    """

    by_node: Mapping[int, Mapping[str, Array]]

    def __getitem__(self, node: int) -> Mapping[str, Array]:
        return self.by_node[node]


def array_shapes(graph: Graph) -> dict[int, dict[str, Shape]]:
    """Names and shapes of the parameters and running statistics of every node that has any."""
    shapes: dict[int, dict[str, Shape]] = {}
    nodes = graph.nodes
    for index, node in enumerate(nodes):
        op = OPS[node.op]
        if op.parameters is None:
            continue
        operands = tuple([nodes[i].shape for i in node.inputs])
        rows = op.parameters(operands, node.attrs) + (op.buffers(operands, node.attrs) if op.buffers else [])
        shapes[index] = dict(rows)
    return shapes


def check_weights(graph: Graph, weights: Weights) -> None:
    """Raise ``WeightsError`` where ``weights`` lack an array of ``graph`` or hold one of another shape."""
    for index, rows in array_shapes(graph).items():
        where = f"node {index} ({graph.nodes[index].op})"
        arrays_of_node = weights.by_node.get(index)
        if arrays_of_node is None:
            raise WeightsError(f"weights: none for {where}; were they made for another graph?")
        for name, shape in rows.items():
            if name not in arrays_of_node or arrays_of_node[name].shape != shape:
                actual = arrays_of_node[name].shape if name in arrays_of_node else "missing"
                raise WeightsError(f"weights: {name} of {where} must be {shape}, it is {actual}")


# -- from a seed -------------------------------------------------------------------------------------------------------


def _draws(distribution: str, shape: Shape, generator: np.random.Generator) -> Array:
    fan_in = prod(shape[1:])
    variance = 2 / fan_in if distribution == HE else 2 / (fan_in + shape[0])
    draws = generator.standard_normal(shape, dtype=np.float32)
    draws *= np.float32(sqrt(variance))
    return draws


def random_weights(graph: Graph, seed: int = 0) -> Weights:
    """Weights from ``seed`` alone, without torch: those distributions that ``to_module`` draws from, other draws.

    Convolutions have He's normal initialisation (arXiv 1502.01852, eq. 10), linear layers Glorot's; biases are zero,
    normalisations are those before any training. Each layer draws from its own generator.
    """
    by_node: dict[int, dict[str, Array]] = {}
    for position, (index, rows) in enumerate(array_shapes(graph).items()):
        node, arrays = graph.nodes[index], {}
        generator: np.random.Generator | None = None
        for name, shape in rows.items():
            initial = OPS[node.op].initial(name, node.attrs)
            if isinstance(initial, str):
                generator = generator or np.random.default_rng((seed % (1 << 63), position))
                arrays[name] = _draws(initial, shape, generator)
            else:
                arrays[name] = np.full(shape, initial, dtype=np.float32)
        by_node[index] = arrays
    return Weights(by_node)


def random_inputs(shapes: Sequence[Shape], seed: int, samples: int = 2) -> list[tuple[Array, ...]]:
    """``samples`` inputs of a graph, standard normal, channels first and without the batch axis."""
    generator = np.random.default_rng(seed)
    return [tuple([generator.standard_normal(s, dtype=np.float32) for s in shapes]) for _ in range(samples)]


def placeholder_weights(graph: Graph) -> Weights:
    """Zeros and ones that take no memory, for what needs shapes alone."""

    def placeholder(node: Node, name: str, shape: Shape) -> Array:
        initial = OPS[node.op].initial(name, node.attrs)
        return np.broadcast_to(np.float32(1 if isinstance(initial, str) else initial), shape)

    return Weights(
        {
            index: {name: placeholder(graph.nodes[index], name, shape) for name, shape in rows.items()}
            for index, rows in array_shapes(graph).items()
        }
    )


# -- from a module -----------------------------------------------------------------------------------------------------


def weights_from_state(graph: Graph, state: Mapping[str, Any]) -> Weights:
    """Weights out of the ``state_dict`` of ``to_module(graph)``, trained or read from a checkpoint.

    Keys are ``layers.<node>.<...>.<name>``; values tensors or arrays. Raises ``WeightsError`` for what is missing, is
    of another shape or holds a number that is not finite.
    """
    by_node: dict[int, dict[str, Array]] = {}
    for key, value in state.items():
        prefix, _, rest = key.partition(".")
        index, _, name = rest.partition(".")
        name = name.rpartition(".")[2]
        if prefix != "layers" or not index.isdecimal() or name == "num_batches_tracked":
            continue
        value = value.detach().cpu().float().numpy() if hasattr(value, "detach") else value
        try:
            array = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError):
            raise WeightsError(f"weights: {key} must be a tensor or an array, not {type(value).__name__}") from None
        if not np.isfinite(array).all():
            raise WeightsError(f"weights: {key} holds numbers that are not finite; did the training diverge?")
        by_node.setdefault(int(index), {})[name] = array
    weights = Weights(by_node)
    check_weights(graph, weights)
    return weights


def weights_from_module(module: GraphModule) -> Weights:
    """Weights of a module that ``to_module`` made; they share its memory where it is float32 on the CPU."""
    return weights_from_state(module.graph, module.state_dict())


# -- folded ------------------------------------------------------------------------------------------------------------


class FoldedLayer(NamedTuple):
    """A convolution or linear layer with the affine nodes behind it folded in, the last of which is ``last``."""

    last: int
    weight: Array
    bias: Array | None


def consumers(graph: Graph) -> list[list[int]]:
    """For every node the nodes that read it, once for each operand; -1 stands for a graph output."""
    readers: list[list[int]] = [[] for _ in graph.nodes]
    for index, node in enumerate(graph.nodes):
        for i in node.inputs:
            readers[i].append(index)
    for _, index in graph.outputs:
        readers[index].append(-1)
    return readers


def norm_affine(node: Node, arrays: Mapping[str, Array]) -> tuple[Array, Array]:
    """Batch normalisation with its running statistics as a factor and a shift of each channel."""
    factor = arrays["weight"] / np.sqrt(arrays["running_var"] + np.float32(node.attrs[1]))
    return factor, arrays["bias"] - arrays["running_mean"] * factor


AFFINE_FORMS: dict[str, Callable[[Node, Mapping[str, Array]], tuple[Array, Array | None]]] = {
    "norm": norm_affine,
    "layer_scale": lambda node, arrays: (arrays["weight"], None),
    "scale": lambda node, arrays: (np.full(node.shape[0], node.attrs[0], dtype=np.float32), None),
}
"""Factor and shift of each channel, from a node and its arrays, of every operation that is ``affine``."""


def _affine(node: Node, weights: Weights, index: int) -> tuple[Array, Array | None] | None:
    """Factor and shift of each channel, of a node that is no more than that."""
    if not OPS[node.op].affine(node.attrs) or node.op not in AFFINE_FORMS:
        return None
    return AFFINE_FORMS[node.op](node, weights.by_node.get(index, {}))


def fold_affine(graph: Graph, weights: Weights, readers: Sequence[Sequence[int]], start: int) -> FoldedLayer:
    """Node ``start``, a convolution or linear layer, with what follows it alone and is affine by channel folded in.

    Batch normalisation (running statistics), LayerScale and constant factors fold; a linear layer of a vector takes
    them too, one of a matrix does not, because its last axis is not the channels.
    """
    node, arrays = graph.nodes[start], weights[start]
    weight, bias, last = arrays["weight"], arrays.get("bias"), start
    product = OPS[node.op].product
    assert product is not None
    to_channels = product(tuple([graph.nodes[i].shape for i in node.inputs]), node.attrs, node.shape).axis == 0
    while to_channels and len(readers[last]) == 1 and readers[last][0] >= 0:
        follower = readers[last][0]
        affine = _affine(graph.nodes[follower], weights, follower)
        if affine is None:
            break
        factor, shift = affine
        weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        if bias is not None:
            bias = bias * factor
        if shift is not None:
            bias = shift if bias is None else bias + shift
        last = follower
    return FoldedLayer(last, weight, bias)
