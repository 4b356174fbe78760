"""Ethos-U: blocks and steps of the array by hand, the models against Vela's table, and Vela itself."""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from hardware_models.catalog import load_hardware, model_from_text
from hardware_models.device_facts import device_facts
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.mac_array.array import MacArray, array_cycles, runs_on_cpu
from hardware_models.mac_array.model import MacArrayModel
from nas.testing.hardware import HardwareContract
from search_spaces.catalog import load_network, load_space
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph

RESULTS = Path(__file__).parents[3] / "results/devices/measured/ethos_u.csv"
ACCELERATORS = ["ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512"]
U55_128 = MacArray(2, 1, 8, 1, 1.0)
SYSTEMS = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_High_End", "Dedicated_Sram"),
}


def table() -> list[dict[str, str]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def graph_of(row: dict[str, str]) -> Graph:
    options: dict[str, object] = {}
    for pair in row["options"].split(";"):
        name, _, text = pair.partition("=")
        options[name] = int(text) if text.isdigit() else float(text) if text.replace(".", "").isdigit() else text
    space = load_space(row["space"], **options)
    return space.graph(space.parse(row["architecture"]))


def last_cycles(make: Callable[[Builder, Tensor], Tensor], shape: tuple[int, ...], array: MacArray = U55_128) -> float:
    b = Builder()
    graph = b.build(make(b, b.input(shape)))
    node = graph.nodes[-1]
    return array_cycles(node, tuple([graph.nodes[i].shape for i in node.inputs]), array)


# -- the array -------------------------------------------------------------------------------------------------------


def test_a_full_array_does_all_its_multiply_adds_every_cycle() -> None:
    for array in (U55_128, MacArray(1, 1, 4, 1, 1.0), MacArray(2, 2, 8, 1, 1.0), MacArray(2, 2, 8, 2, 3.75)):
        cycles = last_cycles(lambda b, x: b.conv(x, 64, 1), (32, 16, 16), array)
        assert cycles == 64 * 32 * 16 * 16 / array.macs_per_cycle
    assert [MacArray(*a, 1.0).macs_per_cycle for a in ((1, 1, 4, 1), (2, 1, 8, 1), (2, 2, 8, 2))] == [32, 128, 512]


def test_channels_and_places_are_rounded_up_to_blocks_and_steps() -> None:
    def conv(out: int, kernel: int) -> Callable[[Builder, Tensor], Tensor]:
        return lambda b, x: b.conv(x, out, kernel)

    assert last_cycles(conv(9, 1), (32, 16, 16)) == last_cycles(conv(16, 1), (32, 16, 16))
    assert last_cycles(conv(8, 1), (33, 16, 16)) == 2 * last_cycles(conv(8, 1), (32, 16, 16))
    assert last_cycles(conv(8, 1), (32, 16, 15)) == last_cycles(conv(8, 1), (32, 16, 16))
    # 3 channels of 9 places: three steps of four places, by parts of the kernel and not by depth
    assert last_cycles(conv(8, 3), (3, 16, 16)) == 4 * (8 * 16) * 1 * 3
    # 16 channels: 2 by 3 steps by parts, 9 by depth
    assert last_cycles(conv(8, 3), (16, 16, 16)) == 4 * (8 * 16) * 1 * 6


def test_a_depthwise_convolution_leaves_most_of_the_array_idle() -> None:
    depthwise = last_cycles(lambda b, x: b.depthwise(x, 3), (32, 16, 16))
    assert depthwise == 4 * (8 * 16) * 4 * 3
    assert 32 * 9 * 256 / depthwise / 128 == pytest.approx(0.09375)


def test_few_places_wait_for_their_weights() -> None:
    small = last_cycles(lambda b, x: b.conv(x, 64, 1), (32, 2, 2))
    assert small == last_cycles(lambda b, x: b.conv(x, 64, 1), (32, 4, 4)) == 4 * 8 * 8


# -- the models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_a_model_ranks_networks_that_it_was_not_fitted_to_as_vela_does(accelerator: str) -> None:
    model = load_hardware(accelerator.replace("-", "_"))
    rows = [row for row in table() if row["use"] == "bar"]
    assert len(rows) >= 50
    costs = [model.estimate(graph_of(row)) for row in rows]
    vela = [float(row[f"{accelerator} latency_ms"]) for row in rows]
    predicted = [cost.latency_ms for cost in costs]
    stated = device_facts(model.name)["error"]
    ranks = spearmanr(predicted, vela).statistic
    assert ranks == pytest.approx(stated["spearman"], abs=5e-4)
    assert ranks >= 0.98
    off = [abs(p / v - 1) for p, v in zip(predicted, vela, strict=True)]
    assert 100 * sum(off) / len(off) == pytest.approx(stated["mape_percent"], abs=0.02)
    assert not any(cost.unsupported_ops or cost.guessed_ops for cost in costs)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_intervals_hold_most_networks_of_other_spaces_too(accelerator: str) -> None:
    model = load_hardware(accelerator.replace("-", "_"))
    rows = [row for row in table() if row["use"] in ("bar", "other")]
    inside = 0
    for row in rows:
        cost = model.estimate(graph_of(row))
        assert cost.latency_low_ms is not None
        assert cost.latency_high_ms is not None
        inside += cost.latency_low_ms <= float(row[f"{accelerator} latency_ms"]) <= cost.latency_high_ms
    assert inside / len(rows) == pytest.approx(device_facts(model.name)["error"]["interval_coverage"], abs=5e-3)
    assert inside / len(rows) >= 0.85


def test_a_breakdown_adds_up_and_says_what_bounds_each_layer() -> None:
    graph = load_network("mobilenet_v2", image_size=96)
    cost = load_hardware("ethos_u55_128").estimate(graph)
    rows = cost.breakdown()
    assert sum(row.latency_ms for row in rows) == pytest.approx(cost.latency_ms, abs=1e-9)
    assert len([row for row in rows if row.index is not None]) == len(graph)
    # weights come in at one byte a cycle: the classifier waits for its own, the stem does not
    assert {row.bound for row in rows if row.op == "linear"} == {"transfer"}
    assert next(row for row in rows if row.op == "conv").bound == "compute"
    assert all(row.latency_ms == 0 for row in rows if row.op in ("norm", "act"))


def test_what_is_left_to_the_cpu_makes_a_network_unsupported() -> None:
    b = Builder()
    x = b.conv(b.input((3, 24, 24)), 8, 3)
    graph = b.build(b.conv(b.resize(x, (72, 72)), 8, 1))
    cost = load_hardware("ethos_u55_128").estimate(graph)
    assert cost.unsupported_ops == ("resize:nearest",)
    assert cost.latency_ms > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("width = 2", "width = 0"), "array.width must be a whole number of at least 1"),
        (("bytes_per_weight", "bytes_per_wait"), "memory.bytes_per_weight is missing"),
        (("[array]", "[aray]"), "array is missing"),
        (("cores = 1", "cores = 1\ncolour = 1"), "no key array.colour"),
    ],
)
def test_a_wrong_device_file_is_refused_with_its_place(change: tuple[str, str], message: str) -> None:
    path = RESULTS.parents[3] / "hardware_models/devices/ethos_u/ethos_u55_128.toml"
    text = path.read_text(encoding="utf-8")
    assert isinstance(model_from_text(text, "same", "same.toml"), MacArrayModel)
    with pytest.raises(HardwareError, match=message):
        model_from_text(text.replace(*change), "changed", "changed.toml")


class TestEthosU(HardwareContract):
    def make_model(self) -> MacArrayModel:
        model = load_hardware("ethos_u65_512")
        assert isinstance(model, MacArrayModel)
        return model


# -- the compiler itself ---------------------------------------------------------------------------------------------


def vela_of(graph: Graph, accelerator: str) -> tuple[int, list[str]]:
    """Cycles, and operators left to the CPU."""
    try:
        import ethosu.vela.vela  # noqa: F401
    except ImportError:
        reason = "needs the package ethos-u-vela"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    import base64

    from evaluators.devices.runtimes import vela
    from search_spaces.export.tflite import write_tflite

    system, memory = SYSTEMS[accelerator[:9]]
    model = base64.b64encode(write_tflite(graph, precision="int8")).decode()
    answer = vela.run_benchmark({"model": model, "accelerator": accelerator, "system": system, "memory": memory})
    return round(vela.parse_summary(answer["summary"])["cycles"]), list(answer["cpu_operators"])


@pytest.mark.parametrize("accelerator", ["ethos-u55-128", "ethos-u65-512"])
def test_vela_says_what_the_table_says(accelerator: str) -> None:
    rows = sorted(table(), key=lambda row: float(row["ethos-u55-128 outside_kib"]))
    small = [row for row in rows if row["use"] == "other"][:1] + random.Random(0).sample(rows[:60], 2)
    for row in small:
        cycles, left = vela_of(graph_of(row), accelerator)
        assert (cycles, left) == (int(row[f"{accelerator} cycles"]), [])


def _single(make: Callable[[Builder, Tensor], Tensor], shape: tuple[int, ...] = (3, 24, 24)) -> Graph:
    b = Builder()
    return b.build(b.conv(make(b, b.conv(b.input(shape), 8, 1)), 4, 1))


SINGLE: dict[str, Callable[[Builder, Tensor], Tensor]] = {
    "bilinear to 2": lambda b, x: b.resize(x, (48, 48), "bilinear"),
    "bilinear to 4": lambda b, x: b.resize(x, (96, 96), "bilinear"),
    "bilinear to half": lambda b, x: b.resize(x, (12, 12), "bilinear"),
    "nearest to 4": lambda b, x: b.resize(x, (96, 96)),
    "nearest to 3": lambda b, x: b.resize(x, (72, 72)),
    "nearest unequal": lambda b, x: b.resize(x, (48, 24)),
    "from one place": lambda b, x: b.resize(b.global_pool(x), (5, 7), "bilinear"),
    "padded average of 7": lambda b, x: b.pool(x, "avg", 7, 1),
    "padded average of 9": lambda b, x: b.pool(x, "avg", 9, 1),
    "average of 20": lambda b, x: b.pool(x, "avg", 20, 1, padding=0),
    "maximum of 9": lambda b, x: b.pool(x, "max", 9, 2),
    "stride 4": lambda b, x: b.conv(x, 8, 3, 4),
    "grouped": lambda b, x: b.conv(x, 8, 3, groups=2),
    "swish": lambda b, x: b.mul(x, b.act(x, "hsigmoid")),
}


@pytest.mark.parametrize("name", SINGLE)
def test_the_model_knows_what_vela_leaves_to_the_cpu(name: str) -> None:
    graph = _single(SINGLE[name])
    _, left = vela_of(graph, "ethos-u55-128")
    nodes = graph.nodes
    ours = [node.op for node in nodes if runs_on_cpu(node, tuple([nodes[i].shape for i in node.inputs]))]
    assert bool(ours) == bool(left), f"{name}: {left}"
    assert bool(load_hardware("ethos_u55_128").estimate(graph).unsupported_ops) == bool(left)


def test_a_map_of_more_than_256_places_a_side_is_averaged_on_the_cpu() -> None:
    for size, on_cpu in ((256, False), (257, True)):
        b = Builder()
        y = b.global_pool(b.conv(b.input((3, size, size)), 4, 1))
        graph = b.build(b.linear(b.reshape(y, (4,)), 10))
        _, left = vela_of(graph, "ethos-u55-128")
        assert bool(left) == on_cpu
        assert bool(load_hardware("ethos_u55_128").estimate(graph).unsupported_ops) == on_cpu
