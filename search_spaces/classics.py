"""Published networks without choices, as the fixed points that latency tables are made of.

Each is a space with one member: ``f(choose, *, image_size, num_classes) -> Graph`` asks ``choose`` for nothing. What
decides their cost is exact (shapes, strides, widths, biases); their normalisation constants are TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.blocks import (
    Norm,
    conv_norm_act,
    depthwise_norm_act,
    fused_inverted_bottleneck,
    inverted_bottleneck,
)
from search_spaces.builder import Builder, Tensor, block
from search_spaces.graph import Graph
from search_spaces.heads import SSDLITE_EXTRA_WIDTHS, classifier, ssdlite, ssdlite_anchor_counts
from search_spaces.space import Choose

NORM = Norm(eps=1e-3, momentum=0.01)


def _start(image_size: int) -> tuple[Builder, Tensor]:
    b = Builder()
    return b, b.input((3, image_size, image_size))


# -- MobileNets ------------------------------------------------------------------------------------------------------

# (width, stride) of the separable convolutions behind the stem
_MOBILENET_V1 = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


def _mobilenet_v1_features(b: Builder, x: Tensor) -> tuple[Tensor, Tensor]:
    """The last features at stride 16 and at stride 32."""
    x = conv_norm_act(b, x, 32, 3, 2, norm=NORM)
    tap = x
    for width, stride in _MOBILENET_V1:
        if stride == 2:
            tap = x
        x = depthwise_norm_act(b, x, 3, stride, norm=NORM)
        x = conv_norm_act(b, x, width, norm=NORM)
    return tap, x


def mobilenet_v1(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """MobileNetV1 1.0 (arXiv 1704.04861, table 1)."""
    b, x = _start(image_size)
    return b.build({"logits": classifier(b, _mobilenet_v1_features(b, x)[1], num_classes)})


# (expansion, width, layers, stride) of the stages behind the stem (arXiv 1801.04381, table 2)
_MOBILENET_V2 = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


def _mobilenet_v2_features(b: Builder, x: Tensor) -> tuple[Tensor, Tensor]:
    """The expansion inside the first block at stride 32, which detectors tap at stride 16, and the last features."""
    x = conv_norm_act(b, x, 32, 3, 2, norm=NORM)
    tap = x
    for expansion, width, layers, stride in _MOBILENET_V2:
        for layer in range(layers):
            first_stride = stride if layer == 0 else 1
            if first_stride == 2:
                tap = x = conv_norm_act(b, x, x.channels * expansion, norm=NORM)
                x = inverted_bottleneck(b, x, width, expanded=None, stride=2, norm=NORM)
            else:
                expanded = None if expansion == 1 else x.channels * expansion
                x = inverted_bottleneck(b, x, width, expanded=expanded, residual=layer > 0, norm=NORM)
    return tap, conv_norm_act(b, x, 1280, norm=NORM)


def mobilenet_v2(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """MobileNetV2 1.0 (arXiv 1801.04381)."""
    b, x = _start(image_size)
    return b.build({"logits": classifier(b, _mobilenet_v2_features(b, x)[1], num_classes)})


# (kind, kernel, expansion of the first layer and of the others, width, layers, stride)
_MOBILENET_EDGETPU = (
    ("fused", 3, 8, 4, 32, 4, 2),
    ("fused", 3, 8, 4, 48, 4, 2),
    ("ibn", 3, 8, 4, 96, 4, 2),
    ("ibn", 3, 8, 4, 96, 4, 1),
    ("ibn", 5, 8, 4, 160, 4, 2),
    ("ibn", 3, 8, 8, 192, 1, 1),
)


def _scaled(width: int, multiplier: float) -> int:
    """A width under a depth multiplier: a multiple of 8, at least 8, no more than a tenth below the product."""
    rounded = max(8, int(width * multiplier + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width * multiplier else rounded + 8


def _mobilenet_edgetpu_features(b: Builder, x: Tensor, multiplier: float) -> tuple[Tensor, Tensor]:
    """The expansion inside the first block at stride 32, which detectors tap at stride 16, and the last block."""
    x = conv_norm_act(b, x, _scaled(32, multiplier), 3, 2, act="relu", norm=NORM)
    x = tap = conv_norm_act(b, x, _scaled(16, multiplier), act="relu", norm=NORM)
    for kind, kernel, expansion, rest, base_width, layers, stride in _MOBILENET_EDGETPU:
        width = _scaled(base_width, multiplier)
        for layer in range(layers):
            expanded = x.channels * (rest if layer else expansion)
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
                    norm=NORM,
                )
            elif layer == 0:
                x = conv_norm_act(b, x, expanded, act="relu", norm=NORM)
                tap = x if stride == 2 else tap
                x = inverted_bottleneck(b, x, width, expanded=None, kernel=kernel, stride=stride, act="relu", norm=NORM)
            else:
                x = inverted_bottleneck(
                    b, x, width, expanded=expanded, kernel=kernel, act="relu", residual=True, norm=NORM
                )
    return tap, x


def mobilenet_edgetpu(choose: Choose, *, image_size: int = 224, num_classes: int = 1000, width: float = 1.0) -> Graph:
    """MobileNet-EdgeTPU (tensorflow/models research/slim/nets/mobilenet/mobilenet_v3.py, ``V3_EDGETPU``).

    ``width`` is the published depth multiplier; below 1 it leaves the last convolution at 1280, as there.
    """
    b, x = _start(image_size)
    last = _scaled(1280, max(1.0, width))
    x = conv_norm_act(b, _mobilenet_edgetpu_features(b, x, width)[1], last, act="relu", norm=NORM)
    return b.build({"logits": classifier(b, x, num_classes)})


# (kind, kernel, expansion, width, layers, stride)
_EFFICIENTNET_EDGETPU_S = (
    *(("fused", 3, 3, 24, 1, 1), ("fused", 3, 8, 32, 2, 2), ("fused", 3, 8, 48, 4, 2)),
    *(("ibn", 5, 8, 96, 5, 2), ("ibn", 5, 8, 144, 4, 1), ("ibn", 5, 8, 192, 2, 2)),
)


def efficientnet_edgetpu_s(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """EfficientNet-EdgeTPU-S (tensorflow/tpu models/official/efficientnet/edgetpu, as timm's ``efficientnet_es``)."""
    b, x = _start(image_size)
    x = conv_norm_act(b, x, 32, 3, 2, act="relu", norm=NORM)
    for kind, kernel, expansion, width, layers, stride in _EFFICIENTNET_EDGETPU_S:
        make = fused_inverted_bottleneck if kind == "fused" else inverted_bottleneck
        for layer in range(layers):
            x = make(
                b,
                x,
                width,
                expanded=x.channels * expansion,
                kernel=kernel,
                stride=1 if layer else stride,
                act="relu",
                residual=layer > 0,
                norm=NORM,
            )
    x = conv_norm_act(b, x, 1280, act="relu", norm=NORM)
    return b.build({"logits": classifier(b, x, num_classes)})


# -- detectors -------------------------------------------------------------------------------------------------------


@block
def _ssd_levels(b: Builder, x: Tensor, extra_widths: tuple[int, ...]) -> tuple[Tensor, ...]:
    levels = []
    for width in extra_widths:
        if max(x.shape[1:]) == 1:
            break
        x = conv_norm_act(b, x, width // 2, norm=NORM)
        x = conv_norm_act(b, x, width, 3, 2, norm=NORM)
        levels.append(x)
    return tuple(levels)


def _ssd(b: Builder, features: Sequence[Tensor], num_classes: int) -> dict[str, Tensor]:
    """The SSD head of the quantised samples: full 3x3 convolutions between levels, 1x1 predictors with bias."""
    levels = [*features, *_ssd_levels(b, features[-1], SSDLITE_EXTRA_WIDTHS)]
    outputs = {}
    for i, (level, anchors) in enumerate(zip(levels, ssdlite_anchor_counts(len(levels)), strict=True)):
        outputs[f"box{i}"] = b.conv(level, anchors * 4, bias=True)
        outputs[f"class{i}"] = b.conv(level, anchors * (num_classes + 1), bias=True)
    return outputs


def mobilenet_v1_ssd(choose: Choose, *, image_size: int = 300, num_classes: int = 90) -> Graph:
    """SSD on MobileNetV1 (tensorflow/models ... samples/configs/ssd_mobilenet_v1_quantized_300x300_coco14_sync.config).

    Post-processing (box decoding, sigmoid, non-maximum suppression) is no part of the graph.
    """
    b, x = _start(image_size)
    return b.build(_ssd(b, _mobilenet_v1_features(b, x), num_classes))


def mobilenet_v2_ssd(choose: Choose, *, image_size: int = 300, num_classes: int = 90) -> Graph:
    """SSD on MobileNetV2 (tensorflow/models ... samples/configs/ssd_mobilenet_v2_quantized_300x300_coco.config).

    Post-processing (box decoding, sigmoid, non-maximum suppression) is no part of the graph.
    """
    b, x = _start(image_size)
    return b.build(_ssd(b, _mobilenet_v2_features(b, x), num_classes))


def ssdlite_mobilenet_edgetpu(choose: Choose, *, image_size: int = 320, num_classes: int = 90) -> Graph:
    """SSDLite on MobileNet-EdgeTPU (tensorflow/models ... ssdlite_mobilenet_edgetpu_320x320_coco.config)."""
    b, x = _start(image_size)
    return b.build(ssdlite(b, _mobilenet_edgetpu_features(b, x, 1.0), num_classes=num_classes))


# -- networks of the data centre -------------------------------------------------------------------------------------


@block
def _inception(b: Builder, x: Tensor, widths: tuple[int, int, int, int, int, int]) -> Tensor:
    """Inception block: 1x1; 1x1, 3x3; 1x1, 3x3 (the paper's 5x5); max pooling, 1x1."""
    one, reduce_a, a, reduce_b, c, pooled = widths
    branches = (
        conv_norm_act(b, x, one, act="relu", norm=NORM),
        conv_norm_act(b, conv_norm_act(b, x, reduce_a, act="relu", norm=NORM), a, 3, act="relu", norm=NORM),
        conv_norm_act(b, conv_norm_act(b, x, reduce_b, act="relu", norm=NORM), c, 3, act="relu", norm=NORM),
        conv_norm_act(b, b.pool(x, "max", 3), pooled, act="relu", norm=NORM),
    )
    return b.concat(branches)


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
    """Inception v1 with batch normalisation (tensorflow/models research/slim/nets/inception_v1.py)."""
    b, x = _start(image_size)
    x = conv_norm_act(b, x, 64, 7, 2, act="relu", norm=NORM)
    x = conv_norm_act(b, b.pool(x, "max", 3, 2), 64, act="relu", norm=NORM)
    x = conv_norm_act(b, x, 192, 3, act="relu", norm=NORM)
    for kernel, widths in _INCEPTION_V1:
        x = b.pool(x, "max", kernel, 2)
        for row in widths:
            x = _inception(b, x, row)
    return b.build({"logits": classifier(b, x, num_classes)})


@block
def _bottleneck_v1(b: Builder, x: Tensor, width: int, stride: int, shortcut: bool) -> Tensor:
    y = conv_norm_act(b, x, width, 1, stride, act="relu", norm=NORM)
    y = conv_norm_act(b, y, width, 3, act="relu", norm=NORM)
    y = conv_norm_act(b, y, 4 * width, act="identity", norm=NORM)
    kept = conv_norm_act(b, x, 4 * width, 1, stride, act="identity", norm=NORM) if shortcut else x
    return b.act(b.add(kept, y), "relu")


def resnet50_v1(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """ResNet-50 (arXiv 1512.03385): as there, a stage's stride is in its first 1x1 convolution."""
    b, x = _start(image_size)
    x = b.pool(conv_norm_act(b, x, 64, 7, 2, act="relu", norm=NORM), "max", 3, 2)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for layer in range(blocks):
            x = _bottleneck_v1(b, x, 64 << stage, 2 if stage and not layer else 1, layer == 0)
    return b.build({"logits": classifier(b, x, num_classes)})


def _norm_relu(b: Builder, x: Tensor) -> Tensor:
    return b.act(b.norm(x, eps=NORM.eps, momentum=NORM.momentum), "relu")


def _bottleneck_v2(b: Builder, x: Tensor, width: int, stride: int, shortcut: bool) -> Tensor:
    before = _norm_relu(b, x)
    kept = b.conv(before, 4 * width, 1, stride, bias=True) if shortcut else b.pool(x, "max", 1, stride)
    y = conv_norm_act(b, before, width, act="relu", norm=NORM)
    y = conv_norm_act(b, y, width, 3, stride, act="relu", norm=NORM)
    return b.add(kept, b.conv(y, 4 * width, bias=True))


def _resnet_v2(blocks: Sequence[int], image_size: int, num_classes: int) -> Graph:
    b, x = _start(image_size)
    x = b.pool(b.conv(x, 64, 7, 2, bias=True), "max", 3, 2)
    for stage, layers in enumerate(blocks):
        for layer in range(layers):
            x = _bottleneck_v2(b, x, 64 << stage, 2 if stage < 3 and layer == layers - 1 else 1, layer == 0)
    return b.build({"logits": classifier(b, _norm_relu(b, x), num_classes)})


def resnet50_v2(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """ResNet-50 with activations first (arXiv 1603.05027), as Keras' ``ResNet50V2``: strides end a stage."""
    return _resnet_v2((3, 4, 6, 3), image_size, num_classes)


def resnet152_v2(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """ResNet-152 with activations first (arXiv 1603.05027), as Keras' ``ResNet152V2``: strides end a stage."""
    return _resnet_v2((3, 8, 36, 3), image_size, num_classes)


def densenet121(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """DenseNet-121 (arXiv 1608.06993, table 1)."""
    b, x = _start(image_size)
    x = b.pool(conv_norm_act(b, x, 64, 7, 2, act="relu", norm=NORM), "max", 3, 2)
    for stage, layers in enumerate((6, 12, 24, 16)):
        if stage:
            x = b.pool(b.conv(_norm_relu(b, x), x.channels // 2), "avg", 2, 2)
        for _ in range(layers):
            y = conv_norm_act(b, _norm_relu(b, x), 128, act="relu", norm=NORM)
            x = b.concat([x, b.conv(y, 32, 3)])
    return b.build({"logits": classifier(b, _norm_relu(b, x), num_classes)})
