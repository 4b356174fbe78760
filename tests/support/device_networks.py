"""Small networks for tests of devices."""

from __future__ import annotations

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act, fused_inverted_bottleneck, inverted_bottleneck
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph


def mobile(image_size: int = 32, width: int = 8) -> Graph:
    """A stem, an inverted bottleneck, a fused one with a residual, a classifier."""
    b = Builder()
    x = conv_norm_act(b, b.input((3, image_size, image_size)), width, 3, 2)
    x = inverted_bottleneck(b, x, 2 * width, expanded=4 * width, stride=2)
    x = fused_inverted_bottleneck(b, x, 2 * width, expanded=4 * width, residual=True)
    return b.build({"logits": classifier(b, x, 10)})


def two_headed() -> Graph:
    """Two outputs, one of them an image: what a detector's files hold."""
    b = Builder()
    x = conv_norm_act(b, b.input((3, 32, 32)), 8, 3, 2)
    return b.build({"map": b.conv(x, 4, 1, bias=True), "logits": classifier(b, x, 5)})


def image_4_strides() -> Graph:
    """One convolution that the Ethos-U55 cannot run: its stride is more than 3 and it has padding."""
    b = Builder()
    x = conv_norm_act(b, b.input((3, 64, 64)), 8, 3, 2)
    return b.build(b.act(b.conv(x, 8, 9, 4), "relu"))
