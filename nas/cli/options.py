"""What several commands use: the screen, options in common, networks and settings named in a text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from search_spaces.graph.graph import Graph

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")
]
DirectoryOption = Annotated[Path, typer.Option(help="Folder of the studies.", envvar="NAS_RUNS")]
StorageOption = Annotated[
    str | None, typer.Option(help="Optuna storage URL; default: a journal file under --directory.")
]
CacheOption = Annotated[
    str,
    typer.Option(
        help="Evaluation cache: a file, an SQLAlchemy URL, or off; default: a file under --directory.",
        envvar="NAS_CACHE",
    ),
]
BaselinesOption = Annotated[
    bool, typer.Option("--baselines", help="Put the published networks of the task beside the front, as predicted.")
]
WorkersOption = Annotated[int | None, typer.Option(min=0, help="Training processes; default: one a core; 0: none.")]


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
