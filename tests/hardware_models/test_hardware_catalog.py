"""Devices by name, by number format and by file, and device files that are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hardware_models.analytic import fit
from hardware_models.analytic.model import AnalyticModel
from hardware_models.catalog import (
    device_number_format,
    device_path,
    hardware,
    load_hardware,
    model_from_text,
    resolve_name,
    rows_by_number_format,
)
from hardware_models.cost import Cost, HardwareModel
from hardware_models.device_facts import device_facts
from hardware_models.device_file.number_format import number_format_of
from hardware_models.device_file.toml_table import HardwareError
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph
from search_spaces.registry import UnknownName
from tests.support.small_chip import SMALL, small


@pytest.mark.parametrize("name", sorted(hardware()))
def test_every_named_device_loads_and_states_its_sources(name: str) -> None:
    model = load_hardware(name)
    assert isinstance(model, HardwareModel)
    cost = model.estimate(load_network("mobiledet_edgetpu"))
    facts = device_facts(name)
    assert cost.source == f"predicted:{model.name}@{facts['version']}"
    assert number_format_of(model) == facts["number_format"] == device_number_format(name)
    assert cost.latency_low_ms is not None
    assert cost.latency_high_ms is not None
    assert 0 < cost.latency_low_ms < cost.latency_ms < cost.latency_high_ms
    text = device_path(name).read_text(encoding="utf-8")
    if 'kind = "analytic"' not in text:
        assert re.search(r'^source = ".{20,}"$', text, flags=re.MULTILINE)
        return
    assert 0.5 * cost.latency_ms < cost.latency_low_ms < cost.latency_high_ms < 2 * cost.latency_ms
    stated = text.split("[operations.passes]")[0].split("[array]")[1]
    for line in stated.splitlines():
        if " = " in line and line.split(" = ")[1][0].isdigit():
            assert " # " in line, f"{name}: no source beside {line!r}"


def test_a_device_that_is_there_in_several_number_formats_is_named_with_one() -> None:
    assert rows_by_number_format("pixel3_cpu4") == {"float32": "pixel3_cpu4", "int8": "pixel3_cpu4_int8"}
    assert rows_by_number_format("v100") == {"float16": "v100_fp16", "float32": "v100_fp32", "int8": "v100_int8"}
    assert rows_by_number_format("pixel3") == {}
    for device in {row.device for row in hardware().values() if row.device}:
        formats = rows_by_number_format(device)
        assert len(formats) > 1
        for number_format, name in formats.items():
            assert resolve_name(name) == resolve_name(f"{device}:{number_format}") == name
            assert resolve_name(f"{name}:{number_format}") == name
            assert device_number_format(name) == number_format
    assert resolve_name("edgetpu:int8") == "edgetpu"
    assert load_hardware("pixel3_cpu4:int8").name == "pixel3_cpu4_int8"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pixel3_cpu4:float16", "not there in 'float16': write pixel3_cpu4:float32 or pixel3_cpu4:int8"),
        ("edgetpu:", "not there in '': write edgetpu:int8"),
        ("v100", "v100 is there in several number formats: write v100:float16 or v100:float32 or v100:int8"),
        ("pixel3_cpu5:int8", "no hardware 'pixel3_cpu5'; did you mean 'pixel3_cpu"),
        ("./mine.toml:int8", "a device file states one number format; write ./mine.toml"),
    ],
)
def test_a_number_format_that_a_device_is_not_there_in_is_an_error(name: str, message: str) -> None:
    with pytest.raises((HardwareError, UnknownName), match=re.escape(message)):
        load_hardware(name)


def test_a_model_of_ones_own_need_not_state_a_number_format() -> None:
    class Mine:
        name = "mine"

        def estimate(self, graph: Graph) -> Cost:
            return Cost(1.0, "predicted:mine@1")

    model = Mine()
    assert load_hardware(model) is model
    assert number_format_of(model) is None
    model.number_format = "w4a8"  # type: ignore[attr-defined]  # none that is known here
    assert number_format_of(model) is None


def test_an_element_takes_what_the_number_format_says() -> None:
    graph = load_network("mobilenet_v1", image_size=64)
    eight, sixteen = (model_from_text(SMALL.replace('"int8"', f'"{f}"'), "m", "m.toml") for f in ("int8", "float16"))
    one, two = eight.estimate(graph), sixteen.estimate(graph)
    assert one.weights_kib == graph.params / 1024
    assert two.weights_kib == 2 * graph.params / 1024
    assert two.peak_memory_kib == 2 * graph.peak_activation_elements / 1024
    moved = [{row.op: row.latency_ms for row in cost.breakdown()} for cost in (one, two)]
    for op in ("input", "outputs"):
        assert moved[1][op] == pytest.approx(2 * moved[0][op])
    assert isinstance(sixteen, AnalyticModel)
    load = fit.graph_work(sixteen.device, graph)
    assert fit.graph_work_ms(sixteen.device, load) == pytest.approx(two.latency_ms, rel=1e-6)


def test_edgetpu_is_the_pixel_4() -> None:
    graph = load_network("mobiledet_edgetpu")
    assert load_hardware("edgetpu").estimate(graph) == load_hardware("pixel4_edgetpu").estimate(graph)


def test_a_model_and_a_file_load_too(tmp_path: Path) -> None:
    model = small()
    assert load_hardware(model) is model
    file = tmp_path / "my_chip.toml"
    file.write_text(SMALL, encoding="utf-8")
    graph = load_network("mobilenet_v1")
    for where in (file, str(file)):
        assert load_hardware(where).estimate(graph).source == "predicted:my_chip@3"


def test_names_that_are_not_there_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no hardware 'edgtpu'; did you mean 'edgetpu'"):
        load_hardware("edgtpu")
    with pytest.raises(HardwareError, match="cannot read the device file"):
        load_hardware(tmp_path / "none.toml")
    with pytest.raises(HardwareError, match="is no hardware: give a name"):
        load_hardware(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('number_format = "int8"', "", r"x\.toml: number_format is missing; add one of 'float32', .*'int8'"),
        ('"int8"', '"int4"', r"x\.toml: number_format must be one of 'float32', .*'int8', not 'int4'"),
        ("rows = 4", "", r"x\.toml: array\.rows is missing; add a whole number of at least 1"),
        ("rows = 4", "row = 4", r"array\.rows is missing \(there is 'row': is it that\?\)"),
        ("rows = 4", "rows = 4.5", r"array\.rows must be a whole number of at least 1, not 4\.5"),
        ("rows = 4", "rows = true", r"array\.rows must be a whole number .* not True"),
        ("rows = 4", f"rows = {10**400}", r"array\.rows must be a whole number"),
        ("clock_mhz = 100", "clock_mhz = 'fast'", r"array\.clock_mhz must be a number above 0, not 'fast'"),
        ("clock_mhz = 100", "clock_mhz = -1", r"array\.clock_mhz must be a number above 0, not -1"),
        ("clock_mhz = 100", "clock_mhz = nan", r"array\.clock_mhz must be .* not nan"),
        ("clock_mhz = 100", "clock_mhz = inf", r"array\.clock_mhz must be .* not inf"),
        ("clock_mhz = 100", "clock_mhz = 1e-300", r"array\.clock_mhz must be .* not 1e-300"),
        ("clock_mhz = 100", f"clock_mhz = {10**400}", r"array\.clock_mhz must be"),
        ("regular_efficiency = 0.5", "regular_efficiency = 1.5", r"must be a number above 0 and at most 1, not 1\.5"),
        ("op_us = 1", "op_us = -1", r"overhead\.op_us must be a number at least 0, not -1"),
        ("op_us = 1", "op_us = 1\nop_ms = 1", r"no key overhead\.op_ms; did you mean 'op_us'"),
        ("[link]", "[lnk]", r"link is missing \(there is 'lnk': is it that\?\)"),
        ("version = 3", "version = 3\nnote = 1", r"x\.toml: no key note; known: .*version"),
        ("[host]", "[[host]]", r"host must be a table"),
        ('"add" = 1', '"ad" = 1', r"operations: no kind of vector operation 'ad'; did you mean 'add'"),
        ('"add" = 1', '"conv" = 1', r"operations: no kind of vector operation 'conv'"),
        ('"act:hswish"', '"act:hswsh"', r"operations: no operation kind 'act:hswsh'; did you mean 'act:hswish'"),
        ('"act:hswish"', '"add"', r"operations: 'add' is both in passes and in host; leave one"),
        ('["relu", "relu6"]', '["rellu"]', r"operations: no activation 'rellu'; did you mean 'relu'"),
        ('["relu", "relu6"]', "7", r"operations\.fused_activations must be a list of texts, not 7"),
        ('kind = "analytic"', 'kind = "quantum"', r"kind must be one of 'analytic', .*, not 'quantum'"),
        ('kind = "analytic"', "", r"kind is missing"),
        ("[array]", "[array", r"x\.toml: not valid TOML"),
    ],
)
def test_a_device_file_that_is_wrong_says_where(old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(HardwareError, match=message):
        model_from_text(SMALL.replace(old, new, 1), "x", "x.toml")
