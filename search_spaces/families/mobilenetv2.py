"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), and the space of widths, expansions and depths around it.

Constants are those of PyTorch's implementations (timm ``mobilenetv2_100``): padding ``kernel // 2``, batch
normalisation with eps 1e-5 and momentum 0.1. ``classics.mobilenet_v2`` is the one network in TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.blocks.heads import SSDLITE_EXTRA_WIDTHS, classifier, ssdlite
from search_spaces.blocks.mobile import conv_norm_act
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation

# (expansion t, width c, layers n, stride s) of table 2; its first stage does not expand, in no network of the space
STAGES = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
STEM_WIDTH = 32
FEATURE_WIDTH = 1280
EXPANSIONS = (3, 4, 6)
WIDTH_MULTIPLIERS = (0.5, 0.75, 1.0, 1.25, 1.5)


def make_divisible(width: float) -> int:
    """The published rounding: to the nearest multiple of 8, halves up, but never below nine tenths of the width."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


def width_choices(base: int, multipliers: Sequence[float]) -> tuple[int, ...]:
    """The widths that one stage may have, ascending."""
    return tuple(sorted({make_divisible(base * m) for m in multipliers}))


def layer_choices(layers: int) -> tuple[int, ...]:
    """The depths that one stage may have: the published one, one less, one more."""
    return tuple(range(max(1, layers - 1), layers + 2))


@block
def inverted_residual(
    b: Builder, x: Tensor, out_channels: int, *, expanded: int | None, stride: int = 1, residual: bool = False
) -> Tensor:
    """Inverted residual with linear bottleneck (arXiv 1801.04381, fig. 4): 1x1 expansion, 3x3 depthwise, linear 1x1."""
    y = x if expanded is None else conv_norm_act(b.part("expand"), x, expanded)
    y = b.act(b.norm(b.part("depthwise").depthwise(y, 3, stride, padding=1)), "relu6")
    y = conv_norm_act(b.part("project"), y, out_channels, act="identity")
    return b.part("").add(x, y) if residual else y


def mobilenetv2(
    choose: Choose,
    *,
    task: str = "classify",
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    expansions: Sequence[int] = EXPANSIONS,
    width_multipliers: Sequence[float] = WIDTH_MULTIPLIERS,
) -> Graph:
    """A MobileNetV2 with its classifier (``task='classify'``) or an SSDLite head (``task='detect'``, sec. 6.2).

    Each stage has a width, a depth and, but for the first, an expansion. ``width`` multiplies every width after it is
    chosen (the paper's width multiplier); below 1 it leaves the last convolution at 1280, as there. SSDLite taps the
    expansion of the first block at stride 32 and the last convolution; the head is TensorFlow's, with its constants.
    """
    if task not in ("classify", "detect"):
        raise GraphError(f"mobilenetv2: no task {task!r}; there are classify and detect")
    expansions, width_multipliers = tuple(expansions), tuple(width_multipliers)

    def chosen_width(name: str, base: int) -> int:
        chosen = choose.one_of(name, width_choices(base, width_multipliers))
        return chosen if width == 1 else make_divisible(chosen * width)

    b = Builder()
    x = b.input((3, image_size, image_size))
    b.section("stem", "conv_norm_act")
    x = b.act(b.norm(b.conv(x, chosen_width("stem.width", STEM_WIDTH), 3, 2, padding=1)), "relu6")
    tap = x
    for number, (base_expansion, base_width, base_layers, first_stride) in enumerate(STAGES, start=1):
        stage = f"stage{number}"
        expansion = choose.one_of(f"{stage}.expansion", expansions) if base_expansion > 1 else 1
        out_channels = chosen_width(f"{stage}.width", base_width)
        for layer in range(choose.one_of(f"{stage}.layers", layer_choices(base_layers))):
            stride = 1 if layer else first_stride
            residual = stride == 1 and x.channels == out_channels
            expanded = None if expansion == 1 else make_divisible(x.channels * expansion)
            b.section(f"{stage}.layer{layer}")
            if stride == 2 and expanded is not None:  # written out, for the tap
                b.section(f"{stage}.layer{layer}", "inverted_residual")
                tap = x = conv_norm_act(b.part("expand"), x, expanded)
                b.part("")
                expanded = None
            x = inverted_residual(b, x, out_channels, expanded=expanded, stride=stride, residual=residual)
    x = conv_norm_act(b.section("feature"), x, max(FEATURE_WIDTH, make_divisible(FEATURE_WIDTH * width)))
    b.section("head")
    if task == "classify":
        return b.build({"logits": classifier(b, x, num_classes)})
    extra = tuple(make_divisible(w * width) for w in SSDLITE_EXTRA_WIDTHS)
    return b.build(ssdlite(b, [tap, x], num_classes=num_classes, extra_widths=extra))


def parse_table(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from the paper's table 2 in a line: the stem's width, then ``t,c,n`` of every stage."""
    stem, *rows = text.split() or [""]
    try:
        numbers = [[int(field) for field in row.split(",")] for row in rows]
        decisions: dict[str, DecisionValue] = {"stem.width": int(stem)}
    except ValueError:
        raise GenotypeError(f"a MobileNetV2 line is whole numbers, 'c t,c,n t,c,n ...', not {text!r}") from None
    if len(rows) != len(STAGES) or any(len(row) != 3 for row in numbers):
        raise GenotypeError(f"a MobileNetV2 line has the stem's width and {len(STAGES)} stages t,c,n, not {text!r}")
    for number, ((base_expansion, *_), (expansion, chosen, layers)) in enumerate(
        zip(STAGES, numbers, strict=True), start=1
    ):
        if base_expansion > 1:
            decisions[f"stage{number}.expansion"] = expansion
        elif expansion != 1:
            raise GenotypeError(f"stage {number} of a MobileNetV2 has expansion 1, not {expansion}")
        decisions |= {f"stage{number}.width": chosen, f"stage{number}.layers": layers}
    return decisions


def format_table(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The line that ``parse_table`` reads."""
    stages = [f"stage{number}" for number in range(1, len(STAGES) + 1)]
    try:
        rows = [
            f"{decisions.get(f'{stage}.expansion', 1)},{decisions[f'{stage}.width']},{decisions[f'{stage}.layers']}"
            for stage in stages
        ]
        return " ".join([str(decisions["stem.width"]), *rows])
    except KeyError as error:
        raise GenotypeError(f"these decisions are no MobileNetV2: {error} is not there") from None


NOTATION = Notation(parse_table, format_table)
