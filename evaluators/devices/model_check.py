"""What is sent to a runtime: the model file, inputs, and the outputs that PyTorch computes from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.devices.device import CannotRun, OutputMismatch
from search_spaces.export.errors import ModelFileError
from search_spaces.export.weights import Array, Weights, random_inputs
from search_spaces.graph.graph import Graph

FLOAT_TOLERANCE = 1e-3
"""Largest difference of a float32 output from PyTorch's, as a share of the output's largest magnitude."""

LOWEST_CORRELATION: Mapping[str, float] = {"float16": 0.99, "bfloat16": 0.95, "int8": 0.8}
"""Lowest correlation of an output with PyTorch's in float32, by precision.

Random weights leave the rounding of 8 bits no slack: MobileDet detectors of 220 nodes keep 0.94, classifiers more than
0.99. An axis in the wrong place or a lost bias is near 0.
"""


@dataclass(frozen=True)
class PreparedModel:
    """A network for a runtime. ``inputs`` have a batch axis; in a TFLite file images are channels last.

    ``expected`` are PyTorch's outputs by name, channels first, with a batch axis.
    """

    model: bytes
    inputs: tuple[Array, ...]
    expected: Mapping[str, Array]


def torch_outputs(graph: Graph, seed: int, inputs: tuple[Array, ...]) -> tuple[dict[str, Array], Weights]:
    """What PyTorch computes in float32 with weights from ``seed``, by output, and those weights."""
    import torch

    from search_spaces.export.weights import weights_from_module
    from search_spaces.pytorch.module import to_module

    module = to_module(graph, seed).eval()
    with torch.inference_mode():
        result = module(*[torch.from_numpy(x) for x in inputs])
    named = result if isinstance(result, dict) else {graph.outputs[0][0]: result}
    return {name: value.numpy() for name, value in named.items()}, weights_from_module(module)


def channels_last(x: Array) -> Array:
    """A batch of images as TFLite has them; anything else as it is."""
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def channels_first(x: Array) -> Array:
    """A batch of TFLite's images as PyTorch has them; anything else as it is."""
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def write_model(graph: Graph, file_format: str, precision: str, weights: Weights | None, seed: int) -> bytes:
    """The model file. Raises ``CannotRun`` for a network that the format cannot hold."""
    try:
        if file_format == "tflite":
            from search_spaces.export.tflite import write_tflite

            return write_tflite(graph, precision=precision, weights=weights, seed=seed)
        from search_spaces.export.onnx import write_onnx

        return write_onnx(graph, precision=precision, weights=weights, seed=seed)
    except ModelFileError as error:
        raise CannotRun(str(error)) from None


def prepare_model(graph: Graph, file_format: str, precision: str, seed: int) -> PreparedModel:
    """``graph`` with weights from ``seed`` as a file of batch 1, and what it must compute."""
    inputs = tuple([x[None] for x in random_inputs(graph.input_shapes, seed)[0]])
    expected, weights = torch_outputs(graph, seed, inputs)
    model = write_model(graph, file_format, precision, weights, seed)
    if file_format == "tflite":
        inputs = tuple([channels_last(x) for x in inputs])
    return PreparedModel(model, inputs, expected)


def keep_model(graph: Graph, model: bytes, folder: Path | None, name: str, suffix: str) -> Path | None:
    """Write the model file into ``folder``, under the network's digest; ``None`` where there is no folder."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{graph.digest}-{name}.{suffix}"
    path.write_bytes(model)
    return path


def check_outputs(where: str, precision: str, expected: Mapping[str, Array], outputs: Mapping[str, Any]) -> None:
    """Raise ``OutputMismatch`` where an output is not PyTorch's, by the limits above."""
    import numpy

    for name, reference in expected.items():
        value = outputs.get(name)
        if value is None or value.shape != reference.shape:
            shape = "missing" if value is None else value.shape
            raise OutputMismatch(f"{where}: output {name!r} must be {reference.shape}, it is {shape}")
        if not numpy.isfinite(value).all():
            raise OutputMismatch(f"{where}: output {name!r} holds numbers that are not finite")
        scale = float(numpy.abs(reference).max())
        max_difference = float(numpy.abs(value - reference).max())
        if precision == "float32":
            if max_difference > FLOAT_TOLERANCE * scale:
                raise OutputMismatch(
                    f"{where}: output {name!r} is {max_difference:.2g} from PyTorch's, whose largest is {scale:.2g}"
                )
        else:
            _check_correlation(where, precision, name, reference, value)


def _check_correlation(where: str, precision: str, name: str, reference: Array, value: Array) -> None:
    import numpy

    a, b = reference.ravel().astype(numpy.float64), value.ravel().astype(numpy.float64)
    a, b = a - a.mean(), b - b.mean()
    spread = float(numpy.sqrt((a * a).sum()))
    if a.size < 3 or spread <= 1e-6 * float(numpy.abs(reference).max()):
        return  # a constant correlates with nothing
    lowest = LOWEST_CORRELATION[precision]
    other_norm = float(numpy.sqrt((b * b).sum()))
    correlation = float((a * b).sum()) / (spread * other_norm) if other_norm > 0 else 0.0
    if correlation < lowest:
        raise OutputMismatch(
            f"{where}: output {name!r} correlates {correlation:.3f} with PyTorch's, less than {lowest}"
        )
