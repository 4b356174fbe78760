"""What a parameter of a block takes, in the terms of a YAML file: plain values, lists, mappings."""

from __future__ import annotations

import inspect
import types
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

_TYPE_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
_SEQUENCE_TYPES = (tuple, list, Sequence, Collection, Iterable)


@dataclass(frozen=True)
class ParameterType:
    """What a parameter takes: plain values of ``types``, sequences of ``items``, or a named tuple, a ``record``.

    ``plain_text``: a text is a plain text wherever that is taken; else it is arithmetic all the same.
    """

    types: frozenset[type] = frozenset()
    items: ParameterType | None = None
    record: type | None = None
    any_value: bool = False
    plain_text: bool = True

    @property
    def text(self) -> bool:
        """Whether a text given here is a plain text."""
        return self.plain_text and (self.any_value or str in self.types)

    def accepts(self, value: Any) -> bool:
        if self.any_value:
            return True
        if isinstance(value, tuple) and not (self.record and isinstance(value, self.record)):
            return self.items is not None and all(self.items.accepts(v) for v in value)
        accepted_types = {*self.types, int} if float in self.types else self.types
        return type(value) in accepted_types or (self.record is not None and isinstance(value, self.record))

    def description(self) -> str:
        words = [
            word
            for kind, word in _TYPE_WORDS.items()
            if kind in self.types and not (kind is int and float in self.types)
        ]
        if self.items is not None:
            words.append(f"a list, of each {self.items.description()}")
        if self.record is not None:
            words.append(f"a mapping of {', '.join(self.record._fields)}")  # type: ignore[attr-defined]
        return " or ".join(words) or "what no YAML file can say"

    def union(self, other: ParameterType) -> ParameterType:
        items = self.items.union(other.items) if self.items and other.items else self.items or other.items
        types_ = self.types | other.types
        return ParameterType(types_, items, self.record or other.record, self.any_value or other.any_value)


ANY_TYPE = ParameterType(any_value=True)
EXPRESSION_TYPE = ParameterType(any_value=True, plain_text=False)
INT_TYPE = ParameterType(frozenset({int}))
INTS_TYPE = ParameterType(frozenset({int}), INT_TYPE)


def parameter_type_of(annotation: Any) -> ParameterType:
    """What an annotation says; one that is missing says nothing, and one of a class takes nothing that YAML has."""
    if annotation in (inspect.Parameter.empty, Any, object):
        return ANY_TYPE
    if annotation in (None, type(None)):
        return ParameterType(frozenset({type(None)}))
    if annotation in (int, float, bool, str):
        return ParameterType(frozenset({annotation}))
    origin, arguments = get_origin(annotation), [a for a in get_args(annotation) if a is not Ellipsis]
    if origin in (Union, types.UnionType):
        return _union_of(parameter_type_of(a) for a in arguments)
    if origin is Literal:
        return ParameterType(frozenset(type(a) for a in arguments))
    if origin in _SEQUENCE_TYPES or annotation in _SEQUENCE_TYPES:
        return ParameterType(items=_union_of(parameter_type_of(a) for a in arguments) if arguments else ANY_TYPE)
    if isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
        return ParameterType(record=annotation)
    return ParameterType()


def _union_of(kinds: Iterable[ParameterType]) -> ParameterType:
    result = ParameterType()
    for kind in kinds:
        result = result.union(kind)
    return result
