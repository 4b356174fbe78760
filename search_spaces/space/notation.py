"""Published notations: how the authors of a search space write one of its architectures down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.space.genotype import DecisionValue


@dataclass(frozen=True)
class Notation:
    """A system's published way of writing an architecture, for a space with the given options.

    ``parse(text, options)`` returns decisions by name and raises ``GenotypeError``; ``format(decisions, options)``
    writes them.
    """

    parse: Callable[[str, Mapping[str, Any]], dict[str, DecisionValue]]
    format: Callable[[Mapping[str, DecisionValue], Mapping[str, Any]], str]
