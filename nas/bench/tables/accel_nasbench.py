"""Accel-NASBench's surrogate: 104 billion MnasNet-like ImageNet networks, their error against an accelerator's time.

Fitted to the official training split of the measured networks. Accuracy: ridge regression on what each stage chose
and on every pair of such choices. Times: ridge regression on each stage's whole block, for a network's time is the
sum of its stages' (rates are fitted as time per image). ``Surrogate.errors`` are those on the validation split. The
front is the best known: that of a long evolution, which is far from trying everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardware_models.measured.datasets.accel_nasbench import WIDTHS, network
from hardware_models.measured.datasets.files import read_csv
from nas.bench.tables.table import BenchError, Floats, Goal, Losses, front_points, open_file, reference_of
from nas.searchers.choice_space import FlatSpace
from nas.searchers.protocol import Free
from nas.searchers.surrogates.graph_features import GRAPH_FEATURES, PEAK, graph_counts
from search_spaces.registry import unknown
from search_spaces.space.genotype import Genotype, Value

if TYPE_CHECKING:
    import pandas

Ints = NDArray[np.int64]

STAGES = len(WIDTHS)
PARTS: dict[str, tuple[int, ...]] = {"e": (1, 4, 6), "k": (3, 5), "l": (1, 2, 3, 4), "se": (0, 1)}
DEEP = 5
"""The one stage, from 0, that the measured networks repeat up to four times; the others up to three."""
NAMES = {"e": "expansion", "k": "kernel", "l": "layers", "se": "squeeze_excite"}
OPTIONS: dict[str, tuple[Value, ...]] = {
    f"stage{stage + 1}.{NAMES[part]}": options if part != "l" or stage == DEEP else options[:3]
    for part, options in PARTS.items()
    for stage in range(STAGES)
}
BLOCKS = math.prod(len(options) for options in PARTS.values())

# By the name of an accelerator; a rate becomes a time per image
FIGURES = {
    "zcu102": "latency_zcu102",
    "vck190": "latency_vck190",
    "a100": "throughput_a100",
    "rtx3090": "throughput_3090",
    "tpuv2": "throughput_tpuv2",
    "tpuv3": "throughput_tpuv3",
}
ACCURACY_RIDGE, TIME_RIDGE = 30.0, 0.1
OUTLIER_S = 20_000.0
"""One training is said to have taken 31,079 s, four times as long as any other."""


def one_hot(choices: Ints) -> Floats:
    """What each stage chose of each part: (networks, parts * stages) option numbers to 0 and 1."""
    columns = [
        choices[:, place] == option for place, options in enumerate(OPTIONS.values()) for option in range(len(options))
    ]
    return np.stack(columns, axis=1).astype(float)


def block_numbers(choices: Ints) -> Ints:
    """The number of each stage's whole block: (networks, stages)."""
    numbers = np.zeros((len(choices), STAGES), np.int64)
    for part, options in enumerate(PARTS.values()):
        numbers = numbers * len(options) + choices[:, part * STAGES : (part + 1) * STAGES]
    return numbers


@dataclass(frozen=True)
class Pairs:
    """Of one-hot vectors z: ``constant + z @ single + z @ pairs @ z``."""

    constant: float
    single: Floats
    pairs: Floats

    def __call__(self, choices: Ints) -> Floats:
        z = one_hot(choices)
        value: Floats = self.constant + z @ self.single + ((z @ self.pairs) * z).sum(axis=1)
        return value


@dataclass(frozen=True)
class Sum:
    """A constant and each stage's share: ``shares`` (stages, blocks)."""

    constant: float
    shares: Floats

    def __call__(self, choices: Ints) -> Floats:
        value: Floats = self.constant + self.shares[np.arange(STAGES), block_numbers(choices)].sum(axis=1)
        return value


def fit_pairs(choices: Ints, values: Floats) -> Pairs:
    """Ridge regression on a network's choices and on every pair of them."""
    from sklearn.linear_model import Ridge

    z = one_hot(choices)
    first, second = np.triu_indices(z.shape[1], k=1)
    fitted = Ridge(ACCURACY_RIDGE).fit(np.hstack([z, z[:, first] * z[:, second]]), values)
    pairs = np.zeros((z.shape[1], z.shape[1]))
    pairs[first, second] = fitted.coef_[z.shape[1] :]
    return Pairs(float(fitted.intercept_), fitted.coef_[: z.shape[1]], pairs)


def fit_sum(choices: Ints, values: Floats) -> Sum:
    """Ridge regression on each stage's block."""
    from sklearn.linear_model import Ridge

    z = np.eye(BLOCKS)[block_numbers(choices)].reshape(len(choices), -1)
    fitted = Ridge(TIME_RIDGE).fit(z, values)
    return Sum(float(fitted.intercept_), fitted.coef_.reshape(STAGES, BLOCKS))


@dataclass(frozen=True)
class Surrogate:
    """Predicted error and time of any network of the space. ``errors``: of the regressions, on the validation split."""

    name: str
    title: str
    objectives: tuple[str, ...]
    accuracy: Pairs
    time_ms: Sum
    training: Sum
    features: Floats
    goal: Goal
    errors: Mapping[str, float]

    @property
    def networks(self) -> int | None:
        """As many as genotypes: no two of them are one network."""
        return math.prod(len(options) for options in OPTIONS.values())

    @cached_property
    def space(self) -> FlatSpace:
        return FlatSpace(OPTIONS, "accel_nasbench")

    def losses(self, genotype: Genotype) -> Losses:
        choices = self.space.encode(genotype)[None]
        return (100 - float(self.accuracy(choices)[0]), float(self.time_ms(choices)[0]))

    def judged(self, genotype: Genotype) -> Losses:
        return self.losses(genotype)

    def seconds(self, genotype: Genotype) -> float:
        return max(float(self.training(self.space.encode(genotype)[None])[0]), 1.0)

    def look(self, genotype: Genotype) -> Free:
        choices = self.space.encode(genotype)
        stages = self.features[np.arange(STAGES), block_numbers(choices[None])[0]]
        fixed = self.features[STAGES, 0]
        counts = stages.sum(axis=0) + fixed
        counts[PEAK] = max(float(stages[:, PEAK].max()), float(fixed[PEAK]))
        key = "".join(map(str, choices.tolist()))
        return Free(key, tuple(np.log1p(counts).tolist()))


# -- reading and fitting -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _measured(data: Path) -> tuple[pandas.DataFrame, Ints]:
    path = open_file(data / "accel_nasbench" / "accel_nasbench.csv.gz", "data set of Accel-NASBench")
    frame = read_csv(path, text=tuple(PARTS))
    columns = []
    for part, options in PARTS.items():
        rows = np.array([[int(number) for number in text.split("-")] for text in frame[part]])
        columns.append(np.searchsorted(options, rows))
    return frame, np.hstack(columns).astype(np.int64)


def _fitted(data: Path, column: str, fit: Any) -> tuple[Any, dict[str, float]]:
    """A regression of one column's training rows, and its errors on the validation rows. A rate is a time per image."""
    from scipy.stats import kendalltau, spearmanr

    frame, choices = _measured(data)
    values = frame[column].to_numpy(float)
    if column.startswith("throughput"):
        values = 1000 / values
    known = np.isfinite(values) & ~((column == "train_time_s") & (values > OUTLIER_S))
    train, held_out = known & (frame["split"] == "train"), known & (frame["split"] == "val")
    model = fit(choices[train], values[train])
    guess, truth = model(choices[held_out]), values[held_out]
    return model, {
        "rows": float(held_out.sum()),
        "mean_absolute_error": float(np.abs(guess - truth).mean()),
        "mean_error_percent": float(100 * np.abs(guess / truth - 1).mean()),
        "r2": float(1 - np.mean((guess - truth) ** 2) / np.var(truth)),
        "spearman": float(spearmanr(guess, truth)[0]),
        "kendall": float(kendalltau(guess, truth)[0]),
    }


@lru_cache(maxsize=2)
def _accuracy(data: Path) -> tuple[Pairs, dict[str, float]]:
    return _fitted(data, "val_top1", fit_pairs)


@lru_cache(maxsize=1)
def stage_features() -> Floats:
    """Of each stage's block: the counts of ``GRAPH_FEATURES``; the last row is a whole network's.

    Of that one, every stage is its plainest block, and the stages' counts are what they add to those. Widths between
    stages are fixed, so that counts add up over them, and the peak is the largest stage's.
    """
    base = [1] * STAGES, [3] * STAGES, [1] * STAGES, [0] * STAGES
    found = np.zeros((STAGES + 1, BLOCKS, len(GRAPH_FEATURES)))
    whole = _figures(*base)
    for stage in range(STAGES):
        for number, chosen in enumerate(np.ndindex(*(len(options) for options in PARTS.values()))):
            changed = [list(part) for part in base]
            for part, options in enumerate(PARTS.values()):
                changed[part][stage] = options[chosen[part]]
            found[stage, number] = _figures(*changed)
            peak = found[stage, number, PEAK]
            found[stage, number] -= whole
            found[stage, number, PEAK] = peak
    found[STAGES, :] = whole
    return found


def _figures(*parts: list[int]) -> Floats:
    return np.array(graph_counts(network(*parts)), float)


@lru_cache(maxsize=16)
def open_table(name: str, data: Path) -> Surrogate:
    """``accel@FIGURE``. Raises ``UnknownName``, ``BenchError``."""
    from nas.bench.tables.best_known_front import best_known

    figure = name.partition("@")[2]
    column = FIGURES.get(figure)
    if column is None:
        raise unknown("table", name, [f"accel@{one}" for one in FIGURES])
    accuracy, accuracy_errors = _accuracy(data)
    time_ms, time_errors = _fitted(data, column, fit_sum)
    training, training_errors = _fitted(data, "train_time_s", fit_sum)
    _, measured = _measured(data)

    def losses(choices: Ints) -> Floats:
        return np.stack([100 - accuracy(choices), time_ms(choices)], axis=1)

    found = losses(best_known(losses, [len(options) for options in OPTIONS.values()], measured))
    best = front_points(found)
    if any(point[1] <= 0 for point in best):
        raise BenchError(f"{name}: the regression of {column} predicts times below zero; it cannot be searched")
    every = {"accuracy": accuracy_errors, "time": time_errors, "training_time": training_errors}
    return Surrogate(
        name=name,
        title=f"Accel-NASBench's surrogate against {figure}",
        objectives=("error_percent", "time_ms"),
        accuracy=accuracy,
        time_ms=time_ms,
        training=training,
        features=stage_features(),
        goal=Goal(front=best, reference=reference_of(best, losses(measured)), exact=False),
        errors={f"{what}_{one}": value for what, errors in every.items() for one, value in errors.items()},
    )
