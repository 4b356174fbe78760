"""Checks of a space's size, and the parts of a space that are small enough to enumerate."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import islice
from typing import Any

from nas.testing.space_under_test import SpaceUnderTest
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, Genotype, GenotypeError, Rng
from search_spaces.space.space import Space

_IDLE_CHOICES = 12  # choices of two options that change nothing: 4,096 times as many genotypes


class SizeChecks(SpaceUnderTest):
    """``size`` is the number of genotypes that ``enumerate`` lists, and options leave the choices alone."""

    def test_the_size_is_what_enumeration_counts(self) -> None:
        """On the part that can be listed, and on that part beside idle choices, which has to be counted."""
        subspace = self.subspace()
        genotypes = list(subspace.enumerate())
        assert len(set(genotypes)) == len(genotypes), "enumerate() lists a genotype twice"
        table = subspace.decisions()
        probabilities = [_sampling_probability([len(table[name]) for name in genotype]) for genotype in genotypes]
        assert sum(probabilities) == 1, "enumerate() lists other genotypes than sample() draws"
        listed = set(genotypes)
        for genotype, _ in self.sampled_networks(subspace):
            assert genotype in listed, f"enumerate() does not list {genotype!r}, which sample() draws"
        assert subspace.size() == len(genotypes), (
            f"size() is {subspace.size()}, but there are {len(genotypes)} genotypes"
        )
        counted = with_idle_choices(subspace, _IDLE_CHOICES).size()
        assert counted == len(genotypes) << _IDLE_CHOICES, (
            f"{len(genotypes)} genotypes are counted as {counted / 2**_IDLE_CHOICES:g}"
        )

    def test_options_leave_the_choices_alone(self) -> None:
        """Under the options ``small``, the space has the same genotypes: searches train networks at a small scale."""
        small = self.space.with_options(**self.small)
        for here, there in ((self.space, small), (small, self.space)):
            for genotype, _ in self.sampled_networks(here):
                try:
                    there.graph(Genotype(dict(genotype)))
                except GenotypeError as error:
                    raise AssertionError(f"with other options the choices are others: {error}") from error

    def subspace(self) -> Space:
        """A part of the space that is small enough to list."""
        space = self.space.with_options(**{**self.small, **self.cut_down})
        if self.only:
            return restricted_space(space, self.only)
        if self.cut_down or self.space.size() <= self.listed:
            return space
        return random_subspace(space, self.space.decisions(), random.Random(self.seed), self.listed)


def _sampling_probability(options: Sequence[int]) -> Fraction:
    """The probability of a genotype whose choices have so many options."""
    probability = Fraction(1)
    for count in options:
        probability /= count
    return probability


class _RestrictedChoose:
    """A chooser that offers fewer options to the one behind it."""

    def __init__(self, choose: Choose, only: Mapping[str, Sequence[DecisionValue]]) -> None:
        self._choose = choose
        self._only = only

    def one_of(self, name: str, options: Sequence[Any]) -> Any:
        allowed = self._only.get(name)
        return self._choose.one_of(name, options if allowed is None else [o for o in options if o in allowed])

    def int(self, name: str, low: int, high: int) -> Any:
        return self.one_of(name, range(low, high + 1))


def restricted_space(space: Space, only: Mapping[str, Sequence[DecisionValue]]) -> Space:
    """``space`` with fewer options of the choices that ``only`` names."""

    def function(choose: Choose, **options: Any) -> Graph:
        return space.function(_RestrictedChoose(choose, only), **options)

    return Space(function, space.name, space.options)


def random_subspace(space: Space, table: Mapping[str, Sequence[DecisionValue]], rng: Rng, listed: int) -> Space:
    """A part of at most ``listed`` genotypes: choices with two of their options, as many as that allows, else one.

    ``table`` holds the choices of ``space`` with their options.
    """
    genotype = space.sample(rng)
    only: dict[str, tuple[DecisionValue, ...]] = {n: (genotype.get(n, options[0]),) for n, options in table.items()}
    names = [name for name, options in table.items() if len(options) > 1]
    for _ in range(min(12, len(names))):
        name = names.pop(int(rng.random() * len(names)))
        others = [o for o in table[name] if o not in only[name]]
        wider = {**only, name: (*only[name], others[int(rng.random() * len(others))])}
        if sum(1 for _ in islice(restricted_space(space, wider).enumerate(), listed + 1)) > listed:
            break
        only = wider
    return restricted_space(space, only)


def with_idle_choices(space: Space, count: int) -> Space:
    """``space`` with ``count`` more choices of two options each, which change nothing: 2**count times its size."""

    def function(choose: Choose, **options: Any) -> Graph:
        for number in range(count):
            choose.one_of(f"idle {number}", (False, True))
        return space.function(choose, **options)

    return Space(function, space.name, space.options)
