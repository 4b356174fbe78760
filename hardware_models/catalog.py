"""Hardware models by name: tables of strings, and what turns a name or a device file into a model.

A new device is a TOML file and a row in ``HARDWARE``; other packages add rows through the entry-point group
``nas.hardware``, whose objects are ``HardwareRow``. A device file's ``kind`` names its row in ``KINDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hardware_models.cost import HardwareModel
from hardware_models.device_file import HardwareError, Table, parse, read
from search_spaces.catalog import import_object, named_row, table_with_plugins


@dataclass(frozen=True)
class HardwareRow:
    """One named device: its file, as ``package:file.toml``, and what it is in a line."""

    file: str
    summary: str


HARDWARE: dict[str, HardwareRow] = {
    "edgetpu": HardwareRow(
        "hardware_models.devices:pixel4_edgetpu.toml", "the Edge TPU of a Pixel 4, as in the MobileDets paper"
    ),
    "pixel4_edgetpu": HardwareRow("hardware_models.devices:pixel4_edgetpu.toml", "the Edge TPU of a Pixel 4"),
    "coral_devboard": HardwareRow("hardware_models.devices:coral_devboard.toml", "the Coral Dev Board's Edge TPU"),
    "coral_usb": HardwareRow(
        "hardware_models.devices:coral_usb.toml", "the Coral USB Accelerator's Edge TPU at a desktop computer"
    ),
}

# How a device file of each kind becomes a model: the name of a function of (table, name)
KINDS: dict[str, str] = {"analytic": "hardware_models.analytic:analytic_model"}


def hardware() -> dict[str, HardwareRow]:
    """All named devices, those of installed plug-ins included."""
    return table_with_plugins("nas.hardware", HARDWARE, HardwareRow)


def device_path(name: str | Path) -> Path:
    """The file of a device by name, or the path itself where it ends in ``.toml``. Raises ``UnknownName``."""
    if str(name).endswith(".toml"):
        return Path(name)
    row = named_row("hardware", str(name), hardware())
    package, _, file = row.file.partition(":")
    return Path(str(files(package))) / file


def model_from_text(text: str, name: str, where: str) -> HardwareModel:
    """The model that a device file's text describes; ``where`` names the file in errors. ``HardwareError``."""
    table = parse(text, where)
    kind = table.text("kind")
    if kind not in KINDS:
        raise table.wrong("kind", f"one of {', '.join(map(repr, KINDS))}")
    make: Callable[[Table, str], HardwareModel] = import_object(KINDS[kind])
    return make(table, name)


def load_hardware(hardware: str | Path | HardwareModel) -> HardwareModel:
    """A hardware model by name, from a ``.toml`` file, or the model itself.

    Raises ``UnknownName`` for a name that is in no table and ``HardwareError`` for a file that cannot be used.
    """
    if isinstance(hardware, HardwareModel):
        return hardware
    if not isinstance(hardware, str | Path):
        raise HardwareError(f"{hardware!r} is no hardware: give a name, a .toml file or a model with `estimate`")
    path = device_path(hardware)
    return model_from_text(read(path), path.stem, str(path))
