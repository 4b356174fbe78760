"""Estimates a second on one core, by kind of hardware model. `python results/speed/estimates_per_second.py`.

Every model prices the same networks, a mutation chain of the mobiledet space, made anew in each round; what it takes
to make them is measured beside it. The transferred model rests on all learned devices.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import csv
import random
import sys
import time
from pathlib import Path

import nas
from hardware_models.calibrate import source_devices
from hardware_models.catalog import load_hardware
from hardware_models.cost import HardwareModel
from hardware_models.transfer.fit import fit_transfer, network_pool
from hardware_models.transfer.model import TransferModel

ROUNDS, NETWORKS, WARM = 9, 1000, 4000


def transferred(space: nas.Space) -> HardwareModel:
    """A model from ten networks of the space; the latencies are those of another learned device."""
    import numpy as np

    rng, known = random.Random(1), load_hardware("pi5")
    graphs = [space.graph(space.sample(rng)) for _ in range(60)]
    pool = network_pool(graphs, source_devices())
    moved = fit_transfer(pool, range(10), np.array([known.estimate(g).latency_ms for g in graphs[:10]]))
    return TransferModel("ten", 1, moved.mixture, pool.signals.models)


def main() -> None:
    space = nas.load_space("mobiledet")
    models = {
        "analytic (edgetpu)": load_hardware("edgetpu"),
        "learned (zcu102)": load_hardware("zcu102"),
        "learned with energy (jetson_nano)": load_hardware("jetson_nano"),
        "transferred (ten networks)": transferred(space),
    }
    rng = random.Random(0)
    genotype = space.sample(rng)
    best = dict.fromkeys(["making the networks", *models], 0.0)
    for turn in range(ROUNDS):
        count = NETWORKS if turn else WARM  # the first round fills the memos, as the first seconds of a search do
        started, graphs = time.process_time(), []
        for _ in range(count):
            genotype = space.mutate(genotype, rng)
            graphs.append(space.graph(genotype))
        taken = {"making the networks": time.process_time() - started}
        for name, model in models.items():
            started = time.process_time()
            for graph in graphs:
                model.estimate(graph)
            taken[name] = time.process_time() - started
        if turn:
            best = {name: max(rate, count / taken[name]) for name, rate in best.items()}
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".csv")
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["work", "best_per_second", "share_of_making_the_networks"])
        for name, rate in best.items():
            writer.writerow([name, round(rate), f"{best['making the networks'] / rate:.3f}"])
            print(
                f"{name:<35} {rate:8.0f}/s, {best['making the networks'] / rate:6.3f} of the time to make the networks"
            )


if __name__ == "__main__":
    main()
