"""Devices by name: a table of strings, and the device that an address names.

A new device is a file and a row in ``DEVICES``; other packages add rows through the entry-point group ``nas.devices``,
whose objects are ``DeviceRow``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evaluators.devices.address import Address
from evaluators.devices.device import Device
from search_spaces.registry import import_object, named_row, table_with_plugins


@dataclass(frozen=True)
class DeviceRow:
    """One device: the function that makes it from an ``Address``, a one-line summary, and an example address."""

    factory: str
    summary: str
    example: str


def _ethos_u(name: str) -> tuple[str, DeviceRow]:
    summary = f"Arm {name.replace('ethos-u', 'Ethos-U')} as Arm's compiler Vela estimates it: no measurement"
    return name, DeviceRow("evaluators.devices.runtimes.vela:device", summary, name)


_ETHOS_U_NAMES = ("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512")

DEVICES: dict[str, DeviceRow] = {
    "torch-cpu": DeviceRow(
        "evaluators.devices.runtimes.torch_cpu:device", "PyTorch on this processor", "torch-cpu?threads=1"
    ),
    "torch-cuda": DeviceRow(
        "evaluators.devices.runtimes.torch_cuda:device",
        "PyTorch on an NVIDIA GPU, replayed as a CUDA graph",
        "torch-cuda?batch=32&precision=float16",
    ),
    "onnxruntime": DeviceRow(
        "evaluators.devices.runtimes.onnx_runtime:device",
        "ONNX Runtime on this processor, float or QDQ int8",
        "onnxruntime?threads=1&precision=int8",
    ),
    "openvino": DeviceRow(
        "evaluators.devices.runtimes.openvino_cpu:device",
        "OpenVINO on this processor",
        "openvino?threads=1&precision=int8",
    ),
    "litert": DeviceRow(
        "evaluators.devices.runtimes.litert:device",
        "LiteRT (XNNPACK) on this processor",
        "litert?threads=1&precision=int8",
    ),
    **dict(map(_ethos_u, _ETHOS_U_NAMES)),
    "coral": DeviceRow(
        "evaluators.devices.runtimes.coral:device", "a Coral Edge TPU at this machine, after edgetpu_compiler", "coral"
    ),
    "adb": DeviceRow(
        "evaluators.devices.runtimes.android:device",
        "an Android phone on adb, with LiteRT's benchmark_model",
        "adb://SERIAL?threads=4&precision=int8",
    ),
    "ssh": DeviceRow(
        "evaluators.devices.remote.ssh:device",
        "another machine on SSH, with any of the runtimes onnxruntime, openvino, litert, coral",
        "ssh://user@host:22/litert?threads=4&precision=int8",
    ),
}


def devices() -> dict[str, DeviceRow]:
    """All devices by name or scheme, those of installed plug-ins included."""
    return table_with_plugins("nas.devices", DEVICES, DeviceRow)


def open_device(address: str) -> Device:
    """The device at an address such as ``onnxruntime?threads=1&precision=int8``, ``ssh://user@host:22/litert``,
    ``adb://SERIAL`` or ``ethos-u55-128``. Nothing is started or connected before the first measurement.

    Raises ``UnknownName`` for a name that is in no table, ``AddressError`` for an address that cannot be used.
    """
    parsed = Address(address)
    row = named_row("device", parsed.device, devices())
    make: Callable[[Address], Device] = import_object(row.factory)
    device = make(parsed)
    parsed.finish()
    return device
