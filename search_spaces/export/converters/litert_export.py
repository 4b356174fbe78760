"""A graph with trained weights to ``.tflite`` by litert-torch, float32 or int8, checked against PyTorch."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from search_spaces.export.converters.exported import (
    MAX_COMPARED_SAMPLES,
    MIN_SNR_DB,
    ConversionError,
    ExportedFile,
    agreement,
    check_float,
    check_int8,
    check_path,
    check_samples,
    input_names,
    write_file,
)
from search_spaces.export.converters.litert_environment import converter_python
from search_spaces.export.converters.litert_file import file_outputs, float_operators, import_litert, to_file_layout
from search_spaces.export.metadata import tflite_with_metadata
from search_spaces.export.weights import Array, Weights, array_shapes, check_weights, random_inputs, random_weights
from search_spaces.graph.graph import Graph

WORKER = Path(__file__).with_name("litert_worker.py")
_MAX_ANSWER_BYTES = 1 << 16


def _write_request(folder: Path, graph: Graph, weights: Weights, samples: Sequence[tuple[Array, ...]] | None) -> None:
    from search_spaces.export.converters.deployed_module import with_windowed_pooling  # torch, only when it is used

    request = {"int8": samples is not None, "inputs": input_names(graph), "outputs": [n for n, _ in graph.outputs]}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    (folder / "graph.json").write_text(with_windowed_pooling(graph).to_json(), encoding="utf-8")
    arrays = {f"{i}/{name}": weights[i][name] for i, rows in array_shapes(graph).items() for name in rows}
    np.savez(folder / "weights.npz", **arrays)  # type: ignore[arg-type]
    if samples is not None:
        sample_arrays = {
            f"{n}/{i}": to_file_layout(x) for n, sample in enumerate(samples) for i, x in enumerate(sample)
        }
        np.savez(folder / "samples.npz", **sample_arrays)  # type: ignore[arg-type]


def _run_worker(python: Path, folder: Path, timeout_s: float) -> Mapping[str, Any]:
    """The worker's answer. Raises ``ConversionError`` where it fails, says nothing or takes too long."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - a checked Python, our own script, no shell
            [str(python), "-I", str(WORKER), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ConversionError(f"litert: converting took more than {timeout_s:g} s; raise timeout_s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    answer = _read_answer(folder / "answer.json")
    if "error" in answer:
        raise ConversionError(f"litert: the converter failed: {answer['error']}")
    if status != 0 or "made_by" not in answer:
        lines = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
        raise ConversionError(f"litert: the converter ended with {status}: {lines[-1][:300]}")
    return answer


def _read_answer(file: Path) -> Mapping[str, Any]:
    try:
        answer = json.loads(file.read_bytes()[:_MAX_ANSWER_BYTES]) if file.is_file() else {}
    except ValueError:
        answer = {}
    return answer if isinstance(answer, dict) else {}


def _convert(
    graph: Graph, weights: Weights, samples: Sequence[tuple[Array, ...]] | None, timeout_s: float
) -> tuple[bytes, dict[str, str]]:
    python = converter_python()
    with tempfile.TemporaryDirectory(prefix="nas-litert-") as name:
        folder = Path(name)
        _write_request(folder, graph, weights, samples)
        answer = _run_worker(python, folder, timeout_s)
        try:
            model = (folder / "model.tflite").read_bytes()
        except OSError:
            raise ConversionError("litert: the converter left no file; install it again") from None
    versions = answer["made_by"] if isinstance(answer["made_by"], dict) else {}
    return model, {str(package): str(version) for package, version in versions.items()}


def export_tflite(
    graph: Graph,
    path: str | Path,
    *,
    weights: Weights | None = None,
    seed: int = 0,
    int8: bool = False,
    samples: Sequence[Sequence[Array]] | None = None,
    min_snr_db: float = MIN_SNR_DB,
    timeout_s: float = 900.0,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> ExportedFile:
    """Convert ``graph`` with ``weights`` through litert-torch and write a ``.tflite`` file that computes one sample.

    ``weights``: random ones from ``seed`` where ``None``. Images go in and come out channels last, ``(1, height, width,
    channels)``, all else as the graph has it with a batch axis of 1, under the names that ``write_tflite`` gives them.
    ``int8``: 8-bit integers throughout by ai-edge-quantizer, inputs and outputs too; its scales are those of
    ``samples``, each the graph's inputs, channels first and without a batch axis: real ones, as many as there are.
    ``metadata``: texts by name that the file keeps beside the network.

    Before anything is written the file runs in LiteRT beside PyTorch: in float32 on ``samples`` (at most 8) and two
    standard normal inputs from ``seed``, every output within 1e-4 of its largest magnitude (``FLOAT_TOLERANCE`` says
    where more); in int8 on ``samples``, the
    signal-to-noise ratio of every output at least ``min_snr_db``.

    Raises ``WeightsError`` for another graph's weights, ``ConverterMissing`` where litert-torch is not installed,
    ``OutputsDiffer`` for a file that computes something else, ``ConversionError`` for all else that is wrong.
    """
    path = Path(path)
    check_path(path, "litert")
    import_litert()
    shapes = graph.input_shapes
    sample_arrays = check_samples(samples or [], shapes, "litert")
    if int8 and not sample_arrays:
        raise ConversionError("litert: int8 needs samples, real inputs that set the scales")
    if weights is None:
        weights = random_weights(graph, seed)
    check_weights(graph, weights)
    model, made_by = _convert(graph, weights, sample_arrays if int8 else None, timeout_s)
    precision = "int8" if int8 else "float32"
    inputs = (
        sample_arrays[:MAX_COMPARED_SAMPLES]
        if int8
        else [*sample_arrays[:MAX_COMPARED_SAMPLES], *random_inputs(shapes, seed)]
    )
    from search_spaces.export.converters.deployed_module import reference  # torch, only when it is used

    expected = reference(graph, weights, inputs, "litert")
    rows = agreement(expected.outputs, file_outputs(model, input_names(graph), shapes, inputs, precision), "litert")
    if int8:
        unquantised = sorted(set(float_operators(model)))
        if unquantised:
            raise ConversionError(
                f"litert: the quantizer left {', '.join(unquantised)} in float32; export without int8"
            )
        check_int8(rows, min_snr_db, "litert")
    else:
        check_float(rows, expected.rounding, "litert")
    write_file(path, tflite_with_metadata(model, metadata), "litert")
    return ExportedFile(path, "tflite", precision, rows, made_by)
