"""A space of listed genotypes only, for tables that hold a sample of another space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.space.genotype import DecisionValue, Genotype, GenotypeError, Rng

Ints = NDArray[np.int64]


class ListedSpace:
    """Some genotypes of another space. Any other genotype is replaced by the nearest listed one.

    ``genotypes``: each once. ``options``: all options of each choice of the other space, in its order. The distance is
    the number of different decisions, a choice that only one of two makes counted as one; of equally near genotypes one
    is drawn.
    """

    def __init__(
        self,
        genotypes: Sequence[Mapping[str, DecisionValue]],
        options: Mapping[str, Sequence[Any]],
        name: str = "listed",
    ) -> None:
        if not genotypes:
            raise GenotypeError(f"space {name!r} lists no genotype")
        self.name = name
        self._options = {choice: tuple(listed) for choice, listed in options.items()}
        self._genotypes = [Genotype(one) for one in genotypes]
        self._vectors = np.array([self.encode(one) for one in self._genotypes])

    def sample(self, rng: Rng) -> Genotype:
        """A listed genotype, all equally likely."""
        return self._genotypes[int(rng.random() * len(self._genotypes))]

    def complete(self, decisions: Mapping[str, DecisionValue], rng: Rng) -> Genotype:
        """The listed genotype that is nearest in these decisions."""
        columns = [index for index, name in enumerate(self._options) if name in decisions]
        vector = np.array([self._option_index(name, decisions[name]) for name in self._options if name in decisions])
        return self._nearest((self._vectors[:, columns] != vector).sum(axis=1), rng)

    def mutate(self, genotype: Genotype, rng: Rng) -> Genotype:
        """The listed genotype, another one, that is nearest to this one with one decision changed."""
        if len(self._genotypes) == 1:
            return genotype
        vector = self.encode(genotype)
        indices = [i for i, options in enumerate(self._options.values()) if len(options) > 1]
        index = indices[int(rng.random() * len(indices))]
        count = len(list(self._options.values())[index])
        changed = vector.copy()
        changed[index] = (vector[index] + 1 + int(rng.random() * (count - 1))) % count
        differences = (self._vectors != changed).sum(axis=1)
        differences[(self._vectors == vector).all(axis=1)] = len(vector) + 1
        return self._nearest(differences, rng)

    def crossover(self, a: Genotype, b: Genotype, rng: Rng) -> Genotype:
        """The listed genotype that is nearest to one with each decision from either parent."""
        mixed = {**b, **a}
        for name in mixed:
            if name in a and name in b and rng.random() < 0.5:
                mixed[name] = b[name]
        return self.complete(mixed, rng)

    def _nearest(self, differences: Ints, rng: Rng) -> Genotype:
        nearest = np.flatnonzero(differences == differences.min())
        return self._genotypes[int(nearest[int(rng.random() * len(nearest))])]

    def enumerate(self) -> Iterator[Genotype]:
        """The listed genotypes."""
        return iter(self._genotypes)

    def size(self) -> int:
        """The number of listed genotypes."""
        return len(self._genotypes)

    def decisions(self) -> dict[str, tuple[Any, ...]]:
        """All choices of the other space, by name, with their options."""
        return dict(self._options)

    def encode(self, genotype: Mapping[str, DecisionValue]) -> Ints:
        """A vector of option numbers; -1 for a choice that is not made."""
        indices = [self._option_index(name, genotype[name]) if name in genotype else -1 for name in self._options]
        return np.array(indices, dtype=np.int64)

    def decode(self, vector: Sequence[int] | Ints) -> Genotype:
        """The listed genotype nearest to a vector; of equally near ones the first. Raises ``GenotypeError``."""
        numbers = np.asarray(vector)
        if numbers.shape != (len(self._options),):
            raise GenotypeError(f"space {self.name!r}: a vector has {len(self._options)} entries, not {numbers.size}")
        return self._genotypes[int((self._vectors != numbers).sum(axis=1).argmin())]

    def _option_index(self, name: str, value: DecisionValue) -> int:
        try:
            return self._options[name].index(value)
        except ValueError:
            raise GenotypeError(f"space {self.name!r}: {name!r} cannot be {value!r}") from None
