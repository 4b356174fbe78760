"""ProxylessNAS (Cai, Zhu, Han 2019, arXiv 1812.00332): an operation for each layer of a MobileNetV2-like backbone.

The tables and the notation are those of TuNAS (tensorflow/models official/projects/tunas), whose first block chooses
its kernel too; the authors' is 3 throughout. Constants are the authors' (mit-han-lab/proxylessnas, PyTorch): ReLU6,
padding ``kernel // 2``, batch normalisation with eps 1e-3 and momentum 0.1. TuNAS trains the same networks with ReLU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import Norm, conv_norm_act
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation

# (stride of the first layer, layers) of blocks 1 to 7; layers after the first may be skipped
MACRO = ((1, 1), (2, 4), (2, 4), (2, 4), (1, 4), (2, 4), (1, 1))
FILTERS = (32, 16, 32, 40, 80, 96, 192, 320, 1280)  # stem, blocks 1 to 7, last convolution
SKIP = "skip"
NORM = Norm(eps=1e-3, momentum=0.1)

# (kernel, expansion) of the operations, in the order of TuNAS' indices
_FIRST = {f"{k}x{k}_MBConv1": (k, 1) for k in (3, 5, 7)}
_BODY = {f"{k}x{k}_MBConv{e}": (k, e) for e in (3, 6) for k in (3, 5, 7)}
_OPERATIONS = {**_FIRST, **_BODY}


def make_divisible(width: float) -> int:
    """The authors' rounding: to the nearest multiple of 8, halves up, but never below nine tenths of the width."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


def op_choices(block_number: int, layer: int) -> tuple[str, ...]:
    """The operations that one layer may be, in the order of TuNAS' indices."""
    if block_number == 1:
        return tuple(_FIRST)
    return (*_BODY, SKIP) if layer else tuple(_BODY)


@block
def mb_conv(
    b: Builder,
    x: Tensor,
    out_channels: int,
    *,
    kernel: int,
    expansion: int,
    stride: int,
    residual: bool,
    act: str,
) -> Tensor:
    """Mobile inverted bottleneck convolution; an expansion of 1 is none."""
    y = x if expansion == 1 else conv_norm_act(b.part("expand"), x, x.channels * expansion, act=act, norm=NORM)
    y = b.part("depthwise").depthwise(y, kernel, stride, padding=kernel // 2)
    y = b.act(b.norm(y, eps=NORM.eps, momentum=NORM.momentum), act)
    y = conv_norm_act(b.part("project"), y, out_channels, act="identity", norm=NORM)
    return b.part("").add(x, y) if residual else y


def proxylessnas(
    choose: Choose,
    *,
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    filters: Sequence[int] = FILTERS,
    act: str = "relu6",
) -> Graph:
    """A ProxylessNAS classifier.

    ``filters`` are the widths of the stem, of blocks 1 to 7 and of the last convolution; each published network has
    its own. ``width`` multiplies all of them; below 1 it leaves the last convolution, as the authors' code does.
    """
    if len(filters) != len(MACRO) + 2:
        raise GraphError(f"proxylessnas: filters needs {len(MACRO) + 2} widths, not {len(filters)}")
    *body, last = filters
    stem, *widths = body if width == 1 else [make_divisible(w * width) for w in body]

    b = Builder()
    x = b.input((3, image_size, image_size))
    x = b.section("stem", "conv_norm_act").conv(x, stem, 3, 2, padding=1)
    x = b.act(b.norm(x, eps=NORM.eps, momentum=NORM.momentum), act)
    for number, ((first_stride, layers), out_channels) in enumerate(zip(MACRO, widths, strict=True), start=1):
        for layer in range(layers):
            name = f"block{number}.layer{layer}"
            op = choose.one_of(name, op_choices(number, layer))
            if op == SKIP:
                continue
            kernel, expansion = _OPERATIONS[op]
            x = mb_conv(
                b.section(name),
                x,
                out_channels,
                kernel=kernel,
                expansion=expansion,
                stride=1 if layer else first_stride,
                residual=layer > 0,
                act=act,
            )
    b.section("feature")
    x = conv_norm_act(b, x, make_divisible(last * width) if width > 1 else last, act=act, norm=NORM)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


def _string_positions() -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, (_, layers) in enumerate(MACRO, start=1):
        for layer in range(layers):
            yield f"block{number}.layer{layer}", op_choices(number, layer)


def parse_indices(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from TuNAS' string: the index of every layer's operation, joined by ``:``."""
    positions, fields = list(_string_positions()), text.strip().split(":")
    if len(fields) != len(positions):
        raise GenotypeError(f"a ProxylessNAS string has {len(positions)} numbers joined by ':', this one {len(fields)}")
    decisions: dict[str, DecisionValue] = {}
    for (name, ops), field in zip(positions, fields, strict=True):
        if not (field.isascii() and field.isdigit()) or int(field) >= len(ops):
            raise GenotypeError(f"{name} of a ProxylessNAS string must be 0 to {len(ops) - 1}, not {field!r}")
        decisions[name] = ops[int(field)]
    return decisions


def format_indices(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The string that ``parse_indices`` reads."""
    for name, ops in _string_positions():
        if decisions.get(name) not in ops:
            raise GenotypeError(f"a ProxylessNAS string needs {name} from {ops}, not {decisions.get(name)!r}")
    return ":".join(str(ops.index(str(decisions[name]))) for name, ops in _string_positions())


NOTATION = Notation(parse_indices, format_indices)
