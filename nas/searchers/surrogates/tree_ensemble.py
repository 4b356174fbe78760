"""Predictor-guided search: an ensemble of trees over decisions and free features, with Thompson sampling.

As BANANAS (White, Neiswanger, Savani 2021, arXiv 1910.11858): an ensemble predicts, mutants of the best are the
choice, and one draw of the ensemble decides among them (independent Thompson sampling, section 4). Its members here are
extremely randomised trees (Geurts et al. 2006) in place of networks: they need no tuning and milliseconds. For many
observations, where Gaussian processes grow slow.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy

from nas.searchers.protocol import Look, Outcome
from nas.searchers.surrogates.acquisition import Bend, scalarised_improvement
from nas.searchers.surrogates.encoding import Rows
from nas.searchers.surrogates.model_based import (
    ModelBasedSearch,
    Point,
    Seen,
    bad_as_any,
    encoded,
    features,
    worth_a_look,
)
from search_spaces.space.space import Space

_TREES = 60
_SHARE = 0.05  # the forest is grown anew when there are so much more observations
_DIRECTIONS = 16


class PredictorSearch(ModelBasedSearch):
    """See the module, and ``ModelBasedSearch`` for the options."""

    def __init__(
        self,
        space: Space,
        rng: random.Random,
        known: Sequence[Outcome] = (),
        *,
        look: Look | None = None,
        start: int = 12,
        pool: int = 128,
        fresh: int = 24,
    ) -> None:
        self._forest: EnsembleModel | None = None
        self._grow_at = 0.0
        super().__init__(self._model, space, rng, known, look=look, start=start, pool=pool, fresh=fresh)

    def _model(self, seen: Sequence[Seen], pending: Sequence[Point]) -> EnsembleModel:
        if self._forest is None or len(self._seen) >= self._grow_at:
            self._forest = EnsembleModel(seen, self._rng)
            self._grow_at = len(self._seen) * (1 + _SHARE)
        return self._forest


class EnsembleModel:
    """A forest after some observations; every question is answered by another draw."""

    def __init__(self, seen: Sequence[Seen], rng: random.Random) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        losses = bad_as_any(seen)
        self.best = worth_a_look(seen, losses)
        self._bend = Bend(losses)
        self._losses = self._bend(losses)
        self._spans = numpy.maximum(self._losses.max(axis=0) - self._losses.min(axis=0), 1e-12)
        self._reference = self._losses.max(axis=0) + 0.1 * self._spans
        forest: Any = ExtraTreesRegressor(_TREES, random_state=rng.getrandbits(32))
        several = self._losses.shape[1] > 1
        forest.fit(_rows([s.point for s in seen]), self._losses if several else self._losses[:, 0])
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._source = numpy.random.default_rng(rng.getrandbits(64))

    def improvement(self, points: Sequence[Point]) -> Rows:
        """How good a draw finds each point: by its loss, or by what it adds to the hypervolume."""
        rows = numpy.asarray(_rows(points), dtype=numpy.float32)
        votes = numpy.array([tree.predict(rows).reshape(len(points), -1) for tree in self._trees])
        means, deviations = votes.mean(axis=0), votes.std(axis=0)
        drawn: Rows = means + deviations * self._source.standard_normal(means.shape)
        free = numpy.array([p.free.losses or (None,) * means.shape[1] for p in points], dtype=float)
        for objective in range(means.shape[1]):
            told = numpy.isfinite(free[:, objective])
            drawn[told, objective] = self._bend.column(free[told, objective], objective)
        if means.shape[1] == 1:
            worse: Rows = -drawn[:, 0]
            return worse
        directions = numpy.abs(self._source.standard_normal((_DIRECTIONS, means.shape[1]))) + 1e-3
        directions /= numpy.linalg.norm(directions, axis=1, keepdims=True)
        drawn, observed, reference = (v / self._spans for v in (drawn, self._losses, self._reference))
        added = scalarised_improvement(drawn, 0 * drawn, observed, reference, directions, 0 * directions)
        found: Rows = added - 1e-6 * drawn.mean(axis=1)  # where none adds anything, the best on the whole
        return found


def _rows(points: Sequence[Point]) -> Rows:
    found: Rows = numpy.hstack([encoded(points), numpy.nan_to_num(features(points))])
    return found if found.shape[1] else numpy.zeros((len(points), 1))  # a space of one network; trees want a column
