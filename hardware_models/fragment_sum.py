"""What graphs cost as the sum of what their fragments cost: each fragment is priced once, and sums are of whole
numbers.

Candidates of a search share most of their fragments, so that pricing one takes a look-up for each of its pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import Any, Generic, NamedTuple, TypeVar

from hardware_models.cost import NodeCost
from search_spaces.graph.fragment import Fragment, Node, NodeCounts
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import Shape

FIXED_POINT_SCALE = 10**9  # a figure is summed in whole billionths, so that its sum does not depend on the order

CostT = TypeVar("CostT")


class NodePrice(NamedTuple):
    """What one node, or operation of several nodes, costs in whole billionths, and what is to be said of it.

    ``kind``: the operation's, in device files. ``is_constant``: every measured network had equally many of it.
    """

    kind: str
    latency: int  # of a millisecond
    energy: int = 0  # of a millijoule
    weight_bytes: int = 0
    is_guess: bool = False
    is_unsupported: bool = False
    is_fallback: bool = False
    is_constant: bool = False


NodeInPlace = tuple[Node, NodeCounts, tuple[Shape, ...], str]
"""A node with what its price may depend on: counts, its operands' shapes, and the operation that makes the first of
them, empty where it has none."""

PriceOfNode = Callable[[Node, NodeCounts, tuple[Shape, ...], str], NodePrice | None]
"""By the parts of ``NodeInPlace``; ``None`` for a node that costs nothing: one that is nothing, or part of the
operation before it."""


class FlaggedKinds(NamedTuple):
    """Kinds of operations that need a word, of a fragment or a graph.

    ``guessed`` are kinds without a price of their own, ``unsupported`` those that the device cannot run, ``fallback``
    those that it leaves to its host, ``constant`` one kind for each operation of which every measured network had
    equally many.
    """

    guessed: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()


_NO_KINDS = FlaggedKinds()


class FragmentCost(NamedTuple):
    """What one fragment costs in whole billionths.

    ``flagged``: ``None`` where no operation needs a word. ``nodes``: latency and weight bytes of every node, where a
    model keeps them.
    """

    latency: int  # of a millisecond
    energy: int = 0  # of a millijoule
    weight_bytes: int = 0
    flagged: FlaggedKinds | None = None
    nodes: tuple[tuple[int, int], ...] = ()


class GraphCostSum(NamedTuple):
    """What a whole graph costs in whole billionths, without what every inference costs."""

    latency: int  # of a millisecond
    energy: int  # of a millijoule
    weight_bytes: int
    kinds: FlaggedKinds  # not made distinct


def price_fragment(
    price: PriceOfNode, fragment: Fragment, producers: tuple[str, ...], *, keep_nodes: bool = False
) -> FragmentCost:
    """The cost of a fragment whose operands come from these producers (operation names), node by node."""
    first_producers = _first_producers(fragment, producers)
    columns = fragment.nodes, fragment.node_counts(), fragment.shapes_of_operands(), first_producers
    return sum_prices(list(map(price, *columns)), keep_nodes=keep_nodes)


def nodes_of_fragment(fragment: Fragment, producers: tuple[str, ...]) -> Iterator[NodeInPlace]:
    """The nodes of a fragment whose operands come from these producers (operation names)."""
    first_producers = _first_producers(fragment, producers)
    return zip(fragment.nodes, fragment.node_counts(), fragment.shapes_of_operands(), first_producers, strict=True)


def _first_producers(fragment: Fragment, producers: tuple[str, ...]) -> list[str]:
    """For every node, the operation that makes its first operand."""
    made_by = [node.op for node in fragment.nodes]
    made_by += reversed(producers)  # the k-th operand is -(k + 1): counted from the end
    return [made_by[node.inputs[0]] if node.inputs else "" for node in fragment.nodes]


def nodes_of_graph(graph: Graph) -> Iterator[NodeInPlace]:
    """The nodes of a whole graph, in order."""
    nodes = graph.nodes
    for node, counts in zip(nodes, graph.node_counts(), strict=True):
        producer = nodes[node.inputs[0]].op if node.inputs else ""
        yield node, counts, tuple([nodes[i].shape for i in node.inputs]), producer


def sum_prices(prices: Sequence[NodePrice | None], *, keep_nodes: bool = False) -> FragmentCost:
    """The cost of a fragment from those of its nodes, or of the operations that they are run as."""
    nodes = tuple([(0, 0) if price is None else (price[1], price[3]) for price in prices]) if keep_nodes else ()
    found = [price for price in prices if price is not None]
    if not found:
        return FragmentCost(0, nodes=nodes)
    names, latency, energy, weight_bytes, guesses, unsupported, fallback, constant = zip(*found, strict=True)
    flagged = None
    if True in guesses or True in unsupported or True in fallback or True in constant:
        flagged = FlaggedKinds(
            tuple(sorted(set(compress(names, guesses)))),
            tuple(sorted(set(compress(names, unsupported)))),
            tuple(sorted(set(compress(names, fallback)))),
            tuple(compress(names, constant)),
        )
    return FragmentCost(sum(latency), sum(energy), sum(weight_bytes), flagged, nodes)


def node_costs(graph: Graph, price: PriceOfNode, bound: Callable[..., str]) -> list[NodeCost]:
    """A row of a breakdown for each node; ``bound`` says what the time of one that costs something is spent on.

    It is given the parts of ``NodeInPlace``, as ``price`` is.
    """
    rows = []
    for index, place in enumerate(nodes_of_graph(graph)):
        node, counts, _, _ = place
        found = price(*place)
        ms = 0.0 if found is None else found.latency / FIXED_POINT_SCALE
        rows.append(NodeCost(index, node.op, node.shape, counts.macs, ms, "fused" if found is None else bound(*place)))
    return rows


def overhead_costs(op: str, latency: int, bound: str = "overhead") -> list[NodeCost]:
    """The row of a breakdown for what belongs to the inference as a whole, in whole billionths; none for nothing."""
    return [NodeCost(None, op, (), 0, latency / FIXED_POINT_SCALE, bound)] if latency else []


def fixed_point(figure: float) -> int:
    """A figure in whole billionths."""
    return round(figure * FIXED_POINT_SCALE)


def sum_fragment_costs(costs: Sequence[FragmentCost]) -> GraphCostSum:
    """The cost of a graph from those of its pieces, of which there is at least one."""
    latency, energy, weight_bytes, flagged, _ = zip(*costs, strict=True)
    kinds = _joined_kinds(flagged) if any(flagged) else _NO_KINDS
    return GraphCostSum(sum(latency), sum(energy), sum(weight_bytes), kinds)


def _joined_kinds(flagged: Iterable[FlaggedKinds | None]) -> FlaggedKinds:
    guessed: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    for kinds in flagged:
        if kinds is not None:
            one_guessed, one_unsupported, one_fallback, one_constant = kinds
            guessed += one_guessed
            unsupported += one_unsupported
            fallback += one_fallback
            constant += one_constant
    return FlaggedKinds(guessed, unsupported, fallback, constant)


class FragmentCosts(Generic[CostT]):
    """The costs of a graph's pieces; remembers those of each fragment, and forgets them when it is pickled.

    ``price`` makes the cost of a fragment whose operands come from these producers (operation names). With
    ``by_producers``, a fragment that is not closed is priced for each of them: a loose activation may fold into what
    comes before it.
    """

    def __init__(self, price: Callable[[Fragment, tuple[str, ...]], CostT], *, by_producers: bool = False) -> None:
        self._price = price
        self._by_producers = by_producers
        self._memo: dict[Any, CostT] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memo": {}}

    def of(self, graph: Graph) -> list[CostT]:
        """The cost of every piece, in order."""
        known = self._memo.get
        if not self._by_producers:
            return [
                known(fragment) or self._remember(fragment, fragment, producers)
                for fragment, _, producers, _ in graph.pieces
            ]
        return [
            known(key := fragment if fragment.closed else (fragment, producers))
            or self._remember(key, fragment, producers)
            for fragment, _, producers, _ in graph.pieces
        ]

    def _remember(self, key: Any, fragment: Fragment, producers: tuple[str, ...]) -> CostT:
        cost = self._price(fragment, producers)
        memo_put(self._memo, key, cost)
        return cost
