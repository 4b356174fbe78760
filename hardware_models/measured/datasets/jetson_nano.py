"""12,534 plain convolutional networks on a Jetson Nano under TensorRT: latency, energy of the GPU's and CPU's rails."""

from __future__ import annotations

from pathlib import Path

from hardware_models.measured.datasets.files import read_csv, subsample
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph


def network(layers: int, filters: int, kernels: tuple[int, ...], size: int, depthwise: bool) -> Graph:
    """``layers`` convolutions of ``filters`` channels, each with bias and ReLU, then ten classes.

    ``kernels``: one for all layers, or two that take turns. ``depthwise``: each is a depthwise and a 1x1 convolution.
    The data set's padding is kept: 1 or 2, whatever the kernel.
    """
    b = Builder()
    x = b.input((3, size, size))
    padding = 2
    for layer in range(layers):
        kernel = kernels[layer % len(kernels)]
        if len(kernels) > 1:
            padding = 1 if kernel % 2 else padding
        else:
            padding = 1 if kernel == 3 or (kernel == 1 and not depthwise) else 2
        x = _layer(b, x, filters, kernel, padding, depthwise)
    flat = x.shape[0] * x.shape[1] * x.shape[2]
    return b.build({"logits": b.linear(b.reshape(x, (flat,)), 10)})


def _layer(b: Builder, x: Tensor, filters: int, kernel: int, padding: int, depthwise: bool) -> Tensor:
    if depthwise:
        y = b.conv(x, x.channels, kernel, padding=padding, groups=x.channels, bias=True)
        return b.act(b.conv(y, filters, bias=True), "relu")
    return b.act(b.conv(x, filters, kernel, padding=padding, bias=True), "relu")


def read(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """The rows of ``jetson_nano_cnn/jetson_nano_cnn.csv.gz`` that two timings agree on within a tenth, as ``tensorrt``.

    The energy is that of the GPU's rail. Raises ``HardwareError``.
    """
    frame = read_csv(folder / "jetson_nano_cnn" / "jetson_nano_cnn.csv.gz")
    frame = frame[(frame.latency_ms / frame.latency_ms_power_run - 1).abs() < 0.1]
    columns = ["model", "layers", "filters", "k1", "k2", "input_size", "dws", "latency_ms", "gpu_energy_mj"]
    rows = []
    for model, layers, filters, k1, k2, size, depthwise, ms, mj in subsample(frame, max_rows)[columns].values:
        kernels = (int(k1),) if k2 != k2 else (int(k1), int(k2))
        graph = network(int(layers), int(filters), kernels, int(size), bool(depthwise))
        energy_mj = float(mj) if float(mj) > 0 else None
        rows.append(MeasuredNetwork(str(model), graph, float(ms), energy_mj=energy_mj))
    return {"tensorrt": [row for row in rows if row.latency_ms > 0]}
