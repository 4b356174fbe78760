"""A performance predictor: the quality to expect of an untrained network. It guides choices and is never a result.

Bayesian ridge regression on the genotype's decisions (one column an option), the zero-cost score, and the logarithms
of MACs and parameters. With a dozen trained networks it mostly says: as good as the trained ones it resembles.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.candidates.candidate import Candidate
from search_spaces.space.space import Space

FloatArray = npt.NDArray[np.float64]

# Below this there is nothing to regress on.
MIN_TRAINED = 4


class QualityPredictor:
    """Fitted to ``trained`` candidates of ``space``, once for each metric."""

    def __init__(self, space: Space, metrics: Sequence[str], trained: Sequence[Candidate]) -> None:
        from sklearn.linear_model import BayesianRidge

        self._space = space
        self._sizes = [len(options) for options in space.decisions().values()]
        features = np.array([self._features(c) for c in trained])
        self._centre = features.mean(axis=0)
        self._scale = features.std(axis=0)
        self._scale[self._scale == 0] = 1.0
        rows = np.array([self._row(c) for c in trained])
        self._models: dict[str, Any] = {
            metric: BayesianRidge().fit(rows, [c.metrics[metric] for c in trained]) for metric in metrics
        }

    def predict(self, candidate: Candidate) -> dict[str, float]:
        """The expected value of each metric."""
        row = self._row(candidate)[None]
        return {metric: float(model.predict(row)[0]) for metric, model in self._models.items()}

    @staticmethod
    def _features(candidate: Candidate) -> tuple[float, ...]:
        metrics = candidate.metrics
        return metrics["score"], log(max(1.0, metrics["macs"])), log(max(1.0, metrics["params"]))

    def _row(self, candidate: Candidate) -> FloatArray:
        option_indices = self._space.encode(candidate.genotype)
        options = np.zeros(sum(self._sizes))
        start = 0
        for size, index in zip(self._sizes, option_indices, strict=True):
            if index >= 0:
                options[start + index] = 1.0
            start += size
        features: FloatArray = (np.array(self._features(candidate)) - self._centre) / self._scale
        return np.concatenate([options, features])
