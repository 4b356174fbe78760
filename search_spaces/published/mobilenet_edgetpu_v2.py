"""MobileNetEdgeTPUV2: fused inverted bottlenecks with group convolutions (tensorflow/models official/projects/edgetpu).

Sizes and constants are those of official/projects/edgetpu/vision/modeling/mobilenet_edgetpu_v2_model_blocks.py.
"""

from __future__ import annotations

from typing import NamedTuple

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import Norm, conv_norm_act, inverted_bottleneck
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.published.tensorflow_classics import image_input
from search_spaces.space.choose import Choose

NORM = Norm(eps=1e-3, momentum=0.01)


class Size(NamedTuple):
    """Widths of the stem, the seven groups of blocks and the last convolution; output channels in a group."""

    stem: int
    stem_kernel: int
    groups: tuple[int, int, int, int, int, int, int]
    last: int
    in_group: int = 64
    strided_in_groups: bool = False


SIZES = {
    "tiny": Size(32, 5, (16, 32, 48, 80, 112, 160, 192), 1280, strided_in_groups=True),
    "xs": Size(32, 5, (16, 32, 48, 96, 144, 160, 192), 1280),
    "s": Size(64, 5, (24, 48, 64, 128, 160, 192, 256), 1280),
    "m": Size(64, 5, (32, 64, 80, 160, 192, 240, 320), 1344),
    "l": Size(64, 7, (32, 64, 96, 192, 240, 256, 384), 1408, in_group=128),
}
# (kind, expansion, stride) of the blocks of each group; all kernels are 3x3
_GROUPS = (
    (("project", 1, 1),),
    (("fused", 8, 2), ("grouped", 4, 1)),
    (("fused", 8, 2), ("grouped", 4, 1), ("fused", 4, 1), ("grouped", 4, 1)),
    (("fused", 8, 2), ("ibn", 4, 1), ("ibn", 4, 1), ("ibn", 4, 1)),
    (("ibn", 8, 1), ("ibn", 4, 1), ("ibn", 4, 1), ("ibn", 4, 1)),
    (("ibn", 8, 2), ("ibn", 4, 1), ("ibn", 4, 1), ("ibn", 4, 1)),
    (("ibn", 8, 1),),
)


@block
def grouped_inverted_bottleneck(
    b: Builder, x: Tensor, out_channels: int, *, expanded: int, groups: int, stride: int, residual: bool
) -> Tensor:
    """Fused inverted bottleneck whose 3x3 expansion is a group convolution; ``groups`` of 1 is a full one."""
    y = conv_norm_act(b.part("expand"), x, expanded, 3, stride, act="relu", groups=groups, norm=NORM)
    y = conv_norm_act(b.part("project"), y, out_channels, act="identity", norm=NORM)
    return b.part("").add(x, y) if residual else y


def mobilenet_edgetpu_v2(choose: Choose, *, size: str = "m", image_size: int = 224, num_classes: int = 1000) -> Graph:
    """MobileNetEdgeTPUV2 of a size from ``tiny`` to ``l``."""
    if size not in SIZES:
        raise GraphError(f"mobilenet_edgetpu_v2: no size {size!r}; there are {', '.join(SIZES)}")
    widths = SIZES[size]
    b, x = image_input(image_size)
    x = conv_norm_act(b.section("stem"), x, widths.stem, widths.stem_kernel, 2, act="relu", norm=NORM)
    for number, (width, blocks) in enumerate(zip(widths.groups, _GROUPS, strict=True)):
        for index, (kind, expansion, stride) in enumerate(blocks):
            b.section(f"stage{number}.layer{index}")
            expanded = x.channels * expansion
            residual = stride == 1 and x.channels == width
            if widths.strided_in_groups and (number, index) in ((2, 0), (2, 2), (3, 0)):
                kind = "grouped"
            if kind == "project":
                x = conv_norm_act(b, x, width, act="identity", norm=NORM)
            elif kind == "ibn":
                x = inverted_bottleneck(
                    b, x, width, expanded=expanded, stride=stride, act="relu", residual=residual, norm=NORM
                )
            else:
                groups = expanded // widths.in_group if kind == "grouped" else 1
                x = grouped_inverted_bottleneck(
                    b, x, width, expanded=expanded, groups=groups, stride=stride, residual=residual
                )
    x = conv_norm_act(b.section("feature"), x, widths.last, act="relu", norm=NORM)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})
