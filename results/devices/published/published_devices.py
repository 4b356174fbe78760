"""How good the devices of published latency tables are.

    python results/devices/published/published_devices.py ../shared/data

Writes published_devices.csv, a line for each measured network with its predictions (in the fit, without that network,
without its whole family), and published_devices.md, which sums it up by device.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3]))

from hardware_models.analytic import fit
from hardware_models.catalog import device_path, load_hardware
from hardware_models.device_facts import device_facts
from hardware_models.device_file.toml_table import read_device_file
from hardware_models.linear.device_priors import SPARSE_DEVICES
from hardware_models.linear.prior import jackknife_coverage
from hardware_models.linear.sparse_device import PUBLISHED_LATENCIES_CSV, fit_sparse_device, rows_of
from hardware_models.measured.prediction_error import accuracy_metrics
from hardware_models.measured.published_latencies import family, published_latencies
from search_spaces.blocks import mobile as blocks
from search_spaces.catalog import load_network
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph

HERE = Path(__file__).parent
TOGETHER = (("coral_usb", "coral_devboard", "pixel4_edgetpu"), ("pixel6_edgetpu",))
MOBILEDETS = {
    "mobiledet_cpu": ("pixel1_cpu", 113.0),
    "mobiledet_dsp": ("pixel4_dsp", 12.3),
    "mobiledet_edgetpu": ("pixel4_edgetpu", 6.9),
    "mobiledet_gpu": ("xavier_tensorrt", 3.2),
}
BLOCKS = ("inverted bottleneck, e8 k5", "inverted bottleneck, e4 k3", "fused, e4 k3", "Tucker, 0.25 and 0.75")
SHAPES = ((160, 16), (160, 32), (80, 32), (80, 64), (40, 64))
BLOCK_DEVICES = ("pixel1_cpu", "pixel4_edgetpu", "pixel6_edgetpu", "pixel8_edgetpu", "pixel4_dsp", "xavier_tensorrt")


class Line(NamedTuple):
    """One measured network of one device, in ms."""

    device: str
    network: str
    published_ms: float
    predicted_ms: float
    without_network_ms: float
    without_family_ms: float
    kind: str


def analytic(names: Sequence[str], table: Path) -> Iterator[Line]:
    """Devices of kind ``analytic``, fitted together."""
    paths = [device_path(name) for name in names]
    subjects = [
        fit.read_fit_problem(read_device_file(p), p.stem, str(p), published_latencies(table, p.stem)) for p in paths
    ]
    _, predictions = fit.fit_and_cross_validate(subjects)
    for group in dict.fromkeys(family(p.row.name) for p in predictions):
        rest = [replace(s, rows=tuple(r for r in s.rows if family(r.name) != group)) for s in subjects]
        numbers = fit.fit_parameters(rest)
        for p in predictions:
            if family(p.row.name) == group:
                place = names.index(p.device)
                device = fit.with_parameters(subjects[place].device, numbers[place])
                without = fit.graph_work_ms(device, fit.graph_work(device, p.row.graph, p.row.host_scores))
                yield Line(p.device, p.row.name, p.row.latency_ms, p.predicted_ms, p.held_out_ms, without, "analytic")


def few(name: str, data: Path) -> Iterator[Line]:
    """A device of kind ``few_rows``; none where only parts of networks were measured."""
    fitted = fit_sparse_device(name, data)
    if SPARSE_DEVICES[name].part_readers and len(fitted.names) == len(fitted.design.latencies_ms):
        return
    for row in rows_of(fitted):
        yield Line(name, *row, "few_rows")


def summary(lines: Sequence[Line]) -> str:
    """The table of devices."""
    text = [
        "| device | rows | families | model | in sample | network left out | family left out | in a 90 % interval |",
        "|---|--:|--:|---|--:|--:|--:|--:|",
    ]
    for device in dict.fromkeys(line.device for line in lines):
        own = [line for line in lines if line.device == device]
        measured = np.array([line.published_ms for line in own])
        cells = []
        for column in ("predicted_ms", "without_network_ms", "without_family_ms"):
            found = accuracy_metrics(np.array([getattr(line, column) for line in own]), measured)
            rank = f", rank {found['spearman']:.3f}" if "spearman" in found else ""
            cells.append(f"{found['mape_percent']:.1f} %{rank}")
        held = np.array([line.without_network_ms for line in own])
        inside = f"{jackknife_coverage(held, measured):.0%}" if len(own) > 3 else ""
        families = {family(line.network) for line in own}
        cells[2] = cells[2] if len(families) > 1 else ""
        text.append(f"| {device} | {len(own)} | {len(families)} | {own[0].kind} | {' | '.join(cells)} | {inside} |")
    for name in ("note10", "v100_fp32", "v100_fp16", "v100_int8"):
        facts = device_facts(name)
        error = facts["error"]
        alone = f"{error['mape_percent']:.1f} %, rank {error['spearman']:.3f}"
        inside = f"{error['interval_coverage']:.0%}"
        text.append(f"| {name} | {error['rows']:.0f} parts | | {facts['kind']} | | {alone} | | {inside} |")
    return "\n".join(text)


def mobiledets(lines: Sequence[Line]) -> str:
    """Published MobileDets on the devices that they were searched for, and all four on each of these."""
    devices = [device for device, _ in MOBILEDETS.values()]
    models = {device: load_hardware(device) for device in devices}
    text = ["| network | own device | published ms | predicted ms | left out ms | " + " | ".join(devices) + " |"]
    text.append("|---|---|--:|--:|--:|" + "--:|" * len(devices))
    for network, (device, published) in MOBILEDETS.items():
        own = next(x for x in lines if x.device == device and x.network.startswith(network))
        cells = [f"{x:.2f} ({x / published - 1:+.0%})" for x in (own.predicted_ms, own.without_network_ms)]
        graph = load_network(network)
        cells += [f"{models[d].estimate(graph).latency_ms:.1f}" for d in devices]
        text.append(f"| {network} | {device} | {published:g} | {' | '.join(cells)} |")
    return "\n".join(text)


def block_graph(kind: str, size: int, width: int) -> Graph:
    """A 1x1 convolution and, if ``kind`` is not empty, a residual block of ``BLOCKS`` behind it."""
    b = Builder()
    x: Tensor = b.act(b.norm(b.conv(b.input((width, size, size)), width)), "relu6")
    if kind.startswith("inverted"):
        wide, kernel = (8, 5) if "e8" in kind else (4, 3)
        x = blocks.inverted_bottleneck(b, x, width, expanded=wide * width, kernel=kernel, residual=True)
    elif kind.startswith("fused"):
        x = blocks.fused_inverted_bottleneck(b, x, width, expanded=4 * width, residual=True)
    elif kind:
        ranks = {"input_rank": max(8, width // 4), "output_rank": width * 3 // 4}
        x = blocks.tucker(b, x, width, **ranks, residual=True)
    return b.build(x)


def block_table() -> str:
    """What one block adds, in ms, on each device."""
    text = ["| map | block | " + " | ".join(BLOCK_DEVICES) + " |", "|---|---|" + "--:|" * len(BLOCK_DEVICES)]
    models = [load_hardware(name) for name in BLOCK_DEVICES]
    for size, width in SHAPES:
        alone = [m.estimate(block_graph("", size, width)).latency_ms for m in models]
        for kind in BLOCKS:
            graph = block_graph(kind, size, width)
            cells = [f"{m.estimate(graph).latency_ms - a:.3g}" for m, a in zip(models, alone, strict=True)]
            text.append(f"| {size} x {size} x {width} | {kind} | {' | '.join(cells)} |")
    return "\n".join(text)


def main(data: Path) -> None:
    """Fit every device and write both files."""
    lines = [line for names in TOGETHER for line in analytic(names, data / PUBLISHED_LATENCIES_CSV)]
    lines += [line for name in SPARSE_DEVICES for line in few(name, data)]
    with (HERE / "published_devices.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Line._fields)
        writer.writerows([[f"{v:.6g}" if isinstance(v, float) else v for v in line] for line in lines])
    text = (HERE / "published_devices.md").read_text(encoding="utf-8")
    tables = {
        "devices": summary(lines),
        "mobiledets": mobiledets(lines),
        "blocks": block_table(),
    }
    for name, table in tables.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition("<!-- end -->")
        text = f"{before}<!-- {name} -->\n{table}\n<!-- end -->{after}"
    (HERE / "published_devices.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
