"""What a device file says of itself beside its model: for the person who reads it, and for lists of devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardware_models.device_file.document import Commented, Document, one_line
from hardware_models.device_file.number_format import NUMBER_FORMAT_KEY
from hardware_models.device_file.toml_table import TomlTable

_ORDER = ("kind", "version", NUMBER_FORMAT_KEY, "device", "about", "source", "measured", "batch", "runtime", "aliases")


@dataclass(frozen=True)
class DeviceHeader:
    """What is written on top of a device file.

    ``about``: the device in a line. ``source``: where its numbers come from. ``device``: what it is called beside its
    other number formats. ``batch`` 0: not known. ``remarks``: comments above all keys; ``number_format_remark``: the
    one behind the number format.
    """

    about: str = ""
    source: str = ""
    device: str = ""
    batch: int = 0
    runtime: str = ""
    aliases: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    number_format_remark: str = ""


def read_header(table: TomlTable) -> DeviceHeader:
    """The header of a device file, without its remarks. Raises ``HardwareError``."""
    names = table.names()
    about, source, runtime, device = (
        table.text(key) if key in names else "" for key in ("about", "source", "runtime", "device")
    )
    aliases = table.texts("aliases") if "aliases" in names else ()
    batch = table.integer("batch") if "batch" in names else 0
    return DeviceHeader(about, source, device, batch, runtime, aliases)


def with_header(document: Document, header: DeviceHeader) -> Document:
    """A model's document with the header's keys among its own, in the order of device files."""
    described: dict[str, Any] = {
        "device": one_line(header.device),
        "about": one_line(header.about),
        "source": one_line(header.source),
        "batch": header.batch,
        "runtime": one_line(header.runtime),
        "aliases": header.aliases,
    }
    top: Mapping[str, Any] = {**document, **{key: value for key, value in described.items() if value}}
    if header.number_format_remark:
        top = {**top, NUMBER_FORMAT_KEY: Commented(top[NUMBER_FORMAT_KEY], header.number_format_remark)}
    ordered = [key for key in _ORDER if key in top]
    return {key: top[key] for key in (*ordered, *(key for key in top if key not in _ORDER))}
