"""A command whose options are the fields of a dataclass of options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from nas.cli.options import parse_assignments, typer_option
from nas.engine.options import Kind, NamedOption, command_line_flags, options_of

_TYPES: dict[Kind, Any] = {
    "text": str,
    "path": Path,
    "integer": int,
    "number": float,
    "switch": bool,
    "texts": list[str],
    "assignments": list[str],
}


def command_from_options(
    function: Callable[..., None],
    settings_type: type[Any],
    *,
    own_types: Mapping[str, tuple[Any, Any]],
    first: str,
    extra: Mapping[str, tuple[Any, Any, str]],
) -> Callable[..., None]:
    """``function`` with the signature that typer reads: an option for each field of ``settings_type``.

    ``own_types``: type and default of options that differ on the command line. ``first``: the option that comes first.
    ``extra``: options that are no fields, with their annotated type, default, and the option that they follow.
    """
    parameters: list[inspect.Parameter] = []
    options = [named for named in options_of(settings_type) if command_line_flags(named)]
    for named in sorted(options, key=lambda one: one.name != first):
        parameters.append(_parameter(named, own_types))
        parameters += [_extra(name, extra) for name in extra if extra[name][2] == named.name]
    parameters += [_extra(name, extra) for name in extra if not extra[name][2]]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def settings_arguments(settings_type: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a command's options as arguments of ``settings_type``: assignments become mappings."""
    arguments = {}
    for named in options_of(settings_type):
        if named.name not in values:
            continue
        value = values[named.name]
        if named.option.kind == "assignments":
            value = parse_assignments(value, command_line_flags(named)[0])
        arguments[named.name] = value
    return arguments


def _parameter(named: NamedOption, own_types: Mapping[str, tuple[Any, Any]]) -> inspect.Parameter:
    option = named.option
    kind, default = _TYPES[option.kind], named.default
    if option.kind in ("texts", "assignments"):
        default = []
    elif option.nullable:
        kind = kind | None
    kind, default = own_types.get(named.name, (kind, default))
    if default is ...:
        default = inspect.Parameter.empty
    return inspect.Parameter(
        named.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, typer_option(named)],
    )


def _extra(name: str, extra: Mapping[str, tuple[Any, Any, str]]) -> inspect.Parameter:
    annotation, default, _ = extra[name]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
