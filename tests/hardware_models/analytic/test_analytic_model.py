"""The analytic model: what a small chip must cost by hand, and what every Edge TPU must respect."""

from __future__ import annotations

import pickle
import random

import pytest

from hardware_models.analytic.model import AnalyticModel
from hardware_models.catalog import (
    load_hardware,
    model_from_text,
)
from hardware_models.cost import HardwareModel
from search_spaces.blocks.mobile import fused_inverted_bottleneck, inverted_bottleneck, tucker
from search_spaces.catalog import load_network, load_space
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.graph.serialise import graph_from_json
from search_spaces.published.networks import networks
from search_spaces.registry import UnknownName
from tests.support.small_chip import SMALL, image, node_ms, small

DEVICES = ["coral_usb", "coral_devboard", "pixel4_edgetpu"]


# -- by hand ---------------------------------------------------------------------------------------------------------


def test_latency_of_two_convolutions_in_closed_form() -> None:
    b, x = image()
    x = b.conv(x, 16, 3)
    x = b.conv(x, 32, 1)
    cost = small().estimate(b.build(x))
    into = 3 * 64 / 100  # bytes over MB/s
    first = (7 * 4) * 64 / (100 * 0.5) + 1  # 27 rows in 7 tiles, 16 columns in 4, 64 positions each
    second = (4 * 8) * 64 / (100 * 0.8) + 1
    out = 32 * 64 / 100
    assert cost.latency_ms == pytest.approx((10 + into + first + second + out) / 1e3, abs=1e-9)
    assert cost.weights_kib == (27 * 16 + 16 * 32) / 1024
    assert cost.peak_memory_kib == (16 + 32) * 64 / 1024
    assert cost.source == "predicted:small@3"
    assert (cost.latency_low_ms, cost.latency_high_ms, cost.energy_mj, cost.coverage) == (None, None, None, None)
    assert set(cost.metrics()) == {"latency_ms", "weights_kib", "peak_memory_kib"}
    assert [row.bound for row in cost.breakdown()] == ["transfer", "compute", "compute", "overhead", "transfer"]


def test_a_tile_takes_no_less_than_loading_its_weights() -> None:
    b = Builder()
    x = b.linear(b.input((64,)), 32, bias=False)
    cost = small().estimate(b.build(x))
    assert node_ms(cost)[1] == pytest.approx((16 * 8 * 8 / (100 * 0.8) + 1) / 1e3)


def test_memory_bounds_an_operation_that_computes_little() -> None:
    b, x = image(16, 4)
    cost = small(array_bytes_per_cycle=0.5).estimate(b.build(b.conv(x, 4, 1)))
    assert cost.breakdown()[1].bound == "memory"
    assert node_ms(cost)[1] == pytest.approx((2 * 4 * 256 / (100 * 0.5) + 1) / 1e3)


def test_groups_stand_side_by_side_where_they_fit() -> None:
    b, x = image(8, 8)
    cost = small().estimate(b.build(b.conv(x, 8, 1, groups=4)))  # two rows, two columns a group: two in a tile
    assert node_ms(cost)[1] == pytest.approx((2 * 64 / (100 * 0.5) + 1) / 1e3)


def test_elementwise_operations_stream_through_the_vector_unit() -> None:
    b, x = image()
    cost = small().estimate(b.build(b.pool(x, "max", 2, 2)))
    assert node_ms(cost)[1] == pytest.approx(((3 * 64 + 3 * 16) / (100 * 2) + 1) / 1e3)


def test_activations_beyond_the_chip_come_over_the_link() -> None:
    b, x = image(32, 4)
    graph = b.build(b.conv(x, 4, 1))
    cost = small(activations_kib=1).estimate(graph)
    assert cost.breakdown()[1].bound == "transfer"
    assert node_ms(cost)[1] == pytest.approx(((2 * 4096 - 1024) / 100 + 1) / 1e3)
    assert cost.latency_ms > small().estimate(graph).latency_ms


def test_weights_beyond_the_chip_are_awaited() -> None:
    b = Builder()
    x = b.input((64,))
    for _ in range(3):
        x = b.linear(x, 64, bias=False)
    graph = b.build(x)
    roomy, tight = small(), small(weights_kib=8)  # each layer takes 4 KiB; the third does not fit
    computing_us = 16 * 16 * 8 / (100 * 0.8) + 1
    wait_ms = (4096 / 100 - computing_us) / 1e3
    assert tight.estimate(graph).latency_ms - roomy.estimate(graph).latency_ms == pytest.approx(wait_ms)
    assert tight.estimate(graph).breakdown()[-1][:2] == (None, "weights")
    own_memory = model_from_text(
        SMALL.replace("weights_kib = 64", "weights_kib = 8\noutside_mb_per_s = 200"), "small", "small.toml"
    )
    assert own_memory.estimate(graph).latency_ms == roomy.estimate(graph).latency_ms  # hidden behind the computing


# -- folding, fallback, guesses --------------------------------------------------------------------------------------


def test_normalisation_and_activation_fold_into_a_convolution() -> None:
    b, x = image()
    bare = b.build(b.conv(x, 16, 3))
    b, x = image()
    whole = b.build(b.act(b.norm(b.conv(x, 16, 3)), "relu6"))
    model = small()
    assert model.estimate(bare).latency_ms == model.estimate(whole).latency_ms
    assert [row.bound for row in model.estimate(whole).breakdown()][2:4] == ["fused", "fused"]


def test_an_activation_folds_into_a_sum_but_not_into_a_pooling() -> None:
    b, x = image(8, 4)
    y = b.act(b.add(b.conv(x, 4), b.conv(x, 4)), "relu")
    z = b.act(b.pool(y, "max", 2, 2), "relu")
    bounds = {row.op + str(row.index): row.bound for row in small().estimate(b.build(z)).breakdown()}
    assert bounds["act4"] == "fused"
    assert bounds["act6"] != "fused"


def test_a_normalisation_behind_a_sum_is_work() -> None:
    b, x = image(8, 4)
    cost = small().estimate(b.build(b.norm(b.add(b.conv(x, 4), b.conv(x, 4)))))
    assert node_ms(cost)[4] == pytest.approx((2 * (256 + 256) / (100 * 2) + 2) / 1e3)


def test_an_unsupported_operation_goes_to_the_host_and_says_so() -> None:
    b, x = image()
    cost = small().estimate(b.build(b.act(b.conv(x, 4), "hswish")))
    assert cost.fallback_ops == ("act:hswish",)
    assert cost.guessed_ops == ()
    assert cost.breakdown()[2].bound == "fallback"
    assert node_ms(cost)[2] == pytest.approx((2 * 256 / 100 + 256 / 10 + 10) / 1e3)


def test_an_unknown_operation_is_guessed_and_says_so() -> None:
    b = Builder()
    x = b.norm(b.linear(b.input((16, 8)), 8), "layer", axis=1)
    cost = small().estimate(b.build(x))
    assert cost.guessed_ops == ("norm:layer",)
    assert node_ms(cost)[2] == pytest.approx((3 * 2 * 128 / (100 * 2) + 3) / 1e3)


@pytest.mark.parametrize("device", DEVICES)
def test_hswish_falls_back_on_every_edge_tpu(device: str) -> None:
    model = load_hardware(device)
    assert model.estimate(load_network("mobiledet_cpu")).fallback_ops == ("act:hswish",)
    edge = model.estimate(load_network("mobiledet_edgetpu"))
    assert edge.fallback_ops == edge.guessed_ops == ()


# -- what every device respects --------------------------------------------------------------------------------------


def _block_ms(model: HardwareModel, graph: Graph) -> float:
    """All but what is fixed: invocation, inputs and outputs."""
    return sum(row.latency_ms for row in model.estimate(graph).breakdown()[1:] if row.index is not None)


@pytest.mark.parametrize("device", DEVICES)
def test_depthwise_costs_an_order_of_magnitude_more_a_multiply_add(device: str) -> None:
    def ms_per_mac(groups: int) -> float:
        b, x = image(40, 64)
        graph = b.build(b.conv(x, 64, 3, groups=groups))
        return _block_ms(load_hardware(device), graph) / graph.macs

    assert ms_per_mac(64) > 10 * ms_per_mac(1)


@pytest.mark.parametrize(("size", "channels"), [(80, 16), (80, 32), (40, 40)])
def test_early_fused_and_tucker_blocks_beat_inverted_bottlenecks_of_equal_work(size: int, channels: int) -> None:
    def build(make: object, **options: int) -> Graph:
        b, x = image(size, channels)
        return b.build(make(b, x, channels, **options))  # type: ignore[operator]

    model = load_hardware("edgetpu")
    ibn = build(inverted_bottleneck, expanded=8 * channels)
    expanded, rank = 1, 1
    while build(fused_inverted_bottleneck, expanded=expanded).macs < ibn.macs:
        expanded += 1
    while build(tucker, input_rank=rank, output_rank=rank).macs < ibn.macs:
        rank += 1
    for rival in (
        build(fused_inverted_bottleneck, expanded=expanded),
        build(tucker, input_rank=rank, output_rank=rank),
    ):
        assert _block_ms(model, rival) < 0.5 * _block_ms(model, ibn)


@pytest.mark.parametrize("device", DEVICES)
def test_latency_grows_with_width_and_with_the_image(device: str) -> None:
    model = load_hardware(device)
    widths = [model.estimate(load_network("mobilenet_edgetpu", width=w)).latency_ms for w in (0.25, 0.5, 0.75, 1, 1.5)]
    sizes = [model.estimate(load_network("mobiledet_edgetpu", image_size=s)).latency_ms for s in (192, 256, 320, 512)]
    assert widths == sorted(set(widths))
    assert sizes == sorted(set(sizes))


def _as_built(graph: Graph) -> Graph:
    """The same graph with one node a piece."""
    again = graph_from_json(graph.to_json())
    assert len(again.pieces) == len(again)
    return again


@pytest.mark.parametrize("target", ["edgetpu", "cpu"])
def test_the_cost_does_not_depend_on_how_a_graph_is_cut(target: str) -> None:
    space = load_space("mobiledet", target=target)
    rng = random.Random(5)
    models = [load_hardware(device) for device in DEVICES]
    spilled = 0
    for _ in range(25):
        graph = space.graph(space.sample(rng))
        again = _as_built(graph)
        for model in models:
            assert model.estimate(graph) == model.estimate(again)
            spilled += model.estimate(graph).breakdown()[-1].op == "weights"
    assert spilled > 0


@pytest.mark.parametrize("name", sorted(networks()))
def test_published_networks_cost_the_same_however_cut_and_their_parts_add_up(name: str) -> None:
    graph = load_network(name)
    for model in (load_hardware("coral_usb"), small()):
        cost = model.estimate(graph)
        assert cost == model.estimate(_as_built(graph))
        assert sum(row.latency_ms for row in cost.breakdown()) == pytest.approx(cost.latency_ms, rel=1e-12)
        assert sum(row.macs for row in cost.breakdown()) == graph.macs


def test_a_loose_activation_is_priced_by_what_comes_before_it() -> None:
    b, x = image(8, 4)
    free = b.act(b.conv(x, 4), "relu")
    paid = b.act(b.pool(free, "max", 2, 2), "relu")
    again = b.act(b.conv(paid, 4), "relu")
    graph = b.build({"a": again, "b": paid, "c": free})
    model = small()
    for _ in range(2):
        assert model.estimate(graph) == small().estimate(_as_built(graph))


def test_the_memo_is_bounded_and_dropping_it_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search_spaces.graph.memo.MEMO_LIMIT", 5)
    model, graph = load_hardware("coral_usb"), load_network("mobiledet_gpu")
    assert isinstance(model, AnalyticModel)
    first = model.estimate(graph)
    assert len(model._fragment_costs._memo) <= 5
    assert first == model.estimate(graph) == load_hardware("coral_usb").estimate(graph)


def test_costs_and_models_travel_between_processes() -> None:
    model = load_hardware("edgetpu")
    cost = model.estimate(load_network("mobilenet_v1"))
    again = pickle.loads(pickle.dumps(cost))  # noqa: S301
    assert again == cost
    assert again.breakdown() == cost.breakdown()
    assert pickle.loads(pickle.dumps(model)).estimate(load_network("mobilenet_v1")) == cost  # noqa: S301


def test_the_interval_follows_from_the_stated_error() -> None:
    text = SMALL + "[error]\nheld_out_log_std = 0.1\ncoverage = 0.8\n"
    cost = model_from_text(text, "small", "small.toml").estimate(load_network("mobilenet_v1"))
    assert cost.latency_low_ms is not None
    assert cost.latency_high_ms is not None
    assert cost.latency_high_ms / cost.latency_ms == pytest.approx(1.1367, abs=1e-4)  # exp(0.1 * 1.2816)
    assert cost.latency_ms / cost.latency_low_ms == pytest.approx(1.1367, abs=1e-4)
    assert cost.coverage == 0.8


def test_an_unknown_metric_is_named() -> None:
    cost = small().estimate(load_network("mobilenet_v1"))
    assert cost.metric("latency_ms") == cost.latency_ms
    with pytest.raises(UnknownName, match="no metric 'latency'; did you mean 'latency_ms'"):
        cost.metric("latency")
