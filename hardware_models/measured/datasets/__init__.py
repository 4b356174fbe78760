"""Published measurements: a reader a data set, and which device's model is learned from which of their columns.

Data sets are not part of the project; a folder holds them as their READMEs describe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hardware_models.measured.network import MeasuredNetwork
from search_spaces.registry import import_object, named_row

Reader = Callable[[Path, int], dict[str, list[MeasuredNetwork]]]
"""From a folder and a number of networks at most, in order: by column, the networks that have a figure in it."""


@dataclass(frozen=True)
class DeviceSource:
    """Where a learned device comes from.

    ``readers``: data sets by their row in ``DATASET_READERS``, each with the device's column there. ``energy``: whether
    the energy is learned too, from the first of them. ``measured``: whether networks were run in normal form or as
    written. ``batch`` 0: the source does not say; ``number_format_assumed``: nor does it say the number format.
    """

    about: str
    source: str
    readers: Mapping[str, str]
    energy: bool = False
    batch: int = 1
    number_format: str = "float32"
    number_format_assumed: bool = False
    runtime: str = ""
    measured: str = "normal form"
    scatter: float = 0.02
    spread: float = 0.3


DATASET_READERS: dict[str, str] = {
    "accel_nasbench": "hardware_models.measured.datasets.accel_nasbench:read",
    "fbnet": "hardware_models.measured.datasets.fbnet:read",
    "jetson_nano": "hardware_models.measured.datasets.jetson_nano:read",
    "nasbench201": "hardware_models.measured.datasets.nasbench201:read",
    "nasbench201 as written": "hardware_models.measured.datasets.nasbench201:read_as_written",
    "nasbench201 on pi5": "hardware_models.measured.datasets.nasbench201:read_pi5",
    "note10": "hardware_models.measured.datasets.note10:read",
    "pixel1 blocks": "hardware_models.measured.datasets.pixel1:read",
    "pixel1 operations": "hardware_models.measured.datasets.pixel1:read_profile",
    "v100 fp16": "hardware_models.measured.datasets.v100:read_fp16",
    "v100 fp32": "hardware_models.measured.datasets.v100:read_fp32",
    "v100 int8": "hardware_models.measured.datasets.v100:read_int8",
}


@lru_cache(maxsize=8)
def dataset_networks(reader: str, folder: Path, max_rows: int) -> Mapping[str, list[MeasuredNetwork]]:
    """What a row of ``DATASET_READERS`` reads, by column. Raises ``UnknownName``, and ``HardwareError`` for no file."""
    read: Reader = import_object(named_row("data set", reader, DATASET_READERS))
    return read(folder, max_rows)


_HELP = "HELP (arXiv 2106.08630), HayeonLee/HELP @ 45f70eb9, MIT"
_HW = "HW-NAS-Bench (arXiv 2103.10584), from HayeonLee/HELP @ 45f70eb9, MIT"
_ACCEL = "Accel-NASBench (arXiv 2404.08005), afzalxo/Accel-NASBench @ 42603572, Apache-2.0"
_PI5 = "HW-NAS-Bench-360, roldebijvank/HW-NAS-Bench-360 @ a9b243e0"
_JETSON = "iCAS-Lab/NAS-Performance-Modeling @ 50e67092"


def _help(about: str, nasbench201: str, fbnet: str = "", batch: int = 1) -> DeviceSource:
    readers = {"nasbench201 as written": nasbench201} | ({"fbnet": fbnet} if fbnet else {})
    return DeviceSource(about, _HELP, readers, batch=batch, runtime="PyTorch", measured="as written", scatter=0.05)


def _gpus() -> dict[str, DeviceSource]:
    names = {"1080ti": "GTX 1080 Ti", "2080ti": "RTX 2080 Ti", "titanx": "Titan X", "titanxp": "Titan Xp"}
    sources = {}
    for key, name in names.items():
        for batch, fbnet in ((1, 1), (32, 32), (256, 64)):
            suffix = "" if batch == 1 else f"_batch{batch}"
            about = f"NVIDIA {name}, batch {batch}"
            # A batch of 256 was measured for the one space, one of 64 for the other: they are two devices
            other = f"{key}_{fbnet}" if batch == fbnet else ""
            sources[key + suffix] = _help(about, f"{key}_{batch}", other, batch)
    return sources


DEVICE_SOURCES: dict[str, DeviceSource] = {
    **_gpus(),
    "xeon_gold_6240": _help("Intel Xeon Gold 6240", "gold_6240", "gold_6240"),
    "xeon_silver_4114": _help("Intel Xeon Silver 4114", "silver_4114", "silver_4114"),
    "xeon_silver_4210r": _help("Intel Xeon Silver 4210R", "silver_4210r", "silver_4210r"),
    "essential_ph_1": _help("Essential PH-1 phone, whole milliseconds", "essential_ph_1", "essential_ph_1"),
    "samsung_a50": _help("Samsung Galaxy A50 phone, whole milliseconds", "samsung_a50", "samsung_a50"),
    "samsung_s7": _help("Samsung Galaxy S7 phone, whole milliseconds", "samsung_s7", "samsung_s7"),
    "pixel3_cpu": DeviceSource(
        "Pixel 3 phone, CPU: a sum of measured blocks", _HW, {"nasbench201": "pixel3", "fbnet": "pixel3"}, scatter=0.05
    ),
    "note10": DeviceSource(
        "Samsung Galaxy Note10 phone, CPU: single blocks and layers",
        "Once-for-All (arXiv 1908.09791), mit-han-lab/once-for-all @ 698a5c10, MIT",
        {"note10": "note10"},
        runtime="TensorFlow Lite",
        scatter=0.05,
        spread=0.0,
    ),
    "zcu102": DeviceSource("ZCU102 FPGA with DPU", _ACCEL, {"accel_nasbench": "latency_zcu102"}, number_format="int8"),
    "vck190": DeviceSource("VCK190 FPGA with DPU", _ACCEL, {"accel_nasbench": "latency_vck190"}, number_format="int8"),
    "a100": DeviceSource(
        "NVIDIA A100, throughput",
        _ACCEL,
        {"accel_nasbench": "throughput_a100"},
        batch=0,
        number_format_assumed=True,
    ),
    "rtx3090": DeviceSource(
        "NVIDIA RTX 3090, throughput",
        _ACCEL,
        {"accel_nasbench": "throughput_3090"},
        batch=0,
        number_format_assumed=True,
    ),
    "tpuv2": DeviceSource(
        "Google TPU v2, throughput",
        _ACCEL,
        {"accel_nasbench": "throughput_tpuv2"},
        batch=0,
        number_format_assumed=True,
    ),
    "tpuv3": DeviceSource(
        "Google TPU v3, throughput, which the host limits at the top",
        _ACCEL,
        {"accel_nasbench": "throughput_tpuv3"},
        batch=0,
        number_format_assumed=True,
        scatter=0.05,
    ),
    "jetson_nano": DeviceSource(
        "NVIDIA Jetson Nano, TensorRT; energy of the GPU's rail, idle included",
        _JETSON,
        {"jetson_nano": "tensorrt"},
        energy=True,
        runtime="TensorRT",
        scatter=0.1,
        spread=0.0,
    ),
    "pi5": DeviceSource(
        "Raspberry Pi 5, LiteRT, one thread; energy of its power chip",
        _PI5,
        {"nasbench201 on pi5": "pi5__litert"},
        energy=True,
        runtime="LiteRT",
    ),
    "pi5_onnx": DeviceSource(
        "Raspberry Pi 5, ONNX Runtime, one thread; energy of its power chip",
        _PI5,
        {"nasbench201 on pi5": "pi5__onnx"},
        energy=True,
        runtime="ONNX Runtime",
    ),
    "pi5_torch": DeviceSource(
        "Raspberry Pi 5, PyTorch Mobile, one thread; energy of its power chip",
        _PI5,
        {"nasbench201 on pi5": "pi5__torchmobile"},
        energy=True,
        runtime="PyTorch Mobile",
    ),
}
"""Learned devices by name."""
