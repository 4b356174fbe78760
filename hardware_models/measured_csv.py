"""Measured networks from a CSV file: ``space,architecture,latency_ms`` or ``network,latency_ms``.

An architecture is in any form that its space reads; a network is a published one's name, with the image size behind an
``@`` where it is another (``mobilenetv2@192``). A column ``options`` may set options of the space, as
``image_size=96;num_classes=10``. Columns that are not known are left alone.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hardware_models.device_file import HardwareError
from search_spaces.catalog import import_object, load_network, load_space
from search_spaces.graph import Graph
from search_spaces.space import Genotype, Space

# Spaces whose published measurements ran dead branches: by their name, the graph of that
AS_WRITTEN: dict[str, str] = {"nasbench201": "hardware_models.datasets.nasbench201:as_written"}
READINGS = ("normal form", "as written")


@dataclass(frozen=True)
class Entry:
    """One line of the file: a network and what was measured of it."""

    name: str
    graph: Graph
    latency_ms: float
    space: Space | None = None
    genotype: Genotype | None = None


class Subject(NamedTuple):
    """A network that is named in a text: its graph, and the space and genotype where it has them."""

    graph: Graph
    space: Space | None
    genotype: Genotype | None


@lru_cache(maxsize=64)
def _space(name: str, options: tuple[tuple[str, Any], ...]) -> Space:
    return load_space(name, **dict(options))


def _options(text: str) -> tuple[tuple[str, Any], ...]:
    pairs = []
    for part in filter(None, (p.strip() for p in (text or "").split(";"))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"options are written as name=value;name=value, not {part!r}")
        pairs.append((name.strip(), yaml.safe_load(value)))
    return tuple(pairs)


def _published(text: str) -> Graph:
    name, at, size = text.partition("@")
    if at and not size.isdecimal():
        raise ValueError(f"{text!r}: behind @ stands an image size, such as {name}@224")
    return load_network(name, **({"image_size": int(size)} if at else {}))


def _subject(line: Mapping[str, str]) -> Subject:
    if line.get("network"):
        return Subject(_published(line["network"]), None, None)
    if not line.get("space") or not line.get("architecture"):
        raise ValueError("it has neither a network nor a space and an architecture")
    space = _space(line["space"], _options(line.get("options", "")))
    genotype = space.parse(line["architecture"])
    return Subject(space.graph(genotype), space, genotype)


def read_measured(path: Path) -> list[Entry]:
    """The lines of the file. Raises ``HardwareError`` with the line's number."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HardwareError(f"cannot read the measurements {str(path)!r}: {error}") from None
    if not lines:
        raise HardwareError(f"{path}: no measurements; its columns are space, architecture and latency_ms")
    return [_entry(line, f"{path}:{number}") for number, line in enumerate(lines, start=2)]


def _entry(line: Mapping[str, str], where: str) -> Entry:
    try:
        latency_ms = float(line["latency_ms"])
    except KeyError:
        raise HardwareError(f"{where}: there is no column latency_ms") from None
    except (TypeError, ValueError):
        raise HardwareError(f"{where}: latency_ms must be a number, not {line['latency_ms']!r}") from None
    if not isfinite(latency_ms) or latency_ms <= 0:
        raise HardwareError(f"{where}: latency_ms must be above 0, not {line['latency_ms']}")
    try:
        graph, space, genotype = _subject(line)
    except (ValueError, yaml.YAMLError) as error:
        raise HardwareError(f"{where}: {error}") from None
    name = line.get("network") or f"{line.get('space')}={line.get('architecture')}"
    return Entry(name, graph, latency_ms, space, genotype)


def readings(entries: Sequence[Entry]) -> tuple[str, ...]:
    """How the networks may have been run: ``as written`` too where all come from spaces that know what that is."""
    known = all(e.space is not None and e.space.name in AS_WRITTEN for e in entries)
    return READINGS if known else READINGS[:1]


def graph_of(space: Space | None, genotype: Genotype | None, graph: Graph, reading: str) -> Graph:
    """A network's graph under a reading. Raises ``HardwareError`` where its space does not know that."""
    if reading == "normal form":
        return graph
    if space is None or genotype is None or space.name not in AS_WRITTEN:
        raise HardwareError(
            "this device was measured on networks run as written, which this network's space does not know"
        )
    made: Callable[..., Graph] = import_object(AS_WRITTEN[space.name])
    return made(genotype, **space.options)
