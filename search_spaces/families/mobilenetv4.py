"""MobileNetV4: universal models for the mobile ecosystem (Qin, Leichner, Delakis et al. 2024, arXiv 2404.10518).

Every layer is a universal inverted bottleneck, whose kind follows from its two optional depthwise convolutions: before
the expansion and after it (extra depthwise), only after it (inverted bottleneck), only before it (ConvNext-like) or
none (FFN). Hybrid networks may have mobile multi-query attention as a layer. What a layer computes is as in timm
(mobilenetv3.py, _efficientnet_blocks.py, attention2d.py), the reference in PyTorch: symmetric padding,
``torch.nn.BatchNorm2d``'s constants, no biases but the classifier's. The options are not the paper's own, which were
not to be had: they are all that occur in its published networks, and some between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import Norm
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation

# of the stem and of stages 0 to 3, each of which halves the image
WIDTHS = (
    (16, 24, 32, 40),
    (24, 32, 40, 48, 64),
    (48, 64, 80, 96, 128),
    (96, 128, 160, 192, 224),
    (128, 192, 256, 320, 384, 512),
)
LAYERS = ((1, 2, 3, 4), (4, 6, 8, 11, 12, 15), (4, 6, 8, 11, 13, 16, 18))  # of stages 1 to 3; stage 0 is one block
STAGE_KINDS = (("conv", "fused"), ("conv", "fused", "uib"))  # of stages 0 and 1; later ones have layers
LAYER_KINDS = ("uib", "mqa")
KERNELS = (3, 5)
EXPANSIONS = (2, 3, 4, 6)
ATTENTION_HEADS = (4, 8)
KEY_DIMS = (32, 48, 64)
KV_STRIDES = (1, 2)
LAST_WIDTH = 960  # of stage 4, a 1x1 convolution
HEAD_WIDTH = 1280
NORM = Norm(eps=1e-5, momentum=0.1)
LAYER_SCALE = 1e-5


def round_to_8(width: float) -> int:
    """timm's ``make_divisible``: the nearest multiple of 8, halves up, but no more than a tenth below ``width``."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def _conv_norm_act(
    b: Builder, x: Tensor, out_channels: int, kernel: int = 1, stride: int = 1, *, act: str, groups: int = 1
) -> Tensor:
    """Convolution with PyTorch's symmetric padding, batch normalisation, activation."""
    y = b.conv(x, out_channels, kernel, stride, groups=groups, padding=kernel // 2)
    return b.act(b.norm(y, eps=NORM.eps, momentum=NORM.momentum), act)


conv_norm_act = block(_conv_norm_act)


@block
def fused_inverted_bottleneck(
    b: Builder, x: Tensor, out_channels: int, *, expanded: int, kernel: int, act: str
) -> Tensor:
    """Fused inverted bottleneck on a stride of 2: one full convolution expands, a linear 1x1 projects."""
    y = _conv_norm_act(b.part("expand"), x, expanded, kernel, 2, act=act)
    return _conv_norm_act(b.part("project"), y, out_channels, act="identity")


@block
def universal_inverted_bottleneck(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    k_start: int,
    k_mid: int,
    expanded: int,
    stride: int,
    act: str,
    layer_scale: bool,
) -> Tensor:
    """Universal inverted bottleneck (arXiv 2404.10518); a kernel of 0 is no depthwise convolution.

    The stride is on the depthwise convolution behind the expansion, or on the one before it where that is the only
    one. The input is added wherever shapes allow.
    """
    y = x
    if k_start:
        y = _conv_norm_act(
            b.part("depthwise_start"), y, x.channels, k_start, 1 if k_mid else stride, act="identity", groups=x.channels
        )
    y = _conv_norm_act(b.part("expand"), y, expanded, act=act)
    if k_mid:
        y = _conv_norm_act(b.part("depthwise_mid"), y, expanded, k_mid, stride, act=act, groups=expanded)
    y = _conv_norm_act(b.part("project"), y, out_channels, act="identity")
    b.part("")
    if layer_scale:
        y = b.layer_scale(y, LAYER_SCALE)
    return b.add(x, y) if stride == 1 and x.channels == out_channels else y


def _keys(b: Builder, x: Tensor, width: int, stride: int) -> Tensor:
    """The keys or the values of all heads: ``(width, positions)``."""
    if stride > 1:
        # A kernel of 3 with a padding of 1 has one position on a map of one position, at any stride.
        strides = [min(stride, extent) for extent in x.shape[1:]]
        x = b.norm(b.depthwise(x, 3, strides, padding=1), eps=NORM.eps, momentum=NORM.momentum)
    y = b.conv(x, width)
    return b.reshape(y, (width, y.shape[1] * y.shape[2]))


@block
def _attend(b: Builder, x: Tensor, heads: int, key_dim: int, kv_stride: int) -> Tensor:
    channels, height, width = x.shape
    positions = height * width
    q = b.scale(b.part("query").conv(x, heads * key_dim), key_dim**-0.5)
    q = b.permute(b.reshape(q, (heads, key_dim, positions)), (0, 2, 1))
    # All heads have the same keys, so the queries of all of them are rows of one matrix.
    q = b.reshape(q, (heads * positions, key_dim))
    keys = _keys(b.part("key"), x, key_dim, kv_stride)
    scores = b.part("").matmul(q, keys)
    values = b.permute(_keys(b.part("value"), x, key_dim, kv_stride), (1, 0))
    y = b.part("").reshape(b.matmul(b.softmax(scores), values), (heads, positions, key_dim))
    y = b.reshape(b.permute(y, (0, 2, 1)), (heads * key_dim, height, width))
    y = b.part("output").conv(y, channels)
    return b.part("").layer_scale(y, LAYER_SCALE)


def multi_query_attention(b: Builder, x: Tensor, *, heads: int, key_dim: int, kv_stride: int) -> Tensor:
    """Mobile multi-query attention (arXiv 2404.10518): keys and values that all heads share.

    Batch normalisation, attention with values as wide as the keys, LayerScale, and the input added. ``kv_stride``
    above 1 has a strided depthwise convolution before keys and another one before values.
    """
    # The block has the part between them, because a normalisation and a sum may be shared with the code around it.
    y = b.norm(x, eps=NORM.eps, momentum=NORM.momentum)
    return b.add(x, _attend(b, y, heads, key_dim, kv_stride))


def mobilenetv4(
    choose: Choose,
    *,
    hybrid: bool = False,
    act: str = "relu",
    task: str = "classify",
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    widths: Sequence[Sequence[int]] = WIDTHS,
    layers: Sequence[Sequence[int]] = LAYERS,
    kernels: Sequence[int] = KERNELS,
    expansions: Sequence[int] = EXPANSIONS,
) -> Graph:
    """A MobileNetV4 classifier.

    ``hybrid`` lets layers of stages 2 and 3 but their first be attention, and puts LayerScale behind every universal
    inverted bottleneck, as the published hybrid networks have it. ``width`` multiplies every width after it is
    chosen, by timm's rules: the stem is never thinner than chosen, and the head's width and the attention's stay.
    """
    kernels, expansions = tuple(kernels), tuple(expansions)
    _check_options(task, width, widths, layers, kernels)

    b = Builder()
    stem = choose.one_of("stem.width", widths[0])
    x = b.input((3, image_size, image_size))
    x = conv_norm_act(b.section("stem"), x, round_to_8(stem * max(width, 1)), 3, 2, act=act)
    for stage in range(4):
        kind = choose.one_of(f"stage{stage}.kind", STAGE_KINDS[stage]) if stage < len(STAGE_KINDS) else "uib"
        stage_widths = widths[stage + 1]
        out_channels = round_to_8(choose.one_of(f"stage{stage}.width", stage_widths) * width)
        if kind == "conv":
            kernel = choose.one_of(f"stage{stage}.layer0.kernel", kernels)
            conv_width = choose.one_of(f"stage{stage}.layer0.conv_width", stage_widths)
            x = conv_norm_act(b.section(f"stage{stage}.layer0"), x, round_to_8(conv_width * width), kernel, 2, act=act)
            x = conv_norm_act(b.section(f"stage{stage}.layer1"), x, out_channels, act=act)
        elif kind == "fused":
            kernel = choose.one_of(f"stage{stage}.layer0.kernel", kernels)
            expanded = round_to_8(x.channels * choose.one_of(f"stage{stage}.layer0.expansion", expansions))
            b.section(f"stage{stage}.layer0")
            x = fused_inverted_bottleneck(b, x, out_channels, expanded=expanded, kernel=kernel, act=act)
        else:
            for layer in range(choose.one_of(f"stage{stage}.layers", layers[stage - 1])):
                names = _layer_names(stage, layer)
                if hybrid and stage > 1 and layer and choose.one_of(f"{names.layer}.kind", LAYER_KINDS) == "mqa":
                    x = _choose_attention(choose, b, x, names.layer)
                else:
                    stride = 1 if layer else 2
                    x = _choose_bottleneck(
                        choose, b, x, names, out_channels, stride, kernels, expansions, act=act, layer_scale=hybrid
                    )
    x = conv_norm_act(b.section("stage4.layer0"), x, round_to_8(LAST_WIDTH * width), act=act)
    x = conv_norm_act(b.section("feature"), b.global_pool(x), HEAD_WIDTH, act=act)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


def _check_options(
    task: str,
    width: float,
    widths: Sequence[Sequence[int]],
    layers: Sequence[Sequence[int]],
    kernels: tuple[int, ...],
) -> None:
    if task != "classify":
        raise GraphError(f"mobilenetv4: no task {task!r}; there is classify")
    if not isinstance(width, int | float) or not 0 < width < 100:
        raise GraphError(f"mobilenetv4: width must be a factor above 0, not {width!r}")
    if len(widths) != len(WIDTHS) or len(layers) != len(LAYERS):
        raise GraphError(f"mobilenetv4: widths needs {len(WIDTHS)} rows of options, and layers {len(LAYERS)}")
    if any(not isinstance(k, int) or k < 1 or k % 2 == 0 for k in kernels):
        raise GraphError(f"mobilenetv4: kernels must be odd numbers, not {kernels}")


class LayerNames(NamedTuple):
    """The name of a layer, and of its choices where it is a universal inverted bottleneck."""

    layer: str
    k_mid: str
    k_start: str
    k_strided: str
    expansion: str


@lru_cache(maxsize=1024)
def _layer_names(stage: int, layer: int) -> LayerNames:
    name = f"stage{stage}.layer{layer}"
    return LayerNames(name, *[f"{name}.{choice}" for choice in ("k_mid", "k_start", "k_strided", "expansion")])


@lru_cache
def _optional(kernels: tuple[int, ...]) -> tuple[int, ...]:
    """The options of a depthwise convolution that may be left out."""
    return (0, *kernels)


def _choose_attention(choose: Choose, b: Builder, x: Tensor, name: str) -> Tensor:
    """The layer ``name`` as multi-query attention."""
    return multi_query_attention(
        b.section(name, "multi_query_attention"),
        x,
        heads=choose.one_of(f"{name}.heads", ATTENTION_HEADS),
        key_dim=choose.one_of(f"{name}.key_dim", KEY_DIMS),
        kv_stride=choose.one_of(f"{name}.kv_stride", KV_STRIDES),
    )


def _choose_bottleneck(
    choose: Choose,
    b: Builder,
    x: Tensor,
    names: LayerNames,
    out_channels: int,
    stride: int,
    kernels: tuple[int, ...],
    expansions: tuple[int, ...],
    *,
    act: str,
    layer_scale: bool,
) -> Tensor:
    """A layer as a universal inverted bottleneck."""
    layer_name, k_mid_name, k_start_name, k_strided_name, expansion_name = names
    optional_kernels = _optional(kernels)
    k_mid = choose.one_of(k_mid_name, optional_kernels)
    if stride == 2 and not k_mid:  # something must have the stride
        k_start = choose.one_of(k_strided_name, kernels)
    else:
        k_start = choose.one_of(k_start_name, optional_kernels)
    expansion = choose.one_of(expansion_name, expansions)
    return universal_inverted_bottleneck(
        b.section(layer_name),
        x,
        out_channels,
        k_start=k_start,
        k_mid=k_mid,
        expanded=round_to_8(x.channels * expansion),
        stride=stride,
        act=act,
        layer_scale=layer_scale,
    )


# -- timm's block strings ---------------------------------------------------------------------------------------------


def _layer_block(decisions: Mapping[str, Any], stage: int, layer: int) -> str:
    prefix, c = f"stage{stage}.layer{layer}", decisions[f"stage{stage}.width"]
    if decisions.get(f"{prefix}.kind") == "mqa":
        h, d, v = [decisions[f"{prefix}.{key}"] for key in ("heads", "key_dim", "kv_stride")]
        return f"mqa_r1_k3_h{h}_s1{f'_v{v}' if v != 1 else ''}_d{d}_c{c}"
    k, e = decisions[f"{prefix}.k_mid"], decisions[f"{prefix}.expansion"]
    a = decisions[f"{prefix}.{'k_start' if layer or k else 'k_strided'}"]
    return f"uir_r1_a{a}_k{k}_s{1 if layer else 2}_e{e}_c{c}"


def _blocks(decisions: Mapping[str, Any]) -> list[list[str]]:
    """Stem, stages 0 to 3 and the last convolution as timm's block strings, each block on its own."""
    rows = [[f"stem_c{decisions['stem.width']}"]]
    for stage in range(4):
        name = f"stage{stage}"
        kind, c = decisions.get(f"{name}.kind", "uib"), decisions[f"{name}.width"]
        if kind == "conv":
            k, first = decisions[f"{name}.layer0.kernel"], decisions[f"{name}.layer0.conv_width"]
            rows.append([f"cn_r1_k{k}_s2_e1_c{first}", f"cn_r1_k1_s1_e1_c{c}"])
        elif kind == "fused":
            k, e = decisions[f"{name}.layer0.kernel"], decisions[f"{name}.layer0.expansion"]
            rows.append([f"er_r1_k{k}_s2_e{e}_c{c}"])
        else:
            rows.append([_layer_block(decisions, stage, layer) for layer in range(decisions[f"{name}.layers"])])
    return [*rows, [f"cn_r1_k1_s1_c{LAST_WIDTH}"]]


def format_blocks(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The stages as timm's block strings, equal neighbours counted by ``r``, the stride being the first one's."""
    try:
        rows = _blocks(decisions)
    except KeyError as error:
        raise GenotypeError(f"MobileNetV4's block strings need a decision for {error}") from None
    texts = []
    for row in rows:
        runs = [list(run) for _, run in groupby(row, lambda text: text.replace("_s2", "_s1"))]
        texts.append(" ".join(run[0].replace("_r1_", f"_r{len(run)}_") for run in runs))
    return " | ".join(texts)


def _unrolled(text: str) -> list[tuple[str, str, dict[str, int]]]:
    """Every block of a stage on its own: its string, its kind and its numbers by letter."""
    blocks = []
    for run in text.split():
        kind, *fields = run.split("_")
        if not all(f[:1].isalpha() and f[1:].isascii() and f[1:].isdigit() and len(f) < 8 for f in fields):
            raise GenotypeError(f"{run!r} is no block string such as uir_r1_a3_k5_s2_e4_c80")
        numbers = {f[0]: int(f[1:]) for f in fields}
        repeats = numbers.get("r", 1)
        if repeats > 1000:
            raise GenotypeError(f"{run!r} repeats too often")
        for i in range(repeats):
            single = run.replace(f"_r{repeats}_", "_r1_")
            blocks.append((single.replace("_s2_", "_s1_") if i else single, kind, numbers))
    return blocks


def _stage_decisions(
    stage: int, blocks: Sequence[tuple[str, str, dict[str, int]]], hybrid: bool
) -> dict[str, DecisionValue]:
    name = f"stage{stage}"
    _, first_kind, first = blocks[0]
    decisions_of_stage: dict[str, DecisionValue] = {f"{name}.width": blocks[-1][2]["c"]}
    if stage < len(STAGE_KINDS):
        decisions_of_stage[f"{name}.kind"] = {"cn": "conv", "er": "fused"}.get(first_kind, "uib")
    if first_kind == "cn":
        return decisions_of_stage | {f"{name}.layer0.kernel": first["k"], f"{name}.layer0.conv_width": first["c"]}
    if first_kind == "er":
        return decisions_of_stage | {f"{name}.layer0.kernel": first["k"], f"{name}.layer0.expansion": first["e"]}
    decisions_of_stage[f"{name}.layers"] = len(blocks)
    for layer, (_, kind, numbers) in enumerate(blocks):
        prefix = f"{name}.layer{layer}"
        if hybrid and stage > 1 and layer:
            decisions_of_stage[f"{prefix}.kind"] = "mqa" if kind == "mqa" else "uib"
        if kind == "mqa":
            decisions_of_stage |= {f"{prefix}.heads": numbers["h"], f"{prefix}.key_dim": numbers["d"]}
            decisions_of_stage[f"{prefix}.kv_stride"] = numbers.get("v", 1)
        else:
            start = "k_start" if layer or numbers["k"] else "k_strided"
            decisions_of_stage |= {f"{prefix}.k_mid": numbers["k"], f"{prefix}.{start}": numbers["a"]}
            decisions_of_stage[f"{prefix}.expansion"] = numbers["e"]
    return decisions_of_stage


def parse_blocks(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from timm's block strings: stem, stages 0 to 3 and the last convolution, separated by ``|``.

    ``stem_c32`` is the stem's width; the others are as in timm's ``_gen_mobilenet_v4``.
    """
    rows = [_unrolled(part) for part in text.split("|")]
    if len(rows) != 6 or not all(rows):
        raise GenotypeError(f"a MobileNetV4 has a stem and 5 stages, separated by '|'; {text!r} has {len(rows)} parts")
    if not options["hybrid"] and any(kind == "mqa" for row in rows for _, kind, _ in row):
        raise GenotypeError("attention layers (mqa) need the option hybrid=True")
    try:
        decisions: dict[str, DecisionValue] = {"stem.width": rows[0][0][2]["c"]}
        for stage, row in enumerate(rows[1:5]):
            decisions |= _stage_decisions(stage, row, options["hybrid"])
        expected = _blocks(decisions)
    except KeyError as error:
        raise GenotypeError(f"block strings without {error} are no MobileNetV4: {text!r}") from None
    for part, (row, expected_texts) in enumerate(zip(rows, expected, strict=True)):
        row_texts = [block_text for block_text, _, _ in row]
        if row_texts != expected_texts:
            raise GenotypeError(
                f"part {part} of MobileNetV4's block strings should be {expected_texts}, not {row_texts}"
            )
    return decisions


NOTATION = Notation(parse_blocks, format_blocks)
