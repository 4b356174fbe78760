"""Several devices at once, operations that a device cannot run, and metrics that are worked out on demand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import nas
from hardware_models.catalog import load_hardware
from hardware_models.composed.multi_device import MultiDeviceCost, MultiDeviceModel, load_hardware_models
from hardware_models.cost import Cost
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.training_memory import training_memory
from nas.candidates.constraints import Limit
from nas.candidates.metrics import ObjectiveError
from nas.candidates.objectives import Objective
from nas.candidates.untrained_metrics import counted_metrics, cut_bytes, predicted_metrics
from nas.report.tables import front_table, summary_lines
from search_spaces.catalog import load_network
from search_spaces.registry import UnknownName
from tests.support.fakes import small_space


@dataclass(frozen=True)
class ByFormula:
    """A device whose latency is a formula of the graph; it cannot run what ``refuses`` says."""

    name: str
    formula: Callable[[nas.Graph], float]
    refuses: Callable[[nas.Graph], tuple[str, ...]] = lambda graph: ()
    fallback: Callable[[nas.Graph], tuple[str, ...]] = lambda graph: ()
    energy: float | None = None

    def estimate(self, graph: nas.Graph) -> Cost:
        latency = self.formula(graph)
        return Cost(
            latency,
            f"predicted:{self.name}@1",
            latency / 1.1,
            latency * 1.1,
            0.9,
            self.energy,
            fallback_ops=self.fallback(graph),
            unsupported_ops=self.refuses(graph),
        )


def kernels(graph: nas.Graph) -> set[int]:
    return {node.attr("kernel")[0] for node in graph.nodes if node.op == "conv"}


COMPUTE = ByFormula("compute", lambda graph: graph.macs / 1e6, energy=2.0)
MEMORY = ByFormula("memory", lambda graph: graph.params / 1e4)


def small_graphs(count: int) -> list[nas.Graph]:
    space, rng = nas.load_space(small_space), random.Random(0)
    return [space.graph(space.sample(rng)) for _ in range(count)]


def search(directory: Path, **changes: Any) -> nas.SearchResult:
    arguments: dict[str, Any] = {"hw": [COMPUTE, MEMORY], "trials": 60, "train": 0, "directory": directory}
    return nas.search(small_space, **{**arguments, **changes})


def test_the_worst_of_several_is_the_largest_of_each_figure() -> None:
    both = MultiDeviceModel({"a": COMPUTE, "b": MEMORY})
    for graph in small_graphs(20):
        cost = both.estimate(graph)
        assert cost.latency_ms == max(graph.macs / 1e6, graph.params / 1e4)
        assert {label: c.latency_ms for label, c in cost.devices.items()} == {
            "a": graph.macs / 1e6,
            "b": graph.params / 1e4,
        }
        assert cost.latency_high_ms == pytest.approx(1.1 * cost.latency_ms)
        assert cost.coverage == pytest.approx(0.8)  # both intervals at once: 1 - 0.1 - 0.1
        assert cost.energy_mj is None  # one device does not say
    assert both.name == "a+b"
    assert cost.source == "predicted:compute@1+memory@1"


def test_real_models_combine_and_keep_their_breakdown_and_memory() -> None:
    both = load_hardware_models("edgetpu,pixel3_cpu")
    graph = load_network("mobilenetv2")
    cost = both.estimate(graph)
    assert isinstance(cost, MultiDeviceCost)
    each = {name: load_hardware(name).estimate(graph) for name in ("edgetpu", "pixel3_cpu")}
    slowest = max(each.values(), key=lambda c: c.latency_ms)
    assert cost.latency_ms == slowest.latency_ms
    assert sum(row.latency_ms for row in cost.breakdown()) == pytest.approx(slowest.latency_ms, rel=1e-6)
    assert cost.peak_memory_kib == max(c.peak_memory_kib or 0.0 for c in each.values())
    figures = predicted_metrics(cost, ())
    assert figures["latency_ms@edgetpu"].value == each["edgetpu"].latency_ms
    assert figures["latency_ms@pixel3_cpu"].source == each["pixel3_cpu"].source
    assert "latency_ms@edgetpu" not in predicted_metrics(each["edgetpu"], ())


@pytest.mark.parametrize(
    ("hw", "error", "text"),
    [
        ("edgetpu,", HardwareError, "names no device in one place"),
        ("edgetpu,edgetp", UnknownName, "did you mean 'edgetpu'"),
        ("edgetpu,edgetpu", HardwareError, "two devices are called 'edgetpu'"),
        ([], HardwareError, "names no device"),
    ],
)
def test_devices_that_make_no_sense_are_refused(hw: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        load_hardware_models(hw)


def test_one_device_stays_what_it_is() -> None:
    assert load_hardware_models("edgetpu").name == load_hardware("edgetpu").name
    assert load_hardware_models([COMPUTE]) is COMPUTE


def test_limits_and_objectives_name_devices() -> None:
    limit = Limit.parse("latency@pixel3_cpu<=60ms")
    assert limit == Limit("latency_ms@pixel3_cpu", 60.0)
    assert Limit.parse(str(limit)) == limit
    assert Objective.parse("energy@pi5-2.b:max") == Objective("energy_mj@pi5-2.b", "maximize")
    assert Limit.parse("fallback_ops<=0").constraint_violation({"fallback_ops": 2.0}) == 2.0
    assert Limit.parse("fallback_ops@a<=1").constraint_violation({"fallback_ops@a": 2.0}) == 1.0
    for text in ("macs@pixel3_cpu<=1", "latency<=0", "latency@<=3"):
        with pytest.raises(ObjectiveError):
            Limit.parse(text)


def test_a_search_holds_each_device_to_its_limit(tmp_path: Path) -> None:
    free = search(tmp_path / "a")
    assert {"latency_ms", "latency_ms@compute", "latency_ms@memory"} <= set(free.candidates[0].metrics)
    bounds = {n: sorted(c.metrics[n] for c in free.candidates)[30] for n in ("latency_ms@compute", "latency_ms@memory")}
    result = search(tmp_path / "b", limits=bounds, repair=False)
    allowed = [c for c in result.candidates if c.status == "scored"]
    assert allowed
    assert all(c.metrics[name] <= bound for c in allowed for name, bound in bounds.items())
    over = [c for c in result.candidates if c.status == "infeasible"]
    assert {word for c in over for word in c.reason.split() if "@" in word} == set(bounds)
    shown = [column.header for column in front_table(result).columns]
    assert {"latency compute (ms)", "latency memory (ms)", "latency (ms)"} <= set(shown)


def test_a_search_may_minimise_both_latencies(tmp_path: Path) -> None:
    result = search(tmp_path, objectives=["latency@compute", "latency@memory", "score"])
    assert [o.metric for o in result.objectives] == ["latency_ms@compute", "latency_ms@memory", "score"]
    assert len(result.front) > 1


def test_a_device_that_is_not_searched_for_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'memory'"):
        search(tmp_path, limits=["latency@memry<=3ms"])
    with pytest.raises(HardwareError, match="there is one device"):
        search(tmp_path, hw=COMPUTE, limits=["latency@compute<=3ms"])
    with pytest.raises(ValueError, match="does not say energy_mj@memory"):
        search(tmp_path, objectives=["energy@memory", "score"])


def test_one_seed_one_result_on_several_devices(tmp_path: Path) -> None:
    first, again = search(tmp_path / "a"), search(tmp_path / "b")
    assert first.study == again.study
    assert [c.to_document() for c in first.candidates] == [c.to_document() for c in again.candidates]


def test_what_a_device_cannot_run_is_never_trained_and_the_search_moves_away(tmp_path: Path) -> None:
    from tests.support.fakes import CountingEvaluator

    picky = ByFormula("picky", COMPUTE.formula, lambda graph: ("conv:5x5",) if 5 in kernels(graph) else ())
    evaluator = CountingEvaluator()
    result = search(tmp_path, hw=picky, trials=300, train=8, evaluator=evaluator)
    refused = [c for c in result.candidates if 5 in kernels(result.graph(c))]
    assert refused
    assert all(c.status == "infeasible" and c.reason == "cannot run conv:5x5 on picky" for c in refused)
    assert all(c.status != "infeasible" for c in result.candidates if c not in refused)
    assert result.tally.unsupported == len(refused) == result.tally.infeasible
    assert f"({len(refused)} with operations that a device cannot run)" in summary_lines(result)[0]
    assert set(evaluator.seen) == {
        result.graph(c).digest for c in result.candidates if c.status in ("trained", "failed")
    }
    blind = search(tmp_path, hw=picky, trials=300, searcher="random").tally.unsupported
    assert len(refused) < 0.8 * blind


def test_of_several_devices_the_one_that_cannot_is_named(tmp_path: Path) -> None:
    picky = ByFormula("picky", COMPUTE.formula, lambda graph: ("conv",))
    result = search(tmp_path, hw=[COMPUTE, picky], trials=10)
    assert result.front == ()
    assert "cannot run conv on picky" in summary_lines(result)[-1]


def test_fallback_can_be_ruled_out(tmp_path: Path) -> None:
    half = ByFormula("half", COMPUTE.formula, fallback=lambda graph: ("pool",) if 5 in kernels(graph) else ())
    result = search(tmp_path, hw=[half, MEMORY], limits=["fallback_ops@half<=0"])
    assert {5 in kernels(result.graph(c)): c.status for c in result.candidates} == {True: "infeasible", False: "scored"}
    worst = search(tmp_path, hw=[half, MEMORY], limits=["fallback_ops<=0"])
    assert [c.status for c in worst.candidates[:20]] == [c.status for c in result.candidates[:20]]


def test_metrics_on_demand_are_there_where_they_are_named_and_only_there(tmp_path: Path) -> None:
    plain = search(tmp_path, trials=5)
    assert not {"training_memory_kib", "cut_bytes"} & set(plain.candidates[0].metrics)
    named = search(tmp_path, trials=5, limits=["training_memory<=900MiB", "cut_bytes<=1MiB"])
    for c in named.candidates:
        assert c.metrics["training_memory_kib"] == training_memory(named.graph(c)).kib
        assert c.metrics["cut_bytes"] == cut_bytes(named.graph(c))
        assert c.measurements["cut_bytes"].source == "counted"


def test_the_cut_of_a_chain_is_its_narrowest_tensor_in_the_first_half() -> None:
    b = nas.Builder()
    x = b.input((3, 16, 16))
    x = b.conv(x, 8, 3)
    x = b.conv(x, 1, 1)  # 16 * 16 * 1 floats: the bottleneck, early enough
    x = b.conv(x, 32, 3, 2)
    x = b.conv(x, 64, 3)
    graph = b.build(nas.heads.classifier(b, x, 2))  # narrower still, but when all is done
    assert cut_bytes(graph) == 16 * 16 * 4
    assert counted_metrics(graph, ("cut_bytes",))["cut_bytes"].value == 1024.0
    assert "cut_bytes" not in counted_metrics(graph, ())


def test_where_no_tensor_is_narrower_the_input_is_sent() -> None:
    b = nas.Builder()
    x = b.conv(b.input((1, 8, 8)), 16, 3)
    graph = b.build(b.conv(x, 16, 3))
    assert cut_bytes(graph) == 8 * 8 * 4
