"""What a parameter of a block takes, in the terms of a YAML file: plain values, lists, mappings."""

from __future__ import annotations

import inspect
import types
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
_SEQUENCES = (tuple, list, Sequence, Collection, Iterable)


@dataclass(frozen=True)
class Kind:
    """What a parameter takes: plain values of ``types``, sequences of ``items``, or a named tuple, a ``record``.

    ``literal``: a text is a plain text wherever that is taken; else it is arithmetic all the same.
    """

    types: frozenset[type] = frozenset()
    items: Kind | None = None
    record: type | None = None
    anything: bool = False
    literal: bool = True

    @property
    def text(self) -> bool:
        """Whether a text given here is a plain text."""
        return self.literal and (self.anything or str in self.types)

    def takes(self, value: Any) -> bool:
        if self.anything:
            return True
        if isinstance(value, tuple) and not (self.record and isinstance(value, self.record)):
            return self.items is not None and all(self.items.takes(v) for v in value)
        known = {*self.types, int} if float in self.types else self.types
        return type(value) in known or (self.record is not None and isinstance(value, self.record))

    def described(self) -> str:
        words = [
            word for kind, word in _WORDS.items() if kind in self.types and not (kind is int and float in self.types)
        ]
        if self.items is not None:
            words.append(f"a list, of each {self.items.described()}")
        if self.record is not None:
            words.append(f"a mapping of {', '.join(self.record._fields)}")  # type: ignore[attr-defined]
        return " or ".join(words) or "what no YAML file can say"

    def or_else(self, other: Kind) -> Kind:
        items = self.items.or_else(other.items) if self.items and other.items else self.items or other.items
        types_ = self.types | other.types
        return Kind(types_, items, self.record or other.record, self.anything or other.anything)


ANYTHING = Kind(anything=True)
COMPUTED = Kind(anything=True, literal=False)
WHOLE = Kind(frozenset({int}))
WHOLES = Kind(frozenset({int}), WHOLE)


def kind_of(annotation: Any) -> Kind:
    """What an annotation says; one that is missing says nothing, and one of a class takes nothing that YAML has."""
    if annotation in (inspect.Parameter.empty, Any, object):
        return ANYTHING
    if annotation in (None, type(None)):
        return Kind(frozenset({type(None)}))
    if annotation in (int, float, bool, str):
        return Kind(frozenset({annotation}))
    origin, arguments = get_origin(annotation), [a for a in get_args(annotation) if a is not Ellipsis]
    if origin in (Union, types.UnionType):
        return _either(kind_of(a) for a in arguments)
    if origin is Literal:
        return Kind(frozenset(type(a) for a in arguments))
    if origin in _SEQUENCES or annotation in _SEQUENCES:
        return Kind(items=_either(kind_of(a) for a in arguments) if arguments else ANYTHING)
    if isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
        return Kind(record=annotation)
    return Kind()


def _either(kinds: Iterable[Kind]) -> Kind:
    result = Kind()
    for kind in kinds:
        result = result.or_else(kind)
    return result
