"""What a block is called and what is written into its box: its kind, kernels, expansion, stride and channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape

CHEAP_OPERATIONS = ("norm", "act", "scale", "layer_scale", "softmax", "reshape", "permute", "slice")
HEAVY_OPERATIONS = ("conv", "linear", "matmul")

# A block's convolutions as letters of letter_of, s for squeeze-excite: the first that fits all of them names it
BLOCK_PATTERNS = (
    ("inverted", re.compile(r"D?p[dD]s?P|D?p[dD]s?p(?![dD])")),
    ("inverted", re.compile(r"DpP")),
    ("ffn", re.compile(r"pP")),
    ("bottleneck", re.compile(r"p[fF]s?[pP]")),
    ("fused", re.compile(r"fs?P")),
    ("separable", re.compile(r"[dD]s?[pP]")),
    ("basic", re.compile(r"f[fF]s?")),
    ("conv", re.compile(r"[a-zA-Z]s")),
)


def convolution_letter(node: Node, nodes: Sequence[Node], is_activated: bool) -> str:
    """p: 1x1, d: depthwise, f: another convolution; capital where no activation follows."""
    kernel, groups = node.attr("kernel"), node.attr("groups")
    letter = "d" if groups == nodes[node.inputs[0]].shape[0] > 1 else "p" if prod(kernel) == 1 else "f"
    return letter if is_activated else letter.upper()


def _is_activated(graph: Graph, conv: int, within: set[int], readers: dict[int, list[int]]) -> bool:
    """Whether an activation follows a convolution before anything but a normalisation does."""
    after = readers.get(conv, [])
    while len(after) == 1 and after[0] in within:
        op = graph.nodes[after[0]].op
        if op == "act":
            return True
        if op not in ("norm", "layer_scale", "scale"):
            return False
        after = readers.get(after[0], [])
    return False


def head_lines(names: Sequence[str], shapes: Sequence[Shape]) -> tuple[str, ...]:
    """A head's outputs: their names and their channels."""
    listed = ", ".join(names) if len(names) <= 2 else f"{names[0]}...{names[-1]}"
    return listed, "+".join(str(s[0]) for s in shapes[:3]) + (" ch" if len(shapes[0]) > 1 else "")


def channels_text(shape: Shape) -> str:
    """A tensor's width in words: channels of a map, or features."""
    return f"{shape[0]} ch" if len(shape) > 1 else str(shape[0])


def describe_block(graph: Graph, members: Sequence[int], residual: bool) -> tuple[str, tuple[str, ...]]:
    """A block's kind, and what is written into it."""
    nodes = graph.nodes
    ops = [nodes[m].op for m in members]
    width_text = channels_text(nodes[members[-1]].shape)
    convs = _main_convolutions(graph, members)
    direct = [c for c in convs if _is_shortcut(graph, c, members)] if residual else []
    convs = [c for c in convs if c not in direct] or convs
    if "input" in ops:
        return "input", ("input", width_text)
    if "softmax" in ops and "matmul" in ops:
        # an expansion is what an activation follows; projections to queries and keys are none
        letters = _convolution_letters(graph, members, convs).replace("s", "")
        is_activated = [c for c, letter in zip(convs, letters, strict=True) if letter.islower()]
        return "attention", ("attention", _details_text(graph, members, convs, is_activated), width_text)
    join_node = next((nodes[m] for m in reversed(members) if nodes[m].op not in CHEAP_OPERATIONS), nodes[members[-1]])
    if join_node.op == "concat" and any(i not in members for i in join_node.inputs) and convs:
        return "dense", ("dense layer", _details_text(graph, members, convs[:1] + convs[-1:]), width_text)
    if _count_branches(graph, members) > 1 + residual and convs:
        heavy = sum(op in HEAVY_OPERATIONS for op in ops)
        return "cell", ("cell" if "concat" not in ops else "branches", f"{heavy} convs", width_text)
    if not convs:
        return _describe_without_convolutions(graph, members, width_text)
    if nodes[nodes[convs[0]].inputs[0]].op == "input" and len(convs) == 1:
        return "stem", ("stem", _details_text(graph, members, convs), width_text)
    letters = _convolution_letters(graph, members, convs)
    kind = next((kind for kind, pattern in BLOCK_PATTERNS if pattern.fullmatch(letters)), "conv")
    if kind == "conv" and len(convs) == 1:
        name = "dw conv" if letters in ("d", "D") else "conv"
        return "conv", (name, _details_text(graph, members, convs), width_text)
    if kind == "inverted" and nodes[convs[-2]].shape[0] < nodes[nodes[convs[0]].inputs[0]].shape[0]:
        kind = "bottleneck"
    names = {"inverted": "inverted", "ffn": "1x1 pair", "conv": f"{len(convs)} convs", "basic": "residual"}
    return kind, (names.get(kind, kind), _details_text(graph, members, convs), width_text)


def _describe_without_convolutions(
    graph: Graph, members: Sequence[int], width_text: str
) -> tuple[str, tuple[str, ...]]:
    ops = [graph.nodes[m].op for m in members]
    if "concat" in ops or "add" in ops or "mul" in ops or "resize" in ops:
        if ops.count("pool") > 1:
            return "pool", ("pool pyramid", width_text)
        names = [name for op, name in (("resize", "resize"), ("add", "sum"), ("mul", "product")) if op in ops]
        return "join", (*(names + ["concat"] * ("concat" in ops))[:2], width_text)
    if "pool" in ops:
        pool = graph.nodes[members[ops.index("pool")]]
        stride = max(pool.attr("stride"))
        return "pool", (
            f"{pool.attr('kind')} pool",
            f"k{max(pool.attr('kernel'))}" + f" s{stride}" * (stride > 1),
            width_text,
        )
    return "pool" if "global_pool" in ops else "other", (ops[0].replace("_", " "), width_text)


def _count_branches(graph: Graph, members: Sequence[int]) -> int:
    """Sums and concatenations in a block, less those of one operand and its own convolution (as in a window)."""
    nodes = graph.nodes
    return sum(
        len(nodes[m].inputs) - 1 for m in members if nodes[m].op in ("add", "concat") and len(set(nodes[m].inputs)) > 1
    )


def _main_convolutions(graph: Graph, members: Sequence[int]) -> list[int]:
    """Convolutions and linear layers, without those on pooled maps (squeeze-excite)."""
    nodes = graph.nodes
    pooled: set[int] = set()
    for m in members:
        before = nodes[m].inputs
        if nodes[m].op == "global_pool" or (before and all(i in pooled for i in before)):
            pooled.add(m)
    return [m for m in members if nodes[m].op in ("conv", "linear") and m not in pooled]


def _is_shortcut(graph: Graph, conv: int, members: Sequence[int]) -> bool:
    """Whether a convolution reads from outside and feeds the block's sum without another one between."""
    before_it = graph.nodes[conv].inputs[0]
    while before_it in members and graph.nodes[before_it].op == "pool":
        before_it = graph.nodes[before_it].inputs[0]
    if before_it in members:
        return False
    reached = {conv}
    for m in members:
        before = [i for i in graph.nodes[m].inputs if i in reached]
        if before and graph.nodes[m].op == "add":
            return True
        if before and graph.nodes[m].op in CHEAP_OPERATIONS:
            reached.add(m)
    return False


def _convolution_letters(graph: Graph, members: Sequence[int], convs: Sequence[int]) -> str:
    within = set(members)
    readers: dict[int, list[int]] = {}
    for m in members:
        for i in dict.fromkeys(graph.nodes[m].inputs):
            readers.setdefault(i, []).append(m)
    squeeze = next((m for m in members if graph.nodes[m].op == "mul"), None)
    text = ""
    for conv in convs:
        node = graph.nodes[conv]
        if squeeze is not None and conv > squeeze:
            text, squeeze = text + "s", None
        text += (
            "o"
            if node.op == "linear"
            else convolution_letter(node, graph.nodes, _is_activated(graph, conv, within, readers))
        )
    return text


def _details_text(
    graph: Graph, members: Sequence[int], convs: Sequence[int], inner: Sequence[int] | None = None
) -> str:
    """Largest kernels, expansion, stride and squeeze-excite, such as ``k5 e6 s2 SE``."""
    nodes = graph.nodes
    convs = [c for c in convs if nodes[c].op == "conv"]
    if not convs:
        return ""
    kernels = [max(nodes[c].attr("kernel")) for c in convs]
    large = [k for k in kernels if k > 1]
    parts = ["k" + "+".join(map(str, large[:2])) if large else "k1"]
    input_channels = nodes[nodes[convs[0]].inputs[0]].shape[0]
    widest = max((nodes[c].shape[0] for c in (convs[:-1] if inner is None else inner)), default=input_channels)
    if widest != input_channels:
        parts.append(f"e{widest / input_channels:.2g}")
    stride = max(max(nodes[c].attr("stride")) for c in convs)
    if stride > 1 and nodes[members[-1]].shape[1:] != nodes[nodes[convs[0]].inputs[0]].shape[1:]:
        parts.append(f"s{stride}")
    ops = {nodes[m].op for m in members}
    return " ".join(parts + ["SE"] * ({"mul", "global_pool"} <= ops))
