"""Options of a search as fields of a frozen dataclass: default, help and checks, each written once.

Everything that knows the options is made from these fields: the signature of ``nas.search``, the command line, the
document of a study, and the reference page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypeVar

Value = TypeVar("Value")

_METADATA_KEY = "nas_option"

Kind = Literal["text", "texts", "path", "number", "integer", "switch", "assignments", "object"]
"""What the command line makes of an option: ``texts`` and ``assignments`` may be repeated, ``object`` has no text."""

_PLAIN_TYPES: dict[str, tuple[type[Any], ...]] = {"integer": (int,), "number": (int, float), "switch": (bool,)}


class SettingError(ValueError):
    """A setting with a value that makes no sense; the message has the word that a user writes."""


@dataclass(frozen=True)
class Option:
    """What is known of one option beside its name and its default.

    ``flags``: how it is written on the command line, other words that mean the same behind the first; by default the
    name. ``decides``: whether the result depends on it, so that studies keep it. ``as_text``: ``module:function`` that
    turns a value that may be an object into what a study keeps. ``variable``: an environment variable that sets it.
    """

    help: str
    kind: Kind
    flags: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    decides: bool = True
    as_text: str = ""
    variable: str = ""
    nullable: bool = False

    def check(self, name: str, value: Any) -> None:
        """Raise ``SettingError`` where the value is of the wrong type or out of bounds."""
        if value is None and self.nullable:
            return
        expected = _PLAIN_TYPES.get(self.kind)
        if expected is not None:
            if not isinstance(value, expected) or (isinstance(value, bool) and self.kind != "switch"):
                what = {"integer": "a whole number", "number": "a number", "switch": "True or False"}[self.kind]
                raise SettingError(f"{name} must be {what}, not {value!r}")
            self._check_bounds(name, value)

    def _check_bounds(self, name: str, number: float) -> None:
        low, high = self.minimum, self.maximum
        if low is not None and high is not None and not low <= number <= high:
            raise SettingError(f"{name} must be {low:g} to {high:g}, not {number}")
        if low is not None and not number >= low:
            raise SettingError(f"{name} must be at least {low:g}, not {number}")


def option(
    default: Value,
    help: str,
    *,
    kind: Kind | None = None,
    flags: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    decides: bool = True,
    as_text: str = "",
    variable: str = "",
) -> Value:
    """A field of a dataclass of options. ``flags``: words of the command line, separated by spaces.

    The kind follows from a default that is a number, a switch or a text; of others it is said.
    """
    if kind is None:
        kinds: dict[type, Kind] = {bool: "switch", int: "integer", float: "number", str: "text"}
        kind = kinds[type(default)]
    metadata = Option(
        help, kind, tuple(flags.split()), minimum, maximum, decides, as_text, variable, nullable=default is None
    )
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={_METADATA_KEY: metadata})  # type: ignore[return-value]
    return field(default=default, metadata={_METADATA_KEY: metadata})


@dataclass(frozen=True)
class NamedOption:
    """An option with its name and its default."""

    name: str
    default: Any
    option: Option


def options_of(settings: type[Any]) -> tuple[NamedOption, ...]:
    """The options of a dataclass, in their order."""
    named = []
    for one in fields(settings):
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        named.append(NamedOption(one.name, default, one.metadata[_METADATA_KEY]))
    return tuple(named)


def check_options(settings: Any) -> None:
    """Raise ``SettingError`` for the first option whose value is of the wrong type or out of bounds."""
    for named in options_of(type(settings)):
        named.option.check(named.name, getattr(settings, named.name))


def options_table(settings: type[Any]) -> list[Mapping[str, str]]:
    """The reference: name, words of the command line, default and help of every option."""
    return [
        {
            "option": named.name,
            "command line": " ".join(command_line_flags(named)),
            "default": "" if named.default in (None, "", (), {}) else f"{named.default}",
            "help": named.option.help,
        }
        for named in options_of(settings)
    ]


def command_line_flags(named: NamedOption) -> tuple[str, ...]:
    """How an option is written on the command line; nothing for one that only Python can set."""
    if named.option.kind == "object":
        return ()
    words = named.option.flags or (named.name.replace("_", "-"),)
    return tuple(f"--{word}" for word in words)
