"""Which networks count as the same: named, versioned rules. A key carries the name and the version of its rules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from search_spaces.registry import unknown_name
from search_spaces.space.space import Space

DEFAULT = "exact"


@dataclass(frozen=True)
class Equivalence:
    """What is equal beside isomorphic normal forms. ``text`` is the key's prefix.

    pool_linear: the average of a sum is the sum of the averages. bn_scale: batch normalisation forgets a positive
    factor (true up to its eps). bias_of_zero: a normalised zero is the normalisation's shift, a trained constant, in
    spaces that offer ``zeros="bias"``. notation: ``package.module:name`` of a function from genotype and space to a
    benchmark's own string; the key is then that of the string, not of the graph.
    """

    text: str
    pool_linear: bool = False
    bn_scale: bool = False
    bias_of_zero: bool = False
    notation: str = ""

    def canonical_space(self, space: Space) -> Space:
        """The space as it builds networks under these rules."""
        return space.with_options(zeros="bias") if self.bias_of_zero and space.accepts("zeros") else space


EXACT = Equivalence("exact-2")


@dataclass(frozen=True)
class EquivalenceRow:
    """One named rule: its version, what it does, and a line about it.

    ``effect`` is the field of ``Equivalence`` that the rule sets, or the ``package.module:name`` of its notation.
    """

    version: int
    effect: str
    summary: str


EQUIVALENCES: dict[str, EquivalenceRow] = {
    "exact": EquivalenceRow(2, "", "the same trainable network: isomorphic normal forms"),
    "pool-linear": EquivalenceRow(1, "pool_linear", "and average pooling of a sum is the sum of the pooled"),
    "bn-scale": EquivalenceRow(1, "bn_scale", "and batch normalisation forgets a positive factor, up to its eps"),
    "bn-bias": EquivalenceRow(2, "bias_of_zero", "a normalised zero stays, as the constant that it trains"),
    "nasbench201-published": EquivalenceRow(
        1, "nas.hashing.benchmark_strings:nasbench201_string", "NATS-Bench's unique string of a cell, zeros simplified"
    ),
    "nasbench201-published-zeros": EquivalenceRow(
        1, "nas.hashing.benchmark_strings:nasbench201_string_with_zeros", "the same, zeros not simplified"
    ),
    "nasbench101-published": EquivalenceRow(
        1, "nas.hashing.benchmark_strings:nasbench101_cell", "isomorphism of NAS-Bench-101's labelled cells"
    ),
}


@lru_cache(maxsize=64)
def parse_equivalence(name: str) -> Equivalence:
    """The rules of a name, or of several joined by ``+``, such as ``pool-linear+bn-scale``.

    Raises ``UnknownName``, and ``ValueError`` where a benchmark's notation is joined with other rules.
    """
    parts = sorted(set(name.split("+")))
    for part in parts:
        if part not in EQUIVALENCES:
            raise unknown_name("rule set", part, list(EQUIVALENCES))
    notations = [part for part in parts if ":" in EQUIVALENCES[part].effect]
    if notations and len(parts) > 1:
        raise ValueError(f"rules {name!r}: {notations[0]} stands alone")
    fields = {EQUIVALENCES[p].effect: True for p in parts if EQUIVALENCES[p].effect and not notations}
    parts = [p for p in parts if p != DEFAULT] or [DEFAULT]
    text = "+".join(f"{p}-{EQUIVALENCES[p].version}" for p in parts)
    return Equivalence(text, notation=EQUIVALENCES[notations[0]].effect if notations else "", **fields)
