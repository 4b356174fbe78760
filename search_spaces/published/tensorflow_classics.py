"""Published networks without choices, as the fixed points that latency tables are made of.

Each is a space with one member: ``f(choose, *, image_size, num_classes) -> Graph`` asks ``choose`` for nothing. Shapes,
strides, widths, biases, padding and the constants of normalisation are those of the code that each names: TensorFlow's
SAME padding for the MobileNets, EfficientNets and Inception, zeros on both sides for the ResNets and DenseNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from search_spaces.blocks.heads import SSDLITE_EXTRA_WIDTHS, classifier, ssdlite, ssdlite_anchor_counts
from search_spaces.blocks.mobile import (
    Norm,
    conv_norm_act,
    depthwise_norm_act,
    fused_inverted_bottleneck,
    inverted_bottleneck,
)
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose

# One minus the decay of moving averages: tensorflow/models research/slim/nets (mobilenet_v1.py and inception_utils.py
# 0.9997, mobilenet/mobilenet.py 0.997), tensorflow/tpu efficientnet_builder.py 0.99, and the detectors' own files 0.97.
SLIM_NORM = Norm(eps=1e-3, momentum=0.0003)
SLIM_MOBILENET_NORM = Norm(eps=1e-3, momentum=0.003)
TPU_NORM = Norm(eps=1e-3, momentum=0.01)
DETECTION_NORM = Norm(eps=1e-3, momentum=0.03)
KERAS_NORM = Norm(eps=1.001e-5, momentum=0.01)
TORCH_NORM = Norm(eps=1e-5, momentum=0.1)


def image_input(image_size: int) -> tuple[Builder, Tensor]:
    """A builder and its input: three channels of ``image_size`` squared."""
    b = Builder()
    return b, b.input((3, image_size, image_size))


def _scaled_width(width: int, multiplier: float) -> int:
    """A width under a depth multiplier: a multiple of 8, at least 8, no more than a tenth below the product."""
    rounded = max(8, int(width * multiplier + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width * multiplier else rounded + 8


# -- MobileNets ------------------------------------------------------------------------------------------------------

# (width, stride) of the separable convolutions behind the stem
_MOBILENET_V1 = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


def _mobilenet_v1_features(b: Builder, x: Tensor, norm: Norm, multiplier: float = 1.0) -> tuple[Tensor, Tensor]:
    """The last features at stride 16 and at stride 32."""
    x = conv_norm_act(b.section("stem"), x, max(8, int(32 * multiplier)), 3, 2, norm=norm)
    tap = x
    for layer, (width, stride) in enumerate(_MOBILENET_V1):
        if stride == 2:
            tap = x
        b.section(f"layer{layer}", "separable")
        x = depthwise_norm_act(b.part("depthwise"), x, 3, stride, norm=norm)
        x = conv_norm_act(b.part("project"), x, max(8, int(width * multiplier)), norm=norm)
    return tap, x


def mobilenet_v1(choose: Choose, *, image_size: int = 224, num_classes: int = 1000, width: float = 1.0) -> Graph:
    """MobileNetV1 (arXiv 1704.04861, table 1); ``width`` is its multiplier of every width."""
    b, x = image_input(image_size)
    x = _mobilenet_v1_features(b, x, SLIM_NORM, width)[1]
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


# (expansion, width, layers, stride) of the stages behind the stem (arXiv 1801.04381, table 2)
_MOBILENET_V2 = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


def _mobilenet_v2_features(b: Builder, x: Tensor, norm: Norm, multiplier: float = 1.0) -> tuple[Tensor, Tensor]:
    """The expansion inside the first block at stride 32, which detectors tap at stride 16, and the last features."""
    x = conv_norm_act(b.section("stem"), x, _scaled_width(32, multiplier), 3, 2, norm=norm)
    tap = x
    for number, (expansion, base_width, layers, stride) in enumerate(_MOBILENET_V2, start=1):
        width = _scaled_width(base_width, multiplier)
        for layer in range(layers):
            b.section(f"stage{number}.layer{layer}")
            first_stride = stride if layer == 0 else 1
            if first_stride == 2:
                b.section(f"stage{number}.layer{layer}", "inverted_bottleneck")
                tap = x = conv_norm_act(b.part("expand"), x, x.channels * expansion, norm=norm)
                b.part("")
                x = inverted_bottleneck(b, x, width, expanded=None, stride=2, norm=norm)
            else:
                expanded = None if expansion == 1 else x.channels * expansion
                residual = stride == 1 and x.channels == width if layer == 0 else True
                x = inverted_bottleneck(b, x, width, expanded=expanded, residual=residual, norm=norm)
    return tap, conv_norm_act(b.section("feature"), x, _scaled_width(1280, max(1.0, multiplier)), norm=norm)


def mobilenet_v2(choose: Choose, *, image_size: int = 224, num_classes: int = 1000, width: float = 1.0) -> Graph:
    """MobileNetV2 (arXiv 1801.04381).

    ``width`` is the published depth multiplier; below 1 it leaves the last convolution at 1280, as there.
    """
    b, x = image_input(image_size)
    x = _mobilenet_v2_features(b, x, SLIM_MOBILENET_NORM, width)[1]
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


# (kind, kernel, expansion of the first layer and of the others, width, layers, stride)
_MOBILENET_EDGETPU = (
    ("fused", 3, 8, 4, 32, 4, 2),
    ("fused", 3, 8, 4, 48, 4, 2),
    ("ibn", 3, 8, 4, 96, 4, 2),
    ("ibn", 3, 8, 4, 96, 4, 1),
    ("ibn", 5, 8, 4, 160, 4, 2),
    ("ibn", 3, 8, 8, 192, 1, 1),
)


def _mobilenet_edgetpu_features(b: Builder, x: Tensor, multiplier: float, norm: Norm) -> tuple[Tensor, Tensor]:
    """The expansion inside the first block at stride 32, which detectors tap at stride 16, and the last block."""
    x = conv_norm_act(b.section("stem"), x, _scaled_width(32, multiplier), 3, 2, act="relu", norm=norm)
    # Its first block would expand by 1: only the projection is left of it, and the activation.
    x = tap = conv_norm_act(b.section("stage1.layer0"), x, _scaled_width(16, multiplier), act="relu", norm=norm)
    for number, row in enumerate(_MOBILENET_EDGETPU, start=2):
        kind, kernel, expansion, later_expansion, base_width, layers, stride = row
        width = _scaled_width(base_width, multiplier)
        for layer in range(layers):
            b.section(f"stage{number}.layer{layer}")
            expanded = x.channels * (later_expansion if layer else expansion)
            if kind == "fused":
                x = fused_inverted_bottleneck(
                    b,
                    x,
                    width,
                    expanded=expanded,
                    kernel=kernel,
                    stride=1 if layer else stride,
                    act="relu",
                    residual=layer > 0,
                    norm=norm,
                )
            elif layer == 0:
                b.section(f"stage{number}.layer{layer}", "inverted_bottleneck")
                x = conv_norm_act(b.part("expand"), x, expanded, act="relu", norm=norm)
                b.part("")
                tap = x if stride == 2 else tap
                x = inverted_bottleneck(b, x, width, expanded=None, kernel=kernel, stride=stride, act="relu", norm=norm)
            else:
                x = inverted_bottleneck(
                    b, x, width, expanded=expanded, kernel=kernel, act="relu", residual=True, norm=norm
                )
    return tap, x


def mobilenet_edgetpu(choose: Choose, *, image_size: int = 224, num_classes: int = 1000, width: float = 1.0) -> Graph:
    """MobileNet-EdgeTPU (tensorflow/models research/slim/nets/mobilenet/mobilenet_v3.py, ``V3_EDGETPU``).

    The first block is a projection with a ReLU, as in timm's ``mobilenet_edgetpu_100``; slim's code leaves that out.
    ``width`` is the published depth multiplier; below 1 it leaves the last convolution at 1280, as there.
    """
    b, x = image_input(image_size)
    last = _scaled_width(1280, max(1.0, width))
    x = _mobilenet_edgetpu_features(b, x, width, SLIM_MOBILENET_NORM)[1]
    x = conv_norm_act(b.section("feature"), x, last, act="relu", norm=SLIM_MOBILENET_NORM)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


# (kind, kernel, expansion, width, layers, stride)
_EFFICIENTNET_EDGETPU = (
    *(("fused", 3, 4, 24, 1, 1), ("fused", 3, 8, 32, 2, 2), ("fused", 3, 8, 48, 4, 2)),
    *(("ibn", 5, 8, 96, 5, 2), ("ibn", 5, 8, 144, 4, 1), ("ibn", 5, 8, 192, 2, 2)),
)


def efficientnet_edgetpu(
    choose: Choose, *, image_size: int = 224, num_classes: int = 1000, width: float = 1.0, depth: float = 1.0
) -> Graph:
    """EfficientNet-EdgeTPU (tensorflow/tpu models/official/efficientnet/edgetpu, as timm's ``efficientnet_es``).

    ``width`` and ``depth`` are compound scaling: 1 and 1 at 224 for S, 1 and 1.1 at 240 for M, 1.2 and 1.4 at 300 for
    L. The first block expands a width of 24, not the stem's 32, as there.
    """
    b, x = image_input(image_size)
    x = conv_norm_act(b.section("stem"), x, _scaled_width(32, width), 3, 2, act="relu", norm=TPU_NORM)
    for number, (kind, kernel, expansion, base_width, layers, stride) in enumerate(_EFFICIENTNET_EDGETPU):
        make = fused_inverted_bottleneck if kind == "fused" else inverted_bottleneck
        for layer in range(ceil(layers * depth)):
            # The first block stands alone, without a residual, whatever the depth repeats
            before = x.channels if number or layer else _scaled_width(24, width)
            x = make(
                b.section(f"stage{number + 1}.layer{layer}"),
                x,
                _scaled_width(base_width, width),
                expanded=before * expansion,
                kernel=kernel,
                stride=1 if layer else stride,
                act="relu",
                residual=layer > 0 and number > 0,
                norm=TPU_NORM,
            )
    x = conv_norm_act(b.section("feature"), x, _scaled_width(1280, width), act="relu", norm=TPU_NORM)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


# -- detectors -------------------------------------------------------------------------------------------------------


@block
def _ssd_levels(b: Builder, x: Tensor, extra_widths: tuple[int, ...], norm: Norm) -> tuple[Tensor, ...]:
    levels: list[Tensor] = []
    for width in extra_widths:
        if max(x.shape[1:]) == 1:
            break
        with b.scope(f"level{len(levels)}"):
            x = conv_norm_act(b.part("reduce"), x, width // 2, norm=norm)
            x = conv_norm_act(b.part("expand"), x, width, 3, 2, norm=norm)
        levels.append(x)
    return tuple(levels)


def _ssd(b: Builder, features: Sequence[Tensor], num_classes: int, norm: Norm) -> dict[str, Tensor]:
    """The SSD head of the quantised samples: full 3x3 convolutions between levels, 1x1 predictors with bias."""
    levels = [*features, *_ssd_levels(b.section("head", "ssd"), features[-1], SSDLITE_EXTRA_WIDTHS, norm)]
    outputs = {}
    for i, (level, anchors) in enumerate(zip(levels, ssdlite_anchor_counts(len(levels)), strict=True)):
        outputs[f"box{i}"] = b.part(f"box{i}").conv(level, anchors * 4, bias=True)
        outputs[f"class{i}"] = b.part(f"class{i}").conv(level, anchors * (num_classes + 1), bias=True)
    return outputs


def mobilenet_v1_ssd(choose: Choose, *, image_size: int = 300, num_classes: int = 90) -> Graph:
    """SSD on MobileNetV1 (tensorflow/models ... samples/configs/ssd_mobilenet_v1_quantized_300x300_coco14_sync.config).

    Post-processing (box decoding, sigmoid, non-maximum suppression) is no part of the graph.
    """
    b, x = image_input(image_size)
    return b.build(_ssd(b, _mobilenet_v1_features(b, x, DETECTION_NORM), num_classes, DETECTION_NORM))


def mobilenet_v2_ssd(choose: Choose, *, image_size: int = 300, num_classes: int = 90) -> Graph:
    """SSD on MobileNetV2 (tensorflow/models ... samples/configs/ssd_mobilenet_v2_quantized_300x300_coco.config).

    Post-processing (box decoding, sigmoid, non-maximum suppression) is no part of the graph.
    """
    b, x = image_input(image_size)
    return b.build(_ssd(b, _mobilenet_v2_features(b, x, SLIM_NORM), num_classes, SLIM_NORM))


def ssdlite_mobilenet_edgetpu(choose: Choose, *, image_size: int = 320, num_classes: int = 90) -> Graph:
    """SSDLite on MobileNet-EdgeTPU (tensorflow/models ... ssdlite_mobilenet_edgetpu_320x320_coco.config)."""
    b, x = image_input(image_size)
    features = _mobilenet_edgetpu_features(b, x, 1.0, DETECTION_NORM)
    return b.build(ssdlite(b.section("head"), features, num_classes=num_classes))


# -- networks of the data centre -------------------------------------------------------------------------------------


@block
def _inception(b: Builder, x: Tensor, widths: tuple[int, int, int, int, int, int]) -> Tensor:
    """Inception block: 1x1; 1x1, 3x3; 1x1, 3x3 (the paper's 5x5); max pooling, 1x1."""
    one, reduce_a, a, reduce_b, c, pooled = widths
    branches = [conv_norm_act(b.part("branch0"), x, one, act="relu", norm=SLIM_NORM)]
    for number, (reduced, width) in enumerate(((reduce_a, a), (reduce_b, c)), start=1):
        y = conv_norm_act(b.part(f"branch{number}/reduce"), x, reduced, act="relu", norm=SLIM_NORM)
        branches.append(conv_norm_act(b.part(f"branch{number}/convolve"), y, width, 3, act="relu", norm=SLIM_NORM))
    y = b.part("branch3").pool(x, "max", 3)
    branches.append(conv_norm_act(b, y, pooled, act="relu", norm=SLIM_NORM))
    return b.part("").concat(branches)


_INCEPTION_V1: tuple[tuple[int, tuple[tuple[int, int, int, int, int, int], ...]], ...] = (
    # kernel of the stride-2 pooling before the blocks, the blocks
    (3, ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64))),
    (
        3,
        (
            (192, 96, 208, 16, 48, 64),
            (160, 112, 224, 24, 64, 64),
            (128, 128, 256, 24, 64, 64),
            (112, 144, 288, 32, 64, 64),
            (256, 160, 320, 32, 128, 128),
        ),
    ),
    (2, ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128))),
)


def inception_v1(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """Inception v1 with batch normalisation (tensorflow/models research/slim/nets/inception_v1.py).

    Normalisation has a scale as well as a shift, as torchvision's GoogLeNet; slim leaves the scale out.
    """
    b, x = image_input(image_size)
    x = conv_norm_act(b.section("stem"), x, 64, 7, 2, act="relu", norm=SLIM_NORM)
    x = conv_norm_act(b.section("stem.layer1"), b.pool(x, "max", 3, 2), 64, act="relu", norm=SLIM_NORM)
    x = conv_norm_act(b.section("stem.layer2"), x, 192, 3, act="relu", norm=SLIM_NORM)
    for stage, (kernel, widths) in enumerate(_INCEPTION_V1, start=1):
        x = b.section(f"stage{stage}.pool").pool(x, "max", kernel, 2)
        for layer, row in enumerate(widths):
            x = _inception(b.section(f"stage{stage}.layer{layer}"), x, row)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


def conv_norm(b: Builder, x: Tensor, width: int, kernel: int, stride: int, act: str, norm: Norm) -> Tensor:
    """Convolution padded with half its kernel on every side, normalisation, activation."""
    y = b.conv(x, width, kernel, stride, padding=kernel // 2)
    return b.act(b.norm(y, eps=norm.eps, momentum=norm.momentum), act)


@block
def _residual_bottleneck_v1(b: Builder, x: Tensor, width: int, stride: int, shortcut: bool) -> Tensor:
    y = conv_norm(b.part("conv1"), x, width, 1, stride, "relu", TORCH_NORM)
    y = conv_norm(b.part("conv2"), y, width, 3, 1, "relu", TORCH_NORM)
    y = conv_norm(b.part("conv3"), y, 4 * width, 1, 1, "identity", TORCH_NORM)
    b.part("shortcut")
    shortcut_branch = conv_norm(b, x, 4 * width, 1, stride, "identity", TORCH_NORM) if shortcut else x
    b.part("")
    return b.act(b.add(shortcut_branch, y), "relu")


def resnet50_v1(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """ResNet-50 (arXiv 1512.03385): as there, a stage's stride is in its first 1x1 convolution.

    Padding and constants are torchvision's, which has the strides in the 3x3 convolutions.
    """
    b, x = image_input(image_size)
    x = conv_norm(b.section("stem", "stem"), x, 64, 7, 2, "relu", TORCH_NORM)
    x = b.pool(x, "max", 3, 2, padding=1)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for layer in range(blocks):
            b.section(f"stage{stage + 1}.layer{layer}")
            x = _residual_bottleneck_v1(b, x, 64 << stage, 2 if stage and not layer else 1, layer == 0)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


def norm_relu(b: Builder, x: Tensor, norm: Norm) -> Tensor:
    """Normalisation and ReLU."""
    return b.act(b.norm(x, eps=norm.eps, momentum=norm.momentum), "relu")
