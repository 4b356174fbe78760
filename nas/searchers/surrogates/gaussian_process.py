"""Gaussian process regression with an additive kernel over groups of columns.

    k(x, x') = sum over groups g of  a_g exp(-|x_g - x'_g|^2 / l_g)

A group is the decisions, or the zero-cost features. Amplitudes, length scales and the noise maximise the marginal
likelihood (Rasmussen and Williams, Gaussian Processes for Machine Learning, eq. 5.8 and 5.9) under wide log-normal
priors, which keep a handful of observations from being explained too well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

FloatArray = npt.NDArray[np.float64]

_JITTER = 1e-6
# Means and deviations of the priors of the logarithms of amplitude, length scale and noise, and their bounds
_PRIOR = ((0.0, 2.0), (1.0, 1.4), (-4.0, 2.0))
_BOUNDS = ((-6.0, 4.0), (-3.0, 6.0), (-9.0, 1.0))


def squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """Of each row of ``a`` to each of ``b``."""
    squares: FloatArray = a @ (-2.0 * b.T)
    squares += np.einsum("ij,ij->i", a, a)[:, None]
    squares += np.einsum("ij,ij->i", b, b)
    return np.maximum(squares, 0.0, out=squares)


@dataclass(frozen=True)
class Hyperparameters:
    """Logarithms: an amplitude and a length scale a group, and the variance of the noise."""

    amplitudes: FloatArray
    lengths: FloatArray
    noise: float

    def vector(self) -> FloatArray:
        return np.concatenate([self.amplitudes, self.lengths, [self.noise]])

    @classmethod
    def of(cls, vector: FloatArray) -> Hyperparameters:
        groups = len(vector) // 2
        return cls(vector[:groups], vector[groups : 2 * groups], float(vector[-1]))


Distances = Sequence[FloatArray]
"""Squared distances, a matrix a group."""


def distances(a: Sequence[FloatArray], b: Sequence[FloatArray]) -> list[FloatArray]:
    """Of the rows of one set of points to those of another; each is a matrix a group."""
    return [squared_distances(one, other) for one, other in zip(a, b, strict=True)]


def _kernel_terms(within: Distances, h: Hyperparameters) -> list[FloatArray]:
    return [np.exp(a - d * np.exp(-length)) for d, a, length in zip(within, h.amplitudes, h.lengths, strict=True)]


def fit_hyperparameters(within: Distances, values: FloatArray) -> Hyperparameters:
    """Those that explain ``values`` (mean 0, deviation 1) best, optimised from the middle of the priors."""
    count = len(within)
    prior = np.array([_PRIOR[0]] * count + [_PRIOR[1]] * count + [_PRIOR[2]])
    identity = np.eye(len(values))

    def loss(vector: FloatArray) -> tuple[float, FloatArray]:
        h = Hyperparameters.of(vector)
        parts = _kernel_terms(within, h)
        noise = np.exp(h.noise)
        try:
            factor = cho_factor(np.sum(parts, axis=0) + (noise + _JITTER) * identity, lower=True)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(vector)
        weights = cho_solve(factor, values)
        inner = np.outer(weights, weights) - cho_solve(factor, identity)
        slopes = [-0.5 * float((inner * k).sum()) for k in parts]
        slopes += [
            -0.5 * float((inner * k * d).sum() * np.exp(-length))
            for k, d, length in zip(parts, within, h.lengths, strict=True)
        ]
        slopes.append(-0.5 * float(np.trace(inner) * noise))
        off = (vector - prior[:, 0]) / prior[:, 1]
        likelihood = 0.5 * values @ weights + np.log(np.diag(factor[0])).sum()
        return float(likelihood + 0.5 * off @ off), np.array(slopes) + off / prior[:, 1]

    bounds = [_BOUNDS[0]] * count + [_BOUNDS[1]] * count + [_BOUNDS[2]]
    optimum = minimize(loss, prior[:, 0], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 30})
    return Hyperparameters.of(optimum.x)


class GaussianProcess:
    """The posterior after ``values``, of points whose distances are ``within``.

    ``expected``: the mean of the value without noise at each of them; ``scale``: the deviation of ``values``, 1 of
    constant ones.
    """

    def __init__(self, within: Distances, values: FloatArray, hyperparameters: Hyperparameters | None = None) -> None:
        self._mean = float(values.mean())
        self.scale = float(values.std()) or 1.0
        scaled = (values - self._mean) / self.scale
        self.hyperparameters = hyperparameters or fit_hyperparameters(within, scaled)
        matrix = np.sum(_kernel_terms(within, self.hyperparameters), axis=0)
        noise = np.exp(self.hyperparameters.noise) + _JITTER
        matrix[np.diag_indices_from(matrix)] += noise
        self._factor = cho_factor(matrix, lower=True)
        self._weights = cho_solve(self._factor, scaled)
        self._prior = float(np.exp(self.hyperparameters.amplitudes).sum())
        self.expected: FloatArray = (scaled - noise * self._weights) * self.scale + self._mean

    def predict(self, across: Distances) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the value without noise, a number a row of ``across``, its distances."""
        kernel = np.sum(_kernel_terms(across, self.hyperparameters), axis=0)
        mean = kernel @ self._weights
        solved = solve_triangular(self._factor[0], kernel.T, lower=True, check_finite=False)
        variance = np.maximum(self._prior - np.einsum("ij,ij->j", solved, solved), 1e-10)
        return mean * self.scale + self._mean, np.sqrt(variance) * self.scale
