"""Widths as variables: which of them are tied to each other, and which cannot change.

Every output of a dense or grouped convolution or linear layer is a variable. The extent of an axis is a sum of
``ExtentTerm``s in their order along it: a factor times a variable, or a constant. Equal extents tie variables, each
with a ratio to the one that stands for all; what is equal in no such way keeps the module's own extent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from search_spaces.graph.operations import GraphError

CONSTANT = -1


class ExtentTerm(NamedTuple):
    """``factor`` times the size of ``variable``; of ``CONSTANT``, ``factor`` alone."""

    factor: Fraction
    variable: int


Axis = tuple[ExtentTerm, ...]


def constant(extent: int) -> Axis:
    return (ExtentTerm(Fraction(extent), CONSTANT),)


def scale_axis(axis: Axis, factor: Fraction) -> Axis:
    return tuple([ExtentTerm(part.factor * factor, part.variable) for part in axis])


def is_constant(axis: Axis) -> bool:
    return all(part.variable == CONSTANT for part in axis)


@dataclass
class WidthVariables:
    """Variables in classes of those that change together."""

    own: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)  # the step that makes each variable
    fixed_reasons: dict[int, str] = field(default_factory=dict)  # by the class's root: why it cannot change
    _parent: list[int] = field(default_factory=list)
    _ratio_to_parent: list[Fraction] = field(default_factory=list)
    _integral_terms: list[ExtentTerm] = field(default_factory=list)  # what must be a whole number

    def new(self, own: int, source: int) -> Axis:
        """The extent of a new variable."""
        self.own.append(own)
        self.sources.append(source)
        self._parent.append(len(self._parent))
        self._ratio_to_parent.append(Fraction(1))
        return (ExtentTerm(Fraction(1), len(self.own) - 1),)

    def root(self, variable: int) -> ExtentTerm:
        """The variable that stands for the class, and this one's ratio to it."""
        ratio = Fraction(1)
        while self._parent[variable] != variable:
            ratio *= self._ratio_to_parent[variable]
            variable = self._parent[variable]
        return ExtentTerm(ratio, variable)

    def rooted(self, axis: Axis) -> Axis:
        """The same extent in the variables that stand for their classes."""
        parts = []
        for factor, variable in axis:
            if variable == CONSTANT:
                parts.append(ExtentTerm(factor, CONSTANT))
            else:
                ratio, top = self.root(variable)
                parts.append(ExtentTerm(factor * ratio, top))
        return tuple(parts)

    def extent(self, axis: Axis) -> int:
        """The extent as the module has it."""
        total = sum(f if v == CONSTANT else f * self.own[v] for f, v in axis)
        return int(total)

    def require_integral(self, axis: Axis, divisor: int = 1) -> None:
        """Each part divided by ``divisor`` must stay a whole number."""
        self._integral_terms += [part for part in scale_axis(axis, Fraction(1, divisor)) if part.variable != CONSTANT]

    def fix(self, axis: Axis, reason: str) -> None:
        """None of these may change."""
        for part in axis:
            if part.variable != CONSTANT:
                self.fixed_reasons.setdefault(self.root(part.variable).variable, reason)

    def tie(self, a: Axis, b: Axis, reason: str) -> None:
        """Two extents are always equal."""
        a, b = self.rooted(a), self.rooted(b)
        if a == b:
            return
        if len(a) != len(b) or any(self.extent((p,)) != self.extent((q,)) for p, q in zip(a, b, strict=True)):
            self.fix(a + b, reason)
            return
        for (factor, variable), (other_factor, other) in zip(a, b, strict=True):
            if CONSTANT in (variable, other):
                self.fix((ExtentTerm(factor, variable), ExtentTerm(other_factor, other)), reason)
            else:
                self._union(variable, other, other_factor / factor)

    def _union(self, variable: int, other: int, ratio: Fraction) -> None:
        """``variable`` is ``ratio`` times ``other``."""
        first, second = self.root(variable), self.root(other)
        if first.variable == second.variable:
            return
        self._parent[first.variable] = second.variable
        self._ratio_to_parent[first.variable] = ratio * second.factor / first.factor
        if first.variable in self.fixed_reasons:
            self.fixed_reasons.setdefault(second.variable, self.fixed_reasons.pop(first.variable))

    def members(self, root: int) -> list[int]:
        return [v for v in range(len(self.own)) if self.root(v).variable == root]

    def multiples(self) -> dict[int, int]:
        """By root: what its size must be a multiple of, so that every extent of the class is whole."""
        multiples_by_root: dict[int, int] = {}
        for factor, variable in [*self._integral_terms, *[ExtentTerm(Fraction(1), v) for v in range(len(self.own))]]:
            ratio, top = self.root(variable)
            multiples_by_root[top] = lcm(multiples_by_root.get(top, 1), (factor * ratio).denominator)
        return multiples_by_root


def evaluate_extent(axis: Axis, sizes: Sequence[int]) -> int:
    """The extent for these sizes by root; ``axis`` is ``rooted``. Raises ``GraphError`` where it is not whole."""
    total = Fraction(0)
    for factor, variable in axis:
        total += factor if variable == CONSTANT else factor * sizes[variable]
    if total.denominator != 1 or total < 1:
        raise GraphError(f"an extent would be {total}; choose a width that divides as the module's own does")
    return int(total)
