"""NAS-Bench-101 (Ying et al. 2019, arXiv 1902.09635): a cell of up to seven vertices and nine edges, repeated.

The network is that of the published code (google-research/nasbench, ``lib/model_builder.py``); the published number of
parameters counts all trainable ones, batch normalisation's scale and shift among them.

A genotype says of each of the 21 pairs of vertices whether there is an edge, and of each inner vertex what it does.
``cell_of`` makes the cell of it: vertices that are on no path from the input, vertex 0, to the output, vertex 6, are
pruned. While more than nine edges are left, the longest is dropped (the edge ``i>j`` is ``j - i`` long; of equal ones
the one with the highest ``i``), and vertices are pruned again; while ten edges are left, the longest is never the only
way to the output. Without any path the cell is the direct edge. So every genotype is a network, and cells of the
published table are left as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import Norm, conv_norm_act
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, GenotypeError
from search_spaces.space.notation import Notation

VERTICES = 7
MAX_EDGES = 9
OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")  # numbered so in the published table
INPUT, OUTPUT = "input", "output"
LABELS = {INPUT: -1, **{op: number for number, op in enumerate(OPERATIONS)}, OUTPUT: -2}
PAIRS = tuple((i, j) for i in range(VERTICES) for j in range(i + 1, VERTICES))
NORM = Norm(eps=1e-5, momentum=0.003)

_EDGE_CHOICES = {pair: f"edge{pair[0]}>{pair[1]}" for pair in PAIRS}
_OP_CHOICES = tuple(f"op{vertex}" for vertex in range(1, VERTICES - 1))
_NO_YES = (False, True)

Edges = list[tuple[int, int]]
Ops = tuple[str, ...]
Matrix = tuple[tuple[int, ...], ...]


def _edges_on_paths(edges: Edges, last: int) -> Edges:
    """The edges that are on a path from vertex 0 to vertex ``last``; ``edges`` and the result are sorted."""
    reached, leading = {0}, {last}
    for i, j in edges:
        if i in reached:
            reached.add(j)
    for i, j in reversed(edges):
        if j in leading:
            leading.add(i)
    return [(i, j) for i, j in edges if i in reached and j in leading]


def _renumber_vertices(ops: Sequence[str], edges: Edges) -> tuple[Ops, Matrix]:
    vertices = sorted({vertex for edge in edges for vertex in edge})
    rows = [[0] * len(vertices) for _ in vertices]
    index = {vertex: number for number, vertex in enumerate(vertices)}
    for i, j in edges:
        rows[index[i]][index[j]] = 1
    return tuple([ops[vertex] for vertex in vertices]), tuple([tuple(row) for row in rows])


def cell_of(decisions: Mapping[str, Any]) -> tuple[Ops, Matrix]:
    """The cell of a genotype, repaired and pruned: its operations, input and output included, and its edges.

    ``matrix[i][j]`` is 1 for an edge from vertex ``i`` to vertex ``j``, as in the published ``ModelSpec``. Raises
    ``GenotypeError`` where a decision is missing.
    """
    try:
        edges = [pair for pair, name in _EDGE_CHOICES.items() if decisions[name]]
        ops = (INPUT, *[decisions[name] for name in _OP_CHOICES], OUTPUT)
    except KeyError as error:
        raise GenotypeError(f"a NAS-Bench-101 cell needs a decision for {error.args[0]!r}") from None
    last = VERTICES - 1
    edges = _edges_on_paths(edges, last)
    while len(edges) > MAX_EDGES:
        edges.remove(max(edges, key=lambda edge: (edge[1] - edge[0], edge[0])))
        edges = _edges_on_paths(edges, last)
    return _renumber_vertices(ops, edges or [(0, last)])


def vertex_widths(matrix: Matrix, channels: int) -> list[int]:
    """The width of each vertex of a pruned cell with so many output channels; the input's is not known here (0).

    Vertices that lead to the output share its channels evenly, the first of them take one of the remainder each; any
    other is as wide as the widest that it leads to.
    """
    last = len(matrix) - 1
    widths = [0] * last + [channels]
    leading = [v for v in range(1, last) if matrix[v][last]]
    for index, v in enumerate(leading):
        width, remainder = divmod(channels, len(leading))
        widths[v] = width + (index < remainder)
    for v in range(last - 1, 0, -1):
        if not matrix[v][last]:
            widths[v] = max(widths[w] for w in range(v + 1, last) if matrix[v][w])
    return widths


def _build_cell(b: Builder, x: Tensor, ops: Ops, matrix: Matrix, channels: int) -> Tensor:
    last = len(ops) - 1
    widths = vertex_widths(matrix, channels)
    values = [x]
    for v in range(1, last):
        width = widths[v]
        terms = []
        b.part(f"vertex{v}/input")
        for source in range(1, v):
            if matrix[source][v]:
                value = values[source]
                terms.append(b.slice(value, 0, 0, width) if value.channels > width else value)
        if matrix[0][v]:
            terms.append(conv_norm_act(b, x, width, act="relu", norm=NORM))
        y = b.part(f"vertex{v}").add(*terms)
        if ops[v] == "maxpool3x3":
            values.append(b.pool(y, "max", 3))
        else:
            values.append(conv_norm_act(b, y, width, 3 if ops[v] == "conv3x3-bn-relu" else 1, act="relu", norm=NORM))
    leading = [values[v] for v in range(1, last) if matrix[v][last]]
    terms = [b.part("output").concat(leading)] if leading else []
    if matrix[0][last]:
        terms.append(conv_norm_act(b.part("output/input"), x, channels, act="relu", norm=NORM))
    return b.part("output").add(*terms)


def nasbench101(
    choose: Choose,
    *,
    image_size: int = 32,
    num_classes: int = 10,
    channels: int = 128,
    stacks: int = 3,
    modules: int = 3,
) -> Graph:
    """A NAS-Bench-101 network: stem, ``stacks`` stacks of ``modules`` cells, a linear layer.

    Takes ``(3, image_size, image_size)`` and returns ``logits`` of ``(num_classes,)``. ``channels`` is the width of the
    stem and the first stack, at least 5, for so many vertices may share it; each further stack halves the size and
    doubles the width. All choices are always made; the module's first lines say which cell they are.
    """
    for option, count, minimum in (
        ("channels", channels, VERTICES - 2),
        ("stacks", stacks, 0),
        ("modules", modules, 0),
    ):
        if not isinstance(count, int) or count < minimum:
            raise GraphError(f"nasbench101: {option} must be a whole number of at least {minimum}, not {count!r}")
    b = Builder()
    image = b.input((3, image_size, image_size))
    x = conv_norm_act(b.section("stem"), image, channels, 3, act="relu", norm=NORM)
    decisions: dict[str, Any] = {name: choose.one_of(name, _NO_YES) for name in _EDGE_CHOICES.values()}
    for name in _OP_CHOICES:
        decisions[name] = choose.one_of(name, OPERATIONS)
    ops, matrix = cell_of(decisions)
    for stack in range(stacks):
        if stack:
            x = b.section(f"stack{stack}.pool").pool(x, "max", 2, 2)
        for module in range(modules):
            b.section(f"stack{stack}.cell{module}", "cell")
            x = _build_cell(b, x, ops, matrix, channels << stack)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


# -- the published names of a cell -------------------------------------------------------------------------------------


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def module_hash(ops: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """The published table's key of a pruned cell (google-research/nasbench, ``lib/graph_util.py``, ``hash_module``).

    Equal for isomorphic cells. It does not see vertex order, by which the published code shares out channels, so that
    equal hashes may belong to networks whose widths differ by one.
    """
    count = len(ops)
    sources = [[i for i in range(count) if matrix[i][v]] for v in range(count)]
    targets = [[j for j in range(count) if matrix[v][j]] for v in range(count)]
    hashes = [_md5(str((len(targets[v]), len(sources[v]), LABELS[ops[v]]))) for v in range(count)]
    for _ in range(count):
        hashes = [
            _md5(
                "".join(sorted([hashes[i] for i in sources[v]]))
                + "|"
                + "".join(sorted([hashes[j] for j in targets[v]]))
                + "|"
                + hashes[v]
            )
            for v in range(count)
        ]
    return _md5(str(sorted(hashes)))


_NAMES = {**{name: name for name in LABELS}, **{str(number): name for name, number in LABELS.items()}}


def _decisions(ops: Sequence[str], edges: Iterable[tuple[int, int]]) -> dict[str, DecisionValue]:
    """The decisions of a cell in their order; ``GenotypeError`` where the published table can have no such cell."""
    what = "a NAS-Bench-101 cell"
    if not 2 <= len(ops) <= VERTICES:
        raise GenotypeError(f"{what} has 2 to {VERTICES} vertices, not {len(ops)}")
    last = len(ops) - 1
    for vertex, op in enumerate(ops):
        expected = (INPUT,) if vertex == 0 else (OUTPUT,) if vertex == last else OPERATIONS
        if op not in expected:
            listed = ", ".join(f"{name} ({LABELS[name]})" for name in expected)
            raise GenotypeError(f"vertex {vertex} of {what} must be {listed}, not {op!r}")
    for i, j in edges:
        if not 0 <= i < j <= last:
            raise GenotypeError(f"an edge of {what} of {len(ops)} vertices leads from a lower to a higher, not {i}>{j}")
    useful_edges = _edges_on_paths(sorted(set(edges)), last)
    if not useful_edges:
        raise GenotypeError(f"{what} needs a path from vertex 0, the input, to vertex {last}, the output")
    if len(useful_edges) > MAX_EDGES:
        raise GenotypeError(
            f"{what} has at most {MAX_EDGES} edges on paths from input to output, not {len(useful_edges)}"
        )
    pruned, matrix = _renumber_vertices(ops, useful_edges)
    end = len(pruned) - 1
    present = {
        (i, VERTICES - 1 if j == end else j) for i, row in enumerate(matrix) for j, edge in enumerate(row) if edge
    }
    decisions: dict[str, DecisionValue] = {name: pair in present for pair, name in _EDGE_CHOICES.items()}
    for vertex, name in enumerate(_OP_CHOICES, start=1):
        decisions[name] = pruned[vertex] if vertex < end else OPERATIONS[0]
    return decisions


def parse_cell(text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    """Decisions from ``-1 0 2 -2|0>1 1>2 2>3``: the vertices' operations by number or name, then the edges.

    Or from JSON of what the published ``ModelSpec`` takes, ``[matrix, ops]``. The cell is pruned; its inner vertices
    become the genotype's first in the same order, its output becomes vertex 6, and the others stay without edges.
    """
    if text.lstrip().startswith("["):
        return _from_model_spec(text)
    vertices, bar, connections = text.partition("|")
    if not bar:
        raise GenotypeError(f"a NAS-Bench-101 cell is of the form '-1 0 2 -2|0>1 1>2 2>3', not {text!r}")
    ops = []
    for index, field in enumerate(vertices.split()):
        if field not in _NAMES:
            raise GenotypeError(f"vertex {index} of a NAS-Bench-101 cell is {field!r}; known: {', '.join(_NAMES)}")
        ops.append(_NAMES[field])
    edges = []
    for field in connections.split():
        if not re.fullmatch("[0-9]>[0-9]", field):
            raise GenotypeError(f"an edge of a NAS-Bench-101 cell is of the form 0>1, not {field!r}")
        edges.append((int(field[0]), int(field[2])))
    return _decisions(ops, edges)


def _from_model_spec(text: str) -> dict[str, DecisionValue]:
    form = "a NAS-Bench-101 cell in JSON is [matrix, ops], a square list of rows of 0 and 1 and the operations' names"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GenotypeError(f"{form}; this is no JSON ({error})") from None
    if len(document) != 2 or not all(isinstance(part, list) for part in document):
        raise GenotypeError(f"{form}, not {len(document)} parts")
    matrix, ops = document
    for row in matrix:
        if not isinstance(row, list) or len(row) != len(ops) or any(n not in (0, 1) for n in row):
            raise GenotypeError(f"{form}; for {len(ops)} operations a row cannot be {row!r}")
    if len(matrix) != len(ops):
        raise GenotypeError(f"{form}; there are {len(matrix)} rows for {len(ops)} operations")
    edges = [(i, j) for i, row in enumerate(matrix) for j, edge in enumerate(row) if edge]
    return _decisions([str(op) for op in ops], edges)


def format_cell(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    """The pruned cell as ``-1 0 2 -2|0>1 1>2 2>3``. Decisions that have no part in the cell are not in it."""
    ops, matrix = cell_of(decisions)
    edges = [f"{i}>{j}" for i, row in enumerate(matrix) for j, edge in enumerate(row) if edge]
    return f"{' '.join([str(LABELS[op]) for op in ops])}|{' '.join(edges)}"


NOTATION = Notation(parse_cell, format_cell)
