"""A hardware model that breaks a check of ``HardwareContract`` is caught by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hardware_models.catalog import load_hardware
from hardware_models.cost import Cost, NodeCost
from nas.testing import HardwareContract
from search_spaces.graph.graph import Graph
from tests.support.space_contracts import checks_of


class Priced:
    """The Edge TPU's costs, changed."""

    name = "priced"

    def __init__(self, change: Callable[[Cost, int], Cost] = lambda cost, calls: cost, name: str = "priced") -> None:
        self.model, self.change, self.name, self.calls = load_hardware("edgetpu"), change, name, 0

    def estimate(self, graph: Graph) -> Cost:
        self.calls += 1
        return self.change(self.model.estimate(graph), self.calls)


class TwiceTheInvocation:
    """A breakdown that counts a row twice."""

    def __init__(self, cost: Cost) -> None:
        self.cost = cost

    def breakdown(self) -> list[NodeCost]:
        rows = self.cost.breakdown()
        return [*rows, next(row for row in rows if row.index is None)]

    def peak_memory_kib(self) -> float | None:
        return self.cost.peak_memory_kib


def priced(**changes: Callable[[Cost], Any]) -> Callable[[], Any]:
    return lambda: Priced(lambda cost, calls: replace(cost, **{n: change(cost) for n, change in changes.items()}))


BROKEN_HARDWARE: list[tuple[str, Callable[[], Any], str]] = [
    ("it_is_a_hardware_model", object, "has no `name` or no `estimate`"),
    ("it_is_a_hardware_model", lambda: Priced(name=""), "the model's name is empty"),
    ("costs_are_positive_and_finite", priced(latency_ms=lambda cost: 0.0), "latency_ms is 0.0"),
    ("costs_are_positive_and_finite", priced(energy_mj=lambda cost: math.nan), "energy_mj is nan"),
    ("costs_are_positive_and_finite", priced(source=lambda cost: ""), "does not say its source"),
    ("the_breakdown_adds_up", priced(details=TwiceTheInvocation), "the breakdown adds up to"),
    ("the_breakdown_adds_up", priced(latency_ms=lambda cost: 2 * cost.latency_ms), "the breakdown adds up to"),
    ("the_interval_holds_the_estimate", priced(latency_low_ms=lambda cost: 2 * cost.latency_ms), "is not in"),
    ("the_interval_holds_the_estimate", priced(coverage=lambda cost: None), "all or none"),
    ("the_interval_holds_the_estimate", priced(coverage=lambda cost: 90.0), "is 90.0, not a share"),
    (
        "the_same_network_costs_the_same",
        lambda: Priced(slower_each_time),
        "costs .* and then",
    ),
    ("an_unknown_operation_is_named_and_not_free", priced(guessed_ops=lambda cost: ()), "is not among guessed_ops"),
    ("an_unknown_operation_is_named_and_not_free", priced(latency_ms=lambda cost: 1.0), "costs nothing"),
]


def slower_each_time(cost: Cost, calls: int) -> Cost:
    return replace(cost, latency_ms=cost.latency_ms * calls)


@pytest.mark.parametrize(("check", "make", "message"), BROKEN_HARDWARE, ids=[f"{c}-{m}" for c, _, m in BROKEN_HARDWARE])
def test_a_broken_hardware_model_is_caught(check: str, make: Callable[[], Any], message: str) -> None:
    contract = type("Broken", (HardwareContract,), {"make_model": lambda self: make()})
    with pytest.raises(AssertionError, match=message):
        getattr(contract(), f"test_{check}")()


def test_every_check_is_broken_by_a_model() -> None:
    assert {f"test_{check}" for check, _, _ in BROKEN_HARDWARE} == set(checks_of(HardwareContract))
