"""Contract tests of searchers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import inf

from nas.searchers.protocol import Outcome, Searcher
from nas.testing.global_seeds import other_global_seeds
from search_spaces.blocks import heads
from search_spaces.blocks import mobile as blocks
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import Genotype, GenotypeError
from search_spaces.space.space import Space


def practice_space(choose: Choose, *, image_size: int = 16, num_classes: int = 4) -> Graph:
    """A small space with conditional choices: 1,168 genotypes, of quick networks."""
    b = Builder()
    x = blocks.conv_norm_act(b, b.input((3, image_size, image_size)), choose.one_of("stem", (4, 8)), 3, 2)
    for layer in range(choose.int("depth", 1, 3)):
        width = choose.one_of(f"layer{layer}.width", (4, 8))
        if choose.one_of(f"layer{layer}.bottleneck", (False, True)):
            expansion = choose.one_of(f"layer{layer}.expansion", (2, 3))
            x = blocks.inverted_bottleneck(b, x, width, expanded=expansion * x.channels)
        else:
            x = blocks.conv_norm_act(b, x, width, choose.one_of(f"layer{layer}.kernel", (1, 3)))
    return b.build(heads.classifier(b, x, num_classes))


def _single_network_space(choose: Choose) -> Graph:
    b = Builder()
    return b.build(b.linear(b.input((choose.one_of("width", (4,)),)), 2))


class SearcherContract:
    """What every searcher keeps (``nas.searchers.protocol.Searcher``). Subclasses define ``make_searcher``.

    ``asks``: genotypes to ask for in each check, more than a first population where the searcher has one.
    """

    asks: int = 150
    seed: int = 0

    def make_searcher(self, space: Space, rng: random.Random, known: Sequence[Outcome] = ()) -> Searcher:
        """The searcher on ``space``, with that random source, starting from ``known`` outcomes."""
        raise NotImplementedError(f"{type(self).__name__} needs make_searcher, which returns the searcher to test")

    def test_it_asks_for_genotypes_of_the_space(self) -> None:
        for objectives in (1, 2, 3):
            self._run_searcher(objectives=objectives)

    def test_the_same_seed_asks_for_the_same_genotypes(self) -> None:
        with other_global_seeds(1):
            first = self._run_searcher()
        with other_global_seeds(2):
            second = self._run_searcher()
        different = [n for n, (one, other) in enumerate(zip(first, second, strict=True)) if one != other]
        assert not different, f"with the same seed and outcomes, ask {different[:1]} is for another genotype"

    def test_several_asks_may_come_before_the_outcomes(self) -> None:
        self._run_searcher(batch=16)

    def test_failures_and_broken_limits_are_outcomes_too(self) -> None:
        """All failed, all over the limits, and some of each."""
        for failed, infeasible in ((1.0, 0.0), (0.0, 1.0), (0.3, 0.5)):
            self._run_searcher(failed=failed, infeasible=infeasible)

    def test_it_starts_from_known_outcomes(self) -> None:
        space, rng = Space(practice_space), random.Random(self.seed)
        known = [_random_outcome(space.sample(rng), rng, 2, 0.1, 0.5) for _ in range(100)]
        copied = list(known)
        self._run_searcher(known=known)
        assert known == copied, "the searcher changed the list of known outcomes, which belongs to the caller"

    def test_a_space_of_one_network_is_asked_again_and_again(self) -> None:
        genotypes = self._run_searcher(space=Space(_single_network_space))
        assert len(set(genotypes)) == 1

    def _run_searcher(
        self,
        *,
        space: Space | None = None,
        objectives: int = 2,
        batch: int = 1,
        failed: float = 0.0,
        infeasible: float = 0.0,
        known: Sequence[Outcome] = (),
    ) -> list[Genotype]:
        """Ask for ``batch`` genotypes at a time and tell random outcomes; the genotypes.

        ``failed`` and ``infeasible`` are the probabilities of such outcomes.
        """
        space = space or Space(practice_space)
        searcher = self.make_searcher(space, random.Random(self.seed), known)
        rng = random.Random(self.seed + 1)
        genotypes: list[Genotype] = []
        while len(genotypes) < self.asks:
            wave = [searcher.ask() for _ in range(batch)]
            for genotype in wave:
                assert isinstance(genotype, Genotype), f"ask() returned {type(genotype).__name__}, not a Genotype"
                try:
                    space.graph(Genotype(dict(genotype)))
                except GenotypeError as error:
                    raise AssertionError(f"ask() leads out of the space: {error}") from error
            genotypes += wave
            for genotype in wave:
                searcher.tell(_random_outcome(genotype, rng, objectives, failed, infeasible))
        return genotypes


def _random_outcome(
    genotype: Genotype, rng: random.Random, objectives: int, failed: float, infeasible: float
) -> Outcome:
    losses = tuple([rng.random() for _ in range(objectives)])
    constraint_violation = rng.random() if rng.random() < infeasible else 0.0
    return Outcome(genotype, (inf,) * objectives if rng.random() < failed else losses, constraint_violation)
