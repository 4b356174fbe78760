"""Published latencies: which networks and devices the names in their table mean, and its reader."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hardware_models.device_file.toml_table import HardwareError
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph


class PublishedNetwork(NamedTuple):
    """Which network a name in the table means, and the options that make it the one that was measured.

    ``size_from_table``: the image size is the table's column ``input``.
    """

    network: str
    options: Mapping[str, Any] = {}
    with_postprocessing: bool = False
    size_from_table: bool = False


class DeviceColumns(NamedTuple):
    """Which rows of the table a device of ours is: its columns ``device``, ``precision`` and ``runtime``."""

    device: str
    precision: str = ""
    runtime: str = ""


# The table's detectors on Coral are those of its model zoo, which take 300x300 and end in post-processing on the host
# (coral.ai/models/object-detection); its column `input` holds the page's 224, which no such model exists for.
# EfficientNet-EdgeTPU-S has no size there; the model is defined for 224.
PUBLISHED_NETWORKS: dict[str, PublishedNetwork] = {
    "densenet": PublishedNetwork("densenet121", {"image_size": 224}),
    "efficientnet_edgetpu_s": PublishedNetwork("efficientnet_edgetpu_s", {"image_size": 224}),
    "inception_v1": PublishedNetwork("inception_v1", {"image_size": 224}),
    "inception_v2": PublishedNetwork("inception_v2", {"image_size": 224}),
    "mobilenet_v1": PublishedNetwork("mobilenet_v1", {"image_size": 224}),
    "mobilenet_v2": PublishedNetwork("mobilenet_v2", {"image_size": 224}),
    "mobilenet_v1_ssd": PublishedNetwork("mobilenet_v1_ssd", {"image_size": 300}, with_postprocessing=True),
    "mobilenet_v2_ssd": PublishedNetwork("mobilenet_v2_ssd", {"image_size": 300}, with_postprocessing=True),
    "nasnet_large": PublishedNetwork("nasnet_large"),
    "nasnet_mobile": PublishedNetwork("nasnet_mobile"),
    "resnet50_v1": PublishedNetwork("resnet50_v1", {"image_size": 299}),
    "resnet50_v2": PublishedNetwork("resnet50_v2", {"image_size": 299}),
    "resnet152_v2": PublishedNetwork("resnet152_v2", {"image_size": 299}),
    "ssd_mobiledet_cpu_coco": PublishedNetwork("mobiledet_cpu", {"image_size": 320}),
    "ssd_mobiledet_dsp_coco": PublishedNetwork("mobiledet_dsp", {"image_size": 320}),
    "ssd_mobiledet_edgetpu_coco": PublishedNetwork("mobiledet_edgetpu", {"image_size": 320}),
    "ssd_mobilenet_edgetpu_coco": PublishedNetwork("ssdlite_mobilenet_edgetpu", {"image_size": 320}),
    **{
        f"ssd_mobilenet_v3_{size}_coco": PublishedNetwork(
            f"mobilenetv3_{size}", {"task": "detect", "image_size": 320, "num_classes": 90}
        )
        for size in ("large", "small")
    },
    **{
        f"mobilenet_v1_{w}": PublishedNetwork("mobilenet_v1", {"width": float(w)}, size_from_table=True)
        for w in ("0.25", "0.5")
    },
    **{
        f"mobilenet_v1_{w}": PublishedNetwork("mobilenet_v1", {"width": float(w)}, size_from_table=True)
        for w in ("0.75", "1.0")
    },
    **{
        f"mobilenet_v2_{w}": PublishedNetwork("mobilenet_v2", {"width": float(w)}, size_from_table=True)
        for w in ("0.35", "0.5", "0.75", "1.0", "1.3", "1.4")
    },
    **{f"mobilenet_v3_large_{w}": PublishedNetwork("mobilenetv3_large", {"width": float(w)}) for w in ("0.75", "1.0")},
    # The hosted MnasNets are without squeeze-excite: their files hold as many weights as B1 and its widths
    **{
        f"mnasnet_{w}": PublishedNetwork("mnasnet_b1", {"width": float(w)}, size_from_table=True)
        for w in ("0.5", "1.0", "1.3")
    },
    **{f"MobileNetEdgeTPU dm{w}": PublishedNetwork("mobilenet_edgetpu", {"width": float(w)}) for w in ("1.25", "1.75")},
    **{f"MobileNetEdgeTPUv2-{s}": PublishedNetwork(f"mobilenet_edgetpu_v2_{s.lower()}") for s in ("Tiny", "S", "M")},
    # torchvision's
    "mnasnet0_75": PublishedNetwork("mnasnet_b1", {"width": 0.75}),
    **{
        name: PublishedNetwork(name)
        for name in (
            *("alexnet", "squeezenet1_0", "squeezenet1_1", "resnet18", "resnet50"),
            *("densenet121", "densenet169", "densenet161", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5"),
            *("vgg11", "vgg13", "vgg11_bn", "vgg13_bn", "vgg16_bn"),
        )
    },
}
_UNKNOWN_HEAD = "two stages, or a feature pyramid whose head the table does not state"
UNBUILDABLE_NETWORKS: dict[str, str] = {
    "unet_mv2": "its decoder needs transposed convolutions, which graphs do not have",
    "deeplab_v3": "the table does not say which depth multiplier and output stride were measured",
    "deeplabv3plus_*": "the page does not state the decoder's widths and which features it takes",
    "autoseg_edgetpu_*": "its decoder is a BiFPN whose widths the page does not state",
    "ssd_mobilenet_v2_mnasfpn_coco": "MnasFPN's searched graph is not among the published networks here",
    "faster_rcnn_*, rfcn_*, mask_rcnn_*, CenterNet *, EfficientDet *, SSD * FPN*": _UNKNOWN_HEAD,
    "gtx_titan_x": "timings of 600x600 images with resizing and post-processing: the network is a small part of them",
    "unspecified_gpu": "the page does not name the GPU",
}
"""Names, or devices, of the table that stand for no row, and why."""
EXCLUDED_LATENCIES: dict[tuple[str, str], str] = {
    ("coral_desktop_cpu", "efficientnet_edgetpu_s"): "5431 ms, where the three times slower Cortex-A53 took 705",
    ("pixel3_nnapi", "densenet"): "1656 ms, where four threads of the processor took 195",
}
"""Rows, by device and the table's name, that contradict the others of their page, and how."""
DEVICE_COLUMNS: dict[str, DeviceColumns] = {
    "coral_usb": DeviceColumns("coral_usb_edgetpu"),
    "coral_devboard": DeviceColumns("coral_devboard_edgetpu"),
    "coral_desktop_cpu": DeviceColumns("desktop_cpu_xeon"),
    "coral_devboard_cpu": DeviceColumns("coral_devboard_cpu_a53"),
    "jetson_nano_pytorch": DeviceColumns("jetson_nano", "fp16", "pytorch"),
    "jetson_nano_tensorrt": DeviceColumns("jetson_nano", "fp16", "tensorrt"),
    "pixel1_cpu": DeviceColumns("pixel1_cpu", "fp32"),
    "pixel2_cpu": DeviceColumns("pixel2_cpu", "fp32"),
    "pixel3_cpu_1thread": DeviceColumns("pixel3_cpu", "fp32", "tflite_1_large_core"),
    "pixel3_cpu4": DeviceColumns("pixel3_cpu", "fp32", "tflite_4threads"),
    "pixel3_cpu4_int8": DeviceColumns("pixel3_cpu", "uint8", "tflite_4threads"),
    "pixel3_gpu": DeviceColumns("pixel3_gpu", "fp32"),
    "pixel3_nnapi": DeviceColumns("pixel3_nnapi", "fp32"),
    "pixel3_nnapi_int8": DeviceColumns("pixel3_nnapi", "uint8"),
    "xavier_pytorch": DeviceColumns("jetson_xavier", "fp16", "pytorch"),
    "xavier_tensorrt": DeviceColumns("jetson_xavier", "fp16", "tensorrt"),
}
"""Our devices that are not rows of the table by their own name."""
_SLIM = "tensorflow/models research/slim/nets/mobilenet/README.md, Edge TPU checkpoints"
_XAVIER = "tensorflow/models ... samples/configs/ssdlite_mobiledet_gpu_320x320_coco_sync_4x4.config, TensorRT 7.1"
_MNV4 = "arXiv 2404.10518, table 6"
# Networks of that table, each with its latency in ms on each of these devices, int8; nan: it did not run
_MNV4_DEVICES = ("pixel6_cpu", "pixel8_edgetpu", "pixel4_dsp", "s23_cpu")
_MNV4_ROWS: tuple[tuple[str, dict[str, Any], tuple[float, float, float, float]], ...] = (
    ("mobilenet_v2", {"width": 0.5}, (2.4, 0.7, 2.9, 1.8)),
    ("mobilenetv3_large", {"width": 0.5}, (2.4, 0.8, 3.5, 2.0)),
    ("mobilenet_v2", {}, (5.0, 0.7, 3.9, 4.1)),
    ("mobilenetv4_conv_small", {}, (2.4, 0.7, 2.4, 1.8)),
    ("mobilenet_v1", {}, (6.1, 0.8, 3.2, 4.6)),
    ("mobilenet_v2", {"width": 1.5}, (9.3, 0.9, 5.6, 7.3)),
    ("mobilenet_v2", {"width": 2.0}, (13.9, 1.1, 6.9, 10.6)),
    ("mobilenetv4_conv_medium", {}, (11.4, 1.1, 7.3, 8.6)),
    ("mobilenetv4_conv_large", {}, (59.9, 2.4, 20.8, 43.0)),
)
# Published latencies that the table does not hold: device, network, its options, milliseconds, source
_MORE_LATENCIES: tuple[tuple[str, str, dict[str, Any], float, str], ...] = (
    ("pixel4_edgetpu", "mobilenet_edgetpu", {}, 3.6, _SLIM),
    ("pixel4_edgetpu", "mobilenet_edgetpu", {"width": 0.75}, 3.1, _SLIM),
    ("xavier_tensorrt", "mobiledet_gpu", {"image_size": 320}, 3.2, _XAVIER),
    *(
        (device, network, options, latencies[place], _MNV4)
        for place, device in enumerate(_MNV4_DEVICES)
        for network, options, latencies in _MNV4_ROWS
    ),
)
_FAMILY = re.compile(r"(?:ssdlite_)?(mobilenet_edgetpu(?:_v2)?|mobilenet_?v\d|[a-z]+)")


def family(network: str) -> str:
    """The family of a network's name: ``resnet`` of ``resnet50_v2``, ``mobilenet_v2`` of ``mobilenet_v2_ssd``.

    Networks of one family are left out of a fit together.
    """
    match = _FAMILY.match(network)
    return match[1].replace("mobilenetv", "mobilenet_v") if match else network


def _name(network: str, options: Mapping[str, Any]) -> str:
    return network + "".join(f" {name}={value}" for name, value in options.items())


def _class_scores(graph: Graph) -> int:
    """Class scores of a detector: the elements of its outputs named ``class...``."""
    total = 0
    for name, shape in graph.output_shapes.items():
        if name.startswith("class"):
            channels, height, width = shape
            total += channels * height * width
    return total


def _matches(line: Mapping[str, str], setting: DeviceColumns) -> bool:
    wanted = setting._asdict()
    return all(not value or line.get(column, "") == value for column, value in wanted.items())


def published_latencies(table: Path, device: str) -> list[MeasuredNetwork]:
    """The published latencies of one of our devices for networks that can be built.

    ``table`` is a CSV with the columns source, model, device and latency_ms, and perhaps input, precision and runtime.
    Raises ``HardwareError`` where it cannot be used.
    """
    rows = []
    wanted = DEVICE_COLUMNS.get(device, DeviceColumns(device))
    try:
        with table.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HardwareError(f"cannot read the table of published latencies {str(table)!r}: {error}") from None
    for number, line in enumerate(lines, start=2):
        try:
            if (
                not _matches(line, wanted)
                or line["model"] not in PUBLISHED_NETWORKS
                or (device, line["model"]) in EXCLUDED_LATENCIES
            ):
                continue
            published, latency_ms, source = PUBLISHED_NETWORKS[line["model"]], float(line["latency_ms"]), line["source"]
            size_from_table = (
                {"image_size": int(line["input"])} if published.size_from_table and line.get("input") else {}
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HardwareError(f"{table}:{number}: no measurement: {error!r}") from None
        options = {**published.options, **size_from_table}
        graph = load_network(published.network, **options)
        name = _name(published.network, options)
        host_scores = _class_scores(graph) if published.with_postprocessing else 0
        rows.append(MeasuredNetwork(name, graph, latency_ms, source=source, host_scores=host_scores))
    for row_device, network, options, latency_ms, source in _MORE_LATENCIES:
        if row_device == device:
            graph = load_network(network, **options)
            rows.append(MeasuredNetwork(_name(network, options), graph, latency_ms, source=source))
    return rows
