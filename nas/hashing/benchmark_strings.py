"""Keys of cells as their benchmarks write them, for comparison with what others count."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from nas.hashing.prime_field import forward_and_backward, label_code, pack_pair
from search_spaces.families import nasbench101, nasbench201
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


def nasbench201_string(genotype: Genotype, space: Space) -> str:
    """NATS-Bench's unique string of a cell, zeros simplified: 6,466 of them."""
    return _benchmark_string(genotype, space, True)


def nasbench201_string_with_zeros(genotype: Genotype, space: Space) -> str:
    """NATS-Bench's unique string of a cell, zeros left as they are: 12,751 of them."""
    return _benchmark_string(genotype, space, False)


def _benchmark_string(genotype: Genotype, space: Space, zeros_simplified: bool) -> str:
    _check_space(space, "nasbench201", genotype)
    return nasbench201.published_string(genotype, zeros_simplified=zeros_simplified)


def nasbench101_cell(genotype: Genotype, space: Space) -> str:
    """A NAS-Bench-101 cell as a labelled graph: 423,624 of them."""
    _check_space(space, "nasbench101", genotype)
    ops, matrix = nasbench101.cell_of(genotype)
    edges = [[i for i in range(len(ops)) if matrix[i][j]] for j in range(len(ops))]
    return labelled_dag_key([label_code("cell", op) for op in ops], edges).hex()


def _check_space(space: Space, name: str, genotype: Genotype) -> None:
    if space.name != name:
        raise ValueError(f"these rules are about cells of {name}, not of {space.name!r}")
    space.graph(genotype)  # refuses what the space does not contain


def labelled_dag_key(codes: Sequence[bytes], operands: Sequence[Sequence[int]]) -> bytes:
    """The key of a directed acyclic graph whose vertices, in topological order, carry codes; the last is the output.

    ``operands[v]`` are the vertices that ``v`` reads, each once. Isomorphic graphs have equal keys. The multiset of
    (value, adjoint) is what a network's key is made of, too, with every vertex an instance.
    """
    args = [[(i, 1) for i in read] for read in operands]
    values, adjoints = forward_and_backward(codes, args, [*[0] * (len(codes) - 1), 1])
    looks = sorted([pack_pair(*both) for both in zip(values, adjoints, strict=True)])
    return blake2b(b"".join(looks), digest_size=16, person=b"nas-labelled-1").digest()
