"""What networks with one output must look like for a task: how many axes, and how many classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def check_single_output(shapes: Mapping[str, Sequence[int]], kind: str, axes: int, num_classes: int) -> None:
    """ValueError unless there is one output of so many axes, classes first. ``kind``: of network, in words."""
    if len(shapes) != 1 or len(next(iter(shapes.values()))) != axes:
        actual = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise ValueError(f"no {kind}: the network gives {actual}, not one output of {axes} axes")
    ((name, shape),) = shapes.items()
    if shape[0] != num_classes:
        raise ValueError(f"{name} has {shape[0]} classes, not {num_classes}; use num_classes={num_classes}")
