"""Bayesian search with Gaussian processes: each candidate is the one expected to improve most on what was observed.

A process an objective, over decisions and zero-cost features; an objective that is known before training needs none.
One objective: expected improvement; two: expected hypervolume improvement; more: its scalarisations. Pending candidates
count as what is expected of them (the kriging believer: Ginsbourger, Le Riche, Carraro 2010), so that a batch does not
ask for one thing twice.

Where several kinds of network are good, a process that saw much of one kind takes what it learnt there for what holds
everywhere: it is certain that the others are bad, and tries none. Then it expects next to nothing of any candidate.
With one objective the search begins again there, with random candidates and without what it saw before, as a local
Bayesian search does where it has converged (Eriksson et al. 2019, arXiv 1910.01739, section 2).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import ceil

import numpy as np

from nas.searchers.protocol import Featurizer, Outcome
from nas.searchers.surrogates.acquisition import (
    LogTailTransform,
    expected_hypervolume_improvement,
    expected_improvement,
    scalarised_improvement,
)
from nas.searchers.surrogates.encoding import FloatArray, standardised
from nas.searchers.surrogates.gaussian_process import GaussianProcess, Hyperparameters, distances
from nas.searchers.surrogates.model_based import (
    EncodedPoint,
    ModelBasedSearch,
    ObservedPoint,
    SurrogateModel,
    decision_rows,
    features,
    incumbents,
    penalised_losses,
)
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

_MARGIN = 0.1  # of the losses' range, how far beyond the worst the hypervolume's reference point lies
_GROWTH = 1.1  # hyperparameters are fitted again each time that there are so many times more observations
_DIRECTIONS = 64
_NEGLIGIBLE_IMPROVEMENT = (
    1e-3  # of the losses' deviation, the expected improvement below which a candidate promises nothing
)
_PATIENCE = 8  # candidates in a row that promise nothing, after which the search begins again
_KNOWN_LOSS_DEVIATION = 1e-9  # of an objective's range, the deviation of a loss that is known


class BayesianSearch(ModelBasedSearch):
    """See the module, and ``ModelBasedSearch`` for the options."""

    def __init__(
        self,
        space: Space,
        rng: random.Random,
        history: Sequence[Outcome] = (),
        *,
        featurize: Featurizer | None = None,
        start: int = 12,
        pool: int = 128,
        fresh: int = 24,
    ) -> None:
        self._hyperparameters: list[Hyperparameters] = []
        self._next_fit_at = 0
        self._stagnation = 0
        super().__init__(self._model, space, rng, history, featurize=featurize, start=start, pool=pool, fresh=fresh)

    def _model(self, observed_points: Sequence[ObservedPoint], pending: Sequence[EncodedPoint]) -> GaussianModel:
        """Hyperparameters are fitted every second time while there is little, and then ever more rarely."""
        count = len(self._observed_points) - self._restarted_at
        refit = count >= self._next_fit_at
        if refit:
            self._next_fit_at = max(count + 2, ceil(count * _GROWTH))
        model = GaussianModel(observed_points, pending, [] if refit else self._hyperparameters, self._rng)
        self._hyperparameters = model.hyperparameters
        return model

    def ask(self) -> Genotype:
        # Where most draws break a limit, new random ones would rarely help
        mostly_feasible = 2 * self._feasible_count >= len(self._observed_points) - self._restarted_at
        if self._stagnation >= _PATIENCE and mostly_feasible:
            self._restart()
            self._stagnation, self._next_fit_at = 0, 0
        return super().ask()

    def _on_proposal(self, model: SurrogateModel, acquisition: float) -> None:
        assert isinstance(model, GaussianModel)
        self._stagnation = self._stagnation + 1 if model.is_stagnant(acquisition) else 0


class GaussianModel:
    """The processes after some observations."""

    def __init__(
        self,
        observed_points: Sequence[ObservedPoint],
        pending: Sequence[EncodedPoint],
        fitted: Sequence[Hyperparameters],
        rng: random.Random,
    ) -> None:
        points = [s.point for s in observed_points]
        losses = penalised_losses(observed_points)
        self.best = incumbents(observed_points, losses)
        self._transform = LogTailTransform(losses)
        losses = self._transform(losses)
        self._spans = np.maximum(losses.max(axis=0) - losses.min(axis=0), 1e-12)
        self._reference = losses.max(axis=0) + _MARGIN * self._spans
        self._observed_features = features(points)
        self._observed = self._groups([*points, *pending])
        between_all = distances(self._observed, self._observed)
        between_observed = [d[: len(points), : len(points)] for d in between_all]
        between = [d[len(points) :, : len(points)] for d in between_all]
        self.hyperparameters: list[Hyperparameters] = []
        self._processes = []
        for number, values in enumerate(losses.T):
            process = GaussianProcess(between_observed, values, fitted[number] if fitted else None)
            self.hyperparameters.append(process.hyperparameters)
            if pending:
                believed = process.predict(between)[0]
                process = GaussianProcess(between_all, np.concatenate([values, believed]), process.hyperparameters)
            self._processes.append(process)
        feasible = [*[one.feasible for one in observed_points], *[True for _ in pending]]
        expected = np.stack([process.expected for process in self._processes], 1)
        self._expected = self._with_known_losses([*points, *pending], expected)[feasible]
        source = np.random.default_rng(rng.getrandbits(64))
        self._normals = source.standard_normal((_DIRECTIONS, losses.shape[1]))
        directions = np.abs(source.standard_normal((_DIRECTIONS, losses.shape[1]))) + 1e-3
        self._directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)

    def _groups(self, points: Sequence[EncodedPoint]) -> list[FloatArray]:
        if not points:
            return []
        groups = [decision_rows(points)]
        return (
            [*groups, standardised(features(points), self._observed_features)]
            if self._observed_features.shape[1]
            else groups
        )

    def _with_known_losses(self, points: Sequence[EncodedPoint], means: FloatArray) -> FloatArray:
        """Means of (points, objectives), with the known losses in place of what is expected of them."""
        for objective, known_losses in enumerate(self._known_losses(points, means.shape[1]).T):
            is_known = np.isfinite(known_losses)
            means[is_known, objective] = self._transform.column(known_losses[is_known], objective)
        return means

    @staticmethod
    def _known_losses(points: Sequence[EncodedPoint], objectives: int) -> FloatArray:
        """Losses that are known before training, NaN where there is none."""
        return np.array([p.known_features.losses or (None,) * objectives for p in points], dtype=float)

    def _predicted(self, points: Sequence[EncodedPoint]) -> tuple[FloatArray, FloatArray]:
        """Means and deviations of the transformed losses: (points, objectives)."""
        across = distances(self._groups(points), self._observed)
        predictions = [process.predict(across) for process in self._processes]
        means, deviations = np.stack([m for m, _ in predictions], 1), np.stack([s for _, s in predictions], 1)
        certain = np.isfinite(self._known_losses(points, means.shape[1]))
        least = _KNOWN_LOSS_DEVIATION * self._spans
        return self._with_known_losses(points, means), np.where(certain, least, np.maximum(deviations, least))

    def is_stagnant(self, acquisition: float) -> bool:
        """Whether there is one objective, and such an improvement of it is next to nothing."""
        return len(self._processes) == 1 and acquisition < _NEGLIGIBLE_IMPROVEMENT * self._processes[0].scale

    def acquisition(self, points: Sequence[EncodedPoint]) -> FloatArray:
        """How much each point is expected to add to the best, or to the hypervolume of the front."""
        means, deviations = self._predicted(points)
        if means.shape[1] == 1:
            return expected_improvement(means[:, 0], deviations[:, 0], float(self._expected.min()))
        if means.shape[1] == 2:
            front, reference = self._expected.tolist(), self._reference.tolist()
            return expected_hypervolume_improvement(means, deviations, front, reference)
        return scalarised_improvement(
            means / self._spans,
            deviations / self._spans,
            self._expected / self._spans,
            self._reference / self._spans,
            self._directions,
            self._normals,
        )
