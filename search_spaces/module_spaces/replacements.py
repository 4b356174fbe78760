"""Blocks that may replace a module: functions of (builder, tensor, output channels, stride)."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.blocks import mobile as blocks
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.registry import UnknownName, import_object, unknown_name
from search_spaces.space.genotype import SpaceError

Replacement = Callable[[Builder, Tensor, int, int], Tensor]
OWN = "own"


def _has_residual(x: Tensor, out_channels: int, stride: int) -> bool:
    return stride == 1 and x.channels == out_channels


def _conv_norm_act(b: Builder, x: Tensor, out_channels: int, stride: int) -> Tensor:
    return blocks.conv_norm_act(b, x, out_channels, 3, stride)


def _inverted_bottleneck(b: Builder, x: Tensor, out_channels: int, stride: int) -> Tensor:
    residual = _has_residual(x, out_channels, stride)
    return blocks.inverted_bottleneck(b, x, out_channels, expanded=4 * x.channels, stride=stride, residual=residual)


def _fused_inverted_bottleneck(b: Builder, x: Tensor, out_channels: int, stride: int) -> Tensor:
    return blocks.fused_inverted_bottleneck(
        b, x, out_channels, expanded=4 * x.channels, stride=stride, residual=_has_residual(x, out_channels, stride)
    )


def _tucker(b: Builder, x: Tensor, out_channels: int, stride: int) -> Tensor:
    return blocks.tucker(
        b,
        x,
        out_channels,
        input_rank=max(1, x.channels // 4),
        output_rank=max(1, 3 * out_channels // 4),
        stride=stride,
        residual=_has_residual(x, out_channels, stride),
    )


REPLACEMENT_BLOCKS: dict[str, Replacement] = {
    "conv_norm_act": _conv_norm_act,
    "inverted_bottleneck": _inverted_bottleneck,
    "fused_inverted_bottleneck": _fused_inverted_bottleneck,
    "tucker": _tucker,
}
"""Of ``search_spaces.blocks.mobile``, with 3x3 kernels, an expansion of 4, ranks of a quarter and three quarters, and
the input added wherever shapes allow it."""


def resolve_block(option: object) -> tuple[str, Replacement | None]:
    """An option's name and function; that of the module itself is ``None``. Raises ``SpaceError``."""
    if option == OWN:
        return OWN, None
    if isinstance(option, str):
        try:
            if ":" in option:
                return option, import_object(option)
            if option not in REPLACEMENT_BLOCKS:
                raise unknown_name("block", option, [OWN, *REPLACEMENT_BLOCKS])
        except UnknownName as error:
            raise SpaceError(f"vary: {error}") from None
        return option, REPLACEMENT_BLOCKS[option]
    name = getattr(option, "__name__", "")
    if not callable(option) or not name:
        raise SpaceError(
            f"vary: a block is 'own', one of {', '.join(REPLACEMENT_BLOCKS)}, 'package.module:function' or a function"
            f" of (builder, tensor, out_channels, stride), not {option!r}"
        )
    return name, option
