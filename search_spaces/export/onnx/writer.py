"""A graph as an ``.onnx`` file, in float32 or in QDQ form for 8-bit integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from search_spaces.export.errors import check_precision
from search_spaces.export.metadata import onnx_with_metadata
from search_spaces.export.onnx.nodes import float_program
from search_spaces.export.onnx.quantise import measured_ranges, quantise
from search_spaces.export.onnx.serialise import serialise
from search_spaces.export.weights import Array, Weights, check_weights, random_inputs, random_weights
from search_spaces.graph.graph import Graph


def write_onnx(
    graph: Graph,
    *,
    weights: Weights | None = None,
    seed: int = 0,
    precision: str = "float32",
    calibration: Sequence[Sequence[Array]] | None = None,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The bytes of an ``.onnx`` file (opset 20) that computes ``graph`` for one sample.

    ``weights``: random ones from ``seed`` where ``None``. Values go in and come out as the graph has them, channels
    first, with a batch axis of 1; inputs are ``input`` (``input0``, ``input1``, ... where there are several), outputs
    have their names. Normalisation (running statistics) folds into the layer before it.

    ``precision="int8"`` writes QDQ form: inputs and outputs stay float32. Its scales come from ``calibration``, samples
    that run through the float network with ONNX Runtime: each the graph's inputs, without a batch axis; two standard
    normal samples from ``seed`` where ``None``. ``metadata``: texts by name that the file keeps beside the network.

    Raises ``ModelFileError`` for a node that ONNX cannot hold, ``WeightsError`` for weights of another graph.
    """
    check_precision("onnx", precision)
    if weights is None:
        weights = random_weights(graph, seed)
    else:
        check_weights(graph, weights)
    program = float_program(graph, weights)
    if precision == "int8":
        samples = random_inputs(graph.input_shapes, seed) if calibration is None else calibration
        program = quantise(program, measured_ranges(program, samples))
    return onnx_with_metadata(serialise(program), metadata)
