"""FBNet (Wu et al. 2019, arXiv 1812.03443): one of nine blocks for each of 22 layers.

The networks and constants are those of the authors' code (facebookresearch/mobile-vision, mobile_cv/arch/fbnet_v2,
PyTorch): padding ``kernel // 2``, batch normalisation with eps 1e-5 and momentum 0.1, and a bias in every convolution
but those of ``skip``. Published FLOPs are multiply-adds and one for each position that the last pooling averages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import floor
from typing import Any, NamedTuple

from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation

# (width, layers, stride of the first) of the stages to be searched, table 1
STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
STEM_WIDTH = 16
SKIP = "skip"


class CandidateBlock(NamedTuple):
    """A row of table 2: kernel and expansion, and groups of the 1x1 convolutions."""

    kernel: int
    expansion: int
    groups: int = 1


CANDIDATES = {
    "k3_e1": CandidateBlock(3, 1),
    "k3_e1_g2": CandidateBlock(3, 1, 2),
    "k3_e3": CandidateBlock(3, 3),
    "k3_e6": CandidateBlock(3, 6),
    "k5_e1": CandidateBlock(5, 1),
    "k5_e1_g2": CandidateBlock(5, 1, 2),
    "k5_e3": CandidateBlock(5, 3),
    "k5_e6": CandidateBlock(5, 6),
}
CHOICES = (*CANDIDATES, SKIP)


class ReferenceImplementation(NamedTuple):
    """Where published implementations differ: biases before normalisations; a 1x1 convolution that expands by 1."""

    bias: bool
    expands_by_1: bool


IMPLEMENTATIONS = {"mobile-vision": ReferenceImplementation(True, False), "timm": ReferenceImplementation(False, True)}


def divisible_by_8(width: float) -> int:
    """mobile-vision's rounding: to the nearest multiple of 8, halves up, but never below 0.95 of the width."""
    whole = int(width)
    if whole % 8 == 0:
        return max(8, whole)
    rounded = (floor(whole / 8 + 0.5) or 1) * 8
    return rounded if rounded >= 0.95 * whole else rounded + 8


def _conv_norm_act(
    b: Builder, x: Tensor, out_channels: int, kernel: int, stride: int, act: str, bias: bool, groups: int = 1
) -> Tensor:
    y = b.conv(x, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)
    return b.act(b.norm(y), act)


def _channel_shuffle(b: Builder, x: Tensor, groups: int) -> Tensor:
    channels, height, size = x.shape
    y = b.reshape(x, (groups, channels // groups, height, size))
    return b.reshape(b.permute(y, (1, 0, 2, 3)), x.shape)


@block
def inverted_residual(
    b: Builder,
    x: Tensor,
    out_channels: int,
    candidate: CandidateBlock,
    *,
    stride: int,
    residual: bool,
    implementation: ReferenceImplementation,
) -> Tensor:
    """The block of fig. 3: 1x1 convolution, channel shuffle where it is grouped, depthwise, 1x1 convolution.

    mobile-vision leaves out a first convolution that would not widen, and still shuffles.
    """
    kernel, expansion, groups = candidate
    bias = implementation.bias
    y = x
    if expansion > 1 or implementation.expands_by_1:
        y = _conv_norm_act(b.part("expand"), y, x.channels * expansion, 1, 1, "relu", bias, groups)
    if groups > 1:
        y = _channel_shuffle(b.part("shuffle"), y, groups)
    y = _conv_norm_act(b.part("depthwise"), y, y.channels, kernel, stride, "relu", bias, y.channels)
    y = _conv_norm_act(b.part("project"), y, out_channels, 1, 1, "identity", bias, groups)
    return b.part("").add(x, y) if residual else y


def fbnet(
    choose: Choose,
    *,
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    feature_width: int = 1984,
    implementation: str = "mobile-vision",
) -> Graph:
    """An FBNet classifier.

    A layer that is skipped is nothing, or where it changes width or stride a 1x1 convolution, as in mobile-vision.
    ``width`` multiplies every width, that of the last convolution, ``feature_width``, too. ``implementation='timm'``
    has no biases, and a first convolution in blocks of expansion 1, as the paper's figure does.
    """
    if implementation not in IMPLEMENTATIONS:
        raise GraphError(f"fbnet: no implementation {implementation!r}; there are {', '.join(IMPLEMENTATIONS)}")
    details = IMPLEMENTATIONS[implementation]

    def scaled(base: int) -> int:
        return base if width == 1 else divisible_by_8(base * width)

    b = Builder()
    x = b.input((3, image_size, image_size))
    x = _conv_norm_act(b.section("stem", "conv_norm_act"), x, scaled(STEM_WIDTH), 3, 2, "relu", details.bias)
    for number, (base_width, layers, first_stride) in enumerate(STAGES, start=1):
        out_channels = scaled(base_width)
        for layer in range(layers):
            name = f"stage{number}.layer{layer}"
            op = choose.one_of(name, CHOICES)
            stride = 1 if layer else first_stride
            same = stride == 1 and x.channels == out_channels
            if op != SKIP:
                b.section(name)
                x = inverted_residual(
                    b, x, out_channels, CANDIDATES[op], stride=stride, residual=same, implementation=details
                )
            elif not same:
                x = _conv_norm_act(b.section(name, "conv_norm_act"), x, out_channels, 1, stride, "relu", False)
    x = _conv_norm_act(b.section("feature", "conv_norm_act"), x, scaled(feature_width), 1, 1, "relu", details.bias)
    b.section("head", "classifier")
    return b.build({"logits": b.reshape(b.conv(b.global_pool(x), num_classes, bias=True), (num_classes,))})


def _names() -> Iterator[str]:
    for number, (_, layers, _) in enumerate(STAGES, start=1):
        for layer in range(layers):
            yield f"stage{number}.layer{layer}"


def parse_blocks(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from the paper's names of the blocks, layer by layer, joined by ``:``."""
    names, blocks = list(_names()), text.strip().split(":")
    if len(blocks) != len(names):
        raise GenotypeError(f"an FBNet has {len(names)} blocks joined by ':', this one {len(blocks)}")
    return dict(zip(names, blocks, strict=True))


def format_blocks(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The text that ``parse_blocks`` reads."""
    missing = [name for name in _names() if decisions.get(name) not in CHOICES]
    if missing:
        raise GenotypeError(f"an FBNet needs {missing[0]} from {CHOICES}, not {decisions.get(missing[0])!r}")
    return ":".join(str(decisions[name]) for name in _names())


NOTATION = Notation(parse_blocks, format_blocks)
