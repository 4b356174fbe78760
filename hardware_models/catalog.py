"""Hardware models by name: tables of strings, and what turns a name or a device file into a model.

A new device is a TOML file and a row in ``HARDWARE``; other packages add rows through the entry-point group
``nas.hardware``, whose objects are ``HardwareRow``. A device file's ``kind`` names its row in ``MODEL_KINDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hardware_models.cost import HardwareModel
from hardware_models.device_file.number_format import read_number_format
from hardware_models.device_file.toml_table import HardwareError, TomlTable, parse_device_file, read_device_file
from search_spaces.registry import import_object, table_with_plugins, unknown_name


@dataclass(frozen=True)
class HardwareRow:
    """One named device: its file, as ``package:file.toml``, and what it is in a line.

    ``device``: what the device is called beside its other number formats, which have rows of their own; empty where
    that is the row's own name. ``device:int8`` is then the row whose file states int8.
    """

    file: str
    summary: str
    device: str = ""


HARDWARE: dict[str, HardwareRow] = {
    "edgetpu": HardwareRow(
        "hardware_models.devices.edgetpu:pixel4_edgetpu.toml", "the Edge TPU of a Pixel 4, as in the MobileDets paper"
    ),
    "pixel4_edgetpu": HardwareRow("hardware_models.devices.edgetpu:pixel4_edgetpu.toml", "the Edge TPU of a Pixel 4"),
    "coral_devboard": HardwareRow(
        "hardware_models.devices.edgetpu:coral_devboard.toml", "the Coral Dev Board's Edge TPU"
    ),
    "coral_usb": HardwareRow(
        "hardware_models.devices.edgetpu:coral_usb.toml", "the Coral USB Accelerator's Edge TPU at a desktop computer"
    ),
    "pixel6_edgetpu": HardwareRow("hardware_models.devices.edgetpu:pixel6_edgetpu.toml", "the Edge TPU of a Pixel 6"),
    # of few published latencies by hardware_models/linear/fit_sparse_devices.py
    "coral_desktop_cpu": HardwareRow(
        "hardware_models.devices.processors:coral_desktop_cpu.toml", "the desktop processor of Coral's benchmarks, int8"
    ),
    "coral_devboard_cpu": HardwareRow(
        "hardware_models.devices.boards:coral_devboard_cpu.toml", "the Coral Dev Board's Cortex-A53, int8"
    ),
    "jetson_nano_pytorch": HardwareRow(
        "hardware_models.devices.boards:jetson_nano_pytorch.toml", "NVIDIA Jetson Nano, PyTorch, float16"
    ),
    "jetson_nano_tensorrt": HardwareRow(
        "hardware_models.devices.boards:jetson_nano_tensorrt.toml",
        "NVIDIA Jetson Nano, TensorRT, float16",
        "jetson_nano",
    ),
    "pixel1_cpu": HardwareRow("hardware_models.devices.phones:pixel1_cpu.toml", "Pixel 1 phone, CPU, one thread"),
    "pixel2_cpu": HardwareRow("hardware_models.devices.phones:pixel2_cpu.toml", "Pixel 2 phone, CPU, one thread"),
    "pixel3_cpu_1thread": HardwareRow(
        "hardware_models.devices.phones:pixel3_cpu_1thread.toml", "Pixel 3 phone, CPU, one thread"
    ),
    "pixel3_cpu4": HardwareRow("hardware_models.devices.phones:pixel3_cpu4.toml", "Pixel 3 phone, CPU, four threads"),
    "pixel3_cpu4_int8": HardwareRow(
        "hardware_models.devices.phones:pixel3_cpu4_int8.toml", "Pixel 3 phone, CPU, four threads, int8", "pixel3_cpu4"
    ),
    "pixel3_gpu": HardwareRow("hardware_models.devices.phones:pixel3_gpu.toml", "Pixel 3 phone, GPU"),
    "pixel3_nnapi": HardwareRow("hardware_models.devices.phones:pixel3_nnapi.toml", "Pixel 3 phone, NNAPI"),
    "pixel3_nnapi_int8": HardwareRow(
        "hardware_models.devices.phones:pixel3_nnapi_int8.toml", "Pixel 3 phone, NNAPI, int8", "pixel3_nnapi"
    ),
    "pixel4_dsp": HardwareRow("hardware_models.devices.phones:pixel4_dsp.toml", "the Hexagon DSP of a Pixel 4, int8"),
    "pixel6_cpu": HardwareRow("hardware_models.devices.phones:pixel6_cpu.toml", "Pixel 6 phone, CPU, one thread, int8"),
    "pixel8_edgetpu": HardwareRow("hardware_models.devices.edgetpu:pixel8_edgetpu.toml", "the Edge TPU of a Pixel 8"),
    "s23_cpu": HardwareRow(
        "hardware_models.devices.phones:s23_cpu.toml", "Samsung Galaxy S23 phone, CPU, one thread, int8"
    ),
    "v100_fp16": HardwareRow("hardware_models.devices.nvidia:v100_fp16.toml", "NVIDIA V100, TensorRT, float16", "v100"),
    "v100_fp32": HardwareRow("hardware_models.devices.nvidia:v100_fp32.toml", "NVIDIA V100, TensorRT, float32", "v100"),
    "v100_int8": HardwareRow("hardware_models.devices.nvidia:v100_int8.toml", "NVIDIA V100, TensorRT, int8", "v100"),
    "xavier_pytorch": HardwareRow(
        "hardware_models.devices.boards:xavier_pytorch.toml", "NVIDIA Jetson AGX Xavier, PyTorch, float16"
    ),
    "xavier_tensorrt": HardwareRow(
        "hardware_models.devices.boards:xavier_tensorrt.toml", "NVIDIA Jetson AGX Xavier, TensorRT, float16"
    ),
    # learned from measurements by hardware_models/linear/fit_published_devices.py
    "note10": HardwareRow(
        "hardware_models.devices.phones:note10.toml", "Samsung Galaxy Note10 phone, CPU: a sum of blocks"
    ),
    "1080ti": HardwareRow("hardware_models.devices.nvidia_nasbench201:1080ti.toml", "NVIDIA GTX 1080 Ti, batch 1"),
    "1080ti_batch32": HardwareRow(
        "hardware_models.devices.nvidia_nasbench201:1080ti_batch32.toml", "NVIDIA GTX 1080 Ti, batch 32"
    ),
    "1080ti_batch256": HardwareRow(
        "hardware_models.devices.nvidia_nasbench201:1080ti_batch256.toml", "NVIDIA GTX 1080 Ti, batch 256"
    ),
    "2080ti": HardwareRow("hardware_models.devices.nvidia_nasbench201:2080ti.toml", "NVIDIA RTX 2080 Ti, batch 1"),
    "2080ti_batch32": HardwareRow(
        "hardware_models.devices.nvidia_nasbench201:2080ti_batch32.toml", "NVIDIA RTX 2080 Ti, batch 32"
    ),
    "2080ti_batch256": HardwareRow(
        "hardware_models.devices.nvidia_nasbench201:2080ti_batch256.toml", "NVIDIA RTX 2080 Ti, batch 256"
    ),
    "titanx": HardwareRow("hardware_models.devices.nvidia_nasbench201:titanx.toml", "NVIDIA Titan X, batch 1"),
    "titanx_batch32": HardwareRow(
        "hardware_models.devices.nvidia_nasbench201:titanx_batch32.toml", "NVIDIA Titan X, batch 32"
    ),
    "titanx_batch256": HardwareRow(
        "hardware_models.devices.nvidia_nasbench201:titanx_batch256.toml", "NVIDIA Titan X, batch 256"
    ),
    "titanxp": HardwareRow("hardware_models.devices.nvidia_nasbench201:titanxp.toml", "NVIDIA Titan Xp, batch 1"),
    "titanxp_batch32": HardwareRow(
        "hardware_models.devices.nvidia_nasbench201:titanxp_batch32.toml", "NVIDIA Titan Xp, batch 32"
    ),
    "titanxp_batch256": HardwareRow(
        "hardware_models.devices.nvidia_nasbench201:titanxp_batch256.toml", "NVIDIA Titan Xp, batch 256"
    ),
    "xeon_gold_6240": HardwareRow("hardware_models.devices.processors:xeon_gold_6240.toml", "Intel Xeon Gold 6240"),
    "xeon_silver_4114": HardwareRow(
        "hardware_models.devices.processors:xeon_silver_4114.toml", "Intel Xeon Silver 4114"
    ),
    "xeon_silver_4210r": HardwareRow(
        "hardware_models.devices.processors:xeon_silver_4210r.toml", "Intel Xeon Silver 4210R"
    ),
    "essential_ph_1": HardwareRow("hardware_models.devices.phones:essential_ph_1.toml", "Essential PH-1 phone"),
    "samsung_a50": HardwareRow("hardware_models.devices.phones:samsung_a50.toml", "Samsung Galaxy A50 phone"),
    "samsung_s7": HardwareRow("hardware_models.devices.phones:samsung_s7.toml", "Samsung Galaxy S7 phone"),
    "pixel3_cpu": HardwareRow("hardware_models.devices.phones:pixel3_cpu.toml", "Pixel 3 phone, CPU"),
    "zcu102": HardwareRow("hardware_models.devices.fpga_tpu:zcu102.toml", "ZCU102 FPGA with DPU"),
    "vck190": HardwareRow("hardware_models.devices.fpga_tpu:vck190.toml", "VCK190 FPGA with DPU"),
    "a100": HardwareRow("hardware_models.devices.nvidia:a100.toml", "NVIDIA A100, throughput"),
    "rtx3090": HardwareRow("hardware_models.devices.nvidia:rtx3090.toml", "NVIDIA RTX 3090, throughput"),
    "tpuv2": HardwareRow("hardware_models.devices.fpga_tpu:tpuv2.toml", "Google TPU v2, throughput"),
    "tpuv3": HardwareRow("hardware_models.devices.fpga_tpu:tpuv3.toml", "Google TPU v3, throughput"),
    "jetson_nano": HardwareRow("hardware_models.devices.boards:jetson_nano.toml", "NVIDIA Jetson Nano, TensorRT"),
    "pi5": HardwareRow("hardware_models.devices.boards:pi5.toml", "Raspberry Pi 5, LiteRT, one thread"),
    "pi5_onnx": HardwareRow("hardware_models.devices.boards:pi5_onnx.toml", "Raspberry Pi 5, ONNX Runtime, one thread"),
    "pi5_torch": HardwareRow(
        "hardware_models.devices.boards:pi5_torch.toml", "Raspberry Pi 5, PyTorch Mobile, one thread"
    ),
    # calibrated on the measurements of results/devices/h200_latency.py and results/devices/local_onnxruntime.py
    "h200": HardwareRow("hardware_models.devices.nvidia:h200.toml", "NVIDIA H200, float16, batch 1"),
    "h200_batch32": HardwareRow("hardware_models.devices.nvidia:h200_batch32.toml", "NVIDIA H200, float16, batch 32"),
    "onnxruntime_cpu": HardwareRow(
        "hardware_models.devices.processors:onnxruntime_cpu.toml", "a server's x86 core, ONNX Runtime, one thread"
    ),
    # learned by results/devices/ethos_u.py from what Arm's compiler estimates
    "ethos_u55_32": HardwareRow(
        "hardware_models.devices.ethos_u:ethos_u55_32.toml", "Arm Ethos-U55-32, by Arm's compiler"
    ),
    "ethos_u55_64": HardwareRow(
        "hardware_models.devices.ethos_u:ethos_u55_64.toml", "Arm Ethos-U55-64, by Arm's compiler"
    ),
    "ethos_u55_128": HardwareRow(
        "hardware_models.devices.ethos_u:ethos_u55_128.toml", "Arm Ethos-U55-128, by Arm's compiler"
    ),
    "ethos_u55_256": HardwareRow(
        "hardware_models.devices.ethos_u:ethos_u55_256.toml", "Arm Ethos-U55-256, by Arm's compiler"
    ),
    "ethos_u65_256": HardwareRow(
        "hardware_models.devices.ethos_u:ethos_u65_256.toml", "Arm Ethos-U65-256, by Arm's compiler"
    ),
    "ethos_u65_512": HardwareRow(
        "hardware_models.devices.ethos_u:ethos_u65_512.toml", "Arm Ethos-U65-512, by Arm's compiler"
    ),
}

# How a device file of each kind becomes a model: the name of a function of (table, name)
MODEL_KINDS: dict[str, str] = {
    "analytic": "hardware_models.analytic.model:analytic_model",
    "few_rows": "hardware_models.linear.prior:few_rows_model",
    "learned": "hardware_models.linear.model:learned_model",
    "mac_array": "hardware_models.mac_array.model:mac_array_model",
    "table": "hardware_models.operation_table.model:table_model",
    "transferred": "hardware_models.transfer.model:transferred_model",
}


def hardware() -> dict[str, HardwareRow]:
    """All named devices, those of installed plug-ins included."""
    return table_with_plugins("nas.hardware", HARDWARE, HardwareRow)


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
    table = parse_device_file(text, where)
    kind = table.text("kind")
    if kind not in MODEL_KINDS:
        raise table.invalid_value("kind", f"one of {', '.join(map(repr, MODEL_KINDS))}")
    build_model: Callable[[TomlTable, str], HardwareModel] = import_object(MODEL_KINDS[kind])
    return build_model(table, name)


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
