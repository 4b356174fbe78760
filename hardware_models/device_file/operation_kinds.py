"""Which of the kinds that device files name an operation is."""

from __future__ import annotations

from search_spaces.graph.fragment import Node
from search_spaces.graph.operations import OPS


def operation_kinds() -> set[str]:
    """Every name that ``operation_kind`` gives."""
    return {f"{op}:{variety}".removesuffix(":") for op, row in OPS.items() for variety in row.varieties}


def computing_kinds() -> set[str]:
    """The kinds that compute or move something: all but inputs, constants and views."""
    free = {op for op, row in OPS.items() if row.source or row.view}
    return {kind for kind in operation_kinds() if kind.partition(":")[0] not in free}


def operation_kind(node: Node) -> str:
    """The name of an operation in a device file: the operation, and where it matters its variety."""
    op, variety_of = node.op, OPS[node.op].variety
    if variety_of is None:
        return op
    variety = variety_of(node.attrs, node.shape)
    return f"{op}:{variety}" if variety else op
