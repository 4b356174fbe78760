"""MnasNet (Tan et al. 2019, arXiv 1807.11626): a layer for each of seven blocks, and how often it is repeated.

The space is that of the paper's section 4.1, with the expansions and widths of the code that was released for it
(google/vertex-ai-nas, nas_architecture/tunable_mnasnet_search_space.py), which has neither skips nor ``sepconv``, but
an expansion of 1. Constants are those of PyTorch's implementation (timm ``mnasnet_100``, ``semnasnet_100``,
``mnasnet_small``): padding ``kernel // 2``, batch normalisation with eps 1e-5 and momentum 0.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act, squeeze_excite
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation

# MobileNetV2's, which the paper's search starts from
BASE_LAYERS = (1, 2, 3, 4, 3, 3, 1)
BASE_FILTERS = (16, 24, 32, 64, 96, 160, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
STEM_FILTERS = 32
FEATURE_FILTERS = 1280

OPERATIONS_BY_LETTERS = {"cn": "conv", "ds": "sepconv", "ir": "mbconv"}  # by the letters of the block strings
KERNELS = (3, 5)
EXPANSIONS = (3, 6)  # of mbconv; expansion 1 is sepconv
SE_RATIOS = (0.0, 0.25)
SKIPS_BY_LETTERS = {"": "identity", "maxpool": "max_pool", "avgpool": "avg_pool", "noskip": "none"}
FILTER_MULTIPLIERS = (0.75, 1.0, 1.25)


def make_divisible(width: float) -> int:
    """The published rounding under a width multiplier: to a multiple of 8, at least nine tenths of the width."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


def filter_choices(base: int) -> tuple[int, ...]:
    """The widths that one block may have."""
    return tuple(int(base * m) for m in FILTER_MULTIPLIERS)


def layer_choices(base: int) -> tuple[int, ...]:
    """How often one block's layer may be repeated."""
    return tuple(range(max(1, base - 1), base + 2))


@block
def mnasnet_layer(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    op: str,
    kernel: int,
    expansion: int,
    stride: int,
    se_ratio: float,
    skip: str,
) -> Tensor:
    """One layer: convolution, separable convolution, or mobile inverted bottleneck.

    Squeeze-excite keeps ``se_ratio`` of the layer's input width, no multiple of 8, and is behind the spatial
    convolution's activation. A skip is there where it fits. The paper names pooling as one, but not its window: here it
    is 3x3 with the layer's stride.
    """
    y = x if op != "mbconv" else conv_norm_act(b.part("expand"), x, x.channels * expansion, act="relu")
    b.part("convolve" if op == "conv" else "depthwise")
    groups, spatial = (1, out_channels) if op == "conv" else (y.channels, y.channels)
    y = b.act(b.norm(b.conv(y, spatial, kernel, stride, padding=kernel // 2, groups=groups)), "relu")
    if se_ratio:
        y = squeeze_excite(b.part("squeeze_excite"), y, max(1, round(x.channels * se_ratio)))
    if op != "conv":
        y = conv_norm_act(b.part("project"), y, out_channels, act="identity")
    b.part("")
    if skip == "none" or x.channels != out_channels or (skip == "identity" and stride > 1):
        return y
    return b.add(y, x if skip == "identity" else b.pool(x, skip.removesuffix("_pool"), 3, stride, padding=1))


def mnasnet(
    choose: Choose,
    *,
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    stem_filters: int = STEM_FILTERS,
    base_filters: Sequence[int] = BASE_FILTERS,
    base_layers: Sequence[int] = BASE_LAYERS,
) -> Graph:
    """A MnasNet classifier.

    Every block chooses its layer, how often that is repeated, and its width from ``base_filters`` and a quarter more
    or less. ``width`` multiplies every width after it is chosen, but for the last convolution's 1280.
    """
    if not len(base_filters) == len(base_layers) == len(STRIDES):
        raise GraphError(f"mnasnet: base_filters and base_layers need {len(STRIDES)} numbers each")

    def scaled(filters: int) -> int:
        return filters if width == 1 else make_divisible(filters * width)

    b = Builder()
    x = b.input((3, image_size, image_size))
    b.section("stem", "conv_norm_act")
    x = b.act(b.norm(b.conv(x, scaled(stem_filters), 3, 2, padding=1)), "relu")
    for number, (filters, layers, first_stride) in enumerate(
        zip(base_filters, base_layers, STRIDES, strict=True), start=1
    ):
        name = f"block{number}"
        op = choose.one_of(f"{name}.op", tuple(OPERATIONS_BY_LETTERS.values()))
        repeats = choose.one_of(f"{name}.layers", layer_choices(layers))
        kernel = choose.one_of(f"{name}.kernel", KERNELS)
        expansion = choose.one_of(f"{name}.expansion", EXPANSIONS) if op == "mbconv" else 1
        out_channels = scaled(choose.one_of(f"{name}.filters", filter_choices(filters)))
        se_ratio = choose.one_of(f"{name}.se_ratio", SE_RATIOS)
        skip = choose.one_of(f"{name}.skip", tuple(SKIPS_BY_LETTERS.values()))
        for layer in range(repeats):
            x = mnasnet_layer(
                b.section(f"{name}.layer{layer}"),
                x,
                out_channels,
                op=op,
                kernel=kernel,
                expansion=expansion,
                stride=1 if layer else first_stride,
                se_ratio=se_ratio,
                skip=skip,
            )
    x = conv_norm_act(b.section("feature"), x, FEATURE_FILTERS, act="relu")
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


_BLOCK = re.compile(
    r"(?P<op>cn|ds|ir)_r(?P<layers>\d+)_k(?P<kernel>\d+)(_e(?P<expansion>\d+))?_c(?P<filters>\d+)"
    r"(_se(?P<se>[\d.]+))?(_(?P<skip>maxpool|avgpool|noskip))?"
)


def parse_blocks(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from timm's block strings without strides, joined by ``:``, such as ``ir_r3_k5_e3_c40_se0.25``."""
    strings = text.strip().split(":")
    if len(strings) != len(STRIDES):
        raise GenotypeError(f"a MnasNet has {len(STRIDES)} blocks joined by ':', this one {len(strings)}")
    decisions: dict[str, DecisionValue] = {}
    for number, string in enumerate(strings, start=1):
        match = _BLOCK.fullmatch(string)
        if match is None or (match["expansion"] is None) != (match["op"] != "ir"):
            raise GenotypeError(f"block {number} of a MnasNet is written as in ir_r3_k5_e3_c40_se0.25, not {string!r}")
        name = f"block{number}"
        decisions |= {f"{name}.{field}": int(match[field]) for field in ("layers", "kernel", "filters")}
        if match["expansion"] is not None:
            decisions[f"{name}.expansion"] = int(match["expansion"])
        try:
            decisions[f"{name}.se_ratio"] = float(match["se"] or 0)
        except ValueError:
            raise GenotypeError(f"block {number} of a MnasNet: {match['se']!r} is no ratio") from None
        decisions[f"{name}.op"] = OPERATIONS_BY_LETTERS[match["op"]]
        decisions[f"{name}.skip"] = SKIPS_BY_LETTERS[match["skip"] or ""]
    return decisions


def format_blocks(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The text that ``parse_blocks`` reads."""
    ops, skips = ({word: short for short, word in table.items()} for table in (OPERATIONS_BY_LETTERS, SKIPS_BY_LETTERS))
    strings = []
    try:
        for name in (f"block{number}" for number in range(1, len(STRIDES) + 1)):
            op, se_ratio, skip = (decisions[f"{name}.{field}"] for field in ("op", "se_ratio", "skip"))
            fields = [ops[str(op)], f"r{decisions[f'{name}.layers']}", f"k{decisions[f'{name}.kernel']}"]
            fields += [f"e{decisions[f'{name}.expansion']}"] if op == "mbconv" else []
            fields += [f"c{decisions[f'{name}.filters']}", *([f"se{se_ratio}"] if se_ratio else []), skips[str(skip)]]
            strings.append("_".join(field for field in fields if field))
    except KeyError as error:
        raise GenotypeError(f"these decisions are no MnasNet: {error} is not there") from None
    return ":".join(strings)


NOTATION = Notation(parse_blocks, format_blocks)
