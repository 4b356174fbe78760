"""Recognises the networks of one search: a key for every genotype, and a comparison wherever a key comes back."""

from __future__ import annotations

import time
from collections.abc import Callable

from nas.hashing import functional_hash
from nas.hashing.isomorphism import same_network
from nas.hashing.rules import rule_set
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import remember
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


class Recogniser:
    """Names a space's networks. Two genotypes get one name where they are one network under ``rules``.

    Keys that meet by accident are told apart: the second network's name is its key and ``#2``. ``seconds`` is the
    time spent, ``collisions`` how often keys met. ``hash_of`` stands in for the key of a graph.
    """

    def __init__(self, space: Space, rules: str, hash_of: Callable[[Graph], str] | None = None) -> None:
        self.seconds = 0.0
        self.collisions = 0
        self._name = rules
        self._rules = rule_set(rules)
        self._space = self._rules.written(space)
        self._hash_of = hash_of
        self._names: dict[Genotype, str] = {}
        self._first: dict[str, Genotype] = {}
        self._digests: dict[str, str] = {}  # of graphs that were compared, their names

    @property
    def by_notation(self) -> bool:
        """Whether names follow from how a cell is written, and not from the network."""
        return bool(self._rules.notation)

    def name(self, genotype: Genotype) -> str:
        """The network's name."""
        known = self._names.get(genotype)
        if known is None:
            started = time.perf_counter()
            known = self._found(genotype)
            self.seconds += time.perf_counter() - started
            remember(self._names, genotype, known)
        return known

    def _found(self, genotype: Genotype) -> str:
        if self._rules.notation:
            return functional_hash(genotype, space=self._space, rules=self._name)
        graph = self._space.graph(genotype)
        key = self._hash_of(graph) if self._hash_of else functional_hash(graph, rules=self._name)
        name = key
        variant = 1
        while (first := self._first.get(name)) is not None:
            if first == genotype or self._is_one(graph, first, name):
                return name
            variant += 1
            name = f"{key}#{variant}"
        self.collisions += variant > 1
        self._first[name] = genotype
        return name

    def _is_one(self, graph: Graph, first: Genotype, name: str) -> bool:
        if self._digests.get(graph.digest) == name:
            return True
        same = same_network(graph, self._space.graph(first), self._rules)
        if same:
            remember(self._digests, graph.digest, name)
        return same
