"""How models of one kind become device files and come back: the two functions that stand side by side in its module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from hardware_models.cost import HardwareModel
from hardware_models.device_file.document import Document
from hardware_models.device_file.toml_table import TomlTable

KnownDevice = Callable[[str, str], HardwareModel]
"""A known device by name, for kinds that rest on others; the second argument names the file in errors."""


class Codec(Protocol):
    """The module of a kind of model, as ``catalog.MODEL_KINDS`` names it.

    What ``to_table`` writes, ``from_table`` reads: the model that comes back predicts the very same costs.
    """

    def from_table(self, table: TomlTable, name: str, known_device: KnownDevice) -> HardwareModel:
        """The model of a device file; ``HardwareError`` for a file that cannot be used."""
        ...

    def to_table(self, model: Any) -> Document:
        """All of a device file but its header, from a model of this kind."""
        ...
