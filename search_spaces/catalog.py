"""Spaces and published networks by name: tables of strings, and what turns a name into the thing.

A new space is a file and a row in ``SPACES``; a published network is a row in ``NETWORKS``. Other packages add rows
through the entry-point groups ``nas.spaces`` and ``nas.networks``, whose objects are ``SpaceRow`` and ``NetworkRow``.
Nothing here imports a space before it is asked for.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from search_spaces.graph import Graph
from search_spaces.space import Notation, Space, SpaceError

Row = TypeVar("Row")


@dataclass(frozen=True)
class SpaceRow:
    """One named space: where its function is, what it is in a line, and where its published notation is."""

    function: str
    summary: str
    notation: str | None = None


@dataclass(frozen=True)
class NetworkRow:
    """One published network: an architecture of a space with options, and where both were published."""

    space: str
    architecture: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)


SPACES: dict[str, SpaceRow] = {
    "mobiledet": SpaceRow(
        "search_spaces.mobiledet:mobiledet",
        "MobileDets: inverted bottlenecks, fused and Tucker blocks with an SSDLite head (arXiv 2004.14525)",
        notation="search_spaces.mobiledet:NOTATION",
    ),
    "nasbench101": SpaceRow(
        "search_spaces.nasbench101:nasbench101",
        "NAS-Bench-101: a cell of up to 7 vertices and 9 edges, for small images (arXiv 1902.09635)",
        notation="search_spaces.nasbench101:NOTATION",
    ),
    "nasbench201": SpaceRow(
        "search_spaces.nasbench201:nasbench201",
        "NAS-Bench-201: a cell of 6 edges with 5 operations, for small images (arXiv 2001.00326)",
        notation="search_spaces.nasbench201:NOTATION",
    ),
}

_MOBILEDET_SOURCE = (
    "tensorflow/models research/object_detection/models/ssd_mobiledet_feature_extractor.py, in this space's notation"
)
_SSD_CONFIGS = "tensorflow/models research/object_detection/samples/configs"

NETWORKS: dict[str, NetworkRow] = {
    "mobiledet_cpu": NetworkRow(
        "mobiledet",
        "0:0:0:0:12:12:12:0:2:0:0:0:1:3:2:1:0:2:2:2:2:2:2:3:1:1:0:1:2:2:5",
        _MOBILEDET_SOURCE,
        {"target": "cpu"},
    ),
    "mobiledet_dsp": NetworkRow(
        "mobiledet",
        "2:0:2:4:4:0:9:2:6:0:4:4:4:6:0:2:2:4:6:2:2:2:5:0:0:4:11:3:2:4:5",
        _MOBILEDET_SOURCE,
        {"target": "dsp"},
    ),
    "mobiledet_edgetpu": NetworkRow(
        "mobiledet",
        "2:5:1:6:4:6:4:0:7:4:4:4:2:2:2:4:4:2:3:3:2:2:3:3:2:1:2:2:3:6:5",
        "tensorflow/models official/projects/tunas/modeling/mobile_models_test.py",
        {"target": "edgetpu"},
    ),
    "mobiledet_gpu": NetworkRow(
        "mobiledet",
        "2:4:1:6:8:8:8:2:6:6:6:4:3:6:4:4:4:3:6:6:6:6:3:4:4:4:4:3:2:6:5",
        _MOBILEDET_SOURCE,
        # Its widths 64, 128, 128, 128 are no multiples of the published base widths; the paper's for this search are
        # not known. These contain it.
        {"target": "gpu", "base_filters": (32, 16, 32, 64, 128, 128, 128, 192, 192)},
    ),
    "densenet121": NetworkRow("search_spaces.classics:densenet121", "{}", "arXiv 1608.06993"),
    "efficientnet_edgetpu_s": NetworkRow(
        "search_spaces.classics:efficientnet_edgetpu_s", "{}", "tensorflow/tpu models/official/efficientnet/edgetpu"
    ),
    "inception_v1": NetworkRow(
        "search_spaces.classics:inception_v1", "{}", "tensorflow/models research/slim/nets/inception_v1.py"
    ),
    "mobilenet_edgetpu": NetworkRow(
        "search_spaces.classics:mobilenet_edgetpu",
        "{}",
        "tensorflow/models research/slim/nets/mobilenet/mobilenet_v3.py, V3_EDGETPU",
    ),
    "mobilenet_v1": NetworkRow("search_spaces.classics:mobilenet_v1", "{}", "arXiv 1704.04861"),
    "mobilenet_v1_ssd": NetworkRow(
        "search_spaces.classics:mobilenet_v1_ssd",
        "{}",
        f"{_SSD_CONFIGS}/ssd_mobilenet_v1_quantized_300x300_coco14_sync",
    ),
    "mobilenet_v2": NetworkRow("search_spaces.classics:mobilenet_v2", "{}", "arXiv 1801.04381"),
    "mobilenet_v2_ssd": NetworkRow(
        "search_spaces.classics:mobilenet_v2_ssd", "{}", f"{_SSD_CONFIGS}/ssd_mobilenet_v2_quantized_300x300_coco"
    ),
    "resnet50_v1": NetworkRow("search_spaces.classics:resnet50_v1", "{}", "arXiv 1512.03385"),
    "resnet50_v2": NetworkRow("search_spaces.classics:resnet50_v2", "{}", "arXiv 1603.05027, as Keras' ResNet50V2"),
    "resnet152_v2": NetworkRow("search_spaces.classics:resnet152_v2", "{}", "arXiv 1603.05027, as Keras' ResNet152V2"),
    "ssdlite_mobilenet_edgetpu": NetworkRow(
        "search_spaces.classics:ssdlite_mobilenet_edgetpu",
        "{}",
        f"{_SSD_CONFIGS}/ssdlite_mobilenet_edgetpu_320x320_coco",
    ),
}


class UnknownName(ValueError):
    """A name that no table has; the message says which names come close."""


def unknown(kind: str, name: str, known: list[str]) -> UnknownName:
    """The error for a name that is not in a table, with a suggestion where one is close."""
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
    return UnknownName(f"no {kind} {name!r}; {hint}")


def table_with_plugins(group: str, table: dict[str, Row], row_type: type[Row]) -> dict[str, Row]:
    """``table`` and the rows that installed packages add through the entry-point group; own rows win."""
    rows = {}
    for point in entry_points(group=group):
        if point.name not in table:
            row = point.load()
            if not isinstance(row, row_type):
                raise UnknownName(
                    f"the entry point {point.value!r} of {group} is {type(row).__name__}, not {row_type.__name__}"
                )
            rows[point.name] = row
    return {**rows, **table}


def named_row(kind: str, name: str, table: dict[str, Row]) -> Row:
    """The row of that name. Raises ``UnknownName`` with a suggestion."""
    row = table.get(name)
    if row is None:
        raise unknown(kind, name, list(table))
    return row


def import_object(path: str) -> Any:
    """The object at ``package.module:name``. Raises ``UnknownName``."""
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise UnknownName(f"{path!r} is not of the form package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UnknownName(f"no module {module_name!r} (in {path!r}); is it installed or on PYTHONPATH?") from None
        raise
    return _attribute(module, attribute, path)


def _attribute(module: Any, attribute: str, path: str) -> Any:
    if not hasattr(module, attribute):
        public = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise UnknownName(f"{path!r}: the module has no {attribute!r}; it defines {', '.join(public) or 'nothing'}")
    return getattr(module, attribute)


def import_file(path: Path, attribute: str) -> Any:
    """The object ``attribute`` of a Python file, which is run. Raises ``UnknownName``."""
    if not path.is_file():
        raise UnknownName(f"no file {str(path)!r}")
    name = "nas_file_" + hashlib.blake2b(str(path.resolve()).encode(), digest_size=8).hexdigest()
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnknownName(f"{str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise SpaceError(f"{path}:{error.lineno}: {error.msg}") from None
    except Exception as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise SpaceError(f"{where}: {type(error).__name__}: {error}") from error
    return _attribute(module, attribute, f"{path}:{attribute}")


def spaces() -> dict[str, SpaceRow]:
    """All named spaces, those of installed plug-ins included."""
    return table_with_plugins("nas.spaces", SPACES, SpaceRow)


def networks() -> dict[str, NetworkRow]:
    """All published networks by name, those of installed plug-ins included."""
    return table_with_plugins("nas.networks", NETWORKS, NetworkRow)


def load_space(space: str | Path | Callable[..., Graph] | Space, **options: Any) -> Space:
    """A space by name, as ``package.module:function``, ``./file.py:function``, a function, or a YAML file.

    ``options`` are keyword arguments of the space's function. Raises ``UnknownName`` or ``SpaceError``.
    """
    if isinstance(space, Space):
        return space.with_options(**options) if options else space
    if callable(space):
        return Space(space, options=options)
    text = str(space)
    if text.endswith((".yaml", ".yml")):
        from search_spaces.yaml_space import load_yaml_space

        return load_yaml_space(Path(text), **options)
    row = spaces().get(text)
    if row is not None:
        notation: Notation | None = import_object(row.notation) if row.notation else None
        return Space(import_object(row.function), text, options, notation)
    location, _, attribute = text.rpartition(":")
    if location.endswith(".py"):
        target = import_file(Path(location), attribute)
    elif text.endswith(".py"):
        raise UnknownName(f"{text!r}: name the function too, as in {text}:my_space")
    elif location:
        target = import_object(text)
    else:
        raise unknown("space", text, list(spaces()))
    if isinstance(target, Space):
        return target.with_options(**options) if options else target
    if not callable(target):
        raise SpaceError(f"{text!r} is {type(target).__name__}, not a function that makes choices")
    return Space(target, attribute, options)


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
