"""Every device file that is shipped says what its model does, and every kind of model survives being written."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import pytest

from hardware_models.catalog import device_path, load_hardware, model_from_text, save_hardware, shipped_devices
from hardware_models.cost import Cost, HardwareModel
from hardware_models.device_file.document import plain
from hardware_models.device_file.header import DeviceHeader, read_header, with_header
from hardware_models.device_file.kinds import MODEL_KINDS, codec_of, model_document
from hardware_models.device_file.toml_table import TomlTable, read_device_file
from hardware_models.device_file.writer import device_text
from hardware_models.linear.model import LinearModel, Rates
from hardware_models.linear.prior import LinearPriorModel
from hardware_models.operation_table.fusion import parse_operation
from hardware_models.operation_table.interpolation import InterpolationSettings
from hardware_models.operation_table.model import NetworkOverheads, OperationTable, OperationTableModel
from hardware_models.transfer.model import DeviceMixture, TransferModel
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph

NOT_OF_THE_MODEL = ("fit",)  # the priors of a fit, beside the numbers that they are for
NAMES = sorted({Path(str(device_path(name))).stem for name in shipped_devices()})


@cache
def networks() -> tuple[Graph, ...]:
    """With squeeze-excite and hard swish, without, and with concatenations."""
    return tuple([load_network(name) for name in ("mobilenetv3_small", "mobilenet_v1", "inception_v1")])


def costs(model: HardwareModel) -> list[tuple[Cost, float | None]]:
    return [(cost, cost.peak_memory_kib) for cost in map(model.estimate, networks())]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_is_read_whole_and_survives_being_written(name: str) -> None:
    text, model = read_device_file(device_path(name)), load_hardware(name)
    document = tomllib.loads(text)
    header = read_header(TomlTable(document, name))
    shipped = {key: value for key, value in document.items() if key not in NOT_OF_THE_MODEL}
    assert plain(with_header(model_document(model), header)) == shipped
    written = device_text(header, model)
    assert tomllib.loads(written) == shipped
    assert costs(model_from_text(written, model.name, "written.toml")) == costs(model)


def exact_rates() -> Rates:
    """Numbers that no fit would round so."""
    return Rates(
        1 / 3,
        {"conv:regular": (0.1 + 0.2, 2 / 3, 1e-7, 0.0), "act:relu": (0.0, 0.0, 1 / 7, 0.0)},
        {"conv:regular 3x224x224>32x112x112 k3x3 s2x2": -1 / 7},
        1.1234567890123,
        8 / 9,
        1 / 3,
        {"act:relu": 3},
        {"rows": 12, "spearman": 0.98765},
    )


def make_table() -> OperationTableModel:
    rows = {
        parse_operation("conv:regular 3x32x32>8x16x16 k3x3 s2x2 +norm:batch+act:relu6"): 1 / 3,
        parse_operation("add 8x16x16+8x16x16>8x16x16"): 0.0,
    }
    table = OperationTable(rows, {"conv:regular": InterpolationSettings("log-linear", 0.5, 0.3, 1 / 3)})
    overheads = NetworkOverheads(1 / 7, 1 / 11, 1 / 13, 4 / 3, 7 / 8, 1 / 3, ("add",), {"rows": 7})
    return OperationTableModel("mine", 3, table, overheads, number_format="int8", unsupported={"add": 'no "adder"'})


def make_transfer() -> TransferModel:
    known = [load_hardware(name) for name in ("pi5", "note10")]
    sources = [model for model in known if isinstance(model, LinearModel)]
    mixture = DeviceMixture(
        -1 / 3,
        {"pi5": 2 / 3, "note10": 1e-17},
        {"add": ((1 / 3, 1 / 7), (0.0, 1.0), (1e-12, 2.0), (-1 / 3, 1.0))},
        4 / 3,
        8 / 9,
        2.5,
        {"rows": 8},
    )
    return TransferModel("mine", 2, mixture, sources, executed_graph="as written", number_format="float16")


MADE = {
    "analytic": lambda: load_hardware("pixel4_edgetpu"),
    "few_rows": lambda: LinearPriorModel(LinearModel("mine", 4, {"latency": exact_rates()}, number_format="int8")),
    "learned": lambda: LinearModel(
        "mine",
        2,
        {"latency": exact_rates(), "energy": Rates(0.0, {"add": (1.0, 0.0, 0.0, 0.0)})},
        executed_graph="as written",
        unsupported={"act:hswish": "the compiler refuses it"},
    ),
    "mac_array": lambda: load_hardware("ethos_u65_256"),
    "table": make_table,
    "transferred": make_transfer,
}


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_every_kind_comes_back_from_its_file_with_the_same_costs(kind: str, tmp_path: Path) -> None:
    model, path = MADE[kind](), tmp_path / "mine.toml"
    assert callable(codec_of(kind).from_table)
    save_hardware(path, DeviceHeader("a board"), model)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.toml"]
    read = model_from_text(path.read_text(encoding="utf-8"), model.name, str(path))
    assert type(read) is type(model)
    assert plain(model_document(read)) == plain(model_document(model))
    assert costs(read) == costs(model)
