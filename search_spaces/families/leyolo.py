"""LeYOLO: an inverted-bottleneck detector with an FPAN neck and a DNiN head (Hollard et al. 2024, arXiv 2406.14239).

LeYOLO was designed by hand; the space varies what its four published networks differ in and what their configuration
files state layer by layer. Blocks, rounding and head follow the repository LilianHollard/LeYOLO
(ultralytics/nn/modules/block.py, conv.py, head.py and parse_model in nn/tasks.py).

The published FLOP counts are thop's, 2 x (MACs + 4 x elements normalised), and the published parameters include the
16 fixed weights of the expectation over distances, which is decoding and no part of the graph.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from search_spaces.blocks.mobile import Norm, conv_norm_act, depthwise_norm_act
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation

NORM = Norm(eps=1e-3, momentum=0.03)  # set on every layer by ultralytics' initialize_weights
MAX_CHANNELS = 576  # of widths before they are multiplied
DISTANCE_BINS = 16

# Published: 1.0 (Nano), 1.33 (Small, Medium, Large)
WIDTH_MULTIPLES = (0.5, 0.75, 1.0, 1.33)
# Of the stem and of the stages at strides 8, 16 and 32, before the multiple; published: 16, 32, 64, 96
WIDTHS = ((8, 16, 24), (24, 32, 40, 48), (48, 64, 80, 96), (80, 96, 112, 128))
# Layers of the stages; published: 2, 5, 4 (Nano, Small) and 3, 6, 5 (Medium, Large)
DEPTHS = ((1, 2, 3, 4), (3, 4, 5, 6, 7), (2, 3, 4, 5, 6))
KERNELS = (3, 5)
# Inner width of a block over the width of its input, both before the multiple; published: 3, 6 and 9
EXPANSIONS = (2, 3, 6, 9)
NECK_LAYERS = (1, 2, 3, 4)
NECK_EXPANSIONS = (1, 2, 3)  # over the width of the block's output; published: 2


def scale_width(channels: float, multiple: float) -> int:
    """LeYOLO's width: at most 576, multiplied, rounded up to a multiple of 8; inner widths of blocks likewise."""
    return ceil(min(channels, MAX_CHANNELS) * multiple / 8) * 8


@block
def _conv(b: Builder, x: Tensor, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution with a bias, normalisation, SiLU."""
    y = b.conv(x, width, kernel, stride, groups=groups, padding=kernel // 2, bias=True)
    return b.act(b.norm(y, eps=NORM.eps, momentum=NORM.momentum), "silu")


@block
def _inverted_bottleneck(
    b: Builder, x: Tensor, width: int, expanded: int | None, kernel: int, stride: int = 1
) -> Tensor:
    """Inverted bottleneck whose convolutions have a bias; ``expanded=None`` starts at the depthwise one.

    It adds its input wherever the shapes agree. The configurations' squeeze-excite flag is read by no code.
    """
    y = x if expanded is None else _conv(b.part("expand"), x, expanded)
    y = _conv(b.part("depthwise"), y, y.channels, kernel, stride, y.channels)
    y = b.norm(b.part("project").conv(y, width, bias=True), eps=NORM.eps, momentum=NORM.momentum)
    b.part("")
    return b.add(x, y) if stride == 1 and x.channels == width else y


@block
def _sppf(b: Builder, x: Tensor, width: int) -> Tensor:
    """Spatial pyramid pooling, fast: half the width, 5x5 maxima of one, two and three rounds, all together."""
    pooled = [conv_norm_act(b.part("reduce"), x, x.channels // 2, act="silu", norm=NORM)]
    b.part("")
    for _ in range(3):
        pooled.append(b.pool(pooled[-1], "max", 5))
    return conv_norm_act(b.part("expand"), b.concat(pooled), width, act="silu", norm=NORM)


@block
def _predictor(b: Builder, x: Tensor, hidden: int, out_channels: int) -> Tensor:
    """DNiN's branch: 1x1, two depthwise 3x3, 1x1 with a bias."""
    y = conv_norm_act(b.part("reduce"), x, hidden, act="silu", norm=NORM)
    for layer in range(2):
        y = depthwise_norm_act(b.part(f"depthwise{layer}"), y, 3, act="silu", norm=NORM)
    return b.part("predict").conv(y, out_channels, bias=True)


def dnin(b: Builder, features: Sequence[Tensor], *, num_classes: int) -> dict[str, Tensor]:
    """The anchor-free DNiN head on features of strides 8, 16 and 32; levels share no weights.

    Level ``i`` yields ``box{i}`` of ``(4 * 16, height, width)`` and ``class{i}`` of ``(num_classes, height, width)``,
    logits without a background class. Box channel ``16 * side + bin`` is the logit of the distance ``bin``, sides in
    the order left, top, right, bottom. To decode: a softmax over the bins and its expectation give four distances in
    units of the stride ``8 * 2**i``; the box reaches so far from the middle of its cell,
    ``(column + 0.5, row + 0.5) * stride``, and its scores are sigmoids of the logits.
    """
    finest = features[0].channels
    box_width = max(16, finest // 4, 4 * DISTANCE_BINS)
    class_width = max(finest, min(num_classes, 100))
    outputs = {}
    for level, x in enumerate(features):
        for name, hidden, out_channels in (("box", box_width, 4 * DISTANCE_BINS), ("class", class_width, num_classes)):
            with b.scope(f"{name}{level}"):
                outputs[f"{name}{level}"] = _predictor(b, x, hidden, out_channels)
    return outputs


def leyolo(
    choose: Choose,
    *,
    image_size: int = 640,
    num_classes: int = 80,
    width: float = 1.0,
    width_multiples: Sequence[float] = WIDTH_MULTIPLES,
    widths: Sequence[Sequence[int]] = WIDTHS,
    depths: Sequence[Sequence[int]] = DEPTHS,
    kernels: Sequence[int] = KERNELS,
    expansions: Sequence[float] = EXPANSIONS,
    taps: Sequence[int] | None = None,
) -> Graph:
    """A LeYOLO detector; its outputs are those of ``dnin``.

    All chosen widths are before the multiple, which is the chosen one times ``width``. ``taps`` says behind how many
    blocks of the neck's three last branches the head reads, finest first; by default behind all.
    """
    _check_options(width, widths, depths, taps)
    multiple = choose.one_of("width_multiple", width_multiples) * width

    b = Builder()
    x = b.input((3, image_size, image_size))
    features = _choose_backbone(choose, b, x, multiple, widths, depths, kernels, expansions)
    neck = _choose_neck(choose, widths, kernels)
    branches = _fpan_neck(b, features, neck, multiple)
    head_inputs = [
        block_outputs[min(tap, neck.layers)]
        for block_outputs, tap in zip(branches, taps or (neck.layers,) * 3, strict=True)
    ]
    return b.build(dnin(b.section("head", "dnin"), head_inputs, num_classes=num_classes))


def _check_options(
    width: float, widths: Sequence[Sequence[int]], depths: Sequence[Sequence[int]], taps: Sequence[int] | None
) -> None:
    if not isinstance(width, int | float) or not 0 < width < 100:
        raise GraphError(f"leyolo: width must be a factor above 0, not {width!r}")
    if len(widths) != 4 or len(depths) != 3:
        raise GraphError(
            f"leyolo: widths must list options for the stem and 3 stages, depths for 3 stages, not {widths}, {depths}"
        )
    if taps is not None and (len(taps) != 3 or any(not isinstance(tap, int) or tap < 0 for tap in taps)):
        raise GraphError(f"leyolo: taps must be three numbers of blocks, not {taps!r}")


def _choose_backbone(
    choose: Choose,
    b: Builder,
    x: Tensor,
    multiple: float,
    widths: Sequence[Sequence[int]],
    depths: Sequence[Sequence[int]],
    kernels: Sequence[int],
    expansions: Sequence[float],
) -> list[Tensor]:
    """The stem and three stages; features of strides 8, 16 and 32, the last one pooled."""
    in_width = choose.one_of("stem.width", widths[0])  # of the next block's input, before the multiple
    x = _conv(b.section("stem"), x, scale_width(in_width, multiple), 3, 2)
    x = _conv(b.section("stem.layer0"), x, scale_width(in_width, multiple))
    x = _inverted_bottleneck(b.section("stem.layer1"), x, scale_width(in_width, multiple), None, 3, 2)
    features = []
    for stage in (1, 2, 3):
        stage_width = choose.one_of(f"stage{stage}.width", widths[stage])
        for layer in range(choose.one_of(f"stage{stage}.layers", depths[stage - 1])):
            name = f"stage{stage}.layer{layer}"
            kernel = choose.one_of(f"{name}.kernel", kernels)
            expansion = choose.one_of(f"{name}.expansion", expansions)
            expanded = scale_width(in_width * expansion, multiple)
            b.section(name)
            x = _inverted_bottleneck(b, x, scale_width(stage_width, multiple), expanded, kernel, 1 if layer else 2)
            in_width = stage_width
        features.append(x)
    features[2] = _sppf(b.section("sppf"), x, x.channels)
    return features


class NeckChoices(NamedTuple):
    """What a neck is made of; ``p3``, ``p4`` and ``p5`` are the branches at strides 8, 16 and 32."""

    layers: int
    expansion: float
    rows: Mapping[str, tuple[int, int]]  # width and kernel of a branch's blocks
    last_rows: Mapping[str, str]  # the branch whose row a branch's last block has


def _choose_neck(choose: Choose, widths: Sequence[Sequence[int]], kernels: Sequence[int]) -> NeckChoices:
    layers = choose.one_of("neck.layers", NECK_LAYERS)
    expansion = choose.one_of("neck.expansion", NECK_EXPANSIONS)
    rows, last_rows = {}, {}
    for level, options in zip(("p3", "p4", "p5"), widths[1:], strict=True):
        rows[level] = choose.one_of(f"neck.{level}.width", options), choose.one_of(f"neck.{level}.kernel", kernels)
        # In Medium and Large the last blocks at strides 8 and 32 are as those at stride 16.
        last_rows[level] = level if level == "p4" else choose.one_of(f"neck.{level}.exit", (level, "p4"))
    return NeckChoices(layers, expansion, rows, last_rows)


def _fpan_neck(b: Builder, features: Sequence[Tensor], neck: NeckChoices, multiple: float) -> list[list[Tensor]]:
    """FPAN, down to stride 8 and back: of its three last branches, finest first, the input and what each block makes.

    The first block at stride 8, on the largest concatenation, has no expansion.
    """

    def branch(x: Tensor, level: str, way: str) -> list[Tensor]:
        block_outputs = [x]
        for layer in range(neck.layers):
            block_width, kernel = neck.rows[neck.last_rows[level] if layer == neck.layers - 1 else level]
            expanded = None if level == "p3" and layer == 0 else scale_width(block_width * neck.expansion, multiple)
            b.section(f"neck.{level}_{way}.layer{layer}")
            block_outputs.append(
                _inverted_bottleneck(b, block_outputs[-1], scale_width(block_width, multiple), expanded, kernel)
            )
        return block_outputs

    def upwards(x: Tensor, lateral: Tensor, level: str) -> Tensor:
        b.section(f"neck.{level}_up")
        return b.concat([b.resize(x, lateral.shape[1:]), lateral])

    def downwards(x: Tensor, lateral: Tensor, level: str) -> Tensor:
        y = _conv(b.section(f"neck.{level}_down"), x, scale_width(neck.rows[level][0], multiple), 3, 2)
        return b.concat([y, lateral])

    top = branch(upwards(features[2], features[1], "p4"), "p4", "up")[-1]
    branches = [branch(upwards(top, features[0], "p3"), "p3", "up")]
    branches.append(branch(downwards(branches[0][-1], top, "p4"), "p4", "down"))
    branches.append(branch(downwards(branches[1][-1], features[2], "p5"), "p5", "down"))
    return branches


# -- a short notation, for want of a published one ---------------------------------------------------------------------

_FORM = (
    "1.0x16/32:k3e6,k3e3/64:k5e3,k5e3,k5e3/96:k5e9,k5e6/3e2:32k3p3,64k5,96k5p5: the multiple and the stem's width;"
    " three stages, each a width and the kernel and expansion of every layer; the neck's layers and expansion, and"
    " width, kernel and last block's level of its branches"
)
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_WHOLE = r"([0-9]+)"
_STEM = re.compile(f"{_NUMBER}x{_WHOLE}")
_STAGE = re.compile(f"{_WHOLE}:(.*)")
_LAYER = re.compile(f"k{_WHOLE}e{_NUMBER}")
_NECK = re.compile(f"{_WHOLE}e{_WHOLE}:{_WHOLE}k{_WHOLE}(p3|p4),{_WHOLE}k{_WHOLE},{_WHOLE}k{_WHOLE}(p4|p5)")


def _fields(pattern: re.Pattern[str], text: str) -> list[Any]:
    match = pattern.fullmatch(text)
    if match is None:
        raise GenotypeError(f"{text!r} is no part of a LeYOLO string, which is of the form {_FORM}")
    return [int(field) if field.isdecimal() else field for field in match.groups()]


def parse_string(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from this space's own string; see ``format_string``."""
    parts = text.strip().split("/")
    if len(parts) != 5:
        raise GenotypeError(f"a LeYOLO string has 5 parts joined by '/', this one {len(parts)}; its form is {_FORM}")
    multiple, stem = _fields(_STEM, parts[0])
    decisions: dict[str, DecisionValue] = {"width_multiple": float(multiple), "stem.width": stem}
    for stage, part in enumerate(parts[1:4], start=1):
        stage_width, listed = _fields(_STAGE, part)
        rows = [_fields(_LAYER, row) for row in str(listed).split(",")]
        decisions[f"stage{stage}.width"] = stage_width
        decisions[f"stage{stage}.layers"] = len(rows)
        for layer, (kernel, expansion) in enumerate(rows):
            decisions[f"stage{stage}.layer{layer}.kernel"] = kernel
            decisions[f"stage{stage}.layer{layer}.expansion"] = float(expansion)
    decisions.update(zip(_NECK_NAMES, _fields(_NECK, parts[4]), strict=True))
    return decisions


_NECK_NAMES = (
    "neck.layers",
    "neck.expansion",
    *("neck.p3.width", "neck.p3.kernel", "neck.p3.exit"),
    *("neck.p4.width", "neck.p4.kernel"),
    *("neck.p5.width", "neck.p5.kernel", "neck.p5.exit"),
)


def format_string(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The decisions in short, part by part as the network is built, for example ``1.0x16/32:k3e6,k3e3/...``."""
    try:
        parts = ["{}x{}".format(decisions["width_multiple"], decisions["stem.width"])]
        for stage in ("stage1", "stage2", "stage3"):
            rows = [
                "k{}e{}".format(*[decisions[f"{stage}.layer{layer}.{what}"] for what in ("kernel", "expansion")])
                for layer in range(int(str(decisions[f"{stage}.layers"])))
            ]
            parts.append(f"{decisions[f'{stage}.width']}:{','.join(rows)}")
        parts.append("{}e{}:{}k{}{},{}k{},{}k{}{}".format(*[decisions[name] for name in _NECK_NAMES]))
    except KeyError as error:
        raise GenotypeError(f"a LeYOLO string needs a decision for {error}") from None
    return "/".join(parts)


NOTATION = Notation(parse_string, format_string)
