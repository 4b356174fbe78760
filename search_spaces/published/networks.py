"""Published networks by name: an architecture of a space with options, and where both were published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.registry import table_with_plugins


@dataclass(frozen=True)
class NetworkRow:
    """One published network: an architecture of a space with options, and where both were published."""

    space: str
    architecture: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)


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
        "search_spaces.published.tensorflow_classics:inception_v1",
        "{}",
        "tensorflow/models research/slim/nets/inception_v1.py",
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
        "search_spaces.published.tensorflow_classics:mobilenet_edgetpu",
        "{}",
        "tensorflow/models research/slim/nets/mobilenet/mobilenet_v3.py, V3_EDGETPU",
    ),
    "mobilenet_v1": NetworkRow("search_spaces.published.tensorflow_classics:mobilenet_v1", "{}", "arXiv 1704.04861"),
    "mobilenet_v1_ssd": NetworkRow(
        "search_spaces.published.tensorflow_classics:mobilenet_v1_ssd",
        "{}",
        f"{_SSD_CONFIGS}/ssd_mobilenet_v1_quantized_300x300_coco14_sync",
    ),
    "mobilenet_v2": NetworkRow("search_spaces.published.tensorflow_classics:mobilenet_v2", "{}", "arXiv 1801.04381"),
    "mobilenet_v2_ssd": NetworkRow(
        "search_spaces.published.tensorflow_classics:mobilenet_v2_ssd",
        "{}",
        f"{_SSD_CONFIGS}/ssd_mobilenet_v2_quantized_300x300_coco",
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
    "resnet50_v1": NetworkRow("search_spaces.published.tensorflow_classics:resnet50_v1", "{}", "arXiv 1512.03385"),
    "ssdlite_mobilenet_edgetpu": NetworkRow(
        "search_spaces.published.tensorflow_classics:ssdlite_mobilenet_edgetpu",
        "{}",
        f"{_SSD_CONFIGS}/ssdlite_mobilenet_edgetpu_320x320_coco",
    ),
    "tinynet_a": NetworkRow("tinynet", '{"resolution": 0.86, "depth": 1.2, "width": 1.0}', _TINYNET_SOURCE),
    "tinynet_b": NetworkRow("tinynet", '{"resolution": 0.84, "depth": 1.1, "width": 0.75}', _TINYNET_SOURCE),
    "tinynet_c": NetworkRow("tinynet", '{"resolution": 0.825, "depth": 0.85, "width": 0.54}', _TINYNET_SOURCE),
    "tinynet_d": NetworkRow("tinynet", '{"resolution": 0.68, "depth": 0.695, "width": 0.54}', _TINYNET_SOURCE),
    "tinynet_e": NetworkRow("tinynet", '{"resolution": 0.475, "depth": 0.6, "width": 0.51}', _TINYNET_SOURCE),
    # networks without choices, as their authors or the named libraries have them
    "alexnet": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:alexnet", "{}", "arXiv 1404.5997, as torchvision"
    ),
    "densenet121": NetworkRow("search_spaces.published.densenet:densenet", "{}", "arXiv 1608.06993", {"depth": 121}),
    "densenet161": NetworkRow("search_spaces.published.densenet:densenet", "{}", "arXiv 1608.06993", {"depth": 161}),
    "densenet169": NetworkRow("search_spaces.published.densenet:densenet", "{}", "arXiv 1608.06993", {"depth": 169}),
    "densenet201": NetworkRow("search_spaces.published.densenet:densenet", "{}", "arXiv 1608.06993", {"depth": 201}),
    "efficientnet_edgetpu_s": NetworkRow(
        "search_spaces.published.tensorflow_classics:efficientnet_edgetpu", "{}", _EFFICIENTNET_EDGETPU_SOURCE
    ),
    "efficientnet_edgetpu_m": NetworkRow(
        "search_spaces.published.tensorflow_classics:efficientnet_edgetpu",
        "{}",
        _EFFICIENTNET_EDGETPU_SOURCE,
        {"depth": 1.1, "image_size": 240},
    ),
    "efficientnet_edgetpu_l": NetworkRow(
        "search_spaces.published.tensorflow_classics:efficientnet_edgetpu",
        "{}",
        _EFFICIENTNET_EDGETPU_SOURCE,
        {"width": 1.2, "depth": 1.4, "image_size": 300},
    ),
    "inception_v2": NetworkRow("search_spaces.published.inception:inception_v2", "{}", f"{_SLIM_NETS}/inception_v2.py"),
    "inception_v3": NetworkRow("search_spaces.published.inception:inception_v3", "{}", f"{_SLIM_NETS}/inception_v3.py"),
    "inception_v4": NetworkRow("search_spaces.published.inception:inception_v4", "{}", f"{_SLIM_NETS}/inception_v4.py"),
    "inception_resnet_v2": NetworkRow(
        "search_spaces.published.inception:inception_resnet_v2", "{}", f"{_SLIM_NETS}/inception_resnet_v2.py"
    ),
    "mobilenet_edgetpu_v2_tiny": NetworkRow(
        "search_spaces.published.mobilenet_edgetpu_v2:mobilenet_edgetpu_v2", "{}", _EDGETPU_V2_SOURCE, {"size": "tiny"}
    ),
    "mobilenet_edgetpu_v2_xs": NetworkRow(
        "search_spaces.published.mobilenet_edgetpu_v2:mobilenet_edgetpu_v2", "{}", _EDGETPU_V2_SOURCE, {"size": "xs"}
    ),
    "mobilenet_edgetpu_v2_s": NetworkRow(
        "search_spaces.published.mobilenet_edgetpu_v2:mobilenet_edgetpu_v2", "{}", _EDGETPU_V2_SOURCE, {"size": "s"}
    ),
    "mobilenet_edgetpu_v2_m": NetworkRow(
        "search_spaces.published.mobilenet_edgetpu_v2:mobilenet_edgetpu_v2", "{}", _EDGETPU_V2_SOURCE, {"size": "m"}
    ),
    "mobilenet_edgetpu_v2_l": NetworkRow(
        "search_spaces.published.mobilenet_edgetpu_v2:mobilenet_edgetpu_v2", "{}", _EDGETPU_V2_SOURCE, {"size": "l"}
    ),
    "mobilenetv3_large_minimal": NetworkRow(
        "search_spaces.published.mobilenetv3_minimalistic:mobilenet_v3_minimalistic",
        "{}",
        f"{_SLIM_NETS}/mobilenet/mobilenet_v3.py",
        {"size": "large"},
    ),
    "mobilenetv3_small_minimal": NetworkRow(
        "search_spaces.published.mobilenetv3_minimalistic:mobilenet_v3_minimalistic",
        "{}",
        f"{_SLIM_NETS}/mobilenet/mobilenet_v3.py",
        {"size": "small"},
    ),
    "nasnet_large": NetworkRow(
        "search_spaces.published.nasnet:nasnet",
        "{}",
        "arXiv 1707.07012, as Keras' NASNetLarge",
        {"size": "large", "image_size": 331},
    ),
    "nasnet_mobile": NetworkRow(
        "search_spaces.published.nasnet:nasnet", "{}", "arXiv 1707.07012, as Keras' NASNetMobile"
    ),
    "resnet18": NetworkRow(
        "search_spaces.published.resnet:resnet", "{}", "arXiv 1512.03385, as torchvision", {"depth": 18}
    ),
    "resnet34": NetworkRow(
        "search_spaces.published.resnet:resnet", "{}", "arXiv 1512.03385, as torchvision", {"depth": 34}
    ),
    "resnet50": NetworkRow(
        "search_spaces.published.resnet:resnet", "{}", "arXiv 1512.03385, as torchvision", {"depth": 50}
    ),
    "resnet101": NetworkRow(
        "search_spaces.published.resnet:resnet", "{}", "arXiv 1512.03385, as torchvision", {"depth": 101}
    ),
    "resnet152": NetworkRow(
        "search_spaces.published.resnet:resnet", "{}", "arXiv 1512.03385, as torchvision", {"depth": 152}
    ),
    "resnet50_v2": NetworkRow(
        "search_spaces.published.resnet:resnet_v2", "{}", "arXiv 1603.05027, as Keras' ResNet50V2", {"depth": 50}
    ),
    "resnet101_v2": NetworkRow(
        "search_spaces.published.resnet:resnet_v2", "{}", "arXiv 1603.05027, as Keras' ResNet101V2", {"depth": 101}
    ),
    "resnet152_v2": NetworkRow(
        "search_spaces.published.resnet:resnet_v2", "{}", "arXiv 1603.05027, as Keras' ResNet152V2", {"depth": 152}
    ),
    "shufflenet_v2_x0_5": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:shufflenet_v2",
        "{}",
        "arXiv 1807.11164, as torchvision",
        {"width": "x0.5"},
    ),
    "shufflenet_v2_x1_0": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:shufflenet_v2",
        "{}",
        "arXiv 1807.11164, as torchvision",
        {"width": "x1.0"},
    ),
    "shufflenet_v2_x1_5": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:shufflenet_v2",
        "{}",
        "arXiv 1807.11164, as torchvision",
        {"width": "x1.5"},
    ),
    "shufflenet_v2_x2_0": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:shufflenet_v2",
        "{}",
        "arXiv 1807.11164, as torchvision",
        {"width": "x2.0"},
    ),
    "squeezenet1_0": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:squeezenet",
        "{}",
        "arXiv 1602.07360, as torchvision",
        {"version": "1.0"},
    ),
    "squeezenet1_1": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:squeezenet",
        "{}",
        "arXiv 1602.07360, as torchvision",
        {"version": "1.1"},
    ),
    "vgg11": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 11}
    ),
    "vgg11_bn": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:vgg",
        "{}",
        "arXiv 1409.1556, as torchvision",
        {"depth": 11, "batch_norm": True},
    ),
    "vgg13": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 13}
    ),
    "vgg13_bn": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:vgg",
        "{}",
        "arXiv 1409.1556, as torchvision",
        {"depth": 13, "batch_norm": True},
    ),
    "vgg16": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 16}
    ),
    "vgg16_bn": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:vgg",
        "{}",
        "arXiv 1409.1556, as torchvision",
        {"depth": 16, "batch_norm": True},
    ),
    "vgg19": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:vgg", "{}", "arXiv 1409.1556, as torchvision", {"depth": 19}
    ),
    "vgg19_bn": NetworkRow(
        "search_spaces.published.vgg_squeezenet_shufflenet:vgg",
        "{}",
        "arXiv 1409.1556, as torchvision",
        {"depth": 19, "batch_norm": True},
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


def networks() -> dict[str, NetworkRow]:
    """All published networks by name, those of installed plug-ins included."""
    return table_with_plugins("nas.networks", NETWORKS, NetworkRow)
