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
    # learned from measurements by hardware_models/learn.py
    "1080ti": HardwareRow("hardware_models.devices:1080ti.toml", "NVIDIA GTX 1080 Ti, batch 1"),
    "1080ti_batch32": HardwareRow("hardware_models.devices:1080ti_batch32.toml", "NVIDIA GTX 1080 Ti, batch 32"),
    "1080ti_batch256": HardwareRow("hardware_models.devices:1080ti_batch256.toml", "NVIDIA GTX 1080 Ti, batch 256"),
    "2080ti": HardwareRow("hardware_models.devices:2080ti.toml", "NVIDIA RTX 2080 Ti, batch 1"),
    "2080ti_batch32": HardwareRow("hardware_models.devices:2080ti_batch32.toml", "NVIDIA RTX 2080 Ti, batch 32"),
    "2080ti_batch256": HardwareRow("hardware_models.devices:2080ti_batch256.toml", "NVIDIA RTX 2080 Ti, batch 256"),
    "titanx": HardwareRow("hardware_models.devices:titanx.toml", "NVIDIA Titan X, batch 1"),
    "titanx_batch32": HardwareRow("hardware_models.devices:titanx_batch32.toml", "NVIDIA Titan X, batch 32"),
    "titanx_batch256": HardwareRow("hardware_models.devices:titanx_batch256.toml", "NVIDIA Titan X, batch 256"),
    "titanxp": HardwareRow("hardware_models.devices:titanxp.toml", "NVIDIA Titan Xp, batch 1"),
    "titanxp_batch32": HardwareRow("hardware_models.devices:titanxp_batch32.toml", "NVIDIA Titan Xp, batch 32"),
    "titanxp_batch256": HardwareRow("hardware_models.devices:titanxp_batch256.toml", "NVIDIA Titan Xp, batch 256"),
    "xeon_gold_6240": HardwareRow("hardware_models.devices:xeon_gold_6240.toml", "Intel Xeon Gold 6240"),
    "xeon_silver_4114": HardwareRow("hardware_models.devices:xeon_silver_4114.toml", "Intel Xeon Silver 4114"),
    "xeon_silver_4210r": HardwareRow("hardware_models.devices:xeon_silver_4210r.toml", "Intel Xeon Silver 4210R"),
    "essential_ph_1": HardwareRow("hardware_models.devices:essential_ph_1.toml", "Essential PH-1 phone"),
    "samsung_a50": HardwareRow("hardware_models.devices:samsung_a50.toml", "Samsung Galaxy A50 phone"),
    "samsung_s7": HardwareRow("hardware_models.devices:samsung_s7.toml", "Samsung Galaxy S7 phone"),
    "pixel3_cpu": HardwareRow("hardware_models.devices:pixel3_cpu.toml", "Pixel 3 phone, CPU"),
    "zcu102": HardwareRow("hardware_models.devices:zcu102.toml", "ZCU102 FPGA with DPU"),
    "vck190": HardwareRow("hardware_models.devices:vck190.toml", "VCK190 FPGA with DPU"),
    "a100": HardwareRow("hardware_models.devices:a100.toml", "NVIDIA A100, throughput"),
    "rtx3090": HardwareRow("hardware_models.devices:rtx3090.toml", "NVIDIA RTX 3090, throughput"),
    "tpuv2": HardwareRow("hardware_models.devices:tpuv2.toml", "Google TPU v2, throughput"),
    "tpuv3": HardwareRow("hardware_models.devices:tpuv3.toml", "Google TPU v3, throughput"),
    "jetson_nano": HardwareRow("hardware_models.devices:jetson_nano.toml", "NVIDIA Jetson Nano, TensorRT"),
    "pi5": HardwareRow("hardware_models.devices:pi5.toml", "Raspberry Pi 5, LiteRT, one thread"),
    "pi5_onnx": HardwareRow("hardware_models.devices:pi5_onnx.toml", "Raspberry Pi 5, ONNX Runtime, one thread"),
    "pi5_torch": HardwareRow("hardware_models.devices:pi5_torch.toml", "Raspberry Pi 5, PyTorch Mobile, one thread"),
}

# How a device file of each kind becomes a model: the name of a function of (table, name)
KINDS: dict[str, str] = {
    "analytic": "hardware_models.analytic:analytic_model",
    "learned": "hardware_models.learned:learned_model",
    "transferred": "hardware_models.transferred:transferred_model",
}


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
