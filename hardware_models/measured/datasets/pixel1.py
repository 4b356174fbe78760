"""ProxylessNAS on a Pixel 1 (arXiv 1812.00332): latencies of its blocks, and of every operation of one network."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hardware_models.measured.datasets.files import read_csv
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act, inverted_bottleneck
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph

_BLOCK = re.compile(r"expanded_conv(?:_\d+)?/up_(?P<expansion>\d)-ks_(?P<kernel>\d)-st_(?P<stride>\d)-id_(?P<skip>\d)/")


def block(
    size: int, channels: int, out_channels: int, *, expansion: int, kernel: int, stride: int, residual: bool
) -> Graph:
    """One inverted bottleneck with ReLU6 on a map of ``size`` squared."""
    b = Builder()
    x = b.input((channels, size, size))
    expanded = None if expansion == 1 else channels * expansion
    return b.build(
        inverted_bottleneck(b, x, out_channels, expanded=expanded, kernel=kernel, stride=stride, residual=residual)
    )


def convolution(
    size: int, channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> Graph:
    """One convolution with normalisation and ReLU6."""
    b = Builder()
    return b.build(conv_norm_act(b, b.input((channels, size, size)), out_channels, kernel, stride, groups=groups))


def read(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """The blocks of ``proxyless_pixel_lut.csv`` that are known to be of a Pixel 1. Raises ``HardwareError``."""
    frame = read_csv(folder / "proxyless_pixel_lut" / "proxyless_pixel_lut.csv")
    rows = []
    lines: Iterable[Any] = frame[frame.table == "pixel1_mobile_trim"].head(max_rows).itertuples()
    for line in lines:
        size, before, after = int(line.h_in), int(line.c_in), int(line.c_out)
        if line.op == "expanded_conv":
            shape = {"expansion": int(line.expand), "kernel": int(line.kernel), "stride": int(line.stride)}
            graph = block(size, before, after, **shape, residual=bool(line.idskip))
        elif line.op == "Logits":
            b = Builder()
            graph = b.build(classifier(b, b.input((before, size, size)), after))
        else:
            kernel, stride = (3, 2) if line.op == "Conv" else (1, 1)
            graph = convolution(size, before, after, kernel, stride)
        rows.append(MeasuredNetwork(str(line.key), graph, float(line.mean_ms), part=True))
    return {"pixel1": rows}


# Widths behind each block of ProxylessNAS-Mobile (arXiv 1812.00332, fig. 4), whose profile does not name them
_WIDTHS = (16, 32, 32, *(40,) * 4, *(80,) * 4, *(96,) * 4, *(192,) * 4, 320)


def read_profile(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """The convolutions and sums of ``proxyless_mobile_tflite_perop.csv``, each as a graph. ``HardwareError``."""
    frame = read_csv(folder / "proxyless_pixel_lut" / "proxyless_mobile_tflite_perop.csv")
    size, width, expanded, number, rows = 112, 32, 32, -1, []
    lines: Iterable[Any] = frame.itertuples()
    for line in lines:
        name = str(line.name).removeprefix("MNasNet/")
        match = _BLOCK.match(name)
        graph: Graph | None = None
        if match is None:
            if name.startswith("Conv/"):
                graph = convolution(224, 3, 32, 3, 2)
            elif name.startswith("Conv_1/"):
                graph = convolution(size, width, 1280)
        else:
            expansion, kernel, stride = (int(match[n]) for n in ("expansion", "kernel", "stride"))
            part = name.removeprefix(match[0])
            if part.startswith("expand/") or (expansion == 1 and part.startswith("depthwise/")):
                number += 1
                expanded = width * expansion
            if part.startswith("expand/"):
                graph = convolution(size, width, expanded)
            elif part.startswith("depthwise/"):
                graph = convolution(size, expanded, expanded, kernel, stride, groups=expanded)
                size //= stride
            elif part.startswith("project/"):
                graph = convolution(size, expanded, _WIDTHS[number])
                width = _WIDTHS[number]
            elif part.startswith("add"):
                graph = _sum(width, size)
        if graph is not None:
            rows.append(MeasuredNetwork(f"{line.order} {name}", graph, float(line.avg_ms), part=True))
    return {"pixel1": rows[:max_rows]}


def _sum(channels: int, size: int) -> Graph:
    b = Builder()
    x: Tensor = b.input((channels, size, size))
    return b.build(b.add(x, b.input((channels, size, size))))
