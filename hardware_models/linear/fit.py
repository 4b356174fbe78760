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

from hardware_models.linear.features import FEATURES, Operation, operation_of
from hardware_models.linear.model import Rates, guess_for
from hardware_models.measured.prediction_error import COVERAGE, interval_factor
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]


FOLDS = 5


LEAST_CORRECTION = 0.002
"""Corrections below a fifth of a per cent are left out of the file."""


_RIDGE = 1e-4


@dataclass(frozen=True)
class Stiffness:
    """How much a fit trusts its measurements.

    ``scatter``: their relative standard deviation. ``spread``: how far single operations are expected to be from what
    their kind says, as a share; 0 for no corrections.
    """

    scatter: float = 0.02
    spread: float = 0.3


class Operations:
    """Counts the operations of graphs; a fragment that was seen is not looked at again."""

    def __init__(self) -> None:
        self._seen: dict[Fragment, Counter[Operation]] = {}

    def of(self, graph: Graph) -> Counter[Operation]:
        """How often each operation occurs in a graph."""
        total: Counter[Operation] = Counter()
        for piece in graph.pieces:
            fragment = piece.fragment
            known = self._seen.get(fragment)
            if known is None:
                nodes = zip(fragment.nodes, fragment.node_figures(), strict=True)
                made = [operation_of(n, f, fragment.operand_shapes(n)) for n, f in nodes]
                known = self._seen[fragment] = Counter([o for o in made if o is not None])
            total.update(known)
        return total


@dataclass(frozen=True, eq=False)
class Design:
    """Networks as numbers: ``counts`` [networks, operations], and ``rows`` [operations, kinds x FEATURES]."""

    operations: tuple[Operation, ...]
    kinds: tuple[str, ...]
    counts: Floats
    rows: Floats

    def constant(self) -> list[str]:
        """Kinds that every network has equally much of: what they cost cannot be told from the base."""
        width = len(FEATURES)
        columns = self.counts @ self.rows
        found = []
        for i, kind in enumerate(self.kinds):
            mine = columns[:, i * width : (i + 1) * width]
            if (mine.max(0) - mine.min(0) <= 1e-9 * mine.max(0)).all():
                found.append(kind)
        return found

    def of(self, chosen: Sequence[int] | numpy.typing.NDArray[Any]) -> Design:
        """The same for some of the networks."""
        return Design(self.operations, self.kinds, self.counts[chosen], self.rows)


def design(counted: Sequence[Mapping[Operation, int]]) -> Design:
    """The design of networks whose operations were counted."""
    import numpy

    operations = tuple(sorted({o for counts in counted for o in counts}))
    place = {o: i for i, o in enumerate(operations)}
    kinds = tuple(sorted({o.kind for o in operations}))
    matrix = numpy.zeros((len(counted), len(operations)))
    for row, counts in enumerate(counted):
        for operation, count in counts.items():
            matrix[row, place[operation]] = count
    rows = numpy.zeros((len(operations), len(kinds) * len(FEATURES)))
    for i, operation in enumerate(operations):
        first = kinds.index(operation.kind) * len(FEATURES)
        rows[i, first : first + len(FEATURES)] = operation.counts
    return Design(operations, kinds, matrix, rows)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit found: the base, rates [kinds x FEATURES], and corrections [operations]."""

    base: float
    rates: Floats
    corrections: Floats

    def predict(self, design: Design) -> Floats:
        """The figure of every network of a design with the same operations."""
        prices = (design.rows @ self.rates) * (1 + self.corrections)
        return self.base + design.counts @ prices


def fit(design: Design, measured: Floats, stiffness: Stiffness = Stiffness()) -> Fitted:
    """Rates and corrections for ``measured`` figures [networks], all above 0. Raises ``ValueError`` without rows."""
    import numpy
    from scipy.optimize import nnls

    if not len(measured) or not (measured > 0).all():
        raise ValueError("a fit needs measurements, all above 0")
    weight = 1 / measured
    relative = numpy.column_stack([numpy.ones(len(measured)), design.counts @ design.rows]) * weight[:, None]
    scale = numpy.sqrt((relative**2).sum(0))
    scale[scale == 0] = inf
    for kind in design.constant():
        first = 1 + design.kinds.index(kind) * len(FEATURES)
        scale[first : first + len(FEATURES)] = inf
    # A little ridge decides between columns that these networks do not tell apart
    ridge = numpy.eye(relative.shape[1]) * _RIDGE
    found, _ = nnls(
        numpy.vstack([relative / scale, ridge]), numpy.concatenate([numpy.ones(len(measured)), numpy.zeros(len(ridge))])
    )
    found = found / scale
    base, rates = float(found[0]), found[1:]
    corrections = numpy.zeros(len(design.operations))
    prices = design.rows @ rates
    if stiffness.spread > 0:
        shares = design.counts * prices * weight[:, None]
        left = 1 - (base + design.counts @ prices) * weight
        ratio = (stiffness.scatter / stiffness.spread) ** 2
        # The smaller of the two equal ways to solve a ridge regression
        if shares.shape[0] < shares.shape[1]:
            gram = shares @ shares.T + ratio * numpy.eye(shares.shape[0])
            corrections = shares.T @ numpy.linalg.solve(gram, left)
        else:
            gram = shares.T @ shares + ratio * numpy.eye(shares.shape[1])
            corrections = numpy.linalg.solve(gram, shares.T @ left)
        corrections = corrections.clip(-0.95, 5.0)
    return Fitted(base, rates, corrections)


def held_out(
    design: Design, measured: Floats, stiffness: Stiffness = Stiffness(), *, groups: Sequence[Any] | None = None
) -> Floats:
    """Predictions [networks] of every network by a fit without its fold; equal ``groups`` stay in one fold."""
    import numpy

    fold = _folds(len(measured), groups)
    predicted = numpy.zeros(len(measured))
    for number in range(fold.max() + 1):
        inside = numpy.flatnonzero(fold == number)
        outside = numpy.flatnonzero(fold != number)
        if len(outside):
            predicted[inside] = fit(design.of(outside), measured[outside], stiffness).predict(design.of(inside))
    return predicted


def _folds(rows: int, groups: Sequence[Any] | None) -> numpy.typing.NDArray[numpy.intp]:
    """The fold of every row: five of them, or one a group where there are few."""
    import numpy

    keys = list(range(rows)) if groups is None else list(groups)
    order = list(dict.fromkeys(keys))
    numpy.random.default_rng(0).shuffle(order)
    folds = FOLDS if len(order) > 40 else len(order)
    place = {key: i % folds for i, key in enumerate(order)}
    return numpy.array([place[key] for key in keys])


def fresh_coverage(
    design: Design, measured: Floats, stiffness: Stiffness = Stiffness(), *, groups: Sequence[Any] | None = None
) -> float:
    """The share of a fifth of the networks that lie in the interval of a fit to the others.

    Those others alone give the fit, its folds and its interval, so that this says what the interval is worth.
    """
    import numpy

    fold = _folds(len(measured), groups)
    inside, outside = numpy.flatnonzero(fold == 0), numpy.flatnonzero(fold != 0)
    known, figures = design.of(outside), measured[outside]
    keys = None if groups is None else [groups[int(i)] for i in outside]
    factor = interval_factor(held_out(known, figures, stiffness, groups=keys), figures)
    predicted = fit(known, figures, stiffness).predict(design.of(inside))
    off = numpy.abs(numpy.log(numpy.maximum(predicted, 1e-12) / measured[inside]))
    return float((off <= numpy.log(factor)).mean())


def to_rates(found: Fitted, design: Design, factor: float | None = None) -> Rates:
    """A fit as the rates of a device file."""

    width = len(FEATURES)
    kinds = {kind: tuple(found.rates[i * width : (i + 1) * width].tolist()) for i, kind in enumerate(design.kinds)}
    corrections = {
        operation.text: float(c)
        for operation, c in zip(design.operations, found.corrections, strict=True)
        if abs(c) >= LEAST_CORRECTION
    }
    base, constant = found.base, design.constant()
    varied = {kind: rates for kind, rates in kinds.items() if kind not in constant}
    for kind in constant:
        base, kinds[kind] = _share_of_base(base, guess_for(kind, varied), design, kind)
    columns = design.counts @ design.rows
    numbers = {kind: round(float(columns[0, width * design.kinds.index(kind)])) for kind in constant}
    largest = float(columns[:, FEATURES.index("gmacs") :: width].sum(1).max())
    return Rates(base, kinds, corrections, factor, None if factor is None else COVERAGE, largest, numbers)


def _share_of_base(base: float, rates: tuple[float, ...], design: Design, kind: str) -> tuple[float, tuple[float, ...]]:
    """What a kind that every network has as much of takes from the base, at most half, and its rates for that."""
    import numpy

    width, first = len(FEATURES), design.kinds.index(kind) * len(FEATURES)
    counts = (design.counts[0] @ design.rows)[first : first + width]
    cost = float(counts @ numpy.array(rates))
    share = min(1.0, 0.5 * base / cost) if cost > 0 else 0.0
    return base - share * cost, tuple(rate * share for rate in rates)
