"""Strings of cells as their benchmarks write them, for comparison with the numbers of networks that they publish."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from nas.hashing.prime_field import forward_and_backward, label_code, pack_pair
from search_spaces.registry import import_object
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

# What the families say of their cells, as text: a family is imported when a key of its cells is asked for
_PUBLISHED_STRING = "search_spaces.families.nasbench201:published_string"
_CELL_OF = "search_spaces.families.nasbench101:cell_of"


def nasbench201_string(genotype: Genotype, space: Space) -> str:
    """NATS-Bench's unique string of a cell, zeros simplified: 6,466 of them."""
    return _benchmark_string(genotype, space, True)


def nasbench201_string_with_zeros(genotype: Genotype, space: Space) -> str:
    """NATS-Bench's unique string of a cell, zeros left as they are: 12,751 of them."""
    return _benchmark_string(genotype, space, False)


def _benchmark_string(genotype: Genotype, space: Space, zeros_simplified: bool) -> str:
    _check_space(space, "nasbench201", genotype)
    text: str = import_object(_PUBLISHED_STRING)(genotype, zeros_simplified=zeros_simplified)
    return text


def nasbench101_cell(genotype: Genotype, space: Space) -> str:
    """A NAS-Bench-101 cell as a labelled graph: 423,624 of them."""
    _check_space(space, "nasbench101", genotype)
    ops, matrix = import_object(_CELL_OF)(genotype)
    edges = [[i for i in range(len(ops)) if matrix[i][j]] for j in range(len(ops))]
    return labelled_dag_key([label_code("cell", op) for op in ops], edges).hex()


def _check_space(space: Space, name: str, genotype: Genotype) -> None:
    if space.name != name:
        raise ValueError(f"these rules are about cells of {name}, not of {space.name!r}")
    space.graph(genotype)  # refuses what the space does not contain


def labelled_dag_key(codes: Sequence[bytes], operands: Sequence[Sequence[int]]) -> bytes:
    """The key of a directed acyclic graph whose vertices, in topological order, carry codes; the last is the output.

    ``operands[v]`` are the vertices that ``v`` reads, each once. Isomorphic graphs have equal keys. As in
    a network's key, it digests the multiset of (value, adjoint).
    """
    counted_operands = [[(i, 1) for i in of_vertex] for of_vertex in operands]
    values, adjoints = forward_and_backward(codes, counted_operands, [*[0] * (len(codes) - 1), 1])
    signatures = sorted([pack_pair(*both) for both in zip(values, adjoints, strict=True)])
    return blake2b(b"".join(signatures), digest_size=16, person=b"nas-labelled-1").digest()
