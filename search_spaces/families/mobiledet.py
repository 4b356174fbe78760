"""MobileDets: object detection architectures for mobile accelerators (Xiong, Liu et al. 2020, arXiv 2004.14525).

The space is the one of the released search code (IBN+Fused+Tucker); ``blocks`` cuts it down to the paper's two
smaller ones. Counts of the published networks in this file's convention: MACs are those of convolutions at 320x320,
parameters as published are all variables, batch normalisation's running statistics included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from math import floor
from operator import itemgetter
from typing import Any

from search_spaces.blocks.heads import SSDLITE_EXTRA_WIDTHS, classifier, ssdlite
from search_spaces.blocks.mobile import Norm, conv_norm_act, fused_inverted_bottleneck, inverted_bottleneck, tucker
from search_spaces.graph.block_memo import block, sequential
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import ChoiceGroup, Choose, choose_all
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation

# (stride of the first layer, layers) of blocks 1 to 7; layers after the first may be skipped
MACRO = ((1, 1), (2, 4), (2, 4), (2, 4), (1, 4), (2, 4), (1, 1))
BASE_FILTERS = (32, 16, 32, 48, 96, 96, 160, 192, 192)  # stem, blocks 1 to 7, classifier's 1x1 convolution
FILTER_MULTIPLIERS = (0.5, 0.625, 0.75, 1.0, 1.25, 1.5, 2.0)
BLOCK_SETS = {"ibn": 1, "ibn+fused": 2, "ibn+fused+tucker": 3}
SKIP = "skip"
NORM = Norm(eps=1e-2, momentum=0.01)


def round_to_8(width: float) -> int:
    """TuNAS' rounding: to the nearest multiple of 8, halves up, at least 8, without a ten-per-cent rule."""
    return max(8, floor(width / 8 + 0.5) * 8)


@lru_cache
def filter_choices(base: int, multipliers: Sequence[float]) -> tuple[int, ...]:
    """The widths that one block may have, ascending."""
    return tuple(sorted({round_to_8(base * m) for m in multipliers}))


@lru_cache
def layer_choices(blocks: str, expansions: Sequence[int], first_block: bool, skippable: bool) -> tuple[str, ...]:
    """The operations that one layer may be, in the order of the published architecture string.

    In the first block nothing expands: ``ibn`` starts at its depthwise convolution, and ``fused`` is its projection
    alone, for both kernels.
    """
    if blocks not in BLOCK_SETS:
        raise GraphError(f"mobiledet: no block set {blocks!r}; there are {', '.join(BLOCK_SETS)}")
    if any(not isinstance(e, int) or e < 1 for e in expansions):
        raise GraphError(f"mobiledet: expansions must be whole numbers of at least 1, not {expansions}")
    factors = (1,) if first_block else expansions
    sets = [
        [f"ibn_k{k}_e{e}" for e in factors for k in (3, 5)],
        [f"fused_k{k}_e{e}" for e in factors for k in (3, 5)],
        [f"tucker_k3_i{i}_o{o}" for i in (0.25, 0.75) for o in (0.25, 0.75)],
    ]
    choices = [op for group in sets[: BLOCK_SETS[blocks]] for op in group]
    return (*choices, SKIP) if skippable else tuple(choices)


@lru_cache
def _parse_op(op: str) -> tuple[str, tuple[float, ...]]:
    kind, *fields = op.split("_")
    return kind, tuple(float(f[1:]) for f in fields)


@block
def _mobiledet_layer(b: Builder, x: Tensor, op: str, width: int, stride: int, residual: bool, cpu: bool) -> Tensor:
    kind, numbers = _parse_op(op)
    act = "hswish" if cpu else "relu6"
    if kind == "tucker":
        _, input_ratio, output_ratio = numbers
        return tucker(
            b,
            x,
            width,
            input_rank=round_to_8(input_ratio * x.shape[0]),
            output_rank=round_to_8(output_ratio * width),
            stride=stride,
            act=act,
            residual=residual,
            norm=NORM,
        )
    kernel, expansion = int(numbers[0]), int(numbers[1])
    expanded = x.shape[0] * expansion
    make = inverted_bottleneck if kind == "ibn" else fused_inverted_bottleneck
    return make(
        b,
        x,
        width,
        expanded=None if expansion == 1 else expanded,
        kernel=kernel,
        stride=stride,
        act=act,
        squeezed=round_to_8(0.25 * expanded) if cpu and kind == "ibn" else 0,
        residual=residual,
        norm=NORM,
    )


@lru_cache(maxsize=1 << 13)
def _layer_arguments(ops: tuple[str, ...], width: int, stride: int, cpu: bool) -> tuple[tuple[Any, ...], ...]:
    """Arguments of ``_mobiledet_layer`` for the layers of a block."""
    return ((ops[0], width, stride, False, cpu), *[(op, width, 1, True, cpu) for op in ops[1:] if op != SKIP])


def mobiledet(
    choose: Choose,
    *,
    blocks: str = "ibn+fused+tucker",
    target: str = "edgetpu",
    task: str = "detect",
    image_size: int = 320,
    num_classes: int = 90,
    width: float = 1.0,
    base_filters: Sequence[int] = BASE_FILTERS,
    filter_multipliers: Sequence[float] = FILTER_MULTIPLIERS,
    expansions: Sequence[int] = (4, 8),
) -> Graph:
    """A MobileDet with an SSDLite head (``task='detect'``) or a classifier (``task='classify'``).

    ``target`` sets the published conventions: ``cpu`` has squeeze-excite in every inverted bottleneck and h-swish,
    ``edgetpu``, ``dsp`` and ``gpu`` neither, and ReLU6. ``width`` multiplies every width after it is chosen (the
    published depth multiplier), so a genotype means the same network, thinner. Options are the widths at 1.0.
    """
    if target not in ("cpu", "dsp", "edgetpu", "gpu"):
        raise GraphError(f"mobiledet: no target {target!r}; there are cpu, dsp, edgetpu, gpu")
    if task not in ("detect", "classify"):
        raise GraphError(f"mobiledet: no task {task!r}; there are detect and classify")
    if not isinstance(width, int | float) or not 0 < width < 100:
        raise GraphError(f"mobiledet: width must be a factor above 0, not {width!r}")
    cpu = target == "cpu"
    base_filters, filter_multipliers = tuple(base_filters), tuple(filter_multipliers)
    expansions = tuple(expansions)
    if len(base_filters) != len(MACRO) + 2:
        raise GraphError(f"mobiledet: base_filters needs {len(MACRO) + 2} widths, not {len(base_filters)}")
    layer_choices(blocks, expansions, False, True)  # complains of bad options before any choice is made

    chosen_values = choose_all(
        choose, _choices(blocks, expansions, base_filters, filter_multipliers, task == "classify")
    )

    def chosen_width(name: str) -> int:
        chosen: int = chosen_values[name]
        return chosen if width == 1 else round_to_8(chosen * width)

    b = Builder()
    x = b.input((3, image_size, image_size))
    x = conv_norm_act(
        b.section("stem"), x, chosen_width("stem.width"), 3, 2, act="hswish" if cpu else "relu6", norm=NORM
    )
    taps = []
    for number, first_stride, chosen_ops, width_name, name_layers in _STAGES:
        x = sequential(
            _mobiledet_layer,
            b,
            x,
            _layer_arguments(ops := chosen_ops(chosen_values), chosen_width(width_name), first_stride, cpu),
            (name_layers, ops),
        )
        if number in (5, 7):
            taps.append(x)
    if task == "classify":
        feature = chosen_width("feature.width")
        x = conv_norm_act(b.section("feature"), x, feature, act="hswish" if cpu else "relu6", norm=NORM)
        return b.build({"logits": classifier(b.section("head"), x, num_classes)})
    extra = SSDLITE_EXTRA_WIDTHS if width == 1 else tuple(round_to_8(w * width) for w in SSDLITE_EXTRA_WIDTHS)
    return b.build(ssdlite(b.section("head"), taps, num_classes=num_classes, extra_widths=extra))


def _layer_names(number: int, layers: int) -> list[str]:
    return [f"block{number}.layer{layer}" for layer in range(layers)]


def _ops_getter(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[str, ...]]:
    """Takes the operations of a block's layers out of all decisions."""
    return itemgetter(*names) if len(names) > 1 else lambda chosen_values: (chosen_values[names[0]],)


def _present_layers(names: Sequence[str], ops: Sequence[str]) -> list[str]:
    """The names of a block's layers that are not skipped."""
    return [name for name, op in zip(names, ops, strict=True) if op != SKIP]


_STAGES = [
    (
        number,
        stride,
        _ops_getter(_layer_names(number, layers)),
        f"block{number}.width",
        partial(_present_layers, _layer_names(number, layers)),
    )
    for number, (stride, layers) in enumerate(MACRO, start=1)
]


@lru_cache
def _choices(
    blocks: str, expansions: Sequence[int], base: Sequence[int], multipliers: Sequence[float], classify: bool
) -> ChoiceGroup:
    options: dict[str, Sequence[Any]] = {"stem.width": filter_choices(base[0], multipliers)}
    for number, (_, layers) in enumerate(MACRO, start=1):
        for layer, name in enumerate(_layer_names(number, layers)):
            options[name] = layer_choices(blocks, expansions, number == 1, layer > 0)
        options[f"block{number}.width"] = filter_choices(base[number], multipliers)
    if classify:
        options["feature.width"] = filter_choices(base[-1], multipliers)
    return ChoiceGroup(options)


def _string_positions(options: Mapping[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
    """The choices in the order of the published string, with their options."""
    base, multipliers = tuple(options["base_filters"]), tuple(options["filter_multipliers"])
    expansions = tuple(options["expansions"])
    positions: list[tuple[str, tuple[Any, ...]]] = [("stem.width", filter_choices(base[0], multipliers))]
    for number, (_, layers) in enumerate(MACRO, start=1):
        for layer in range(layers):
            ops = layer_choices(options["blocks"], expansions, number == 1, layer > 0)
            positions.append((f"block{number}.layer{layer}", ops))
        positions.append((f"block{number}.width", filter_choices(base[number], multipliers)))
    positions.append(("feature.width", filter_choices(base[-1], multipliers)))
    return positions


def parse_string(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from the published string: option numbers joined by ``:``, the classifier's width last.

    A detector has no such width: its number may be there or not, and is checked and left out.
    """
    positions = _string_positions(options)
    fields = text.strip().split(":")
    detector = options["task"] == "detect"
    if len(fields) not in ((len(positions) - 1, len(positions)) if detector else (len(positions),)):
        raise GenotypeError(f"a MobileDet string has {len(positions)} numbers joined by ':', this one {len(fields)}")
    decisions: dict[str, DecisionValue] = {}
    for index, (field, (name, choices)) in enumerate(zip(fields, positions, strict=False), start=1):
        if not (field.isascii() and field.isdigit()) or int(field) >= len(choices):
            raise GenotypeError(
                f"number {index} of the MobileDet string, {name}, must be 0 to {len(choices) - 1}, not {field!r}"
            )
        decisions[name] = choices[int(field)]
    if detector:
        decisions.pop("feature.width", None)
    return decisions


def format_string(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The published string of these decisions; a detector gets the published classifier width's number, 5."""
    numbers = []
    for name, choices in _string_positions(options):
        unused = name == "feature.width" and name not in decisions
        value = choices[min(5, len(choices) - 1)] if unused else decisions.get(name)
        if value not in choices:
            raise GenotypeError(f"a MobileDet string needs {name} from {choices}, not {value!r}")
        numbers.append(str(choices.index(value)))
    return ":".join(numbers)


NOTATION = Notation(parse_string, format_string)
