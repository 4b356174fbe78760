"""The same networks with the same weights by both ways into a ``.tflite`` file: our writer, and litert-torch.

    python results/export/conversion_paths.py [FOLDER]     # keeps converted files in FOLDER, converts the missing ones

Needs the converter: ``python -m search_spaces.export.converters --install``. Writes
results/export/conversion_paths.csv. Weights are random, normalisation statistics are nine tenths those of 8 standard
normal images, which also set the scales of int8.
"""

from __future__ import annotations

import base64
import csv
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from evaluators.devices.runtimes import vela
from search_spaces.catalog import load_network
from search_spaces.export.converters import export_tflite
from search_spaces.export.converters.deployed_module import module_outputs, module_with_weights
from search_spaces.export.converters.exported import agreement
from search_spaces.export.converters.litert_file import file_outputs, operators
from search_spaces.export.tflite import write_tflite
from search_spaces.export.weights import Array, Weights, random_inputs, weights_from_module
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import to_module

NETWORKS = {
    "mobilenetv2": 160,
    "mobilenetv3_large": 160,
    "mobiledet_dsp": 192,
    "leyolo_nano": 192,
    "emo_1m": 160,
    "mobilenetv4_conv_small": 160,
}
MOVES = ("RESHAPE", "TRANSPOSE", "QUANTIZE")  # layout and scale, no arithmetic of the network
ROUNDS, WARM = 200, 10
VELA = {"accelerator": "ethos-u55-128", "system": "Ethos_U55_High_End_Embedded", "memory": "Shared_Sram"}
COLUMNS = [
    *("network", "image_size", "precision", "operators_ours", "operators_converter"),
    *("ours_minus_converter", "moves_ours_minus_converter", "shapes_only_ours", "shapes_only_converter"),
    *("largest_error_ours", "largest_error_converter"),
    *("least_snr_db_ours", "least_snr_db_converter", "least_snr_db_between"),
    *("latency_ratio", "latency_ratio_first_half", "latency_ratio_second_half", "kib_ours", "kib_converter"),
    *("vela_cycles_ratio", "vela_left_to_cpu_ours", "vela_left_to_cpu_converter"),
]
OUT = Path(__file__).with_suffix(".csv")


def trained(graph: Graph, samples: list[tuple[Array, ...]]) -> Weights:
    """Weights from seed 0 with nine tenths of the samples' normalisation statistics, much as a training leaves them."""
    module = to_module(graph, 0).train()
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = 0.9
    with torch.no_grad():
        module(torch.from_numpy(np.stack([sample[0] for sample in samples])))
    return weights_from_module(module.eval())


def shapes(model: bytes) -> Counter[tuple[str, tuple[int, ...]]]:
    """Operators with the shapes that they make, but for moves."""
    subgraph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0)).subgraphs[0]
    rows = zip(operators(model), subgraph.operators, strict=True)
    return Counter((n, tuple(subgraph.tensors[o.outputs[0]].shape)) for n, o in rows if n not in MOVES)


def difference(ours: Counter[str], theirs: Counter[str]) -> str:
    """``ADD +8`` for eight more by our writer."""
    rows = [(name, ours[name] - theirs[name]) for name in sorted(ours | theirs)]
    return " ".join(f"{name} {count:+d}" for name, count in rows if count) or "none"


def timed_ratio(ours: bytes, theirs: bytes) -> tuple[float, float, float]:
    """Time of the converter's file over that of ours, one thread, side by side: of all rounds, and of each half.

    The 10 % quantile of each: other work of the machine only adds.
    """
    loaded = []
    for model in (ours, theirs):
        interpreter = Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
        loaded.append(interpreter)
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + WARM):
        for place in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            loaded[place].invoke()
            if number >= WARM:
                took[place].append(time.perf_counter() - started)

    def ratio(rounds: slice) -> float:
        mine, other = [statistics.quantiles(times[rounds], n=10)[0] for times in took]
        return other / mine

    return ratio(slice(None)), ratio(slice(ROUNDS // 2)), ratio(slice(ROUNDS // 2, None))


def vela_cycles(model: bytes) -> tuple[float, int]:
    """Total cycles by Vela, and how many operators it leaves to the processor."""
    answer = vela.run_benchmark({"model": base64.b64encode(model).decode(), **VELA})
    return vela.parse_summary(answer["summary"])["cycles"], len(answer["cpu_operators"])


def converted(graph: Graph, path: Path, weights: Weights, samples: list[tuple[Array, ...]], int8: bool) -> bytes:
    if not path.is_file():
        export_tflite(graph, path, weights=weights, int8=int8, samples=samples, min_snr_db=-100.0, timeout_s=1800)
    return path.read_bytes()


def compare(name: str, size: int, precision: str, folder: Path) -> dict[str, object]:
    graph = load_network(name, image_size=size)
    samples = random_inputs(graph.input_shapes, 0, 8)
    weights = trained(graph, samples)
    ours = write_tflite(graph, precision=precision, weights=weights, calibration=samples)
    path = folder / f"{name}_{size}_{precision}.tflite"
    theirs = converted(graph, path, weights, samples, precision == "int8")
    module = module_with_weights(graph, weights)
    inputs = random_inputs(graph.input_shapes, 1, 2)
    expected = [module_outputs(module, sample) for sample in inputs]
    made = {
        "ours": _outputs(graph, ours, inputs),
        "theirs": file_outputs(theirs, ["input"], graph.input_shapes, inputs, precision),
    }
    found = {key: agreement(expected, value, key) for key, value in made.items()}
    between = agreement(made["theirs"], made["ours"], "both")
    counts = [Counter(operators(model)) for model in (ours, theirs)]
    apart = shapes(ours), shapes(theirs)
    whole, first, second = timed_ratio(ours, theirs)
    row: dict[str, object] = {
        "network": name,
        "image_size": size,
        "precision": precision,
        "operators_ours": sum(counts[0].values()),
        "operators_converter": sum(counts[1].values()),
        "ours_minus_converter": difference(*[Counter({k: v for k, v in c.items() if k not in MOVES}) for c in counts]),
        "moves_ours_minus_converter": difference(*[Counter({k: c[k] for k in MOVES}) for c in counts]),
        "shapes_only_ours": sum((apart[0] - apart[1]).values()),
        "shapes_only_converter": sum((apart[1] - apart[0]).values()),
        "largest_error_ours": f"{max(a.largest_error for a in found['ours']):.2e}",
        "largest_error_converter": f"{max(a.largest_error for a in found['theirs']):.2e}",
        "least_snr_db_ours": f"{min(a.snr_db for a in found['ours']):.1f}",
        "least_snr_db_converter": f"{min(a.snr_db for a in found['theirs']):.1f}",
        "least_snr_db_between": f"{min(a.snr_db for a in between):.1f}",
        "latency_ratio": f"{whole:.3f}",
        "latency_ratio_first_half": f"{first:.3f}",
        "latency_ratio_second_half": f"{second:.3f}",
        "kib_ours": f"{len(ours) / 1024:.0f}",
        "kib_converter": f"{len(theirs) / 1024:.0f}",
    }
    if precision == "int8":
        (mine, mine_left), (other, other_left) = vela_cycles(ours), vela_cycles(theirs)
        row |= {
            "vela_cycles_ratio": f"{other / mine:.4f}",
            "vela_left_to_cpu_ours": mine_left,
            "vela_left_to_cpu_converter": other_left,
        }
    return row


def _outputs(graph: Graph, model: bytes, inputs: list[tuple[Array, ...]]) -> list[dict[str, Array]]:
    """What a file of our writer makes: it has names on tensors, no signature."""
    loaded = Interpreter(model_content=model, num_threads=1)
    loaded.allocate_tensors()
    (place,) = loaded.get_input_details()
    made = []
    for (x,) in inputs:
        fed = x.transpose(1, 2, 0)[None]
        scale, zero = place["quantization"]
        if place["dtype"] == np.int8:
            fed = np.clip(np.rint(fed / scale) + zero, -128, 127).astype(np.int8)
        loaded.set_tensor(place["index"], np.ascontiguousarray(fed))
        loaded.invoke()
        row = {}
        for detail in loaded.get_output_details():
            y = loaded.get_tensor(detail["index"])[0]
            scale, zero = detail["quantization"]
            y = ((y.astype(np.float64) - zero) * scale).astype(np.float32) if y.dtype == np.int8 else y
            row[detail["name"]] = y.transpose(2, 0, 1) if y.ndim == 3 else y
        made.append(row)
    return made


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    with OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for name, size in NETWORKS.items():
            for precision in ("float32", "int8"):
                row = compare(name, size, precision, folder)
                writer.writerow(row)
                file.flush()
                print(row, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
