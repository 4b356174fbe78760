"""Probe keys of cells as in NAS-Bench-201, against canonical forms by brute force."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.hashing.probe import (
    probe_module,
)
from tests.support.probed_modules import IMAGE, convolution

Cell = tuple[str, ...]  # operations of the edges 01, 02, 12, 03, 13, 23


EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


OPS = ("none", "skip", "conv1", "conv3", "pool")


class CellModule(nn.Module):
    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.layers = nn.ModuleDict()
        for edge, op in enumerate(cell):
            if op.startswith("conv"):
                self.layers[str(edge)] = nn.Sequential(
                    nn.ReLU(), convolution(kernel=int(op[-1]), bias=False), nn.BatchNorm2d(4)
                )

    def forward(self, x: Tensor) -> Tensor:
        nodes: list[Any] = [x, 0.0, 0.0, 0.0]
        for edge, ((start, end), op) in enumerate(zip(EDGES, self.cell, strict=True)):
            value = nodes[start] if isinstance(nodes[start], Tensor) else torch.zeros_like(x)
            if op == "skip":
                nodes[end] = nodes[end] + value
            elif op == "pool":
                nodes[end] = nodes[end] + F.avg_pool2d(value, 3, 1, 1, count_include_pad=False)
            elif op != "none":
                nodes[end] = nodes[end] + self.layers[str(edge)](value)
        return nodes[3] if isinstance(nodes[3], Tensor) else torch.zeros_like(x)


Sum = dict[tuple[int, Any], Fraction]  # (poolings, what is pooled: "x" or the edge of a convolution) -> factor


def canonical(cell: Cell) -> Any:
    """The least description of a cell over all names of its convolutions.

    Sums are flat, pooling is linear and leaves constants alone, a batch norm forgets a positive factor and turns a
    constant (zero too, and a constant after a 1x1 convolution) into its own trained constant.
    """
    nodes: list[Sum] = [{(0, "x"): Fraction(1)}, {}, {}, {}]
    convolutions: dict[int, tuple[str, Sum]] = {}
    for edge, ((start, end), op) in enumerate(zip(EDGES, cell, strict=True)):
        source, target = nodes[start], nodes[end]
        terms: Sum = {}
        if op == "skip":
            terms = source
        elif op == "pool":
            terms = {(k if is_constant(convolutions, base) else k + 1, base): v for (k, base), v in source.items()}
        elif op != "none":
            if all(is_constant(convolutions, base) for _, base in source) and (op == "conv1" or not source):
                convolutions[edge] = ("constant", {})
            else:
                total = sum(source.values())
                convolutions[edge] = (op, {term: v / total for term, v in source.items()})
            terms = {(0, edge): Fraction(1)}
        for term, factor in terms.items():
            target[term] = target.get(term, Fraction(0)) + factor
    live: set[int] = set()
    pending = [base for _, base in nodes[3] if base != "x"]
    while pending:
        edge = pending.pop()
        if edge not in live:
            live.add(edge)
            pending += [base for _, base in convolutions[edge][1] if base != "x"]

    def described(terms: Sum, names: dict[Any, int]) -> list[Any]:
        return sorted((k, -1 if base == "x" else names[base], factor) for (k, base), factor in terms.items())

    def forms() -> Iterator[Any]:
        for order in permutations(sorted(live)):
            names = {edge: index for index, edge in enumerate(order)}
            yield [
                described(nodes[3], names),
                [(convolutions[edge][0], described(convolutions[edge][1], names)) for edge in order],
            ]

    return min(forms())


def is_constant(convolutions: dict[int, tuple[str, Sum]], base: Any) -> bool:
    return base != "x" and convolutions[base][0] == "constant"


def sample_of_cells() -> list[Cell]:
    rng = random.Random(0)
    cells = [tuple(rng.choice(OPS) for _ in EDGES) for _ in range(100)]
    for cell in cells[:40]:  # sparser relatives, among which many are equal
        edge = rng.randrange(6)
        cells.append((*cell[:edge], rng.choice(("none", "skip")), *cell[edge + 1 :]))
    hard_cells = [
        "conv1 none conv3 none none skip",
        "conv3 none skip none skip skip",  # one convolution used twice, and
        "conv3 conv3 none none skip skip",  # two: one string of the published benchmark
        "none none none skip none none",
        "none skip none none none skip",  # both the identity
        "none none conv1 none none skip",
        "none none none none none conv3",  # both a trained constant
        "none none conv3 none none conv3",
        "none none conv1 none none conv1",
        "skip none none none conv1 none",
        "skip skip none none conv1 none",
        "skip skip skip none none conv1",  # twice its input into a batch norm
        "none none none conv1 none none",
        "pool none none none skip none",
        "none none none pool none none",
    ]
    return [*cells, *(tuple(text.split()) for text in hard_cells)]


def test_probes_part_cells_as_their_canonical_forms_do() -> None:
    cells = sample_of_cells()
    forms = [repr(canonical(cell)) for cell in cells]
    keys = [probe_module(CellModule(cell), [IMAGE]) for cell in cells]
    by_form: dict[str, set[str]] = {}
    by_text: dict[str, set[str]] = {}
    for form, probe_key in zip(forms, keys, strict=True):
        by_form.setdefault(form, set()).add(probe_key.text)
        by_text.setdefault(probe_key.text, set()).add(form)
    assert 60 < len(by_form) < len(cells)
    assert {form: texts for form, texts in by_form.items() if len(texts) > 1} == {}
    assert {text: forms for text, forms in by_text.items() if len(forms) > 1} == {}
