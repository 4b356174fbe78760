"""TinyNAS's operator library of an NVIDIA V100 under TensorRT (alibaba/lightweight-neural-architecture-search)."""

from __future__ import annotations

from pathlib import Path

from hardware_models.measured.datasets.files import read_csv, subsample
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph


def convolution(
    size: int, channels: int, out_channels: int, kernel: int, stride: int, *, depthwise: bool, add: bool
) -> Graph:
    """One convolution with bias; ``add`` a sum behind it, which TensorRT fuses."""
    b = Builder()
    x = b.input((channels, size, size))
    y = b.conv(x, out_channels, kernel, stride, padding=kernel // 2, groups=channels if depthwise else 1, bias=True)
    return b.build(b.add(y, b.input(y.shape)) if add else y)


def _read(folder: Path, max_rows: int, precision: str) -> dict[str, list[MeasuredNetwork]]:
    frame = read_csv(folder / "tinynas_v100_convlib" / "v100_conv_latency.csv.gz")
    frame = frame[(frame.precision_file == precision) & (frame.batch == 1) & (frame.h_in > 4)]
    columns = ["conv_type", "h_in", "c_in", "c_out", "kernel", "stride", "elmt_fused", "latency_ms"]
    rows = []
    for kind, size, channels, out_channels, kernel, stride, fused, latency_ms in subsample(frame, max_rows)[
        columns
    ].values:
        shape = (int(size), int(channels), int(out_channels), int(kernel), int(stride))
        graph = convolution(*shape, depthwise=kind == "D", add=bool(fused))
        name = f"{kind} {' '.join(map(str, shape))}"
        rows.append(MeasuredNetwork(name, graph, float(latency_ms), part=True))
    return {"v100": rows}


def read_fp32(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """Convolutions at batch 1 in float32. Raises ``HardwareError``."""
    return _read(folder, max_rows, "fp32")


def read_fp16(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """Convolutions at batch 1 in float16. Raises ``HardwareError``."""
    return _read(folder, max_rows, "fp16")


def read_int8(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """Convolutions at batch 1 in int8. Raises ``HardwareError``."""
    return _read(folder, max_rows, "int8")
