"""Pseudo-random numbers, the same on every machine."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nas.hashing.probe.key import parts_digest

UInt64s = NDArray[np.uint64]
Floats = NDArray[np.float64]


PROJECTION_CELLS = 512  # cells of a normalised input's projection, coarse: another cell would be another weight
_INCREMENT, MIX_1, _MIX_2 = (
    np.array([w], dtype=np.uint64) for w in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
PROJECTION_MULTIPLIERS = np.concatenate([MIX_1, _MIX_2])
_S27, _S30, _S31 = (np.array([w], dtype=np.uint64) for w in (27, 30, 31))


def mix(words: UInt64s) -> UInt64s:
    """SplitMix64's finaliser (Steele et al., OOPSLA 2014): every bit in moves every bit out."""
    words = (words ^ (words >> _S30)) * MIX_1
    words = (words ^ (words >> _S27)) * _MIX_2
    return words ^ (words >> _S31)


@lru_cache(maxsize=4096)
def _increments(count: int) -> UInt64s:
    return np.arange(1, count + 1, dtype=np.uint64) * _INCREMENT


def uniform_pairs(seeds: UInt64s, count: int) -> Floats:
    """Two independent numbers in [0, 1) for each seed and index, ``(len(seeds), count, 2)``."""
    words = mix(seeds[:, None] + _increments(count)).astype("<u8", copy=False)
    return words.view("<u4").reshape(len(seeds), count, 2) * (1 / 2**32)


@lru_cache(maxsize=256)
def uniform(name: str, count: int) -> Floats:
    """Fixed numbers in (-1, 1) that depend on ``name`` alone."""
    numbers = uniform_pairs(seed_from_digest(parts_digest(name)), count)[0, :, 0] * 2 - 1
    numbers.flags.writeable = False
    return numbers


@lru_cache(maxsize=256)
def projection_directions(count: int) -> Floats:
    """Two directions, ``(2, count)``: projections of rows of unit variance spread over ``PROJECTION_CELLS``."""
    return uniform("directions", 2 * count).reshape(2, count) * math.sqrt(3 / max(count, 1)) * PROJECTION_CELLS


def seed_from_digest(digest: bytes) -> UInt64s:
    """The first 64 bits of a digest, as an array of one word."""
    return np.frombuffer(digest[:8], dtype="<u8").astype(np.uint64)
