"""The number formats that networks run in: what an element takes, and how a device file states its own.

A device file says it once, ``number_format = "int8"``; bytes of weights and activations follow from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hardware_models.device_file.toml_table import HardwareError, TomlTable

BYTES_PER_ELEMENT: Mapping[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
"""Bytes an element, weight or activation, by number format."""
DEFAULT_NUMBER_FORMAT = "float32"
NUMBER_FORMAT_KEY = "number_format"


def read_number_format(table: TomlTable, allowed: Collection[str] = tuple(BYTES_PER_ELEMENT)) -> str:
    """The number format that a device file states; ``allowed`` are those that its kind can price. ``HardwareError``."""
    return table.one_of(NUMBER_FORMAT_KEY, allowed)


def check_number_format(text: str) -> str:
    """A number format that a person asks for. Raises ``HardwareError``."""
    if text not in BYTES_PER_ELEMENT:
        raise HardwareError(f"the number format must be one of {', '.join(BYTES_PER_ELEMENT)}, not {text!r}")
    return text


def number_format_of(model: object) -> str | None:
    """A hardware model's number format; ``None`` where it does not state one, as a model of one's own need not."""
    value = getattr(model, NUMBER_FORMAT_KEY, None)
    return value if isinstance(value, str) and value in BYTES_PER_ELEMENT else None
