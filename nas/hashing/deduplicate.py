"""Recognises the networks of one search: a key for every genotype, and a comparison wherever a key comes back."""

from __future__ import annotations

import time
from collections.abc import Callable

from nas.hashing import functional_hash
from nas.hashing.isomorphism import same_network
from nas.hashing.rules import parse_equivalence
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


class Deduplicator:
    """Names a space's networks. Two genotypes get one name where they are one network under ``rules``.

    Keys that meet by accident are told apart: the second network's name is its key and ``#2``. ``seconds`` is the
    time spent, ``collisions`` how often keys met. ``graph_hash`` stands in for the key of a graph.
    """

    def __init__(self, space: Space, rules: str, graph_hash: Callable[[Graph], str] | None = None) -> None:
        self.seconds = 0.0
        self.collisions = 0
        self._name = rules
        self._equivalence = parse_equivalence(rules)
        self._space = self._equivalence.canonical_space(space)
        self._hash_of = graph_hash
        self._keys: dict[Genotype, str] = {}
        self._representatives: dict[str, Genotype] = {}
        self._confirmed_digests: dict[str, str] = {}  # of graphs that were compared, their names

    @property
    def uses_notation(self) -> bool:
        """Whether names follow from how a cell is written, and not from the network."""
        return bool(self._equivalence.notation)

    def name(self, genotype: Genotype) -> str:
        """The network's name."""
        key = self._keys.get(genotype)
        if key is None:
            started = time.perf_counter()
            key = self._identify(genotype)
            self.seconds += time.perf_counter() - started
            memo_put(self._keys, genotype, key)
        return key

    def _identify(self, genotype: Genotype) -> str:
        if self._equivalence.notation:
            return functional_hash(genotype, space=self._space, rules=self._name)
        graph = self._space.graph(genotype)
        key = self._hash_of(graph) if self._hash_of else functional_hash(graph, rules=self._name)
        name = key
        variant = 1
        while (first := self._representatives.get(name)) is not None:
            if first == genotype or self._is_same_network(graph, first, name):
                return name
            variant += 1
            name = f"{key}#{variant}"
        self.collisions += variant > 1
        self._representatives[name] = genotype
        return name

    def _is_same_network(self, graph: Graph, first: Genotype, name: str) -> bool:
        if self._confirmed_digests.get(graph.digest) == name:
            return True
        same = same_network(graph, self._space.graph(first), self._equivalence)
        if same:
            memo_put(self._confirmed_digests, graph.digest, name)
        return same
