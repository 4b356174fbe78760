"""A graph with trained weights to ``.onnx`` by ``torch.onnx``'s exporter, checked against PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from search_spaces.export.converters.exported import (
    MAX_COMPARED_SAMPLES,
    ConversionError,
    ExportedFile,
    agreement,
    check_float,
    check_path,
    check_samples,
    input_names,
    write_file,
)
from search_spaces.export.metadata import onnx_with_metadata
from search_spaces.export.weights import Array, Weights, check_weights, random_inputs, random_weights
from search_spaces.graph.graph import Graph

OPSET = 20
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
MAX_FILE_BYTES = 2**31 - 2**20  # protobuf's limit


def _versions() -> dict[str, str]:
    """Versions of what exports and checks. ``ConversionError`` where one of them is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            raise ConversionError(f"onnx: exporting needs the package {name}; pip install 'nas[export]'") from None
    return versions


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """The exporter warns of its own deprecations and of torchvision's absence; none is the caller's to mend."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _exported(graph: Graph, weights: Weights) -> Any:
    """What PyTorch's exporter makes of the graph, as a ``ModelProto``."""
    import torch

    from search_spaces.export.converters.deployed_module import (  # torch, only when it is used
        DeployedModule,
        module_with_weights,
        with_windowed_pooling,
    )

    module = DeployedModule(module_with_weights(with_windowed_pooling(graph), weights), images_last=False).eval()
    inputs = tuple([torch.zeros(1, *shape) for shape in graph.input_shapes])
    try:
        with _silence_exporter(), torch.no_grad():
            program = torch.onnx.export(module, inputs, dynamo=True, opset_version=OPSET, optimize=True, verbose=False)
            assert program is not None
            return program.model_proto
    except Exception as error:  # noqa: BLE001 - the exporter raises whatever its many passes raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
        raise ConversionError(f"onnx: torch.onnx failed: {type(error).__name__}: {first[:300]}") from None


def _without_redundant_pads(onnx: Any, model: Any) -> Any:
    """The model without the Pads that pad nothing, which the module has before every average."""
    body = model.graph
    zeros = {t.name for t in body.initializer if not onnx.numpy_helper.to_array(t).any()}
    source: dict[str, str] = {}
    for index, node in reversed(list(enumerate(body.node))):
        if node.op_type == "Pad" and node.input[1] in zeros:
            source[node.output[0]] = node.input[0]
            del body.node[index]
    for node in body.node:
        node.input[:] = [source.get(i, i) for i in node.input]
    used = {i for node in body.node for i in node.input} | {v.name for v in body.output}
    for index, tensor in reversed(list(enumerate(body.initializer))):
        if tensor.name not in used:
            del body.initializer[index]
    return model


def _rename_values(onnx: Any, model: Any, graph: Graph) -> Any:
    """The model under the graph's names, every value numbered in order, without traces of the machine that made it.

    An output that is an input, a constant or another output too becomes a value of its own, by an Identity.
    """
    body = model.graph
    names = {v.name: name for v, name in zip(body.input, input_names(graph), strict=True)}
    used_names = {*names.values(), *[name for name, _ in graph.outputs]}
    for tensor in body.initializer:
        names[tensor.name] = _unused_name(tensor.name.removeprefix("module."), used_names)
    extra = []
    for value, (name, _) in zip(body.output, graph.outputs, strict=True):
        if value.name in names:
            extra.append(onnx.helper.make_node("Identity", [value.name], [f"{value.name}\0{name}"]))
            value.name = f"{value.name}\0{name}"
        names[value.name] = name
    body.node.extend(extra)
    for number, node in enumerate(body.node):
        for index, result in enumerate(node.output):
            if result and result not in names:
                suffix = f"_{index}" if index else ""
                names[result] = _unused_name(f"{node.op_type.lower()}{number}{suffix}", used_names)
        node.input[:] = [names[i] if i else "" for i in node.input]
        node.output[:] = [names[o] if o else "" for o in node.output]
        node.name = next(o for o in node.output if o)
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for row in [*body.input, *body.output, *body.initializer]:
        row.name = names[row.name]
        row.ClearField("metadata_props")
        row.ClearField("doc_string")
    for holder in (body, model):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    body.ClearField("value_info")
    body.name = "nas"
    return model


def _unused_name(name: str, used_names: set[str]) -> str:
    while name in used_names:
        name += "_"
    used_names.add(name)
    return name


def _validated_bytes(onnx: Any, model: Any, graph: Graph) -> bytes:
    """The serialised model, which onnx's checker passes, with everything in it."""
    if model.functions or any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise ConversionError("onnx: the exporter left functions or data outside the file; use a smaller network")
    if model.ByteSize() > MAX_FILE_BYTES:
        raise ConversionError("onnx: the weights do not fit one file of 2 GiB; use a smaller network")
    data: bytes = model.SerializeToString(deterministic=True)
    try:
        onnx.checker.check_model(data, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"onnx: the exported file is not valid: {str(error).splitlines()[0][:300]}") from None
    shapes = {v.name: tuple([d.dim_value for d in v.type.tensor_type.shape.dim]) for v in model.graph.output}
    expected_shapes = {name: (1, *shape) for name, shape in graph.output_shapes.items()}
    if shapes != expected_shapes:
        raise ConversionError(f"onnx: the exported file's outputs are {shapes}, not {expected_shapes}")
    return data


def onnx_outputs(data: bytes, samples: Sequence[tuple[Array, ...]]) -> list[dict[str, Array]]:
    """What ONNX Runtime makes of samples without a batch axis, on one thread; outputs by name, likewise."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names, outputs = [v.name for v in session.get_inputs()], [v.name for v in session.get_outputs()]
    result = []
    for sample in samples:
        values = session.run(None, {n: x[None] for n, x in zip(names, sample, strict=True)})
        result.append({name: y[0] for name, y in zip(outputs, values, strict=True)})
    return result


def export_onnx(
    graph: Graph,
    path: str | Path,
    *,
    weights: Weights | None = None,
    seed: int = 0,
    samples: Sequence[Sequence[Array]] | None = None,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> ExportedFile:
    """Convert ``graph`` with ``weights`` through ``torch.onnx`` and write one ``.onnx`` file (opset 20) for one sample.

    ``weights``: random ones from ``seed`` where ``None``. Values go in and come out as the graph has them, channels
    first, with a batch axis of 1, under the names that ``write_onnx`` gives them. Equal arguments make equal bytes.
    ``metadata``: texts by name that the file keeps beside the network.

    Before anything is written onnx's checker passes the file, and it runs in ONNX Runtime beside PyTorch on ``samples``
    (at most 8; each the graph's inputs, without a batch axis) and two standard normal inputs from ``seed``: every
    output is within 1e-4 of its largest magnitude (``FLOAT_TOLERANCE`` says where more).

    Raises ``WeightsError`` for another graph's weights, ``OutputsDiffer`` for a file that computes something else,
    ``ConversionError`` for all else that is wrong, a package that is not installed among them.
    """
    path = Path(path)
    check_path(path, "onnx")
    versions = _versions()
    import onnx

    checked_samples = check_samples(samples or [], graph.input_shapes, "onnx")
    if weights is None:
        weights = random_weights(graph, seed)
    check_weights(graph, weights)
    data = _validated_bytes(
        onnx, _rename_values(onnx, _without_redundant_pads(onnx, _exported(graph, weights)), graph), graph
    )
    from search_spaces.export.converters.deployed_module import reference  # torch, only when it is used

    inputs = [*checked_samples[:MAX_COMPARED_SAMPLES], *random_inputs(graph.input_shapes, seed)]
    expected = reference(graph, weights, inputs, "onnx")
    rows = agreement(expected.outputs, onnx_outputs(data, inputs), "onnx")
    check_float(rows, expected.rounding, "onnx")
    write_file(path, onnx_with_metadata(data, metadata), "onnx")
    return ExportedFile(path, "onnx", "float32", rows, versions)
