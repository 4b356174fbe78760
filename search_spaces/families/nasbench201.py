"""NAS-Bench-201 (Dong, Yang 2020, arXiv 2001.00326): one cell of six edges, repeated in a fixed network.

The network is the one of the published code (D-X-Y/AutoDL-Projects, the topology space of NATS-Bench). The published
parameters are all trainable ones, batch normalisation's scale and shift among them, and the published FLOPs are MACs
and one for each class, the classifier's bias. Both count operations on edges that lead nowhere too, which a ``Graph``
does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from search_spaces.blocks.heads import classifier
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CHOICES = tuple(f"edge{source}>{target}" for source, target in EDGES)
STAGES = 3

Terms = tuple[tuple[int, str], ...]


@cache
def live_cell_terms(operations: tuple[str, ...], constants: bool) -> tuple[Terms, Terms, Terms]:
    """What nodes 1, 2 and 3 of a cell sum, as (source, operation): only what bears on node 3, and can be other than 0.

    A node 2 that is only passed on gives node 3 its terms. ``constants``: convolutions of nothing stay, for their
    shift.
    """
    edge = dict(zip(EDGES, operations, strict=True))
    nodes: list[Terms] = [((0, "input"),)]
    for target in (1, 2, 3):
        terms = [(source, edge[source, target]) for source in range(target)]
        nodes.append(
            tuple(
                (source, op)
                for source, op in terms
                if op != "none" and (nodes[source] or (constants and op.startswith("nor_conv")))
            )
        )
    _, first, second, last = nodes
    if (2, "skip_connect") in last:
        last = (*(term for term in last if term[0] != 2), *second)
        second = ()
    if all(source != 2 for source, _ in last):
        second = ()
    if all(source != 1 for source, _ in (*second, *last)):
        first = ()
    return first, second, last


@block
def _conv_norm(b: Builder, x: Tensor, channels: int, kernel: int, stride: int = 1) -> Tensor:
    return b.norm(b.conv(x, channels, kernel, stride, padding=kernel // 2))


@block
def _residual(b: Builder, operands: Sequence[Tensor], channels: int) -> Tensor:
    activated, pooled = operands
    y = b.act(_conv_norm(b.part("conv1"), activated, channels, 3, 2), "relu")
    shortcut = b.part("shortcut").conv(pooled, channels)
    y = _conv_norm(b.part("conv2"), y, channels, 3)
    return b.part("").add(shortcut, y)


def _operation(b: Builder, x: Tensor, op: str) -> Tensor:
    if op == "skip_connect":
        return x
    if op == "avg_pool_3x3":
        return b.pool(x, "avg", 3, padding=1)
    return _conv_norm(b, b.act(x, "relu"), x.channels, 1 if op == "nor_conv_1x1" else 3)


def _cell(b: Builder, x: Tensor, nodes: tuple[Terms, Terms, Terms]) -> Tensor:
    values: list[Tensor | None] = [x]
    for target, terms in enumerate(nodes, start=1):
        operand_values = []
        for source, op in terms:
            value = values[source]
            b.part(f"edge{source}>{target}")
            operand_values.append(_operation(b, b.zero(x.shape) if value is None else value, op))
        b.part("")
        values.append(b.add(*operand_values) if operand_values else None)
    last = values[-1]
    return b.zero(x.shape) if last is None else last


def nasbench201(
    choose: Choose,
    *,
    image_size: int = 32,
    num_classes: int = 10,
    channels: int = 16,
    cells: int = 5,
    zeros: str = "absorb",
) -> Graph:
    """A NAS-Bench-201 network: stem, three stages of ``cells`` cells, residual blocks of stride 2 between, classifier.

    Takes ``(3, image_size, image_size)`` and returns ``logits`` of ``(num_classes,)``. ``channels`` is the first
    stage's width. ``zeros`` is the builder's: ``absorb`` lets what is computed from zero alone vanish, ``bias`` keeps
    batch normalisation's shift there, as the published networks have it.
    """
    b = Builder(zeros=zeros)
    image = b.input((3, image_size, image_size))
    if image_size % 4:
        raise GraphError(f"nasbench201: image_size must be a multiple of 4, for it is halved twice, not {image_size}")
    for option, count, minimum in (("channels", channels, 1), ("cells", cells, 0)):
        if not isinstance(count, int) or count < minimum:
            raise GraphError(f"nasbench201: {option} must be a whole number of at least {minimum}, not {count!r}")
    x = _conv_norm(b.section("stem"), image, channels, 3)
    nodes = live_cell_terms(tuple([choose.one_of(name, OPERATIONS) for name in CHOICES]), zeros == "bias")
    for stage in range(STAGES):
        if stage:
            b.section(f"stage{stage}.residual", "residual")
            x = _residual(b, [b.act(x, "relu"), b.pool(x, "avg", 2, 2, padding=0)], channels << stage)
        for cell in range(cells):
            x = _cell(b.section(f"stage{stage}.cell{cell}", "cell"), x, nodes)
    b.section("head")
    return b.build({"logits": classifier(b, b.act(b.norm(x), "relu"), num_classes)})


def parse_string(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from the published string ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""
    form = "'|op~0|+|op~0|op~1|+|op~0|op~1|op~2|'"
    nodes = text.strip().split("+")
    if len(nodes) != 3:
        raise GenotypeError(f"a NAS-Bench-201 string is of the form {form}: 3 nodes joined by '+', not {len(nodes)}")
    decisions: dict[str, DecisionValue] = {}
    for target, node in enumerate(nodes, start=1):
        fields = node.split("|")
        if len(fields) != target + 2 or fields[0] or fields[-1]:
            raise GenotypeError(
                f"node {target} of the NAS-Bench-201 string needs {target} operation{'s' * (target > 1)} between '|',"
                f" as in {form}, not {node!r}"
            )
        for source, field in enumerate(fields[1:-1]):
            op, _, source_text = field.partition("~")
            if op not in OPERATIONS or source_text != str(source):
                raise GenotypeError(
                    f"operation {source + 1} of node {target} of the NAS-Bench-201 string must be one of"
                    f" {', '.join(OPERATIONS)} and end in '~{source}', not {field!r}"
                )
            decisions[f"edge{source}>{target}"] = op
    return {name: decisions[name] for name in CHOICES}


def _operations(decisions: Mapping[str, DecisionValue]) -> dict[tuple[int, int], str]:
    operations = {}
    for edge, name in zip(EDGES, CHOICES, strict=True):
        op = decisions.get(name)
        if not isinstance(op, str) or op not in OPERATIONS:
            raise GenotypeError(f"a NAS-Bench-201 string needs {name} from {OPERATIONS}, not {op!r}")
        operations[edge] = op
    return operations


def format_string(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The published string of these decisions."""
    edge = _operations(decisions)
    nodes = ["|".join([f"{edge[source, target]}~{source}" for source in range(target)]) for target in (1, 2, 3)]
    return "+".join([f"|{node}|" for node in nodes])


def published_string(decisions: Mapping[str, DecisionValue], zeros_simplified: bool = True) -> str:
    """The published code's name for a cell's function: its ``to_unique_str`` (NATS-Bench's ``get_unique_str``).

    The output node as a sum of sorted terms ``(x)@op``: a skip is its operand, ``0`` the cell's input, and, where zeros
    are simplified, an operation on or to zero is ``#``. It names 6,466 cells of 15,625, and 12,751 otherwise. That is
    the published count, kept for comparison, and not the number of different networks: sums of zeros stay in it, so
    that it splits equal cells, and a value used twice reads like two of its kind, so that it merges different ones.
    """
    edge = _operations(decisions)
    values = ["0"]
    for target in (1, 2, 3):
        terms = []
        for source in range(target):
            op = edge[source, target]
            if zeros_simplified and (op == "none" or values[source] == "#"):
                terms.append("#")
            else:
                terms.append(values[source] if op == "skip_connect" else f"({values[source]})@{op}")
        values.append("+".join(sorted(terms)))
    return values[-1]


NOTATION = Notation(parse_string, format_string)
