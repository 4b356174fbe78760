"""What every part of the command line uses: the screen, ``--json``, and networks named in a text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]


def console(stderr: bool = False) -> Any:
    """The terminal; 120 columns where that is a file or a pipe."""
    from rich.console import Console

    return Console(stderr=stderr, width=None if sys.stdout.isatty() else 120)


def network_of(text: str) -> Any:
    """A graph: of a published network, a JSON file, or ``SPACE=ARCHITECTURE``. Raises ``ValueError``.

    A published network may have its image size behind it, as in ``mobilenetv2@192``.
    """
    from hardware_models.measured_csv import published
    from search_spaces.catalog import load_space, networks
    from search_spaces.graph import Graph

    path = Path(text)
    if text not in networks() and path.suffix == ".json":
        if not path.is_file():
            raise ValueError(f"no file {text!r}")
        return Graph.from_json(path.read_text(encoding="utf-8"))
    space, equals, architecture = text.partition("=")
    if equals and text not in networks():
        loaded = load_space(space)
        return loaded.graph(loaded.parse(architecture))
    return published(text)
