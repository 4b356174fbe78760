"""NAS-Bench-201 cells sorted into equal ones by brute force: the oracle of the functional hash.

It knows nothing of graphs, fields or digests. A cell is written out as an exact symbolic term in which every
convolution bears the name of its edge; two cells are equal when some renaming of one's convolutions gives the other.
Every renaming is tried outright, for a cell has at most six convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import permutations, product
from math import gcd
from typing import Any, NamedTuple

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")

Cell = tuple[str, ...]  # one operation for each of EDGES
# A sum is the sorted tuple of its terms, each as often as it occurs; the empty one is zero. A term is a tuple too:
# ("input",), ("pool", sum), ("conv", operation, name, sum) or ("constant", name).
Term = tuple[Any, ...]
Sum = tuple[Term, ...]


class Notion(NamedTuple):
    """What counts as equal, beyond identities, commutative flat sums and which convolutions are the same one.

    ``pool_linear``: pooling a sum is the sum of the pooled terms. ``norm_scale``: normalisation undoes a factor, so a
    convolution of ``c * x`` is that of ``x``. ``keep_constants``: what a convolution makes of zero is its batch
    normalisation's shift, a trainable constant, whatever the kernel; without it, zero.
    ``constants_pass_kernel_1``: a 1x1 convolution of a constant map is one more constant map.
    """

    pool_linear: bool = False
    norm_scale: bool = False
    keep_constants: bool = False
    constants_pass_kernel_1: bool = False


EXACT = Notion()


def cells() -> list[Cell]:
    """All 15,625."""
    return list(product(OPS, repeat=len(EDGES)))


def to_string(cell: Cell) -> str:
    """As published: ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""
    terms = {edge: f"{op}~{edge[0]}" for edge, op in zip(EDGES, cell, strict=True)}
    return "+".join(f"|{'|'.join(terms[i, j] for i in range(j))}|" for j in (1, 2, 3))


def _pooled(value: Sum, notion: Notion) -> Sum:
    if not notion.pool_linear:
        return (("pool", value),) if value else ()
    # A constant map is its own average: padding is not counted.
    return tuple(sorted(t if t[0] == "constant" else ("pool", (t,)) for t in value))


def _convolved(op: str, name: int, value: Sum, notion: Notion) -> Sum:
    if not value:
        return (("constant", name),) if notion.keep_constants else ()
    if notion.constants_pass_kernel_1 and op == "nor_conv_1x1" and all(t[0] == "constant" for t in value):
        return (("constant", name),)
    if notion.norm_scale:
        counts = [value.count(t) for t in sorted(set(value))]
        factor = reduce(gcd, counts)
        value = tuple(t for t, n in zip(sorted(set(value)), counts, strict=True) for _ in range(n // factor))
    return (("conv", op, name, value),)


def term(cell: Cell, names: Sequence[int], notion: Notion) -> Sum:
    """The cell's output, the convolution of edge ``e`` called ``names[e]``."""
    nodes: list[Sum] = [(("input",),), (), (), ()]
    for name, (source, target), op in zip(names, EDGES, cell, strict=True):
        value = nodes[source]
        if op == "none":
            continue
        if op in CONVOLUTIONS:
            value = _convolved(op, name, value, notion)
        elif op == "avg_pool_3x3":
            value = _pooled(value, notion)
        nodes[target] = tuple(sorted(nodes[target] + value))
    return nodes[3]


def _names_in(value: Sum) -> set[int]:
    names: set[int] = set()
    for t in value:
        if t[0] == "conv":
            names |= {t[2]} | _names_in(t[3])
        elif t[0] == "constant":
            names.add(t[1])
        elif t[0] == "pool":
            names |= _names_in(t[1])
    return names


def canonical(cell: Cell, notion: Notion = EXACT) -> Sum:
    """The smallest of the terms that the cell has under all names of the convolutions that reach its output."""
    live = sorted(_names_in(term(cell, range(len(EDGES)), notion)))
    names = [len(EDGES)] * len(EDGES)  # a convolution that does not reach the output needs none
    best: Sum | None = None
    for order in permutations(range(len(live))):
        for edge, name in zip(live, order, strict=True):
            names[edge] = name
        candidate = term(cell, names, notion)
        if best is None or candidate < best:
            best = candidate
    assert best is not None
    return best


def partition(keys: Iterable[Any]) -> list[int]:
    """For each key the index of the first that equals it: equal lists are equal partitions."""
    first: dict[Any, int] = {}
    return [first.setdefault(key, index) for index, key in enumerate(keys)]
