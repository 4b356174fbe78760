"""One key for each network of a search: a functional key for every genotype, verified wherever a key comes back."""

from __future__ import annotations

import time
from collections.abc import Callable

from nas.hashing.equivalence import parse_equivalence
from nas.hashing.functional_key import functional_hash
from nas.hashing.isomorphism import UndecidedNetworks, same_network
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


class Deduplicator:
    """Gives a space's networks keys. Two genotypes get one key where they are one network under ``rules``.

    Where two networks have one functional key by accident, the second network's key is that key and ``#2``.
    ``seconds`` is the time spent, ``collisions`` counts such accidents. ``undecided`` counts the networks of which it
    could not be found out whether another of their key is the same: they, too, get a key of their own, so that they
    share nothing. ``graph_hash`` replaces the functional key of a graph.
    """

    def __init__(self, space: Space, rules: str, graph_hash: Callable[[Graph], str] | None = None) -> None:
        self.seconds = 0.0
        self.collisions = 0
        self.undecided = 0
        self._rules = rules
        self._equivalence = parse_equivalence(rules)
        self._space = self._equivalence.canonical_space(space)
        self._graph_hash = graph_hash
        self._keys: dict[Genotype, str] = {}
        self._representatives: dict[str, Genotype] = {}
        self._confirmed_digests: dict[str, str] = {}  # digests of graphs that were compared, and their networks' keys
        self._undecided_digests: set[tuple[str, str]] = set()  # with the key of the network each was compared with

    @property
    def uses_notation(self) -> bool:
        """Whether keys follow from how a cell is written, and not from the network."""
        return bool(self._equivalence.notation)

    def network_key(self, genotype: Genotype) -> str:
        """The key of the genotype's network, unique within this search."""
        key = self._keys.get(genotype)
        if key is None:
            started = time.perf_counter()
            key = self._identify(genotype)
            self.seconds += time.perf_counter() - started
            memo_put(self._keys, genotype, key)
        return key

    def _identify(self, genotype: Genotype) -> str:
        if self._equivalence.notation:
            return functional_hash(genotype, space=self._space, rules=self._rules)
        graph = self._space.graph(genotype)
        functional_key = self._graph_hash(graph) if self._graph_hash else functional_hash(graph, rules=self._rules)
        key = functional_key
        variant = 1
        is_undecided = False
        while (representative := self._representatives.get(key)) is not None:
            if representative == genotype or self._is_same_network(graph, representative, key):
                return key
            is_undecided = is_undecided or (graph.digest, key) in self._undecided_digests
            variant += 1
            key = f"{functional_key}#{variant}"
        self.undecided += is_undecided
        self.collisions += variant > 1 and not is_undecided
        self._representatives[key] = genotype
        return key

    def _is_same_network(self, graph: Graph, representative: Genotype, key: str) -> bool:
        if self._confirmed_digests.get(graph.digest) == key:
            return True
        if (graph.digest, key) in self._undecided_digests:
            return False
        try:
            is_same = same_network(graph, self._space.graph(representative), self._equivalence)
        except UndecidedNetworks:  # to train one network twice costs time; to give one the other's result is wrong
            self._undecided_digests.add((graph.digest, key))
            return False
        if is_same:
            memo_put(self._confirmed_digests, graph.digest, key)
        return is_same
