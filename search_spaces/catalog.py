"""Spaces and published networks by name: tables of strings, and what turns a name into the thing.

A new space is a file and a row in ``SPACES``; a published network is a row in ``NETWORKS``. Other packages add rows
through the entry-point groups ``nas.spaces`` and ``nas.networks``, whose objects are ``SpaceRow`` and ``NetworkRow``.
Nothing here imports a space before it is asked for.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from search_spaces.graph import Graph
from search_spaces.space import Notation, Space, SpaceError

Row = TypeVar("Row")


@dataclass(frozen=True)
class SpaceRow:
    """One named space: where its function is, what it is in a line, and where its published notation is."""

    function: str
    summary: str
    notation: str | None = None


@dataclass(frozen=True)
class NetworkRow:
    """One published network: an architecture of a space with options, and where both were published."""

    space: str
    architecture: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)


SPACES: dict[str, SpaceRow] = {
    "efficientnet": SpaceRow(
        "search_spaces.efficientnet:efficientnet",
        "EfficientNet: inverted bottlenecks with squeeze-excite under compound scaling (arXiv 1905.11946)",
        notation="search_spaces.efficientnet:NOTATION",
    ),
    "emo": SpaceRow(
        "search_spaces.emo:emo",
        "EMO: inverted residual blocks with attention in remote windows (arXiv 2301.01146)",
        notation="search_spaces.emo:NOTATION",
    ),
    "emov2": SpaceRow(
        "search_spaces.emo:emov2",
        "EMOv2: inverted residual blocks with attention in remote and close windows (arXiv 2412.06674)",
        notation="search_spaces.emo:NOTATION",
    ),
    "fbnet": SpaceRow(
        "search_spaces.fbnet:fbnet",
        "FBNet: one of nine inverted residual blocks for each of 22 layers (arXiv 1812.03443)",
        notation="search_spaces.fbnet:NOTATION",
    ),
    "leyolo": SpaceRow(
        "search_spaces.leyolo:leyolo",
        "LeYOLO: inverted bottlenecks with an FPAN neck and an anchor-free DNiN head (arXiv 2406.14239)",
        notation="search_spaces.leyolo:NOTATION",
    ),
    "mnasnet": SpaceRow(
        "search_spaces.mnasnet:mnasnet",
        "MnasNet: a convolution, kernel, squeeze-excite, skip, width and depth for each of 7 blocks (arXiv 1807.11626)",
        notation="search_spaces.mnasnet:NOTATION",
    ),
    "mobiledet": SpaceRow(
        "search_spaces.mobiledet:mobiledet",
        "MobileDets: inverted bottlenecks, fused and Tucker blocks with an SSDLite head (arXiv 2004.14525)",
        notation="search_spaces.mobiledet:NOTATION",
    ),
    "mobilenetv2": SpaceRow(
        "search_spaces.mobilenetv2:mobilenetv2",
        "MobileNetV2: widths, expansions and depths of the stages of inverted residuals (arXiv 1801.04381)",
        notation="search_spaces.mobilenetv2:NOTATION",
    ),
    "mobilenetv3": SpaceRow(
        "search_spaces.mobilenetv3:mobilenetv3",
        "MobileNetV3: kernels, expansions, squeeze-excite and activations layer by layer (arXiv 1905.02244)",
        notation="search_spaces.mobilenetv3:NOTATION",
    ),
    "mobilenetv4": SpaceRow(
        "search_spaces.mobilenetv4:mobilenetv4",
        "MobileNetV4: universal inverted bottlenecks, with hybrid=True also multi-query attention (arXiv 2404.10518)",
        notation="search_spaces.mobilenetv4:NOTATION",
    ),
    "nasbench101": SpaceRow(
        "search_spaces.nasbench101:nasbench101",
        "NAS-Bench-101: a cell of up to 7 vertices and 9 edges, for small images (arXiv 1902.09635)",
        notation="search_spaces.nasbench101:NOTATION",
    ),
    "nasbench201": SpaceRow(
        "search_spaces.nasbench201:nasbench201",
        "NAS-Bench-201: a cell of 6 edges with 5 operations, for small images (arXiv 2001.00326)",
        notation="search_spaces.nasbench201:NOTATION",
    ),
    "proxylessnas": SpaceRow(
        "search_spaces.proxylessnas:proxylessnas",
        "ProxylessNAS: inverted bottlenecks with a kernel and an expansion for every layer (arXiv 1812.00332)",
        notation="search_spaces.proxylessnas:NOTATION",
    ),
    "tinynet": SpaceRow(
        "search_spaces.tinynet:tinynet",
        "TinyNet: multipliers of EfficientNet-B0's resolution, depth and width (arXiv 2010.14819)",
    ),
}

_MOBILEDET_SOURCE = (
    "tensorflow/models research/object_detection/models/ssd_mobiledet_feature_extractor.py, in this space's notation"
)
_LEYOLO_CONFIGS = "LilianHollard/LeYOLO ultralytics/cfg/cfg"
_SSD_CONFIGS = "tensorflow/models research/object_detection/samples/configs"
_MOBILENETV4_SOURCE = "huggingface/pytorch-image-models timm/models/mobilenetv3.py, _gen_mobilenet_v4"
_EMO_SOURCE = "zhangzjn/EMO model/emo.py"
_EMOV2_SOURCE = "zhangzjn/EMOv2 model/lib_emo/emo2.py"
# The two largest models have stages of their own size; a space of up to 6 M parameters need not.
_EMOV2_LARGE = {
    "depths": ((3, 5), (3, 8), (13, 20), (3, 7)),
    "widths": ((64,), (128,), (320, 384), (448, 512)),
}
_EFFICIENTNET_BLOCKS = (
    "r1_k3_s11_e1_i32_o16_se0.25,r2_k3_s22_e6_i16_o24_se0.25,r2_k5_s22_e6_i24_o40_se0.25,r3_k3_s22_e6_i40_o80_se0.25,"
    "r3_k5_s11_e6_i80_o112_se0.25,r4_k5_s22_e6_i112_o192_se0.25,r1_k3_s11_e6_i192_o320_se0.25"
)
_EFFICIENTNET_EDGETPU_SOURCE = "tensorflow/tpu models/official/efficientnet/edgetpu"
_EFFICIENTNET_LITE_SOURCE = "tensorflow/tpu models/official/efficientnet/lite/efficientnet_lite_builder.py"
_EDGETPU_V2_SOURCE = "tensorflow/models official/projects/edgetpu/vision/modeling/mobilenet_edgetpu_v2_model_blocks.py"
_SLIM_NETS = "tensorflow/models research/slim/nets"
_TINYNET_SOURCE = "huawei-noah/Efficient-AI-Backbones tinynet_pytorch/eval.py"
_FBNET_SOURCE = "facebookresearch/mobile-vision mobile_cv/arch/fbnet_v2/fbnet_modeldef_cls_fbnet.py"
_TIMM_EFFICIENTNET = "huggingface/pytorch-image-models timm/models/efficientnet.py"
_PROXYLESS_SOURCE = "tensorflow/models official/projects/tunas/modeling/mobile_models.py, from arXiv 1812.00332"

NETWORKS: dict[str, NetworkRow] = {
    "emo_1m": NetworkRow(
        "emo",
        "stem_dim=24 depths=2,2,8,3 embed_dims=32,48,80,168 exp_ratios=2,2.5,3,3.5"
        " dw_kss=3,3,5,5 attention=none,none,remote,remote dim_heads=-,-,20,21",
        _EMO_SOURCE,
    ),
    "emo_2m": NetworkRow(
        "emo",
        "stem_dim=24 depths=3,3,9,3 embed_dims=32,48,120,200 exp_ratios=2,2.5,3,3.5"
        " dw_kss=3,3,5,5 attention=none,none,remote,remote dim_heads=-,-,20,20",
        _EMO_SOURCE,
    ),
    "emo_5m": NetworkRow(
        "emo",
        "stem_dim=24 depths=3,3,9,3 embed_dims=48,72,160,288 exp_ratios=2,3,4,4"
        " dw_kss=3,3,5,5 attention=none,none,remote,remote dim_heads=-,-,32,32",
        _EMO_SOURCE,
    ),
    "emo_6m": NetworkRow(
        "emo",
        "stem_dim=24 depths=3,3,9,3 embed_dims=48,72,160,320 exp_ratios=2,3,4,5"
        " dw_kss=3,3,5,5 attention=none,none,remote,remote dim_heads=-,-,20,32",
        _EMO_SOURCE,
    ),
    "emov2_1m": NetworkRow(
        "emov2",
        "depths=2,2,8,3 embed_dims=32,48,80,180 exp_ratios=2,2.5,3,3.5"
        " dw_kss=5,5,5,5 attention=none,none,hybrid,hybrid dim_heads=-,-,20,20",
        _EMOV2_SOURCE,
    ),
    "emov2_20m": NetworkRow(
        "emov2",
        "depths=3,3,13,3 embed_dims=64,128,320,448 exp_ratios=2,3,4,4"
        " dw_kss=5,5,5,5 attention=none,none,hybrid,hybrid dim_heads=-,-,32,32",
        _EMOV2_SOURCE,
        _EMOV2_LARGE,
    ),
    "emov2_2m": NetworkRow(
        "emov2",
        "depths=3,3,9,3 embed_dims=32,48,120,200 exp_ratios=2,2.5,3,3.5"
        " dw_kss=5,5,5,5 attention=none,none,hybrid,hybrid dim_heads=-,-,20,20",
        _EMOV2_SOURCE,
    ),
    "emov2_50m": NetworkRow(
        "emov2",
        "depths=5,8,20,7 embed_dims=64,128,384,512 exp_ratios=2,3,4,4"
        " dw_kss=5,5,5,5 attention=none,none,hybrid,hybrid dim_heads=-,-,32,32",
        _EMOV2_SOURCE,
        _EMOV2_LARGE,
    ),
    "emov2_5m": NetworkRow(
        "emov2",
        "depths=3,3,9,3 embed_dims=48,72,160,288 exp_ratios=2,3,4,4"
        " dw_kss=5,5,5,5 attention=none,none,hybrid,hybrid dim_heads=-,-,32,32",
        _EMOV2_SOURCE,
    ),
    "fbnet_a": NetworkRow(
        "fbnet",
        "skip:k3_e3:k3_e1:skip:skip:k5_e6:k3_e3:k5_e1:k3_e3:k5_e6:k5_e3:k5_e1_g2:k5_e6:"
        "k3_e6:k5_e1_g2:k5_e3:k3_e1_g2:k5_e6:k5_e6:k5_e3:k5_e6:k5_e6",
        _FBNET_SOURCE,
        {"feature_width": 1504},
    ),
    "fbnet_b": NetworkRow(
        "fbnet",
        "k3_e1:k3_e6:k5_e1:k3_e1:k3_e1:k5_e6:k5_e3:k3_e6:k5_e6:k5_e6:k5_e6:skip:k5_e3:"
        "k5_e6:k3_e1:k5_e1:k5_e3:k5_e6:k5_e1:k5_e6:k5_e6:k3_e6",
        _FBNET_SOURCE,
    ),
    "fbnet_c": NetworkRow(
        "fbnet",
        "k3_e1:k3_e6:skip:k3_e1:k3_e1:k5_e6:k5_e3:k5_e6:k3_e6:k5_e6:k5_e3:k5_e6:k5_e6:"
        "k5_e6:k5_e6:k5_e6:k5_e3:k5_e6:k5_e6:k5_e6:k5_e6:k3_e6",
        _FBNET_SOURCE,
    ),
    "mnasnet_a1": NetworkRow(
        "mnasnet",
        "ds_r1_k3_c16_noskip:ir_r2_k3_e6_c24:ir_r3_k5_e3_c40_se0.25:ir_r4_k3_e6_c80:"
        "ir_r2_k3_e6_c112_se0.25:ir_r3_k5_e6_c160_se0.25:ir_r1_k3_e6_c320",
        f"{_TIMM_EFFICIENTNET}, _gen_mnasnet_a1",
        {"base_filters": (16, 24, 40, 80, 112, 160, 320)},
    ),
    "mnasnet_b1": NetworkRow(
        "mnasnet",
        "ds_r1_k3_c16_noskip:ir_r3_k3_e3_c24:ir_r3_k5_e3_c40:ir_r3_k5_e6_c80:"
        "ir_r2_k3_e6_c96:ir_r4_k5_e6_c192:ir_r1_k3_e6_c320_noskip",
        f"{_TIMM_EFFICIENTNET}, _gen_mnasnet_b1",
        {"base_filters": (16, 24, 40, 80, 96, 192, 320)},
    ),
    "mnasnet_small": NetworkRow(
        "mnasnet",
        "ds_r1_k3_c8:ir_r1_k3_e3_c16:ir_r2_k3_e6_c16:ir_r4_k5_e6_c32_se0.25:"
        "ir_r3_k3_e6_c32_se0.25:ir_r3_k5_e6_c88_se0.25:ir_r1_k3_e6_c144",
        f"{_TIMM_EFFICIENTNET}, _gen_mnasnet_small",
        {"stem_filters": 8, "base_filters": (8, 16, 16, 32, 32, 88, 144)},
    ),
    "mobiledet_cpu": NetworkRow(
        "mobiledet",
        "0:0:0:0:12:12:12:0:2:0:0:0:1:3:2:1:0:2:2:2:2:2:2:3:1:1:0:1:2:2:5",
        _MOBILEDET_SOURCE,
        {"target": "cpu"},
    ),
    "mobiledet_dsp": NetworkRow(
        "mobiledet",
        "2:0:2:4:4:0:9:2:6:0:4:4:4:6:0:2:2:4:6:2:2:2:5:0:0:4:11:3:2:4:5",
        _MOBILEDET_SOURCE,
        {"target": "dsp"},
    ),
    "mobiledet_edgetpu": NetworkRow(
        "mobiledet",
        "2:5:1:6:4:6:4:0:7:4:4:4:2:2:2:4:4:2:3:3:2:2:3:3:2:1:2:2:3:6:5",
        "tensorflow/models official/projects/tunas/modeling/mobile_models_test.py",
        {"target": "edgetpu"},
    ),
    "mobiledet_gpu": NetworkRow(
        "mobiledet",
        "2:4:1:6:8:8:8:2:6:6:6:4:3:6:4:4:4:3:6:6:6:6:3:4:4:4:4:3:2:6:5",
        _MOBILEDET_SOURCE,
        # Its widths 64, 128, 128, 128 are no multiples of the published base widths; the paper's for this search are
        # not known. These contain it.
        {"target": "gpu", "base_filters": (32, 16, 32, 64, 128, 128, 128, 192, 192)},
    ),
    "efficientnet_b0": NetworkRow(
        "efficientnet",
        _EFFICIENTNET_BLOCKS,
        "tensorflow/tpu models/official/efficientnet/efficientnet_builder.py",
    ),
    "efficientnet_lite0": NetworkRow(
        "efficientnet",
        _EFFICIENTNET_BLOCKS,
        "tensorflow/tpu models/official/efficientnet/lite/efficientnet_lite_builder.py",
        {"lite": True},
    ),
    "inception_v1": NetworkRow(
        "search_spaces.classics:inception_v1", "{}", "tensorflow/models research/slim/nets/inception_v1.py"
    ),
    "leyolo_large": NetworkRow(
        "leyolo",
        "1.33x16/32:k3e6,k3e3,k3e3/64:k5e3,k5e3,k5e3,k5e3,k5e3,k5e3/96:k5e9,k5e6,k5e6,k5e6,k5e6/4e2:32k3p4,64k5,96k5p4",
        f"{_LEYOLO_CONFIGS}/leyololarge.yaml, in this space's notation",
        {"image_size": 768, "taps": (2, 1, 0)},  # the layers that its Detect row names, the neck's last not among them
    ),
    "leyolo_medium": NetworkRow(
        "leyolo",
        "1.33x16/32:k3e6,k3e3,k3e3/64:k5e3,k5e3,k5e3,k5e3,k5e3,k5e3/96:k5e9,k5e6,k5e6,k5e6,k5e6/4e2:32k3p4,64k5,96k5p4",
        f"{_LEYOLO_CONFIGS}/leyolomedium.yaml, in this space's notation",
        {"taps": (2, 1, 0)},
    ),
    "leyolo_nano": NetworkRow(
        "leyolo",
        "1.0x16/32:k3e6,k3e3/64:k5e3,k5e3,k5e3,k5e3,k5e3/96:k5e9,k5e6,k5e6,k5e6/3e2:32k3p3,64k5,96k5p5",
        f"{_LEYOLO_CONFIGS}/leyolonano.yaml, in this space's notation",
    ),
    "leyolo_small": NetworkRow(
        "leyolo",
        "1.33x16/32:k3e6,k3e3/64:k5e3,k5e3,k5e3,k5e3,k5e3/96:k5e9,k5e6,k5e6,k5e6/3e2:32k3p3,64k5,96k5p5",
        f"{_LEYOLO_CONFIGS}/leyolosmall.yaml, in this space's notation",
    ),
    "mobilenet_edgetpu": NetworkRow(
        "search_spaces.classics:mobilenet_edgetpu",
        "{}",
        "tensorflow/models research/slim/nets/mobilenet/mobilenet_v3.py, V3_EDGETPU",
    ),
    "mobilenet_v1": NetworkRow("search_spaces.classics:mobilenet_v1", "{}", "arXiv 1704.04861"),
    "mobilenet_v1_ssd": NetworkRow(
        "search_spaces.classics:mobilenet_v1_ssd",
        "{}",
        f"{_SSD_CONFIGS}/ssd_mobilenet_v1_quantized_300x300_coco14_sync",
    ),
    "mobilenet_v2": NetworkRow("search_spaces.classics:mobilenet_v2", "{}", "arXiv 1801.04381"),
    "mobilenet_v2_ssd": NetworkRow(
        "search_spaces.classics:mobilenet_v2_ssd", "{}", f"{_SSD_CONFIGS}/ssd_mobilenet_v2_quantized_300x300_coco"
    ),
    "mobilenetv2": NetworkRow(
        "mobilenetv2",
        "32 1,16,1 6,24,2 6,32,3 6,64,4 6,96,3 6,160,3 6,320,1",
        "arXiv 1801.04381, table 2",
    ),
    "mobilenetv3_large": NetworkRow(
        "mobilenetv3",
        "k3_RE:k3_e4_RE:k3_e3_RE:k5_e3_SE_RE:k5_e3_SE_RE:k5_e3_SE_RE:k3_e6_HS:k3_e2.5_HS:k3_e2.3_HS:k3_e2.3_HS:"
        "k3_e6_SE_HS:k3_e6_SE_HS:k5_e6_SE_HS:k5_e6_SE_HS:k5_e6_SE_HS",
        "arXiv 1905.02244, table 1",
    ),
    "mobilenetv3_small": NetworkRow(
        "mobilenetv3",
        "k3_SE_RE:k3_e4.5_RE:k3_e3.67_RE:k5_e4_SE_HS:k5_e6_SE_HS:k5_e6_SE_HS:"
        "k5_e3_SE_HS:k5_e3_SE_HS:k5_e6_SE_HS:k5_e6_SE_HS:k5_e6_SE_HS",
        "arXiv 1905.02244, table 2",
        {"size": "small"},
    ),
    "mobilenetv4_conv_large": NetworkRow(
        "mobilenetv4",
        "stem_c24 | er_r1_k3_s2_e4_c48 | uir_r1_a3_k5_s2_e4_c96 uir_r1_a3_k3_s1_e4_c96 "
        "| uir_r1_a3_k5_s2_e4_c192 uir_r3_a3_k3_s1_e4_c192 uir_r1_a3_k5_s1_e4_c192 uir_r5_a5_k3_s1_e4_c192 "
        "uir_r1_a3_k0_s1_e4_c192 "
        "| uir_r4_a5_k5_s2_e4_c512 uir_r1_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512 uir_r2_a5_k0_s1_e4_c512 "
        "uir_r1_a5_k3_s1_e4_c512 uir_r1_a5_k5_s1_e4_c512 uir_r3_a5_k0_s1_e4_c512 | cn_r1_k1_s1_c960",
        _MOBILENETV4_SOURCE,
        {"image_size": 384},
    ),
    "mobilenetv4_conv_medium": NetworkRow(
        "mobilenetv4",
        "stem_c32 | er_r1_k3_s2_e4_c48 | uir_r1_a3_k5_s2_e4_c80 uir_r1_a3_k3_s1_e2_c80 "
        "| uir_r1_a3_k5_s2_e6_c160 uir_r2_a3_k3_s1_e4_c160 uir_r1_a3_k5_s1_e4_c160 uir_r1_a3_k3_s1_e4_c160 "
        "uir_r1_a3_k0_s1_e4_c160 uir_r1_a0_k0_s1_e2_c160 uir_r1_a3_k0_s1_e4_c160 "
        "| uir_r1_a5_k5_s2_e6_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a3_k5_s1_e4_c256 uir_r1_a0_k0_s1_e4_c256 "
        "uir_r1_a3_k0_s1_e4_c256 uir_r1_a3_k5_s1_e2_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a0_k0_s1_e4_c256 "
        "uir_r1_a5_k0_s1_e2_c256 | cn_r1_k1_s1_c960",
        _MOBILENETV4_SOURCE,
        {"image_size": 256},
    ),
    "mobilenetv4_conv_small": NetworkRow(
        "mobilenetv4",
        "stem_c32 | cn_r1_k3_s2_e1_c32 cn_r1_k1_s1_e1_c32 | cn_r1_k3_s2_e1_c96 cn_r1_k1_s1_e1_c64 "
        "| uir_r1_a5_k5_s2_e3_c96 uir_r4_a0_k3_s1_e2_c96 uir_r1_a3_k0_s1_e4_c96 "
        "| uir_r1_a3_k3_s2_e6_c128 uir_r1_a5_k5_s1_e4_c128 uir_r1_a0_k5_s1_e4_c128 uir_r1_a0_k5_s1_e3_c128 "
        "uir_r2_a0_k3_s1_e4_c128 | cn_r1_k1_s1_c960",
        _MOBILENETV4_SOURCE,
        {"image_size": 224},
    ),
    "mobilenetv4_hybrid_large": NetworkRow(
        "mobilenetv4",
        "stem_c24 | er_r1_k3_s2_e4_c48 | uir_r1_a3_k5_s2_e4_c96 uir_r1_a3_k3_s1_e4_c96 "
        "| uir_r1_a3_k5_s2_e4_c192 uir_r3_a3_k3_s1_e4_c192 uir_r1_a3_k5_s1_e4_c192 uir_r2_a5_k3_s1_e4_c192 "
        "mqa_r1_k3_h8_s1_v2_d48_c192 uir_r1_a5_k3_s1_e4_c192 mqa_r1_k3_h8_s1_v2_d48_c192 "
        "uir_r1_a5_k3_s1_e4_c192 mqa_r1_k3_h8_s1_v2_d48_c192 uir_r1_a5_k3_s1_e4_c192 "
        "mqa_r1_k3_h8_s1_v2_d48_c192 uir_r1_a3_k0_s1_e4_c192 "
        "| uir_r4_a5_k5_s2_e4_c512 uir_r1_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512 uir_r2_a5_k0_s1_e4_c512 "
        "uir_r1_a5_k3_s1_e4_c512 uir_r1_a5_k5_s1_e4_c512 mqa_r1_k3_h8_s1_d64_c512 uir_r1_a5_k0_s1_e4_c512 "
        "mqa_r1_k3_h8_s1_d64_c512 uir_r1_a5_k0_s1_e4_c512 mqa_r1_k3_h8_s1_d64_c512 uir_r1_a5_k0_s1_e4_c512 "
        "mqa_r1_k3_h8_s1_d64_c512 uir_r1_a5_k0_s1_e4_c512 | cn_r1_k1_s1_c960",
        _MOBILENETV4_SOURCE,
        {"image_size": 384, "hybrid": True, "act": "gelu"},
    ),
    "mobilenetv4_hybrid_medium": NetworkRow(
        "mobilenetv4",
        "stem_c32 | er_r1_k3_s2_e4_c48 | uir_r1_a3_k5_s2_e4_c80 uir_r1_a3_k3_s1_e2_c80 "
        "| uir_r1_a3_k5_s2_e6_c160 uir_r1_a0_k0_s1_e2_c160 uir_r1_a3_k3_s1_e4_c160 uir_r1_a3_k5_s1_e4_c160 "
        "mqa_r1_k3_h4_s1_v2_d64_c160 uir_r1_a3_k3_s1_e4_c160 mqa_r1_k3_h4_s1_v2_d64_c160 "
        "uir_r1_a3_k0_s1_e4_c160 mqa_r1_k3_h4_s1_v2_d64_c160 uir_r1_a3_k3_s1_e4_c160 "
        "mqa_r1_k3_h4_s1_v2_d64_c160 uir_r1_a3_k0_s1_e4_c160 "
        "| uir_r1_a5_k5_s2_e6_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a3_k5_s1_e4_c256 uir_r1_a0_k0_s1_e2_c256 "
        "uir_r1_a3_k5_s1_e2_c256 uir_r1_a0_k0_s1_e2_c256 uir_r1_a0_k0_s1_e4_c256 mqa_r1_k3_h4_s1_d64_c256 "
        "uir_r1_a3_k0_s1_e4_c256 mqa_r1_k3_h4_s1_d64_c256 uir_r1_a5_k5_s1_e4_c256 mqa_r1_k3_h4_s1_d64_c256 "
        "uir_r1_a5_k0_s1_e4_c256 mqa_r1_k3_h4_s1_d64_c256 uir_r1_a5_k0_s1_e4_c256 | cn_r1_k1_s1_c960",
        _MOBILENETV4_SOURCE,
        {"image_size": 256, "hybrid": True},
    ),
    "proxyless_cpu": NetworkRow(
        "proxylessnas",
        "0:3:0:0:0:3:0:0:1:3:6:6:0:4:0:0:0:4:1:1:0:4",
        _PROXYLESS_SOURCE,
        {"filters": (40, 24, 32, 48, 88, 104, 216, 360, 1432)},
    ),
    "proxyless_gpu": NetworkRow(
        "proxylessnas",
        "0:1:6:6:6:2:6:6:0:5:6:6:1:4:6:0:1:5:5:5:4:5",
        _PROXYLESS_SOURCE,
        {"filters": (40, 24, 32, 56, 112, 128, 256, 432, 1728)},
    ),
    "proxyless_mobile": NetworkRow(
        "proxylessnas",
        "0:1:0:6:6:2:0:1:1:5:1:1:1:4:1:1:1:5:5:2:2:5",
        _PROXYLESS_SOURCE,
    ),
    "resnet50_v1": NetworkRow("search_spaces.classics:resnet50_v1", "{}", "arXiv 1512.03385"),
    "ssdlite_mobilenet_edgetpu": NetworkRow(
        "search_spaces.classics:ssdlite_mobilenet_edgetpu",
        "{}",
        f"{_SSD_CONFIGS}/ssdlite_mobilenet_edgetpu_320x320_coco",
    ),
    "tinynet_a": NetworkRow("tinynet", '{"resolution": 0.86, "depth": 1.2, "width": 1.0}', _TINYNET_SOURCE),
    "tinynet_b": NetworkRow("tinynet", '{"resolution": 0.84, "depth": 1.1, "width": 0.75}', _TINYNET_SOURCE),
    "tinynet_c": NetworkRow("tinynet", '{"resolution": 0.825, "depth": 0.85, "width": 0.54}', _TINYNET_SOURCE),
    "tinynet_d": NetworkRow("tinynet", '{"resolution": 0.68, "depth": 0.695, "width": 0.54}', _TINYNET_SOURCE),
    "tinynet_e": NetworkRow("tinynet", '{"resolution": 0.475, "depth": 0.6, "width": 0.51}', _TINYNET_SOURCE),
    # networks without choices, as their authors or the named libraries have them
    "alexnet": NetworkRow("search_spaces.classics_plain:alexnet", "{}", "arXiv 1404.5997, as torchvision"),
    "densenet121": NetworkRow("search_spaces.classics_densenet:densenet", "{}", "arXiv 1608.06993", {"depth": 121}),
    "densenet161": NetworkRow("search_spaces.classics_densenet:densenet", "{}", "arXiv 1608.06993", {"depth": 161}),
    "densenet169": NetworkRow("search_spaces.classics_densenet:densenet", "{}", "arXiv 1608.06993", {"depth": 169}),
    "densenet201": NetworkRow("search_spaces.classics_densenet:densenet", "{}", "arXiv 1608.06993", {"depth": 201}),
    "efficientnet_edgetpu_s": NetworkRow(
        "search_spaces.classics:efficientnet_edgetpu", "{}", _EFFICIENTNET_EDGETPU_SOURCE
    ),
    "efficientnet_edgetpu_m": NetworkRow(
        "search_spaces.classics:efficientnet_edgetpu",
        "{}",
        _EFFICIENTNET_EDGETPU_SOURCE,
        {"depth": 1.1, "image_size": 240},
    ),
    "efficientnet_edgetpu_l": NetworkRow(
        "search_spaces.classics:efficientnet_edgetpu",
        "{}",
        _EFFICIENTNET_EDGETPU_SOURCE,
        {"width": 1.2, "depth": 1.4, "image_size": 300},
    ),
    "inception_v2": NetworkRow("search_spaces.classics_inception:inception_v2", "{}", f"{_SLIM_NETS}/inception_v2.py"),
    "inception_v3": NetworkRow("search_spaces.classics_inception:inception_v3", "{}", f"{_SLIM_NETS}/inception_v3.py"),
    "inception_v4": NetworkRow("search_spaces.classics_inception:inception_v4", "{}", f"{_SLIM_NETS}/inception_v4.py"),
    "inception_resnet_v2": NetworkRow(
        "search_spaces.classics_inception:inception_resnet_v2", "{}", f"{_SLIM_NETS}/inception_resnet_v2.py"
    ),
    "mobilenet_edgetpu_v2_tiny": NetworkRow(
        "search_spaces.classics_edgetpu:mobilenet_edgetpu_v2", "{}", _EDGETPU_V2_SOURCE, {"size": "tiny"}
    ),
    "mobilenet_edgetpu_v2_xs": NetworkRow(
        "search_spaces.classics_edgetpu:mobilenet_edgetpu_v2", "{}", _EDGETPU_V2_SOURCE, {"size": "xs"}
    ),
    "mobilenet_edgetpu_v2_s": NetworkRow(
        "search_spaces.classics_edgetpu:mobilenet_edgetpu_v2", "{}", _EDGETPU_V2_SOURCE, {"size": "s"}
    ),
    "mobilenet_edgetpu_v2_m": NetworkRow(
        "search_spaces.classics_edgetpu:mobilenet_edgetpu_v2", "{}", _EDGETPU_V2_SOURCE, {"size": "m"}
    ),
    "mobilenet_edgetpu_v2_l": NetworkRow(
        "search_spaces.classics_edgetpu:mobilenet_edgetpu_v2", "{}", _EDGETPU_V2_SOURCE, {"size": "l"}
    ),
    "mobilenetv3_large_minimal": NetworkRow(
        "search_spaces.classics_mobilenetv3:mobilenet_v3_minimalistic",
        "{}",
        f"{_SLIM_NETS}/mobilenet/mobilenet_v3.py",
        {"size": "large"},
    ),
    "mobilenetv3_small_minimal": NetworkRow(
        "search_spaces.classics_mobilenetv3:mobilenet_v3_minimalistic",
        "{}",
        f"{_SLIM_NETS}/mobilenet/mobilenet_v3.py",
        {"size": "small"},
    ),
    "nasnet_large": NetworkRow(
        "search_spaces.classics_nasnet:nasnet",
        "{}",
        "arXiv 1707.07012, as Keras' NASNetLarge",
        {"size": "large", "image_size": 331},
    ),
    "nasnet_mobile": NetworkRow(
        "search_spaces.classics_nasnet:nasnet", "{}", "arXiv 1707.07012, as Keras' NASNetMobile"
    ),
    "resnet18": NetworkRow(
        "search_spaces.classics_resnet:resnet", "{}", "arXiv 1512.03385, as torchvision", {"depth": 18}
    ),
    "resnet34": NetworkRow(
        "search_spaces.classics_resnet:resnet", "{}", "arXiv 1512.03385, as torchvision", {"depth": 34}
    ),
    "resnet50": NetworkRow(
        "search_spaces.classics_resnet:resnet", "{}", "arXiv 1512.03385, as torchvision", {"depth": 50}
    ),
    "resnet101": NetworkRow(
        "search_spaces.classics_resnet:resnet", "{}", "arXiv 1512.03385, as torchvision", {"depth": 101}
    ),
    "resnet152": NetworkRow(
        "search_spaces.classics_resnet:resnet", "{}", "arXiv 1512.03385, as torchvision", {"depth": 152}
    ),
    "resnet50_v2": NetworkRow(
        "search_spaces.classics_resnet:resnet_v2", "{}", "arXiv 1603.05027, as Keras' ResNet50V2", {"depth": 50}
    ),
    "resnet101_v2": NetworkRow(
        "search_spaces.classics_resnet:resnet_v2", "{}", "arXiv 1603.05027, as Keras' ResNet101V2", {"depth": 101}
    ),
    "resnet152_v2": NetworkRow(
        "search_spaces.classics_resnet:resnet_v2", "{}", "arXiv 1603.05027, as Keras' ResNet152V2", {"depth": 152}
    ),
    "shufflenet_v2_x0_5": NetworkRow(
        "search_spaces.classics_plain:shufflenet_v2", "{}", "arXiv 1807.11164, as torchvision", {"width": "x0.5"}
    ),
    "shufflenet_v2_x1_0": NetworkRow(
        "search_spaces.classics_plain:shufflenet_v2", "{}", "arXiv 1807.11164, as torchvision", {"width": "x1.0"}
    ),
    "shufflenet_v2_x1_5": NetworkRow(
        "search_spaces.classics_plain:shufflenet_v2", "{}", "arXiv 1807.11164, as torchvision", {"width": "x1.5"}
    ),
    "shufflenet_v2_x2_0": NetworkRow(
        "search_spaces.classics_plain:shufflenet_v2", "{}", "arXiv 1807.11164, as torchvision", {"width": "x2.0"}
    ),
    "squeezenet1_0": NetworkRow(
        "search_spaces.classics_plain:squeezenet", "{}", "arXiv 1602.07360, as torchvision", {"version": "1.0"}
    ),
    "squeezenet1_1": NetworkRow(
        "search_spaces.classics_plain:squeezenet", "{}", "arXiv 1602.07360, as torchvision", {"version": "1.1"}
    ),
    "vgg11": NetworkRow("search_spaces.classics_plain:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 11}),
    "vgg11_bn": NetworkRow(
        "search_spaces.classics_plain:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 11, "batch_norm": True}
    ),
    "vgg13": NetworkRow("search_spaces.classics_plain:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 13}),
    "vgg13_bn": NetworkRow(
        "search_spaces.classics_plain:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 13, "batch_norm": True}
    ),
    "vgg16": NetworkRow("search_spaces.classics_plain:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 16}),
    "vgg16_bn": NetworkRow(
        "search_spaces.classics_plain:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 16, "batch_norm": True}
    ),
    "vgg19": NetworkRow("search_spaces.classics_plain:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 19}),
    "vgg19_bn": NetworkRow(
        "search_spaces.classics_plain:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 19, "batch_norm": True}
    ),
    "efficientnet_lite1": NetworkRow(
        "efficientnet",
        _EFFICIENTNET_BLOCKS,
        _EFFICIENTNET_LITE_SOURCE,
        {"lite": True, "width": 1.0, "depth": 1.1, "image_size": 240},
    ),
    "efficientnet_lite2": NetworkRow(
        "efficientnet",
        _EFFICIENTNET_BLOCKS,
        _EFFICIENTNET_LITE_SOURCE,
        {"lite": True, "width": 1.1, "depth": 1.2, "image_size": 260},
    ),
    "efficientnet_lite3": NetworkRow(
        "efficientnet",
        _EFFICIENTNET_BLOCKS,
        _EFFICIENTNET_LITE_SOURCE,
        {"lite": True, "width": 1.2, "depth": 1.4, "image_size": 280},
    ),
    "efficientnet_lite4": NetworkRow(
        "efficientnet",
        _EFFICIENTNET_BLOCKS,
        _EFFICIENTNET_LITE_SOURCE,
        {"lite": True, "width": 1.4, "depth": 1.8, "image_size": 300},
    ),
}


class UnknownName(ValueError):
    """A name that no table has; the message says which names come close."""


def unknown(kind: str, name: str, known: list[str]) -> UnknownName:
    """The error for a name that is not in a table, with a suggestion where one is close."""
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
    return UnknownName(f"no {kind} {name!r}; {hint}")


def table_with_plugins(group: str, table: dict[str, Row], row_type: type[Row]) -> dict[str, Row]:
    """``table`` and the rows that installed packages add through the entry-point group; own rows win."""
    rows = {}
    for point in entry_points(group=group):
        if point.name not in table:
            row = point.load()
            if not isinstance(row, row_type):
                raise UnknownName(
                    f"the entry point {point.value!r} of {group} is {type(row).__name__}, not {row_type.__name__}"
                )
            rows[point.name] = row
    return {**rows, **table}


def named_row(kind: str, name: str, table: dict[str, Row]) -> Row:
    """The row of that name. Raises ``UnknownName`` with a suggestion."""
    row = table.get(name)
    if row is None:
        raise unknown(kind, name, list(table))
    return row


def import_object(path: str) -> Any:
    """The object at ``package.module:name``. Raises ``UnknownName``."""
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise UnknownName(f"{path!r} is not of the form package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UnknownName(f"no module {module_name!r} (in {path!r}); is it installed or on PYTHONPATH?") from None
        raise
    return _attribute(module, attribute, path)


def _attribute(module: Any, attribute: str, path: str) -> Any:
    if not hasattr(module, attribute):
        public = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise UnknownName(f"{path!r}: the module has no {attribute!r}; it defines {', '.join(public) or 'nothing'}")
    return getattr(module, attribute)


def import_file(path: Path, attribute: str) -> Any:
    """The object ``attribute`` of a Python file, which is run. Raises ``UnknownName``."""
    if not path.is_file():
        raise UnknownName(f"no file {str(path)!r}")
    name = "nas_file_" + hashlib.blake2b(str(path.resolve()).encode(), digest_size=8).hexdigest()
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnknownName(f"{str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise SpaceError(f"{path}:{error.lineno}: {error.msg}") from None
    except Exception as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise SpaceError(f"{where}: {type(error).__name__}: {error}") from error
    return _attribute(module, attribute, f"{path}:{attribute}")


def spaces() -> dict[str, SpaceRow]:
    """All named spaces, those of installed plug-ins included."""
    return table_with_plugins("nas.spaces", SPACES, SpaceRow)


def networks() -> dict[str, NetworkRow]:
    """All published networks by name, those of installed plug-ins included."""
    return table_with_plugins("nas.networks", NETWORKS, NetworkRow)


def load_space(space: str | Path | Callable[..., Graph] | Space, **options: Any) -> Space:
    """A space by name, as ``package.module:function``, ``./file.py:function``, a function, or a YAML file.

    What is named may be a ``Space`` too, or a function without parameters that returns one. ``options`` are keyword
    arguments of the space's function. Raises ``UnknownName`` or ``SpaceError``.
    """
    if isinstance(space, Space) or callable(space):
        return _as_space(space, "", options)
    text = str(space)
    if text.endswith((".yaml", ".yml")):
        from search_spaces.yaml_space import load_yaml_space

        return load_yaml_space(Path(text), **options)
    row = spaces().get(text)
    if row is not None:
        notation: Notation | None = import_object(row.notation) if row.notation else None
        return Space(import_object(row.function), text, options, notation)
    location, _, attribute = text.rpartition(":")
    if location.endswith(".py"):
        target = import_file(Path(location), attribute)
    elif text.endswith(".py"):
        raise UnknownName(f"{text!r}: name the function too, as in {text}:my_space")
    elif location:
        target = import_object(text)
    else:
        raise unknown("space", text, list(spaces()))
    if not isinstance(target, Space) and not callable(target):
        raise SpaceError(f"{text!r} is {type(target).__name__}, not a function that makes choices")
    return _as_space(target, attribute, options)


def _as_space(target: Space | Callable[..., Any], name: str, options: dict[str, Any]) -> Space:
    """A space, that of a function that makes choices, or what a function without parameters returns."""
    if not isinstance(target, Space):
        if inspect.signature(target).parameters:
            return Space(target, name, options)
        made = target()
        if not isinstance(made, Space):
            called = name or getattr(target, "__name__", "the function")
            raise SpaceError(
                f"{called}() returned {type(made).__name__}, not a Space; a function that makes choices must take"
                " `choose` as its first argument"
            )
        target = made
    return target.with_options(**options) if options else target


def network_space(name: str, **options: Any) -> tuple[Space, str]:
    """The space of a published network, with the network's options, and its architecture. ``UnknownName``."""
    row = named_row("network", name, networks())
    return load_space(row.space, **{**row.options, **options}), row.architecture


def load_network(name: str, **options: Any) -> Graph:
    """A published network by name, whole, at its published resolution; ``options`` go to its space.

    Raises ``UnknownName``.
    """
    space, architecture = network_space(name, **options)
    return space.graph(space.parse(architecture))
