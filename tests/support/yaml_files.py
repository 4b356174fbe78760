"""Spaces from YAML files in the current folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nas
from search_spaces.catalog import load_space
from search_spaces.space.space import Space

PAGE = (Path(__file__).parents[2] / "docs" / "yaml.md").read_text(encoding="utf-8")


def load(text: str, name: str = "space.yaml", **options: Any) -> Space:
    """The space of a file with this text."""
    Path(name).write_text(text)
    return load_space(name, **options)


def only_graph(space: Space) -> nas.Graph:
    """The network of a space without choices."""
    (genotype,) = space.enumerate()
    return space.graph(genotype)


def write_documented_files() -> None:
    """The files that docs/yaml.md shows, under the names that they have there."""
    for example in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL):
        name = re.match(r"# (\w+\.yaml)\n", example)
        assert name is not None
        Path(name[1]).write_text(example)
