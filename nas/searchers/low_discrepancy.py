"""Points that fill a space evenly: scrambled Sobol sequences (Owen 1998; Joe and Kuo 2008) and rank-1 lattices.

A point u of the unit cube has one coordinate for each choice that the space can make, and picks option floor(u n) of
its n options. Of any 2^k first points of a Sobol sequence, each interval of length 2^-k of each coordinate holds one:
a choice with a power of two of options sees all of them equally often. Coordinates of choices that a network does not
make have no effect.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.protocol import Outcome
from search_spaces.registry import unknown_name
from search_spaces.space.genotype import Genotype

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Points = npt.NDArray[np.float64]

# Points of the first block; every further block doubles what there is, as both sequences are balanced then.
_BLOCK = 64


class SequenceError(ValueError):
    """A sequence that cannot be made: an optional package is missing, or the space has too many choices."""


def _sobol(dimension: int, seed: int) -> Iterator[Points]:
    from scipy.stats import qmc

    if dimension > qmc.Sobol.MAXDIM:
        raise SequenceError(f"Sobol sequences have up to {qmc.Sobol.MAXDIM} coordinates; the space has {dimension}")
    sequence = qmc.Sobol(dimension, scramble=True, seed=seed)
    count = _BLOCK
    while True:
        yield sequence.random(count)
        count = int(sequence.num_generated)


def _lattice(dimension: int, seed: int) -> Iterator[Points]:
    try:
        import qmcpy  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise SequenceError(
            f"engine lattice needs QMCPy ({error}): pip install qmcpy; engine sobol needs nothing more"
        ) from error
    sequence = qmcpy.Lattice(dimension, seed=seed)  # shifted at random modulo 1 (Cranley and Patterson 1976)
    start, stop = 0, _BLOCK
    while True:
        yield sequence.gen_samples(n_min=start, n_max=stop)
        start, stop = stop, 2 * stop


_ENGINES: dict[str, Callable[[int, int], Iterator[Points]]] = {"lattice": _lattice, "sobol": _sobol}


def genotype_sequence(space: ChoiceSpace, rng: random.Random, engine: str = "sobol") -> Iterator[Genotype]:
    """Genotypes of an endless sequence, one after the other; ``rng`` is drawn from once, for the scrambling.

    ``engine``: ``sobol``, or ``lattice``, which needs QMCPy. Raises ``UnknownName`` for another, and
    ``SequenceError`` where it cannot be made.
    """
    if engine not in _ENGINES:
        raise unknown_name("low-discrepancy sequence", engine, list(_ENGINES))
    return _decode_points(space, rng.getrandbits(32), engine)


def _decode_points(space: ChoiceSpace, seed: int, engine: str) -> Iterator[Genotype]:
    import numpy as np

    counts = np.array([len(options) for options in space.decisions().values()])
    blocks = _ENGINES[engine](len(counts), seed) if len(counts) else itertools.repeat(np.empty((_BLOCK, 0)))
    for block in blocks:
        for option_indices in np.minimum((block * counts).astype(np.int64), counts - 1):
            yield space.decode(option_indices)


def low_discrepancy(space: ChoiceSpace, count: int, rng: random.Random, engine: str = "sobol") -> list[Genotype]:
    """``count`` genotypes that fill the space evenly; powers of two are the most even. Some may be equal."""
    return list(itertools.islice(genotype_sequence(space, rng, engine), count))


class LowDiscrepancy:
    """Asks for the points of one sequence in order and learns nothing else from what it is told.

    A point that it is told of without having asked for it, as in a search that goes on, is passed over once.
    """

    def __init__(
        self, space: ChoiceSpace, rng: random.Random, history: Sequence[Outcome] = (), *, engine: str = "sobol"
    ) -> None:
        self._points = genotype_sequence(space, rng, engine)
        self._pending_counts: Counter[Genotype] = Counter()
        self._skip_counts = Counter(outcome.genotype for outcome in history)

    def ask(self) -> Genotype:
        point = next(self._points)
        while self._skip_counts[point] > 0:
            self._skip_counts[point] -= 1
            point = next(self._points)
        self._pending_counts[point] += 1
        return point

    def tell(self, outcome: Outcome) -> None:
        if self._pending_counts[outcome.genotype] > 0:
            self._pending_counts[outcome.genotype] -= 1
        else:
            self._skip_counts[outcome.genotype] += 1
