"""Genotypes as rows of numbers for models that learn from them: the decisions, and features of their network.

A decision is one column an option, all of them 0 where the choice is not made, over the square root of 2, so that two
genotypes are 1 apart (squared) in each decision that differs: the Hamming distance, on which the diffusion kernel of
a complete graph is a Gaussian (Oh et al. 2019, arXiv 1902.00448, eq. 7). Options that are numbers have a further
column with their rank from 0 to 1: neighbours are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np
import numpy.typing as npt

from search_spaces.space.genotype import DecisionValue
from search_spaces.space.space import Space

FloatArray = npt.NDArray[np.float64]


class Encoder:
    """Encodes the genotypes of one space."""

    def __init__(self, space: Space) -> None:
        self._columns: dict[str, dict[DecisionValue, tuple[tuple[int, float], ...]]] = {}
        width = 0
        for name, options in space.decisions().items():
            if len(options) < 2:
                continue
            half = sqrt(0.5)
            entries: dict[DecisionValue, tuple[tuple[int, float], ...]] = {}
            entries.update({option: ((width + i, half),) for i, option in enumerate(options)})
            width += len(options)
            if len(options) > 2 and all(isinstance(o, int | float) and not isinstance(o, bool) for o in options):
                for rank, option in enumerate(sorted(options)):
                    entries[option] = (*entries[option], (width, rank / (len(options) - 1)))
                width += 1
            self._columns[name] = entries
        self.width = width

    def row(self, genotype: Mapping[str, DecisionValue]) -> FloatArray:
        """One genotype: ``width`` numbers. Raises ``KeyError`` for an option that the space does not have."""
        row = np.zeros(self.width)
        for name, value in genotype.items():
            for column, weight in self._columns[name][value] if name in self._columns else ():
                row[column] = weight
        return row


def standardised(features: FloatArray, reference_rows: FloatArray) -> FloatArray:
    """The columns of ``features``, moved and scaled to mean 0 and deviation 1 in the rows ``reference_rows``.

    What is not finite counts as the mean; a column that does not vary in ``reference_rows`` is 0.
    """
    reference_rows = np.where(np.isfinite(reference_rows), reference_rows, np.nan)
    with np.errstate(all="ignore"):
        has_finite = np.isfinite(reference_rows).any(axis=0)
        mean = np.where(has_finite, np.nanmean(np.where(has_finite, reference_rows, 0.0), axis=0), 0.0)
        deviation = np.where(has_finite, np.nanstd(np.where(has_finite, reference_rows, 0.0), axis=0), 0.0)
    scaled = (np.where(np.isfinite(features), features, mean) - mean) / np.where(deviation > 0, deviation, 1.0)
    result: FloatArray = np.clip(np.where(deviation > 0, scaled, 0.0), -10.0, 10.0)
    return result


def as_matrix(rows: Sequence[FloatArray], width: int) -> FloatArray:
    """Rows as a matrix, also where there are none."""
    return np.array(rows, dtype=float).reshape(len(rows), width)
