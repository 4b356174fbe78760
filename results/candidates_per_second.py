"""Candidates a second on one core: sampled, built, hashed and costed. `python results/candidates_per_second.py`.

Two ways of drawing (independent samples, a mutation chain), each with all of the work and with the parts of it left
out, and the same work without shared pieces (every node on its own) for comparison, side by side in one process.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import csv
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nas

ROUNDS, CANDIDATES, NODEWISE = 7, 1500, 100


def main() -> None:
    space, hardware = nas.load_space("mobiledet"), nas.load_hardware("edgetpu")
    rng = random.Random(0)
    chain = [space.sample(rng)]

    def sample() -> nas.Graph:
        return space.graph(space.sample(rng))

    def mutate() -> nas.Graph:
        chain[0] = space.mutate(chain[0], rng)
        return space.graph(chain[0])

    def nodewise() -> nas.Graph:
        return nas.Graph.from_json(sample().to_json())

    def cost(graph: nas.Graph) -> None:
        nas.functional_hash(graph)
        _ = hardware.estimate(graph).latency_ms, graph.macs, graph.params

    def whole(draw: Callable[[], nas.Graph]) -> Callable[[], None]:
        return lambda: cost(draw())

    jobs: dict[str, tuple[Callable[[], object], int]] = {
        "sample + build": (sample, CANDIDATES),
        "sample + build + hash": (lambda: nas.functional_hash(sample()), CANDIDATES),
        "sample + build + hash + cost": (whole(sample), CANDIDATES),
        "mutate + build": (mutate, CANDIDATES),
        "mutate + build + hash": (lambda: nas.functional_hash(mutate()), CANDIDATES),
        "mutate + build + hash + cost": (whole(mutate), CANDIDATES),
        "sample + build + hash + cost, node by node": (whole(nodewise), NODEWISE),
    }
    for _ in range(4000):  # fill the memos, as the first seconds of a search do
        cost(sample())
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, (job, count) in jobs.items():
            started = time.process_time()
            for _ in range(count):
                job()
            rates[name].append(count / (time.process_time() - started))
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".csv")
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["work", "median_per_second", "best_per_second"])
        for name, values in rates.items():
            writer.writerow([name, round(statistics.median(values)), round(max(values))])
            print(f"{name:<45} {statistics.median(values):8.0f}/s median {max(values):8.0f}/s best")


if __name__ == "__main__":
    main()
