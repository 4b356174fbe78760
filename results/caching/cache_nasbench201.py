"""What the evaluation cache saves on NAS-Bench-201, by the kind of key.

`python results/caching/cache_nasbench201.py ../shared/data/nb201_accuracy/nb201_accuracy.csv.gz [SEEDS] [OUT]`. Aging
evolution on the table's validation accuracy after 12 epochs; a "training" is a look-up, a repeat starts with an empty
cache. Writes a CSV and a picture; cache_nasbench201.md explains both.
"""

from __future__ import annotations

import csv
import random
import sys
import time
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

import nas
from evaluators.tabular import load_table
from nas.hashing import functional_hash
from nas.searchers.evolution import AgingEvolution
from nas.searchers.protocol import Outcome
from search_spaces.families.nasbench201 import CHOICES, OPERATIONS
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

COLUMNS = {"cifar100": ("mini_c100_val", "c100_test_200ep"), "cifar10": ("mini_c10_val", "c10_test_200ep")}
BUDGETS = (200, 500, 1000)
"""The last one for half of the seeds of the first data set only."""
CAP, MOST_PROPOSALS = 20, 10_000
BOOTSTRAPS = 1000
FLOP_PER_SECOND, IMAGES = 1e13, 12 * 50_000
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Setup:
    """A kind of key, and what the cache and the searcher do with it. ``label`` names it in the files."""

    label: str
    key: str
    most: int = 1
    forget: float = 0.0
    resample: int = 0
    confirm: bool = False


KEYS = (
    Setup("none", "none"),
    Setup("raw", "raw"),
    Setup("published", "published"),
    Setup("exact", "exact"),
)
POLICIES = (
    Setup("exact, M=3", "exact", most=3),
    Setup("exact, forget 0.1", "exact", forget=0.1),
    Setup("exact, resample 10", "exact", resample=10),
)
CONFIRMED, CONFIRMATIONS = 10, 3
"""So many of the best are trained so often again before the best is named; that comes out of the budget."""
CONFIRMING = (Setup("none, confirmed", "none", confirm=True), Setup("exact, confirmed", "exact", confirm=True))


@dataclass
class Bench:
    """A data set's networks: by genotype's number (``row``) the key of each kind, validation and test accuracy."""

    name: str
    row: dict[tuple[Any, ...], int]
    keys: dict[str, list[int]]
    val: list[float]
    test: list[float]
    noise: float
    spread: str

    @property
    def networks(self) -> list[int]:
        return self.keys["exact"]

    def quiet(self) -> Bench:
        """The same without training noise."""
        return replace(self, noise=0.0)


@dataclass
class Run:
    """One search. After each training: proposals so far, incumbent's test, validation and observed accuracy."""

    proposals: list[int] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    val: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    """Trainings so far of networks that had been trained ``most`` times."""
    wrong: list[tuple[int, int, int]] = field(default_factory=list)
    """Hits that gave another network's value: proposal, rows that were trained and requested."""
    mixed: list[float] = field(default_factory=list)
    """After each training, the worst test accuracy of the networks requested under the incumbent's key."""

    def done(self, budget: int) -> int:
        """Trainings paid within the budget and its cap on proposals."""
        return min(budget, self.within(cap(budget)))

    def within(self, proposals: int) -> int:
        """Trainings paid for the first so many proposals."""
        return int(np.searchsorted(self.proposals, proposals, side="right"))


def cap(budget: int) -> int:
    return min(CAP * budget, MOST_PROPOSALS)


# -- the table -------------------------------------------------------------------------------------------------------


def choices_alone() -> Space:
    """NAS-Bench-201's choices without its networks, which a look-up does not need."""
    whole = nas.load_space("nasbench201", cells=0)
    graph = whole.graph(whole.sample(random.Random(0)))

    def cell(choose: Choose) -> nas.Graph:
        for name in CHOICES:
            choose.one_of(name, OPERATIONS)
        return graph

    return Space(cell)


SPACE = choices_alone()


def numbered(names: list[str]) -> Ints:
    return np.unique(names, return_inverse=True)[1]


def class_mean(classes: Ints, values: Floats) -> Floats:
    """For each row, the mean over its class."""
    return (np.bincount(classes, values) / np.bincount(classes))[classes]


def pooled_sd(classes: Ints, values: Floats, best: float = 1.0) -> float:
    """Standard deviation within classes of at least two, pooled; of the ``best`` part of them by mean."""
    size = np.bincount(classes)
    mean = np.bincount(classes, values) / size
    squares = np.bincount(classes, (values - mean[classes]) ** 2)
    used = (size > 1) & (mean >= np.quantile(mean, 1 - best))
    return float(np.sqrt(squares[used].sum() / (size[used] - 1).sum()))


def benches(path: str) -> list[Bench]:
    table = load_table(path, "nasbench201", "arch_str")
    space = nas.load_space("nasbench201", cells=1)
    notation = space.notation
    assert notation is not None
    genotypes = [Genotype(notation.parse(text, {})) for text in table.architectures]
    rules = {"exact": "exact", "published": "nasbench201-published", "bias": "bn-bias"}
    keys = {k: numbered([functional_hash(g, space=space, rules=rule) for g in genotypes]) for k, rule in rules.items()}
    counts = {k: int(v.max()) + 1 for k, v in keys.items()}
    progress(f"keys: {counts}")
    assert (counts["exact"], counts["published"]) == (5260, 6466)
    row = {tuple(g.values()): i for i, g in enumerate(genotypes)}
    ids = {"raw": list(range(len(row))), "published": keys["published"].tolist(), "exact": keys["exact"].tolist()}
    data_sets = []
    for name, columns in COLUMNS.items():
        val, test = [np.array(table.columns[c], float) for c in columns]
        noise = pooled_sd(keys["bias"], val)
        spread = f"sd {noise:.3f}, of the best tenth of classes {pooled_sd(keys['bias'], val, 0.1):.3f}"
        means = [class_mean(keys["exact"], v).tolist() for v in (val, test)]
        data_sets.append(Bench(name, row, ids, means[0], means[1], noise, spread))
    return data_sets


# -- one search ------------------------------------------------------------------------------------------------------


class Cache:
    """Observations by key, M of them, then their mean is the answer; ``requested``: the rows under each key."""

    def __init__(self, setup: Setup, rng: random.Random) -> None:
        self.setup, self.rng = setup, rng
        self.observations: dict[int, list[float]] = {}
        self.score: dict[int, float] = {}
        self.trained: dict[int, int] = {}
        self.requested: dict[int, set[int]] = {}
        self.best = -1

    def lookup(self, key: int) -> bool:
        """Whether the answer is complete; forgets it afterwards now and then."""
        if len(self.observations.get(key, ())) < self.setup.most:
            return False
        if self.setup.forget and self.rng.random() < self.setup.forget:
            del self.observations[key]
        return True

    def add(self, key: int, row: int, value: float) -> None:
        self.trained[key] = row
        values = self.observations.setdefault(key, [])
        values.append(value)
        self.score[key] = sum(values) / len(values)
        if self.best < 0 or self.score[key] > self.score[self.best]:
            self.best = key
        elif key == self.best:  # which may have fallen behind
            self.best = max(self.score, key=self.score.__getitem__)


def search(bench: Bench, setup: Setup, seed: int, budget: int) -> Run:
    """Aging evolution until the trainings are paid for, or the proposals have come to their cap."""
    paid = budget - CONFIRMED * CONFIRMATIONS if setup.confirm else budget
    names = list(map(str, bench.networks))
    evolution = AgingEvolution(
        SPACE,
        random.Random(seed),
        population=100,
        tournament=10,
        resample=setup.resample,
        network_key=lambda genotype: names[bench.row[tuple(genotype.values())]],
    )
    noise, fresh = random.Random(f"noise {seed}"), count()
    cache, run, times = Cache(setup, random.Random(f"forget {seed}")), Run(), [0] * len(names)
    for proposal in range(1, cap(budget) + 1):
        genotype = evolution.ask()
        row = bench.row[tuple(genotype.values())]
        key = next(fresh) if setup.key == "none" else bench.keys[setup.key][row]
        cache.requested.setdefault(key, set()).add(row)
        if cache.lookup(key):
            if bench.networks[cache.trained[key]] != bench.networks[row]:
                run.wrong.append((proposal, cache.trained[key], row))
        else:
            cache.add(key, row, bench.val[row] + bench.noise * noise.gauss(0, 1))
            times[bench.networks[row]] += 1
            record(run, cache, bench, proposal, times[bench.networks[row]] > setup.most)
        evolution.tell(Outcome(genotype, (-cache.score[key],)))
        if len(run.proposals) == paid:
            break
    if setup.confirm:
        confirm(run, cache, bench, noise, proposal)
    return run


def confirm(run: Run, cache: Cache, bench: Bench, noise: random.Random, proposal: int) -> None:
    """The best are trained again, and the best by these trainings alone is the incumbent."""
    best = sorted(cache.score, key=cache.score.__getitem__, reverse=True)[:CONFIRMED]
    for key in best:
        val = bench.val[cache.trained[key]]
        cache.score[key] = sum(val + bench.noise * noise.gauss(0, 1) for _ in range(CONFIRMATIONS)) / CONFIRMATIONS
    cache.best = max(best, key=cache.score.__getitem__)
    for _ in range(CONFIRMED * CONFIRMATIONS):
        record(run, cache, bench, proposal, again=True)


def record(run: Run, cache: Cache, bench: Bench, proposal: int, again: bool) -> None:
    row = cache.trained[cache.best]
    run.proposals.append(proposal)
    run.test.append(bench.test[row])
    run.val.append(bench.val[row])
    run.seen.append(cache.score[cache.best])
    run.again.append((run.again[-1] if run.again else 0) + again)
    run.mixed.append(min(bench.test[r] for r in cache.requested[cache.best]))


# -- results -----------------------------------------------------------------------------------------------


def curves(runs: list[Run], budget: int, what: str = "test") -> Floats:
    """A row a run, a column a training; runs that came to their cap go on as they ended."""
    rows = np.empty((len(runs), budget))
    for row, run in zip(rows, runs, strict=True):
        done = run.done(budget)
        row[:done] = getattr(run, what)[:done]
        row[done:] = row[done - 1]
    return rows


def reached(curve: Floats, goal: float) -> float:
    """The first training at which the mean curve reaches the goal."""
    indices = np.flatnonzero(curve >= goal - 1e-9)
    return float(indices[0] + 1) if len(indices) else np.inf


def interval(values: list[float] | Floats) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975), method="nearest")
    return float(low), float(high)


def speed(baseline: Floats, other: Floats) -> tuple[float, float, float]:
    """How many times fewer trainings reach the baseline's mean final quality (0: never), and a 95 % interval."""

    def ratio(weights: Floats) -> float:
        base, mine = weights @ baseline, weights @ other
        return reached(base, base[-1]) / reached(mine, base[-1])

    runs = len(baseline)
    rng = np.random.default_rng(0)
    again = [ratio(np.bincount(rng.integers(0, runs, runs), minlength=runs) / runs) for _ in range(BOOTSTRAPS)]
    return (ratio(np.full(runs, 1 / runs)), *interval(again))


def mean_se(values: Floats) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def summary(bench: Bench, setup: Setup, budget: int, runs: list[Run], baseline: list[Run]) -> dict[str, Any]:
    done = np.array([run.done(budget) for run in runs])
    proposals = np.array([r.proposals[d - 1] if d == budget else cap(budget) for r, d in zip(runs, done, strict=True)])
    searched = done - CONFIRMED * CONFIRMATIONS * setup.confirm
    final = {w: curves(runs, budget, w)[:, -1] for w in ("test", "seen", "again", "mixed")}
    test, base = curves(runs, budget), curves(baseline, budget)
    paired = test[:, -1] - base[:, -1]
    rng = np.random.default_rng(0)
    low, high = interval([float(rng.choice(paired, len(paired)).mean()) for _ in range(BOOTSTRAPS)])
    (mean, se), (difference, difference_se) = mean_se(test[:, -1]), mean_se(paired)
    ratio, ratio_low, ratio_high = speed(base, test)
    val, base_val = curves(runs, budget, "val"), curves(baseline, budget, "val")
    val_difference, val_difference_se = mean_se(val[:, -1] - base_val[:, -1])
    val_ratio, val_ratio_low, val_ratio_high = speed(base_val, val)
    wrong = [[(a, b) for p, a, b in run.wrong if p <= n] for run, n in zip(runs, proposals, strict=True)]
    pairs = [{(bench.networks[a], bench.networks[b]) for a, b in hits} for hits in wrong]
    gaps = [abs(bench.val[a] - bench.val[b]) for hits in wrong for a, b in hits] or [0.0]
    return {
        "data": bench.name,
        "noise_sd": round(bench.noise, 3),
        "key": setup.label,
        "budget": budget,
        "seeds": len(runs),
        "trainings": done.mean(),
        "proposals": proposals.mean(),
        "saved": (proposals - searched).mean(),
        "hit_rate": ((proposals - searched) / proposals).mean(),
        "trained_again": final["again"].mean(),
        "paid_of_same": np.nan if setup.confirm else np.mean([run.within(budget) for run in runs]),
        "capped": (done < budget).mean(),
        "test": mean,
        "test_se": se,
        "regret": max(bench.test) - mean,
        "val": val[:, -1].mean(),
        "optimism": (final["seen"] - val[:, -1]).mean(),
        "difference": difference,
        "difference_se": difference_se,
        "difference_low": low,
        "difference_high": high,
        "trainings_to_none": reached(test.mean(0), float(base[:, -1].mean())),
        "times_fewer": ratio,
        "times_fewer_low": ratio_low,
        "times_fewer_high": ratio_high,
        "val_difference": val_difference,
        "val_difference_se": val_difference_se,
        "val_times_fewer": val_ratio,
        "val_times_fewer_low": val_ratio_low,
        "val_times_fewer_high": val_ratio_high,
        "wrong_hits": np.mean([len(hits) for hits in wrong]),
        "wrong_pairs": np.mean([len(p) for p in pairs]),
        "wrong_gap_mean": np.mean(gaps),
        "wrong_gap_max": max(gaps),
        "mixed_incumbents": (final["mixed"] < final["test"]).mean(),
        "mixed_loss": (final["test"] - final["mixed"]).mean(),
    }


# -- all of them -----------------------------------------------------------------------------------------------------


def study(bench: Bench, seeds: int, budgets: tuple[int, ...]) -> tuple[list[dict[str, Any]], dict[str, list[Run]]]:
    """Every setup at this noise. The last of three budgets is for half of the seeds."""
    setups = KEYS + (POLICIES if bench.noise else POLICIES[-1:])
    few = seeds // 2 if len(budgets) > 2 else 0
    runs: dict[str, list[Run]] = {}
    for setup in setups:
        started = time.monotonic()
        runs[setup.label] = [search(bench, setup, s, budgets[-1] if s < few else BUDGETS[1]) for s in range(seeds)]
        progress(f"{bench.name} noise {bench.noise:.3f} {setup.label}: {time.monotonic() - started:.0f} s")
    if not bench.noise:
        check_same_path(runs)
    rows = []
    for budget in budgets:
        n = few if budget == BUDGETS[2] else seeds
        rows += [summary(bench, s, budget, runs[s.label][:n], runs["none"][:n]) for s in setups]
        for setup in CONFIRMING if bench.noise else ():
            confirmed = [search(bench, setup, s, budget) for s in range(n)]
            rows.append(summary(bench, setup, budget, confirmed, runs["none"][:n]))
    return rows, runs


def check_same_path(runs: dict[str, list[Run]]) -> None:
    """Without noise a cache must not change what is proposed: only what is paid differs, with keys that are right."""
    for none, raw, exact in zip(*(runs[k] for k in ("none", "raw", "exact")), strict=True):
        paid = len(none.proposals)
        for cached in (raw, exact):
            index = np.searchsorted(cached.proposals, np.arange(1, paid + 1), side="right") - 1
            assert np.array_equal(np.array(cached.val)[index], none.val)


def hashing_cost() -> str:
    """Seconds to build and hash whole networks, and a bound on the time that training one takes."""
    space, rng = nas.load_space("nasbench201"), random.Random(0)
    genotypes = [Genotype(SPACE.sample(rng)) for _ in range(1500)]
    for genotype in genotypes[:300]:
        functional_hash(genotype, space=space)
    started = time.process_time()
    for genotype in genotypes:
        functional_hash(genotype, space=space)
    cost = (time.process_time() - started) / len(genotypes)
    macs = float(np.mean([space.graph(g).macs for g in genotypes[:300]]))
    training = macs * 2 * 3 * IMAGES / FLOP_PER_SECOND
    return f"hash {cost * 1e3:.2f} ms, mean {macs / 1e6:.1f} M MACs: 12 epochs at 10 TFLOP/s {training:.0f} s"


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def draw(runs: dict[str, dict[str, list[Run]]], rows: list[dict[str, Any]], noise: float, path: Path) -> None:
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 0.9))
    colours = {"none": "0.35", "raw": "tab:orange", "published": "tab:green", "exact": "tab:blue"}
    colours |= {"exact, M=3": "tab:red", "exact, resample 10": "tab:purple"}
    for axis, kind in zip(axes, ("quiet", "noisy"), strict=False):
        for label, colour in colours.items():
            if label in runs[kind]:
                lines(axis, curves(runs[kind][label], BUDGETS[1]), label, colour)
    axes[0].set_title("CIFAR-100, no training noise")
    axes[1].set_title(f"CIFAR-100, training noise of {noise:.2f} points")
    axes[1].sharey(axes[0])
    axes[0].set_ylabel("200-epoch test accuracy of the incumbent, %")
    bars(axes[2], [r for r in rows if r["data"] == "cifar100" and r["noise_sd"] and r["budget"] == BUDGETS[1]])
    figure.savefig(path, dpi=110)


def lines(axis: Any, rows: Floats, label: str, colour: str) -> None:
    x = np.arange(1, rows.shape[1] + 1)
    mean, se = rows.mean(0), rows.std(0, ddof=1) / np.sqrt(len(rows))
    axis.plot(x, mean, color=colour, label=label, lw=1.5)
    axis.fill_between(x, mean - 1.96 * se, mean + 1.96 * se, color=colour, alpha=0.15, lw=0)
    axis.set(xlim=(50, BUDGETS[1]), ylim=(70.4, 73.1), xlabel="trainings paid")
    axis.legend(loc="lower right", title="key")
    axis.grid(alpha=0.3)


def bars(axis: Any, rows: list[dict[str, Any]]) -> None:
    rows = [r for r in rows if r["key"] in {s.label for s in (*KEYS[1:], *POLICIES)}][::-1]
    positions = np.arange(len(rows))
    saved = [100 * (1 - r["paid_of_same"] / r["budget"]) for r in rows]
    axis.barh(positions + 0.2, saved, 0.36, color="tab:cyan", alpha=0.8, label="of the first 500 proposals")
    hits = [100 * r["hit_rate"] for r in rows]
    axis.barh(positions - 0.2, hits, 0.36, color="tab:blue", alpha=0.6, label="until 500 trainings are paid")
    for position, row in enumerate(rows):
        axis.text(
            1, position + 0.2, f"{row['budget'] - row['paid_of_same']:.0f} of {row['budget']}", va="center", size=8
        )
        axis.text(1, position - 0.2, f"{row['saved']:.0f} of {row['proposals']:.0f}", va="center", size=8)
    axis.set_yticks(positions, [r["key"] for r in rows])
    axis.set(
        xlim=(0, 100), xlabel="trainings saved, % of proposals (hit rate)", title="trainings saved, with training noise"
    )
    axis.legend(loc="lower right", fontsize=8)


def main() -> None:
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    out = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(__file__).with_suffix(".csv")
    started = time.monotonic()
    rows: list[dict[str, Any]] = []
    runs_by_noise: dict[str, dict[str, list[Run]]] = {}
    main_bench, *others = benches(sys.argv[1])
    for kind, bench in (("quiet", main_bench.quiet()), ("noisy", main_bench)):
        bench_rows, runs_by_noise[kind] = study(bench, seeds, BUDGETS)
        rows += bench_rows
    for bench in others:
        for each in (bench.quiet(), bench):
            rows += study(each, seeds, BUDGETS[:2])[0]
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([{k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows])
    draw(runs_by_noise, rows, main_bench.noise, out.with_suffix(".png"))
    for bench in (main_bench, *others):
        top = int(np.argmax(bench.val))
        best = f"best test {max(bench.test):.2f}, of the best validation {bench.test[top]:.2f}"
        print(f"{bench.name}: {bench.spread}; {best}")
    print(hashing_cost())
    progress(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
