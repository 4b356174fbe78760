"""Contract tests of hardware models."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isclose, isfinite

from hardware_models.cost import Cost, HardwareModel
from nas.testing.global_seeds import other_global_seeds
from search_spaces.catalog import load_network
from search_spaces.graph.builder import Builder
from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph, Piece
from search_spaces.graph.operations import OPS, Operation
from search_spaces.graph.serialise import graph_from_json

UNKNOWN_OPERATION = "operation_of_another_world"


@contextmanager
def unknown_operation() -> Iterator[tuple[Graph, Graph]]:
    """A small network, and the same followed by an operation that exists only within this context."""
    shape = (8, 16, 16)
    b = Builder()
    graph = b.build({"out": b.conv(b.input((3, 16, 16)), 8, 3)})
    OPS[UNKNOWN_OPERATION] = Operation((), lambda inputs, attrs: inputs[0])
    try:
        end = len(graph)
        fragment = Fragment((Node(UNKNOWN_OPERATION, (), (-1,), shape),), (0,), (shape,))
        piece = Piece(fragment, (end - 1,), (graph.nodes[-1].op,), end)
        yield graph, Graph((*graph.pieces, piece), (("out", end),), end + 1)
    finally:
        del OPS[UNKNOWN_OPERATION]


class HardwareContract:
    """What every hardware model keeps. Subclasses define ``make_model``.

    ``networks``: published networks to price, at ``image_size``; together they have squeeze-excite, hard swish,
    attention and resizing.
    """

    networks: Sequence[str] = ("mobilenetv2", "mobiledet_cpu", "emo_1m", "leyolo_nano")
    image_size: int = 64

    def make_model(self) -> HardwareModel:
        """A new instance of the model."""
        raise NotImplementedError(f"{type(self).__name__} needs make_model, which returns the hardware model to test")

    def graphs(self) -> Iterator[tuple[str, Graph]]:
        """Networks to price, by name."""
        for name in self.networks:
            yield name, load_network(name, image_size=self.image_size)

    def test_it_is_a_hardware_model(self) -> None:
        model = self.make_model()
        assert isinstance(model, HardwareModel), f"{type(model).__name__} has no `name` or no `estimate`"
        assert isinstance(model.name, str), f"the model's name is {model.name!r}, not a text"
        assert model.name, "the model's name is empty"

    def test_costs_are_positive_and_finite(self) -> None:
        for name, cost in self._costs():
            assert isinstance(cost, Cost), f"{name}: estimate returned {type(cost).__name__}, not a Cost"
            assert cost.source, f"{name}: the cost does not say its source"
            for metric, value in cost.metrics().items():
                assert isfinite(value), f"{name}: {metric} is {value!r}"
                assert value > 0, f"{name}: {metric} is {value!r}"

    def test_the_breakdown_adds_up(self) -> None:
        for (name, graph), (_, cost) in zip(self.graphs(), self._costs(), strict=True):
            rows = cost.breakdown()
            for row in rows:
                assert row.latency_ms >= 0, f"{name}: {row.op} of node {row.index} takes {row.latency_ms!r} ms"
                is_of_graph = row.index is None or (0 <= row.index < len(graph) and graph.nodes[row.index].op == row.op)
                assert is_of_graph, f"{name}: the breakdown has a row of node {row.index}, {row.op}, which there is not"
            indices = [row.index for row in rows if row.index is not None]
            assert len(set(indices)) == len(indices), f"{name}: the breakdown has two rows of one node"
            total = sum(row.latency_ms for row in rows)
            assert not rows or isclose(total, cost.latency_ms, rel_tol=1e-6), (
                f"{name}: the breakdown adds up to {total} ms, not to {cost.latency_ms} ms"
            )

    def test_the_interval_holds_the_estimate(self) -> None:
        for name, cost in self._costs():
            low, high = cost.latency_low_ms, cost.latency_high_ms
            missing = {low is None, high is None, cost.coverage is None}
            assert len(missing) == 1, (
                f"{name}: an interval is latency_low_ms, latency_high_ms and coverage, all or none"
            )
            if low is not None and high is not None and cost.coverage is not None:
                assert low <= cost.latency_ms <= high, f"{name}: {cost.latency_ms} ms is not in {low} to {high} ms"
                assert 0 < cost.coverage < 1, f"{name}: the coverage is {cost.coverage!r}, not a share"

    def test_the_same_network_costs_the_same(self) -> None:
        """Priced again, by another instance, by a pickled copy, and as a graph read from JSON."""
        model, other = self.make_model(), self.make_model()
        copied: HardwareModel = pickle.loads(pickle.dumps(self.make_model()))  # noqa: S301  # our own bytes
        for name, graph in self.graphs():
            cost = model.estimate(graph)
            with other_global_seeds(1):
                others = [
                    m.estimate(g) for m in (model, other, copied) for g in (graph, graph_from_json(graph.to_json()))
                ]
            for repeated in others:
                assert repeated == cost, f"{name} costs {cost} and then {repeated}"
                assert repeated.metrics() == cost.metrics(), (
                    f"{name} costs {cost.metrics()} and then {repeated.metrics()}"
                )

    def test_an_unknown_operation_is_named_and_not_free(self) -> None:
        with unknown_operation() as (without, graph):
            cost, cost_without = self.make_model().estimate(graph), self.make_model().estimate(without)
        named = [kind for kind in (*cost.guessed_ops, *cost.fallback_ops) if kind.startswith(UNKNOWN_OPERATION)]
        assert named, f"an operation that is in no table is not among guessed_ops, {cost.guessed_ops}"
        assert cost.latency_ms > cost_without.latency_ms, "an operation that is in no table costs nothing"

    def _costs(self) -> Iterator[tuple[str, Cost]]:
        model = self.make_model()
        for name, graph in self.graphs():
            yield name, model.estimate(graph)
