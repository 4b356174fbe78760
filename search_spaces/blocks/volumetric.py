"""Inverted bottlenecks for video and volumes, in 3D and factorised into 2D and 1D.

Tensors are ``(channels, depth, height, width)``; depth is time in video. Padding is ``kernel // 2`` on both sides, as
in the PyTorch implementations that are used here; ``residual`` adds the input, and is the caller's decision.
"""

from __future__ import annotations

from search_spaces.blocks.mobile import Norm, conv_norm_act
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.operations import GraphError

IntOrTriple = int | tuple[int, int, int]


def r2plus1d_width(in_channels: int, out_channels: int, kernel: int = 3, temporal_kernel: int = 3) -> int:
    """Width between the two halves of a (2+1)D convolution that keeps the parameters of the 3D one.

    ``M_i`` of arXiv 1711.11248, sec. 3.5: ``floor(t d^2 N_(i-1) N_i / (d^2 N_(i-1) + t N_i))``.
    """
    area = kernel * kernel
    whole = temporal_kernel * area * in_channels * out_channels
    return whole // (area * in_channels + temporal_kernel * out_channels)


def _padded_conv_norm_act(
    b: Builder,
    x: Tensor,
    out_channels: int,
    kernel: IntOrTriple,
    stride: IntOrTriple,
    *,
    groups: int = 1,
    act: str,
    norm: Norm,
) -> Tensor:
    """Convolution with padding ``kernel // 2`` on every axis, batch normalisation, activation."""
    if len(x.shape) != 4:
        raise GraphError(f"a block for volumes takes (channels, depth, height, width), not {x.shape}")
    kernels = (kernel,) * 3 if isinstance(kernel, int) else kernel
    padding = [(k // 2, k // 2) for k in kernels]
    y = b.conv(x, out_channels, kernel, stride, groups=groups, padding=padding)
    return b.act(b.norm(y, eps=norm.eps, momentum=norm.momentum), act)


@block
def inverted_bottleneck_3d(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    expanded: int | None,
    kernel: IntOrTriple = 3,
    stride: IntOrTriple = 1,
    act: str = "relu6",
    residual: bool = False,
    norm: Norm = Norm(),
) -> Tensor:
    """Inverted bottleneck (arXiv 1801.04381) with a 3D depthwise convolution, as 3D MobileNetV2 (arXiv 1904.02422).

    ``expanded`` is the inner width, ``None`` for none of the expansion; ``kernel`` and ``stride`` are one number, or
    one each for depth, height and width.
    """
    y = x if expanded is None else conv_norm_act(b.part("expand"), x, expanded, act=act, norm=norm)
    b.part("depthwise")
    y = _padded_conv_norm_act(b, y, y.channels, kernel, stride, groups=y.channels, act=act, norm=norm)
    y = conv_norm_act(b.part("project"), y, out_channels, act="identity", norm=norm)
    return b.part("").add(x, y) if residual else y


@block
def conv_2plus1d(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    kernel: int = 3,
    temporal_kernel: int = 3,
    stride: int = 1,
    temporal_stride: int = 1,
    middle: int | None = None,
    depthwise: bool = False,
    act: str = "relu",
    norm: Norm = Norm(),
) -> Tensor:
    """(2+1)D convolution (arXiv 1711.11248, sec. 3.5): spatial ``1 x k x k``, then temporal ``t x 1 x 1``.

    Batch normalisation and an activation follow each of the two. ``middle`` is the width between them, by default that
    of ``r2plus1d_width``. ``depthwise`` filters each channel alone, and then all three widths are that of ``x``.
    """
    if depthwise and {middle or x.channels, out_channels} != {x.channels}:
        raise GraphError(f"conv_2plus1d: depthwise, it keeps the {x.channels} channels, and has no other middle")
    if depthwise:
        middle = x.channels
    elif middle is None:
        middle = r2plus1d_width(x.channels, out_channels, kernel, temporal_kernel)
    groups = x.channels if depthwise else 1
    b.part("spatial")
    y = _padded_conv_norm_act(b, x, middle, (1, kernel, kernel), (1, stride, stride), groups=groups, act=act, norm=norm)
    b.part("temporal")
    over_time = (temporal_kernel, 1, 1)
    return _padded_conv_norm_act(
        b, y, out_channels, over_time, (temporal_stride, 1, 1), groups=groups, act=act, norm=norm
    )


@block
def inverted_bottleneck_2plus1d(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    expanded: int | None,
    kernel: int = 3,
    temporal_kernel: int = 3,
    stride: int = 1,
    temporal_stride: int = 1,
    middle: int | None = None,
    depthwise: bool = True,
    act: str = "relu6",
    residual: bool = False,
    norm: Norm = Norm(),
) -> Tensor:
    """Inverted bottleneck whose inner convolution is a ``conv_2plus1d`` of the expanded width.

    By default both halves are depthwise; else they are full convolutions, ``middle`` wide between them.
    """
    y = x if expanded is None else conv_norm_act(b.part("expand"), x, expanded, act=act, norm=norm)
    y = conv_2plus1d(
        b.part("depthwise" if depthwise else "convolve"),
        y,
        y.channels,
        kernel=kernel,
        temporal_kernel=temporal_kernel,
        stride=stride,
        temporal_stride=temporal_stride,
        middle=middle,
        depthwise=depthwise,
        act=act,
        norm=norm,
    )
    y = conv_norm_act(b.part("project"), y, out_channels, act="identity", norm=norm)
    return b.part("").add(x, y) if residual else y
