"""timm's weights read by name into the networks here. `python results/spaces/timm_weights.py [NAME ...]`

TIMM_PYTHON names the Python of an environment that has timm (`python -m venv /tmp/timm_env; /tmp/timm_env/bin/pip
install torch numpy safetensors pillow pyyaml huggingface_hub; /tmp/timm_env/bin/pip install --no-deps timm`). Rows go
to results/spaces/timm_weights.csv. Weights are random, computation is in float64 on one thread.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import nas  # noqa: E402

# Network here, timm's name, options; those that timm trained with TensorFlow's padding are called tf_
NETWORKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mobilenetv2", "mobilenetv2_100", {}),
    ("mobilenetv3_large", "mobilenetv3_large_100", {}),
    ("mobilenetv3_small", "mobilenetv3_small_100", {}),
    ("mobilenetv3_large_minimal", "tf_mobilenetv3_large_minimal_100", {}),
    ("mobilenetv3_small_minimal", "tf_mobilenetv3_small_minimal_100", {}),
    ("mobilenetv4_conv_small", "mobilenetv4_conv_small", {}),
    ("mobilenetv4_conv_medium", "mobilenetv4_conv_medium", {}),
    ("mobilenetv4_conv_large", "mobilenetv4_conv_large", {}),
    ("mobilenetv4_hybrid_medium", "mobilenetv4_hybrid_medium", {}),
    ("mobilenetv4_hybrid_large", "mobilenetv4_hybrid_large", {}),
    ("efficientnet_b0", "tf_efficientnet_b0", {}),
    ("efficientnet_lite0", "tf_efficientnet_lite0", {}),
    ("efficientnet_lite1", "tf_efficientnet_lite1", {}),
    ("efficientnet_lite2", "tf_efficientnet_lite2", {}),
    ("efficientnet_lite3", "tf_efficientnet_lite3", {}),
    ("efficientnet_lite4", "tf_efficientnet_lite4", {}),
    ("efficientnet_edgetpu_s", "tf_efficientnet_es", {}),
    ("efficientnet_edgetpu_m", "tf_efficientnet_em", {}),
    ("efficientnet_edgetpu_l", "tf_efficientnet_el", {}),
    ("tinynet_a", "tinynet_a", {}),
    ("tinynet_b", "tinynet_b", {}),
    ("tinynet_c", "tinynet_c", {}),
    ("tinynet_d", "tinynet_d", {}),
    ("tinynet_e", "tinynet_e", {}),
    ("mnasnet_a1", "semnasnet_100", {}),
    ("mnasnet_b1", "mnasnet_100", {}),
    ("mnasnet_small", "mnasnet_small", {}),
    ("fbnet_c", "fbnetc_100", {"implementation": "timm"}),
    ("resnet18", "resnet18", {}),
    ("resnet34", "resnet34", {}),
    ("resnet50", "resnet50", {}),
    ("resnet101", "resnet101", {}),
    ("resnet152", "resnet152", {}),
)


class Comparison(NamedTuple):
    """A row: how many tensors were read, the largest output of timm's network, and the largest difference from it."""

    network: str
    timm: str
    tensors: int
    largest_output: float
    largest_difference: float


def compare(name: str, timm: str, options: dict[str, Any], python: str) -> Comparison:
    """Read timm's random weights into a network, and run both on one input."""
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    graph = nas.load_network(name, **options)
    with tempfile.TemporaryDirectory() as folder:
        command = [python, str(HERE / "timm_outputs.py"), folder, timm, str(graph.input_shape[1])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        module = nas.load_weights(nas.to_module(graph).double(), f"timm:{timm}={folder}/{timm}.safetensors").eval()
        io = load_file(f"{folder}/{timm}.io.safetensors")
        with torch.no_grad():
            y = module(io["x"])
    tensors = sum(not key.endswith("num_batches_tracked") for key in module.state_dict())
    return Comparison(name, timm, tensors, io["y"].abs().max().item(), (y - io["y"]).abs().max().item())


def main(prefixes: list[str]) -> None:
    """Compare the networks whose names start so, all by default, and write the rows."""
    python = os.environ["TIMM_PYTHON"]
    rows = []
    for name, timm, options in NETWORKS:
        if not prefixes or name.startswith(tuple(prefixes)):
            rows.append(compare(name, timm, options, python))
            print(*rows[-1], flush=True)
    if not prefixes:
        with (HERE / "timm_weights.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(Comparison._fields)
            for row in rows:
                numbers = f"{row.largest_output:.4g}", f"{row.largest_difference:.2g}"
                writer.writerow([row.network, row.timm, row.tensors, *numbers])


if __name__ == "__main__":
    main(sys.argv[1:])
