"""Ten measurements of a device that no model has seen.

    python results/devices/published/few_shot_transfer.py ../shared/data [SEEDS]

Each device setting of the latencies of NAS-Bench-201 and FBNet that HELP (arXiv 2106.08630) published is the new one in
turn. The known devices are the shipped models of other chips: those of the same chip are left out at every batch. Ten
networks, drawn at random or chosen by ``select_measurements`` among 400, calibrate a model that then ranks all others.
The ceiling is a model learned from 2,500 networks of the same space and device, on networks left out of its fit.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from hardware_models.calibrate import source_devices
from hardware_models.linear.fit import FitNoise, OperationCounter
from hardware_models.linear.published_device import fit_figure
from hardware_models.measured.datasets import Reader, fbnet, nasbench201
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.transfer.fit import (
    NetworkPool,
    fit_transfer,
    pool_from_features,
    select_measurements,
)
from hardware_models.transfer.model import TransferFeatures

FloatArray = npt.NDArray[np.float64]

TEN, CANDIDATES, POOL, ROWS = 10, 400, 200, 2500
MODELS = {  # columns of the data whose devices have other names here
    "gold_6240": "xeon_gold_6240",
    "silver_4114": "xeon_silver_4114",
    "silver_4210r": "xeon_silver_4210r",
    "pixel3": "pixel3_cpu",
}
READERS: dict[str, Reader] = {
    "nasbench201": nasbench201.read_as_written,
    "nasbench201 in normal form": nasbench201.read,
    "fbnet": fbnet.read,
}


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks that were measured on a device, and what every known device says of them."""

    rows: list[MeasuredNetwork]
    signals: TransferFeatures
    table: FloatArray
    gmacs: FloatArray

    def pool(self, chosen: Sequence[int] | npt.NDArray[np.intp], chip: str) -> NetworkPool:
        """The pool of some of the networks without the models of a chip."""
        models = self.signals.models
        keep = [i for i, m in enumerate(models) if m.name.partition("_batch")[0] != chip]
        table = np.concatenate([self.table[chosen][:, keep], self.table[chosen][:, len(models) :]], 1)
        return pool_from_features(
            TransferFeatures([models[i] for i in keep], self.signals.kinds), table, self.gmacs[chosen]
        )


def features_of(networks: dict[str, list[MeasuredNetwork]]) -> TransferFeatures:
    """What is looked at in the networks of a data set."""
    counter = OperationCounter()
    graphs = {row.graph for rows in networks.values() for row in rows}
    kinds = tuple(sorted({operation.kind for graph in graphs for operation in counter.of(graph)}))
    return TransferFeatures(source_devices(), kinds)


def networks_of(rows: list[MeasuredNetwork], signals: TransferFeatures) -> Networks:
    table = np.array([signals.of(row.graph)[0] for row in rows])
    return Networks(rows, signals, table, np.array([row.graph.macs / 1e9 for row in rows]))


def chip_of(column: str) -> str:
    name, _, batch = column.rpartition("_")
    return MODELS.get(column, name if name and batch.isdecimal() and name.endswith(("ti", "x", "xp")) else column)


def one(data: Networks, measured: FloatArray, chip: str, seed: int, choice: str) -> tuple[float, float]:
    """Spearman on the networks that were not measured, and the share of them in the interval."""
    drawn = np.random.default_rng(seed).permutation(len(measured))
    candidates, others = drawn[:CANDIDATES], drawn[CANDIDATES : CANDIDATES + POOL]
    chosen = candidates[:TEN]
    if choice == "informative":
        chosen = candidates[select_measurements(data.pool(candidates, chip), TEN)]
    rest = np.setdiff1d(drawn, chosen)
    moved = fit_transfer(data.pool([*chosen, *others], chip), range(TEN), measured[chosen]).mixture
    models = data.signals.models
    weights = np.array([moved.devices.get(m.name, 0.0) for m in models])
    pairs = np.array([pair for kind in data.signals.kinds for pair in moved.counts[kind]])
    counts = np.log1p(data.table[rest][:, len(models) :] / pairs[:, 1])
    logs = moved.intercept + np.log(data.table[rest][:, : len(models)]) @ weights + counts @ pairs[:, 0]
    held = np.abs(logs - np.log(measured[rest])) <= np.log(moved.factor or 1.0)
    return float(spearmanr(logs, measured[rest]).statistic), float(held.mean())


def ceiling(data: Networks, measured: FloatArray) -> float:
    return fit_figure(data.rows, measured.tolist(), FitNoise(0.05, 0.3)).errors["spearman"]


def main() -> None:
    folder, seeds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20
    out = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(__file__).with_suffix(".csv")
    sets = {name: read(folder, ROWS) for name, read in READERS.items()}
    features = {name: features_of(networks) for name, networks in sets.items()}
    names = [f"{choice}_{figure}" for choice in ("random", "informative") for figure in ("spearman", "coverage")]
    lines: list[list[str | float]] = []
    for space in ("nasbench201", "fbnet"):
        for column in sets[space]:
            # Pixel 3's NAS-Bench-201 latencies are sums over blocks of the cells without what is dead
            name = "nasbench201 in normal form" if (space, column) == ("nasbench201", "pixel3") else space
            data = networks_of(sets[name][column], features[name])
            measured, chip = np.array([row.latency_ms for row in data.rows]), chip_of(column)
            figures: list[float] = []
            for choice in ("random", "informative"):
                found = np.array([one(data, measured, chip, seed, choice) for seed in range(seeds)])
                figures += found.mean(0).tolist()
            lines.append([space, column, *figures, ceiling(data, measured)])
            print(*lines[-1][:2], *(f"{x:.4f}" for x in lines[-1][2:]), flush=True)
        means = np.array([line[2:] for line in lines if line[0] == space], dtype=float).mean(0)
        lines.append([space, "mean", *means.tolist()])
        print(space, dict(zip([*names, "ceiling"], means.round(4).tolist(), strict=True)), flush=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["space", "device", *names, "ceiling_spearman"])
        writer.writerows([[*line[:2], *(f"{x:.4f}" for x in line[2:])] for line in lines])


if __name__ == "__main__":
    main()
