"""A device file is left only where it says what its model says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardware_models.catalog import load_hardware, save_hardware
from hardware_models.cost import Cost
from hardware_models.device_file.header import DeviceHeader
from hardware_models.device_file.toml_table import HardwareError, TomlTable
from hardware_models.device_file.writer import DeviceFileMismatch, update_device, write_device
from hardware_models.linear.model import LinearModel, Rates
from search_spaces.graph.graph import Graph
from tests.support.small_chip import SMALL

KINDS = {"conv:pointwise": (0.1, 1.0, 0.0, 0.0)}


def model(**changes: float) -> LinearModel:
    return LinearModel("mine", 1, {"latency": Rates(changes.get("base", 0.5), KINDS)})


class Moody(LinearModel):
    """Says something else than its rates."""

    def estimate(self, graph: Graph) -> Cost:
        cost = super().estimate(graph)
        return Cost(2 * cost.latency_ms, cost.source)


@pytest.mark.parametrize("there_before", [False, True])
def test_a_model_that_its_file_would_not_predict_is_not_written(tmp_path: Path, there_before: bool) -> None:
    path = tmp_path / "mine.toml"
    if there_before:
        path.write_text("as it was")
    moody = Moody("mine", 1, {"latency": Rates(0.5, KINDS)})
    with pytest.raises(DeviceFileMismatch, match=r"mine\.toml: not written: it reads back as Cost\("):
        write_device(path, DeviceHeader("a board"), moody)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.toml"] * there_before
    assert not there_before or path.read_text() == "as it was"


def test_what_a_reader_forgets_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgetful = LinearModel("mine", 1, {"latency": Rates(0.5, KINDS)}, unsupported={"add": "no adder"})

    def forget(table: TomlTable) -> dict[str, str]:
        table.optional_table("unsupported")
        return {}

    monkeypatch.setattr("hardware_models.linear.model.read_unsupported", forget)
    with pytest.raises(DeviceFileMismatch, match=r"unsupported\.add reads back as None, not 'no adder'"):
        write_device(tmp_path / "mine.toml", DeviceHeader(), forgetful)
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_no_file_may_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match=r"latency\.base must be a number at least 0"):
        write_device(tmp_path / "mine.toml", DeviceHeader(), model(base=-1.0))
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_ones_own_class_is_refused(tmp_path: Path) -> None:
    class Mine:
        name = "mine"

        def estimate(self, graph: Graph) -> Cost:
            return Cost(1.0, "mine")

    with pytest.raises(HardwareError, match="cannot be written: device files hold models of the kinds 'analytic'"):
        save_hardware(tmp_path / "mine.toml", DeviceHeader(), Mine())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match=r"cannot write '.*no/mine\.toml': No such file"):
        write_device(tmp_path / "no" / "mine.toml", DeviceHeader(), model())


def test_a_file_behind_a_link_is_written_there(tmp_path: Path) -> None:
    (tmp_path / "link.toml").symlink_to(tmp_path / "mine.toml")
    write_device(tmp_path / "link.toml", DeviceHeader("a board"), model())
    assert (tmp_path / "link.toml").is_symlink()
    assert (tmp_path / "mine.toml").read_text().startswith('kind = "learned"\n')


def test_an_update_changes_the_numbers_alone(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(f"# A chip.\n{SMALL}")
    before = path.read_text()
    small = load_hardware(path)
    update_device(path, small)
    assert path.read_text() == before
    faster = tmp_path / "faster.toml"
    faster.write_text(before.replace("clock_mhz = 100", "clock_mhz = 200"))
    assert faster.read_text() != before
    update_device(path, load_hardware(faster))
    assert path.read_text() == faster.read_text()
