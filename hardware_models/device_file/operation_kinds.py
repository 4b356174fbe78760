"""Which of the kinds that device files name an operation is."""

from __future__ import annotations

from math import prod

from search_spaces.graph.fragment import Node
from search_spaces.graph.operations import ACTIVATIONS, OPS


def operation_kinds() -> set[str]:
    """Every name that ``operation_kind`` gives."""
    varieties = {
        "act": ACTIVATIONS,
        "norm": ("batch", "layer"),
        "pool": ("max", "avg"),
        "global_pool": ("max", "avg"),
        "resize": ("nearest", "bilinear"),
        "softmax": ("1d", "nd"),
    }
    kinds = {"conv", "conv:3d"} | {op for op in OPS if op not in varieties}
    return kinds | {f"{op}:{variety}" for op, names in varieties.items() for variety in names}


def operation_kind(node: Node) -> str:
    """The name of an operation in a device file: the operation, and where it matters its variety."""
    op = node.op
    if op == "conv":
        rank = len(node.shape) - 1
        return "conv" if rank <= 2 else f"conv:{rank}d"
    if op == "softmax":
        return "softmax:1d" if prod(node.shape) == node.shape[node.attrs[0]] else "softmax:nd"
    if op == "resize":
        return f"resize:{node.attrs[1]}"
    if op in ("act", "norm", "pool", "global_pool"):
        return f"{op}:{node.attrs[0]}"
    return op
