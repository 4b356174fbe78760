"""Values in the YAML files of spaces: plain ones, arithmetic, and choices; read once, computed in every network.

A text is arithmetic where a number is wanted and plain where a text is wanted: what a block's parameter takes, its
annotation says. A text that begins with ``=`` is arithmetic anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, get_type_hints

from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import SpaceError
from search_spaces.yaml_spaces.expressions import CONSTANTS, FUNCTIONS, Expression, ExpressionError
from search_spaces.yaml_spaces.parameter_types import ANY_TYPE, ParameterType, parameter_type_of

MAX_OPTIONS = 1000
# Names that every network has values for
SIZE_NAMES = ("in_channels", "in_height", "in_width")  # of what a block reads
STAGE_NAMES = ("stage", *SIZE_NAMES)
LAYER_NAMES = ("layer", "stride", "depth_of_stage")
RESERVED_NAMES = (*STAGE_NAMES, *LAYER_NAMES, "width_of_stage")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# -- where a value is --------------------------------------------------------------------------------------------------


class ChoiceScope:
    """The choices of one part of a file that have a prefix in common: a stage's own, those of its layers, the head's.

    Those named in ``shared`` (True: all) are made once for the stage; ``shared_options`` has the ones that are shared.
    """

    def __init__(
        self, shared: Collection[str] | bool = False, shared_options: dict[str, tuple[Any, ...]] | None = None
    ) -> None:
        self._shared = shared
        self._shared_options = {} if shared_options is None else shared_options
        self._own_options: dict[str, tuple[Any, ...]] = {}

    def is_shared(self, name: str) -> bool:
        return self._shared is True or (self._shared is not False and name in self._shared)

    @property
    def choices(self) -> list[str]:
        return [*self._own_options, *self._shared_options]

    def first_options(self, name: str, options: tuple[Any, ...]) -> tuple[Any, ...]:
        """The options that this choice was first seen with."""
        return (self._shared_options if self.is_shared(name) else self._own_options).setdefault(name, options)


@dataclass(frozen=True)
class FileLocation:
    """A location in a file: what errors call it, which names it can use, and how choices made there are named.

    ``defaults``: names of values that a block gets for parameters that the file does not mention.
    """

    file: str
    where: str
    names_in_scope: frozenset[str]
    scope: ChoiceScope
    path: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)

    def child(self, key: str | int, *path: str) -> FileLocation:
        """The location below ``key``; ``path`` is what it adds to the names of choices."""
        step = f"[{key}]" if isinstance(key, int) else f".{key}" if self.where else key
        return replace(self, where=self.where + step, path=(*self.path, *path))

    def with_names(self, names: Iterable[str]) -> FileLocation:
        return replace(self, names_in_scope=self.names_in_scope.union(names))

    def message(self, text: str) -> str:
        return f"{self.file}: {self.where}: {text}" if self.where else f"{self.file}: {text}"

    def error(self, text: str) -> SpaceError:
        return SpaceError(self.message(text))


class NetworkFrame:
    """The state while one network is made: the values of names, and how choices are named at this point."""

    __slots__ = ("choose", "names", "prefix", "shared", "shared_prefix")

    def __init__(
        self, choose: Choose, names: dict[str, Any], prefix: str, shared: dict[str, Any], shared_prefix: str
    ) -> None:
        self.choose = choose
        self.names = names
        self.prefix = prefix
        self.shared = shared
        self.shared_prefix = shared_prefix


FrameFunction = Callable[[NetworkFrame], Any]

# -- reading -----------------------------------------------------------------------------------------------------------


def format_value(value: Any) -> str:
    """A value in an error: one short line."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggestion(name: object, names_in_scope: Collection[str]) -> str:
    """The end of an error about an unknown name."""
    close = get_close_matches(str(name), names_in_scope, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names_in_scope) or 'none'}"


def check_mapping(
    raw: Any, location: FileLocation, keys: Collection[str], required: Collection[str] = ()
) -> dict[str, Any]:
    """``raw`` as a mapping with no other keys. Raises ``SpaceError``."""
    if not isinstance(raw, dict):
        raise location.error(f"expected a mapping with {', '.join(keys)}, not {format_value(raw)}")
    for key in raw:
        if key not in keys:
            close = get_close_matches(str(key), keys, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise location.error(f"no key {format_value(key)}; the keys are {', '.join(keys)}{hint}")
    for key in required:
        if key not in raw:
            raise location.error(f"the key {key!r} is missing")
    return raw


def check_name(name: Any, location: FileLocation, taken_names: Collection[str] = ()) -> str:
    """A name that arithmetic can use and nothing else has. Raises ``SpaceError``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise location.error(f"{format_value(name)} is no name: letters, digits and _, and no digit first")
    if name in FUNCTIONS or name in CONSTANTS or name in ("and", "or", "not", "if", "else", "True", "False", "None"):
        raise location.error(f"{name!r} means something in arithmetic; take another name")
    if name in taken_names:
        raise location.error(f"the name {name!r} is taken; take another one")
    return name


def read_value(raw: Any, expected_type: ParameterType, location: FileLocation) -> FrameFunction:
    """A value as a function of the frame. Raises ``SpaceError`` now, and ``GraphError`` when it is computed."""
    if isinstance(raw, dict):
        if "choose" in raw:
            return read_choice(raw, location, lambda r, p: read_value(r, expected_type, p), expected_type)
        if expected_type.record is not None:
            return _read_record(raw, expected_type.record, location)
        expected = "a value" if expected_type.any_value else expected_type.description()
        raise location.error(f"expected {expected} or a choice, not {format_value(raw)}")
    if isinstance(raw, list):
        if not expected_type.any_value and expected_type.items is None:
            raise location.error(f"expected {expected_type.description()}, not a list")
        item_kind = expected_type.items or ANY_TYPE
        steps = [read_value(r, item_kind, location.child(i, str(i))) for i, r in enumerate(raw)]
        return lambda frame: tuple([step(frame) for step in steps])
    if isinstance(raw, str) and (raw.startswith("=") or not expected_type.text):
        return _read_expression(raw.removeprefix("="), expected_type, location)
    if isinstance(raw, str) and raw in location.names_in_scope and raw not in RESERVED_NAMES:
        raise location.error(
            f"{raw!r} is a plain text here, and there is a value of that name: write '={raw}' for the value, or give"
            " the value another name"
        )
    _check_kind(raw, expected_type, location)
    return lambda _: raw


def _check_kind(value: Any, expected_type: ParameterType, location: FileLocation) -> None:
    complaint = _type_error_text(value, expected_type)
    if complaint:
        raise location.error(complaint)


def _type_error_text(value: Any, expected_type: ParameterType) -> str:
    if expected_type.accepts(value):
        return ""
    hint = (
        "; write round8(...), round(...), int(...) or //" if type(value) is float and int in expected_type.types else ""
    )
    return f"expected {expected_type.description()}, not {format_value(value)}{hint}"


def _read_expression(text: str, expected_type: ParameterType, location: FileLocation) -> FrameFunction:
    try:
        expression = Expression(text, location.names_in_scope)
    except ExpressionError as error:
        raise location.error(str(error)) from None
    if not expression.names:
        value = expression({})
        _check_kind(value, expected_type, location)
        return lambda _: value

    def step(frame: NetworkFrame) -> Any:
        try:
            result = expression(frame.names)
        except ExpressionError as error:
            raise GraphError(location.message(str(error))) from None
        if not expected_type.accepts(result):
            raise GraphError(location.message(f"{text.strip()!r}: {_type_error_text(result, expected_type)}"))
        return result

    return step


def _read_record(raw: dict[Any, Any], record: type, location: FileLocation) -> FrameFunction:
    names: tuple[str, ...] = record._fields  # type: ignore[attr-defined]
    defaults: Mapping[str, Any] = record._field_defaults  # type: ignore[attr-defined]
    check_mapping(raw, location, names, [n for n in names if n not in defaults])
    hints = get_type_hints(record)
    steps = {n: read_value(r, parameter_type_of(hints.get(n, Any)), location.child(n, n)) for n, r in raw.items()}
    return lambda frame: record(**{n: step(frame) for n, step in steps.items()})


# -- choices -----------------------------------------------------------------------------------------------------------


def read_choice(
    raw: dict[Any, Any],
    location: FileLocation,
    read: Callable[[Any, FileLocation], Any],
    expected_type: ParameterType = ANY_TYPE,
) -> FrameFunction:
    """``{choose: ..., name: ...}``: a list of plain values, ``{from, to, step}``, or alternatives by name.

    Alternatives are read by ``read``, and those that are not taken make no choices.
    """
    check_mapping(raw, location, ("choose", "name"))
    name = raw.get("name", ".".join(location.path))
    if not isinstance(name, str) or not name or not name.isprintable():
        raise location.error(f"the name of a choice is a text, not {format_value(name)}")
    raw_options, options_location = raw["choose"], location.child("choose")
    steps: dict[Any, FrameFunction] | None = None
    if isinstance(raw_options, dict) and {"from", "to"} <= raw_options.keys():
        options = _read_range(raw_options, options_location, expected_type)
    elif isinstance(raw_options, dict):
        for key in raw_options:
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise options_location.error(
                    f"an alternative is called by a text or a whole number, not {format_value(key)}; quote it"
                )
        options = tuple(raw_options)
        steps = {key: read(r, options_location.child(str(key), str(key))) for key, r in raw_options.items()}
    elif isinstance(raw_options, list):
        options = tuple(
            [_read_option(value, expected_type, options_location.child(i)) for i, value in enumerate(raw_options)]
        )
    else:
        raise options_location.error(
            f"expected a list of options, a range {{from, to}} or named alternatives, not {format_value(raw_options)}"
        )
    return _choice_function(name, _check_options(options, name, options_location), steps, location.scope)


def _choice_function(
    name: str, options: tuple[Any, ...], steps: dict[Any, FrameFunction] | None, scope: ChoiceScope
) -> FrameFunction:
    if scope.is_shared(name):

        def chosen(frame: NetworkFrame) -> Any:
            if name not in frame.shared:
                frame.shared[name] = frame.choose.one_of(frame.shared_prefix + name, options)
            return frame.shared[name]
    else:

        def chosen(frame: NetworkFrame) -> Any:
            return frame.choose.one_of(frame.prefix + name, options)

    if steps is None:
        return chosen
    return lambda frame: steps[chosen(frame)](frame)


def _check_options(options: tuple[Any, ...], name: str, location: FileLocation) -> tuple[Any, ...]:
    if not options:
        raise location.error("there are no options")
    if len(options) > MAX_OPTIONS:
        raise location.error(f"a choice has at most {MAX_OPTIONS} options, this one {len(options)}")
    if len(set(options)) < len(options):
        raise location.error("one option is offered twice (1, 1.0 and true are one)")
    before = location.scope.first_options(name, options)
    if before != options:
        raise location.error(
            f"the choice {name!r} has the options {format_value(before)} elsewhere in this part and"
            f" {format_value(options)} here; give one of them another `name`"
        )
    return before


def _read_range(raw: dict[Any, Any], location: FileLocation, expected_type: ParameterType) -> tuple[int, ...]:
    check_mapping(raw, location, ("from", "to", "step"))
    low, high, step = raw["from"], raw["to"], raw.get("step", 1)
    for key, value in (("from", low), ("to", high), ("step", step)):
        if type(value) is not int:
            raise location.child(key).error(f"expected a whole number, not {format_value(value)}")
    if step < 1 or high < low or (high - low) // step >= MAX_OPTIONS:
        raise location.error(f"from {low} to {high} by {step} is no range of 1 to {MAX_OPTIONS} numbers")
    _check_kind(low, expected_type, location)
    return tuple(range(low, high + 1, step))


def _read_option(value: Any, expected_type: ParameterType, location: FileLocation) -> Any:
    """One option of a list, lists as tuples: a plain value, the same whatever the other choices are."""
    if isinstance(value, dict):
        raise location.error("an option is a plain value; alternatives that are more are written {choose: {name: ...}}")
    option = as_tuples(value)
    if isinstance(value, str) and not expected_type.accepts(value):
        raise location.error(
            f"expected {expected_type.description()}, not {format_value(value)}: options are plain values; arithmetic"
            " is written {choose: {name: ...}}"
        )
    _check_kind(option, expected_type, location)
    return option


def as_tuples(value: Any) -> Any:
    """YAML's lists as tuples, however deep: options are hashable."""
    return tuple([as_tuples(v) for v in value]) if isinstance(value, list) else value
