"""What searchers need of a search space, and the simplest thing that has it: choices that are always made."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

from search_spaces.space.genotype import DecisionValue, Genotype, GenotypeError, Rng

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class ChoiceSpace(Protocol):
    """Named choices among listed options, some of which may depend on others: what searchers need of a ``Space``.

    The methods are those of ``Space``, which says what each does.
    """

    @property
    def name(self) -> str: ...

    def sample(self, rng: Rng) -> Genotype: ...

    def complete(self, decisions: Mapping[str, DecisionValue], rng: Rng) -> Genotype: ...

    def mutate(self, genotype: Genotype, rng: Rng) -> Genotype: ...

    def crossover(self, a: Genotype, b: Genotype, rng: Rng) -> Genotype: ...

    def enumerate(self) -> Iterator[Genotype]: ...

    def size(self) -> int: ...

    def decisions(self) -> dict[str, tuple[Any, ...]]: ...

    def encode(self, genotype: Mapping[str, DecisionValue]) -> npt.NDArray[np.int64]: ...

    def decode(self, vector: Sequence[int] | npt.NDArray[np.int64]) -> Genotype: ...


@dataclass(frozen=True)
class FlatSpace:
    """Choices that are all made every time, independent of each other, and no graph behind them.

    ``options``: the options of each choice by its name; of one choice, no two are equal.
    """

    options: Mapping[str, tuple[DecisionValue, ...]]
    name: str = "flat"

    def sample(self, rng: Rng) -> Genotype:
        """Every choice uniform over its options."""
        return self.complete({}, rng)

    def complete(self, decisions: Mapping[str, DecisionValue], rng: Rng) -> Genotype:
        """These decisions, and random ones elsewhere; decisions of other names are ignored."""
        values = {}
        for name, options in self.options.items():
            if name in decisions:
                values[name] = options[self._option_index(name, decisions[name])]
            else:
                values[name] = options[int(rng.random() * len(options))]
        return Genotype(values)

    def mutate(self, genotype: Genotype, rng: Rng) -> Genotype:
        """One decision changed to another of its options; as it is where no choice has two."""
        names = [n for n, options in self.options.items() if len(options) > 1]
        if not names:
            return genotype
        name = names[int(rng.random() * len(names))]
        options = self.options[name]
        shift = 1 + int(rng.random() * (len(options) - 1))
        return Genotype({**genotype, name: options[(self._option_index(name, genotype[name]) + shift) % len(options)]})

    def crossover(self, a: Genotype, b: Genotype, rng: Rng) -> Genotype:
        """Uniform crossover: each decision from either parent."""
        return Genotype({name: (a if rng.random() < 0.5 else b)[name] for name in self.options})

    def enumerate(self) -> Iterator[Genotype]:
        """Every genotype once, last decision fastest."""
        for values in itertools.product(*self.options.values()):
            yield Genotype(dict(zip(self.options, values, strict=True)))

    def size(self) -> int:
        """How many genotypes there are."""
        return prod(len(options) for options in self.options.values())

    def decisions(self) -> dict[str, tuple[Any, ...]]:
        """All choices, by name, with their options."""
        return dict(self.options)

    def encode(self, genotype: Mapping[str, DecisionValue]) -> npt.NDArray[np.int64]:
        """The number of each decision among its options."""
        import numpy as np

        return np.array([self._option_index(name, genotype[name]) for name in self.options], dtype=np.int64)

    def decode(self, vector: Sequence[int] | npt.NDArray[np.int64]) -> Genotype:
        """The genotype that ``encode`` wrote. Raises ``GenotypeError``."""
        if len(vector) != len(self.options):
            raise GenotypeError(f"space {self.name!r}: a vector has {len(self.options)} entries, not {len(vector)}")
        values = {}
        for (name, options), index in zip(self.options.items(), vector, strict=True):
            if not 0 <= index < len(options) or index != int(index):
                raise GenotypeError(
                    f"space {self.name!r}: the entry of {name!r} must be 0 to {len(options) - 1}, not {index!r}"
                )
            values[name] = options[int(index)]
        return Genotype(values)

    def _option_index(self, name: str, value: DecisionValue) -> int:
        try:
            return self.options[name].index(value)
        except ValueError:
            raise GenotypeError(f"space {self.name!r}: {name!r} cannot be {value!r}") from None
