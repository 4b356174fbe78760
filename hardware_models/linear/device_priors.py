"""Which devices are fitted to few published latencies: their sources, and what is believed of them beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hardware_models.linear.prior import RatePrior

# Assumed, as rough ratios: what matters is that one unknown speed is common to all
_RATE_NAMES = (
    "base",
    "op",
    "join",
    "regular",
    "grouped",
    "pointwise",
    "depthwise",
    "linear",
    "moved",
    "light",
    "weights",
)


def _prior(*medians: float, folded: tuple[str, ...] | None = None, spread: float = 0.7, join: float = 1.5) -> RatePrior:
    prior = RatePrior(dict(zip(_RATE_NAMES, medians, strict=True)), spread=spread, spreads={"join": join})
    return prior if folded is None else replace(prior, folded=folded)


RATE_PRIORS: dict[str, RatePrior] = {
    "processor": _prior(0.1, 0.01, 0.03, 100, 150, 100, 300, 100, 0.3, 0.5, 0.3),
    "accelerator": _prior(0.5, 0.02, 0.06, 5, 20, 5, 30, 5, 0.1, 0.1, 0.2),
    "gpu": _prior(0.1, 0.03, 0.2, 1, 8, 2, 10, 3, 0.08, 0.1, 0.12, spread=0.4, join=2.0),
    # Every operation is a kernel of its own
    "gpu in PyTorch": _prior(0.3, 0.1, 0.3, 4, 20, 4, 20, 4, 0.1, 0.1, 0.15, folded=()),
    # Operations one at a time: nothing is known of what an inference adds
    "gpu, single operations": _prior(0.01, 0.01, 0.01, 0.3, 2, 0.3, 2, 0.3, 0.01, 0.01, 0.01, spread=1.0),
}


@dataclass(frozen=True)
class SparseDevice:
    """How a device is fitted: its prior's row in ``RATE_PRIORS``, or the device it is ``base_device`` and how far, and
    its rows.

    ``part_readers``: readers of ``datasets.READERS`` with the column of single operations and blocks, in ms, and how
    far these may be off for a network. ``device`` is what the device is called beside its other number formats.
    """

    about: str
    source: str
    prior: str
    precision: str
    runtime: str
    base_device: str = ""
    device: str = ""
    spread: float = 0.3
    part_readers: Mapping[str, str] | None = None
    scatter: float = 0.5
    max_rows: int = 2500


_SLIM = "tensorflow/models research/slim/nets/mobilenet/README.md @ 0ba83cf0"
_HOSTED = "tensorflow/tensorflow lite/g3doc/guide/hosted_models.md @ 0406598a"
_NANO = "NVIDIA-AI-IOT/torch2trt docs/benchmarks/jetson_nano.md @ 353a703d"
_XAVIER = "NVIDIA-AI-IOT/torch2trt docs/benchmarks/jetson_xavier.md @ d1e7d4ce"
_CORAL = "coral.ai/docs/edgetpu/benchmarks"
_MNV4 = "MobileNetV4, arXiv 2404.10518, table 6"
_ZOO = "tensorflow/models research/object_detection/g3doc/tf1_detection_zoo.md @ 15762ae3"
_PROXYLESS = "ProxylessNAS: han-cai/files @ a7c9bcd5, mit-han-lab/proxylessnas @ 6f22edad"
_TINYNAS = "alibaba/lightweight-neural-architecture-search @ 8ccaf889, Apache-2.0"


def _v100(precision: str, short: str) -> SparseDevice:
    return SparseDevice(
        f"NVIDIA V100, TensorRT, {precision}: single convolutions, batch 1",
        _TINYNAS,
        "gpu, single operations",
        precision,
        "TensorRT",
        device="v100",
        part_readers={f"v100 {short}": "v100"},
        scatter=0.1,
    )


SPARSE_DEVICES: dict[str, SparseDevice] = {
    "pixel1_cpu": SparseDevice(
        "Pixel 1 phone, one large core",
        f"{_SLIM}; {_ZOO}; {_PROXYLESS}",
        "processor",
        "float32",
        "TensorFlow Lite",
        part_readers={"pixel1 blocks": "pixel1", "pixel1 operations": "pixel1"},
    ),
    "pixel2_cpu": SparseDevice(
        "Pixel 2 phone, one large core: a Pixel 1 at another speed",
        _SLIM,
        "processor",
        "float32",
        "TensorFlow Lite",
        base_device="pixel1_cpu",
        spread=0.1,
    ),
    "pixel3_cpu_1thread": SparseDevice(
        "Pixel 3 phone, one large core: a Pixel 1 at another speed",
        _SLIM,
        "processor",
        "float32",
        "TensorFlow Lite",
        base_device="pixel1_cpu",
        spread=0.1,
    ),
    "pixel3_cpu4": SparseDevice("Pixel 3 phone, four threads", _HOSTED, "processor", "float32", "TensorFlow Lite"),
    "pixel3_cpu4_int8": SparseDevice(
        "Pixel 3 phone, four threads, int8",
        _HOSTED,
        "processor",
        "int8",
        "TensorFlow Lite",
        base_device="pixel3_cpu4",
        device="pixel3_cpu4",
        spread=0.6,
    ),
    "pixel3_gpu": SparseDevice(
        "Pixel 3 phone, GPU",
        _HOSTED,
        "accelerator",
        "float16",
        "TensorFlow Lite, GPU delegate",
        base_device="pixel3_cpu4",
        spread=0.6,
    ),
    "pixel3_nnapi": SparseDevice(
        "Pixel 3 phone, NNAPI",
        _HOSTED,
        "accelerator",
        "float32",
        "TensorFlow Lite, NNAPI",
        base_device="pixel3_cpu4",
        spread=0.3,
    ),
    "pixel3_nnapi_int8": SparseDevice(
        "Pixel 3 phone, NNAPI, int8",
        _HOSTED,
        "accelerator",
        "int8",
        "TensorFlow Lite, NNAPI",
        base_device="pixel4_dsp",
        device="pixel3_nnapi",
        spread=0.3,
    ),
    "pixel4_dsp": SparseDevice(
        "Pixel 4 phone, Hexagon DSP, int8",
        f"{_ZOO}; {_MNV4}",
        "accelerator",
        "int8",
        "TensorFlow Lite, Hexagon delegate",
    ),
    "pixel6_cpu": SparseDevice(
        "Pixel 6 phone, its fastest core, int8",
        _MNV4,
        "processor",
        "int8",
        "TensorFlow Lite, XNNPACK",
        base_device="pixel3_cpu4_int8",
        spread=0.6,
    ),
    "s23_cpu": SparseDevice(
        "Samsung Galaxy S23 phone, its fastest core, int8",
        _MNV4,
        "processor",
        "int8",
        "TensorFlow Lite, XNNPACK",
        base_device="pixel3_cpu4_int8",
        spread=0.6,
    ),
    "pixel8_edgetpu": SparseDevice("Pixel 8 phone, Edge TPU, int8", _MNV4, "accelerator", "int8", "TensorFlow Lite"),
    "coral_desktop_cpu": SparseDevice(
        "Desktop processor (Intel Xeon) of Coral's benchmarks, int8",
        _CORAL,
        "processor",
        "int8",
        "TensorFlow Lite",
        base_device="pixel3_cpu4_int8",
    ),
    "coral_devboard_cpu": SparseDevice(
        "Coral Dev Board, Cortex-A53, int8",
        _CORAL,
        "processor",
        "int8",
        "TensorFlow Lite",
        base_device="pixel3_cpu4_int8",
    ),
    "jetson_nano_tensorrt": SparseDevice(
        "NVIDIA Jetson Nano, TensorRT, float16", _NANO, "gpu", "float16", "TensorRT", device="jetson_nano"
    ),
    "xavier_tensorrt": SparseDevice(
        "NVIDIA Jetson AGX Xavier, TensorRT, float16",
        f"{_XAVIER}; tensorflow/models ... ssdlite_mobiledet_gpu_320x320_coco_sync_4x4.config",
        "gpu",
        "float16",
        "TensorRT",
    ),
    "jetson_nano_pytorch": SparseDevice(
        "NVIDIA Jetson Nano, PyTorch, float16", _NANO, "gpu in PyTorch", "float16", "PyTorch"
    ),
    "xavier_pytorch": SparseDevice(
        "NVIDIA Jetson AGX Xavier, PyTorch, float16", _XAVIER, "gpu in PyTorch", "float16", "PyTorch"
    ),
    "v100_fp32": _v100("float32", "fp32"),
    "v100_fp16": _v100("float16", "fp16"),
    "v100_int8": _v100("int8", "int8"),
}
"""Devices of which few networks, or only parts of networks, were measured, by name."""
