"""Converts one network with litert-torch. A script for the converter's own environment, which has no ``nas``.

    python -I litert_worker.py FOLDER

FOLDER holds ``request.json``, ``graph.json``, ``weights.npz`` and, for int8, ``samples.npz``; it gets ``model.tflite``
and ``answer.json``, which has the versions of what made it, or an error. Nothing is unpickled.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("litert-torch", "ai-edge-quantizer", "litert-converter", "torch")
SIGNATURE = "serving_default"
ALIGNMENT = 16  # of constants, as TFLite's schema asks for


def load_package(folder: Path) -> None:
    """Import ``search_spaces`` from its folder alone: what is installed beside it belongs to another environment."""
    spec = importlib.util.spec_from_file_location(
        "search_spaces", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["search_spaces"] = module
    spec.loader.exec_module(module)


def read_weights(file: Path) -> Any:
    """Weights out of an ``.npz`` with keys ``node/name``."""
    import numpy as np

    from search_spaces.export.weights import Weights

    by_node: dict[int, dict[str, Any]] = {}
    with np.load(file, allow_pickle=False) as arrays:
        for key in arrays.files:
            node, _, name = key.partition("/")
            by_node.setdefault(int(node), {})[name] = arrays[key]
    return Weights(by_node)


def read_samples(file: Path) -> list[dict[str, Any]]:
    """Calibration inputs by the names that the converter gives them, out of keys ``sample/input``."""
    import numpy as np

    with np.load(file, allow_pickle=False) as arrays:
        samples: list[dict[str, Any]] = []
        for key in arrays.files:
            number, _, index = key.partition("/")
            if int(number) == len(samples):
                samples.append({})
            samples[int(number)][f"args_{index}"] = arrays[key]
    return samples


def convert(folder: Path) -> bytes:
    """The float32 file of the graph and weights in ``folder``."""
    import litert_torch
    import torch

    from search_spaces.export.converters.deployed_module import DeployedModule, module_with_weights
    from search_spaces.graph.serialise import graph_from_json

    graph = graph_from_json((folder / "graph.json").read_text(encoding="utf-8"))
    module = DeployedModule(module_with_weights(graph, read_weights(folder / "weights.npz")), images_last=True).eval()
    shapes = [(*s[1:], s[0]) if len(s) == 3 else s for s in graph.input_shapes]
    inputs = tuple([torch.zeros(1, *shape) for shape in shapes])
    model: bytes = litert_torch.convert(module, inputs).model_content()
    return bytes(model)


def quantise(model: bytes, samples: Sequence[Mapping[str, Any]]) -> bytes:
    """The file with 8-bit integers throughout, inputs and outputs too; scales from ``samples``."""
    from ai_edge_quantizer import quantizer, recipe

    model_quantizer = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    ranges = model_quantizer.calibrate({SIGNATURE: list(samples)}, num_threads=1)
    quantised = model_quantizer.quantize(ranges, enable_progress_report=False).quantized_model
    return bytes(quantised)


def rename(model: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The file with the graph's names for its inputs and outputs, in the signature and as tensors."""
    import flatbuffers
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    class Builder(flatbuffers.Builder):  # type: ignore[misc]
        """Aligns constants, which the schema's own packing does not."""

        def CreateNumpyVector(self, x: Any) -> Any:
            if x.dtype.itemsize != 1:
                return super().CreateNumpyVector(x)
            raw = x.tobytes()
            self.StartVector(1, len(raw), ALIGNMENT)
            self.head -= len(raw)
            self.Bytes[self.head : self.head + len(raw)] = raw
            return self.EndVector()

    document = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for buffer in document.buffers:
        if buffer.offset > 1:  # its bytes lie behind the document, as the quantizer writes them
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    (signature,) = document.signatureDefs
    tensors = document.subgraphs[signature.subgraphIndex].tensors
    passthrough_tensors = {row.tensorIndex for row in signature.inputs}
    for names, rows in ((outputs, signature.outputs), (inputs, signature.inputs)):
        for row in rows:
            name = names[int(row.name.decode().rpartition("_")[2])].encode()
            row.name = name
            if rows is signature.inputs or row.tensorIndex not in passthrough_tensors:
                tensors[row.tensorIndex].name = name
    builder = Builder(len(model) + 1024)
    builder.Finish(document.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def convert_request(folder: Path) -> dict[str, Any]:
    """Convert what is in ``folder``; the versions of what did."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    load_package(Path(__file__).resolve().parents[2])
    model = convert(folder)
    if request["int8"]:
        model = quantise(model, read_samples(folder / "samples.npz"))
    (folder / "model.tflite").write_bytes(rename(model, request["inputs"], request["outputs"]))
    return {"made_by": {name: version(name) for name in PACKAGES}}


def main(folder: Path) -> int:
    """Write ``answer.json``; 0 where there is a file."""
    try:
        answer = convert_request(folder)
    except Exception as error:  # noqa: BLE001 - whatever the converter raises is what the answer is
        text = " ".join(str(error).split())[:500]
        answer = {"error": f"{type(error).__name__}: {text}"}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
