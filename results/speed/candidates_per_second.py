"""Candidates a second on one core. `python results/speed/candidates_per_second.py [--million] [--only WORK] [out.csv]`.

A candidate is drawn (independently, by mutating the last one, or by aging evolution), built in normal form, hashed,
and with ``cost`` also priced; evolution is told the outcome. Every work runs for 10,000 and 100,000 candidates, with
``--million`` for 1,000,000 as well; a row is one tenth of a run, with the memory of the process at its end, so that a
rate that falls or memory that grows would show. The keys of all candidates are kept, ``keys_mib`` of that memory.

Beside it, in the same process, the same job under other samplers: pymoo's NSGA-II where pymoo is installed, Optuna's
NSGA-II and random sampler. ``asking_us`` is what drawing and telling take for each candidate, all that is not building,
hashing and pricing (which a draw of ours does itself).
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import csv
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import nas
from nas.searchers.evolution import AgingEvolution
from nas.searchers.protocol import Outcome

SPACE, HARDWARE, LIMIT_MS, POPULATION = "mobiledet", "edgetpu", 8.0, 64
SIZES, MILLION, OTHERS = (10_000, 100_000), 1_000_000, 2_000
COLUMNS = ("work", "candidates", "upto", "per_second", "asking_us", "distinct", "rss_mib", "keys_mib")

Step = Callable[[], None]


class Job:
    """Builds, hashes and prices; keeps every key, and how long it took apart from who asks."""

    def __init__(self) -> None:
        self.space, self.hardware = nas.load_space(SPACE), nas.load_hardware(HARDWARE)
        self.keys: set[int] = set()
        self.seconds = 0.0

    def see(self, graph: nas.Graph) -> None:
        self.keys.add(int(nas.functional_hash(graph)[-32:], 16))

    def losses(self, graph: nas.Graph) -> tuple[float, float]:
        self.see(graph)
        return self.hardware.estimate(graph).latency_ms, -float(graph.macs)

    def judge(self, genotype: nas.Genotype | dict[str, object]) -> tuple[float, float]:
        """The job for samplers that know nothing of spaces."""
        started = time.process_time()
        losses = self.losses(self.space.graph(genotype))  # type: ignore[arg-type]
        self.seconds += time.process_time() - started
        return losses


def by_random(job: Job, priced: bool) -> Iterator[None]:
    rng, measure = random.Random(0), job.losses if priced else job.see
    while True:
        measure(job.space.graph(job.space.sample(rng)))
        yield


def by_mutation(job: Job, priced: bool) -> Iterator[None]:
    rng, measure = random.Random(0), job.losses if priced else job.see
    genotype = job.space.sample(rng)
    while True:
        genotype = job.space.mutate(genotype, rng)
        measure(job.space.graph(genotype))
        yield


def by_evolution(job: Job, priced: bool) -> Iterator[None]:
    """Most multiply-adds within a limit on latency; without prices, most multiply-adds."""
    searcher = AgingEvolution(job.space, random.Random(0), population=POPULATION)
    while True:
        genotype = searcher.ask()
        graph = job.space.graph(genotype)
        job.see(graph)
        constraint_violation = max(0.0, job.hardware.estimate(graph).latency_ms / LIMIT_MS - 1) if priced else 0.0
        searcher.tell(Outcome(genotype, (-float(graph.macs),), constraint_violation))
        yield


def by_evolution_of_two(job: Job, priced: bool) -> Iterator[None]:
    """Latency and multiply-adds, as under the other samplers."""
    searcher = AgingEvolution(job.space, random.Random(0), population=POPULATION)
    while True:
        genotype = searcher.ask()
        searcher.tell(Outcome(genotype, job.losses(job.space.graph(genotype))))
        yield


def by_pymoo(job: Job, priced: bool) -> Iterator[None]:
    import numpy as np
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.problems.static import StaticProblem
    from pymoo.termination.max_gen import MaximumGenerationTermination

    options = list(job.space.decisions().values())
    names = list(job.space.decisions())
    problem = Problem(n_var=len(options), n_obj=2, xl=0, xu=np.array([len(o) - 1 for o in options]), vtype=int)
    repair = RoundingRepair()
    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=IntegerRandomSampling(),
        crossover=SBX(repair=repair, vtype=float),
        mutation=PM(repair=repair, vtype=float),
        eliminate_duplicates=False,
    )
    algorithm.setup(problem, termination=MaximumGenerationTermination(10**9), seed=0, verbose=False)
    while True:
        asked = algorithm.ask()
        losses = []
        for vector in asked.get("X"):
            losses.append(job.judge({n: o[int(i)] for n, o, i in zip(names, options, vector, strict=True)}))
            yield
        algorithm.evaluator.eval(StaticProblem(problem, F=np.array(losses)), asked)
        algorithm.tell(infills=asked)


def by_optuna(sampler: str) -> Callable[[Job, bool], Iterator[None]]:
    def steps(job: Job, priced: bool) -> Iterator[None]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        own = {"population_size": POPULATION} if sampler == "NSGAIISampler" else {}
        study = optuna.create_study(
            sampler=getattr(optuna.samplers, sampler)(seed=0, **own), directions=["minimize", "minimize"]
        )
        choices = job.space.decisions()
        while True:
            trial = study.ask()
            study.tell(trial, job.judge({n: trial.suggest_categorical(n, o) for n, o in choices.items()}))
            yield

    return steps


# work: (how, priced, whether it is ours)
WORKS: dict[str, tuple[Callable[[Job, bool], Iterator[None]], bool, bool]] = {
    "random": (by_random, False, True),
    "random + cost": (by_random, True, True),
    "mutation chain": (by_mutation, False, True),
    "mutation chain + cost": (by_mutation, True, True),
    "evolution": (by_evolution, False, True),
    "evolution + cost": (by_evolution, True, True),
    "evolution of two objectives + cost": (by_evolution_of_two, True, True),
    "pymoo NSGA-II + cost": (by_pymoo, True, False),
    "Optuna NSGA-II + cost": (by_optuna("NSGAIISampler"), True, False),
    "Optuna random + cost": (by_optuna("RandomSampler"), True, False),
}


def rss_mib() -> float:
    """Memory of this process; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


def keys_mib(keys: set[int]) -> float:
    return (sys.getsizeof(keys) + 44 * len(keys)) / 2**20


def run(work: str, count: int) -> Iterator[tuple[object, ...]]:
    """One row for each tenth of a run."""
    how, priced, ours = WORKS[work]
    job = Job()
    steps = how(job, priced)
    block = max(1, count // 10)
    for upto in range(block, count + 1, block):
        job.seconds, started = 0.0, time.process_time()
        for _ in range(block):
            next(steps)
        taken = time.process_time() - started
        asking = "" if ours else round((taken - job.seconds) / block * 1e6, 1)
        memory = round(rss_mib(), 1), round(keys_mib(job.keys), 1)
        yield work, count, upto, round(block / taken), asking, len(job.keys), *memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--million", action="store_true", help="1,000,000 candidates of every work of ours as well")
    parser.add_argument("--only", choices=list(WORKS), action="append", help="this work alone; may be repeated")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    sizes = (*SIZES, MILLION) if given.million else SIZES
    with given.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for work in given.only or WORKS:
            if "pymoo" in work and find_spec("pymoo") is None:
                print("pymoo is not installed; left out")
                continue
            for count in sizes if WORKS[work][2] else (OTHERS,):
                for row in run(work, count):
                    writer.writerow(row)
                    file.flush()
                print(", ".join(f"{name} {value}" for name, value in zip(COLUMNS, row, strict=True)), flush=True)


if __name__ == "__main__":
    main()
