"""What graphs cost as the sum of what their fragments cost: each fragment is priced once, and sums are of whole
numbers.

Candidates of a search share most of their fragments, so that pricing one takes a look-up for each of its pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put

FIXED_POINT_SCALE = 10**9  # a figure is summed in whole billionths, so that its sum does not depend on the order

CostT = TypeVar("CostT")


class FragmentCost(NamedTuple):
    """What one fragment, or a whole graph, costs in whole billionths, and kinds of its operations that need a word.

    ``guessed`` are kinds without a price of their own, ``unsupported`` those that the device cannot run, ``constant``
    one kind for each operation of which every measured network had equally many.
    """

    latency: int  # of a millisecond
    energy: int = 0  # of a millijoule
    guessed: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()


def sum_fragment_costs(costs: Iterable[FragmentCost]) -> FragmentCost:
    """The cost of a graph without what every inference costs; kinds are not made distinct."""
    latency = energy = 0
    guessed: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    for cost in costs:
        latency += cost.latency
        energy += cost.energy
        if cost.guessed:
            guessed += cost.guessed
        if cost.unsupported:
            unsupported += cost.unsupported
        if cost.constant:
            constant += cost.constant
    return FragmentCost(latency, energy, guessed, unsupported, constant)


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
