"""Spaces and published networks by name: tables of strings, and what turns a name into the thing.

A new space is a file and a row in ``SPACES``; a published network is a table in its system's data file
(``published/networks.py``). Other packages add rows through the entry-point groups ``nas.spaces`` and
``nas.networks``, whose objects are ``SpaceRow`` and ``NetworkRow``. Nothing here imports a space before it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks
from search_spaces.registry import UnknownName, import_named, import_object, named_row, table_with_plugins, unknown_name
from search_spaces.space.genotype import SpaceError
from search_spaces.space.notation import Notation
from search_spaces.space.space import Space


@dataclass(frozen=True)
class SpaceRow:
    """One named space: where its function is, what it is in a line, and where its published notation is."""

    function: str
    summary: str
    notation: str | None = None


SPACES: dict[str, SpaceRow] = {
    "efficientnet": SpaceRow(
        "search_spaces.families.efficientnet:efficientnet",
        "EfficientNet: inverted bottlenecks with squeeze-excite under compound scaling (arXiv 1905.11946)",
        notation="search_spaces.families.efficientnet:NOTATION",
    ),
    "emo": SpaceRow(
        "search_spaces.families.emo:emo",
        "EMO: inverted residual blocks with attention in remote windows (arXiv 2301.01146)",
        notation="search_spaces.families.emo:NOTATION",
    ),
    "emov2": SpaceRow(
        "search_spaces.families.emo:emov2",
        "EMOv2: inverted residual blocks with attention in remote and close windows (arXiv 2412.06674)",
        notation="search_spaces.families.emo:NOTATION",
    ),
    "fbnet": SpaceRow(
        "search_spaces.families.fbnet:fbnet",
        "FBNet: one of nine inverted residual blocks for each of 22 layers (arXiv 1812.03443)",
        notation="search_spaces.families.fbnet:NOTATION",
    ),
    "leyolo": SpaceRow(
        "search_spaces.families.leyolo:leyolo",
        "LeYOLO: inverted bottlenecks with an FPAN neck and an anchor-free DNiN head (arXiv 2406.14239)",
        notation="search_spaces.families.leyolo:NOTATION",
    ),
    "mnasnet": SpaceRow(
        "search_spaces.families.mnasnet:mnasnet",
        "MnasNet: a convolution, kernel, squeeze-excite, skip, width and depth for each of 7 blocks (arXiv 1807.11626)",
        notation="search_spaces.families.mnasnet:NOTATION",
    ),
    "mobiledet": SpaceRow(
        "search_spaces.families.mobiledet:mobiledet",
        "MobileDets: inverted bottlenecks, fused and Tucker blocks with an SSDLite head (arXiv 2004.14525)",
        notation="search_spaces.families.mobiledet:NOTATION",
    ),
    "mobilenetv2": SpaceRow(
        "search_spaces.families.mobilenetv2:mobilenetv2",
        "MobileNetV2: widths, expansions and depths of the stages of inverted residuals (arXiv 1801.04381)",
        notation="search_spaces.families.mobilenetv2:NOTATION",
    ),
    "mobilenetv3": SpaceRow(
        "search_spaces.families.mobilenetv3:mobilenetv3",
        "MobileNetV3: kernels, expansions, squeeze-excite and activations layer by layer (arXiv 1905.02244)",
        notation="search_spaces.families.mobilenetv3:NOTATION",
    ),
    "mobilenetv4": SpaceRow(
        "search_spaces.families.mobilenetv4:mobilenetv4",
        "MobileNetV4: universal inverted bottlenecks, with hybrid=True also multi-query attention (arXiv 2404.10518)",
        notation="search_spaces.families.mobilenetv4:NOTATION",
    ),
    "nasbench101": SpaceRow(
        "search_spaces.families.nasbench101:nasbench101",
        "NAS-Bench-101: a cell of up to 7 vertices and 9 edges, for small images (arXiv 1902.09635)",
        notation="search_spaces.families.nasbench101:NOTATION",
    ),
    "nasbench201": SpaceRow(
        "search_spaces.families.nasbench201:nasbench201",
        "NAS-Bench-201: a cell of 6 edges with 5 operations, for small images (arXiv 2001.00326)",
        notation="search_spaces.families.nasbench201:NOTATION",
    ),
    "proxylessnas": SpaceRow(
        "search_spaces.families.proxylessnas:proxylessnas",
        "ProxylessNAS: inverted bottlenecks with a kernel and an expansion for every layer (arXiv 1812.00332)",
        notation="search_spaces.families.proxylessnas:NOTATION",
    ),
    "tinynet": SpaceRow(
        "search_spaces.families.tinynet:tinynet",
        "TinyNet: multipliers of EfficientNet-B0's resolution, depth and width (arXiv 2010.14819)",
    ),
}


def spaces() -> dict[str, SpaceRow]:
    """All named spaces, those of installed plug-ins included."""
    return table_with_plugins("nas.spaces", SPACES, SpaceRow)


def load_space(space: str | Path | Callable[..., Graph] | Space, **options: Any) -> Space:
    """A space by name, as ``package.module:function``, ``./file.py:function``, a function, or a YAML file.

    What is named may be a ``Space`` too, or a function without parameters that returns one. ``options`` are keyword
    arguments of the space's function. Raises ``UnknownName`` or ``SpaceError``.
    """
    if isinstance(space, Space) or callable(space):
        return _to_space(space, "", options)
    text = str(space)
    if text.endswith((".yaml", ".yml")):
        from search_spaces.yaml_spaces.loader import load_yaml_space  # and PyYAML, for those who have such a file

        return load_yaml_space(Path(text), options, load_space)
    row = spaces().get(text)
    if row is not None:
        notation: Notation | None = import_object(row.notation) if row.notation else None
        return Space(import_object(row.function), text, options, notation)
    location, _, attribute = text.rpartition(":")
    if text.endswith(".py"):
        raise UnknownName(f"{text!r}: name the function too, as in {text}:my_space")
    if not location:
        raise unknown_name("space", text, list(spaces()))
    target = import_named(text, SpaceError)
    if not isinstance(target, Space) and not callable(target):
        raise SpaceError(f"{text!r} is {type(target).__name__}, not a function that makes choices")
    return _to_space(target, attribute, options)


def _to_space(target: Space | Callable[..., Any], name: str, options: dict[str, Any]) -> Space:
    """A space, that of a function that makes choices, or what a function without parameters returns."""
    if not isinstance(target, Space):
        if inspect.signature(target).parameters:
            return Space(target, name, options)
        returned = target()
        if not isinstance(returned, Space):
            called = name or getattr(target, "__name__", "the function")
            raise SpaceError(
                f"{called}() returned {type(returned).__name__}, not a Space; a function that makes choices must take"
                " `choose` as its first argument"
            )
        target = returned
    return target.with_options(**options) if options else target


def network_space(name: str, **options: Any) -> tuple[Space, str]:
    """The space of a published network, with the network's options, and its architecture. ``UnknownName``."""
    row = named_row("network", name, networks())
    return load_space(row.space, **{**row.options, **options}), row.architecture


def load_network(name: str, **options: Any) -> Graph:
    """A published network by name, whole, at its published resolution; ``options`` go to its space.

    Raises ``UnknownName``.
    """
    space, architecture = network_space(name, **options)
    return space.graph(space.parse(architecture))
