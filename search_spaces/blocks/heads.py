"""Heads: from backbone features to the named outputs of a task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from search_spaces.blocks.mobile import Norm, conv_norm_act, depthwise_norm_act
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor

SSDLITE_NORM = Norm(eps=1e-3, momentum=0.03)
SSDLITE_EXTRA_WIDTHS = (512, 256, 256, 128)


def _ssdlite_extra(b: Builder, x: Tensor, out_channels: int, act: str) -> Tensor:
    y = conv_norm_act(b.part("reduce"), x, max(1, out_channels // 2), act=act, norm=SSDLITE_NORM)
    y = depthwise_norm_act(b.part("depthwise"), y, 3, 2, act=act, norm=SSDLITE_NORM)
    return conv_norm_act(b.part("expand"), y, out_channels, act=act, norm=SSDLITE_NORM)


def _ssdlite_predictor(b: Builder, x: Tensor, out_channels: int, act: str) -> Tensor:
    y = depthwise_norm_act(b.part("depthwise"), x, 3, act=act, norm=SSDLITE_NORM)
    return b.part("predict").conv(y, out_channels, bias=True)


def ssdlite_anchor_counts(levels: int) -> tuple[int, ...]:
    """Anchors at each location of each level: three on the finest, six on the others."""
    return (3,) + (6,) * (levels - 1)


@block
def _ssdlite(
    b: Builder, features: Sequence[Tensor], num_classes: int, extra_widths: tuple[int, ...], act: str
) -> tuple[Tensor, ...]:
    levels = list(features)
    for width in extra_widths:
        if max(levels[-1].shape[1:]) == 1:
            break
        with b.scope(f"level{len(levels)}"):
            levels.append(_ssdlite_extra(b, levels[-1], width, act))
    outputs = []
    for number, (level, anchors) in enumerate(zip(levels, ssdlite_anchor_counts(len(levels)), strict=True)):
        for kind, values in (("box", 4), ("class", num_classes + 1)):
            with b.scope(f"{kind}{number}"):
                outputs.append(_ssdlite_predictor(b, level, anchors * values, act))
    return tuple(outputs)


def ssdlite(
    b: Builder,
    features: Sequence[Tensor],
    *,
    num_classes: int,
    extra_widths: Sequence[int] = SSDLITE_EXTRA_WIDTHS,
    act: str = "relu6",
) -> dict[str, Tensor]:
    """SSDLite (arXiv 1801.04381, sec. 6.2) on backbone features, finest first.

    ``extra_widths`` are those of the stride-2 levels behind the last feature; they end early where a map has shrunk
    to one location, so that small images keep a head that fits. Level ``i`` yields ``box{i}`` of
    ``(anchors * 4, height, width)`` and ``class{i}`` of ``(anchors * (num_classes + 1), height, width)``, anchor
    major; class 0 is the background, its score encoded as all zeros.
    """
    tensors = _ssdlite(b, features, num_classes, tuple(extra_widths), act)
    return dict(zip(_ssdlite_output_names(len(tensors)), tensors, strict=True))


@lru_cache
def _ssdlite_output_names(outputs: int) -> list[str]:
    return [f"{'class' if i % 2 else 'box'}{i // 2}" for i in range(outputs)]


@block
def classifier(b: Builder, x: Tensor, num_classes: int) -> Tensor:
    """Global average pooling and a linear layer with bias: ``(num_classes,)`` logits."""
    return b.linear(b.reshape(b.global_pool(x), (x.channels,)), num_classes)
