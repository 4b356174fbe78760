"""Split computing: an early bottleneck whose narrow tensor crosses a network link, and the bytes that cross a cut."""

from __future__ import annotations

from search_spaces.blocks.mobile import Norm
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor

BOTTLEFIT_WIDTHS = (512, 512, 512, 512)  # ResNet-152's; it replaces the network up to its second stage


# -- the bottleneck ----------------------------------------------------------------------------------------------------


@block
def split_encoder(b: Builder, x: Tensor, channels: int, *, stride: int = 2) -> Tensor:
    """What the device ends with: a linear 2x2 convolution to a few ``channels``. Its output crosses the link."""
    return b.conv(x, channels, 2, stride, padding=1)


@block
def split_decoder(
    b: Builder,
    z: Tensor,
    widths: tuple[int, ...] = BOTTLEFIT_WIDTHS,
    *,
    pool_stride: int = 1,
    act: str = "relu",
    norm: Norm = Norm(),
) -> Tensor:
    """What the server begins with: normalisation, then 2x2 convolutions of ``widths``, the last one linear, pooled.

    The first half of the convolutions pad by one and so grow the map by one, the others shrink it.
    """
    y = b.act(b.part("code").norm(z, eps=norm.eps, momentum=norm.momentum), act)
    for index, width in enumerate(widths):
        b.part(f"layer{index}")
        if index:
            y = b.act(b.norm(y, eps=norm.eps, momentum=norm.momentum), act)
        y = b.conv(y, width, 2, padding=int(index < len(widths) // 2))
    return b.part("").pool(y, "avg", 2, pool_stride, padding="valid")


@block
def split_bottleneck(
    b: Builder,
    x: Tensor,
    channels: int,
    *,
    widths: tuple[int, ...] = BOTTLEFIT_WIDTHS,
    stride: int = 2,
    pool_stride: int = 1,
    act: str = "relu",
    norm: Norm = Norm(),
) -> Tensor:
    """Encoder to ``channels`` channels and decoder back, as BottleFit puts them early (arXiv 2201.02693).

    The default ``widths`` are those for ResNet-152, where an even extent ``n`` ends at ``n / 2``; those for
    DenseNet-169 and -201 are ``(512, 512, 256, 256, 256)`` with ``pool_stride=2``. In the authors' code
    (``bottlefit-split_computing``: ``custom/model.py``, version 2; ``sc2-benchmark``: ``sc2bench/models/layer.py``) it
    follows the stem, its pooling, normalisation and ReLU.
    """
    z = split_encoder(b.part("encoder"), x, channels, stride=stride)
    return split_decoder(b.part("decoder"), z, widths, pool_stride=pool_stride, act=act, norm=norm)


@block
def bottlefit_resnet(b: Builder, image: Tensor, channels: int = 12) -> Tensor:
    """BottleFit's replacement of ResNet's first two stages: image to 512 channels at an eighth of its size."""
    y = b.norm(b.part("stem").conv(image, 64, 7, 2, padding=3))
    y = b.pool(b.act(y, "relu"), "max", 3, 2, padding=1)
    return split_bottleneck(b.part("bottleneck"), b.act(b.norm(y), "relu"), channels)
