"""One search of one table by one contender, and what it had found after how much.

An evaluation is of a network that was not evaluated before, by its functional key; whatever asks for a network again
is told its losses for free. That holds for every contender. ``asks`` count them all: what a search without such a
cache pays. With several evaluations in flight they run side by side in simulated time, and are told of as they finish.
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

SAME = 1e-9


@dataclass(frozen=True)
class Plan:
    """How long a run may be: so many evaluations, at most ``asks_each`` times as many asks.

    ``in_flight``: evaluations at a time. ``idle``: who asks for nothing new so often in a row has come to its end.
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
class Trace:
    """What a run had after each evaluation. ``value``: regret of one objective, hypervolume of two.

    The regret is how far the best network that the search saw is above the least loss, both by what the table judges
    by. ``reached``: the evaluation after which nothing better can be found, where the run ends; ``None``: never.
    ``seconds``: simulated; ``nan`` where the table does not know them. ``overhead_s``: the searcher's own time for
    ``asks`` asks and as many tells.
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

    def at(self, evaluations: int) -> int:
        """The place in the lists after so many evaluations, or the last one if there were fewer."""
        return min(evaluations, len(self.value)) - 1

    def without_cache(self, asks: int) -> float:
        """The value after so many asks, each of them paid; ``nan`` where the first evaluation had not ended."""
        place = bisect.bisect_right(self.asks_at, asks) - 1
        return self.value[place] if place >= 0 else math.nan


class _Progress:
    """The best so far of a table, and its value."""

    def __init__(self, table: BenchTable) -> None:
        self._table = table
        self._goal = table.goal
        self._least = math.inf
        self.front: list[Losses] = []
        self.value = math.inf if len(table.objectives) == 1 else 0.0

    def add(self, genotype: Genotype, losses: Losses) -> bool:
        """Whether there is nothing better left to find after this one."""
        if len(losses) == 1:
            if losses[0] < self._least:
                self._least = losses[0]
                self.value = self._table.judged(genotype)[0] - self._goal.judged_least
            return self._least <= self._goal.least + SAME
        if any(dominates(other, losses) or other == losses for other in self.front):
            return False
        self.front = [*(other for other in self.front if not dominates(losses, other)), losses]
        self.value = hypervolume(self.front, self._goal.reference)
        return self._goal.exact and self.value >= self._goal.hypervolume * (1 - SAME)


def search(table: BenchTable, searcher: Searcher, plan: Plan) -> Trace:
    """Run a searcher on a table until the plan's end, or until there is nothing better to find."""
    trace, progress = Trace(), _Progress(table)
    most = plan.evaluations if table.networks is None else min(plan.evaluations, table.networks)
    known: dict[str, Losses] = {}
    running: list[tuple[float, int, str, Genotype]] = []
    again: dict[str, list[Genotype]] = {}  # of each network in flight, who asked for it since
    now, started, idle, timed_table = 0.0, 0, 0, True
    most_asks = plan.asks_each * plan.evaluations

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
        while len(running) < plan.in_flight and started < most and trace.asks < most_asks and idle < plan.idle:
            genotype = ask()
            trace.asks += 1
            key = table.look(genotype).key
            idle += 1
            if key in known:
                tell(genotype, known[key])
            elif key in again:
                again[key].append(genotype)
            else:
                again[key] = []
                started, idle = started + 1, 0
                heapq.heappush(running, (now + _duration(table, genotype), started, key, genotype))
        if not running:
            return trace
        now, _, key, genotype = heapq.heappop(running)
        known[key] = losses = table.losses(genotype)
        timed_table = timed_table and not math.isnan(table.seconds(genotype))
        for one in (genotype, *again.pop(key)):
            tell(one, losses)
        over = progress.add(genotype, losses)
        trace.value.append(progress.value)
        trace.asks_at.append(trace.asks)
        trace.seconds.append(now if timed_table else math.nan)
        if over:
            trace.reached = trace.evaluations
        trace.front = progress.front
        if over:
            return trace


def _duration(table: BenchTable, genotype: Genotype) -> float:
    """Simulated seconds; where the table does not know them, all trainings take as long."""
    seconds = table.seconds(genotype)
    return 1.0 if math.isnan(seconds) else seconds


def run_one(table: BenchTable, name: str, seed: int, plan: Plan) -> Trace:
    """One contender on one table with one seed. The same again gives the same trace, but for ``overhead_s``."""
    return search(table, make_contender(name, table, seed), plan)
