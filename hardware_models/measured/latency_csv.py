"""Measured networks from a CSV file: ``space,architecture,latency_ms`` or ``network,latency_ms``.

An architecture is in any form that its space reads; a network is a published one's name, with the image size behind an
``@`` where it is another (``mobilenetv2@192``). A column ``options`` may set options of the space, as
``image_size=96;num_classes=10``. Columns that are not known are left alone.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

from hardware_models.device_file.toml_table import HardwareError
from search_spaces.catalog import load_network, load_space, spaces
from search_spaces.graph.graph import Graph
from search_spaces.registry import import_object, unknown
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

# Spaces whose published measurements ran dead branches: by their name, the graph of that
AS_WRITTEN: dict[str, str] = {"nasbench201": "hardware_models.measured.datasets.nasbench201:as_written"}
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
def _space(name: str, options: str) -> Space:
    try:
        return load_space(name, **_options(options))
    except TypeError as error:
        raise ValueError(f"the options {options!r} do not fit the space {name!r}: {error}") from None


def _options(text: str) -> dict[str, Any]:
    pairs = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"options are written as name=value;name=value, not {part!r}")
        pairs[name.strip()] = yaml.safe_load(value)
    return pairs


def published(text: str) -> Graph:
    """A published network by name, behind ``@`` its image size where that is another. Raises ``ValueError``."""
    name, at, size = text.partition("@")
    if at and not size.isdecimal():
        raise ValueError(f"{text!r}: behind @ stands an image size, such as {name}@224")
    return load_network(name, **({"image_size": int(size)} if at else {}))


def _subject(line: Mapping[str, str | None], code: Collection[str]) -> Subject:
    network, name, architecture = (line.get(column) or "" for column in ("network", "space", "architecture"))
    if network:
        return Subject(published(network), None, None)
    if not name or not architecture:
        raise ValueError("it has neither a network nor a space and an architecture")
    # A file of measurements must not choose what code is run
    if name not in spaces() and not name.endswith((".yaml", ".yml")) and name not in code:
        if ":" in name or name.endswith(".py"):
            raise ValueError(f"the space {name!r} is code; name it with --space too, so that it may be run")
        raise unknown("space", name, list(spaces()))
    space = _space(name, line.get("options") or "")
    genotype = space.parse(architecture)
    return Subject(space.graph(genotype), space, genotype)


def read_measured(path: Path, code: Collection[str] = ()) -> list[Entry]:
    """The lines of the file. Raises ``HardwareError`` with the line's number.

    ``code``: spaces as ``file.py:function`` or ``module:function`` that lines may name; no others are imported.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = [(reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HardwareError(f"cannot read the measurements {str(path)!r}: {error}") from None
    if not lines:
        raise HardwareError(f"{path}: no measurements; its columns are space, architecture and latency_ms")
    return [_entry(line, f"{path}:{number}", code) for number, line in lines]


def _entry(line: Mapping[str, str | None], where: str, code: Collection[str]) -> Entry:
    if "latency_ms" not in line:
        raise HardwareError(f"{where}: there is no column latency_ms; there are {', '.join(filter(None, line))}")
    try:
        latency_ms = float(line["latency_ms"] or "")
    except ValueError:
        raise HardwareError(f"{where}: latency_ms must be a number, not {line['latency_ms']!r}") from None
    if not isfinite(latency_ms) or latency_ms <= 0:
        raise HardwareError(f"{where}: latency_ms must be above 0, not {line['latency_ms']}")
    try:
        graph, space, genotype = _subject(line, code)
    except (ValueError, yaml.YAMLError) as error:
        raise HardwareError(f"{where}: {' '.join(str(error).split())}") from None
    name = line.get("network") or f"{line.get('space')}={line.get('architecture')}"
    return Entry(name, graph, latency_ms, space, genotype)


def readings(entries: Sequence[Entry]) -> tuple[str, ...]:
    """How the networks may have been run: ``as written`` too where one's space knows what that is."""
    known = any(e.space is not None and e.space.name in AS_WRITTEN for e in entries)
    return READINGS if known else READINGS[:1]


def graph_of(entry: Entry, reading: str) -> Graph:
    """A network's graph under a reading; in normal form where its space's networks run as they are."""
    return read_as(entry.space, entry.genotype, entry.graph, reading)


def read_as(space: Space | None, genotype: Genotype | None, graph: Graph, reading: str) -> Graph:
    """The same for a network of which nothing was measured."""
    if reading == "normal form" or space is None or genotype is None or space.name not in AS_WRITTEN:
        return graph
    made: Callable[..., Graph] = import_object(AS_WRITTEN[space.name])
    return made(genotype, **space.options)


def distinct(entries: Sequence[Entry]) -> list[Entry]:
    """Every network once, with the median of its latencies: what is held out must not be in the fit."""
    latencies: dict[str, list[float]] = {}
    for entry in entries:
        latencies.setdefault(entry.name, []).append(entry.latency_ms)
    first = {e.name: e for e in reversed(entries)}
    return [replace(first[name], latency_ms=median(values)) for name, values in latencies.items()]
