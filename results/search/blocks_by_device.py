"""Which blocks a search prefers on each device: MobileDets of the front, searched with equal budget.

    python results/search/blocks_by_device.py [TRIALS]

Two objectives: predicted latency and the zero-cost score. What the score favours it favours on every device; what
differs between the rows is the device. Writes results/search/blocks_by_device.csv.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections import Counter
from pathlib import Path

import nas

DEVICES = ("edgetpu", "pixel6_edgetpu", "pixel4_dsp", "xavier_tensorrt", "pixel1_cpu", "pixel3_cpu_1thread")
SEEDS = 3
EARLY = ("block1", "block2", "block3")
LATE = ("block4", "block5", "block6", "block7")


KINDS = {"ibn": "inverted bottleneck", "fused": "fused", "tucker": "Tucker"}


def kind(value: object) -> str:
    return KINDS[str(value).partition("_")[0]]


def main(trials: str = "1000") -> None:
    rows = []
    for device in DEVICES:
        found: dict[str, Counter[str]] = {"early": Counter(), "late": Counter()}
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as folder:
                result = nas.search(
                    "mobiledet",
                    device,
                    objectives=["latency", "score"],
                    trials=int(trials),
                    train=0,
                    seed=seed,
                    references=False,
                    directory=Path(folder),
                    cache="off",
                )
            space = nas.load_space("mobiledet")
            for candidate in result.front:
                for name, value in space.parse(candidate.architecture).items():
                    stage, _, choice = name.partition(".")
                    place = "early" if stage in EARLY else "late" if stage in LATE else ""
                    if place and choice.startswith("layer") and value != "skip":
                        found[place][kind(value)] += 1
        for place, counts in found.items():
            whole = sum(counts.values())
            shares = {k: round(counts[k] / whole, 3) for k in KINDS.values()}
            rows.append({"device": device, "stages": place, "blocks": whole, **shares})
            print(rows[-1], flush=True)
    with Path(__file__).with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
