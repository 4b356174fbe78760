"""What a box is called and what is written into it: the block function's name, kernels, expansion, stride, channels."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS, Shape

# Kinds by the name of the block function. One that is not here is drawn as ``other``, under its own name.
BLOCK_KINDS: dict[str, str] = {
    **dict.fromkeys(
        (
            *("inverted_bottleneck", "inverted_residual", "bottleneck", "mnasnet_layer", "mbconv", "mb_conv"),
            *("inverted_bottleneck_3d", "inverted_bottleneck_2plus1d", "universal_inverted_bottleneck"),
            *("mobile_block", "irmb", "i2rmb", "bneck"),
        ),
        "inverted",
    ),
    **dict.fromkeys(("fused_inverted_bottleneck", "grouped_inverted_bottleneck"), "fused"),
    **dict.fromkeys(
        ("tucker", "residual_bottleneck", "residual_bottleneck_v1", "residual_bottleneck_v2"), "bottleneck"
    ),
    **dict.fromkeys(("residual_basic", "residual"), "basic"),
    **dict.fromkeys(("separable", "shuffle_unit"), "separable"),
    **dict.fromkeys(
        ("conv", "conv_norm", "conv_norm_act", "conv_norm_act_symmetric", "depthwise_norm_act", "conv_2plus1d"), "conv"
    ),
    **dict.fromkeys(("cell", "inception", "fire"), "cell"),
    **dict.fromkeys(("sppf", "transition", "pool", "global_pool"), "pool"),
    **dict.fromkeys(("classifier", "ssdlite", "ssd", "dnin", "regressor", "segmentation_decoder"), "head"),
    "multi_query_attention": "attention",
    "dense_layer": "dense",
    "feature": "conv",
    "stem": "stem",
    "emo_stem": "stem",
    "emov2_stem": "stem",
}
JOINS = {"add": "sum", "concat": "concat", "mul": "product", "resize": "resize"}  # titles of operations that join
SHORTCUT = "shortcut"  # the part of a block that its residual sum adds
EXPAND = "expand"


def head_lines(names: Sequence[str], shapes: Sequence[Shape]) -> tuple[str, ...]:
    """A head's outputs: their names and their channels."""
    listed = ", ".join(names) if len(names) <= 2 else f"{names[0]}...{names[-1]}"
    return listed, "+".join(str(s[0]) for s in shapes[:3]) + (" ch" if len(shapes[0]) > 1 else "")


def channels_text(shape: Shape) -> str:
    """A tensor's width in words: channels of a map, or features."""
    return f"{shape[0]} ch" if len(shape) > 1 else str(shape[0])


def describe_block(graph: Graph, members: Sequence[int], block: str) -> tuple[str, tuple[str, ...]]:
    """A box's kind, and what is written into it; ``block`` names the function that made it, empty where none did."""
    nodes = graph.nodes
    ops = [nodes[m].op for m in members]
    width = channels_text(nodes[members[-1]].shape)
    if "input" in ops:
        return "input", ("input", width)
    convs = main_convolutions(graph, members)
    details = details_text(graph, members, convs)
    kind = BLOCK_KINDS.get(block, "other") if block else ""
    reads_image = bool(convs) and nodes[nodes[convs[0]].inputs[0]].op == "input"
    if kind in ("", "conv") and reads_image and len(convs) == 1:
        return "stem", ("stem", details, width)
    if "softmax" in ops and "matmul" in ops and kind in ("", "inverted", "other"):
        kind = "attention"
    if kind == "inverted" and not any(_expands(graph, m) for m in members):
        kind = "separable"
    if block:
        return kind, (block.replace("_", " "), details, width) if details else (block.replace("_", " "), width)
    return _describe_operations(graph, members, kind, convs, width)


def _describe_operations(
    graph: Graph, members: Sequence[int], kind: str, convs: Sequence[int], width: str
) -> tuple[str, tuple[str, ...]]:
    """Kind and text of operations that no block function made."""
    nodes = graph.nodes
    ops = [nodes[m].op for m in members]
    details = details_text(graph, members, convs)
    if kind == "attention":
        return kind, ("attention", details, width)
    if convs:
        first = nodes[convs[0]]
        depthwise = first.op == "conv" and first.attr("groups") == nodes[first.inputs[0]].shape[0] > 1
        title = f"{len(convs)} convs" if len(convs) > 1 else "dw conv" if depthwise else first.op
        return "conv", (title, details, width)
    joins = [title for op, title in JOINS.items() if op in ops]
    if joins:
        return "join", (*joins[:2], width)
    if "pool" in ops:
        pool = nodes[members[ops.index("pool")]]
        stride = max(pool.attr("stride"))
        window = f"k{max(pool.attr('kernel'))}" + f" s{stride}" * (stride > 1)
        return "pool", (f"{pool.attr('kind')} pool", window, width)
    return "pool" if "global_pool" in ops else "other", (ops[0].replace("_", " "), width)


def main_convolutions(graph: Graph, members: Sequence[int]) -> list[int]:
    """Convolutions and linear layers, without those on pooled maps (squeeze-excite) and on a block's shortcut."""
    nodes = graph.nodes
    pooled: set[int] = set()
    for m in members:
        before = nodes[m].inputs
        if nodes[m].op == "global_pool" or (before and all(i in pooled for i in before)):
            pooled.add(m)
    heavy = [m for m in members if nodes[m].op in ("conv", "linear") and m not in pooled]
    return [m for m in heavy if SHORTCUT not in graph.labels[m].path.split("/")] or heavy


def details_text(graph: Graph, members: Sequence[int], convs: Sequence[int]) -> str:
    """Largest kernels, expansion, stride and squeeze-excite, such as ``k5 e6 s2 SE``."""
    nodes = graph.nodes
    convs = [c for c in convs if nodes[c].op == "conv"]
    if not convs:
        return ""
    kernels = [max(nodes[c].attr("kernel")) for c in convs]
    large = [k for k in kernels if k > 1]
    parts = ["k" + "+".join(map(str, large[:2])) if large else "k1"]
    input_channels = nodes[nodes[convs[0]].inputs[0]].shape[0]
    expanding = [c for c in convs if _expands(graph, c)]
    widest = max([nodes[c].shape[0] for c in (expanding or convs)[: len(convs) - 1]], default=input_channels)
    if widest != input_channels:
        parts.append(f"e{widest / input_channels:.2g}")
    stride = max(max(nodes[c].attr("stride")) for c in convs)
    if stride > 1 and nodes[members[-1]].shape[1:] != nodes[nodes[convs[0]].inputs[0]].shape[1:]:
        parts.append(f"s{stride}")
    ops = {nodes[m].op for m in members}
    return " ".join(parts + ["SE"] * ({"mul", "global_pool"} <= ops))


def _expands(graph: Graph, node: int) -> bool:
    """Whether a node is in the part of a block that is called so; that of a squeeze-excite in it is not."""
    parts = graph.labels[node].path.split("/")
    return EXPAND in parts[:2] and "squeeze_excite" not in parts


def is_cheap(op: str) -> bool:
    """Whether an operation on one operand is drawn with what it follows: it has no box of its own."""
    row = OPS[op]
    return op not in ("conv", "linear", "matmul", "input", "zero", "pool", "global_pool", "resize") and (
        op not in JOINS and (row.in_place or row.view or op in ("permute", "slice", "scale", "softmax"))
    )
