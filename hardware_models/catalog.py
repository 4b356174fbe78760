"""Hardware models by name: the device files that are shipped, and what turns a name or a device file into a model.

A new device is a TOML file below ``devices/``, called as the device is; its line in lists is the file's ``about``.
Other packages add rows through the entry-point group ``nas.hardware``, whose objects are ``HardwareRow``. A device
file's ``kind`` names its row in ``device_file.kinds.MODEL_KINDS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType

from hardware_models.cost import HardwareModel
from hardware_models.device_file.header import DeviceHeader
from hardware_models.device_file.kinds import read_model
from hardware_models.device_file.number_format import read_number_format
from hardware_models.device_file.toml_table import HardwareError, TomlTable, parse_device_file, read_device_file
from hardware_models.device_file.writer import write_device
from search_spaces.registry import table_with_plugins, unknown_name


@dataclass(frozen=True)
class HardwareRow:
    """One named device: its file, as ``package:file.toml``, and what it is in a line.

    ``device``: what the device is called beside its other number formats, which have rows of their own; empty where
    that is the row's own name. ``device:int8`` is then the row whose file states int8.
    """

    file: str
    summary: str
    device: str = ""


@lru_cache(maxsize=1)
def shipped_devices() -> Mapping[str, HardwareRow]:
    """A row for each device file below ``hardware_models/devices``, by folder and name; aliases follow their device."""
    rows: dict[str, HardwareRow] = {}
    folder = Path(str(files("hardware_models.devices")))
    for path in sorted(folder.glob("*/*.toml")):
        header = _read_header(path)
        about, device = (header.text(key) if key in header.names() else "" for key in ("about", "device"))
        aliases = header.texts("aliases") if "aliases" in header.names() else ()
        row = HardwareRow(f"hardware_models.devices.{path.parent.name}:{path.name}", about, device)
        for name in (path.stem, *aliases):
            if name in rows:
                raise HardwareError(f"{path}: another device file is called {name!r} already; choose another name")
            rows[name] = row
    return MappingProxyType(rows)


def _read_header(path: Path) -> TomlTable:
    """The keys before the first table of a device file: parsing all numbers of all devices takes ten times longer."""
    lines = takewhile(lambda line: not line.startswith("["), read_device_file(path).splitlines())
    return parse_device_file("\n".join(lines), str(path))


SOURCE_KIND = "learned"
"""The kind of those devices that transfer rests on: learned from measurements of many networks."""


def hardware() -> dict[str, HardwareRow]:
    """All named devices, those of installed plug-ins included."""
    return table_with_plugins("nas.hardware", dict(shipped_devices()), HardwareRow)


def resolve_name(name: str) -> str:
    """The row that a name means: ``pixel3_cpu4_int8`` itself, or for ``pixel3_cpu4:int8`` the device's row in int8.

    Raises ``UnknownName``, and ``HardwareError`` for a number format that the device is not there in.
    """
    rows = hardware()
    if name in rows:
        return name
    device, colon, wanted = name.partition(":")
    if device.endswith(".toml"):
        raise HardwareError(f"{name}: a device file states one number format; write {device}")
    formats = rows_by_number_format(device)
    if wanted in formats:
        return formats[wanted]
    if not formats:
        raise unknown_name("hardware", device, [*rows, *{row.device for row in rows.values() if row.device}])
    alternatives = " or ".join(f"{device}:{number_format}" for number_format in formats)
    if not colon:
        raise HardwareError(f"{device} is there in several number formats: write {alternatives}")
    raise HardwareError(f"{device} is not there in {wanted!r}: write {alternatives}")


def rows_by_number_format(name: str) -> dict[str, str]:
    """The rows of a device by number format, of a row's name or a device's; empty where there is no such device."""
    rows = hardware()
    device = rows[name].device or name if name in rows else name
    rows_of_device: dict[str, str] = {}
    for row_of_it, row in rows.items():
        if (row.device or row_of_it) == device:
            rows_of_device.setdefault(device_number_format(row_of_it), row_of_it)
    return rows_of_device


def device_path(name: str | Path) -> Path:
    """The file of a device by name, or the path itself where it ends in ``.toml``.

    Raises ``UnknownName``, and ``HardwareError`` for a number format that the device is not there in.
    """
    if str(name).endswith(".toml"):
        return Path(name)
    row = hardware()[resolve_name(str(name))]
    package, _, file = row.file.partition(":")
    return Path(str(files(package))) / file


def model_from_text(text: str, name: str, where: str) -> HardwareModel:
    """The model that a device file's text describes; ``where`` names the file in errors. ``HardwareError``."""
    return read_model(text, name, where, _load_source_device)


def save_hardware(path: Path, header: DeviceHeader, model: HardwareModel) -> None:
    """Write a model's device file, which must read back as the same model: ``writer.write_device``."""
    write_device(path, header, model, _load_source_device)


def _load_source_device(device: str, where: str) -> HardwareModel:
    """A known device that a device file rests on; ``where`` names that file. Raises ``HardwareError``."""
    if device not in hardware():
        raise HardwareError(f"{where}: {unknown_name('hardware', device, list(hardware()))}")
    if device_kind(device) != SOURCE_KIND:
        raise HardwareError(f"{where}: {device!r} is no learned device; name one that is")
    return load_hardware(device)


def device_kind(name: str) -> str:
    """The kind of a named device, without making its model. Raises ``UnknownName``, ``HardwareError``."""
    path = device_path(name)
    return parse_device_file(read_device_file(path), str(path)).text("kind")


def device_number_format(name: str | Path) -> str:
    """The number format of a device by name or file, without making its model. As ``device_kind``."""
    path = device_path(name)
    return read_number_format(parse_device_file(read_device_file(path), str(path)))


def load_hardware(hardware: str | Path | HardwareModel) -> HardwareModel:
    """A hardware model by name, from a ``.toml`` file, or the model itself.

    Raises ``UnknownName`` for a name that is in no table and ``HardwareError`` for a file that cannot be used.
    """
    if isinstance(hardware, HardwareModel):
        return hardware
    if not isinstance(hardware, str | Path):
        raise HardwareError(f"{hardware!r} is no hardware: give a name, a .toml file or a model with `estimate`")
    path = device_path(hardware)
    return model_from_text(read_device_file(path), path.stem, str(path))
