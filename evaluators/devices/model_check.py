"""Prepares what is sent to a runtime (model file, inputs, expected outputs) and checks the outputs it returns."""

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
"""Largest difference of a float32 output from PyTorch's, relative to the output's largest magnitude."""

LOWEST_CORRELATION: Mapping[str, float] = {"float16": 0.99, "bfloat16": 0.95, "int8": 0.8}
"""Lowest correlation of an output with PyTorch's in float32, by precision.

Random weights are the hardest case for 8-bit rounding: MobileDet detectors of 220 nodes keep 0.94, classifiers more
than 0.99. An axis in the wrong place or a lost bias is near 0.
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
    """PyTorch's outputs in float32 with weights from ``seed``, by name, and those weights."""
    import torch

    from search_spaces.export.weights import weights_from_module
    from search_spaces.pytorch.module import to_module

    module = to_module(graph, seed).eval()
    with torch.inference_mode():
        result = module(*[torch.from_numpy(x) for x in inputs])
    named_outputs = result if isinstance(result, dict) else {graph.outputs[0][0]: result}
    return {name: value.numpy() for name, value in named_outputs.items()}, weights_from_module(module)


def channels_last(x: Array) -> Array:
    """A batch of images in TFLite's layout; any other array as it is."""
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def channels_first(x: Array) -> Array:
    """A batch of TFLite's images in PyTorch's layout; any other array as it is."""
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
    """``graph`` with weights from ``seed`` as a file of batch 1, with inputs and expected outputs."""
    inputs = tuple([x[None] for x in random_inputs(graph.input_shapes, seed)[0]])
    expected, weights = torch_outputs(graph, seed, inputs)
    model = write_model(graph, file_format, precision, weights, seed)
    if file_format == "tflite":
        inputs = tuple([channels_last(x) for x in inputs])
    return PreparedModel(model, inputs, expected)


def keep_model(graph: Graph, model: bytes, folder: Path | None, name: str, suffix: str) -> Path | None:
    """Write the model file into ``folder``, under the network's digest; ``None`` without a folder."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{graph.digest}-{name}.{suffix}"
    path.write_bytes(model)
    return path


def check_outputs(where: str, precision: str, expected: Mapping[str, Array], outputs: Mapping[str, Any]) -> None:
    """Raise ``OutputMismatch`` where an output differs from PyTorch's by more than the limits above."""
    import numpy as np

    for name, reference in expected.items():
        value = outputs.get(name)
        if value is None or value.shape != reference.shape:
            shape = "missing" if value is None else value.shape
            raise OutputMismatch(f"{where}: output {name!r} must be {reference.shape}, it is {shape}")
        if not np.isfinite(value).all():
            raise OutputMismatch(f"{where}: output {name!r} holds numbers that are not finite")
        scale = float(np.abs(reference).max())
        max_difference = float(np.abs(value - reference).max())
        if precision == "float32":
            if max_difference > FLOAT_TOLERANCE * scale:
                raise OutputMismatch(
                    f"{where}: output {name!r} is {max_difference:.2g} from PyTorch's, whose largest is {scale:.2g}"
                )
        else:
            _check_correlation(where, precision, name, reference, value)


def _check_correlation(where: str, precision: str, name: str, reference: Array, value: Array) -> None:
    import numpy as np

    a, b = reference.ravel().astype(np.float64), value.ravel().astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum()))
    if a.size < 3 or spread <= 1e-6 * float(np.abs(reference).max()):
        return  # a constant correlates with nothing
    lowest = LOWEST_CORRELATION[precision]
    other_norm = float(np.sqrt((b * b).sum()))
    correlation = float((a * b).sum()) / (spread * other_norm) if other_norm > 0 else 0.0
    if correlation < lowest:
        raise OutputMismatch(
            f"{where}: output {name!r} correlates {correlation:.3f} with PyTorch's, less than {lowest}"
        )
