"""The space that a contract tests, and what its checks have in common."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import DecisionValue, Genotype, GenotypeError
from search_spaces.space.space import Space


class SpaceUnderTest:
    """``make_space``, and options that keep the checks quick; ``nas.testing.SpaceContract`` says what each means."""

    samples: int = 20
    trained: int = 5
    seed: int = 0
    small: Mapping[str, Any] = {}
    cut_down: Mapping[str, Any] = {}
    only: Mapping[str, Sequence[DecisionValue]] = {}
    listed: int = 100
    where: str = ""

    def make_space(self) -> Space:
        """A new instance of the space."""
        raise NotImplementedError(f"{type(self).__name__} needs make_space, which returns the space to test")

    @property
    def space(self) -> Space:
        """The space that most checks share."""
        space = type(self).__dict__.get("_shared_space")
        if not isinstance(space, Space):
            space = self.make_space()
            assert isinstance(space, Space), f"make_space returned {type(space).__name__}, not a Space"
            type(self)._shared_space = space  # type: ignore[attr-defined]
        return space

    def sampled_networks(self, space: Space) -> Iterator[tuple[Genotype, Graph]]:
        """``samples`` random genotypes and their networks, the same at every call."""
        rng = random.Random(self.seed)
        for _ in range(self.samples):
            genotype = space.sample(rng)
            yield genotype, space.graph(genotype)

    def assert_refused(self, what: str, attempt: Callable[[], object]) -> None:
        """``attempt`` must raise a ``GenotypeError`` with a message."""
        try:
            attempt()
        except GenotypeError as error:
            message = str(error)
        except Exception as error:  # whatever a plug-in raises
            raise AssertionError(f"{what} ends in {type(error).__name__} ({error}), not in a GenotypeError") from error
        else:
            raise AssertionError(f"{what} is taken, not refused with a GenotypeError")
        assert message.strip(), f"{what} is refused without a word"

    def assert_in_space(self, child: Genotype, what: str) -> None:
        """``child`` must be a genotype of the space, whatever object it is."""
        try:
            self.space.graph(Genotype(dict(child)))
        except GenotypeError as error:
            raise AssertionError(f"{what} leads out of the space: {error}") from error
