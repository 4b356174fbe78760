"""One search of one table by one contender, and its anytime performance.

An evaluation is of a network that was not evaluated before, by its functional key; a searcher that asks for a network
again gets its losses at no cost. That holds for every contender. ``asks`` count them all: the cost of a search without
such a cache. Several evaluations in flight run in parallel in simulated time, and their outcomes come as they finish.
"""

from __future__ import annotations

import bisect
import heapq
import math
import time
from dataclasses import dataclass, field

from nas.bench.contenders import make_contender
from nas.bench.tables.table import BenchTable, Losses
from nas.candidates.pareto import dominates, hypervolume
from nas.searchers.protocol import Outcome, Searcher
from search_spaces.space.genotype import Genotype

LOSS_TOLERANCE = 1e-9


@dataclass(frozen=True)
class RunBudget:
    """The length of a run: evaluations, and at most ``asks_each`` times as many asks.

    ``in_flight``: evaluations at a time. ``idle``: asks in a row for nothing new after which a run ends.
    """

    evaluations: int = 500
    asks_each: int = 5
    in_flight: int = 1
    idle: int = 300

    def __post_init__(self) -> None:
        for name in ("evaluations", "asks_each", "in_flight", "idle"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} counts from 1, not {getattr(self, name)}")


@dataclass
class RunTrace:
    """The state of a run after each evaluation. ``value``: regret of one objective, hypervolume of two.

    The regret is how far the test loss of the best network so far, by the search's own loss, is above the least test
    loss. ``reached``: the evaluation after which nothing better can be found, where the run ends; ``None``: never.
    ``seconds``: simulated; ``nan`` where the table has no times. ``overhead_s``: the searcher's own time for ``asks``
    asks and as many tells.
    """

    value: list[float] = field(default_factory=list)
    asks_at: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    front: list[Losses] = field(default_factory=list)
    asks: int = 0
    overhead_s: float = 0.0
    reached: int | None = None

    @property
    def evaluations(self) -> int:
        return len(self.value)

    def checkpoint_index(self, evaluations: int) -> int:
        """The index in the lists after that many evaluations, or the last one if there were fewer."""
        return min(evaluations, len(self.value)) - 1

    def without_cache(self, asks: int) -> float:
        """The value after that many asks, each of them paid; ``nan`` where the first evaluation had not ended."""
        index = bisect.bisect_right(self.asks_at, asks) - 1
        return self.value[index] if index >= 0 else math.nan


class _BestSoFar:
    """The best networks so far, as a value of ``RunTrace``."""

    def __init__(self, table: BenchTable) -> None:
        self._table = table
        self._optimum = table.optimum
        self._least_loss = math.inf
        self.front: list[Losses] = []
        self.value = math.inf if len(table.objectives) == 1 else 0.0

    def add(self, genotype: Genotype, losses: Losses) -> bool:
        """Add an evaluation; whether nothing better can be found after it."""
        if len(losses) == 1:
            if losses[0] < self._least_loss:
                self._least_loss = losses[0]
                self.value = self._table.test_losses(genotype)[0] - self._optimum.least_test_loss
            return self._least_loss <= self._optimum.least + LOSS_TOLERANCE
        if any(dominates(other, losses) or other == losses for other in self.front):
            return False
        self.front = [*(other for other in self.front if not dominates(losses, other)), losses]
        self.value = hypervolume(self.front, self._optimum.reference)
        return self._optimum.exact and self.value >= self._optimum.hypervolume * (1 - LOSS_TOLERANCE)


def run_search(table: BenchTable, searcher: Searcher, run_budget: RunBudget) -> RunTrace:
    """Run a searcher on a table until its budget is spent, or until nothing better can be found."""
    trace, progress = RunTrace(), _BestSoFar(table)
    max_evaluations = run_budget.evaluations if table.networks is None else min(run_budget.evaluations, table.networks)
    evaluated: dict[str, Losses] = {}
    running: list[tuple[float, int, str, Genotype]] = []
    waiting: dict[str, list[Genotype]] = {}  # by network in flight, the genotypes asked for since
    now, started, idle, has_times = 0.0, 0, 0, True
    max_asks = run_budget.asks_each * run_budget.evaluations

    def ask() -> Genotype:
        before = time.perf_counter()
        genotype = searcher.ask()
        trace.overhead_s += time.perf_counter() - before
        return genotype

    def tell(genotype: Genotype, losses: Losses) -> None:
        before = time.perf_counter()
        searcher.tell(Outcome(genotype, losses))
        trace.overhead_s += time.perf_counter() - before

    while True:
        while (
            len(running) < run_budget.in_flight
            and started < max_evaluations
            and trace.asks < max_asks
            and idle < run_budget.idle
        ):
            genotype = ask()
            trace.asks += 1
            key = table.featurize(genotype).key
            idle += 1
            if key in evaluated:
                tell(genotype, evaluated[key])
            elif key in waiting:
                waiting[key].append(genotype)
            else:
                waiting[key] = []
                started, idle = started + 1, 0
                heapq.heappush(running, (now + _simulated_seconds(table, genotype), started, key, genotype))
        if not running:
            return trace
        now, _, key, genotype = heapq.heappop(running)
        evaluated[key] = losses = table.losses(genotype)
        has_times = has_times and not math.isnan(table.seconds(genotype))
        for of_network in (genotype, *waiting.pop(key)):
            tell(of_network, losses)
        finished = progress.add(genotype, losses)
        trace.value.append(progress.value)
        trace.asks_at.append(trace.asks)
        trace.seconds.append(now if has_times else math.nan)
        if finished:
            trace.reached = trace.evaluations
        trace.front = progress.front
        if finished:
            return trace


def _simulated_seconds(table: BenchTable, genotype: Genotype) -> float:
    """Simulated seconds; where the table has no times, all trainings take equally long."""
    seconds = table.seconds(genotype)
    return 1.0 if math.isnan(seconds) else seconds


def run_contender(table: BenchTable, name: str, seed: int, run_budget: RunBudget) -> RunTrace:
    """One contender on one table with one seed; deterministic but for ``overhead_s``."""
    return run_search(table, make_contender(name, table, seed), run_budget)
