"""An isomorphism of two labelled directed graphs, by refinement, individualisation and independent components.

Colours are refined, in both graphs at once, until all vertices of a colour have equally many neighbours of every other
(Hopcroft's rule: of a split class, all parts but the largest are looked at again). Between two classes that are joined
throughout, or not at all, any pairing is right, so those edges are dropped. What then remains falls into components,
and a component may be given to any isomorphic one without looking back: no order of the others can need it more. Only a
component that nothing divides is searched, by setting one of its vertices apart and trying every partner for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

# Visits of vertices and edges before the search gives up; some ten seconds. A transformer of twelve layers with twelve
# heads each, a layer for each head, takes a twentieth of it.
MAX_VISITS = 5_000_000

# How deep components may lie in components: each takes Python's stack.
_MAX_DEPTH = 250


class UndecidedMatch(ValueError):
    """Whether two graphs are isomorphic was not found out within the bound."""


class LabelledGraph(NamedTuple):
    """A directed graph: the labels of its vertices, and edges (from, to, multiplicity), no two between one pair."""

    labels: Sequence[Hashable]
    edges: Sequence[tuple[int, int, int]]


_Adjacency = dict[int, list[tuple[int, int]]]


class _Pair(NamedTuple):
    """Two graphs, or parts of them, side by side; the second's vertices are numbered on from the first's.

    Both have equally many vertices of every colour, and the colouring is stable. ``edges``: (from, to, multiplicity).
    """

    vertices: list[int]
    edges: list[tuple[int, int, int]]
    colours: dict[int, int]


class _Component(NamedTuple):
    """A connected part of one side; ``colour_counts``: how many of its vertices have which colour."""

    vertices: list[int]
    edges: list[tuple[int, int, int]]
    colour_counts: tuple[tuple[int, int], ...]


def isomorphism(a: LabelledGraph, b: LabelledGraph, max_visits: int = MAX_VISITS) -> list[int] | None:
    """The vertex of ``b`` for every vertex of ``a``, so that labels and edges agree; ``None`` where there is none.

    Raises ``UndecidedMatch`` where ``max_visits`` visits of vertices and edges do not tell.
    """
    if len(a.labels) != len(b.labels) or len(a.edges) != len(b.edges) or Counter(a.labels) != Counter(b.labels):
        return None
    mapping = _Matcher(a, b, max_visits).match()
    if mapping is None:
        return None
    images = [mapping[vertex] - len(a.labels) for vertex in range(len(a.labels))]
    assert sorted(images) == list(range(len(images)))
    assert all(a.labels[vertex] == b.labels[image] for vertex, image in enumerate(images))
    assert {(images[v], images[w], n) for v, w, n in a.edges} == set(b.edges)
    return images


class _Matcher:
    """The search for one isomorphism; counts its visits."""

    def __init__(self, a: LabelledGraph, b: LabelledGraph, max_visits: int) -> None:
        self._size = len(a.labels)
        self._visits_left = max_visits
        numbers: dict[Hashable, int] = {}
        colours = [numbers.setdefault(label, len(numbers)) for label in (*a.labels, *b.labels)]
        edges = [*a.edges, *[(v + self._size, w + self._size, n) for v, w, n in b.edges]]
        self._whole = _Pair(list(range(2 * self._size)), edges, dict(enumerate(colours)))
        # A set of edges of one vertex is the sum of these: no two multisets of at most ``len(edges)`` have one sum.
        self._weights = {n: (len(edges) + 1) ** i for i, n in enumerate(sorted({n for _, _, n in edges}))}

    def match(self) -> dict[int, int] | None:
        """The partner of every vertex of the first graph."""
        colours = self._refine(self._whole, set(self._whole.colours.values()))
        return None if colours is None else self._match(self._whole._replace(colours=colours), 0)

    def _visit(self, count: int) -> None:
        self._visits_left -= count
        if self._visits_left < 0:
            raise UndecidedMatch("whether the two are isomorphic is not known: the search reached its bound")

    # -- refinement ----------------------------------------------------------------------------------------------------

    def _refine(self, pair: _Pair, splitters: Iterable[int]) -> dict[int, int] | None:
        """The coarsest stable colouring that is finer; ``None`` where it tells the two sides apart.

        ``splitters`` are the colours that may tell others apart.
        """
        self._visit(len(pair.vertices) + len(pair.edges))
        colours = dict(pair.colours)
        classes: defaultdict[int, set[int]] = defaultdict(set)
        for vertex in pair.vertices:
            classes[colours[vertex]].add(vertex)
        neighbours = self._neighbours(pair.edges)
        waiting = deque(sorted(splitters))
        is_waiting = set(waiting)
        unused = 1 + max(classes, default=-1)
        while waiting:
            splitter = waiting.popleft()
            is_waiting.discard(splitter)
            members = list(classes[splitter])
            for direction in neighbours:
                weights: defaultdict[int, int] = defaultdict(int)
                for vertex in members:
                    for other, weight in direction[vertex]:
                        weights[other] += weight
                self._visit(len(members) + len(weights))
                for colour, parts in self._parts(weights, colours).items():
                    whole = classes[colour]
                    rest = len(whole) - sum(map(len, parts))
                    if not rest and len(parts) == 1:
                        continue
                    if any(2 * sum(v < self._size for v in part) != len(part) for part in parts):
                        return None
                    # The largest part keeps the colour, unless it is that of the vertices that were not visited.
                    parts.sort(key=len, reverse=True)
                    moved = parts if rest else parts[1:]
                    new_colours = range(unused, unused + len(moved))
                    unused += len(moved)
                    for new_colour, part in zip(new_colours, moved, strict=True):
                        classes[new_colour] = set(part)
                        whole.difference_update(part)
                        for vertex in part:
                            colours[vertex] = new_colour
                    again = list(new_colours)
                    if colour not in is_waiting and rest and len(parts[0]) > rest:
                        again[0] = colour
                    waiting.extend(again)
                    is_waiting.update(again)
        return colours

    def _neighbours(self, edges: Iterable[tuple[int, int, int]]) -> tuple[_Adjacency, _Adjacency]:
        """Whom each vertex reads, and who reads it, with the weight of the edge."""
        operands: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        readers: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for v, w, n in edges:
            weight = self._weights[n]
            operands[w].append((v, weight))
            readers[v].append((w, weight))
        return operands, readers

    @staticmethod
    def _parts(weights: dict[int, int], colours: dict[int, int]) -> dict[int, list[list[int]]]:
        """The visited vertices of each colour, those of one weight together."""
        by_weight: dict[tuple[int, int], list[int]] = {}
        for vertex, weight in weights.items():
            by_weight.setdefault((colours[vertex], weight), []).append(vertex)
        parts: dict[int, list[list[int]]] = {}
        for (colour, _), part in by_weight.items():
            parts.setdefault(colour, []).append(part)
        return parts

    # -- components ----------------------------------------------------------------------------------------------------

    def _match(self, pair: _Pair, depth: int) -> dict[int, int] | None:
        """The partner of every vertex of the first side; ``None`` where the sides are not isomorphic."""
        if depth > _MAX_DEPTH:
            raise UndecidedMatch(
                "whether the two are isomorphic is not known: too many of their parts depend on others"
            )
        edges = self._deciding_edges(pair)
        mapping, components = self._components(pair, edges)
        if not mapping and len(edges) == len(pair.edges) and len(components[0]) == len(components[1]) == 1:
            return self._set_apart(pair, depth)
        waiting: dict[tuple[tuple[int, int], ...], list[_Component]] = {}
        for component in components[1]:
            waiting.setdefault(component.colour_counts, []).append(component)
        for component in components[0]:
            candidates = waiting.get(component.colour_counts, [])
            for index, candidate in enumerate(candidates):
                vertices = component.vertices + candidate.vertices
                colours = {v: pair.colours[v] for v in vertices}
                found = self._match(_Pair(vertices, component.edges + candidate.edges, colours), depth + 1)
                if found is not None:
                    mapping.update(found)
                    del candidates[index]
                    break
            else:
                return None
        return mapping

    def _deciding_edges(self, pair: _Pair) -> list[tuple[int, int, int]]:
        """The edges but for those between classes of which every vertex of one is joined to every one of the other."""
        self._visit(len(pair.vertices) + len(pair.edges))
        sizes = Counter(pair.colours[v] for v in pair.vertices)
        counts: Counter[tuple[int, int, int]] = Counter(
            [(pair.colours[v], pair.colours[w], n) for v, w, n in pair.edges]
        )
        # Of two classes of c and d vertices, half of them on each side, c / 2 * d / 2 pairs are on each side.
        uniform = {(c, d, n) for (c, d, n), count in counts.items() if 2 * count == sizes[c] * sizes[d]}
        return [(v, w, n) for v, w, n in pair.edges if (pair.colours[v], pair.colours[w], n) not in uniform]

    def _components(
        self, pair: _Pair, edges: Sequence[tuple[int, int, int]]
    ) -> tuple[dict[int, int], tuple[list[_Component], list[_Component]]]:
        """Partners of the vertices without such an edge, and the components of the others, of each side."""
        neighbours: defaultdict[int, list[int]] = defaultdict(list)
        for v, w, _ in edges:
            neighbours[v].append(w)
            neighbours[w].append(v)
        lonely: tuple[defaultdict[int, list[int]], ...] = (defaultdict(list), defaultdict(list))
        components: tuple[list[_Component], list[_Component]] = ([], [])
        component_edges: dict[int, list[tuple[int, int, int]]] = {}
        for first in pair.vertices:
            side = int(first >= self._size)
            if first not in neighbours:
                lonely[side][pair.colours[first]].append(first)
            elif first not in component_edges:
                seen = {first}
                members = [first]
                for vertex in members:
                    for other in neighbours[vertex]:
                        if other not in seen:
                            seen.add(other)
                            members.append(other)
                counts = Counter([pair.colours[v] for v in members])
                component = _Component(members, [], tuple(sorted(counts.items())))
                component_edges.update(dict.fromkeys(members, component.edges))
                components[side].append(component)
        for edge in edges:
            component_edges[edge[0]].append(edge)
        alone = {
            vertex: partner
            for colour, vertices in lonely[0].items()
            for vertex, partner in zip(vertices, lonely[1][colour], strict=True)
        }
        return alone, components

    def _set_apart(self, pair: _Pair, depth: int) -> dict[int, int] | None:
        """The partners in two components that nothing divides: each partner of one vertex in turn is tried."""
        classes: defaultdict[int, list[int]] = defaultdict(list)
        for vertex in pair.vertices:
            classes[pair.colours[vertex]].append(vertex)
        members = min((members for members in classes.values() if len(members) > 2), key=len)
        (vertex, *_) = [v for v in members if v < self._size]
        own_colour = 1 + max(classes)
        for partner in [v for v in members if v >= self._size]:
            apart = pair._replace(colours={**pair.colours, vertex: own_colour, partner: own_colour})
            colours = self._refine(apart, [own_colour])
            if colours is not None:
                found = self._match(pair._replace(colours=colours), depth + 1)
                if found is not None:
                    return found
        return None
