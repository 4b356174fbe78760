"""Tables of measured operations: closed forms, interpolation, hostile files, and the generator on a real runtime."""

from __future__ import annotations

import csv
import json
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluators.devices.device import CannotRun, DeviceError, LatencyMeasurement
from hardware_models.calibrate import calibrate
from hardware_models.catalog import load_hardware, model_from_text
from hardware_models.cost import HardwareModel
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.operation_table.fit import fit_overheads
from hardware_models.operation_table.fusion import fuse_graph, parse_operation
from hardware_models.operation_table.interpolation import (
    InterpolationSettings,
    KindInterpolator,
    held_out_latencies,
    select_interpolation,
)
from hardware_models.operation_table.isolate import network_pair, operation_instances
from hardware_models.operation_table.model import NetworkOverheads, OperationTable, OperationTableModel
from hardware_models.operation_table.operation_csv import (
    COLUMNS,
    MeasuredOperation,
    network_row,
    operation_row,
    read_measured_operations,
)
from hardware_models.operation_table.select import networks_of, operation_inventory, select_operations
from nas.cli.main import main
from nas.measurement.operations import measure_operations
from search_spaces.catalog import load_network, load_space
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from search_spaces.graph.serialise import graph_from_json

STEM = "conv:regular 3x32x32>8x16x16 k3x3 s2x2 +norm:batch+act:relu6"
NEXT = "conv:pointwise 8x16x16>16x16x16 k1x1 s1x1"
HEAD = 'kind = "table"\nversion = 3\nnumber_format = "int8"\nmeasured = "normal form"\n'


def two_convolutions(width: int = 16) -> Graph:
    b = Builder()
    x = b.act(b.norm(b.conv(b.input((3, 32, 32)), 8, 3, 2)), "relu6")
    return b.build(b.conv(x, width, 1))


def pointwise(channels: int, size: int = 16) -> str:
    return f"conv:pointwise {channels}x{size}x{size}>{channels}x{size}x{size} k1x1 s1x1"


def model_of(latency: str, rows: dict[str, float]) -> HardwareModel:
    lines = "\n".join(f'"{text}" = {ms}' for text, ms in rows.items())
    return model_from_text(f"{HEAD}[latency]\n{latency}\n[latency.operations]\n{lines}\n", "mine", "mine.toml")


# -- operations --------------------------------------------------------------------------------------------------------


def test_a_convolution_is_one_operation_with_its_normalisation_and_activation() -> None:
    assert [group.operation.text for group in fuse_graph(two_convolutions())] == [STEM, NEXT]
    assert [group.nodes for group in fuse_graph(two_convolutions())] == [(1, 2, 3), (4,)]


def test_what_is_read_twice_is_not_folded() -> None:
    b = Builder()
    x = b.conv(b.input((4, 8, 8)), 4, 3)
    kinds = [g.operation.kind for g in fuse_graph(b.build(b.add(b.act(x, "silu"), b.norm(x))))]
    assert sorted(kinds) == ["act:silu", "add", "conv:regular", "norm:batch"]


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv3_small", "mobilenetv4_hybrid_medium"])
def test_texts_say_all_that_counts(name: str) -> None:
    graph = load_network(name)
    figures = graph.node_counts()
    for group in fuse_graph(graph):
        operation = parse_operation(group.operation.text)
        assert operation == group.operation
        assert operation.macs == sum(figures[i].macs for i in group.nodes)
        node = graph.nodes[group.nodes[0]]
        bias = node.shape[0] if node.op == "conv" and node.attr("bias") else 0
        bias += node.shape[-1] if node.op == "linear" and node.attr("bias") else 0
        if node.op in ("conv", "linear"):
            assert operation.weights == figures[group.nodes[0]].params - bias
    assert sum(g.operation.macs for g in fuse_graph(graph)) == graph.macs


def test_every_operation_of_a_network_is_in_one_group() -> None:
    for name in ("mobilenetv2", "mobilenetv4_hybrid_medium"):
        graph = load_network(name)
        counted = [i for group in fuse_graph(graph) for i in group.nodes]
        told = [i for i, n in enumerate(graph.nodes) if n.op not in ("input", "zero") and not OPS[n.op].view]
        assert sorted(counted) == told


# -- prices ------------------------------------------------------------------------------------------------------------


def test_the_estimate_is_the_sum_of_its_parts() -> None:
    model = model_of("launch_ms = 0.25\nper_operation_ms = 0.01\nscale = 1.5", {STEM: 2.0, NEXT: 0.5})
    graph = two_convolutions()
    cost = model.estimate(graph)
    assert cost.latency_ms == pytest.approx(0.25 + 2 * 0.01 + 1.5 * (2.0 + 0.5))
    assert cost.source == "predicted:mine@3"
    assert cost.guessed_ops == ()
    assert cost.latency_low_ms is None
    assert cost.weights_kib == graph.params / 1024  # int8: a byte each
    assert cost.peak_memory_kib == graph.peak_activation_elements / 1024
    rows = cost.breakdown()
    assert [(r.index, round(r.latency_ms, 9), r.bound) for r in rows if r.latency_ms == 0] == [
        (0, 0.0, "fused"),
        (2, 0.0, "fused"),
        (3, 0.0, "fused"),
    ]
    assert {r.index: r.latency_ms for r in rows if r.latency_ms} == pytest.approx({1: 3.01, 4: 0.76, None: 0.25})
    assert sum(r.latency_ms for r in rows) == pytest.approx(cost.latency_ms)


def test_measured_shapes_cost_what_was_measured_and_others_lie_between() -> None:
    rows = {pointwise(c): ms for c, ms in ((16, 0.01), (32, 0.03), (64, 0.1), (128, 0.39), (256, 1.7))}
    operations = [parse_operation(text) for text in rows]
    for trend in ("rates", "log-linear"):
        kind = KindInterpolator(operations, list(rows.values()), InterpolationSettings(trend))
        assert [kind.price(o) for o in operations] == pytest.approx(list(rows.values()))
        asked = [kind.price(parse_operation(pointwise(c))) for c in range(16, 257, 4)]
        assert asked == sorted(asked)
        assert 0.1 < kind.price(parse_operation(pointwise(96))) < 0.39


def test_a_law_is_found_again_on_rows_left_out() -> None:
    rng = random.Random(3)
    texts = {pointwise(8 * rng.randint(1, 40), 4 * rng.randint(1, 12)) for _ in range(60)}
    operations = [parse_operation(text) for text in sorted(texts)]
    additive = [0.002 + 20 * o.counts[1] + 0.4 * o.counts[2] for o in operations]
    assert select_interpolation(operations, additive).trend == "rates"
    power = [1e-5 * o.macs**0.7 for o in operations]
    chosen = select_interpolation(operations, power)
    assert chosen.trend == "log-linear"
    assert chosen.error_percent is not None
    assert chosen.error_percent < 2
    assert abs(held_out_latencies(operations, power)[replace(chosen, error_percent=None)] / power - 1).max() < 0.2


def test_what_lies_outside_is_named() -> None:
    rows = {STEM: 2.0, pointwise(16): 0.1, pointwise(64): 0.9}
    model = model_of("launch_ms = 0", rows)
    assert model.estimate(two_convolutions(8)).guessed_ops == ("conv:pointwise",)  # 8 channels in: fewer than measured
    b = Builder()
    x = b.conv(b.input((32, 16, 16)), 32, 1)
    between = b.build(x)
    assert model.estimate(between).guessed_ops == ()
    assert 0.1 < model.estimate(between).latency_ms < 0.9
    unknown = b.build(b.global_pool(x))
    cost = model.estimate(unknown)
    assert cost.guessed_ops == ("global_pool:avg",)  # no row at all: a guess, and never free
    assert cost.latency_ms > model.estimate(between).latency_ms
    b = Builder()
    folded = b.build(b.act(b.conv(b.input((32, 16, 16)), 32, 1), "hswish"))
    assert model.estimate(folded).guessed_ops == ("conv:pointwise",)  # measured without an activation


def test_what_a_device_cannot_run_is_named() -> None:
    text = f'{HEAD}[latency.operations]\n"{STEM}" = 1\n[unsupported]\n"conv:pointwise" = "no such unit"\n'
    assert model_from_text(text, "mine", "mine.toml").estimate(two_convolutions()).unsupported_ops == (
        "conv:pointwise",
    )


def test_guesses_widen_the_interval() -> None:
    text = f'[latency]\n[latency.error]\nfactor = 1.2\ncoverage = 0.8\n[latency.operations]\n"{STEM}" = 2.0\n'
    for more, factor in ((f'"{NEXT}" = 1.0\n', 1.2), ("", 1.2**1.5)):
        cost = model_from_text(HEAD + text + more, "mine", "mine.toml").estimate(two_convolutions())
        assert cost.coverage == 0.8
        assert cost.latency_high_ms == pytest.approx(cost.latency_ms * factor)
        assert cost.latency_low_ms == pytest.approx(cost.latency_ms / factor)
    held = text.replace("[latency]", '[latency]\nguessed = ["conv:pointwise"]')  # in the measured networks too
    cost = model_from_text(HEAD + held, "mine", "mine.toml").estimate(two_convolutions())
    assert cost.guessed_ops == ("conv:pointwise",)
    assert cost.latency_high_ms == pytest.approx(cost.latency_ms * 1.2)


def test_pieces_and_nodes_cost_the_same() -> None:
    """However a graph was cut into pieces: its JSON has none."""
    space, rng = load_space("mobiledet"), random.Random(5)
    graphs = [space.graph(space.sample(rng)) for _ in range(4)] + [load_network("mobilenetv3_small")]
    found = operation_inventory(graphs[:2])
    model = OperationTableModel(
        "t",
        1,
        OperationTable({o: 1e-8 * o.macs + 1e-7 * o.moved for o in found.instances}),
        NetworkOverheads(0.1, 0.01, 1.1),
    )
    for graph in graphs:
        cost = model.estimate(graph)
        assert model.estimate(graph_from_json(graph.to_json())) == cost
        assert sum(r.latency_ms for r in cost.breakdown()) == pytest.approx(cost.latency_ms)
        assert pickle.loads(pickle.dumps(model)).estimate(graph) == cost  # noqa: S301 - our own, for workers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.toml: latency is missing; add a table [latency]"),
        ("[latency]\n", "mine.toml: latency.operations is missing"),
        ("[latency.operations]\n", "latency.operations must be a table of one measured operation at least"),
        ('[latency.operations]\n"conv:regular" = 1\n', "no operation 'conv:regular'; one is written as"),
        (f'[latency.operations]\n"{STEM}" = -1\n', "+norm:batch+act:relu6 must be a number at least 0, not -1"),
        (f'[latency.operations]\n"{STEM}" = nan\n', "must be a number at least 0"),
        (f'[latency.operations]\n"{STEM}" = "1"\n', "must be a number at least 0, not '1'"),
        (f'[latency.operations]\n"{STEM}x" = 1\n', "no kind of operation 'act:relu6x'"),
        ('[latency.operations]\n"pile 3x3>3x3" = 1\n', "no kind of operation 'pile'"),
        ('[latency.operations]\n"conv:regular 3x8x8>8x8x8 k3 s1" = 1\n', "needs a kernel for each axis"),
        ('[latency.operations]\n"conv:grouped 9x8x8>8x8x8 k3x3 s1x1 g2" = 1\n', "groups that divide its channels"),
        (f'[latency.operations]\n"add {"x".join(["9" * 10] * 4)}>1x1" = 1\n', "is beyond any memory"),
        (f'[latency]\nlaunch = 1\n[latency.operations]\n"{STEM}" = 1\n', "no key latency.launch; did you mean"),
        (
            f'[latency]\nguessed = ["ad"]\n[latency.operations]\n"{STEM}" = 1\n',
            "no kind of operation 'ad'; did you mean",
        ),
        (f'[latency]\nscale = 0\n[latency.operations]\n"{STEM}" = 1\n', "latency.scale must be a number above 0"),
        (
            f'[latency.interpolation."conv:regular"]\ntrend = "flat"\n[latency.operations]\n"{STEM}" = 1\n',
            "latency.interpolation.conv:regular.trend must be one of 'rates', 'log-linear', not 'flat'",
        ),
    ],
)
def test_files_that_cannot_be_used_name_the_key(text: str, message: str) -> None:
    with pytest.raises(HardwareError) as caught:
        model_from_text(HEAD + text, "mine", "mine.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("mine.toml: ")
    assert len(str(caught.value).splitlines()) == 1


# -- the fit -----------------------------------------------------------------------------------------------------------


def test_overheads_are_found_again_on_whole_networks() -> None:
    space, rng = load_space("mobilenetv2", image_size=64), random.Random(0)
    graphs = [space.graph(space.sample(rng)) for _ in range(10)]
    rows = {o: 1e-8 * o.macs + 1e-7 * o.moved + 1e-3 for o in operation_inventory(graphs).instances}
    entries = []
    for i, graph in enumerate(graphs):
        groups = fuse_graph(graph)
        ms = 0.2 + 1.1 * sum(rows[group.operation] for group in groups)
        entries.append(MeasuredNetwork(f"net{i}", graph, ms))
    overheads = fit_overheads(OperationTable(rows), entries)
    assert overheads.errors["mape_percent"] < 1
    assert overheads.errors["spearman"] > 0.95
    assert overheads.factor is not None
    assert 1 <= overheads.factor < 1.03
    assert overheads.coverage == 0.9  # ten residuals promise as much
    operations = [MeasuredOperation(operation, ms, "int8", source="here") for operation, ms in rows.items()]
    made = calibrate([*operations, *entries], "mine", about="a chip")
    assert (made.kind, made.header.about, made.header.source) == ("table", "a chip", "here")
    model = made.model
    assert model.number_format == "int8"
    for entry in entries:
        assert model.estimate(entry.graph).latency_ms == pytest.approx(entry.latency_ms, rel=0.02)
        assert model.estimate(entry.graph).guessed_ops == ()


# -- what is measured --------------------------------------------------------------------------------------------------


class Sums:
    """Takes a known time for each operation and 1 ms for each inference; nothing for pooling and concatenation."""

    name, precision, batch = "sums", "float32", 1

    def __init__(self, refuses: str = "") -> None:
        self.asked = 0
        self._refuses = refuses

    def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        self.asked += 1
        groups = [g.operation for g in fuse_graph(graph)]
        if self._refuses and any(o.kind == self._refuses for o in groups):
            raise CannotRun("no such unit")
        ms = 1 + sum(true_ms(o.macs, o.moved) for o in groups if o.kind.partition(":")[0] not in ("pool", "concat"))
        return LatencyMeasurement(ms, 0.1, ms, ms, 5, "measured:sums")

    def close(self) -> None:
        pass


def true_ms(macs: int, moved: int) -> float:
    return 1e-7 * macs + 1e-6 * moved


@pytest.mark.parametrize("name", ["mobilenetv3_small", "mobilenetv4_hybrid_medium", "emo_1m"])
def test_two_networks_differ_by_the_operation_alone(name: str) -> None:
    device = Sums()
    for used in operation_inventory([load_network(name)]).instances.values():
        if used.operation.kind.startswith(("pool", "concat", "slice")):
            continue  # what the difference does not tell from what it adds itself
        longer, shorter, copies = network_pair(used)
        apart = (device.measure(longer).latency_ms - device.measure(shorter).latency_ms) / copies
        made = {u.operation.text for u in operation_instances(longer)}
        assert used.operation.text in made
        slices = [
            u.operation
            for graph in (longer, shorter)
            for u in operation_instances(graph)
            if u.operation.kind == "slice"
        ]
        slack = 1e-6 * sum(o.moved for o in slices) / copies
        assert apart == pytest.approx(true_ms(used.operation.macs, used.operation.moved), rel=1e-6, abs=slack + 1e-9)


def test_the_chosen_operations_hold_every_family_and_are_the_same_again() -> None:
    space = load_space("mobilenetv2", image_size=64)
    found = operation_inventory(networks_of(space))
    chosen = select_operations(found, 60)
    assert len({used.operation for used in chosen}) == 60
    assert {used.operation.family for used in chosen} == {o.family for o in found.instances}
    assert [u.operation for u in select_operations(found, 60)] == [u.operation for u in chosen]
    assert len(select_operations(found, 5)) == 5
    assert len(select_operations(found, 10**6)) == len(found.instances)
    rows = OperationTable({used.operation: 1.0 for used in select_operations(found, 150)})
    assert not any(rows.predict(operation)[1] for operation in found.instances)  # all lie between these


SPACE = "space: mobilenetv2\noptions: {image_size: 32, width: 0.35}\n"


def test_a_stand_in_is_measured_and_its_table_predicts_it(tmp_path: Path) -> None:
    space, told = tmp_path / "small.yaml", []
    space.write_text(SPACE)
    device, to = Sums(refuses="add"), tmp_path / "mine.operations.csv"
    written = measure_operations(str(space), device, 80, to, networks=0, rounds=1, report=told.append)
    assert any("could not be measured: no such unit" in text for text in told)
    measured = read_measured_operations(to)
    assert written == len(measured)
    for row in measured:
        assert isinstance(row, MeasuredOperation)
        operation = row.operation
        assert (row.number_format, row.source, row.std_ms) == ("float32", "measured:sums", 0.0)
        if not operation.kind.startswith("pool"):
            assert row.latency_ms == pytest.approx(true_ms(operation.macs, operation.moved), rel=1e-3, abs=1e-5)
    loaded, rng = load_space(space), random.Random(9)
    model = calibrate(measured, "mine").model
    graph = loaded.graph(loaded.sample(rng))
    cost = model.estimate(graph)
    assert "add" in cost.guessed_ops or not any(n.op == "add" for n in graph.nodes)
    # Half a run is gone on with
    lines = to.read_text().splitlines(keepends=True)
    to.write_text("".join(lines[:31]))
    device.asked = 0
    assert measure_operations(str(space), device, 80, to, networks=0, rounds=1) == len(lines) - 31
    assert to.read_text() == "".join(lines)


def test_a_device_that_runs_nothing_is_an_error(tmp_path: Path) -> None:
    class Refuses(Sums):
        def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
            raise CannotRun("no room")

    with pytest.raises(DeviceError, match="none of 4 operations could be measured on sums"):
        measure_operations("mobilenetv2", Refuses(), 4, tmp_path / "m.csv", networks=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("operation,latency_ms\nadd 1x1+1x1>1x1,x\n", "m.csv:2: latency_ms must be a number, not 'x'"),
        (
            "operation,latency_ms\nadd 1x1+1x1>1x1,-1\n",
            "m.csv:2: latency_ms of an operation must be at least 0, not -1",
        ),
        ("operation,latency_ms\nadd,1\n", "m.csv:2: no operation 'add'; one is written as"),
        ("operation,latency_ms,number_format\nadd 1x1+1x1>1x1,1,int7\n", "m.csv:2: number_format must be one of"),
        ("network,latency_ms\nmobilenetv2,3\n", "m.csv: no measured operations; its columns are operation,"),
        (
            "operation,latency_ms,number_format\nadd 1x1+1x1>1x1,1,int8\nadd 2x1+2x1>2x1,1,float32\n",
            "m.csv: a table has one number format, and there are float32, int8",
        ),
    ],
)
def test_measurements_that_cannot_be_used_name_the_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(HardwareError) as caught:
        read_measured_operations(tmp_path / "m.csv")
    assert message in str(caught.value)


def test_a_table_is_of_one_number_format() -> None:
    rows = [MeasuredOperation(parse_operation(STEM), 0.2, number_format) for number_format in ("int8", "float16")]
    with pytest.raises(HardwareError, match="operations were measured in int8, not in float32"):
        calibrate(rows[:1], "mine", number_format="float32")
    with pytest.raises(HardwareError, match="a table has one number format, and there are float16, int8"):
        calibrate(rows, "mine")
    made = calibrate([*rows[:1], replace(rows[0], latency_ms=0.4), replace(rows[0], latency_ms=9.0)], "mine")
    assert made.model.number_format == "int8"
    assert made.errors == {}
    assert isinstance(made.model, OperationTableModel)
    assert list(made.model.rows.measured.values()) == [0.4]  # the median


def test_what_is_measured_is_written_and_read_back(tmp_path: Path) -> None:
    operation = MeasuredOperation(parse_operation(STEM), 0.25, "int8", 0.125, "me", "warm; idle")
    graph = load_network("mobilenetv2")
    network = MeasuredNetwork("mobilenetv2", graph, 3.5, std_ms=0.5, source="me", remark="twice, or so")
    with (tmp_path / "m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, "network"))
        writer.writerow((*operation_row(operation), ""))
        writer.writerow((*network_row(network, "", "", "int8"), "mobilenetv2"))
    assert read_measured_operations(tmp_path / "m.csv") == [operation, network]


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str, str]]:
    """Runs ``nas`` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def of(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return of


def test_operations_are_measured_here_and_a_search_uses_their_table(run: Callable[..., tuple[Any, str, str]]) -> None:
    pytest.importorskip("onnxruntime")
    Path("small.yaml").write_text(SPACE)
    address = "onnxruntime?threads=1&max_s=0.1&warmup_s=0.01"
    command = ["hw", "calibrate", "--operations", "--device", address, "--space", "small.yaml", "--samples", "4"]
    code, out, err = run(*command)
    assert code == 0, err
    assert out.startswith("mine.toml: table, 4 operations, 8 whole networks.")
    rows = list(csv.DictReader(Path("mine.operations.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert sum(bool(row["operation"]) for row in rows) == 4
    assert {row["number_format"] for row in rows} == {"float32"}
    first = Path("mine.toml").read_text()
    code, out, _ = run("hw", "calibrate", "mine.operations.csv", "--operations", "--space", "small.yaml", "--force")
    assert code == 0
    assert Path("mine.toml").read_text() == first
    code, out, _ = run("hw", "show", "./mine.toml", "--json")
    assert json.loads(out)["kind"] == "table"
    assert json.loads(out)["error"]["rows"] == 8
    code, out, _ = run("hw", "predict", "mobilenetv2@32", "--hw", "./mine.toml", "--layers", "--json")
    found = json.loads(out)
    assert sum(row["latency_ms"] for row in found["layers"]) == pytest.approx(found["latency_ms"])
    assert found["latency_ms"] > 0
    code, out, err = run("search", "--space", "small.yaml", "--hw", "./mine.toml", "--trials", "8", "--train", "0")
    assert code == 0, err
    (candidates,) = Path("nas-runs").rglob("candidates.csv")
    with candidates.open(newline="") as file:
        latencies = [row["latency_ms"] for row in csv.DictReader(file)]
    assert len(latencies) == 8
    assert all(float(ms) > 0 for ms in latencies)


def test_a_table_from_a_file_is_written_and_checked(run: Callable[..., tuple[Any, str, str]]) -> None:
    space, rng = load_space("mobilenetv2", image_size=32), random.Random(0)
    drawn = [space.sample(rng) for _ in range(6)]
    found = operation_inventory([space.graph(g) for g in drawn])
    with Path("m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("operation", "space", "options", "architecture", "latency_ms"))
        writer.writerows((o.text, "", "", "", true_ms(o.macs, o.moved)) for o in found.instances)
        for genotype in drawn:
            ms = 0.3 + sum(true_ms(g.operation.macs, g.operation.moved) for g in fuse_graph(space.graph(genotype)))
            writer.writerow(("", "mobilenetv2", "image_size=32", space.format(genotype), ms))
    code, out, err = run("hw", "calibrate", "m.csv", "--operations", "--out", "t.toml", "--about", "a chip", "--json")
    assert code == 0, err
    assert json.loads(out)["kind"] == "table"
    assert json.loads(out)["error"]["mape_percent"] < 3
    with Path("m.csv").open(newline="") as file, Path("rest.csv").open("w", newline="") as rest:
        csv.writer(rest).writerows([row for row in csv.reader(file) if row[0] in ("", "operation")])
    code, out, _ = run("hw", "check", "./t.toml", "--against", "rest.csv", "--json")
    assert json.loads(out)["spearman"] > 0.99
    assert json.loads(out)["interval_coverage"] >= 0.8
    assert load_hardware("./t.toml").estimate(space.graph(drawn[0])).guessed_ops == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--operations",), "say what was measured: a CSV file of operations"),
        (("--operations", "--device", "onnxruntime"), "--device needs --space, whose operations it measures"),
        (("--operations", "none.csv"), "cannot read the measurements 'none.csv'"),
        (("--operations", "--suggest", "a.csv"), "--suggest is for whole networks"),
    ],
)
def test_mistakes_end_in_one_line(
    arguments: tuple[str, ...], message: str, run: Callable[..., tuple[Any, str, str]]
) -> None:
    code, out, err = run("hw", "calibrate", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
