"""Published networks by name: an architecture of a space with options, where it was published, and how accurate it is.

They are data, a TOML file for each system: ``families/networks/`` beside the spaces of the literature and
``published/networks/`` beside the networks without choices. A table is a network, and its keys are the fields of
``NetworkRow``; what stands before the first table holds for every network of the file that does not say otherwise.
Other packages add rows through the entry-point group ``nas.networks``, whose objects are ``NetworkRow``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from search_spaces.registry import named_row, table_with_plugins

_PACKAGES = ("search_spaces.families", "search_spaces.published")


@dataclass(frozen=True)
class PublishedResult:
    """One published accuracy of a network, in per cent.

    ``metric`` says of which data, and of which number format where that is not float. ``resolution`` is the image size
    in pixels, ``None`` where the source does not say. ``backbone_of`` names the detector that has the network as its
    backbone; empty where the figure is the network's own. ``note`` of a figure of timm's table is the model's name
    there: ``tf_`` is for Google's weights, the others were trained by timm.
    """

    metric: str
    value: float
    source: str
    resolution: int | None = None
    note: str = ""
    backbone_of: str = ""


@dataclass(frozen=True)
class NetworkRow:
    """One published network: an architecture of a space with options, and where both were published.

    ``results`` are its published accuracies, each with where it was read, the one to quote first: a network's own
    figures before those of detectors on it, the designers' before those of others, at the resolution of the row before
    others; where that leaves several, the best comes first. They were read in the sources named, not reproduced.
    """

    space: str
    architecture: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[PublishedResult, ...] = ()


def networks() -> dict[str, NetworkRow]:
    """All published networks by name, those of installed plug-ins included."""
    return table_with_plugins("nas.networks", _shipped_networks(), NetworkRow)


def published_results(name: str) -> tuple[PublishedResult, ...]:
    """The published accuracies of a named network, the one to quote first; none where no source was read.

    Raises ``UnknownName`` for a name that no network has.
    """
    return named_row("network", name, networks()).results


@cache
def _shipped_networks() -> dict[str, NetworkRow]:
    """The networks of this package's data files: in the order of ``listing_order.toml``, then file by file."""
    rows: dict[str, NetworkRow] = {}
    for package in _PACKAGES:
        for file in sorted((files(package) / "networks").iterdir(), key=lambda file: file.name):
            for name, row in read_networks(file):
                if name in rows:
                    raise ValueError(f"{file.name}: there is another published network {name!r}")
                rows[name] = row
    order = _read_toml(files("search_spaces.published") / "listing_order.toml")["order"]
    return {name: rows[name] for name in dict.fromkeys([*order, *rows])}


def read_networks(file: Traversable) -> Iterator[tuple[str, NetworkRow]]:
    """The networks of one data file. Raises ``ValueError`` for a table that is no network."""
    document = _read_toml(file)
    defaults = {key: value for key, value in document.items() if not isinstance(value, dict)}
    for name, table in document.items():
        if isinstance(table, dict):
            facts = {**defaults, **table}
            try:
                facts["results"] = tuple([PublishedResult(**result) for result in facts.get("results", ())])
                facts["options"] = {option: _as_tuple(value) for option, value in facts.get("options", {}).items()}
                yield name, NetworkRow(**facts)
            except TypeError as error:
                raise ValueError(f"{file.name}: the published network {name!r}: {error}") from None


def _read_toml(file: Traversable) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _as_tuple(value: Any) -> Any:
    """An option's value with tuples for lists, as spaces compare and hash their options."""
    return tuple([_as_tuple(item) for item in value]) if isinstance(value, list) else value
