"""TinyNet: EfficientNet-B0 with other resolution, depth and width (Han et al. 2020, arXiv 2010.14819).

Rules and constants are those of the published PyTorch code (huawei-noah/Efficient-AI-Backbones
tinynet_pytorch/tinynet.py, on timm): symmetric padding, PyTorch's batch normalisation, layers rounded to the nearest
(halves to even), and a stem that is never scaled. ``nas/compound_scaling.py`` has the formula that finds the
multipliers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act, squeeze_excite
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose


class TinyNetStage(NamedTuple):
    """Equal blocks in a row, the first of them with the stride."""

    kernel: int
    stride: int
    expansion: int
    layers: int
    width: int


STAGES = (
    TinyNetStage(3, 1, 1, 1, 16),
    TinyNetStage(3, 2, 6, 2, 24),
    TinyNetStage(5, 2, 6, 2, 40),
    TinyNetStage(3, 2, 6, 3, 80),
    TinyNetStage(5, 1, 6, 3, 112),
    TinyNetStage(5, 2, 6, 4, 192),
    TinyNetStage(3, 1, 6, 1, 320),
)
STEM_WIDTH, HEAD_WIDTH, RESOLUTION = 32, 1280, 224


def _grid(low: int, high: int, published: Sequence[float]) -> tuple[float, ...]:
    """Multipliers in steps of a twentieth, and the published ones."""
    return tuple(sorted({*(n / 20 for n in range(low, high + 1)), *published}))


# The published multipliers of TinyNet-A to -E among 0.4 to 1.2, 0.5 to 1.4 and 0.3 to 1.2
RESOLUTIONS = _grid(8, 24, (0.86, 0.84, 0.825, 0.68, 0.475))
DEPTHS = _grid(10, 28, (1.2, 1.1, 0.85, 0.695, 0.6))
WIDTHS = _grid(6, 24, (1.0, 0.75, 0.54, 0.51))


def round_channels(width: float) -> int:
    """timm's rounding: to the nearest multiple of 8, at least 8, no more than a tenth below ``width``."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


def round_layers(layers: float) -> int:
    """Python's rounding, halves to even, and at least one layer."""
    return max(1, round(layers))


def _padded_conv(b: Builder, x: Tensor, out_channels: int, kernel: int, stride: int, groups: int) -> Tensor:
    return b.act(b.norm(b.conv(x, out_channels, kernel, stride, padding=kernel // 2, groups=groups)), "silu")


@block
def _mbconv(
    b: Builder, x: Tensor, out_channels: int, *, expanded: int | None, kernel: int, stride: int, residual: bool
) -> Tensor:
    """Inverted bottleneck with squeeze-excite to a quarter of its input, which is not rounded to a multiple of 8."""
    y = x if expanded is None else conv_norm_act(b.part("expand"), x, expanded, act="silu")
    y = _padded_conv(b.part("depthwise"), y, y.channels, kernel, stride, y.channels)
    y = squeeze_excite(b.part("squeeze_excite"), y, round(0.25 * x.channels), act="silu")
    y = conv_norm_act(b.part("project"), y, out_channels, act="identity")
    return b.part("").add(x, y) if residual else y


def tinynet(
    choose: Choose,
    *,
    image_size: int | None = None,
    num_classes: int = 1000,
    width: float = 1.0,
    resolutions: Sequence[float] = RESOLUTIONS,
    depths: Sequence[float] = DEPTHS,
    widths: Sequence[float] = WIDTHS,
    task: str = "classify",
) -> Graph:
    """A TinyNet: multipliers of EfficientNet-B0's resolution, depth and width.

    The image is ``int(224 * resolution)`` pixels wide, unless ``image_size`` says otherwise, as a training at a proxy
    scale does; then the choice ``resolution`` is made but changes nothing, so such a training cannot rank resolutions.
    The option ``width`` multiplies the chosen width; as published, the stem keeps its 32 channels and the head at
    least its 1280.
    """
    if task != "classify":
        raise GraphError(f"tinynet: no task {task!r}; there is classify")
    resolution = choose.one_of("resolution", resolutions)
    depth = choose.one_of("depth", depths)
    chosen_width = choose.one_of("width", widths)
    if not isinstance(width, int | float):
        raise GraphError(f"tinynet: width must be a factor above 0, not {width!r}")
    size = int(RESOLUTION * resolution) if image_size is None else image_size
    return _network(size, depth, chosen_width * width, num_classes)


def scaled_tinynet(resolution: float, depth: float, width: float, *, num_classes: int = 1000) -> Graph:
    """TinyNet's base network with any multipliers; all of them 1: EfficientNet-B0."""
    return _network(int(RESOLUTION * resolution), depth, width, num_classes)


def _network(image_size: int, depth: float, width: float, num_classes: int) -> Graph:
    for name, factor in (("width", width), ("depth", depth)):
        if not 0 < factor < 100:
            raise GraphError(f"tinynet: {name} must be a factor above 0, not {factor!r}")
    b = Builder()
    image = b.input((3, image_size, image_size))
    x = _padded_conv(b.section("stem", "conv_norm_act"), image, STEM_WIDTH, 3, 2, 1)
    for number, stage in enumerate(STAGES, start=1):
        out_channels = round_channels(stage.width * width)
        for layer in range(round_layers(stage.layers * depth)):
            stride = stage.stride if layer == 0 else 1
            x = _mbconv(
                b.section(f"stage{number}.layer{layer}"),
                x,
                out_channels,
                expanded=None if stage.expansion == 1 else round_channels(x.channels * stage.expansion),
                kernel=stage.kernel,
                stride=stride,
                residual=stride == 1 and x.channels == out_channels,
            )
    x = conv_norm_act(b.section("feature"), x, max(HEAD_WIDTH, round_channels(HEAD_WIDTH * width)), act="silu")
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})
