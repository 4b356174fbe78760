"""What the tests of published classifiers share: the sheet's tables against graphs, and random networks of a space."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import to_module

# By name in the sheet: trainable parameters, running statistics, multiply-adds of convolutions and linear layers
Counts = tuple[str, int, int, int]


@cache
def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def facts(shared: Callable[[str], Path]) -> dict[str, Any]:
    sheet: dict[str, Any] = loaded(shared("facts/baselines.yaml"))
    return sheet


def convolutions(graph: Graph) -> list[tuple[int, ...]]:
    """Every convolution and linear layer of a graph: (in, out, kernel, stride, groups, height)."""
    layers = []
    for node in graph.nodes:
        if node.op == "conv":
            (k, _), (s, _) = node.attr("kernel"), node.attr("stride")
            layers.append(
                (graph.nodes[node.inputs[0]].shape[0], node.shape[0], k, s, node.attr("groups"), node.shape[1])
            )
        elif node.op == "linear":
            layers.append((graph.nodes[node.inputs[0]].shape[0], node.shape[0], 1, 1, 1, 1))
    return layers


def tabled(row: dict[str, Any]) -> list[tuple[int, ...]]:
    """The same as the sheet's table of blocks has them, at 224x224."""
    stem, size = row["stem"], 112
    layers = [(stem["cin"], stem["cout"], stem["k"], stem["s"], 1, size)]
    for block in row["blocks"]:
        kind, cin, cout, k, s = (block[key] for key in ("type", "cin", "cout", "k", "s"))
        if kind == "skip":
            continue
        out, middle, groups = size // s, block.get("cmid", 0), block.get("pwl_groups", 1)
        assert block.get("out_hw", out) == out
        if kind == "conv":
            layers.append((cin, cout, k, s, 1, out))
        elif kind == "fused":
            layers += [(cin, middle, k, s, 1, out), (middle, cout, 1, 1, 1, out)]
        else:
            # A block of expansion 1 has no expansion in any table but timm's FBNet-C, which says so by its type.
            layers += [(cin, middle, 1, 1, 1, size)] if kind == "ibn" and (middle != cin or "stage" in block) else []
            layers.append((middle, middle, k, s, middle, out))
            layers += [(middle, block["se"], 1, 1, 1, 1), (block["se"], middle, 1, 1, 1, 1)] if block.get("se") else []
            layers.append((middle, cout, 1, 1, groups, out))
        size = out
    head = row["head"]["conv_head"]
    layers.append((head["cin"], head["cout"], 1, 1, 1, 1 if head.get("bias") else size))
    classes = row["head"]["fc"][1] if isinstance(row["head"]["fc"], list) else 1000
    return [*layers, (head["cout"], classes, 1, 1, 1, 1)]


def tabled_activations(row: dict[str, Any], gate: str) -> list[str]:
    """Every activation in order, as the sheet's table has them; ``gate`` ends squeeze-excite."""
    acts = [row["stem"]["act"]]
    for block in row["blocks"]:
        each = {"ibn": 2, "ds": 1, "fused": 1, "conv": 1, "skip": 0}[block["type"]]
        acts += [block["act"]] * each + (["relu", gate] if block.get("se") else [])
    return [*acts, row["head"].get("act", row["stem"]["act"])]


def activations(graph: Graph) -> list[str]:
    return [node.attr("fn") for node in graph.nodes if node.op == "act"]


def check_table(graph: Graph, row: dict[str, Any]) -> None:
    assert convolutions(graph) == tabled(row)
    assert sum(node.op == "add" for node in graph.nodes) == sum(block["residual"] for block in row["blocks"])


def check_pytorch_constants(graph: Graph, eps: float = 1e-5, momentum: float = 0.1) -> None:
    """Padding is half the kernel on every side, and normalisation has these constants."""
    for node in graph.nodes:
        if node.op == "conv":
            assert node.attr("padding") == tuple((k // 2, k // 2) for k in node.attr("kernel"))
    assert {node.attrs[:3] for node in graph.nodes if node.op == "norm"} == {("batch", eps, momentum)}


def check_same_outputs(graph: Graph, plain: nn.Module) -> None:
    """The graph's module and a plain one, whose layers come in order of execution, agree with the same weights."""
    torch.manual_seed(0)
    values = [v for name, v in plain.state_dict().items() if not name.endswith("num_batches_tracked")]
    with torch.no_grad():
        for value in values:
            if value.ndim == 1:  # scales, shifts and statistics that are not the initial ones
                value.uniform_(0.5, 1.5)
        module = to_module(graph).eval()
        mine = [v for name, v in module.state_dict().items() if not name.endswith("num_batches_tracked")]
        for target, value in zip(mine, values, strict=True):
            target.copy_(value.reshape(target.shape))
        x = torch.randn(2, *graph.input_shape)
        torch.testing.assert_close(module(x), plain.eval()(x), rtol=1e-4, atol=1e-4)


def check_counts(name: str, counts: Counts) -> None:
    """The network at 224x224 with 1000 classes has these counts."""
    graph = load_network(name)
    assert (graph.params, graph.variables - graph.params, graph.macs) == counts[1:]
    assert graph.input_shape == (3, 224, 224)
    assert graph.output_shapes == {"logits": (1000,)}


def check_layers(name: str, counts: Counts, row: dict[str, Any], gate: str) -> None:
    """Every layer is the table's, every activation in order, and its counts are the sheet's."""
    graph = load_network(name)
    check_table(graph, row)
    assert activations(graph) == tabled_activations(row, gate)
    counted = row["counted"]
    assert (counted["params_trainable"], counted["bn_moving_stats"], counted["macs"]) == counts[1:]
