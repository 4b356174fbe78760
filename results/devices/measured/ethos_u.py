"""What Arm's compiler Vela estimates for random networks on Ethos-U, and models that say so without the compiler.

    python results/devices/measured/ethos_u.py measure   # adds what ethos_u.csv lacks; long, needs ethos-u-vela
    python results/devices/measured/ethos_u.py time      # how long one estimate takes, from graph to Vela's figures
    python results/devices/measured/ethos_u.py check     # fits, prints the held-out tables, draws ethos_u.png
    python results/devices/measured/ethos_u.py --write   # the same, and writes the device files

Networks are int8 with random weights. All figures are the compiler's estimates: no device was measured.
"""

from __future__ import annotations

import base64
import csv
import random
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hardware_models.device_file.header import DeviceHeader
from hardware_models.device_file.writer import write_device
from hardware_models.mac_array.array import MacArray
from hardware_models.mac_array.fit import (
    arena_per_activation,
    bytes_per_weight,
    fit_mac_array,
    mac_array_model,
)
from hardware_models.mac_array.model import MacArrayModel, MemoryRates
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from search_spaces.space.space import Space

TABLE = Path(__file__).with_suffix(".csv")
DEVICES = Path(__file__).parents[3] / "hardware_models/devices/ethos_u"
COMPILER = "ethos-u-vela 5.2.0"
SYSTEMS = {  # of Vela's Arm/vela.ini, with its clock in MHz and the bytes of weights that arrive in a cycle
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram", 500, 1.0),
    "ethos-u65": ("Ethos_U65_High_End", "Dedicated_Sram", 1000, 3.75),
}
ARRAYS = {  # block of outputs: width, height, depth; cores
    "ethos-u55-32": (1, 1, 4, 1),
    "ethos-u55-64": (1, 1, 8, 1),
    "ethos-u55-128": (2, 1, 8, 1),
    "ethos-u55-256": (2, 2, 8, 1),
    "ethos-u65-256": (2, 2, 8, 1),
    "ethos-u65-512": (2, 2, 8, 2),
}
USES = {"other": "narrower ones, other spaces", "larger": "224 and 320 px", "bar": "MobileDet backbones, 96 px"}
NETWORK = ("use", "space", "options", "architecture")
FIGURES = ("cycles", "latency_ms", "sram_kib", "outside_kib")
COLUMNS = (*NETWORK, *(f"{a} {figure}" for a in ARRAYS for figure in FIGURES))
BLOCKS = ("ibn", "ibn+fused", "ibn+fused+tucker")
MOBILEDET = "task=classify;num_classes=1000"
Row = dict[str, str]


class Drawn(NamedTuple):
    """One network: what it is for, its space with options, and its architecture in the space's notation."""

    use: str
    space: str
    options: str
    architecture: str


def opened(space: str, options: str) -> Space:
    """A space with options as the table writes them: ``image_size=96;width=0.5``."""
    given: dict[str, Any] = {}
    for pair in options.split(";"):
        name, _, text = pair.partition("=")
        given[name] = int(text) if text.isdigit() else float(text) if text.replace(".", "").isdigit() else text
    return load_space(space, **given)


def graph_of(row: Row) -> Graph:
    """The network of a row of the table."""
    space = opened(row["space"], row["options"])
    return space.graph(space.parse(row["architecture"]))


def networks() -> list[Drawn]:
    """All networks, the same on every run.

    ``fit``; ``bar``: MobileDet backbones at 96 pixels; ``other``: narrower ones and other spaces, of the kinds in the
    fit; ``larger``: images of 224 and 320 pixels, of which the fit has few.
    """
    plan: list[tuple[str, str, str, int]] = []
    for blocks in BLOCKS:
        full = f"{MOBILEDET};blocks={blocks};image_size=96"
        plan += [("bar", "mobiledet", full, 17), ("fit", "mobiledet", full, 16)]
        for width in (0.25, 0.5, 0.75):
            plan.append(("fit", "mobiledet", f"{full};width={width}", 4))
            plan.append(("other", "mobiledet", f"{full};width={width}", 2))
        for size, width in ((64, 0.5), (160, 0.35), (128, 0.35)):
            plan.append(("fit", "mobiledet", f"{MOBILEDET};blocks={blocks};image_size={size};width={width}", 2))
    for space in ("mobilenetv2", "mobilenetv3", "mobilenetv4", "mnasnet", "proxylessnas"):
        for size, width in ((96, 0.35), (128, 0.5), (96, 0.75)):
            plan.append(("fit", space, f"image_size={size};width={width}", 4))
            plan.append(("other", space, f"image_size={size};width={width}", 1))
    plan.append(("fit", "mobiledet", "task=detect;image_size=96;width=0.5", 4))
    plan.append(("other", "mobiledet", "task=detect;image_size=96;width=0.5", 2))
    half = f"{MOBILEDET};image_size=224;width=0.5"
    for space, options in (
        ("mobiledet", half),
        ("mobiledet", f"{half};blocks=ibn"),
        ("mobilenetv2", "image_size=224;width=0.5"),
    ):
        plan.append(("larger", space, options, 3))
    for space, options in (("proxylessnas", "image_size=224;width=0.35"), ("mobilenetv2", "image_size=320;width=0.35")):
        plan.append(("larger", space, options, 3))
    plan.append(("larger", "mobiledet", "task=detect;image_size=320;width=0.35", 3))
    for options in (half, f"{half};blocks=ibn", "task=detect;image_size=256;width=0.35"):
        plan.append(("fit", "mobiledet", options, 2))
    for space, size, width in (("mobilenetv2", 192, 0.5), ("mobilenetv3", 224, 0.5), ("proxylessnas", 224, 0.35)):
        plan.append(("fit", space, f"image_size={size};width={width}", 2))
    rng, drawn, seen = random.Random(55), list[Drawn](), set[tuple[str, ...]]()
    for use, name, options, count in plan:
        drawn_from = opened(name, options)
        while count:
            one = Drawn(use, name, options, drawn_from.format(drawn_from.sample(rng)))
            if one[1:] not in seen:
                seen.add(one[1:])
                drawn.append(one)
                count -= 1
    return drawn


def compiled(graph: Graph, accelerator: str) -> dict[str, str]:
    """Vela's figures for a graph as the table holds them, its operators on the CPU, CPU and wall time in seconds."""
    from evaluators.devices.runtimes import vela
    from search_spaces.export.tflite import write_tflite

    system, memory, _, _ = SYSTEMS[accelerator[:9]]
    wall, cpu = time.monotonic(), time.process_time()
    model = base64.b64encode(write_tflite(graph, precision="int8")).decode()
    answer = vela.run_benchmark({"model": model, "accelerator": accelerator, "system": system, "memory": memory})
    found = vela.parse_summary(answer["summary"])
    return {
        "cycles": f"{found['cycles']:.0f}",
        "latency_ms": f"{found['latency_ms']:.6g}",
        "sram_kib": f"{found['sram_kib']:.2f}",
        "outside_kib": f"{found['flash_kib'] + found['dram_kib']:.2f}",
        "left_to_cpu": " ".join(answer["cpu_operators"]),
        "cpu_s": f"{time.process_time() - cpu:.2f}",
        "wall_s": f"{time.monotonic() - wall:.2f}",
    }


def read_table(table: Path = TABLE) -> list[Row]:
    """The rows of the table, none where it is not there."""
    if not table.exists():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_table(rows: list[Row], table: Path = TABLE) -> None:
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measure() -> None:
    """Compile what the table lacks; it can be stopped at any time."""
    known = {tuple(r[c] for c in NETWORK): r for r in read_table()}
    rows = [known.get(one) or dict.fromkeys(COLUMNS, "") | one._asdict() for one in networks()]
    for row in rows:
        missing = [a for a in ARRAYS if not row[f"{a} cycles"]]
        for accelerator in missing:
            figures = compiled(graph_of(row), accelerator)
            if figures["left_to_cpu"]:
                raise SystemExit(f"{row['space']} {row['architecture']}: left to the CPU: {figures['left_to_cpu']}")
            row.update({f"{accelerator} {name}": figures[name] for name in FIGURES})
        if missing:
            write_table(rows)


def timed() -> None:
    """Seconds from graph to Vela's estimate for `ethos-u55-128`, on the 51 backbones."""
    found = [compiled(graph_of(row), "ethos-u55-128") for row in read_table() if row["use"] == "bar"]
    for name in ("cpu_s", "wall_s"):
        seconds = [float(figures[name]) for figures in found]
        under = sum(s < 2 for s in seconds)
        print(
            f"{name}: median {statistics.median(seconds):.2f}, worst {max(seconds):.2f}, {under} of {len(seconds)} < 2"
        )


class Learned(NamedTuple):
    """One accelerator: its model, with its errors, and what its device file says of it."""

    header: DeviceHeader
    model: MacArrayModel


def learned(accelerator: str, rows: list[Row], graphs: dict[str, Graph]) -> Learned:
    """A model from the rows for fitting, and its errors on the others."""
    system, memory, clock_mhz, weight_bytes = SYSTEMS[accelerator[:9]]
    name = accelerator.replace("-", "_")
    array = MacArray(*ARRAYS[accelerator], weight_bytes)
    about = f"Arm {accelerator.title()} as Arm's compiler estimates it, not measured"
    header = DeviceHeader(
        about,
        f"compiled by {COMPILER}, Arm/vela.ini, system config {system}, memory mode {memory}",
        batch=1,
        remarks=(
            f"{about}; {clock_mhz:g} MHz",
            "Written by results/devices/measured/ethos_u.py; errors are those on networks left out of the fit.",
        ),
    )
    fit = [row for row in rows if row["use"] == "fit"]
    known = [graphs[row["architecture"] + row["options"]] for row in fit]
    rates = fit_mac_array(known, [float(row[f"{accelerator} latency_ms"]) for row in fit], array)
    memory_rates = MemoryRates(
        bytes_per_weight(known, [float(row[f"{accelerator} outside_kib"]) for row in fit]),
        arena_per_activation(known, [float(row[f"{accelerator} sram_kib"]) for row in fit]),
    )
    errors, memory_errors = errors_of(MacArrayModel(name, 1, array, rates, memory_rates), accelerator, rows, graphs)
    rates, memory_rates = replace(rates, errors=errors), memory_rates._replace(errors=memory_errors)
    return Learned(header, mac_array_model(name, array, rates, memory_rates))


def errors_of(
    model: MacArrayModel, accelerator: str, rows: list[Row], graphs: dict[str, Graph]
) -> tuple[dict[str, float], dict[str, float]]:
    """Errors on the rows that are not in the fit: latency on the backbones, the interval and memories on all."""
    import numpy as np

    from hardware_models.measured.prediction_error import accuracy_metrics

    others = [row for row in rows if row["use"] != "fit"]
    bar = np.array([row["use"] == "bar" for row in others])
    costs = [model.estimate(graphs[row["architecture"] + row["options"]]) for row in others]
    assert not any(cost.unsupported_ops for cost in costs)
    predicted = np.array([cost.latency_ms for cost in costs])
    vela, sram, outside = [
        np.array([float(row[f"{accelerator} {name}"]) for row in others])
        for name in ("latency_ms", "sram_kib", "outside_kib")
    ]
    errors = accuracy_metrics(predicted[bar], vela[bar])
    for use in ("other", "larger"):
        chosen = np.array([row["use"] == use for row in others])
        found = accuracy_metrics(predicted[chosen], vela[chosen])
        errors |= {f"{use}_{name}": found[name] for name in ("rows", "spearman", "mape_percent")}
    off = np.abs(np.log(predicted / vela))
    alike = np.array([row["use"] != "larger" for row in others])
    errors["interval_coverage"] = round(float((off[alike] <= np.log(model.latency.factor or 1.0)).mean()), 4)
    memories: dict[str, float] = {}
    for name, true in (("weights", outside), ("peak_memory", sram)):
        found = accuracy_metrics(np.array([float(cost.metric(f"{name}_kib") or 0) for cost in costs]), true)
        memories |= {f"{name}_{key}": found[key] for key in ("spearman", "mape_percent", "within_10_percent")}
    return errors, memories


def check(write: bool) -> None:
    """Fit all accelerators, print their errors, draw them, and write the device files if asked to."""
    rows = read_table()
    graphs = {row["architecture"] + row["options"]: graph_of(row) for row in rows}
    found = {accelerator: learned(accelerator, rows, graphs) for accelerator in ARRAYS}
    for accelerator, one in found.items():
        latency, memory = one.model.latency, one.model.memory_rates
        print(accelerator, f"factor {latency.factor:.4f}", latency.errors, memory.errors, flush=True)
        if write:
            write_device(DEVICES / f"{one.model.name}.toml", one.header, one.model)
    draw({accelerator: one.model for accelerator, one in found.items()}, rows, graphs)


def draw(models: dict[str, MacArrayModel], rows: list[Row], graphs: dict[str, Graph]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, plots = pyplot.subplots(2, 3, figsize=(12, 7.5), dpi=110, layout="constrained")
    for (accelerator, model), axes in zip(models.items(), plots.flat, strict=True):
        for use, label in USES.items():
            mine = [row for row in rows if row["use"] == use]
            true = [float(row[f"{accelerator} latency_ms"]) for row in mine]
            predicted = [model.estimate(graphs[row["architecture"] + row["options"]]).latency_ms for row in mine]
            axes.scatter(true, predicted, s=10, label=label)
        ends = axes.get_xlim()
        axes.plot(ends, ends, color="#888888", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="Vela (ms)", ylabel="model (ms)")
        axes.set_title(f"{accelerator}: {len(true)} backbones not in the fit", fontsize=9)
    plots.flat[0].legend(fontsize=8)
    figure.savefig(TABLE.with_suffix(".png"))


if __name__ == "__main__":
    command = next((a for a in sys.argv[1:] if not a.startswith("-")), "check")
    if command == "measure":
        measure()
    elif command == "time":
        timed()
    else:
        check("--write" in sys.argv)
