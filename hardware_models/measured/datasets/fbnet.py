"""Latencies of 5,000 FBNets for CIFAR-100 as in HW-NAS-Bench (arXiv 2103.10584) and HELP (arXiv 2106.08630)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hardware_models.measured.datasets.files import networks_by_column, read_csv, subsample
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.families.fbnet import CANDIDATES, IMPLEMENTATIONS, inverted_residual
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph

STAGES = ((16, 1, 1), (24, 4, 1), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
OPERATIONS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")


def network(operations: Sequence[int], *, num_classes: int = 100) -> Graph:
    """The network of 22 operation numbers, for images of 32 x 32."""
    b = Builder()
    x = b.input((3, 32, 32))
    x = b.act(b.norm(b.conv(x, 16, 3, padding=1)), "relu")
    chosen = iter(operations)
    for width, layers, first_stride in STAGES:
        for layer in range(layers):
            op, stride = OPERATIONS[next(chosen)], 1 if layer else first_stride
            same = stride == 1 and x.channels == width
            if op != "skip":
                x = inverted_residual(
                    b, x, width, CANDIDATES[op], stride=stride, residual=same, implementation=IMPLEMENTATIONS["timm"]
                )
            elif not same:
                x = b.act(b.norm(b.conv(x, width, 1, stride, padding=0)), "relu")
    x = b.act(b.norm(b.conv(x, 1504, 1, padding=0)), "relu")
    return b.build({"logits": b.linear(b.reshape(b.global_pool(x), (1504,)), num_classes)})


def read(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """The rows of ``fbnet_latency_help/fbnet_latency_ms.csv.gz`` by device. Raises ``HardwareError``."""
    frame = subsample(read_csv(folder / "fbnet_latency_help" / "fbnet_latency_ms.csv.gz", text=("arch",)), max_rows)
    figures = [c for c in frame.columns if c not in ("sample", "arch")]
    return networks_by_column(
        (arch, network([int(op) for op in arch.split("_")]), dict(zip(figures, values, strict=True)))
        for arch, *values in frame[["arch", *figures]].itertuples(index=False)
    )
