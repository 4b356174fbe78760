"""Measured latencies as rows for fitting and comparing, and the reader of the table of published ones."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hardware_models.device_file import HardwareError
from search_spaces.catalog import load_network
from search_spaces.graph import Graph


@dataclass(frozen=True)
class Row:
    """One measurement: a network's name, its graph, and its latency at batch 1.

    ``host_scores`` is how many class scores a detector's post-processing on the host, which no graph contains, went
    through within that latency; 0 where it was not measured with it.
    """

    network: str
    graph: Graph
    latency_ms: float
    source: str
    host_scores: int = 0


class Published(NamedTuple):
    """Which network a name in the table means, and the options that make it the one that was measured."""

    network: str
    options: Mapping[str, Any] = {}
    postprocessed: bool = False


# The table's detectors on Coral are those of its model zoo, which take 300x300 and end in post-processing on the host
# (coral.ai/models/object-detection); its column `input` holds the page's 224, which no such model exists for.
# EfficientNet-EdgeTPU-S has no size there; the model is defined for 224.
PUBLISHED: dict[str, Published] = {
    "densenet": Published("densenet121", {"image_size": 224}),
    "efficientnet_edgetpu_s": Published("efficientnet_edgetpu_s", {"image_size": 224}),
    "inception_v1": Published("inception_v1", {"image_size": 224}),
    "mobilenet_v1": Published("mobilenet_v1", {"image_size": 224}),
    "mobilenet_v2": Published("mobilenet_v2", {"image_size": 224}),
    "mobilenet_v1_ssd": Published("mobilenet_v1_ssd", {"image_size": 300}, postprocessed=True),
    "mobilenet_v2_ssd": Published("mobilenet_v2_ssd", {"image_size": 300}, postprocessed=True),
    "resnet50_v1": Published("resnet50_v1", {"image_size": 299}),
    "resnet50_v2": Published("resnet50_v2", {"image_size": 299}),
    "resnet152_v2": Published("resnet152_v2", {"image_size": 299}),
    "ssd_mobiledet_edgetpu_coco": Published("mobiledet_edgetpu", {"image_size": 320}),
    "ssd_mobilenet_edgetpu_coco": Published("ssdlite_mobilenet_edgetpu", {"image_size": 320}),
}
NOT_BUILT: dict[str, str] = {
    "unet_mv2": "its decoder needs transposed convolutions, which graphs do not have",
    "deeplab_v3": "the table does not say which depth multiplier and output stride were measured",
}
# What the table calls our devices
_DEVICES = {
    "coral_usb": "coral_usb_edgetpu",
    "coral_devboard": "coral_devboard_edgetpu",
    "pixel4_edgetpu": "pixel4_edgetpu",
}
_SLIM = "tensorflow/models research/slim/nets/mobilenet/README.md, Edge TPU checkpoints"
# Published latencies that the table does not hold: device, network, its options, milliseconds, source
_ALSO_PUBLISHED: tuple[tuple[str, str, dict[str, Any], float, str], ...] = (
    ("pixel4_edgetpu", "mobilenet_edgetpu", {}, 3.6, _SLIM),
    ("pixel4_edgetpu", "mobilenet_edgetpu", {"width": 0.75}, 3.1, _SLIM),
)


def _name(network: str, options: Mapping[str, Any]) -> str:
    return network + "".join(f" {name}={value}" for name, value in options.items())


def _scores(graph: Graph) -> int:
    """Class scores of a detector: the elements of its outputs named ``class...``."""
    total = 0
    for name, shape in graph.output_shapes.items():
        if name.startswith("class"):
            channels, height, width = shape
            total += channels * height * width
    return total


def published_rows(table: Path, device: str) -> list[Row]:
    """The published latencies of one of our devices for networks that can be built.

    ``table`` is a CSV with the columns source, model, device and latency_ms. Raises ``HardwareError`` where it cannot
    be used.
    """
    rows = []
    wanted = _DEVICES.get(device, device)
    try:
        with table.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HardwareError(f"cannot read the table of published latencies {str(table)!r}: {error}") from None
    for number, line in enumerate(lines, start=2):
        try:
            if line["device"] != wanted or line["model"] not in PUBLISHED:
                continue
            published, latency_ms, source = PUBLISHED[line["model"]], float(line["latency_ms"]), line["source"]
        except (KeyError, TypeError, ValueError) as error:
            raise HardwareError(f"{table}:{number}: no measurement: {error!r}") from None
        graph = load_network(published.network, **published.options)
        name = _name(published.network, published.options)
        rows.append(Row(name, graph, latency_ms, source, _scores(graph) if published.postprocessed else 0))
    for place, network, options, latency_ms, source in _ALSO_PUBLISHED:
        if place == device:
            rows.append(Row(_name(network, options), load_network(network, **options), latency_ms, source))
    return rows
