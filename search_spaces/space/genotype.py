"""Genotypes: the named decisions that made a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

DecisionValue = None | bool | int | float | str | tuple[Any, ...]


class Rng(Protocol):
    """What spaces need of a random source: ``random.Random`` and ``numpy.random.Generator`` both have it."""

    def random(self) -> float: ...


class SpaceError(ValueError):
    """A space that contradicts itself or makes a network that cannot be; the message names the choice."""


class GenotypeError(ValueError):
    """Decisions that the space does not contain, or text that is no genotype."""


class Genotype(Mapping[str, DecisionValue]):
    """The named decisions of one run of a space, in the order they were made. Immutable, hashable, JSON-able."""

    __slots__ = ("_hash", "_values")

    def __init__(self, values: Mapping[str, DecisionValue]) -> None:
        self._values = dict(values)
        self._hash: int | None = None

    def __getitem__(self, name: str) -> DecisionValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Genotype) and self._values == other._values

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._values.items()))
        return self._hash

    def __repr__(self) -> str:
        return f"Genotype({self._values!r})"

    def to_json(self) -> str:
        """The decisions as a JSON object, in order."""
        return json.dumps(self._values)

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """Read ``to_json``'s text. Raises ``GenotypeError``; whether a space contains it, ``Space.graph`` says."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GenotypeError(f"no genotype: the text is not JSON ({error})") from None
        return cls.from_document(document)

    def to_yaml(self) -> str:
        """The decisions as a YAML mapping, in order."""
        import yaml

        return yaml.safe_dump(json.loads(self.to_json()), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> Genotype:
        """Read ``to_yaml``'s text. Raises ``GenotypeError``."""
        import yaml

        try:
            document = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:  # it reads dates and numbers too
            raise GenotypeError(f"no genotype: the text is not YAML ({error})") from None
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: object) -> Genotype:
        """The genotype of JSON-able data: a mapping of choice names to values. Raises ``GenotypeError``."""
        if not isinstance(document, dict) or not all(isinstance(name, str) for name in document):
            raise GenotypeError("no genotype: expected one object of choice names and values")
        try:
            return cls({name: _decision_value(value) for name, value in document.items()})
        except RecursionError:
            raise GenotypeError("no genotype: its lists hold themselves or nest too deep") from None


def _decision_value(value: Any) -> DecisionValue:
    if isinstance(value, list):
        return tuple([_decision_value(v) for v in value])
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise GenotypeError(
        f"a decision is a number, a text, true, false, null or a list of them, not {type(value).__name__}"
    )
