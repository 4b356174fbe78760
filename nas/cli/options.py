"""What several commands use: the screen, options in common, networks and settings named in a text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.engine.options import NamedOption, command_line_flags, options_of
from nas.engine.settings import SearchSettings

if TYPE_CHECKING:
    from rich.console import Console

    from search_spaces.graph.graph import Graph

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")
]


def typer_option(named: NamedOption) -> Any:
    """How the command line takes an option of a search: its words, its help and its bounds."""
    option, flags = named.option, list(command_line_flags(named))
    if option.kind == "switch" and (option.decides or named.default):
        flags = [f"{flag}/{flag.replace('--', '--no-', 1)}" for flag in flags]
    information: dict[str, Any] = {"help": option.help}
    if option.kind in ("integer", "number"):
        information |= {"min": option.minimum, "max": option.maximum}
    if option.variable:
        information["envvar"] = option.variable
    return typer.Option(*flags, **information)


_SEARCH_OPTIONS = {named.name: typer_option(named) for named in options_of(SearchSettings) if command_line_flags(named)}

# Options of a search that other commands have too
DirectoryOption = Annotated[Path, _SEARCH_OPTIONS["directory"]]
StorageOption = Annotated[str | None, _SEARCH_OPTIONS["storage"]]
CacheOption = Annotated[str, _SEARCH_OPTIONS["cache"]]
BaselinesOption = Annotated[bool, _SEARCH_OPTIONS["baselines"]]
WorkersOption = Annotated[int | None, _SEARCH_OPTIONS["workers"]]


def console(stderr: bool = False) -> Console:
    """The terminal; 120 columns where that is a file or a pipe."""
    from rich.console import Console

    return Console(stderr=stderr, width=None if sys.stdout.isatty() else 120)


def parse_network(text: str) -> Graph:
    """A graph: of a published network, a JSON file, or ``SPACE=ARCHITECTURE``. Raises ``ValueError``.

    A published network may have its image size behind it, as in ``mobilenetv2@192``.
    """
    from hardware_models.measured.latency_csv import published_network
    from search_spaces.catalog import load_space
    from search_spaces.graph.serialise import graph_from_json
    from search_spaces.published.networks import networks

    path = Path(text)
    if text not in networks() and path.suffix == ".json":
        if not path.is_file():
            raise ValueError(f"no file {text!r}")
        return graph_from_json(path.read_text(encoding="utf-8"))
    space, equals, architecture = text.partition("=")
    if equals and text not in networks():
        loaded = load_space(space)
        return loaded.graph(loaded.parse(architecture))
    return published_network(text)


def parse_assignments(pairs: list[str], flag: str) -> dict[str, Any]:
    """``name=value`` texts as a dictionary; values are read as YAML scalars or lists. Raises ``ValueError``."""
    import yaml

    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"{flag} {pair!r} is not of the form name=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ValueError(f"{flag} {pair!r}: the value is not readable; quote it") from None
        values[name] = tuple(value) if isinstance(value, list) else value
    return values
