"""Warm start and transfer from an earlier study of the same space, or of one with choices of the same names.

Its best networks are asked for first, and a model of its losses becomes a feature of every genotype: a searcher that
learns from features learns how far to trust it. Objectives that the model cannot predict in its own study are left out.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nas.candidates.candidate import Candidate
from nas.candidates.metrics import METRICS, MetricTable, metric_row
from nas.candidates.objectives import Objective
from nas.candidates.pareto import evenly_spread_subset
from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.multi_fidelity import Suggestion, as_multi_fidelity
from nas.searchers.protocol import Featurizer, KnownFeatures, Outcome, Searcher
from nas.searchers.surrogates.acquisition import LogTailTransform
from nas.searchers.surrogates.encoding import Encoder, FloatArray, as_matrix
from nas.searchers.surrogates.gaussian_process import GaussianProcess, distances
from nas.searchers.surrogates.model_based import finite_losses
from search_spaces.space.genotype import Genotype

_FOLDS = 5
_MIN_OUTCOMES = 10  # outcomes that a model is fitted to
_SIGNIFICANCE = 3.0  # deviations of a correlation by chance, 1 / sqrt(n), that a model's own must exceed


def adapt_genotype(space: ChoiceSpace, genotype: Genotype, rng: random.Random) -> Genotype | None:
    """A genotype of another space in this one: decisions that exist here, and random ones for the rest.

    ``None`` where fewer than half of its decisions, name and option, exist here.
    """
    options = space.decisions()
    shared_decisions = {name: value for name, value in genotype.items() if value in options.get(name, ())}
    return space.complete(shared_decisions, rng) if 2 * len(shared_decisions) >= len(genotype) else None


class WarmStartSearcher:
    """A searcher around another: it asks for the warm-start points first, in that order.

    A point that it is told of before it asked for it, as by a resumed study, is not asked for any more. Where the inner
    searcher has several ``fidelities``, points are trained at the lowest, like all that is new.
    """

    def __init__(self, searcher: Searcher, warm_start_points: Sequence[Genotype]) -> None:
        self._searcher = searcher
        self._multi_fidelity = as_multi_fidelity(searcher)
        self._warm_start_points = deque(dict.fromkeys(warm_start_points))

    @property
    def fidelities(self) -> tuple[float, ...]:
        return self._multi_fidelity.fidelities

    def ask(self) -> Genotype:
        return self._warm_start_points.popleft() if self._warm_start_points else self._searcher.ask()

    def tell(self, outcome: Outcome) -> None:
        self._discard_point(outcome)
        self._searcher.tell(outcome)

    def ask_with_fidelity(self) -> Suggestion:
        return (
            Suggestion(self._warm_start_points.popleft(), self.fidelities[0])
            if self._warm_start_points
            else self._multi_fidelity.ask_with_fidelity()
        )

    def tell_with_fidelity(self, outcome: Outcome, fidelity: float) -> None:
        self._discard_point(outcome)
        self._multi_fidelity.tell_with_fidelity(outcome, fidelity)

    def _discard_point(self, outcome: Outcome) -> None:
        if outcome.genotype in self._warm_start_points:
            self._warm_start_points.remove(outcome.genotype)


class PriorStudyModel:
    """A model of an earlier study's losses: a Gaussian process an objective, over the decisions.

    ``correlations``: of each objective, the correlation of its losses with the process's predictions of held-out ones
    (five-fold cross-validation). An objective where chance would do as well is not predicted: ``predict`` returns a
    loss for each of ``predicted_objectives``, which are indices of objectives. A loss that is not finite counts as the
    worst finite one; only the last ``max_outcomes`` outcomes are used. Raises ``ValueError`` for outcomes of other
    spaces.
    """

    def __init__(
        self, space: ChoiceSpace, outcomes: Sequence[tuple[Genotype, Sequence[float]]], *, max_outcomes: int = 300
    ) -> None:
        outcomes = outcomes[-max_outcomes:]
        self._encoder = Encoder(space)  # type: ignore[arg-type]  # which asks it for its decisions only
        self._predictions: dict[Genotype, tuple[float, ...]] = {}
        self._processes: list[GaussianProcess] = []
        correlations, predicted_objectives = [], []
        if len(outcomes) >= _MIN_OUTCOMES:
            rows = as_matrix([self._row(genotype) for genotype, _ in outcomes], self._encoder.width)
            losses = finite_losses([losses for _, losses in outcomes])
            within = distances([rows], [rows])
            self._rows = [rows]
            for index, values in enumerate(LogTailTransform(losses)(losses).T):
                process = GaussianProcess(within, values)
                correlations.append(_cross_validated_correlation(within[0], values, process))
                if correlations[-1] > _SIGNIFICANCE / len(values) ** 0.5:
                    predicted_objectives.append(index)
                    self._processes.append(process)
        self.correlations = tuple(correlations)
        self.predicted_objectives = tuple(predicted_objectives)

    def _row(self, genotype: Genotype) -> FloatArray:
        try:
            return self._encoder.row(genotype)
        except KeyError as error:
            raise ValueError(f"the space has no option {error} that an earlier genotype has; adapt it first") from None

    def predict(self, genotype: Genotype) -> tuple[float, ...]:
        """The expected losses, by ``LogTailTransform``: one an objective of ``predicted_objectives``."""
        if genotype not in self._predictions:
            row = self._row(genotype)[None]
            self._predictions[genotype] = tuple(
                float(process.predict(distances([row], self._rows))[0][0]) for process in self._processes
            )
        return self._predictions[genotype]


def _cross_validated_correlation(within: FloatArray, values: FloatArray, process: GaussianProcess) -> float:
    """The correlation of values with the predictions of a process fitted without them."""
    folds = np.arange(len(values)) % _FOLDS
    predictions = np.empty_like(values)
    for fold in range(_FOLDS):
        in_training = folds != fold
        among, across = within[np.ix_(in_training, in_training)], within[np.ix_(~in_training, in_training)]
        predictions[~in_training] = GaussianProcess([among], values[in_training], process.hyperparameters).predict(
            [across]
        )[0]
    if min(predictions.std(), values.std()) < 1e-12:
        return 0.0
    return float(np.corrcoef(predictions, values)[0, 1])


def with_prior_model(featurize: Featurizer, prior_model: PriorStudyModel) -> Featurizer:
    """A featurizer whose features end with the prior model's predictions."""

    def featurize_with_prior(genotype: Genotype) -> KnownFeatures:
        known_features = featurize(genotype)
        return replace(known_features, features=(*known_features.features, *prior_model.predict(genotype)))

    return featurize_with_prior


def transfer_from_study(
    candidates: Sequence[Candidate],
    objectives: Sequence[Objective],
    space: ChoiceSpace,
    rng: random.Random,
    count: int = 8,
    metrics: MetricTable = METRICS,
) -> tuple[list[Genotype], PriorStudyModel | None]:
    """At most ``count`` warm-start points of this space, spread over the front, and a prior model if one can be fitted.

    ``candidates`` of the earlier study (``nas.study.load.load_candidates``): the trained ones, or the scored ones where
    none was trained, whose zero-cost score then stands for a quality. Objectives that the study does not have are
    skipped; what is predicted or counted is known in a new search anyway and not modelled.
    """
    trained = any(c.status == "trained" for c in candidates)
    pool = [c for c in candidates if c.status == ("trained" if trained else "scored")]
    known_objectives = [o for o in objectives if any(_loss(c, o, metrics) is not None for c in pool)]
    losses_by_genotype: dict[Genotype, tuple[float, ...]] = {}
    infeasible: set[Genotype] = set()
    for candidate in pool if known_objectives else ():
        losses = [_loss(candidate, objective, metrics) for objective in known_objectives]
        genotype = adapt_genotype(space, candidate.genotype, rng)
        if genotype is not None and None not in losses:
            losses_by_genotype[genotype] = tuple(loss for loss in losses if loss is not None)
            infeasible.update([genotype] if candidate.constraint_violation > 0 else [])
    feasible = [genotype for genotype in losses_by_genotype if genotype not in infeasible]
    warm_start_points = [
        feasible[i] for i in evenly_spread_subset([losses_by_genotype[genotype] for genotype in feasible], count)
    ]
    trained_objectives = [
        i for i, o in enumerate(known_objectives) if metric_row(o.metric, metrics).origin in ("quality", "score")
    ]
    prior_model = (
        PriorStudyModel(
            space, [(g, [losses[i] for i in trained_objectives]) for g, losses in losses_by_genotype.items()]
        )
        if trained_objectives
        else None
    )
    return warm_start_points, prior_model if prior_model is not None and prior_model.predicted_objectives else None


def _loss(candidate: Candidate, objective: Objective, metrics: MetricTable) -> float | None:
    """A candidate's loss; of a quality that was not trained, its zero-cost score's; ``None`` where it has none."""
    figures = candidate.metrics
    if objective.metric in figures:
        return objective.loss(figures)
    of_quality = metric_row(objective.metric, metrics).origin == "quality"
    return -figures["score"] if candidate.status == "scored" and of_quality and "score" in figures else None
