"""100 random MobileDets on this processor's ONNX Runtime: a model from 30 of them, chosen to inform, checked on 70.

    python results/devices/measured/local_onnxruntime.py [ADDRESS] [IMAGE_SIZE]      # onnxruntime?threads=1, 320
    python results/devices/measured/local_onnxruntime.py check                       # what was measured before

Measures into local_onnxruntime.csv beside this file, which also says on which processor. The order of the measurements
is random, so that drift of the clock falls on both parts alike.
"""

from __future__ import annotations

import csv
import platform
import random
import sys
from pathlib import Path

import numpy as np

from evaluators.devices.catalog import open_device
from hardware_models.calibrate import calibrate, check_model, source_devices
from hardware_models.measured.latency_csv import read_measured_networks
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.transfer.fit import network_pool, select_measurements
from search_spaces.catalog import load_space

NETWORKS, FITTED = 100, 30
OUT = Path(__file__).with_suffix(".csv")


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def measure(address: str = "onnxruntime?threads=1", image_size: str = "320") -> None:
    space, rng = load_space("mobiledet", image_size=int(image_size)), random.Random(100)
    texts = list(dict.fromkeys(space.format(space.sample(rng)) for _ in range(NETWORKS + 5)))[:NETWORKS]
    device = open_device(address)
    with OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["space", "options", "architecture", "latency_ms", "std_ms", "device", "processor"])
        for number, text in enumerate(rng.sample(texts, NETWORKS)):
            found = device.measure(space.graph(space.parse(text)))
            figures = [f"{found.latency_ms:.4f}", f"{found.std_ms:.4f}", address, processor()]
            writer.writerow([space.name, f"image_size={image_size}", text, *figures])
            if number % 20 == 0:
                print(number, found.latency_ms, *found.warnings, flush=True)
    device.close()


def told(entries: list[MeasuredNetwork], chosen: list[int]) -> dict[str, float]:
    made = calibrate([entries[i] for i in chosen], "local")
    others = [entry for i, entry in enumerate(entries) if i not in set(chosen)]
    return {
        "transferred": float(made.kind == "transferred"),
        **check_model(made.model, others),
    }


def check_all() -> None:
    entries = read_measured_networks(OUT)
    pool = network_pool([entry.graph for entry in entries], source_devices())
    print("chosen to inform:", told(entries, select_measurements(pool, FITTED)))
    again = [told(entries, random.Random(seed).sample(range(NETWORKS), FITTED)) for seed in range(20)]
    mean = {key: round(float(np.mean([row[key] for row in again])), 4) for key in again[0]}
    print("drawn at random, mean of 20 draws:", mean)


if __name__ == "__main__":
    if sys.argv[1:2] != ["check"]:
        measure(*sys.argv[1:])
    check_all()
