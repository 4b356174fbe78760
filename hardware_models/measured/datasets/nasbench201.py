"""Latencies of NAS-Bench-201's cells: HW-NAS-Bench and HELP (27 device settings), Raspberry Pi 5 (HW-NAS-Bench-360)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardware_models.measured.datasets.files import networks_by_column, read_csv, subsample
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.families.nasbench201 import CHOICES, EDGES, nasbench201, parse_string
from search_spaces.graph.as_written_builder import AsWrittenBuilder
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import DecisionValue
from search_spaces.space.space import Space


def _conv_norm(b: Builder, x: Tensor, channels: int, kernel: int, stride: int = 1) -> Tensor:
    return b.norm(b.conv(x, channels, kernel, stride, padding=kernel // 2))


def as_written(
    decisions: Mapping[str, DecisionValue],
    *,
    image_size: int = 32,
    num_classes: int = 10,
    channels: int = 16,
    cells: int = 5,
    input_shape: Sequence[int] = (),
    **_: Any,
) -> Graph:
    """The network that the benchmark's code runs for a cell: dead branches too, and what is computed from zeros.

    An edge ``none`` multiplies by zero, which is not counted; an operation on such a zero is counted as on the cell's
    input, for it takes as long. ``input_shape``, where given, is in place of three channels of ``image_size``.
    """
    b = AsWrittenBuilder()
    x = _conv_norm(b, b.input(input_shape or (3, image_size, image_size)), channels, 3)
    ops = dict(zip(EDGES, [decisions[name] for name in CHOICES], strict=True))
    for stage in range(3):
        if stage:
            y = b.act(_conv_norm(b, b.act(x, "relu"), channels << stage, 3, 2), "relu")
            pooled = b.pool(x, "avg", 2, 2, padding=0)
            x = b.add(b.conv(pooled, channels << stage), _conv_norm(b, y, y.channels, 3))
        for _cell_number in range(cells):
            x = _cell(b, x, ops)
    y = b.global_pool(b.act(b.norm(x), "relu"))
    return b.build({"logits": b.linear(b.reshape(y, (y.channels,)), num_classes)})


def _cell(b: Builder, x: Tensor, ops: Mapping[tuple[int, int], DecisionValue]) -> Tensor:
    values = [x]
    for target in (1, 2, 3):
        terms = []
        for source in range(target):
            op, value = ops[source, target], values[source]
            if op == "skip_connect":
                terms.append(value)
            elif op == "avg_pool_3x3":
                terms.append(b.pool(value, "avg", 3, padding=1))
            elif op != "none":
                terms.append(_conv_norm(b, b.act(value, "relu"), x.channels, 1 if op == "nor_conv_1x1" else 3))
        values.append(b.add(*terms) if terms else x)
    return values[-1]


def _read(
    folder: Path, max_rows: int, build: Callable[[Mapping[str, DecisionValue]], Graph]
) -> dict[str, list[MeasuredNetwork]]:
    latencies = read_csv(folder / "nb201_latency_help" / "nb201_latency_ms.csv.gz").set_index("arch_idx")
    strings = read_csv(folder / "nb201_accuracy" / "nb201_accuracy.csv.gz").set_index("arch_idx")["arch_str"]
    rows = []
    for number, *values in subsample(latencies, max_rows).itertuples():
        text = str(strings[number])
        # Below a hundredth of a millisecond nothing was run: cells without a path
        figures = {n: v if v >= 0.01 else float("nan") for n, v in zip(latencies.columns, values, strict=True)}
        rows.append((text, build(parse_string(text, {})), figures))
    return networks_by_column(rows)


def read_as_written(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """The cells of ``nb201_latency_help``, every operation counted that was run. Raises ``HardwareError``."""
    return _read(folder, max_rows, as_written)


def read(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """The cells of ``nb201_latency_help`` in normal form. Raises ``HardwareError``."""
    return _read(folder, max_rows, Space(nasbench201).graph)


_TASKS = {"cifar100": ((3, 32, 32), 100), "ninapro": ((1, 52, 16), 18), "darcy": ((1, 88, 88), 7744)}


def read_pi5(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """The cells of ``nb201_latency_pi5_pixel`` for CIFAR-100, one of each class of equal ones, by device and runtime.

    Raises ``HardwareError``.
    """
    frame = read_csv(folder / "nb201_latency_pi5_pixel" / "pi5_pixel_6466.csv.gz").set_index("canonical_idx")
    strings = read_csv(folder / "nb201_accuracy" / "nb201_accuracy.csv.gz").set_index("arch_idx")["arch_str"]
    columns = [c for c in frame.columns if c.endswith("__cifar100") and "_var" not in c]
    names = [column.removesuffix("__cifar100") for column in columns]
    devices = [name.removeprefix("lat_ms__") for name in names if name.startswith("lat_ms__")]
    space = Space(nasbench201, options={"num_classes": 100})
    networks: dict[str, list[MeasuredNetwork]] = {device: [] for device in devices}
    for number, *values in subsample(frame[columns], max_rows).itertuples():
        text = str(strings[number])
        graph = space.graph(parse_string(text, {}))
        figures = {name: value for name, value in zip(names, values, strict=True) if value >= 0.05}
        for device in devices:
            if f"lat_ms__{device}" in figures:
                latency_ms, energy_mj = figures[f"lat_ms__{device}"], figures.get(f"energy_mj__{device}")
                networks[device].append(MeasuredNetwork(text, graph, latency_ms, energy_mj=energy_mj))
    return networks
