"""Predictor-guided search: an ensemble of trees over decisions and zero-cost features, with Thompson sampling.

As BANANAS (White, Neiswanger, Savani 2021, arXiv 1910.11858): an ensemble predicts, mutants of the best are the
choice, and one draw of the ensemble decides among them (independent Thompson sampling, section 4). Its members here are
extremely randomised trees (Geurts et al. 2006) in place of networks: they need no tuning and milliseconds. For many
observations, where Gaussian processes grow slow.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from nas.searchers.protocol import Featurizer, Outcome
from nas.searchers.surrogates.acquisition import LogTailTransform, scalarised_improvement
from nas.searchers.surrogates.encoding import FloatArray
from nas.searchers.surrogates.model_based import (
    EncodedPoint,
    ModelBasedSearch,
    ObservedPoint,
    decision_rows,
    features,
    incumbents,
    penalised_losses,
)
from search_spaces.space.space import Space

_TREES = 60
_REGROWTH_FRACTION = 0.05  # the forest is grown again when there are so many more observations
_DIRECTIONS = 16


class TreeEnsembleSearch(ModelBasedSearch):
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
        self._forest: TreeEnsembleModel | None = None
        self._grow_at = 0.0
        super().__init__(self._model, space, rng, history, featurize=featurize, start=start, pool=pool, fresh=fresh)

    def _model(self, observed_points: Sequence[ObservedPoint], pending: Sequence[EncodedPoint]) -> TreeEnsembleModel:
        if self._forest is None or len(self._observed_points) >= self._grow_at:
            self._forest = TreeEnsembleModel(observed_points, self._rng)
            self._grow_at = len(self._observed_points) * (1 + _REGROWTH_FRACTION)
        return self._forest


class TreeEnsembleModel:
    """A forest after some observations; every question is answered by another draw."""

    def __init__(self, observed_points: Sequence[ObservedPoint], rng: random.Random) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        losses = penalised_losses(observed_points)
        self.best = incumbents(observed_points, losses)
        self._transform = LogTailTransform(losses)
        self._losses = self._transform(losses)
        self._spans = np.maximum(self._losses.max(axis=0) - self._losses.min(axis=0), 1e-12)
        self._reference = self._losses.max(axis=0) + 0.1 * self._spans
        forest: Any = ExtraTreesRegressor(_TREES, random_state=rng.getrandbits(32))
        is_multi_objective = self._losses.shape[1] > 1
        forest.fit(
            _rows([s.point for s in observed_points]), self._losses if is_multi_objective else self._losses[:, 0]
        )
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._source = np.random.default_rng(rng.getrandbits(64))

    def acquisition(self, points: Sequence[EncodedPoint]) -> FloatArray:
        """How good a draw finds each point: by its loss, or by what it adds to the hypervolume."""
        rows = np.asarray(_rows(points), dtype=np.float32)
        tree_predictions = np.array([tree.predict(rows).reshape(len(points), -1) for tree in self._trees])
        means, deviations = tree_predictions.mean(axis=0), tree_predictions.std(axis=0)
        samples: FloatArray = means + deviations * self._source.standard_normal(means.shape)
        known_losses = np.array([p.known_features.losses or (None,) * means.shape[1] for p in points], dtype=float)
        for objective in range(means.shape[1]):
            is_known = np.isfinite(known_losses[:, objective])
            samples[is_known, objective] = self._transform.column(known_losses[is_known, objective], objective)
        if means.shape[1] == 1:
            worse: FloatArray = -samples[:, 0]
            return worse
        directions = np.abs(self._source.standard_normal((_DIRECTIONS, means.shape[1]))) + 1e-3
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        samples, observed, reference = (v / self._spans for v in (samples, self._losses, self._reference))
        added = scalarised_improvement(samples, 0 * samples, observed, reference, directions, 0 * directions)
        values: FloatArray = added - 1e-6 * samples.mean(axis=1)  # where none adds anything, the best on the whole
        return values


def _rows(points: Sequence[EncodedPoint]) -> FloatArray:
    rows: FloatArray = np.hstack([decision_rows(points), np.nan_to_num(features(points))])
    return rows if rows.shape[1] else np.zeros((len(points), 1))  # a space of one network; trees want a column
