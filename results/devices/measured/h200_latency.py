"""200 random MobileDets on a CUDA GPU: measured with CUDA graphs, then a model from 50 of them checked on the others.

    python results/devices/measured/h200_latency.py measure OUT.csv   # on the machine with the GPU
    python results/devices/measured/h200_latency.py check OUT.csv     # anywhere: the table and the picture

float16, channels last, evaluation mode, batches of 1 and 32; the median of the replays of one captured graph.
"""

from __future__ import annotations

import csv
import random
import statistics
import sys
import time
from pathlib import Path

from search_spaces.catalog import load_space
from search_spaces.space.space import Space

NETWORKS, FITTED = 200, 50
BATCHES = (1, 32)
REPLAYS = 30


def networks() -> tuple[Space, list[str]]:
    space, rng = load_space("mobiledet"), random.Random(200)
    return space, list(dict.fromkeys(space.format(space.sample(rng)) for _ in range(NETWORKS + 5)))[:NETWORKS]


def measure(out: Path) -> None:
    import torch

    from search_spaces.pytorch.module import to_module

    space, texts = networks()
    name, started = torch.cuda.get_device_name(), time.monotonic()
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["device", "torch", "space", "architecture", "batch", "latency_ms", "quartile_spread_ms"])
        for number, text in enumerate(texts):
            graph = space.graph(space.parse(text))
            module = to_module(graph, 0).eval().half().cuda().to(memory_format=torch.channels_last)
            for batch in BATCHES:
                times = replays(module, (batch, *graph.input_shape))
                quarters = statistics.quantiles(times, n=4)
                row = [name, torch.__version__, space.name, text, batch, f"{quarters[1]:.5f}"]
                writer.writerow([*row, f"{quarters[2] - quarters[0]:.5f}"])
            if number % 20 == 0:
                print(number, f"{time.monotonic() - started:.0f} s", flush=True)
            if time.monotonic() - started > 540:
                print(f"stopped after {number + 1} networks: time is up", flush=True)
                break


def replays(module, shape: tuple[int, ...]) -> list[float]:  # type: ignore[no-untyped-def]
    """Milliseconds of every replay."""
    import torch

    x = torch.randn(shape, device="cuda", dtype=torch.float16).to(memory_format=torch.channels_last)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(side):
        for _ in range(3):
            module(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        module(x)
    for _ in range(10):
        graph.replay()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(REPLAYS)]
    for start, end in events:
        start.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in events]


def check_model(measured: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from hardware_models.calibrate import calibrate
    from hardware_models.calibrate import check_model as checked
    from hardware_models.measured.network import MeasuredNetwork

    with measured.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    space = load_space("mobiledet")
    figure, plots = pyplot.subplots(1, len(BATCHES), figsize=(10, 4.5), dpi=120, layout="constrained")
    for batch, axes in zip(BATCHES, plots, strict=True):
        entries = []
        for row in rows:
            if int(row["batch"]) == batch:
                genotype = space.parse(row["architecture"])
                graph = space.graph(genotype)
                entries.append(MeasuredNetwork(row["architecture"], graph, float(row["latency_ms"]), space, genotype))
        made = calibrate(entries[:FITTED], f"h200_batch{batch}")
        model = made.model
        found = checked(model, entries[FITTED:])
        print(f"batch {batch}: {made.kind}; {len(entries) - FITTED} others: {found}")
        predicted = [model.estimate(e.graph).latency_ms for e in entries[FITTED:]]
        true = [e.latency_ms for e in entries[FITTED:]]
        axes.scatter(true, predicted, s=10)
        ends = [min(true + predicted), max(true + predicted)]
        axes.plot(ends, ends, color="#888888", linewidth=1)
        axes.set(xlabel="measured (ms)", ylabel="predicted (ms)")
        told = f"Spearman {found['spearman']:.3f}, MAPE {found['mape_percent']:.1f} %"
        axes.set_title(f"{rows[0]['device']}, batch {batch}: {told}", fontsize=9)
    figure.savefig(measured.with_suffix(".png"))


if __name__ == "__main__":
    {"measure": measure, "check": check_model}[sys.argv[1]](Path(sys.argv[2]))
