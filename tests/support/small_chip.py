"""A small analytic chip, by hand, and inputs for it."""

from __future__ import annotations

from hardware_models.analytic.model import AnalyticModel
from hardware_models.catalog import (
    model_from_text,
)
from hardware_models.cost import Cost
from search_spaces.graph.builder import Builder, Tensor

SMALL = """
kind = "analytic"
version = 3
number_format = "int8"
[array]
rows = 4
columns = 4
clock_mhz = 100
tile_load_cycles = 8
regular_efficiency = 0.5
pointwise_efficiency = 0.8
grouped_efficiency = 0.5
[memory]
weights_kib = 64
activations_kib = 64
array_bytes_per_cycle = 8
vector_bytes_per_cycle = 2
[link]
mb_per_s = 100
[overhead]
invoke_us = 10
op_us = 1
[host]
gmacs_per_s = 1
elements_per_us = 10
[operations]
host = ["act:hswish", "matmul"]
fused_activations = ["relu", "relu6"]
guess_passes = 3
[operations.passes]
"add" = 1
"pool:max" = 1
"act:relu" = 1
"norm:batch" = 2
"""


def small(**replaced: object) -> AnalyticModel:
    """The small chip, with other numbers."""
    text = SMALL
    for key, value in replaced.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.splitlines()]
        assert lines != text.splitlines()
        text = "\n".join(lines)
    model = model_from_text(text, "small", "small.toml")
    assert isinstance(model, AnalyticModel)
    return model


def image(size: int = 8, channels: int = 3) -> tuple[Builder, Tensor]:
    b = Builder()
    return b, b.input((channels, size, size))


def node_ms(cost: Cost) -> dict[int, float]:
    return {row.index: row.latency_ms for row in cost.breakdown() if row.index is not None}
