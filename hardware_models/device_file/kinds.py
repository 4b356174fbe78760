"""The kinds of device files, and what turns a file's text into a model and a model into the tables of a file."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from hardware_models.cost import HardwareModel
from hardware_models.device_file.codec import Codec, KnownDevice
from hardware_models.device_file.document import Document
from hardware_models.device_file.toml_table import HardwareError, parse_device_file

MODEL_KINDS: dict[str, str] = {
    "analytic": "hardware_models.analytic.model",
    "few_rows": "hardware_models.linear.prior",
    "learned": "hardware_models.linear.model",
    "mac_array": "hardware_models.mac_array.model",
    "table": "hardware_models.operation_table.model",
    "transferred": "hardware_models.transfer.model",
}
"""By the ``kind`` that device files state and models have: the module whose functions are the ``Codec``."""


def codec_of(kind: str) -> Codec:
    """The codec of a row of ``MODEL_KINDS``."""
    return cast(Codec, import_module(MODEL_KINDS[kind]))


def no_known_device(device: str, where: str) -> HardwareModel:
    """The known devices of those who have none: always ``HardwareError``."""
    raise HardwareError(f"{where}: it rests on the device {device!r}, which is not at hand here")


def read_model(text: str, name: str, where: str, known_device: KnownDevice = no_known_device) -> HardwareModel:
    """The model that a device file's text describes; ``where`` names the file in errors. ``HardwareError``."""
    table = parse_device_file(text, where)
    kind = table.text("kind")
    if kind not in MODEL_KINDS:
        raise table.invalid_value("kind", f"one of {', '.join(map(repr, MODEL_KINDS))}")
    return codec_of(kind).from_table(table, name, known_device)


def model_document(model: HardwareModel) -> Document:
    """All of a model's device file but the header. Raises ``HardwareError`` for a model that no kind of file holds."""
    kind = getattr(model, "kind", None)
    if kind not in MODEL_KINDS:
        raise HardwareError(
            f"{model!r} cannot be written: device files hold models of the kinds {', '.join(map(repr, MODEL_KINDS))}"
        )
    return codec_of(kind).to_table(model)
