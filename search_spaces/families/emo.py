"""EMO and EMOv2: one block for convolution and window attention (arXiv 2301.01146 and 2412.06674).

The papers design by hand and search nothing. The spaces here are the grid of scalars that their models are given by:
depth, width, expansion, depthwise kernel and attention of each stage, and the width of its attention's heads.
Published FLOPs are fvcore's: multiply-adds, those of attention included, two for each element that batch
normalisation writes and five for each of layer normalisation; maps at 224x224 unless stated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from search_spaces.blocks.heads import SSDLITE_EXTRA_WIDTHS, SSDLITE_NORM, classifier
from search_spaces.blocks.mobile import squeeze_excite
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation

# Options of stages 1 to 4. They contain the models of up to 6 M parameters.
DEPTHS = ((2, 3, 4), (2, 3, 4), (6, 7, 8, 9, 10), (2, 3, 4))
WIDTHS = ((32, 48, 64), (48, 72, 96), (80, 120, 160, 200), (168, 180, 200, 240, 288, 320))
EXPANSIONS = (2, 2.5, 3, 3.5, 4, 5)
KERNELS = (3, 5)
EMO_HEAD_DIMS = (16, 20, 21, 24, 32)
EMOV2_HEAD_DIMS = (16, 20, 24, 32)
EMO_ATTENTION = ("none", "remote")
EMOV2_ATTENTION = ("none", "remote", "close", "hybrid")
STEM_WIDTHS = (16, 24, 32)

# Normalisation and activation at the head of the blocks of stages 1 to 4
NORM_AND_ACT = (("batch", "silu"), ("batch", "silu"), ("layer", "gelu"), ("layer", "gelu"))
EPS = 1e-6
LAYER_SCALE = 1e-6
SSDLITE_ANCHORS = (6, 6, 6, 6, 6, 6)


# -- window attention ------------------------------------------------------------------------------------------------


def _padded(b: Builder, x: Tensor, window: int) -> Tensor:
    """``x`` with zeros below and to the right, up to a multiple of the window."""
    for axis in (1, 2):
        missing = -x.shape[axis] % window
        if missing:
            shape = (*x.shape[:axis], missing, *x.shape[axis + 1 :])
            x = b.concat([x, b.zero(shape)], axis)
    return x


def _cropped(b: Builder, x: Tensor, size: Sequence[int]) -> Tensor:
    return b.slice(b.slice(x, 1, 0, size[0]), 2, 0, size[1])


def _to_windows(b: Builder, x: Tensor, window: int, heads: int, remote: bool, transposed: bool = False) -> Tensor:
    """A map as one matrix for each head and window, ``(tokens, channels)``, or transposed.

    The tokens of a close window are neighbours; those of a remote one lie as far apart as there are windows.
    """
    channels, (rows, columns) = x.channels // heads, (extent // window for extent in x.shape[1:])
    if remote:
        y = b.reshape(x, (heads, channels, window, rows, window, columns))
        windows, tokens = (3, 5), (2, 4)
    else:
        y = b.reshape(x, (heads, channels, rows, window, columns, window))
        windows, tokens = (2, 4), (3, 5)
    count, area = heads * rows * columns, window * window
    if transposed:
        return b.reshape(b.permute(y, (0, *windows, 1, *tokens)), (count, channels, area))
    return b.reshape(b.permute(y, (0, *windows, *tokens, 1)), (count, area, channels))


def _from_windows(b: Builder, x: Tensor, window: int, heads: int, remote: bool, size: Sequence[int]) -> Tensor:
    """The map of ``size`` that ``_to_windows`` made matrices of."""
    rows, columns = (extent // window for extent in size)
    channels = x.shape[-1]
    y = b.reshape(x, (heads, rows, columns, window, window, channels))
    y = b.permute(y, (0, 5, 3, 1, 4, 2) if remote else (0, 5, 1, 3, 2, 4))
    return b.reshape(y, (heads * channels, *size))


def _attention(b: Builder, qk: Tensor, values: Tensor, window: int, head_dim: int, remote: bool) -> Tensor:
    """Attention within windows; ``qk`` holds queries and keys, each of whole heads. ``values`` share those heads."""
    width = qk.channels // 2
    heads = width // head_dim
    if values.channels % heads:
        raise GraphError(
            f"emo: {heads} heads cannot share {values.channels} expanded channels; use head_dims whose product with"
            " every expansion is whole"
        )
    q = _to_windows(b, b.slice(qk, 0, 0, width), window, heads, remote)
    k = _to_windows(b, b.slice(qk, 0, width, 2 * width), window, heads, remote, transposed=True)
    v = _to_windows(b, values, window, heads, remote)
    weights = b.softmax(b.scale(b.matmul(q, k), head_dim**-0.5))
    return _from_windows(b, b.matmul(weights, v), window, heads, remote, values.shape[1:])


# -- blocks ----------------------------------------------------------------------------------------------------------


class WindowAttention(NamedTuple):
    """Window attention of one block: ``none``, ``remote``, ``close`` or ``hybrid``, which is the sum of both."""

    kind: str = "none"
    head_dim: int = 0
    window: int = 0


@block
def _expand(b: Builder, x: Tensor, expanded: int, act: str) -> Tensor:
    return b.act(b.conv(x, expanded, bias=True), act)


@block
def _attend_then_expand(b: Builder, x: Tensor, expanded: int, act: str, attention: WindowAttention) -> Tensor:
    qk = b.part("query_key").conv(x, 2 * x.channels, bias=True)
    attended = _attention(b.part("attend"), qk, x, attention.window, attention.head_dim, remote=True)
    return _expand(b.part("expand"), attended, expanded, act)


@block
def _expand_then_attend(b: Builder, x: Tensor, expanded: int, act: str, attention: WindowAttention) -> Tensor:
    qk = b.part("query_key").conv(x, 2 * x.channels, bias=True)
    values = _expand(b.part("expand"), x, expanded, act)
    kinds = ("remote", "close") if attention.kind == "hybrid" else (attention.kind,)
    window, head_dim = attention.window, attention.head_dim
    attended = [_attention(b.part(kind), qk, values, window, head_dim, kind == "remote") for kind in kinds]
    return b.part("").add(*attended)


def _depthwise(b: Builder, x: Tensor, kernel: int, stride: int) -> Tensor:
    y = b.depthwise(x, kernel, stride, padding=kernel // 2)
    return b.act(b.norm(y, eps=EPS), "silu")


@block
def _mix_and_project(b: Builder, x: Tensor, out_channels: int, kernel: int, stride: int, scaled: bool) -> Tensor:
    """Depthwise convolution, with a sum around it at stride 1, and a projection without normalisation."""
    y = _depthwise(b.part("depthwise"), x, kernel, stride)
    y = b.part("").add(x, y) if stride == 1 else y
    y = b.part("project").conv(y, out_channels)
    return b.part("").layer_scale(y, LAYER_SCALE) if scaled else y


def _mobile_block(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    expanded: int,
    kernel: int,
    stride: int,
    norm: str,
    act: str,
    attention: WindowAttention = WindowAttention(),
    attend: Callable[[Builder, Tensor, int, str, WindowAttention], Tensor],
    scaled: bool,
) -> Tensor:
    """``irmb`` and ``i2rmb``. At stride 1 both its sums are there, and ``out_channels`` must be those of ``x``."""
    y = b.norm(x, norm, eps=EPS)
    if attention.kind == "none":
        with b.scope("expand"):
            y = _expand(b, y, expanded, act)
    else:
        y = attend(b, _padded(b, y, attention.window), expanded, act, attention)
        y = _cropped(b, y, x.shape[1:])
    y = _mix_and_project(b, y, out_channels, kernel, stride, scaled=scaled)
    return b.add(x, y) if stride == 1 else y


irmb = partial(_mobile_block, attend=_attend_then_expand, scaled=False)
"""Inverted residual mobile block (arXiv 2301.01146, sec. 2.3): attention weighs what is then expanded."""

i2rmb = partial(_mobile_block, attend=_expand_then_attend, scaled=True)
"""Improved inverted residual mobile block (arXiv 2412.06674): attention weighs what was expanded; LayerScale.

Remote and close attention share queries, keys and values.
"""


@block
def _emo_stem(b: Builder, x: Tensor, width: int, kernel: int) -> Tensor:
    x = b.norm(b.part("convolve").conv(x, width, kernel, 2, padding=kernel // 2, bias=True), eps=EPS)
    x = _depthwise(b.part("depthwise"), x, kernel, 1)
    x = squeeze_excite(b.part("squeeze_excite"), x, width, act="silu")
    return b.part("project").conv(x, width)


@block
def _emov2_stem(b: Builder, x: Tensor, width: int) -> Tensor:
    x = b.act(b.norm(b.part("convolve").conv(x, width, 3, 2, padding=1, bias=True), eps=EPS), "silu")
    x = _depthwise(b.part("depthwise"), x, 3, 1)
    return b.part("project").conv(x, width)


# -- the SSDLite head of the published detectors ---------------------------------------------------------------------


def _conv_norm_relu6(b: Builder, x: Tensor, out_channels: int, kernel: int = 1, stride: int = 1) -> Tensor:
    groups = x.channels if kernel > 1 else 1
    y = b.conv(x, out_channels, kernel, stride, padding=kernel // 2, groups=groups)
    return b.act(b.norm(y, eps=SSDLITE_NORM.eps, momentum=SSDLITE_NORM.momentum), "relu6")


@block
def _ssdlite_extra(b: Builder, x: Tensor, out_channels: int) -> Tensor:
    y = _conv_norm_relu6(b.part("reduce"), x, max(1, out_channels // 2))
    y = _conv_norm_relu6(b.part("depthwise"), y, y.channels, 3, 2)
    return _conv_norm_relu6(b.part("expand"), y, out_channels)


@block
def _ssdlite_predictor(b: Builder, x: Tensor, out_channels: int) -> Tensor:
    y = _conv_norm_relu6(b.part("depthwise"), x, x.channels, 3)
    return b.part("predict").conv(y, out_channels, bias=True)


def _ssdlite(
    b: Builder, taps: Sequence[Tensor], num_classes: int, width: float, anchors: Sequence[int]
) -> dict[str, Tensor]:
    """MMDetection's SSDLite: padding on both sides, and as many anchors on the finest level as on the others.

    Small images end with the level of one position, as ``heads.ssdlite`` does.
    """
    levels = list(taps)
    for extra in SSDLITE_EXTRA_WIDTHS:
        if max(levels[-1].shape[1:]) == 1:
            break
        with b.scope(f"level{len(levels)}"):
            levels.append(_ssdlite_extra(b, levels[-1], max(1, int(extra * width))))
    outputs = {}
    for i, (level, count) in enumerate(zip(levels, anchors, strict=False)):
        for kind, values in (("box", 4), ("class", num_classes + 1)):
            with b.scope(f"{kind}{i}"):
                outputs[f"{kind}{i}"] = _ssdlite_predictor(b, level, count * values)
    return outputs


# -- the spaces ------------------------------------------------------------------------------------------------------


class EmoStage(NamedTuple):
    """What is chosen for one stage; ``width`` is that of the network, the factor for thinner ones applied."""

    depth: int
    width: int
    expansion: float
    kernel: int
    attention: WindowAttention


def _chosen_stages(
    choose: Choose,
    width: float,
    window: int,
    depths: Sequence[Sequence[int]],
    widths: Sequence[Sequence[int]],
    expansions: Sequence[float],
    kernels: Sequence[int],
    attentions: Sequence[str],
    head_dims: Sequence[int],
) -> list[EmoStage]:
    if not isinstance(width, int | float) or not 0 < width < 100:
        raise GraphError(f"emo: width must be a factor above 0, not {width!r}")
    if not isinstance(window, int) or window < 1:
        raise GraphError(f"emo: window must be a whole number of at least 1, not {window!r}")
    if len(depths) != len(NORM_AND_ACT) or len(widths) != len(NORM_AND_ACT):
        raise GraphError(f"emo: depths and widths need options for {len(NORM_AND_ACT)} stages")
    stages = []
    for number, (stage_depths, stage_widths) in enumerate(zip(depths, widths, strict=True), start=1):
        depth = choose.one_of(f"stage{number}.depth", stage_depths)
        stage_width = max(1, int(choose.one_of(f"stage{number}.width", stage_widths) * width))
        expansion = choose.one_of(f"stage{number}.expansion", expansions)
        kernel = choose.one_of(f"stage{number}.kernel", kernels)
        kind = choose.one_of(f"stage{number}.attention", attentions)
        attention = WindowAttention()
        if kind != "none":
            attention = WindowAttention(kind, choose.one_of(f"stage{number}.head_dim", head_dims), window)
            # Published widths are whole heads; others lose what no head holds.
            stage_width = max(1, stage_width // attention.head_dim) * attention.head_dim
        stages.append(EmoStage(depth, stage_width, expansion, kernel, attention))
    return stages


def _features(b: Builder, x: Tensor, stages: Sequence[EmoStage], make: Callable[..., Tensor]) -> list[Tensor]:
    """The last map of each stage. The first block of a stage halves the map, expands twofold and never attends."""
    taps = []
    for number, (stage, (norm, act)) in enumerate(zip(stages, NORM_AND_ACT, strict=True), start=1):
        for layer in range(stage.depth):
            first = layer == 0
            x = make(
                b.section(f"stage{number}.layer{layer}", "mobile_block"),
                x,
                stage.width,
                expanded=int(x.channels * (stage.expansion * 2 if first else stage.expansion)),
                kernel=stage.kernel,
                stride=2 if first else 1,
                norm=norm,
                act=act,
                attention=WindowAttention() if first else stage.attention,
            )
        taps.append(x)
    return taps


def _with_head(
    b: Builder, taps: Sequence[Tensor], task: str, num_classes: int, width: float, anchors: Sequence[int]
) -> Graph:
    if task == "detect":
        return b.build(_ssdlite(b.section("head", "ssdlite"), taps[-2:], num_classes, width, anchors))
    b.section("head")
    return b.build({"logits": classifier(b, b.norm(taps[-1], "layer", eps=EPS), num_classes)})


def _check_task(task: str) -> None:
    if task not in ("classify", "detect"):
        raise GraphError(f"emo: no task {task!r}; there are classify and detect")


def emo(
    choose: Choose,
    *,
    task: str = "classify",
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    window: int = 7,
    stem_widths: Sequence[int] = STEM_WIDTHS,
    depths: Sequence[Sequence[int]] = DEPTHS,
    widths: Sequence[Sequence[int]] = WIDTHS,
    expansions: Sequence[float] = EXPANSIONS,
    kernels: Sequence[int] = KERNELS,
    head_dims: Sequence[int] = EMO_HEAD_DIMS,
    anchors: Sequence[int] = SSDLITE_ANCHORS,
) -> Graph:
    """An EMO (arXiv 2301.01146) that classifies, or detects with MMDetection's SSDLite on its last two stages.

    ``width`` multiplies every width, rounded down; a stage with attention has whole heads. ``window`` is the side of
    the attention's windows, 7 as published; maps are padded to a multiple of it. ``anchors`` are those at each position
    of each level of the detector; ``(3, 6, 6, 6, 6, 6)`` fits the anchors of ``evaluators.tasks.ssd``.
    """
    _check_task(task)
    stem = choose.one_of("stem.width", stem_widths)
    stages = _chosen_stages(choose, width, window, depths, widths, expansions, kernels, EMO_ATTENTION, head_dims)
    b = Builder()
    x = b.input((3, image_size, image_size))
    x = _emo_stem(b.section("stem"), x, max(1, int(stem * width)), stages[0].kernel)
    return _with_head(b, _features(b, x, stages, irmb), task, num_classes, width, anchors)


def emov2(
    choose: Choose,
    *,
    task: str = "classify",
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    window: int = 7,
    depths: Sequence[Sequence[int]] = DEPTHS,
    widths: Sequence[Sequence[int]] = WIDTHS,
    expansions: Sequence[float] = EXPANSIONS,
    kernels: Sequence[int] = KERNELS,
    head_dims: Sequence[int] = EMOV2_HEAD_DIMS,
    anchors: Sequence[int] = SSDLITE_ANCHORS,
) -> Graph:
    """An EMOv2 (arXiv 2412.06674) that classifies, or detects with MMDetection's SSDLite on its last two stages.

    Options are those of ``emo``. Published windows are 7 at 224, 8 at 256 and 512, and 10 in detectors. The product
    of a head's width and an expansion must be whole, as each head gets its share of the expanded map.
    """
    _check_task(task)
    stages = _chosen_stages(choose, width, window, depths, widths, expansions, kernels, EMOV2_ATTENTION, head_dims)
    b = Builder()
    x = b.input((3, image_size, image_size))
    x = _emov2_stem(b.section("stem"), x, max(1, stages[0].width // 2))
    return _with_head(b, _features(b, x, stages, i2rmb), task, num_classes, width, anchors)


# -- the notation: keyword arguments of the published models ---------------------------------------------------------

_KEYWORDS = {
    "depths": "depth",
    "embed_dims": "width",
    "exp_ratios": "expansion",
    "dw_kss": "kernel",
    "attention": "attention",
    "dim_heads": "head_dim",
}


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def parse_keywords(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from ``depths=2,2,8,3 embed_dims=32,48,80,168 ...``, a value for each stage, ``-`` for none.

    Names are the published models', but for ``attention``, which they spell in two ways.
    """
    decisions: dict[str, DecisionValue] = {}
    for field in text.split():
        keyword, _, listed = field.partition("=")
        values = listed.split(",")
        if keyword == "stem_dim" and len(values) == 1:
            decisions["stem.width"] = _value(listed)
            continue
        if keyword not in _KEYWORDS or len(values) != len(NORM_AND_ACT):
            raise GenotypeError(
                f"an EMO is written as {', '.join(_KEYWORDS)}, each with '=' and {len(NORM_AND_ACT)} values joined by"
                f" ',', and one stem_dim; not {field!r}"
            )
        for number, value in enumerate(values, start=1):
            if value != "-":
                decisions[f"stage{number}.{_KEYWORDS[keyword]}"] = _value(value)
    return decisions


def format_keywords(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The text that ``parse_keywords`` reads."""
    fields = [f"stem_dim={decisions['stem.width']}"] if "stem.width" in decisions else []
    for keyword, choice in _KEYWORDS.items():
        values = [decisions.get(f"stage{number}.{choice}", "-") for number in range(1, len(NORM_AND_ACT) + 1)]
        fields.append(f"{keyword}={','.join(map(str, values))}")
    return " ".join(fields)


NOTATION = Notation(parse_keywords, format_keywords)
