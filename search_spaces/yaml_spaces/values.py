"""Values in the YAML files of spaces: plain ones, arithmetic, and choices; read once, then asked for in every network.

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
from search_spaces.yaml_spaces.parameter_types import ANYTHING, Kind, kind_of

MOST_OPTIONS = 1000
# Names that every network has values for
SIZES = ("in_channels", "in_height", "in_width")  # of what a block reads
STAGE_NAMES = ("stage", *SIZES)
LAYER_NAMES = ("layer", "stride", "depth_of_stage")
RESERVED = (*STAGE_NAMES, *LAYER_NAMES, "width_of_stage")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# -- where a value stands ----------------------------------------------------------------------------------------------


class Scope:
    """The choices of one part of a file that have a prefix in common: a stage's own, those of its layers, the head's.

    Those named in ``shared`` (True: all) are made once for the stage; ``together`` has the ones that are shared.
    """

    def __init__(
        self, shared: Collection[str] | bool = False, together: dict[str, tuple[Any, ...]] | None = None
    ) -> None:
        self._shared = shared
        self._together = {} if together is None else together
        self._apart: dict[str, tuple[Any, ...]] = {}

    def shares(self, name: str) -> bool:
        return self._shared is True or (self._shared is not False and name in self._shared)

    @property
    def choices(self) -> list[str]:
        return [*self._apart, *self._together]

    def noted(self, name: str, options: tuple[Any, ...]) -> tuple[Any, ...]:
        """The options that this choice was first seen with."""
        return (self._together if self.shares(name) else self._apart).setdefault(name, options)


@dataclass(frozen=True)
class Place:
    """A place in a file: what errors call it, which names are known there, and how choices made there are named.

    ``defaults``: names of values that a block gets for parameters that the file does not mention.
    """

    file: str
    where: str
    known: frozenset[str]
    scope: Scope
    path: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)

    def at(self, key: str | int, *path: str) -> Place:
        """The place below ``key``; ``path`` is what it adds to the names of choices."""
        step = f"[{key}]" if isinstance(key, int) else f".{key}" if self.where else key
        return replace(self, where=self.where + step, path=(*self.path, *path))

    def knowing(self, names: Iterable[str]) -> Place:
        return replace(self, known=self.known.union(names))

    def said(self, text: str) -> str:
        return f"{self.file}: {self.where}: {text}" if self.where else f"{self.file}: {text}"

    def error(self, text: str) -> SpaceError:
        return SpaceError(self.said(text))


class Frame:
    """What is known while one network is made: the values of names, and how choices are named at this point."""

    __slots__ = ("choose", "names", "prefix", "shared", "shared_prefix")

    def __init__(
        self, choose: Choose, names: dict[str, Any], prefix: str, shared: dict[str, Any], shared_prefix: str
    ) -> None:
        self.choose = choose
        self.names = names
        self.prefix = prefix
        self.shared = shared
        self.shared_prefix = shared_prefix


Step = Callable[[Frame], Any]

# -- reading -----------------------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """A value in an error: one short line."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggestion(name: object, known: Collection[str]) -> str:
    """The end of an error about a name that is not known."""
    close = get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known) or 'none'}"


def mapping(raw: Any, place: Place, keys: Collection[str], required: Collection[str] = ()) -> dict[str, Any]:
    """``raw`` as a mapping with no other keys. Raises ``SpaceError``."""
    if not isinstance(raw, dict):
        raise place.error(f"expected a mapping with {', '.join(keys)}, not {shown(raw)}")
    for key in raw:
        if key not in keys:
            close = get_close_matches(str(key), keys, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise place.error(f"no key {shown(key)}; the keys are {', '.join(keys)}{hint}")
    for key in required:
        if key not in raw:
            raise place.error(f"the key {key!r} is missing")
    return raw


def check_name(name: Any, place: Place, taken: Collection[str] = ()) -> str:
    """A name that arithmetic can use and nothing else has. Raises ``SpaceError``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise place.error(f"{shown(name)} is no name: letters, digits and _, and no digit first")
    if name in FUNCTIONS or name in CONSTANTS or name in ("and", "or", "not", "if", "else", "True", "False", "None"):
        raise place.error(f"{name!r} means something in arithmetic; take another name")
    if name in taken:
        raise place.error(f"the name {name!r} is taken; take another one")
    return name


def read_value(raw: Any, kind: Kind, place: Place) -> Step:
    """A value as a function of the frame. Raises ``SpaceError`` now, and ``GraphError`` when it is asked for."""
    if isinstance(raw, dict):
        if "choose" in raw:
            return read_choice(raw, place, lambda r, p: read_value(r, kind, p), kind)
        if kind.record is not None:
            return _read_record(raw, kind.record, place)
        raise place.error(f"expected {'a value' if kind.anything else kind.described()} or a choice, not {shown(raw)}")
    if isinstance(raw, list):
        if not kind.anything and kind.items is None:
            raise place.error(f"expected {kind.described()}, not a list")
        item_kind = kind.items or ANYTHING
        steps = [read_value(r, item_kind, place.at(i, str(i))) for i, r in enumerate(raw)]
        return lambda frame: tuple([step(frame) for step in steps])
    if isinstance(raw, str) and (raw.startswith("=") or not kind.text):
        return _read_expression(raw.removeprefix("="), kind, place)
    if isinstance(raw, str) and raw in place.known and raw not in RESERVED:
        raise place.error(
            f"{raw!r} is a plain text here, and there is a value of that name: write '={raw}' for the value, or give"
            " the value another name"
        )
    _check_kind(raw, kind, place)
    return lambda _: raw


def _check_kind(value: Any, kind: Kind, place: Place) -> None:
    complaint = _complaint(value, kind)
    if complaint:
        raise place.error(complaint)


def _complaint(value: Any, kind: Kind) -> str:
    if kind.takes(value):
        return ""
    hint = "; write round8(...), round(...), int(...) or //" if type(value) is float and int in kind.types else ""
    return f"expected {kind.described()}, not {shown(value)}{hint}"


def _read_expression(text: str, kind: Kind, place: Place) -> Step:
    try:
        expression = Expression(text, place.known)
    except ExpressionError as error:
        raise place.error(str(error)) from None
    if not expression.names:
        value = expression({})
        _check_kind(value, kind, place)
        return lambda _: value

    def step(frame: Frame) -> Any:
        try:
            made = expression(frame.names)
        except ExpressionError as error:
            raise GraphError(place.said(str(error))) from None
        if not kind.takes(made):
            raise GraphError(place.said(f"{text.strip()!r}: {_complaint(made, kind)}"))
        return made

    return step


def _read_record(raw: dict[Any, Any], record: type, place: Place) -> Step:
    names: tuple[str, ...] = record._fields  # type: ignore[attr-defined]
    defaults: Mapping[str, Any] = record._field_defaults  # type: ignore[attr-defined]
    mapping(raw, place, names, [n for n in names if n not in defaults])
    hints = get_type_hints(record)
    steps = {n: read_value(r, kind_of(hints.get(n, Any)), place.at(n, n)) for n, r in raw.items()}
    return lambda frame: record(**{n: step(frame) for n, step in steps.items()})


# -- choices -----------------------------------------------------------------------------------------------------------


def read_choice(raw: dict[Any, Any], place: Place, read: Callable[[Any, Place], Any], kind: Kind = ANYTHING) -> Step:
    """``{choose: ..., name: ...}``: a list of plain values, ``{from, to, step}``, or alternatives by name.

    Alternatives are read by ``read``, and those that are not taken make no choices.
    """
    mapping(raw, place, ("choose", "name"))
    name = raw.get("name", ".".join(place.path))
    if not isinstance(name, str) or not name or not name.isprintable():
        raise place.error(f"the name of a choice is a text, not {shown(name)}")
    offered, below = raw["choose"], place.at("choose")
    steps: dict[Any, Step] | None = None
    if isinstance(offered, dict) and {"from", "to"} <= offered.keys():
        options = _range(offered, below, kind)
    elif isinstance(offered, dict):
        for key in offered:
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise below.error(f"an alternative is called by a text or a whole number, not {shown(key)}; quote it")
        options = tuple(offered)
        steps = {key: read(r, below.at(str(key), str(key))) for key, r in offered.items()}
    elif isinstance(offered, list):
        options = tuple([_option(value, kind, below.at(i)) for i, value in enumerate(offered)])
    else:
        raise below.error(
            f"expected a list of options, a range {{from, to}} or named alternatives, not {shown(offered)}"
        )
    return _choice(name, _checked(options, name, below), steps, place.scope)


def _choice(name: str, options: tuple[Any, ...], steps: dict[Any, Step] | None, scope: Scope) -> Step:
    if scope.shares(name):

        def chosen(frame: Frame) -> Any:
            if name not in frame.shared:
                frame.shared[name] = frame.choose.one_of(frame.shared_prefix + name, options)
            return frame.shared[name]
    else:

        def chosen(frame: Frame) -> Any:
            return frame.choose.one_of(frame.prefix + name, options)

    if steps is None:
        return chosen
    return lambda frame: steps[chosen(frame)](frame)


def _checked(options: tuple[Any, ...], name: str, place: Place) -> tuple[Any, ...]:
    if not options:
        raise place.error("there are no options")
    if len(options) > MOST_OPTIONS:
        raise place.error(f"a choice has at most {MOST_OPTIONS} options, this one {len(options)}")
    if len(set(options)) < len(options):
        raise place.error("one option is offered twice (1, 1.0 and true are one)")
    before = place.scope.noted(name, options)
    if before != options:
        raise place.error(
            f"the choice {name!r} has the options {shown(before)} elsewhere in this part and {shown(options)} here;"
            " give one of them another `name`"
        )
    return before


def _range(raw: dict[Any, Any], place: Place, kind: Kind) -> tuple[int, ...]:
    mapping(raw, place, ("from", "to", "step"))
    low, high, step = raw["from"], raw["to"], raw.get("step", 1)
    for key, value in (("from", low), ("to", high), ("step", step)):
        if type(value) is not int:
            raise place.at(key).error(f"expected a whole number, not {shown(value)}")
    if step < 1 or high < low or (high - low) // step >= MOST_OPTIONS:
        raise place.error(f"from {low} to {high} by {step} is no range of 1 to {MOST_OPTIONS} numbers")
    _check_kind(low, kind, place)
    return tuple(range(low, high + 1, step))


def _option(value: Any, kind: Kind, place: Place) -> Any:
    """One option of a list, lists as tuples: a plain value, the same whatever the other choices are."""
    if isinstance(value, dict):
        raise place.error("an option is a plain value; alternatives that are more are written {choose: {name: ...}}")
    option = _frozen(value)
    if isinstance(value, str) and not kind.takes(value):
        raise place.error(
            f"expected {kind.described()}, not {shown(value)}: options are plain values; arithmetic is written"
            " {choose: {name: ...}}"
        )
    _check_kind(option, kind, place)
    return option


def _frozen(value: Any) -> Any:
    return tuple([_frozen(v) for v in value]) if isinstance(value, list) else value
