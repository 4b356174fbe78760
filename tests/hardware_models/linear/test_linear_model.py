"""Learned hardware models: synthetic devices of known rates, device files, and networks unlike the measured ones."""

from __future__ import annotations

import math
import pickle
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_models.catalog import hardware, load_hardware, model_from_text
from hardware_models.cost import HardwareModel
from hardware_models.device_facts import device_facts
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.device_file.writer import device_text
from hardware_models.fragment_sum import FIXED_POINT_SCALE
from hardware_models.linear.features import FEATURE_NAMES, operation_features
from hardware_models.linear.fit import (
    DesignMatrix,
    FitNoise,
    OperationCounter,
    design_matrix,
    fit_linear,
    held_out_coverage,
    held_out_predictions,
    to_rates,
)
from hardware_models.linear.model import LinearModel, Rates, fallback_rates, widen_interval
from hardware_models.linear.published_device import published_device
from hardware_models.measured.datasets import DeviceSource
from hardware_models.measured.prediction_error import accuracy_metrics, interval_factor
from search_spaces.catalog import load_space
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.graph.serialise import graph_from_json

KINDS = {
    "conv:regular": (0.02, 0.5, 0.1, 0.0),
    "conv:pointwise": (0.01, 0.7, 0.2, 0.3),
    "conv:depthwise": (0.03, 4.0, 0.0, 0.0),
    "act:relu": (0.001, 0.0, 0.05, 0.0),
}
NO_CORRECTIONS = FitNoise(spread=0)


def network(rng: random.Random, *, stem: bool = False, head: bool = False) -> Graph:
    """Convolutions of all kinds in random number and width."""
    b = Builder()
    x = b.input((3, 32, 32))
    x = b.conv(x, 8, 3, 2) if stem else b.conv(x, 8, 1)
    for _ in range(rng.randint(1, 9)):
        strides = (1, 1, 2) if x.shape[1] > 2 else (1,)
        kind = rng.choice(("regular", "pointwise", "depthwise"))
        if kind == "depthwise":
            x = b.conv(x, x.channels, rng.choice((3, 5)), rng.choice(strides), groups=x.channels)
        elif kind == "regular" and not stem:
            x = b.conv(x, 8 * rng.randint(1, 5), 3, rng.choice(strides))
        else:
            x = b.conv(x, 8 * rng.randint(1, 5), 1)
        if rng.random() < 0.5:
            x = b.act(x, "relu")
    if head:
        x = b.linear(b.reshape(b.global_pool(b.conv(x, 16, 1)), (16,)), 10)
    return b.build(x)


def networks(count: int, seed: int = 0, **options: bool) -> list[Graph]:
    rng = random.Random(seed)
    return [network(rng, **options) for _ in range(count)]


def counted(graphs: list[Graph]) -> DesignMatrix:
    counter = OperationCounter()
    return design_matrix([counter.of(graph) for graph in graphs])


def latencies(model: HardwareModel, graphs: list[Graph]) -> Any:
    return np.array([model.estimate(graph).latency_ms for graph in graphs])


def small(**changes: Any) -> LinearModel:
    return LinearModel("small", 1, {"latency": replace(Rates(0.4, KINDS), **changes)})


# -- closed forms ------------------------------------------------------------------------------------------------------


def test_a_network_costs_what_its_operations_do_by_hand() -> None:
    b = Builder()
    graph = b.build(b.act(b.conv(b.input((3, 8, 8)), 16, 3), "relu"))
    macs, moved, weights = 16 * 3 * 9 * 64, 3 * 64 + 16 * 64, 16 * 3 * 9
    convolution = 0.02 + 0.5 * macs / 1e9 + 0.1 * moved / 1e6
    activation = 0.001 + 0.05 * 2 * 16 * 64 / 1e6
    cost = small(corrections={"conv:regular 3x8x8>16x8x8 k3x3 s1x1": 0.5}).estimate(graph)
    assert cost.latency_ms == pytest.approx(0.4 + 1.5 * convolution + activation, abs=3e-9)
    assert cost.weights_kib == 4 * weights / 1024  # float32
    assert [round(row.latency_ms, 6) for row in cost.breakdown()] == [
        0.0,
        round(1.5 * convolution, 6),
        round(activation, 6),
        0.4,
    ]


def test_the_text_of_an_operation_tells_apart_what_may_differ_in_cost() -> None:
    b = Builder()
    x = b.input((16, 8, 8))
    made = [
        b.conv(x, 16, 3),
        b.conv(x, 16, 3, dilation=2),
        b.conv(x, 16, (3, 1)),
        b.conv(x, 16, 3, 2),
        b.conv(x, 16, 3, groups=4),
        b.conv(x, 16, 3, groups=8),
        b.conv(x, 16, 3, groups=16),
        b.conv(x, 32, 3, groups=16),
        b.conv(x, 16, 1),
        b.pool(x, "max", 3),
        b.pool(x, "avg", 3),
        b.add(x, b.conv(x, 16, 1)),
    ]
    graph = b.build({str(i): y for i, y in enumerate(made)})
    texts = [operation.text for operation in OperationCounter().of(graph)]
    kinds = [text.split()[0] for text in texts]
    assert len(set(texts)) == len(texts) == 12
    assert [kinds.count(k) for k in ("conv:regular", "conv:grouped", "conv:depthwise", "conv:pointwise")] == [
        4,
        2,
        2,
        1,
    ]


def test_rates_are_recovered_from_measurements_made_by_them() -> None:
    graphs = networks(120)
    matrix = counted(graphs)
    found = fit_linear(matrix, latencies(small(), graphs), NO_CORRECTIONS)
    assert found.base == pytest.approx(0.4, rel=1e-3)
    fresh = networks(40, seed=1)
    learned = LinearModel("found", 1, {"latency": to_rates(found, matrix)})
    assert latencies(learned, fresh) == pytest.approx(latencies(small(), fresh), rel=1e-4)
    overhead = {kind: rates[0] for kind, rates in learned.rates["latency"].kinds.items()}
    assert overhead == pytest.approx({kind: rates[0] for kind, rates in KINDS.items()}, abs=5e-4)


def test_the_correction_of_one_operation_is_recovered() -> None:
    graphs = networks(300)
    counter = OperationCounter()
    depthwise = [o.text for g in graphs for o in counter.of(g) if o.kind == "conv:depthwise"]
    slow = max(sorted(set(depthwise)), key=depthwise.count)
    truth, matrix = small(corrections={slow: 0.8}), counted(graphs)
    fresh = [g for g in networks(300, seed=2) if slow in {o.text for o in counter.of(g)}]
    errors = {}
    for spread in (0.0, 0.3):
        rates = to_rates(fit_linear(matrix, latencies(truth, graphs), FitNoise(1e-3, spread)), matrix)
        found = latencies(LinearModel("found", 1, {"latency": rates}), fresh)
        errors[spread] = accuracy_metrics(found, latencies(truth, fresh))["mape_percent"]
    assert len(fresh) > 10
    assert rates.corrections[slow] == max(rates.corrections.values()) > 0.4
    assert errors[0.3] < 0.25 * errors[0.0]


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_a_fit_does_not_depend_on_the_unit_of_time(unit: float) -> None:
    graphs = networks(60)
    matrix, measured = (
        counted(graphs),
        latencies(small(), graphs) * np.exp(np.random.default_rng(0).normal(0, 0.1, 60)),
    )
    assert fit_linear(matrix, measured * unit).predict(matrix) == pytest.approx(
        fit_linear(matrix, measured).predict(matrix) * unit
    )


def test_what_every_network_has_belongs_to_the_base_and_is_shared_out_without_changing_any_prediction() -> None:
    graphs = networks(100, stem=True, head=True)
    truth = LinearModel(
        "truth", 1, {"latency": Rates(0.4, KINDS | {"linear": (0.1, 0, 0, 0), "global_pool:avg": (0.1, 0, 0, 0)})}
    )
    matrix, measured = counted(graphs), latencies(truth, graphs)
    assert matrix.constant() == ["conv:regular", "linear"]
    found = fit_linear(matrix, measured, NO_CORRECTIONS)
    rates = to_rates(found, matrix)
    assert rates.constant == {"conv:regular": 1, "linear": 1}
    assert 0 < rates.base < found.base
    assert min(max(rates.kinds[kind]) for kind in rates.constant) > 0  # nothing is free because all have it
    model = LinearModel("found", 1, {"latency": rates})
    assert latencies(model, graphs) == pytest.approx(measured, rel=1e-3)
    assert all(model.estimate(graph).guessed_ops == () for graph in graphs)
    more = network(random.Random(5))  # regular convolutions in its body
    assert "conv:regular" in model.estimate(more).guessed_ops


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_rates_and_predictions_are_never_negative(seed: int, noise: float) -> None:
    graphs = networks(15, seed=seed)
    matrix = counted(graphs)
    measured = latencies(small(), graphs) * np.exp(np.random.default_rng(seed).normal(0, noise, 15))
    found = fit_linear(matrix, measured)
    rates = to_rates(found, matrix)
    assert found.base >= 0
    assert found.rates.min() >= 0
    assert found.corrections.min() >= -0.95
    assert rates.base >= 0
    assert min(min(r) for r in rates.kinds.values()) >= 0
    assert latencies(LinearModel("m", 1, {"latency": rates}), networks(5, seed=seed + 1)).min() >= 0


@pytest.mark.parametrize("measured", [[], [1.0, 0.0], [1.0, -2.0]])
def test_a_fit_without_proper_measurements_is_refused(measured: list[float]) -> None:
    with pytest.raises(ValueError, match="needs measurements, all above 0"):
        fit_linear(counted(networks(2)).of(list(range(len(measured)))), np.array(measured))


# -- errors and intervals ----------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.floats(0.01, 1.0))
def test_the_interval_factor_is_the_conformal_quantile(seed: int, noise: float) -> None:
    truth = np.random.default_rng(seed).normal(0, noise, 99)
    factor = interval_factor(np.exp(truth), np.ones(99))
    assert factor == pytest.approx(math.exp(sorted(abs(truth))[89]))  # the 90th of 99: (99 + 1) * 0.9
    assert (abs(truth) <= math.log(factor) + 1e-12).sum() == 90


def test_intervals_hold_nine_networks_in_ten_whatever_the_noise() -> None:
    graphs = networks(300)
    matrix, clean = counted(graphs), latencies(small(), graphs)
    held = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        measured = clean * np.exp(rng.normal(0, rng.choice([0.02, 0.1, 0.3]), len(graphs)))
        held.append(held_out_coverage(matrix, measured, FitNoise(0.1, 0)))
    assert 0.87 <= np.mean(held) <= 0.93


def test_held_out_predictions_know_nothing_of_what_they_predict() -> None:
    graphs = networks(60)
    matrix, measured = counted(graphs), latencies(small(), graphs)
    before = held_out_predictions(matrix, measured, NO_CORRECTIONS)
    measured[7] *= 100
    assert held_out_predictions(matrix, measured, NO_CORRECTIONS)[7] == before[7]


def test_equal_networks_stay_in_one_fold() -> None:
    graphs = networks(30) * 2
    matrix, measured = counted(graphs), latencies(small(), graphs)
    groups = [str(i % 30) for i in range(60)]
    before = held_out_predictions(matrix, measured, NO_CORRECTIONS, groups=groups)
    measured[3] = measured[33] = 1e3
    assert held_out_predictions(matrix, measured, NO_CORRECTIONS, groups=groups)[[3, 33]] == pytest.approx(
        before[[3, 33]]
    )


def test_scores_by_hand() -> None:
    found = accuracy_metrics(np.array([1.0, 2.2, 3.6]), np.array([1.0, 2.0, 3.0]))
    assert found["spearman"] == found["kendall"] == 1
    assert found["mape_percent"] == 10
    assert (found["within_5_percent"], found["within_10_percent"]) == (0.3333, 0.3333)  # 2.2 / 2.0 is above 1.1
    assert "spearman" not in accuracy_metrics(np.ones(3), np.array([1.0, 2.0, 3.0]))


def test_networks_beyond_what_was_measured_have_wider_intervals() -> None:
    graph = network(random.Random(3))
    gmacs = graph.macs / 1e9
    inside = small(factor=1.1, coverage=0.9, largest_gmacs=gmacs).estimate(graph)
    twice = small(factor=1.1, coverage=0.9, largest_gmacs=gmacs / 2).estimate(graph)
    assert inside.latency_high_ms == pytest.approx(inside.latency_ms * 1.1)
    assert inside.latency_low_ms == pytest.approx(inside.latency_ms / 1.1)
    assert twice.latency_ms == inside.latency_ms
    assert twice.latency_high_ms == pytest.approx(inside.latency_ms * 1.1**2)
    assert widen_interval(1.1, 8.0, 2) == pytest.approx(1.1**5)
    assert widen_interval(2.0, 1e30, 10**6) == 100
    assert widen_interval(1e12, 1e30, 9) == 1e12


# -- kinds that were not measured --------------------------------------------------------------------------------------


def test_an_unseen_kind_is_priced_named_and_widens_the_interval() -> None:
    b = Builder()
    x = b.conv(b.input((3, 8, 8)), 16, 1)
    plain = b.build(b.act(x, "relu"))
    b = Builder()
    x = b.conv(b.input((3, 8, 8)), 16, 1)
    strange = b.build(b.norm(b.pool(b.act(x, "relu"), "max", 3), "layer"))
    model = small(factor=1.1, coverage=0.9)
    before, after = model.estimate(plain), model.estimate(strange)
    assert after.guessed_ops == ("norm:layer", "pool:max")
    rows = {row.op: row.latency_ms for row in after.breakdown()}
    assert rows["norm"] > 0
    assert rows["pool"] > 0
    assert after.latency_ms > before.latency_ms
    assert after.latency_high_ms == pytest.approx(after.latency_ms * 1.1**2)
    assert before.latency_high_ms == pytest.approx(before.latency_ms * 1.1)


@pytest.mark.parametrize("name", [n for n, r in hardware().items() if device_facts(n)["kind"] == "learned"])
def test_no_shipped_device_runs_an_unseen_kind_for_nothing(name: str) -> None:
    model = load_hardware(name)
    assert isinstance(model, LinearModel)
    b = Builder()
    x = b.input((8, 16, 16))
    x = b.conv(b.act(x, "hswish"), 16, 3, groups=4)
    x = b.resize(b.softmax(b.matmul(x, x), -1), (32, 32))
    graph = b.build(x)
    rows = model.estimate(graph).breakdown()
    unseen = [r for r, n in zip(rows, graph.nodes, strict=False) if n.op != "input"]
    assert all(row.latency_ms > 0 for row in unseen), unseen


def test_a_guess_takes_the_dearest_of_its_like() -> None:
    kinds = {
        "conv:pointwise": (1.0, 2.0, 0.0, 0.0),
        "conv:depthwise": (0.0, 50.0, 0.0, 0.0),
        "act:relu": (0.5, 0, 0, 0),
    }
    assert fallback_rates("conv:regular", kinds) == fallback_rates("linear", kinds) == kinds["conv:pointwise"]
    assert fallback_rates("conv:grouped", kinds) == (1.0, 50.0, 0.0, 0.0)
    assert fallback_rates("act:hswish", kinds) == fallback_rates("softmax:1d", kinds) == kinds["act:relu"]
    assert fallback_rates("add", kinds | {"act:relu": (0.0,) * 4}) == (1.0, 50.0, 0.0, 0.0)
    assert fallback_rates("add", {}) == (0.0,) * len(FEATURE_NAMES)


def test_operations_that_the_device_cannot_run_are_named() -> None:
    model = LinearModel("m", 1, {"latency": Rates(0.1, KINDS)}, unsupported={"act:relu": "no such unit"})
    b = Builder()
    x = b.conv(b.input((3, 8, 8)), 8, 1)
    assert model.estimate(b.build(x)).unsupported_ops == ()
    assert model.estimate(b.build(b.act(x, "relu"))).unsupported_ops == ("act:relu",)


# -- sums, cuts, memos -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zcu102", "jetson_nano", "1080ti", "samsung_s7"])
def test_the_rows_add_up_and_the_cut_of_a_graph_does_not_matter(name: str) -> None:
    space, model = load_space("mobiledet"), load_hardware(name)
    rng = random.Random(0)
    for _ in range(4):
        graph = space.graph(space.sample(rng))
        cost, again = model.estimate(graph), model.estimate(graph_from_json(graph.to_json()))
        assert cost == again
        assert sum(round(row.latency_ms * FIXED_POINT_SCALE) for row in cost.breakdown()) == round(
            cost.latency_ms * FIXED_POINT_SCALE
        )
        assert [row.index for row in cost.breakdown()][: len(graph.nodes)] == list(range(len(graph.nodes)))
        assert cost.peak_memory_kib is not None
        assert cost.weights_kib is not None


def test_dropping_the_memo_or_sending_the_model_away_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, model = networks(6), small(factor=1.2, coverage=0.9)
    before = [model.estimate(graph) for graph in graphs]
    assert [pickle.loads(pickle.dumps(model)).estimate(graph) for graph in graphs] == before  # noqa: S301 - our own
    monkeypatch.setattr("search_spaces.graph.memo.MEMO_LIMIT", 2)
    assert [small(factor=1.2, coverage=0.9).estimate(graph) for graph in graphs] == before


def test_energy_is_learned_and_summed_like_latency() -> None:
    graph = networks(1)[0]
    both = {"latency": Rates(0.4, KINDS), "energy": Rates(2.0, {k: tuple(7 * x for x in r) for k, r in KINDS.items()})}
    cost = LinearModel("m", 1, both).estimate(graph)
    assert cost.energy_mj == pytest.approx(2.0 + 7 * (cost.latency_ms - 0.4), abs=1e-6)
    assert small().estimate(graph).energy_mj is None


# -- device files ------------------------------------------------------------------------------------------------------


def test_a_written_device_file_gives_the_estimates_of_the_fit() -> None:
    graphs = networks(150, head=True)
    rng = np.random.default_rng(0)
    matrix = counted(graphs)
    truth = LinearModel("truth", 1, {"latency": Rates(0.4, KINDS | {"linear": (0.1, 0, 0, 0)})})
    measured = latencies(truth, graphs) * np.exp(rng.normal(0, 0.05, len(graphs)))
    out = held_out_predictions(matrix, measured)
    rates = to_rates(fit_linear(matrix, measured), matrix, interval_factor(out, measured))
    learned = replace(rates, errors=accuracy_metrics(out, measured))
    source = DeviceSource('a "test" of it', "nobody \\ nowhere", {}, batch=4)
    text = device_text(*published_device("mine", source, {"latency": learned, "energy": learned}))
    model = model_from_text(text, "mine", "mine.toml")
    assert isinstance(model, LinearModel)
    fresh = networks(30, seed=9, head=True)
    assert latencies(model, fresh) == pytest.approx(latencies(LinearModel("m", 1, {"latency": rates}), fresh), rel=2e-3)
    assert model.rates["latency"].constant == rates.constant
    assert model.rates["energy"] == model.rates["latency"]
    cost = model.estimate(fresh[0])
    assert cost.source == "predicted:mine@1"
    assert cost.coverage == 0.9


FILE = """
kind = "learned"
version = 2
number_format = "float16"
measured = "as written"
[latency]
base = 0.5
largest_gmacs = 1.5
[latency.error]
factor = 1.1
coverage = 0.9
spearman = 0.98
[latency.kinds]
"conv:pointwise" = [0.1, 1, 0, 0]
"act:relu" = [0, 0, 0.5, 0]
[latency.constant]
"act:relu" = 3
[latency.corrections]
"conv:pointwise 3x8x8>16x8x8 k1x1 s1x1" = -0.25
[unsupported]
"act:hswish" = "the compiler refuses it"
"""


def test_the_file_is_read_as_it_says() -> None:
    model = model_from_text(FILE, "f", "f.toml")
    assert isinstance(model, LinearModel)
    assert (model.version, model.executed_graph, model.unsupported) == (
        2,
        "as written",
        {"act:hswish": "the compiler refuses it"},
    )
    b = Builder()
    graph = b.build(b.conv(b.input((3, 8, 8)), 16, 1))
    cost = model.estimate(graph)
    assert cost.latency_ms == pytest.approx(0.5 + 0.75 * (0.1 + 3 * 16 * 64 / 1e9), abs=2e-9)
    assert model.number_format == "float16"
    assert cost.weights_kib == 2 * graph.params / 1024
    assert cost.peak_memory_kib == 2 * graph.peak_activation_elements / 1024


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'number_format = "float16"',
            "",
            "number_format is missing; add one of 'float32', 'float16', 'bfloat16', 'int8'",
        ),
        ('"float16"', '"fp16"', "number_format must be one of 'float32', 'float16', 'bfloat16', 'int8', not 'fp16'"),
        ('"float16"', "16", "number_format must be one of 'float32'"),
        ("version = 2", "version = 2\nprecision = 'float16'", "no key precision"),
        ("base = 0.5", "base = -1", "latency.base must be a number at least 0"),
        ("base = 0.5", "base = nan", "latency.base must be a number"),
        ("base = 0.5", "base = 1e300", "latency.base must be a number"),
        ("base = 0.5", "bose = 0.5", "latency.base is missing (there is 'bose'"),
        ("base = 0.5", "base = 0.5\nextra = 1", "no key latency.extra"),
        ("[0.1, 1, 0, 0]", "[0.1, 1, 0]", "latency.kinds.conv:pointwise must be a list of 4 numbers"),
        ("[0.1, 1, 0, 0]", "[0.1, 1, 0, -1]", "4 numbers of at least 0"),
        ("[0.1, 1, 0, 0]", '[0.1, 1, 0, "x"]', "a list of 4 numbers"),
        ("[0.1, 1, 0, 0]", "[0.1, 1, 0, inf]", "a list of 4 numbers"),
        (
            '"conv:pointwise" = [',
            '"conv:pointwize" = [',
            "no kind of operation 'conv:pointwize'; did you mean 'conv:po",
        ),
        ('"act:relu" = 3', '"act:relu" = -3', "latency.constant.act:relu must be a whole number of at least 0"),
        ('"act:relu" = 3', '"act:rulu" = 3', "no kind of operation 'act:rulu'"),
        ("= -0.25", "= -1.5", "latency.corrections.conv:pointwise 3x8x8>16x8x8 k1x1 s1x1 must be"),
        ("= -0.25", "= true", "latency.corrections"),
        ("factor = 1.1", "factor = 0.9", "latency.error.factor must be a number at least 1"),
        ("coverage = 0.9", "coverage = 1.5", "latency.error.coverage must be"),
        ("spearman = 0.98", 'spearman = "high"', "latency.error.spearman must be a number"),
        ('"as written"', '"as wished"', "measured must be 'normal form' or 'as written'"),
        ("version = 2", "version = 0", "version must be a whole number of at least 1"),
        ('"act:hswish" = "the', '"act:hswsh" = "the', "no kind of operation 'act:hswsh'; did you mean"),
        ('"the compiler refuses it"', "7", "unsupported.act:hswish must be a text"),
        ("[unsupported]", "[unsuported]", "no key unsuported; did you mean 'unsupported'?"),
        ('kind = "learned"', 'kind = "lerned"', "kind must be one of 'analytic', "),
        ("[latency.kinds]", "[latency.kinds", "not valid TOML"),
        (
            '[latency.kinds]\n"conv:pointwise" = [0.1, 1, 0, 0]\n"act:relu" = [0, 0, 0.5, 0]',
            "[latency.kinds]",
            "one kind",
        ),
    ],
)
def test_a_learned_file_that_is_wrong_says_where(old: str, new: str, message: str) -> None:
    assert FILE.count(old) == 1
    with pytest.raises(HardwareError) as caught:
        model_from_text(FILE.replace(old, new), "f", "f.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("f.toml")
    assert "\n" not in str(caught.value)


def test_operations_are_counted_as_often_as_they_occur() -> None:
    graph = networks(1, seed=4)[0]
    made = [
        operation_features(node, figures, tuple(graph.nodes[i].shape for i in node.inputs))
        for node, figures in zip(graph.nodes, graph.node_counts(), strict=True)
    ]
    counts = OperationCounter().of(graph)
    assert sorted(o for o in made if o is not None) == sorted(counts.elements())
    assert made[0] is None  # the input
