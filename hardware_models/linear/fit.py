"""Rates of operations from measured networks, and how far they are off for networks that were not in the fit.

Rates are found by non-negative least squares on relative errors, corrections of single operations by ridge regression
on what those leave. The interval is split conformal over cross-validation (arXiv 1604.04173, section 2): the quantile
of held-out errors, as ratios.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from hardware_models.linear.features import FEATURE_NAMES, OperationFeatures, operation_features
from hardware_models.linear.model import Rates, fallback_rates
from hardware_models.measured.prediction_error import INTERVAL_COVERAGE, interval_factor
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


CROSS_VALIDATION_FOLDS = 5


MIN_CORRECTION = 0.002
"""Corrections below a fifth of a per cent are left out of the file."""


_RIDGE_PENALTY = 1e-4


@dataclass(frozen=True)
class FitNoise:
    """How much a fit trusts its measurements.

    ``scatter``: their relative standard deviation. ``spread``: how far single operations are expected to be from what
    their kind says, as a share; 0 for no corrections.
    """

    scatter: float = 0.02
    spread: float = 0.3


class OperationCounter:
    """Counts the operations of graphs; a fragment that was seen is not looked at again."""

    def __init__(self) -> None:
        self._seen: dict[Fragment, Counter[OperationFeatures]] = {}

    def of(self, graph: Graph) -> Counter[OperationFeatures]:
        """How often each operation occurs in a graph."""
        total: Counter[OperationFeatures] = Counter()
        for piece in graph.pieces:
            fragment = piece.fragment
            operation_counts = self._seen.get(fragment)
            if operation_counts is None:
                nodes = zip(fragment.nodes, fragment.node_counts(), strict=True)
                operations_of_fragment = [operation_features(n, f, fragment.operand_shapes(n)) for n, f in nodes]
                operation_counts = self._seen[fragment] = Counter([o for o in operations_of_fragment if o is not None])
            total.update(operation_counts)
        return total


@dataclass(frozen=True, eq=False)
class DesignMatrix:
    """Networks as numbers: ``counts`` [networks, operations], and ``rows`` [operations, kinds x FEATURES]."""

    operations: tuple[OperationFeatures, ...]
    kinds: tuple[str, ...]
    counts: FloatArray
    rows: FloatArray

    def constant(self) -> list[str]:
        """Kinds that every network has equally much of: what they cost cannot be told from the base."""
        width = len(FEATURE_NAMES)
        columns = self.counts @ self.rows
        constant_kinds = []
        for i, kind in enumerate(self.kinds):
            kind_counts = columns[:, i * width : (i + 1) * width]
            if (kind_counts.max(0) - kind_counts.min(0) <= 1e-9 * kind_counts.max(0)).all():
                constant_kinds.append(kind)
        return constant_kinds

    def of(self, chosen: Sequence[int] | npt.NDArray[Any]) -> DesignMatrix:
        """The same for some of the networks."""
        return DesignMatrix(self.operations, self.kinds, self.counts[chosen], self.rows)


def design_matrix(counted: Sequence[Mapping[OperationFeatures, int]]) -> DesignMatrix:
    """The design of networks whose operations were counted."""
    import numpy as np

    operations = tuple(sorted({o for counts in counted for o in counts}))
    index_of = {o: i for i, o in enumerate(operations)}
    kinds = tuple(sorted({o.kind for o in operations}))
    matrix = np.zeros((len(counted), len(operations)))
    for row, counts in enumerate(counted):
        for operation, count in counts.items():
            matrix[row, index_of[operation]] = count
    rows = np.zeros((len(operations), len(kinds) * len(FEATURE_NAMES)))
    for i, operation in enumerate(operations):
        first_column = kinds.index(operation.kind) * len(FEATURE_NAMES)
        rows[i, first_column : first_column + len(FEATURE_NAMES)] = operation.counts
    return DesignMatrix(operations, kinds, matrix, rows)


@dataclass(frozen=True, eq=False)
class LinearFit:
    """What a fit found: the base, rates [kinds x FEATURES], and corrections [operations]."""

    base: float
    rates: FloatArray
    corrections: FloatArray

    def predict(self, design_matrix: DesignMatrix) -> FloatArray:
        """The figure of every network of a design with the same operations."""
        prices = (design_matrix.rows @ self.rates) * (1 + self.corrections)
        return self.base + design_matrix.counts @ prices


def fit_linear(design_matrix: DesignMatrix, measured: FloatArray, noise: FitNoise = FitNoise()) -> LinearFit:
    """Rates and corrections for ``measured`` figures [networks], all above 0. Raises ``ValueError`` without rows."""
    import numpy as np
    from scipy.optimize import nnls

    if not len(measured) or not (measured > 0).all():
        raise ValueError("a fit needs measurements, all above 0")
    weight = 1 / measured
    relative = np.column_stack([np.ones(len(measured)), design_matrix.counts @ design_matrix.rows]) * weight[:, None]
    scale = np.sqrt((relative**2).sum(0))
    scale[scale == 0] = inf
    for kind in design_matrix.constant():
        first_column = 1 + design_matrix.kinds.index(kind) * len(FEATURE_NAMES)
        scale[first_column : first_column + len(FEATURE_NAMES)] = inf
    # A little ridge decides between columns that these networks do not tell apart
    ridge = np.eye(relative.shape[1]) * _RIDGE_PENALTY
    coefficients, _ = nnls(
        np.vstack([relative / scale, ridge]), np.concatenate([np.ones(len(measured)), np.zeros(len(ridge))])
    )
    coefficients = coefficients / scale
    base, rates = float(coefficients[0]), coefficients[1:]
    corrections = np.zeros(len(design_matrix.operations))
    prices = design_matrix.rows @ rates
    if noise.spread > 0:
        relative_costs = design_matrix.counts * prices * weight[:, None]
        residual = 1 - (base + design_matrix.counts @ prices) * weight
        ratio = (noise.scatter / noise.spread) ** 2
        # The smaller of the two equal ways to solve a ridge regression
        if relative_costs.shape[0] < relative_costs.shape[1]:
            gram = relative_costs @ relative_costs.T + ratio * np.eye(relative_costs.shape[0])
            corrections = relative_costs.T @ np.linalg.solve(gram, residual)
        else:
            gram = relative_costs.T @ relative_costs + ratio * np.eye(relative_costs.shape[1])
            corrections = np.linalg.solve(gram, relative_costs.T @ residual)
        corrections = corrections.clip(-0.95, 5.0)
    return LinearFit(base, rates, corrections)


def held_out_predictions(
    design_matrix: DesignMatrix,
    measured: FloatArray,
    noise: FitNoise = FitNoise(),
    *,
    groups: Sequence[Any] | None = None,
) -> FloatArray:
    """Predictions [networks] of every network by a fit without its fold; equal ``groups`` stay in one fold."""
    import numpy as np

    fold = _assign_folds(len(measured), groups)
    predicted = np.zeros(len(measured))
    for number in range(fold.max() + 1):
        fold_rows = np.flatnonzero(fold == number)
        training_rows = np.flatnonzero(fold != number)
        if len(training_rows):
            predicted[fold_rows] = fit_linear(design_matrix.of(training_rows), measured[training_rows], noise).predict(
                design_matrix.of(fold_rows)
            )
    return predicted


def _assign_folds(rows: int, groups: Sequence[Any] | None) -> npt.NDArray[np.intp]:
    """The fold of every row: five of them, or one a group where there are few."""
    import numpy as np

    keys = list(range(rows)) if groups is None else list(groups)
    order = list(dict.fromkeys(keys))
    np.random.default_rng(0).shuffle(order)
    folds = CROSS_VALIDATION_FOLDS if len(order) > 40 else len(order)
    index_of = {key: i % folds for i, key in enumerate(order)}
    return np.array([index_of[key] for key in keys])


def held_out_coverage(
    design_matrix: DesignMatrix,
    measured: FloatArray,
    noise: FitNoise = FitNoise(),
    *,
    groups: Sequence[Any] | None = None,
) -> float:
    """The share of a fifth of the networks that lie in the interval of a fit to the others.

    Those others alone give the fit, its folds and its interval, so that this says what the interval is worth.
    """
    import numpy as np

    fold = _assign_folds(len(measured), groups)
    fold_rows, training_rows = np.flatnonzero(fold == 0), np.flatnonzero(fold != 0)
    training_design, training_figures = design_matrix.of(training_rows), measured[training_rows]
    keys = None if groups is None else [groups[int(i)] for i in training_rows]
    factor = interval_factor(
        held_out_predictions(training_design, training_figures, noise, groups=keys), training_figures
    )
    predicted = fit_linear(training_design, training_figures, noise).predict(design_matrix.of(fold_rows))
    relative_error = np.abs(np.log(np.maximum(predicted, 1e-12) / measured[fold_rows]))
    return float((relative_error <= np.log(factor)).mean())


def to_rates(linear_fit: LinearFit, design_matrix: DesignMatrix, factor: float | None = None) -> Rates:
    """A fit as the rates of a device file."""

    width = len(FEATURE_NAMES)
    kinds = {
        kind: tuple(linear_fit.rates[i * width : (i + 1) * width].tolist())
        for i, kind in enumerate(design_matrix.kinds)
    }
    corrections = {
        operation.text: float(c)
        for operation, c in zip(design_matrix.operations, linear_fit.corrections, strict=True)
        if abs(c) >= MIN_CORRECTION
    }
    base, constant = linear_fit.base, design_matrix.constant()
    varying_rates = {kind: rates for kind, rates in kinds.items() if kind not in constant}
    for kind in constant:
        base, kinds[kind] = _split_from_base(base, fallback_rates(kind, varying_rates), design_matrix, kind)
    columns = design_matrix.counts @ design_matrix.rows
    numbers = {kind: round(float(columns[0, width * design_matrix.kinds.index(kind)])) for kind in constant}
    largest = float(columns[:, FEATURE_NAMES.index("gmacs") :: width].sum(1).max())
    return Rates(base, kinds, corrections, factor, None if factor is None else INTERVAL_COVERAGE, largest, numbers)


def _split_from_base(
    base: float, rates: tuple[float, ...], design_matrix: DesignMatrix, kind: str
) -> tuple[float, tuple[float, ...]]:
    """What a kind that every network has as much of takes from the base, at most half, and its rates for that."""
    import numpy as np

    width, first_column = len(FEATURE_NAMES), design_matrix.kinds.index(kind) * len(FEATURE_NAMES)
    counts = (design_matrix.counts[0] @ design_matrix.rows)[first_column : first_column + width]
    cost = float(counts @ np.array(rates))
    share = min(1.0, 0.5 * base / cost) if cost > 0 else 0.0
    return base - share * cost, tuple(rate * share for rate in rates)
