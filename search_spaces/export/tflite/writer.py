"""A graph as a ``.tflite`` file, in float32 or as 8-bit integers throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from search_spaces.export.errors import ModelFileError, check_precision
from search_spaces.export.metadata import tflite_with_metadata
from search_spaces.export.tflite.activation_tables import analytic_ranges
from search_spaces.export.tflite.flatbuffer import pack
from search_spaces.export.tflite.lowering import lower
from search_spaces.export.tflite.program import TfliteProgram
from search_spaces.export.tflite.quantise import quantise
from search_spaces.export.tflite.ranges import measured_ranges
from search_spaces.export.weights import Array, Weights, random_inputs
from search_spaces.graph.graph import Graph

Calibration = Sequence[Sequence[Array]] | str | None


def tflite_program(
    graph: Graph, *, precision: str, weights: Weights | None = None, seed: int = 0, calibration: Calibration = None
) -> TfliteProgram:
    """What ``write_tflite`` writes, before it is packed."""
    check_precision("tflite", precision)
    program = lower(graph, weights, seed)
    if precision == "float32":
        return program
    if calibration is None:
        calibration = "analytic" if weights is None else random_inputs(graph.input_shapes, seed)
    if isinstance(calibration, str):
        if calibration != "analytic":
            raise ModelFileError(f"tflite: calibration must be samples, 'analytic' or None, not {calibration!r}")
        return quantise(program, analytic_ranges(program))
    return quantise(program, measured_ranges(program, graph.input_shapes, calibration))


def write_tflite(
    graph: Graph,
    *,
    precision: str,
    weights: Weights | None = None,
    seed: int = 0,
    calibration: Calibration = None,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The bytes of a ``.tflite`` file that computes ``graph`` for one sample.

    ``precision``: ``"float32"`` or ``"int8"`` (inputs and outputs too). ``weights``: random ones from ``seed`` where
    ``None``. Images go in and come out channels last, ``(1, height, width, channels)``, all else as the graph has it
    with a batch axis of 1; tensors of outputs have their names. Normalisation (running statistics) folds into the layer
    before it, ReLU and ReLU6 fuse.

    ``calibration`` sets the scales of int8: a sequence of samples, each the graph's inputs, channels first and without
    a batch axis, that run through the float network; ``"analytic"`` for estimates that run nothing and suit random
    weights alone; ``None`` for that where weights are random, else for two standard normal samples from ``seed``.
    ``metadata``: texts by name that the file keeps beside the network.

    Raises ``ModelFileError`` for a node that TFLite cannot hold, ``WeightsError`` for weights of another graph.
    """
    program = tflite_program(graph, precision=precision, weights=weights, seed=seed, calibration=calibration)
    return tflite_with_metadata(pack(program), metadata)
