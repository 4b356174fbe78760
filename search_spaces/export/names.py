"""What a node's value is called in a file."""

from __future__ import annotations

from search_spaces.graph.graph import Graph


def value_name(graph: Graph, index: int) -> str:
    """The name of a node's value: its own where it stands in a section, else its number and operation.

    Never that of an output, which is a value beside it.
    """
    name = graph.names[index] if graph.labels[index].path else f"node{index}_{graph.nodes[index].op}"
    return f"{name}_value" if name in dict(graph.outputs) else name
