"""Accel-NASBench's surrogate: 104 billion MnasNet-like ImageNet networks, their error against an accelerator's time.

Fitted to the official training split of the measured networks. Accuracy: ridge regression on the choices of each stage
and on every pair of such choices. Times: ridge regression on each stage's whole block, for a network's time is the
sum of its stages' (rates are fitted as time per image). ``SurrogateBenchmark.errors`` are those on the validation
split. The front is the best known: that of a long evolution.
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
from nas.bench.tables.best_known_front import best_known_vectors
from nas.bench.tables.table import (
    BenchError,
    Floats,
    KnownOptimum,
    Losses,
    existing_file,
    front_points,
    hypervolume_reference,
)
from nas.searchers.choice_space import FlatSpace
from nas.searchers.protocol import KnownFeatures
from nas.searchers.surrogates.graph_features import GRAPH_FEATURES, PEAK_INDEX, graph_counts
from search_spaces.registry import unknown_name
from search_spaces.space.genotype import DecisionValue, Genotype

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]

STAGES = len(WIDTHS)
STAGE_CHOICES: dict[str, tuple[int, ...]] = {"e": (1, 4, 6), "k": (3, 5), "l": (1, 2, 3, 4), "se": (0, 1)}
DEEP_STAGE = 5
"""The one stage, from 0, that the measured networks repeat up to four times; the others up to three."""
CHOICE_NAMES = {"e": "expansion", "k": "kernel", "l": "layers", "se": "squeeze_excite"}
CHOICE_OPTIONS: dict[str, tuple[DecisionValue, ...]] = {
    f"stage{stage + 1}.{CHOICE_NAMES[part]}": options if part != "l" or stage == DEEP_STAGE else options[:3]
    for part, options in STAGE_CHOICES.items()
    for stage in range(STAGES)
}
BLOCK_COUNT = math.prod(len(options) for options in STAGE_CHOICES.values())

# By the name of an accelerator; a rate is converted to a time per image
ACCELERATOR_COLUMNS = {
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
    """Option numbers (networks, parts * stages) as a 0 or 1 for each option."""
    columns = [
        choices[:, index] == option
        for index, options in enumerate(CHOICE_OPTIONS.values())
        for option in range(len(options))
    ]
    return np.stack(columns, axis=1).astype(float)


def block_numbers(choices: Ints) -> Ints:
    """The number of each stage's whole block: (networks, stages)."""
    numbers = np.zeros((len(choices), STAGES), np.int64)
    for part, options in enumerate(STAGE_CHOICES.values()):
        numbers = numbers * len(options) + choices[:, part * STAGES : (part + 1) * STAGES]
    return numbers


@dataclass(frozen=True)
class PairwiseRegression:
    """Of one-hot vectors z: ``constant + z @ single + z @ pairs @ z``."""

    constant: float
    single: Floats
    pairs: Floats

    def __call__(self, choices: Ints) -> Floats:
        z = one_hot(choices)
        value: Floats = self.constant + z @ self.single + ((z @ self.pairs) * z).sum(axis=1)
        return value


@dataclass(frozen=True)
class AdditiveRegression:
    """A constant and a term for each stage's block: ``stage_terms`` (stages, blocks)."""

    constant: float
    stage_terms: Floats

    def __call__(self, choices: Ints) -> Floats:
        value: Floats = self.constant + self.stage_terms[np.arange(STAGES), block_numbers(choices)].sum(axis=1)
        return value


def fit_pairwise(choices: Ints, values: Floats) -> PairwiseRegression:
    """Ridge regression on a network's choices and on every pair of them."""
    from sklearn.linear_model import Ridge

    z = one_hot(choices)
    first, second = np.triu_indices(z.shape[1], k=1)
    fitted = Ridge(ACCURACY_RIDGE).fit(np.hstack([z, z[:, first] * z[:, second]]), values)
    pairs = np.zeros((z.shape[1], z.shape[1]))
    pairs[first, second] = fitted.coef_[z.shape[1] :]
    return PairwiseRegression(float(fitted.intercept_), fitted.coef_[: z.shape[1]], pairs)


def fit_additive(choices: Ints, values: Floats) -> AdditiveRegression:
    """Ridge regression on each stage's block."""
    from sklearn.linear_model import Ridge

    z = np.eye(BLOCK_COUNT)[block_numbers(choices)].reshape(len(choices), -1)
    fitted = Ridge(TIME_RIDGE).fit(z, values)
    return AdditiveRegression(float(fitted.intercept_), fitted.coef_.reshape(STAGES, BLOCK_COUNT))


@dataclass(frozen=True)
class SurrogateBenchmark:
    """Predicted error and time of any network of the space. ``errors``: of the regressions, on the validation split."""

    name: str
    title: str
    objectives: tuple[str, ...]
    accuracy: PairwiseRegression
    time_ms: AdditiveRegression
    training: AdditiveRegression
    features: Floats
    optimum: KnownOptimum
    errors: Mapping[str, float]

    @property
    def networks(self) -> int | None:
        """The number of genotypes: no two of them are one network."""
        return math.prod(len(options) for options in CHOICE_OPTIONS.values())

    @cached_property
    def space(self) -> FlatSpace:
        return FlatSpace(CHOICE_OPTIONS, "accel_nasbench")

    def losses(self, genotype: Genotype) -> Losses:
        choices = self.space.encode(genotype)[None]
        return (100 - float(self.accuracy(choices)[0]), float(self.time_ms(choices)[0]))

    def test_losses(self, genotype: Genotype) -> Losses:
        return self.losses(genotype)

    def seconds(self, genotype: Genotype) -> float:
        return max(float(self.training(self.space.encode(genotype)[None])[0]), 1.0)

    def featurize(self, genotype: Genotype) -> KnownFeatures:
        choices = self.space.encode(genotype)
        stages = self.features[np.arange(STAGES), block_numbers(choices[None])[0]]
        fixed = self.features[STAGES, 0]
        counts = stages.sum(axis=0) + fixed
        counts[PEAK_INDEX] = max(float(stages[:, PEAK_INDEX].max()), float(fixed[PEAK_INDEX]))
        key = "".join(map(str, choices.tolist()))
        return KnownFeatures(key, tuple(np.log1p(counts).tolist()))


# -- reading and fitting -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _read_measurements(data: Path) -> tuple[pd.DataFrame, Ints]:
    path = existing_file(data / "accel_nasbench" / "accel_nasbench.csv.gz", "data set of Accel-NASBench")
    frame = read_csv(path, text=tuple(STAGE_CHOICES))
    columns = []
    for part, options in STAGE_CHOICES.items():
        rows = np.array([[int(number) for number in text.split("-")] for text in frame[part]])
        columns.append(np.searchsorted(options, rows))
    return frame, np.hstack(columns).astype(np.int64)


def _fit_column(data: Path, column: str, fit: Any) -> tuple[Any, dict[str, float]]:
    """A regression of one column's training rows, and its errors on the validation rows. A rate is a time per image."""
    from scipy.stats import kendalltau, spearmanr

    frame, choices = _read_measurements(data)
    values = frame[column].to_numpy(float)
    if column.startswith("throughput"):
        values = 1000 / values
    is_measured = np.isfinite(values) & ~((column == "train_time_s") & (values > OUTLIER_S))
    train, held_out = is_measured & (frame["split"] == "train"), is_measured & (frame["split"] == "val")
    model = fit(choices[train], values[train])
    predicted, measured_values = model(choices[held_out]), values[held_out]
    return model, {
        "rows": float(held_out.sum()),
        "mean_absolute_error": float(np.abs(predicted - measured_values).mean()),
        "mean_error_percent": float(100 * np.abs(predicted / measured_values - 1).mean()),
        "r2": float(1 - np.mean((predicted - measured_values) ** 2) / np.var(measured_values)),
        "spearman": float(spearmanr(predicted, measured_values)[0]),
        "kendall": float(kendalltau(predicted, measured_values)[0]),
    }


@lru_cache(maxsize=2)
def _fit_accuracy(data: Path) -> tuple[PairwiseRegression, dict[str, float]]:
    return _fit_column(data, "val_top1", fit_pairwise)


@lru_cache(maxsize=1)
def stage_features() -> Floats:
    """The counts of ``GRAPH_FEATURES`` that each stage's block adds to a base network; the last row is that network's.

    Every stage of the base network is its plainest block. Widths between stages are fixed, so that counts add up over
    stages; the peak is that of the largest stage.
    """
    base = [1] * STAGES, [3] * STAGES, [1] * STAGES, [0] * STAGES
    features = np.zeros((STAGES + 1, BLOCK_COUNT, len(GRAPH_FEATURES)))
    base_counts = _graph_counts(*base)
    for stage in range(STAGES):
        for number, chosen in enumerate(np.ndindex(*(len(options) for options in STAGE_CHOICES.values()))):
            changed = [list(part) for part in base]
            for part, options in enumerate(STAGE_CHOICES.values()):
                changed[part][stage] = options[chosen[part]]
            features[stage, number] = _graph_counts(*changed)
            peak = features[stage, number, PEAK_INDEX]
            features[stage, number] -= base_counts
            features[stage, number, PEAK_INDEX] = peak
    features[STAGES, :] = base_counts
    return features


def _graph_counts(*parts: list[int]) -> Floats:
    return np.array(graph_counts(network(*parts)), float)


@lru_cache(maxsize=16)
def open_table(name: str, data: Path) -> SurrogateBenchmark:
    """``accel@ACCELERATOR``. Raises ``UnknownName``, ``BenchError``."""
    accelerator = name.partition("@")[2]
    column = ACCELERATOR_COLUMNS.get(accelerator)
    if column is None:
        raise unknown_name("table", name, [f"accel@{known}" for known in ACCELERATOR_COLUMNS])
    accuracy, accuracy_errors = _fit_accuracy(data)
    time_ms, time_errors = _fit_column(data, column, fit_additive)
    training, training_errors = _fit_column(data, "train_time_s", fit_additive)
    _, measured = _read_measurements(data)

    def losses(choices: Ints) -> Floats:
        return np.stack([100 - accuracy(choices), time_ms(choices)], axis=1)

    option_counts = [len(options) for options in CHOICE_OPTIONS.values()]
    best = front_points(losses(best_known_vectors(losses, option_counts, measured)))
    if any(point[1] <= 0 for point in best):
        raise BenchError(f"{name}: the regression of {column} predicts times below zero; it cannot be searched")
    regression_errors = {"accuracy": accuracy_errors, "time": time_errors, "training_time": training_errors}
    return SurrogateBenchmark(
        name=name,
        title=f"Accel-NASBench's surrogate against {accelerator}",
        objectives=("error_percent", "time_ms"),
        accuracy=accuracy,
        time_ms=time_ms,
        training=training,
        features=stage_features(),
        optimum=KnownOptimum(front=best, reference=hypervolume_reference(best, losses(measured)), exact=False),
        errors={f"{what}_{kind}": e for what, errors in regression_errors.items() for kind, e in errors.items()},
    )
