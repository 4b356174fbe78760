"""EfficientNet: inverted bottlenecks with squeeze-excite under compound scaling (Tan and Le 2019, arXiv 1905.11946).

The space is the one that EfficientNet-B0 was found in (sec. 4: MnasNet's, arXiv 1807.11626), its blocks inverted
bottlenecks only. Rules and constants are those of the published TensorFlow code (tensorflow/tpu
models/official/efficientnet): SAME padding, batch normalisation with eps 1e-3 and decay 0.99, depth rounded up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import Norm, conv_norm_act, inverted_bottleneck
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation


class EfficientNetStage(NamedTuple):
    """Equal blocks in a row; ``se_ratio`` is that of squeeze-excite to a block's input, 0 for none."""

    kernel: int
    expansion: int
    se_ratio: float
    layers: int
    width: int


B0 = (
    EfficientNetStage(3, 1, 0.25, 1, 16),
    EfficientNetStage(3, 6, 0.25, 2, 24),
    EfficientNetStage(5, 6, 0.25, 2, 40),
    EfficientNetStage(3, 6, 0.25, 3, 80),
    EfficientNetStage(5, 6, 0.25, 3, 112),
    EfficientNetStage(5, 6, 0.25, 4, 192),
    EfficientNetStage(3, 6, 0.25, 1, 320),
)
STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)
STEM_WIDTH, HEAD_WIDTH, RESOLUTION = 32, 1280, 224
NORM = Norm(eps=1e-3, momentum=0.01)

KERNELS = (3, 5)
EXPANSIONS = (1, 3, 6)
SE_RATIOS = (0.0, 0.25)
WIDTH_FACTORS = (0.75, 1.0, 1.25)  # of B0's widths
COMPOUND: dict[str, dict[str, Any]] = {  # options of the published scalings of B0
    "b0": {"width": 1.0, "depth": 1.0, "image_size": 224},
    "b1": {"width": 1.0, "depth": 1.1, "image_size": 240},
    "b2": {"width": 1.1, "depth": 1.2, "image_size": 260},
    "b3": {"width": 1.2, "depth": 1.4, "image_size": 300},
    "b4": {"width": 1.4, "depth": 1.8, "image_size": 380},
    "b5": {"width": 1.6, "depth": 2.2, "image_size": 456},
    "b6": {"width": 1.8, "depth": 2.6, "image_size": 528},
    "b7": {"width": 2.0, "depth": 3.1, "image_size": 600},
}


def round_filters(width: float) -> int:
    """EfficientNet's rounding: to the nearest multiple of 8, at least 8, no more than a tenth below ``width``."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


@lru_cache
def width_choices(base: int) -> tuple[int, ...]:
    """The widths that a stage of B0's width ``base`` may have, ascending."""
    return tuple(sorted({round_filters(base * factor) for factor in WIDTH_FACTORS}))


@lru_cache
def layer_choices(base: int) -> tuple[int, ...]:
    """How many layers a stage of ``base`` layers in B0 may have."""
    return tuple(range(max(1, base - 1), base + 2))


def efficientnet(
    choose: Choose,
    *,
    image_size: int = RESOLUTION,
    num_classes: int = 1000,
    width: float = 1.0,
    depth: float = 1.0,
    lite: bool = False,
    task: str = "classify",
) -> Graph:
    """An EfficientNet: kernel, expansion, squeeze-excite, layers and width of each of seven stages.

    ``width``, ``depth`` and ``image_size`` are compound scaling (``COMPOUND`` has the published ones): they multiply
    what is chosen, so a genotype means the same network, larger. ``lite`` has the rules of EfficientNet-Lite
    (tensorflow/tpu models/official/efficientnet/lite): ReLU6, no squeeze-excite, and a stem, a head and layers of the
    first and last stage that are never scaled.
    """
    if task != "classify":
        raise GraphError(f"efficientnet: no task {task!r}; there is classify")
    stages = []
    for number, base in enumerate(B0, start=1):
        stages.append(
            EfficientNetStage(
                kernel=choose.one_of(f"stage{number}.kernel", KERNELS),
                expansion=choose.one_of(f"stage{number}.expansion", EXPANSIONS),
                se_ratio=0.0 if lite else choose.one_of(f"stage{number}.se_ratio", SE_RATIOS),
                layers=choose.one_of(f"stage{number}.layers", layer_choices(base.layers)),
                width=choose.one_of(f"stage{number}.width", width_choices(base.width)),
            )
        )
    return _network(stages, image_size, depth, width, num_classes, lite)


def scaled_efficientnet(resolution: float, depth: float, width: float, *, num_classes: int = 1000) -> Graph:
    """EfficientNet-B0 with its 224 pixels, its layers and its widths multiplied, by EfficientNet's rounding."""
    return _network(B0, int(RESOLUTION * resolution), depth, width, num_classes, False)


def _network(
    stages: Sequence[EfficientNetStage], image_size: int, depth: float, width: float, num_classes: int, lite: bool
) -> Graph:
    for name, factor in (("width", width), ("depth", depth)):
        if not isinstance(factor, int | float) or not 0 < factor < 100:
            raise GraphError(f"efficientnet: {name} must be a factor above 0, not {factor!r}")
    act = "relu6" if lite else "silu"
    stem_and_head_width = 1.0 if lite else width  # the multiplier of stem and head
    b = Builder()
    x = b.input((3, image_size, image_size))
    x = conv_norm_act(b.section("stem"), x, round_filters(STEM_WIDTH * stem_and_head_width), 3, 2, act=act, norm=NORM)
    for index, (stage, first_stride) in enumerate(zip(stages, STAGE_STRIDES, strict=True)):
        out_channels = round_filters(stage.width * width)
        keeps_layers = lite and index in (0, len(STAGE_STRIDES) - 1)
        for layer in range(stage.layers if keeps_layers else ceil(stage.layers * depth)):
            stride = first_stride if layer == 0 else 1
            x = inverted_bottleneck(
                b.section(f"stage{index + 1}.layer{layer}"),
                x,
                out_channels,
                expanded=None if stage.expansion == 1 else x.channels * stage.expansion,
                kernel=stage.kernel,
                stride=stride,
                act=act,
                squeezed=max(1, int(x.channels * stage.se_ratio)) if stage.se_ratio else 0,
                residual=stride == 1 and x.channels == out_channels,
                norm=NORM,
            )
    b.section("feature")
    x = conv_norm_act(b, x, round_filters(HEAD_WIDTH * stem_and_head_width), act=act, norm=NORM)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


# -- the published notation: the block strings of efficientnet_builder.py, joined by commas --------------------------

_BLOCK = re.compile(r"r(\d+)_k(\d+)_s(\d+)_e(\d+)_i(\d+)_o(\d+)(?:_se(\d*\.?\d+))?", re.ASCII)


def parse_blocks(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from block strings, such as ``r2_k3_s22_e6_i16_o24_se0.25`` for each stage.

    Lite's strings have a ratio of squeeze-excite too, which its networks ignore.
    """
    blocks = text.strip().split(",")
    if len(blocks) != len(B0):
        raise GenotypeError(f"an EfficientNet has {len(B0)} block strings joined by commas, this one {len(blocks)}")
    decisions: dict[str, DecisionValue] = {}
    width = STEM_WIDTH
    for number, (block, stride) in enumerate(zip(blocks, STAGE_STRIDES, strict=True), start=1):
        match = _BLOCK.fullmatch(block.strip())
        if match is None:
            raise GenotypeError(
                f"block string {number} of the EfficientNet, {block!r}, is not like r2_k3_s22_e6_i16_o24_se0.25"
            )
        layers, kernel, strides, expansion, before, after = (int(field) for field in match.groups()[:6])
        if (strides, before) != (11 * stride, width):
            raise GenotypeError(
                f"block string {number} of the EfficientNet must have s{stride}{stride} and i{width}, not {block!r}"
            )
        decisions[f"stage{number}.kernel"] = kernel
        decisions[f"stage{number}.expansion"] = expansion
        if not options["lite"]:
            decisions[f"stage{number}.se_ratio"] = float(match[7] or 0)
        decisions[f"stage{number}.layers"] = layers
        decisions[f"stage{number}.width"] = width = after
    return decisions


def format_blocks(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The block strings of these decisions; Lite's get the published ratio of squeeze-excite, 0.25."""
    blocks = []
    width: DecisionValue = STEM_WIDTH
    for number, stride in enumerate(STAGE_STRIDES, start=1):
        fields = ("layers", "kernel", "expansion", "width", *([] if options["lite"] else ["se_ratio"]))
        missing = [field for field in fields if f"stage{number}.{field}" not in decisions]
        if missing:
            raise GenotypeError(f"EfficientNet's block strings need stage{number}.{missing[0]}")
        layers, kernel, expansion, after, *ratio = (decisions[f"stage{number}.{field}"] for field in fields)
        squeeze = ratio[0] if ratio else 0.25
        blocks.append(
            f"r{layers}_k{kernel}_s{stride}{stride}_e{expansion}_i{width}_o{after}"
            + (f"_se{squeeze}" if squeeze else "")
        )
        width = after
    return ",".join(blocks)


NOTATION = Notation(parse_blocks, format_blocks)
