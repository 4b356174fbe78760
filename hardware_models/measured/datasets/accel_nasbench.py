"""Accel-NASBench (afzalxo/Accel-NASBench): 5,138 MnasNet-like ImageNet networks on two FPGAs, two GPUs and two TPUs."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from pathlib import Path

from hardware_models.measured.datasets.files import networks_by_column, read_csv, subsample
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act
from search_spaces.families.mnasnet import mnasnet_layer
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph

WIDTHS = (16, 24, 40, 80, 112, 192, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)


def network(expansions: Sequence[int], kernels: Sequence[int], layers: Sequence[int], squeezes: Sequence[int]) -> Graph:
    """One network from the seven numbers that each column of the data set holds."""
    b = Builder()
    x = b.act(b.norm(b.conv(b.input((3, 224, 224)), 32, 3, 2, padding=1)), "relu")
    stages = zip(WIDTHS, STRIDES, expansions, kernels, layers, squeezes, strict=True)
    for width, first_stride, expansion, kernel, depth, squeeze in stages:
        for layer in range(depth):
            x = mnasnet_layer(
                b,
                x,
                width,
                op="sepconv" if expansion == 1 else "mbconv",
                kernel=kernel,
                expansion=expansion,
                stride=1 if layer else first_stride,
                se_ratio=0.25 if squeeze else 0.0,
                skip="identity",
            )
    return b.build({"logits": classifier(b, conv_norm_act(b, x, 1280, act="relu"), 1000)})


def read(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """The rows of ``accel_nasbench/accel_nasbench.csv.gz`` by column, throughputs as ms an image. ``HardwareError``."""
    frame = subsample(
        read_csv(folder / "accel_nasbench" / "accel_nasbench.csv.gz", text=("e", "k", "l", "se")), max_rows
    )
    figures = [c for c in frame.columns if c.startswith(("latency", "throughput"))]
    return networks_by_column(
        (
            f"e{e} k{k} l{layers} se{se}",
            network(*map(_numbers, (e, k, layers, se))),
            {column: _latency_ms(column, value) for column, value in zip(figures, values, strict=True)},
        )
        for e, k, layers, se, *values in frame[["e", "k", "l", "se", *figures]].itertuples(index=False)
    )


def _latency_ms(column: str, value: float) -> float:
    if not column.startswith("throughput"):
        return value
    return 1000 / value if value > 0 else nan


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split("-")]
