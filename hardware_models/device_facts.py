"""What a device file says of itself: for lists and for people, without making a model of it."""

from __future__ import annotations

import tomllib
from typing import Any

from hardware_models.catalog import device_path
from hardware_models.device_file.number_format import NUMBER_FORMAT_KEY, read_number_format
from hardware_models.device_file.toml_table import HardwareError, TomlTable, read_device_file

_DESCRIPTIVE_KEYS = ("about", "source", "measured", "runtime", "batch")


def device_facts(device: str) -> dict[str, Any]:
    """Kind, version, number format, source and errors of a device by name or file.

    Raises ``UnknownName``, ``HardwareError``.
    """
    path = device_path(device)
    try:
        document = tomllib.loads(read_device_file(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise HardwareError(f"{path}: not valid TOML: {error}") from None
    facts = {"kind": document.get("kind", ""), "version": document.get("version", 0), "file": str(path)}
    facts[NUMBER_FORMAT_KEY] = read_number_format(TomlTable(document, str(path)))
    facts |= {key: document[key] for key in _DESCRIPTIVE_KEYS if key in document}
    facts["error"] = _error(document if document.get("kind") == "analytic" else document.get("latency"))
    if isinstance(document.get("energy"), dict):
        facts["energy_error"] = _error(document["energy"])
    return facts


def _error(table: object) -> dict[str, float]:
    error = table.get("error") if isinstance(table, dict) else None
    numbers = {k: v for k, v in error.items() if isinstance(v, int | float)} if isinstance(error, dict) else {}
    if "held_out_mape_percent" in numbers:  # the error that counts; what is in sample keeps its own name
        numbers["in_sample_mape_percent"] = numbers.get("mape_percent", 0.0)
        numbers["mape_percent"] = numbers.pop("held_out_mape_percent")
    return numbers
