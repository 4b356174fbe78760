"""Do zero-cost scores rank MobileDets as training does? `python results/search/zero_cost_vs_trained.py [NETWORKS]`.

Random MobileDets under 7 ms on `edgetpu` are trained on digits as a search trains them, each with two seeds. The rank
correlation between the seeds is the ceiling that any score could reach.
"""

from __future__ import annotations

import csv
import random
import sys
from contextlib import closing
from pathlib import Path

from scipy.stats import spearmanr

import nas
from evaluators.catalog import make_evaluator
from evaluators.evaluator import EvaluationJob
from evaluators.zero_cost.scores import SCORES, make_score
from nas.execution.executor import run_all
from nas.execution.local_processes import LocalProcessExecutor


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).with_suffix(".csv")
    space, hardware, evaluator = nas.load_space("mobiledet"), nas.load_hardware("edgetpu"), make_evaluator("digits")
    rng = random.Random(1)
    chosen = []
    while len(chosen) < count:
        genotype = space.sample(rng)
        if hardware.estimate(space.graph(genotype)).latency_ms <= 7:
            chosen.append(genotype)
    scores = {name: make_score(name) for name in SCORES}
    rows: list[dict[str, float | str]] = []
    for genotype in chosen:
        graph = space.graph(genotype)
        row: dict[str, float | str] = {
            "architecture": space.format(genotype),
            "latency_ms": round(hardware.estimate(graph).latency_ms, 4),
            "params": graph.params,
        }
        for name, score in scores.items():
            row[name] = round(score.score(space.with_options(**score.proxy).graph(genotype)), 4)
        rows.append(row)
    proxy = space.with_options(**evaluator.proxy)
    trainings = [EvaluationJob(proxy.graph(g), g, proxy, seed=seed) for seed in (0, 1) for g in chosen]
    with closing(LocalProcessExecutor(2)) as workers:
        for place, trained in run_all(workers, evaluator, trainings):
            rows[place % count][f"map_seed{place // count}"] = trained.metrics.get("map", float("nan"))
            rows[place % count][f"seconds_seed{place // count}"] = round(trained.seconds, 1)
            print(place, trained.failure or trained.metrics, flush=True)
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    quality = [(float(r["map_seed0"]) + float(r["map_seed1"])) / 2 for r in rows]
    for name in (*scores, "latency_ms", "params"):
        print(f"{name:<12} Spearman with mean mAP {spearmanr([r[name] for r in rows], quality).statistic:6.3f}")
    between = spearmanr([r["map_seed0"] for r in rows], [r["map_seed1"] for r in rows]).statistic
    print(f"seed 0 with seed 1: {between:.3f}; {evaluator.describe()}")


if __name__ == "__main__":
    main()
