"""Networks small enough to train in a second, one for each kind of head."""

from __future__ import annotations

from search_spaces.blocks.heads import classifier, ssdlite
from search_spaces.blocks.mobile import conv_norm_act, inverted_bottleneck
from search_spaces.blocks.multitask_heads import segmentation_decoder
from search_spaces.families.leyolo import dnin
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph


def small_classifier(image_size: int = 24, num_classes: int = 10, channels: int = 3) -> Graph:
    """Two convolutions and a residual block, then a row of scores."""
    b = Builder()
    x = conv_norm_act(b, b.input((channels, image_size, image_size)), 16, 3, 2)
    x = conv_norm_act(b, x, 32, 3, 2)
    x = inverted_bottleneck(b, x, 32, expanded=64, residual=True)
    return b.build({"logits": classifier(b, x, num_classes)})


def small_segmenter(image_size: int = 32, num_classes: int = 11, channels: int = 3) -> Graph:
    """Two features, at strides 2 and 4, under the light decoder."""
    b = Builder()
    fine = conv_norm_act(b, b.input((channels, image_size, image_size)), 16, 3, 2)
    coarse = inverted_bottleneck(b, conv_norm_act(b, fine, 32, 3, 2), 32, expanded=64, residual=True)
    return b.build({"segmentation": segmentation_decoder(b, [fine, coarse], num_classes, width=32)})


def small_detector(image_size: int = 48, num_classes: int = 10, channels: int = 3) -> Graph:
    """Six convolutions and two residual blocks to a stride of 8, then an SSDLite head."""
    b = Builder()
    x = conv_norm_act(b, b.input((channels, image_size, image_size)), 16, 3, 2)
    x = conv_norm_act(b, x, 32, 3, 2)
    x = conv_norm_act(b, x, 48, 3, 2)
    for _ in range(2):
        x = inverted_bottleneck(b, x, 48, expanded=96, residual=True)
    return b.build(ssdlite(b, [x], num_classes=num_classes, extra_widths=(64, 64, 64, 64)))


def small_yolo(image_size: int = 64, num_classes: int = 10, channels: int = 3) -> Graph:
    """Convolutions, with redundant biases, to the strides 8, 16 and 32, then the head of LeYOLO."""
    b = Builder()
    x = conv_norm_act(b, b.input((channels, image_size, image_size)), 16, 3, 2)
    x = conv_norm_act(b, x, 24, 3, 2)
    features = []
    for width in (32, 48, 48):
        x = b.act(b.norm(b.conv(x, width, 3, 2, padding=1, bias=True)), "silu")
        x = inverted_bottleneck(b, x, width, expanded=2 * width, residual=True)
        features.append(x)
    return b.build(dnin(b, features, num_classes=num_classes))
