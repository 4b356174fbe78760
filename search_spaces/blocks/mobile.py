"""Blocks as functions from (builder, tensor) to tensor, shared by all spaces.

Widths are given resolved: how a system rounds an expanded width or a squeeze is that system's own rule, and lives
in its own file. ``residual`` adds the input, and is the caller's decision.
"""

from __future__ import annotations

from typing import NamedTuple

from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor


class Norm(NamedTuple):
    """Batch normalisation's constants; ``momentum`` is PyTorch's (one minus TensorFlow's decay)."""

    eps: float = 1e-5
    momentum: float = 0.1


@block
def conv_norm_act(
    b: Builder,
    x: Tensor,
    out_channels: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    act: str = "relu6",
    groups: int = 1,
    norm: Norm = Norm(),
) -> Tensor:
    """Convolution, batch normalisation, activation (``identity`` for a linear one)."""
    y = b.conv(x, out_channels, kernel, stride, groups=groups)
    return b.act(b.norm(y, eps=norm.eps, momentum=norm.momentum), act)


@block
def depthwise_norm_act(
    b: Builder, x: Tensor, kernel: int = 3, stride: int = 1, *, act: str = "relu6", norm: Norm = Norm()
) -> Tensor:
    """Depthwise convolution, batch normalisation, activation."""
    return conv_norm_act(b, x, x.channels, kernel, stride, act=act, groups=x.channels, norm=norm)


@block
def squeeze_excite(b: Builder, x: Tensor, squeezed: int, *, act: str = "relu", gate: str = "sigmoid") -> Tensor:
    """Squeeze and excitation (arXiv 1709.01507, eq. 2-4) with 1x1 convolutions that have a bias."""
    y = b.global_pool(x)
    y = b.act(b.part("reduce").conv(y, squeezed, bias=True), act)
    y = b.act(b.part("expand").conv(y, x.channels, bias=True), gate)
    return b.part("").mul(x, y)


@block
def inverted_bottleneck(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    expanded: int | None,
    kernel: int = 3,
    stride: int = 1,
    act: str = "relu6",
    squeezed: int = 0,
    residual: bool = False,
    norm: Norm = Norm(),
) -> Tensor:
    """Inverted bottleneck (arXiv 1801.04381): 1x1 expansion, depthwise, optional squeeze-excite, linear 1x1.

    ``expanded`` is the inner width, ``None`` for none of the expansion; ``squeezed`` the inner width of
    squeeze-excite, 0 for none.
    """
    y = x if expanded is None else conv_norm_act(b.part("expand"), x, expanded, act=act, norm=norm)
    y = depthwise_norm_act(b.part("depthwise"), y, kernel, stride, act=act, norm=norm)
    if squeezed:
        y = squeeze_excite(b.part("squeeze_excite"), y, squeezed, act=act)
    y = conv_norm_act(b.part("project"), y, out_channels, act="identity", norm=norm)
    return b.part("").add(x, y) if residual else y


@block
def fused_inverted_bottleneck(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    expanded: int | None,
    kernel: int = 3,
    stride: int = 1,
    act: str = "relu6",
    squeezed: int = 0,
    residual: bool = False,
    norm: Norm = Norm(),
) -> Tensor:
    """Fused inverted bottleneck (arXiv 2004.14525, sec. 3.1): one full convolution expands, a linear 1x1 projects.

    Without an expansion (``expanded`` ``None``) only the projection is left, as in the systems that use it.
    """
    y = x if expanded is None else conv_norm_act(b.part("expand"), x, expanded, kernel, stride, act=act, norm=norm)
    if squeezed:
        y = squeeze_excite(b.part("squeeze_excite"), y, squeezed, act=act)
    stride = stride if expanded is None else 1
    y = conv_norm_act(b.part("project"), y, out_channels, stride=stride, act="identity", norm=norm)
    return b.part("").add(x, y) if residual else y


@block
def tucker(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    input_rank: int,
    output_rank: int,
    kernel: int = 3,
    stride: int = 1,
    act: str = "relu6",
    residual: bool = False,
    norm: Norm = Norm(),
) -> Tensor:
    """Tucker convolution (arXiv 2004.14525, sec. 3.2): 1x1 compression, full convolution, linear 1x1 expansion."""
    y = conv_norm_act(b.part("compress"), x, input_rank, act=act, norm=norm)
    y = conv_norm_act(b.part("convolve"), y, output_rank, kernel, stride, act=act, norm=norm)
    y = conv_norm_act(b.part("expand"), y, out_channels, act="identity", norm=norm)
    return b.part("").add(x, y) if residual else y
