"""Devices known by few measurements: the formula, the Gaussian process behind it, intervals, which to measure."""

from __future__ import annotations

import math
import pickle
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct

from hardware_models.catalog import load_hardware, model_from_text
from hardware_models.device_file.header import DeviceHeader
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.device_file.writer import device_text
from hardware_models.fragment_sum import FIXED_POINT_SCALE
from hardware_models.linear.features import FEATURE_NAMES
from hardware_models.linear.model import LinearModel, Rates
from hardware_models.transfer import fit as calibration
from hardware_models.transfer.fit import (
    COUNT_VARIANCE,
    DEVICE_VARIANCE,
    NOISE_VARIANCE,
    NetworkPool,
    fit_transfer,
    network_pool,
    prior_covariance,
    select_measurements,
    source_weights,
)
from hardware_models.transfer.model import (
    MIN_LATENCY_MS,
    DeviceMixture,
    TransferFeatures,
    TransferModel,
    rounded_mixture,
)
from search_spaces.catalog import load_space
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.graph.serialise import graph_from_json

KINDS = ("conv:regular", "conv:pointwise", "conv:depthwise", "act:relu", "add")
SIZES = np.array([0.05, 1.0, 0.3, 0.2])  # of the rates, in the order of FEATURES


def device(seed: int) -> LinearModel:
    """A device of random rates."""
    rng = np.random.default_rng(seed)
    rates = {kind: tuple((SIZES * rng.exponential(size=4)).tolist()) for kind in KINDS}
    return LinearModel(f"device{seed}", 1, {"latency": Rates(float(rng.uniform(0.1, 1)), rates)})


def network(rng: random.Random) -> Graph:
    b = Builder()
    x = b.conv(b.input((3, 32, 32)), 8 * rng.randint(1, 4), 3, 2)
    for _ in range(rng.randint(1, 6)):
        y = b.act(b.conv(x, 8 * rng.randint(1, 8), rng.choice((1, 3))), "relu")
        y = b.conv(y, y.channels, rng.choice((3, 5)), groups=y.channels)
        x = b.add(x, b.conv(y, x.channels, 1)) if rng.random() < 0.5 else y
    return b.build(x)


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    rng = random.Random(0)
    return [network(rng) for _ in range(120)]


@pytest.fixture(scope="module")
def pool(graphs: list[Graph]) -> NetworkPool:
    return network_pool(graphs, [device(seed) for seed in range(6)])


def latencies(model: LinearModel, graphs: list[Graph]) -> Any:
    return np.array([model.estimate(graph).latency_ms for graph in graphs])


def model_of(pool: NetworkPool, mixture: DeviceMixture) -> TransferModel:
    return TransferModel("new", 1, mixture, pool.signals.models)


def test_signals_are_the_known_latencies_and_the_counts(graphs: list[Graph]) -> None:
    models = [device(0), device(1)]
    signals = TransferFeatures(models, ("conv:depthwise", "softmax:1d"))
    for graph in graphs[:10]:
        signal, other = signals.of(graph)
        assert signal[:2] == pytest.approx([m.estimate(graph).latency_ms + MIN_LATENCY_MS for m in models], abs=3e-9)
        depthwise = [
            f for n, f in zip(graph.nodes, graph.node_counts(), strict=True) if n.op == "conv" and n.attr("groups") > 1
        ]
        assert signal[2] == len(depthwise)
        assert signal[3] == pytest.approx(sum(f.macs for f in depthwise) / 1e9, abs=1e-15)
        assert signal[5] == pytest.approx(sum(f.params for f in depthwise) / 1e6, abs=1e-15)
        assert not signal[6:].any()
        assert other == {"conv:regular", "conv:pointwise", "act:relu", "add"} & set(other)
        assert "conv:regular" in other


def test_the_estimate_is_the_formula(graphs: list[Graph]) -> None:
    models = [device(0), device(1)]
    pairs = tuple((0.1 * i, 1.0 + i) for i in range(len(FEATURE_NAMES)))
    mixture = DeviceMixture(0.3, {"device0": 0.8, "device1": -0.2}, {"act:relu": pairs}, 1.2, 0.9, 1e9)
    model = TransferModel("new", 3, mixture, models)
    for graph in graphs[:10]:
        signal, _ = TransferFeatures(models, ("act:relu",)).of(graph)
        expected = 0.3 + 0.8 * math.log(signal[0]) - 0.2 * math.log(signal[1])
        expected += sum(v * math.log1p(n / s) for (v, s), n in zip(pairs, signal[2:], strict=True))
        cost = model.estimate(graph)
        assert cost.latency_ms == pytest.approx(math.exp(expected), rel=1e-12)
        assert (cost.source, cost.coverage) == ("predicted:new@3", 0.9)
        assert cost.weights_kib == 4 * graph.params / 1024  # float32


def test_the_rows_add_up_and_the_cut_of_a_graph_does_not_matter(pool: NetworkPool, graphs: list[Graph]) -> None:
    known = load_hardware("zcu102")
    assert isinstance(known, LinearModel)
    model = TransferModel("new", 1, DeviceMixture(0.2, {"zcu102": 1.1}, {}, 1.3, 0.9), [known])
    space, rng = load_space("mobiledet"), random.Random(0)
    for _ in range(3):
        graph = space.graph(space.sample(rng))
        cost = model.estimate(graph)
        assert cost == model.estimate(graph_from_json(graph.to_json()))
        assert sum(row.latency_ms for row in cost.breakdown()) == pytest.approx(cost.latency_ms, rel=1e-9)
        assert cost.peak_memory_kib == 4 * graph.peak_activation_elements / 1024


def test_the_memo_is_bounded_and_travels_empty(
    pool: NetworkPool, graphs: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = latencies(device(9), graphs)[:10]
    model = model_of(pool, fit_transfer(pool, range(10), measured).mixture)
    before = [model.estimate(graph) for graph in graphs]
    assert [pickle.loads(pickle.dumps(model)).estimate(g) for g in graphs] == before  # noqa: S301 - our own bytes
    monkeypatch.setattr("hardware_models.transfer.model.MEMO_LIMIT", 20)
    fresh = model_of(pool, model.mixture)
    assert [fresh.estimate(graph) for graph in graphs] == before
    assert len(fresh.signals._row_of_fragment) < 60


def process(pool: NetworkPool, chosen: list[int], measured: Any, test: list[int]) -> Any:
    """The posterior mean of the logarithm by scikit-learn, from the pool's standardised signals."""
    target = np.log(measured)
    weights = source_weights(pool.logs[chosen], target)
    mean = pool.logs @ weights
    features = np.hstack(
        [
            (pool.logs - mean[:, None]) * np.sqrt(weights * DEVICE_VARIANCE),
            pool.counts * math.sqrt(COUNT_VARIANCE),
        ]
    )
    a, b = np.polyfit(mean[chosen], target, 1)
    slope = max(0.05 / ((mean[chosen] - mean[chosen].mean()) ** 2).sum(), a)
    assert slope == pytest.approx(a)
    line = slope * mean + b
    kernel = DotProduct(sigma_0=0.0, sigma_0_bounds="fixed") + ConstantKernel(9.0, "fixed")
    found = GaussianProcessRegressor(kernel, alpha=NOISE_VARIANCE, optimizer=None).fit(
        features[chosen], (target - line[chosen]) / slope
    )
    return line[test] + slope * found.predict(features[test])


@pytest.mark.parametrize("count", [4, 10, 40])
def test_a_transfer_is_the_posterior_mean_of_a_gaussian_process(
    pool: NetworkPool, graphs: list[Graph], count: int
) -> None:
    measured = latencies(device(9), graphs)
    chosen = random.Random(count).sample(range(len(graphs)), count)
    model = model_of(pool, fit_transfer(pool, chosen, measured[chosen]).mixture)
    expected = process(pool, chosen, measured[chosen], list(range(len(graphs))))
    assert np.log([model.estimate(g).latency_ms for g in graphs]) == pytest.approx(expected, abs=1e-6)


def test_held_out_predictions_are_transfers_without_the_network(pool: NetworkPool, graphs: list[Graph]) -> None:
    chosen, measured = list(range(0, 60, 6)), latencies(device(9), graphs)
    moved = fit_transfer(pool, chosen, measured[chosen])
    for i, place in enumerate(chosen):
        others = [c for c in chosen if c != place]
        without = model_of(pool, fit_transfer(pool, others, measured[others]).mixture)
        assert moved.held_out_predictions[i] == pytest.approx(without.estimate(graphs[place]).latency_ms, rel=1e-6)
    worst = max(abs(np.log(moved.held_out_predictions / measured[chosen])))
    assert moved.mixture.factor == pytest.approx(math.exp(worst))  # the 10th of 10: (10 + 1) * 0.9 rounded up
    assert moved.mixture.coverage == 0.9
    assert fit_transfer(pool, chosen[:4], measured[chosen[:4]]).mixture.coverage == 0.8  # 4 residuals promise 4 of 5


def test_many_measurements_are_left_out_in_groups(
    pool: NetworkPool, graphs: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = latencies(device(9), graphs)
    monkeypatch.setattr(calibration, "MAX_REFITS", 7)
    before = fit_transfer(pool, range(100), measured[:100]).held_out_predictions
    changed = measured[:100].copy()
    changed[5] *= 50
    after = fit_transfer(pool, range(100), changed).held_out_predictions
    assert after[5] == before[5]
    assert (after != before).sum() >= 80  # all but its own group


def test_a_device_that_is_known_already_is_recognised(pool: NetworkPool, graphs: list[Graph]) -> None:
    twin = pool.signals.models[2]
    measured = 3.0 * latencies(twin, graphs)  # the same at a third of the clock
    weights = source_weights(pool.logs[:10], np.log(measured[:10]))
    assert weights.argmax() == 2
    assert weights.sum() == pytest.approx(1)
    model = model_of(pool, fit_transfer(pool, range(10), measured[:10]).mixture)
    off = np.array([model.estimate(g).latency_ms for g in graphs[10:]]) / measured[10:] - 1
    assert abs(off).mean() < 0.05


def test_a_transfer_keeps_the_unit_of_time(pool: NetworkPool, graphs: list[Graph]) -> None:
    measured = latencies(device(9), graphs)[:10]
    one, other = (model_of(pool, fit_transfer(pool, range(10), measured * u).mixture) for u in (1.0, 1e3))
    for graph in graphs[10:20]:
        assert other.estimate(graph).latency_ms == pytest.approx(1e3 * one.estimate(graph).latency_ms)


def test_intervals_of_ten_measurements_hold_nine_in_ten(pool: NetworkPool, graphs: list[Graph]) -> None:
    held = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        measured = latencies(device(100 + seed), graphs) * np.exp(rng.normal(0, 0.1, len(graphs)))
        chosen = rng.permutation(len(graphs))[:10].tolist()
        model = model_of(pool, fit_transfer(pool, chosen, measured[chosen]).mixture)
        rest = [i for i in range(len(graphs)) if i not in chosen][:30]
        costs = [model.estimate(graphs[i]) for i in rest]
        held += [c.latency_low_ms <= measured[i] <= c.latency_high_ms for c, i in zip(costs, rest, strict=True)]
    assert 0.83 <= np.mean(held) <= 0.97


def test_what_the_measurements_did_not_hold_widens_the_interval(pool: NetworkPool, graphs: list[Graph]) -> None:
    smallest = sorted(range(len(graphs)), key=lambda i: graphs[i].macs)[:10]
    measured = latencies(device(9), graphs)[smallest]
    model = model_of(pool, fit_transfer(pool, smallest, measured).mixture)
    mixture = model.mixture
    assert mixture.largest_gmacs == pytest.approx(max(graphs[i].macs for i in smallest) / 1e9)
    inside = model.estimate(graphs[smallest[0]])
    largest = max(graphs, key=lambda g: g.macs)
    outside = model.estimate(largest)
    doublings = math.log2(largest.macs / 1e9 / mixture.largest_gmacs)
    assert mixture.factor is not None
    assert doublings > 1
    assert inside.latency_high_ms == pytest.approx(inside.latency_ms * mixture.factor)
    assert outside.latency_high_ms == pytest.approx(outside.latency_ms * mixture.factor ** (1 + doublings))
    b = Builder()
    x = b.conv(b.input((3, 32, 32)), 8, 3, 2)
    strange = model.estimate(b.build(b.norm(x, "layer")))
    assert strange.guessed_ops == ("norm:layer",)
    assert strange.latency_high_ms == pytest.approx(strange.latency_ms * mixture.factor**1.5)


def remaining_variance(pool: NetworkPool, chosen: list[int]) -> float:
    prior = prior_covariance(pool)
    gain = prior[:, chosen] @ np.linalg.solve(
        prior[np.ix_(chosen, chosen)] + NOISE_VARIANCE * np.eye(len(chosen)), prior[chosen]
    )
    return float(np.trace(prior - gain))


def test_informative_networks_leave_less_variance_than_random_ones(pool: NetworkPool) -> None:
    chosen = select_measurements(pool, 8)
    assert len(set(chosen)) == 8
    rng = random.Random(0)
    drawn = [remaining_variance(pool, rng.sample(range(len(pool.logs)), 8)) for _ in range(50)]
    assert remaining_variance(pool, chosen) < min(drawn)
    assert (
        select_measurements(pool, 5, measured_indices=chosen[:3]) == chosen[3:]
    )  # greedy: the first do not depend on the others
    assert select_measurements(pool, 10**6) != []
    assert len(select_measurements(pool, 10**6)) == len(pool.logs)


@pytest.mark.parametrize(("chosen", "measured"), [([0, 1], [1.0, 2.0]), ([0, 1, 2], [1.0, 2.0, 0.0])])
def test_a_transfer_from_too_little_is_refused(pool: NetworkPool, chosen: list[int], measured: list[float]) -> None:
    with pytest.raises(ValueError, match="three measured networks at least, and latencies above 0"):
        fit_transfer(pool, chosen, np.array(measured))


def test_a_pool_of_one_network_is_refused(graphs: list[Graph]) -> None:
    with pytest.raises(ValueError, match="needs two networks at least, not 1"):
        network_pool(graphs[:1], [device(0)])


# -- device files ------------------------------------------------------------------------------------------------------


def test_a_written_device_file_gives_the_estimates_of_the_transfer(graphs: list[Graph]) -> None:
    known = [load_hardware(name) for name in ("pi5", "zcu102")]
    models = [m for m in known if isinstance(m, LinearModel)]
    pool = network_pool(graphs, models)
    moved = fit_transfer(pool, range(12), latencies(device(9), graphs)[:12])
    mixture = rounded_mixture(replace(moved.mixture, errors={"rows": 12}))
    text = device_text(
        DeviceHeader('two "quotes"\nand a \\'), TransferModel("new", 1, mixture, models, number_format="int8")
    )
    read = model_from_text(text, "new", "new.toml")
    assert isinstance(read, TransferModel)
    assert read.number_format == "int8"
    for graph in graphs[:30]:
        one, other = read.estimate(graph), model_of(pool, moved.mixture).estimate(graph)
        assert one.latency_ms == pytest.approx(other.latency_ms, rel=1e-5)
        assert one.latency_high_ms == pytest.approx(other.latency_high_ms, rel=1e-3)
        assert sum(row.latency_ms for row in one.breakdown()) == pytest.approx(one.latency_ms)


FILE = """
kind = "transferred"
version = 1
number_format = "float16"
measured = "normal form"
[devices]
pi5 = 1
[latency]
intercept = [-0.5]
largest_gmacs = 0.5
[latency.error]
factor = 1.2
coverage = 0.9
[latency.devices]
pi5 = [1.0]
[latency.counts]
"act:relu" = [0.1, 0, 0, 0]
[latency.scales]
"act:relu" = [2, 1, 1, 1]
"""


def test_the_file_is_read_as_it_says(graphs: list[Graph]) -> None:
    known, model = load_hardware("pi5"), model_from_text(FILE, "f", "f.toml")
    relus = sum(node.op == "act" for node in graphs[0].nodes)
    expected = (known.estimate(graphs[0]).latency_ms + MIN_LATENCY_MS) * math.exp(-0.5) * (1 + relus / 2) ** 0.1
    cost = model.estimate(graphs[0])
    assert cost.latency_ms == pytest.approx(expected, rel=1e-9)
    assert cost.weights_kib == 2 * graphs[0].params / 1024
    assert cost.peak_memory_kib == 2 * graphs[0].peak_activation_elements / 1024


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('number_format = "float16"', "", "number_format is missing; add one of 'float32'"),
        ("pi5 = 1\n", "pi5 = 99\n", "it rests on pi5@99, and here is pi5@1; calibrate it again"),
        ("pi5 = 1\n", "", "devices.pi5 is missing"),
        ("pi5 = 1\n", "pi5 = 1\nzcu102 = 1\n", "no key devices.zcu102"),
        ("pi5 = [1.0]", "pi6 = [1.0]", "no hardware 'pi6'"),
        ("pi5 = [1.0]", '"./f.toml" = [1.0]', "no hardware './f.toml'"),
        ("pi5 = [1.0]", "pi5 = 1.0", "latency.devices.pi5 must be a list of 1 numbers"),
        ("pi5 = [1.0]", "", "latency.devices must be a table of one device at least"),
        ("pi5 = [1.0]", "pi5 = [nan]", "latency.devices.pi5 must be"),
        ("[-0.5]", "[]", "latency.intercept must be a list of 1 numbers"),
        ("[2, 1, 1, 1]", "[2, 0, 1, 1]", "latency.scales.act:relu must be 4 numbers above 0"),
        ('[latency.scales]\n"act:relu" = [2, 1, 1, 1]', "", "latency.scales is missing"),
        ('[latency.counts]\n"act:relu" = [0.1, 0, 0, 0]', "", "latency.counts is missing"),
        ('"act:relu" = [0.1', '"act:rely" = [0.1', "no kind of operation 'act:rely'; did you mean 'act:relu'?"),
        ("= [2, 1, 1, 1]", '= [2, 1, 1, 1]\n"add" = [1, 1, 1, 1]', "no key latency.scales.add"),
        ("factor = 1.2", "factor = 0.2", "latency.error.factor must be a number at least 1"),
        ("largest_gmacs = 0.5", "largest_gmacs = -1", "latency.largest_gmacs must be a number above 0"),
        ("largest_gmacs = 0.5", "smallest_gmacs = 0.5", "no key latency.smallest_gmacs"),
        ('"normal form"', '"normal"', "measured must be 'normal form' or 'as written'"),
    ],
)
def test_a_transferred_file_that_is_wrong_says_where(old: str, new: str, message: str) -> None:
    assert FILE.count(old) == 1
    with pytest.raises(HardwareError) as caught:
        model_from_text(FILE.replace(old, new), "f", "f.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("f.toml: ")
    assert "\n" not in str(caught.value)


def test_a_file_rests_on_learned_devices_alone() -> None:
    text = FILE.replace("pi5 = 1\n", "coral_usb = 1\n").replace("pi5 = [1.0]", "coral_usb = [1.0]")
    with pytest.raises(HardwareError, match=r"f\.toml: 'coral_usb' is no learned device"):
        model_from_text(text, "f", "f.toml")


def test_parts_are_small_enough_to_be_summed_exactly() -> None:
    assert 60_000 * FIXED_POINT_SCALE < 2**63  # a minute in whole billionths of a millisecond
