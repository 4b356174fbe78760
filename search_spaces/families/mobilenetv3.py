"""MobileNetV3 Large and Small (Howard et al. 2019, arXiv 1905.02244), and the choices of every layer around them.

Constants are those of PyTorch's implementation (timm ``mobilenetv3_large_100``, ``_small_100``): padding
``kernel // 2``, batch normalisation with eps 1e-5 and momentum 0.1. Squeeze-excite is behind the depthwise
convolution's activation, with ReLU inside and a hard sigmoid for its gate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from search_spaces.blocks.heads import SSDLITE_EXTRA_WIDTHS, classifier, ssdlite
from search_spaces.blocks.mobile import conv_norm_act, squeeze_excite
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation


class Macro(NamedTuple):
    """What the space leaves as published: (width, layers, stride) of the stages, and the last two widths."""

    stages: tuple[tuple[int, int, int], ...]
    last: int
    feature: int


SIZES = {  # tables 1 and 2
    "large": Macro(((16, 1, 1), (24, 2, 2), (40, 3, 2), (80, 4, 2), (112, 2, 1), (160, 3, 2)), 960, 1280),
    "small": Macro(((16, 1, 2), (24, 2, 2), (40, 3, 2), (48, 2, 1), (96, 3, 2)), 576, 1024),
}
STEM_WIDTH = 16
KERNELS = (3, 5)
# Those of the published networks. Both write expanded widths; 184 of 80 is 2.3 times, 88 of 24 is 3.67 times.
EXPANSIONS = (2.3, 2.5, 3, 3.67, 4, 4.5, 6)
ACTIVATIONS = {"RE": "relu", "HS": "hswish"}


def make_divisible(width: float) -> int:
    """The published rounding: to the nearest multiple of 8, halves up, but never below nine tenths of the width."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


@block
def bottleneck(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    expanded: int | None,
    kernel: int,
    stride: int = 1,
    act: str,
    se: bool = False,
    residual: bool = False,
) -> Tensor:
    """``bneck`` (arXiv 1905.02244, fig. 4): 1x1 expansion, depthwise, squeeze-excite to a quarter, linear 1x1."""
    y = x if expanded is None else conv_norm_act(b.part("expand"), x, expanded, act=act)
    y = b.act(b.norm(b.part("depthwise").depthwise(y, kernel, stride, padding=kernel // 2)), act)
    if se:
        squeezed = make_divisible(y.channels / 4)
        y = squeeze_excite(b.part("squeeze_excite"), y, squeezed, act="relu", gate="hsigmoid")
    y = conv_norm_act(b.part("project"), y, out_channels, act="identity")
    return b.part("").add(x, y) if residual else y


def mobilenetv3(
    choose: Choose,
    *,
    size: str = "large",
    task: str = "classify",
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    kernels: Sequence[int] = KERNELS,
    expansions: Sequence[float] = EXPANSIONS,
) -> Graph:
    """A MobileNetV3 with its classifier (``task='classify'``) or an SSDLite head (``task='detect'``, sec. 6.3).

    Widths and depths are those of ``size``, ``large`` or ``small``; every layer chooses its kernel, its expansion (not
    the first, which has none), squeeze-excite and its activation. ``width`` multiplies every width but the
    classifier's, and the stem's only from 0.75 on, as published. A detector taps the expansion of the first block at
    stride 32 and the last convolution, and halves the widths from that block on; the head is TensorFlow's, with its
    constants.
    """
    _check_options(size, task)
    macro = SIZES[size]
    kernels, expansions = tuple(kernels), tuple(expansions)
    last_strided = max(number for number, (_, _, stride) in enumerate(macro.stages, start=1) if stride == 2)
    thinner = 2 if task == "detect" else 1

    b = Builder()
    x = b.input((3, image_size, image_size))
    stem = make_divisible(STEM_WIDTH * width) if width >= 0.75 else STEM_WIDTH
    b.section("stem", "conv_norm_act")
    x = b.act(b.norm(b.conv(x, stem, 3, 2, padding=1)), "hswish")
    tap = x
    for number, (base_width, layers, first_stride) in enumerate(macro.stages, start=1):
        out_channels = make_divisible(base_width * width / (thinner if number >= last_strided else 1))
        for layer in range(layers):
            name = f"stage{number}.layer{layer}"
            layer_choices = _choose_layer(choose, name, kernels, expansions if number > 1 else None)
            stride = 1 if layer else first_stride
            residual = stride == 1 and x.channels == out_channels
            expansion, act = layer_choices.expansion, layer_choices.act
            expanded = None if expansion is None else make_divisible(x.channels * expansion)
            b.section(name)
            if number == last_strided and stride == 2 and expanded is not None:  # written out, for the tap
                b.section(name, "bottleneck")
                tap = x = conv_norm_act(b.part("expand"), x, expanded, act=act)
                b.part("")
                expanded = None
            x = bottleneck(
                b,
                x,
                out_channels,
                expanded=expanded,
                kernel=layer_choices.kernel,
                stride=stride,
                act=act,
                se=layer_choices.se,
                residual=residual,
            )
    x = conv_norm_act(b.section("last"), x, make_divisible(macro.last * width / thinner), act="hswish")
    b.section("head")
    if task == "detect":
        extra = tuple(make_divisible(w * width) for w in SSDLITE_EXTRA_WIDTHS)
        return b.build(ssdlite(b, [tap, x], num_classes=num_classes, extra_widths=extra))
    b.section("feature", "feature")
    x = b.act(b.conv(b.global_pool(x), macro.feature, bias=True), "hswish")
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


def _check_options(size: str, task: str) -> None:
    if size not in SIZES:
        raise GraphError(f"mobilenetv3: no size {size!r}; there are {', '.join(SIZES)}")
    if task not in ("classify", "detect"):
        raise GraphError(f"mobilenetv3: no task {task!r}; there are classify and detect")


class LayerChoices(NamedTuple):
    """What one layer chooses; ``expansion`` is ``None`` for a layer that has none."""

    kernel: int
    expansion: float | None
    se: bool
    act: str


def _choose_layer(
    choose: Choose, name: str, kernels: tuple[int, ...], expansions: tuple[float, ...] | None
) -> LayerChoices:
    return LayerChoices(
        kernel=choose.one_of(f"{name}.kernel", kernels),
        expansion=None if expansions is None else choose.one_of(f"{name}.expansion", expansions),
        se=choose.one_of(f"{name}.se", (False, True)),
        act=choose.one_of(f"{name}.act", tuple(ACTIVATIONS.values())),
    )


_LAYER = re.compile(r"k(?P<kernel>\d+)(_e(?P<expansion>[\d.]+))?(?P<se>_SE)?_(?P<act>RE|HS)")


def _layers(options: Mapping[str, Any]) -> Iterator[str]:
    for number, (_, layers, _) in enumerate(SIZES[options["size"]].stages, start=1):
        for layer in range(layers):
            yield f"stage{number}.layer{layer}"


def parse_rows(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from the rows of the paper's tables joined by ``:``, such as ``k5_e3_SE_RE``."""
    names, rows = list(_layers(options)), text.strip().split(":")
    if len(rows) != len(names):
        raise GenotypeError(f"a {options['size']} MobileNetV3 has {len(names)} layers joined by ':', not {len(rows)}")
    decisions: dict[str, DecisionValue] = {}
    for name, row in zip(names, rows, strict=True):
        match = _LAYER.fullmatch(row)
        if match is None or (match["expansion"] is None) != name.startswith("stage1."):
            form = "k3_SE_RE" if name.startswith("stage1.") else "k5_e3_SE_RE"
            raise GenotypeError(f"{name} of a MobileNetV3 is written as in {form}, without SE or with HS, not {row!r}")
        decisions[f"{name}.kernel"] = int(match["kernel"])
        if match["expansion"] is not None:
            try:
                decisions[f"{name}.expansion"] = float(match["expansion"])
            except ValueError:
                raise GenotypeError(f"{name}: {match['expansion']!r} is no expansion") from None
        decisions[f"{name}.se"] = match["se"] is not None
        decisions[f"{name}.act"] = ACTIVATIONS[match["act"]]
    return decisions


def format_rows(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The text that ``parse_rows`` reads."""
    short = {act: letters for letters, act in ACTIVATIONS.items()}
    rows = []
    try:
        for name in _layers(options):
            expansion, act = decisions.get(f"{name}.expansion"), str(decisions[f"{name}.act"])
            fields = [f"k{decisions[f'{name}.kernel']}", *([] if expansion is None else [f"e{expansion}"])]
            rows.append("_".join([*fields, *(["SE"] if decisions[f"{name}.se"] else []), short[act]]))
    except KeyError as error:
        raise GenotypeError(f"these decisions are no MobileNetV3: {error} is not there") from None
    return ":".join(rows)


NOTATION = Notation(parse_rows, format_rows)
