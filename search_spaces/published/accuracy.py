"""Published accuracies of the named networks, each with where it was read; a network without a row has none here.

Read in the sources named, not reproduced. Papers that could not be read have no figures here: those of ProxylessNAS,
MobileNetV2 to V4 (but for an abstract), MnasNet and EfficientNet; others' trainings of their networks stand instead,
where there are any.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.published.networks import networks
from search_spaces.registry import named_row


@dataclass(frozen=True)
class PublishedResult:
    """One published figure of a network, in per cent.

    ``metric`` says of which data, and of which number format where that is not float. ``resolution`` is the image size
    in pixels, ``None`` where the source does not say. ``backbone_of`` names the detector that has the network as its
    backbone; empty where the figure is the network's own.
    """

    metric: str
    value: float
    source: str
    resolution: int | None = None
    note: str = ""
    backbone_of: str = ""


_TOP1 = "ImageNet top-1"
_TOP1_INT8 = "ImageNet top-1, int8"
_MAP = "COCO mAP"
_MAP_INT8 = "COCO mAP, int8"
_MAP_VAL = "COCO mAP, val"
_MAP_2014 = "COCO mAP, minival 2014"
_MAP_2017 = "COCO mAP, val 2017"

_EDGETPU_README = "tensorflow/models official/projects/edgetpu/vision/README.md @20a23a2a"
_EMO_README = "zhangzjn/EMO README.md"
_EMOV2_README = "zhangzjn/EMOv2 README.md @582a96f"
_FBNET_README = "facebookresearch/mobile-vision mobile_cv/model_zoo/README.md"
_LEYOLO_README = "LilianHollard/LeYOLO README.md @360a205"
_MINDSPORE_README = "mindspore-ai/models research/cv/tinynet/README.md @8a7cedd9"
_MOBILEDET_CONFIG = (
    "tensorflow/models research/object_detection/samples/configs/ssdlite_mobiledet_{}_320x320_coco_sync_4x4.config"
)
_TIMM = "huggingface/pytorch-image-models results/results-imagenet.csv"
_TINYNET_README = "huawei-noah/Efficient-AI-Backbones tinynet_pytorch/readme.md @f90e129"
_ZOO = "tensorflow/models research/object_detection/g3doc/tf1_detection_zoo.md @15762ae3"

_DISTILLED = "distilled"
_LABEL_300 = "the table says 300, the configuration 320"


def _timm(model: str, value: float, resolution: int = 224) -> PublishedResult:
    """A row of timm's table, by its name there: ``tf_`` is for Google's weights, the others were trained by timm."""
    return PublishedResult(_TOP1, value, _TIMM, resolution, model)


def _reevaluated_by_timm(value: float) -> PublishedResult:
    return PublishedResult(_TOP1, value, _TIMM, note="evaluated anew by timm")


def _ssdlite(value: float, source: str, resolution: int | None = None, note: str = "") -> PublishedResult:
    return PublishedResult(_MAP, value, source, resolution, note, backbone_of="SSDLite")


def _retinanet(value: float, source: str) -> PublishedResult:
    return PublishedResult(_MAP, value, source, backbone_of="RetinaNet")


# A network's own figures before those of detectors on it; the designers' before those of others; at the resolution of
# the catalogue before others. Where that leaves several, the best comes first.
PUBLISHED_RESULTS: dict[str, tuple[PublishedResult, ...]] = {
    "efficientnet_b0": (
        _timm("tf_efficientnet_b0.in1k", 76.542),
        _timm("efficientnet_b0.ra_in1k", 77.698),
        PublishedResult(_TOP1, 76.7, _MINDSPORE_README, note="as TinyNet's baseline"),
    ),
    "efficientnet_edgetpu_s": (_timm("efficientnet_es.ra_in1k", 78.1),),
    "efficientnet_lite0": (_timm("efficientnet_lite0.ra_in1k", 75.488),),
    "emo_1m": (
        PublishedResult(_TOP1, 71.5, _EMO_README, 224),
        _ssdlite(22.0, _EMO_README),
        _retinanet(34.4, _EMO_README),
    ),
    "emo_2m": (
        PublishedResult(_TOP1, 75.1, _EMO_README, 224),
        _ssdlite(25.2, _EMO_README),
        _retinanet(36.2, _EMO_README),
    ),
    "emo_5m": (
        PublishedResult(_TOP1, 78.4, _EMO_README, 224),
        _ssdlite(27.9, _EMO_README),
        _retinanet(38.9, _EMO_README),
    ),
    "emo_6m": (PublishedResult(_TOP1, 79.0, _EMO_README, 224),),
    "emov2_1m": (
        PublishedResult(_TOP1, 72.3, _EMOV2_README, 224),
        PublishedResult(_TOP1, 73.5, _EMOV2_README, 224, _DISTILLED),
        _ssdlite(22.3, _EMOV2_README, 320, _LABEL_300),
        _ssdlite(26.6, _EMOV2_README, 512),
        _retinanet(36.9, _EMOV2_README),
    ),
    "emov2_20m": (
        _ssdlite(33.1, _EMOV2_README, 320, _LABEL_300),
        _ssdlite(38.3, _EMOV2_README, 512),
        _retinanet(43.8, _EMOV2_README),
    ),
    "emov2_2m": (
        PublishedResult(_TOP1, 75.8, _EMOV2_README, 224),
        PublishedResult(_TOP1, 76.7, _EMOV2_README, 224, _DISTILLED),
        _ssdlite(26.0, _EMOV2_README, 320, _LABEL_300),
        _ssdlite(30.7, _EMOV2_README, 512),
        _retinanet(39.3, _EMOV2_README),
    ),
    "emov2_5m": (
        PublishedResult(_TOP1, 79.4, _EMOV2_README, 224),
        PublishedResult(_TOP1, 80.9, _EMOV2_README, 224, _DISTILLED),
        PublishedResult(_TOP1, 82.9, _EMOV2_README, 512, "stronger training, distilled"),
        _ssdlite(29.6, _EMOV2_README, 320, _LABEL_300),
        _ssdlite(34.8, _EMOV2_README, 512),
        _retinanet(41.5, _EMOV2_README),
    ),
    "fbnet_a": (PublishedResult(_TOP1, 73.3, _FBNET_README),),
    "fbnet_b": (
        PublishedResult(_TOP1, 74.5, _FBNET_README),
        PublishedResult(_TOP1, 74.1, "arXiv 1812.03443, abstract", note="of 295 M multiply-adds"),
    ),
    "fbnet_c": (PublishedResult(_TOP1, 75.2, _FBNET_README), _timm("fbnetc_100.rmsp_in1k", 75.12)),
    "leyolo_large": (PublishedResult(_MAP_VAL, 41.0, _LEYOLO_README, 768),),
    "leyolo_medium": (PublishedResult(_MAP_VAL, 39.3, _LEYOLO_README, 640),),
    "leyolo_nano": (
        PublishedResult(_MAP_VAL, 31.3, _LEYOLO_README, 480),
        PublishedResult(_MAP_VAL, 25.2, _LEYOLO_README, 320),
    ),
    "leyolo_small": (
        PublishedResult(_MAP_VAL, 38.2, _LEYOLO_README, 640),
        PublishedResult(_MAP_VAL, 35.2, _LEYOLO_README, 480),
    ),
    "mnasnet_a1": (_timm("semnasnet_100.rmsp_in1k", 75.452),),
    "mnasnet_b1": (_timm("mnasnet_100.rmsp_in1k", 74.672),),
    "mnasnet_small": (_timm("mnasnet_small.lamb_in1k", 66.204),),
    "mobiledet_cpu": (
        PublishedResult(_MAP_2017, 23.5, _MOBILEDET_CONFIG.format("cpu"), 320),
        PublishedResult(_MAP_2014, 24.1, _MOBILEDET_CONFIG.format("cpu"), 320),
        PublishedResult(_MAP, 24.0, _ZOO, 320),
    ),
    "mobiledet_dsp": (
        PublishedResult(_MAP_2017, 28.4, _MOBILEDET_CONFIG.format("dsp"), 320),
        PublishedResult(_MAP_2014, 28.9, _MOBILEDET_CONFIG.format("dsp"), 320),
        PublishedResult(_MAP, 28.9, _ZOO, 320),
        PublishedResult(_MAP_INT8, 28.8, _ZOO, 320),
    ),
    "mobiledet_edgetpu": (
        PublishedResult(_MAP_2017, 25.2, _MOBILEDET_CONFIG.format("edgetpu"), 320),
        PublishedResult(_MAP_2014, 26.0, _MOBILEDET_CONFIG.format("edgetpu"), 320),
        PublishedResult(_MAP, 25.9, _ZOO, 320),
        PublishedResult(_MAP_INT8, 25.6, _ZOO, 320),
    ),
    "mobiledet_gpu": (
        PublishedResult(_MAP_2017, 27.5, _MOBILEDET_CONFIG.format("gpu"), 320),
        PublishedResult(_MAP_2014, 28.7, _MOBILEDET_CONFIG.format("gpu"), 320),
    ),
    "mobilenet_edgetpu": (PublishedResult(_TOP1_INT8, 75.6, _EDGETPU_README, note="MobileNetEdgeTPU dm1.0"),),
    "mobilenet_v2": (_timm("mobilenetv2_100.ra_in1k", 72.91),),
    "mobilenetv2": (_timm("mobilenetv2_100.ra_in1k", 72.91), _ssdlite(22.0, _ZOO, 300)),
    "mobilenetv3_large": (
        _timm("tf_mobilenetv3_large_100.in1k", 75.51),
        _timm("mobilenetv3_large_100.ra_in1k", 75.784),
        _ssdlite(22.6, _ZOO, 320, "the last stage at half its width"),
    ),
    "mobilenetv3_small": (
        _timm("tf_mobilenetv3_small_100.in1k", 67.922),
        _ssdlite(15.4, _ZOO, note="the last stage at half its width"),
    ),
    "mobilenetv4_conv_large": (
        _timm("mobilenetv4_conv_large.e600_r384_in1k", 82.974, 384),
        _timm("mobilenetv4_conv_large.e500_r256_in1k", 81.864, 256),
    ),
    "mobilenetv4_conv_medium": (
        _timm("mobilenetv4_conv_medium.e500_r256_in1k", 79.916, 256),
        _timm("mobilenetv4_conv_medium.e500_r224_in1k", 79.092, 224),
    ),
    "mobilenetv4_conv_small": (
        _timm("mobilenetv4_conv_small.e2400_r224_in1k", 73.756, 224),
        _timm("mobilenetv4_conv_small.e1200_r224_in1k", 73.45, 224),
        _timm("mobilenetv4_conv_small.e3600_r256_in1k", 74.534, 256),
    ),
    "mobilenetv4_hybrid_large": (
        _timm("mobilenetv4_hybrid_large.e600_r384_in1k", 83.826, 384),
        PublishedResult(_TOP1, 87.0, "arXiv 2404.10518, abstract", note=_DISTILLED),
    ),
    "mobilenetv4_hybrid_medium": (
        _timm("mobilenetv4_hybrid_medium.ix_e550_r256_in1k", 81.478, 256),
        _timm("mobilenetv4_hybrid_medium.e500_r224_in1k", 80.432, 224),
    ),
    "ssdlite_mobilenet_edgetpu": (PublishedResult(_MAP_INT8, 24.3, _ZOO, 320),),
    "tinynet_a": (PublishedResult(_TOP1, 76.8, _TINYNET_README, 192), _reevaluated_by_timm(77.666)),
    "tinynet_b": (PublishedResult(_TOP1, 75.0, _TINYNET_README, 188), _reevaluated_by_timm(74.946)),
    "tinynet_c": (PublishedResult(_TOP1, 71.2, _TINYNET_README, 184), _reevaluated_by_timm(71.214)),
    "tinynet_d": (PublishedResult(_TOP1, 67.0, _TINYNET_README, 152), _reevaluated_by_timm(66.936)),
    "tinynet_e": (PublishedResult(_TOP1, 59.9, _TINYNET_README, 106), _reevaluated_by_timm(59.874)),
}


def published_results(name: str) -> tuple[PublishedResult, ...]:
    """The published figures of a named network, the one to quote first; none where no source was read.

    Raises ``UnknownName`` for a name that no network has.
    """
    if name not in PUBLISHED_RESULTS:
        named_row("network", name, networks())
    return PUBLISHED_RESULTS.get(name, ())
