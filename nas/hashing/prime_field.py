"""The prime field of 2^127 - 1 and a keyed hash as a random function on it: the arithmetic of functional keys.

An operation's value is ``prf(label_code, sum of its operands' values)``, so that sums cost an addition and forget their
order. A plain polynomial in place of the keyed hash would have a degree of the network's depth exponentially, and
collisions could be made; BLAKE2b leaves n^2 / 2^128 for n values in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

PRIME = 2**127 - 1
JACOBIAN_SHIFT = 129
keyed_hash = blake2b(key=b"nas functional hash", digest_size=32).copy
_number = int.from_bytes


@lru_cache(maxsize=1 << 16)
def label_code(*label: Any) -> bytes:
    """Sixteen bytes for what an operation is, from plain numbers, texts and tuples."""
    return blake2b(repr(label).encode(), digest_size=16, person=b"nas-operation-1").digest()


def prf(label: bytes, operand: int) -> tuple[int, int]:
    """Value and Jacobian, two elements of the field, of an operation on an operand's value."""
    state = keyed_hash()
    state.update(label + operand.to_bytes(16, "little"))
    both = _number(state.digest(), "little")
    return both & PRIME, both >> JACOBIAN_SHIFT


@lru_cache(maxsize=1 << 10)
def output_adjoint(name: str) -> int:
    """The adjoint that a named output starts with."""
    return prf(label_code("output", name), 0)[0]


def pack_pair(value: int, adjoint: int) -> bytes:
    """Two elements of the field as bytes."""
    return (value << 127 | adjoint).to_bytes(32, "little")


def forward_and_backward(
    codes: Sequence[bytes], operands: Sequence[Sequence[tuple[int, int]]], starts: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Values and adjoints of a graph's vertices, in topological order: forward once, back once.

    ``operands[v]`` are the vertices that ``v`` reads and how often; ``starts`` the adjoints before the backward pass.
    """
    values: list[int] = []
    jacobians: list[int] = []
    for label, of_vertex in zip(codes, operands, strict=True):
        total = 0
        for arg, multiplicity in of_vertex:
            total += values[arg] * multiplicity
        value, jacobian = prf(label, total % PRIME)
        values.append(value)
        jacobians.append(jacobian)
    adjoints = list(starts)
    for vertex in range(len(values) - 1, -1, -1):
        adjoints[vertex] %= PRIME
        passed = adjoints[vertex] * jacobians[vertex] % PRIME
        for arg, multiplicity in operands[vertex]:
            adjoints[arg] += passed * multiplicity
    return values, adjoints
