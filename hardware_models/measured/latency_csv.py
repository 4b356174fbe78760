"""Measured networks from a CSV file: ``space,architecture,latency_ms`` or ``network,latency_ms``.

An architecture is in any form that its space reads; a network is a published one's name, with the image size behind an
``@`` where it is another (``mobilenetv2@192``). A column ``options`` may set options of the space, as
``image_size=96;num_classes=10``. Columns that are not known are left alone.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hardware_models.device_file.toml_table import HardwareError
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.catalog import load_network, load_space, spaces
from search_spaces.graph.graph import Graph
from search_spaces.registry import import_object, unknown_name
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

# Spaces whose published measurements ran dead branches: by their name, the graph of that
AS_WRITTEN_GRAPHS: dict[str, str] = {"nasbench201": "hardware_models.measured.datasets.nasbench201:as_written"}
COLUMNS = ("space", "architecture", "latency_ms", "std_ms", "source", "remark")
"""What a file holds that is measured here."""
EXECUTED_GRAPHS = ("normal form", "as written")


class NamedNetwork(NamedTuple):
    """A network that is named in a text: its graph, and the space and genotype where it has them."""

    graph: Graph
    space: Space | None
    genotype: Genotype | None


@lru_cache(maxsize=64)
def _cached_space(name: str, options: str) -> Space:
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


def published_network(text: str) -> Graph:
    """A published network by name, behind ``@`` its image size where that is another. Raises ``ValueError``."""
    name, at, size = text.partition("@")
    if at and not size.isdecimal():
        raise ValueError(f"{text!r}: behind @ stands an image size, such as {name}@224")
    return load_network(name, **({"image_size": int(size)} if at else {}))


def _named_network(line: Mapping[str, str | None], code: Collection[str]) -> NamedNetwork:
    network, name, architecture = (line.get(column) or "" for column in ("network", "space", "architecture"))
    if network:
        return NamedNetwork(published_network(network), None, None)
    if not name or not architecture:
        raise ValueError("it has neither a network nor a space and an architecture")
    # A file of measurements must not choose what code is run
    if name not in spaces() and not name.endswith((".yaml", ".yml")) and name not in code:
        if ":" in name or name.endswith(".py"):
            raise ValueError(f"the space {name!r} is code; name it with --space too, so that it may be run")
        raise unknown_name("space", name, list(spaces()))
    space = _cached_space(name, line.get("options") or "")
    genotype = space.parse(architecture)
    return NamedNetwork(space.graph(genotype), space, genotype)


def read_measured_networks(path: Path, code: Collection[str] = ()) -> list[MeasuredNetwork]:
    """The lines of the file. Raises ``HardwareError`` with the line's number.

    ``code``: spaces as ``file.py:function`` or ``module:function`` that lines may name; no others are imported.
    """
    lines = read_lines(path)
    if not lines:
        raise HardwareError(f"{path}: no measurements; its columns are space, architecture and latency_ms")
    return [parse_measured_network(line, where, code) for where, line in lines]


def read_lines(path: Path) -> list[tuple[str, dict[str, str | None]]]:
    """The lines of a CSV file by column, each behind its place for errors. Raises ``HardwareError``."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            return [(f"{path}:{reader.line_num}", line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HardwareError(f"cannot read the measurements {str(path)!r}: {error}") from None


def parse_measured_network(line: Mapping[str, str | None], where: str, code: Collection[str]) -> MeasuredNetwork:
    """The network of one line; ``where`` is its place in errors, ``code`` as in ``read_measured_networks``."""
    if "latency_ms" not in line:
        raise HardwareError(f"{where}: there is no column latency_ms; there are {', '.join(filter(None, line))}")
    try:
        latency_ms = float(line["latency_ms"] or "")
    except ValueError:
        raise HardwareError(f"{where}: latency_ms must be a number, not {line['latency_ms']!r}") from None
    if not isfinite(latency_ms) or latency_ms <= 0:
        raise HardwareError(f"{where}: latency_ms must be above 0, not {line['latency_ms']}")
    try:
        graph, space, genotype = _named_network(line, code)
    except (ValueError, yaml.YAMLError) as error:
        raise HardwareError(f"{where}: {' '.join(str(error).split())}") from None
    name = line.get("network") or f"{line.get('space')}={line.get('architecture')}"
    source, remark = line.get("source") or "", line.get("remark") or ""
    return MeasuredNetwork(name, graph, latency_ms, space, genotype, parse_spread(line), source=source, remark=remark)


def csv_row(network: MeasuredNetwork, space: str, architecture: str) -> tuple[str, ...]:
    """The line of a measured network by ``COLUMNS``; ``space`` and ``architecture`` as the file is to name them."""
    std_ms = "" if network.std_ms is None else f"{network.std_ms:.3g}"
    return space, architecture, f"{network.latency_ms:.5g}", std_ms, network.source, network.remark


def parse_spread(line: Mapping[str, str | None]) -> float | None:
    """The column ``std_ms`` of a line; ``None`` where it says nothing: no fit depends on it."""
    try:
        std_ms = float(line.get("std_ms") or "nan")
    except ValueError:
        return None
    return std_ms if isfinite(std_ms) and std_ms >= 0 else None


def possible_executed_graphs(entries: Sequence[MeasuredNetwork]) -> tuple[str, ...]:
    """How the networks may have been run: ``as written`` too where one's space knows what that is."""
    has_as_written = any(e.space is not None and e.space.name in AS_WRITTEN_GRAPHS for e in entries)
    return EXECUTED_GRAPHS if has_as_written else EXECUTED_GRAPHS[:1]


def executed_graph_of(entry: MeasuredNetwork, executed_graph: str) -> Graph:
    """A network's graph under a reading; in normal form where its space's networks run as they are."""
    return graph_as_executed(entry.space, entry.genotype, entry.graph, executed_graph)


def graph_as_executed(space: Space | None, genotype: Genotype | None, graph: Graph, executed_graph: str) -> Graph:
    """The same for a network of which nothing was measured."""
    if executed_graph == "normal form" or space is None or genotype is None or space.name not in AS_WRITTEN_GRAPHS:
        return graph
    build: Callable[..., Graph] = import_object(AS_WRITTEN_GRAPHS[space.name])
    return build(genotype, **space.options)
