"""Readers of published measurements against what the data sets say of themselves, and the devices learned from them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hardware_models.catalog import device_path, hardware, load_hardware
from hardware_models.device_facts import device_facts
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.device_file.writer import device_text
from hardware_models.linear.fit import FitNoise
from hardware_models.linear.model import LinearModel
from hardware_models.linear.published_device import MAX_NETWORKS, fit_figure, fit_published_device, published_device
from hardware_models.measured.datasets import (
    DATASET_READERS,
    DEVICE_SOURCES,
    accel_nasbench,
    fbnet,
    jetson_nano,
    nasbench201,
)
from hardware_models.measured.datasets.files import read_csv, subsample
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.measured.prediction_error import accuracy_metrics
from search_spaces.families.nasbench201 import nasbench201 as nasbench201_space
from search_spaces.families.nasbench201 import parse_string
from search_spaces.graph.graph import Graph
from search_spaces.registry import import_object
from search_spaces.space.space import Space

RESULTS = Path(__file__).parents[3] / "results" / "devices" / "published" / "learned_devices.csv"
Shared = Callable[[str], Path]

ALL_CONVOLUTIONS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
DEAD_BRANCH = "|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"


def operations(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes)


# -- NAS-Bench-201 as it was run ---------------------------------------------------------------------------------------


def as_written(cell: str) -> Graph:
    return nasbench201.as_written(parse_string(cell, {}))


def test_a_cell_without_dead_branches_has_the_same_convolutions_and_parameters_in_both_readings() -> None:
    written = as_written(ALL_CONVOLUTIONS)
    normal = Space(nasbench201_space).graph(parse_string(ALL_CONVOLUTIONS, {}))
    assert (written.params, written.macs) == (normal.params, normal.macs)
    found = operations(written)
    # 15 cells of 5 convolutions, a stem, 2 downsampling blocks of 3
    assert found["conv"] == 15 * 5 + 1 + 2 * 3
    # a normalisation behind each, but not on the shortcuts' 1x1, and one at the end
    assert found["norm"] == found["conv"] - 2 + 1
    # an activation before each in a cell, two in a downsampling block, one at the end
    assert found["act"] == 15 * 5 + 2 * 2 + 1
    # node 2 sums 2 edges, node 3 three; a block adds its shortcut
    assert found["add"] == 15 * 2 + 2
    assert (found["pool"], found["global_pool"], found["linear"]) == (2, 1, 1)


def test_dead_branches_are_counted_as_they_were_run() -> None:
    written = as_written(DEAD_BRANCH)
    normal = Space(nasbench201_space).graph(parse_string(DEAD_BRANCH, {}))
    found, alive = operations(written), operations(normal)
    assert found["conv"] == 15 * 2 + 1 + 2 * 3  # the 3x3 of node 1 reaches nothing, but ran
    assert alive["conv"] == 15 * 1 + 1 + 2 * 3
    assert (found["pool"], alive["pool"]) == (15 + 2, 2)
    assert written.params > normal.params
    assert found["add"] == 2


def test_nothing_is_shared_between_equal_edges_that_were_run_twice() -> None:
    twice = as_written("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
    cell = "|none~0|+|none~0|none~1|+|avg_pool_3x3~0|none~1|none~2|"
    assert operations(as_written(cell))["pool"] == 15 + 2
    assert operations(twice)["act"] == 15 + 2 * 2 + 1
    empty = as_written("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert operations(empty)["conv"] == 1 + 2 * 3


def test_options_change_the_written_network() -> None:
    decisions = parse_string(ALL_CONVOLUTIONS, {})
    graph = nasbench201.as_written(decisions, image_size=16, num_classes=120, channels=8, cells=1)
    assert graph.input_shape == (3, 16, 16)
    assert dict(graph.outputs).keys() == {"logits"}
    assert graph.nodes[-1].shape == (120,)
    assert operations(graph)["conv"] == 3 * 5 + 1 + 2 * 3
    assert nasbench201.as_written(decisions, input_shape=(1, 52, 16)).input_shape == (1, 52, 16)


def test_parameters_are_those_of_the_benchmark(shared: Shared) -> None:
    """The published parameters count what is alive; as written there are no fewer."""
    rows = nasbench201.read_as_written(shared("data/nb201_latency_help").parent, 40)["1080ti_1"]
    normal = nasbench201.read(shared("data/nb201_latency_help").parent, 40)["1080ti_1"]
    assert [row.name for row in rows] == [row.name for row in normal]
    assert len({row.name for row in rows}) == 40
    for one, other in zip(rows, normal, strict=True):
        assert one.graph.params >= other.graph.params
        assert one.graph.macs >= other.graph.macs
        if "none" not in one.name:
            assert (one.graph.params, one.graph.macs) == (other.graph.params, other.graph.macs)


def test_latencies_of_nothing_are_left_out(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nasbench201, "subsample", lambda frame, most: frame.nsmallest(most, "pixel3"))
    pixel3 = nasbench201.read(shared("data"), 300)["pixel3"]
    assert 0 < len(pixel3) <= 240
    assert min(row.latency_ms for row in pixel3) >= 0.01


def test_the_raspberry_pi_has_latency_and_energy_in_three_runtimes(shared: Shared) -> None:
    networks = nasbench201.read_pi5(shared("data/nb201_latency_pi5_pixel").parent, 30)
    for runtime in ("litert", "onnx", "torchmobile"):
        rows = networks[f"pi5__{runtime}"]
        assert len(rows) >= 29
        assert all(row.energy_mj is not None and row.energy_mj > 0 for row in rows)
        assert all(row.graph.nodes[-1].shape == (100,) for row in rows)


# -- the other data sets -----------------------------------------------------------------------------------------------


def test_accel_nasbench_networks_have_the_parameters_that_the_data_set_states(shared: Shared) -> None:
    folder = shared("data/accel_nasbench").parent
    frame = subsample(read_csv(folder / "accel_nasbench/accel_nasbench.csv.gz", text=("e", "k", "l", "se")), 60)
    rows = accel_nasbench.read(folder, 60)["throughput_a100"]
    assert len(rows) == 60
    for row, mparams, mmacs in zip(rows, frame.mparams, frame.mmacs, strict=True):
        assert row.graph.params / 1e6 == pytest.approx(mparams, abs=1e-6)
        # Their count takes four multiply-adds for every normalised element, and some for pooling and gates
        normalised = sum(int(np.prod(node.shape)) for node in row.graph.nodes if node.op == "norm")
        assert (row.graph.macs + 4 * normalised) / 1e6 == pytest.approx(mmacs, rel=1e-2)


def test_jetson_networks_have_the_parameters_and_multiply_adds_that_the_data_set_states(shared: Shared) -> None:
    folder = shared("data/jetson_nano_cnn").parent
    frame = read_csv(folder / "jetson_nano_cnn/jetson_nano_cnn.csv.gz").set_index("model")
    rows = jetson_nano.read(folder, 60)["tensorrt"]
    for row in rows:
        stated = frame.loc[row.name]
        assert row.graph.params == stated.params
        # Their count takes a bias for a multiply-add of every output
        layers = [n for n in row.graph.nodes if n.op in ("conv", "linear")]
        assert row.graph.macs + sum(int(np.prod(n.shape)) for n in layers) == stated.macs
        assert abs(stated.latency_ms / stated.latency_ms_power_run - 1) < 0.1
    assert len({row.graph.input_shape[1] for row in rows}) > 3


def test_fbnets_have_the_shapes_that_their_authors_give() -> None:
    """Table 1 of HW-NAS-Bench's FBNet for CIFAR-100: 22 layers, strides 1 1 2 2 1 2 1."""
    graph = fbnet.network([3] * 22)
    widths = [n.shape for n in graph.nodes if n.op == "add"]
    assert graph.nodes[-1].shape == (100,)
    assert Counter(widths) == Counter(
        {(16, 32, 32): 1, (24, 32, 32): 3, (32, 16, 16): 3, (64, 8, 8): 3, (112, 8, 8): 3, (184, 4, 4): 3}
    )
    assert sum(n.op == "conv" for n in graph.nodes) == 22 * 3 + 2
    skipped = fbnet.network([8] * 22)
    # What cannot be skipped is a 1x1 convolution: where the width changes
    assert sum(n.op == "conv" for n in skipped.nodes) == 6 + 2
    assert fbnet.network([1] * 22).params < fbnet.network([0] * 22).params  # grouped 1x1 convolutions


def test_fbnet_rows_are_read_by_their_numbers(shared: Shared) -> None:
    rows = fbnet.read(shared("data/fbnet_latency_help").parent, 20)["pixel3"]
    assert len(rows) == 20
    for row in rows:
        assert row.graph == fbnet.network([int(part) for part in row.name.split("_")])
        assert row.latency_ms > 0


def test_a_table_of_blocks_is_learned_exactly(shared: Shared) -> None:
    """Pixel 3's FBNet latencies are sums over layers, and so is the model: the order is found nearly without error."""
    rows = fbnet.read(shared("data/fbnet_latency_help").parent, 1000)["pixel3"]
    learned = fit_figure(rows, [row.latency_ms for row in rows], FitNoise(0.01, 0.3))
    assert learned.errors["spearman"] > 0.999
    assert learned.errors["within_5_percent"] > 0.99


@pytest.mark.parametrize("reader", DATASET_READERS)
def test_data_that_are_not_there_are_named(reader: str, tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match="cannot read the measurements") as caught:
        import_object(DATASET_READERS[reader])(tmp_path, 10)
    assert str(tmp_path) in str(caught.value)


def test_a_packed_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.csv.gz"
    file.write_bytes(b"\x1f\x8b\x08\x00nothing")
    with pytest.raises(HardwareError, match="cannot read the measurements"):
        read_csv(file)


# -- learned devices ---------------------------------------------------------------------------------------------------


_FRESH: dict[str, dict[str, list[MeasuredNetwork]]] = {}


def fresh(reader: str, folder: Path) -> dict[str, list[MeasuredNetwork]]:
    """150 networks of a data set that no shipped device was learned from."""
    if reader not in _FRESH:
        module = DATASET_READERS[reader].partition(":")[0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{module}.subsample", lambda frame, most: _unused(frame).sample(most, random_state=1))
            _FRESH[reader] = import_object(DATASET_READERS[reader])(folder, 150)
    return _FRESH[reader]


def _unused(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(subsample(frame, MAX_NETWORKS).index)


def figures(name: str, shared: Shared, column_of: dict[str, str], figure: str) -> tuple[Any, Any, list[bool]]:
    """Predicted and measured figures of networks in no fit, and whether each is in its interval."""
    model = load_hardware(name)
    predicted, measured, held = [], [], []
    for reader, column in column_of.items():
        for row in fresh(reader, shared("data"))[column]:
            value = getattr(row, figure)
            if value is None:
                continue
            cost = model.estimate(row.graph)
            predicted.append(getattr(cost, figure))
            measured.append(value)
            held.append((cost.latency_low_ms or 0.0) <= value <= (cost.latency_high_ms or 0.0))
    return np.array(predicted), np.array(measured), held


HERE = ("accel_nasbench", "fbnet", "jetson_nano", "nasbench201", "nasbench201 as written", "nasbench201 on pi5")
LEARNED = [n for n, s in DEVICE_SOURCES.items() if n in hardware() and set(s.readers) <= set(HERE)]


@pytest.mark.parametrize("name", LEARNED)
def test_a_shipped_device_is_as_good_as_it_says(name: str, shared: Shared) -> None:
    """On networks of the same data that were in no fit."""
    source, facts = DEVICE_SOURCES[name], device_facts(name)
    predicted, measured, held = figures(name, shared, dict(source.readers), "latency_ms")
    found = accuracy_metrics(predicted, measured)
    assert found["mape_percent"] <= 1.4 * facts["error"]["mape_percent"] + 0.3
    assert found["spearman"] >= facts["error"]["spearman"] - 0.035
    assert sum(held) / len(held) >= 0.82
    if source.energy:
        predicted, measured, _ = figures(name, shared, dict(source.readers), "energy_mj")
        assert (
            accuracy_metrics(predicted, measured)["mape_percent"] <= 1.4 * facts["energy_error"]["mape_percent"] + 0.3
        )


@pytest.mark.parametrize("name", LEARNED)
def test_a_shipped_device_says_where_it_comes_from_and_how_far_off_it_is(name: str) -> None:
    facts = device_facts(name)
    assert facts["source"] == DEVICE_SOURCES[name].source
    assert facts["measured"] == DEVICE_SOURCES[name].measured
    assert facts["error"]["rows"] >= 2400
    assert 0.85 <= facts["error"]["interval_coverage"] <= 0.95
    assert ("energy_error" in facts) == bool(DEVICE_SOURCES[name].energy)
    assert isinstance(load_hardware(name), LinearModel)


def test_the_results_are_what_the_device_files_say() -> None:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        lines = {(line["device"], line["figure"]): line for line in csv.DictReader(file)}
    for name in LEARNED:
        facts = device_facts(name)
        for figure, key in (("latency", "error"), ("energy", "energy_error")):
            if key in facts:
                stated = lines[name, figure]
                for score in ("spearman", "mape_percent", "within_10_percent", "interval_coverage"):
                    assert float(stated[score]) == pytest.approx(facts[key][score]), (name, figure, score)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zcu102", "1080ti_batch256", "jetson_nano"])
def test_learning_again_writes_the_shipped_file(name: str, shared: Shared) -> None:
    source = DEVICE_SOURCES[name]
    text = device_text(*published_device(name, source, fit_published_device(source, shared("data"))))
    shipped = device_path(name).read_text(encoding="utf-8")
    assert [line.split(" = ")[0] for line in text.splitlines()] == [
        line.split(" = ")[0] for line in shipped.splitlines()
    ]


@pytest.mark.parametrize(("device", "spearman", "within"), [("zcu102", 0.999, 0.99), ("a100", 0.999, 0.98)])
def test_the_official_split_of_accel_nasbench(device: str, spearman: float, within: float, shared: Shared) -> None:
    """Learned on 700 of the networks for training, judged on those for validation."""
    folder = shared("data/accel_nasbench").parent
    frame = read_csv(folder / "accel_nasbench/accel_nasbench.csv.gz", text=("e", "k", "l", "se"))
    split = {f"e{r.e} k{r.k} l{r.l} se{r.se}": r.split for r in frame.itertuples()}
    column = DEVICE_SOURCES[device].readers["accel_nasbench"]
    rows = accel_nasbench.read(folder, 1500)[column]
    train = [r for r in rows if split[r.name] == "train"][:700]
    judged = [r for r in rows if split[r.name] == "val"]
    assert len(judged) > 100
    model = LinearModel("split", 1, {"latency": fit_figure(train, [r.latency_ms for r in train], FitNoise())})
    predicted = np.array([model.estimate(r.graph).latency_ms for r in judged])
    found = accuracy_metrics(predicted, np.array([r.latency_ms for r in judged]))
    assert found["spearman"] >= spearman
    assert found["within_5_percent"] >= within
