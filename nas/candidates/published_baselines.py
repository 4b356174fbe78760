"""The published networks side by side: size, predicted latency, and the accuracy that was published for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware_models.catalog import load_hardware
from hardware_models.composed.multi_device import MultiDeviceModel
from hardware_models.cost import HardwareModel
from hardware_models.device_file.toml_table import HardwareError
from search_spaces.catalog import load_network, network_space, spaces
from search_spaces.graph.operations import GraphError
from search_spaces.published.networks import PublishedResult, networks, published_results
from search_spaces.registry import UnknownName, named_row, unknown_name
from search_spaces.space.genotype import GenotypeError, SpaceError
from search_spaces.space.space import Space
from search_spaces.task_heads import task_of

if TYPE_CHECKING:
    import pandas as pd


def baseline_rows(space: Space, hardware: HardwareModel) -> tuple[Mapping[str, Any], ...]:
    """Rows of ``baselines`` for the networks of the space's task, as they were published: at their own image size.

    Of several devices, ``latency_ms`` is the worst and each one's own stands beside it as ``latency_ms@device``. Empty
    where the space's outputs tell no task.
    """
    task = task_of(space)
    names = [name for name in networks() if task and _task_of_network(name) == task]
    frame = baselines(hardware, names)
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    rows = [{str(column): value for column, value in record.items()} for record in records]
    if isinstance(hardware, MultiDeviceModel):
        for row in rows:
            if not row["reason"]:
                graph = load_network(row["network"])
                for label, model in hardware.models.items():
                    row[f"latency_ms@{label}"] = model.estimate(graph).latency_ms
    return tuple(rows)


def _task_of_network(name: str) -> str:
    try:
        return task_of(network_space(name)[0])
    except (ImportError, SpaceError):  # of a plug-in that misses a package
        return ""


# Columns and their types in a frame; whole numbers stay whole beside missing ones
COLUMNS: dict[str, str] = {
    "network": "object",
    "space": "object",
    "resolution": "Int64",
    "macs": "Int64",
    "params": "Int64",
    "hardware": "object",
    "latency_ms": "float64",
    "latency_low_ms": "float64",
    "latency_high_ms": "float64",
    "latency_source": "object",
    "guessed_ops": "object",
    "fallback_ops": "object",
    "published_metric": "object",
    "published_value": "float64",
    "published_resolution": "Int64",
    "published_note": "object",
    "published_source": "object",
    "reason": "object",
}


# Planned failures of networks and devices, and of plug-ins that miss a package: each is its row's reason
_FAILURES = (GenotypeError, GraphError, SpaceError, UnknownName, HardwareError, ImportError)


def baselines(
    hw: str | Path | HardwareModel | None, names: Sequence[str] | None = None, space: str | None = None
) -> pd.DataFrame:
    """A row for each published network, or those of ``names`` and of ``space``: the fastest on ``hw`` first.

    Without hardware, or where it cannot price a network, there is no latency; such rows come last, fewest MACs first,
    after them networks that cannot be built. ``reason`` says what failed. The published figure is the network's own,
    in per cent, for the resolution of the row where there is one; ``published_resolution`` tells where there is not.
    Raises ``UnknownName`` and, for a device file that cannot be used, ``HardwareError``.
    """
    import pandas as pd

    model = None if hw is None else load_hardware(hw)
    network_rows = networks()
    for name in names or ():
        named_row("network", name, network_rows)
    if space is not None and space not in (of_space := {*spaces(), *(row.space for row in network_rows.values())}):
        raise unknown_name("space", space, sorted(of_space))
    selected = network_rows if names is None else dict.fromkeys(names)
    rows = [
        _row(name, network_rows[name].space, model) for name in selected if space in (None, network_rows[name].space)
    ]
    rows.sort(key=lambda row: (_or_inf(row["latency_ms"]), _or_inf(row["macs"]), row["network"]))
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object).astype(COLUMNS)


def _or_inf(value: float | None) -> float:
    return inf if value is None else value


def _row(name: str, space: str, model: HardwareModel | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"network": name, "space": space, "hardware": None if model is None else model.name, "reason": ""}
    try:
        graph = load_network(name)
        row |= {"resolution": graph.input_shape[-1], "macs": graph.macs, "params": graph.params}
        if model is not None:
            cost = model.estimate(graph)
            row |= {column: getattr(cost, column) for column in ("latency_ms", "latency_low_ms", "latency_high_ms")}
            row |= {"latency_source": cost.source}
            row |= {"guessed_ops": ", ".join(cost.guessed_ops), "fallback_ops": ", ".join(cost.fallback_ops)}
    except _FAILURES as error:
        row["reason"] = str(error)
    figure = _published_accuracy(name, row["resolution"])
    if figure is not None:
        row |= {
            f"published_{fact}": getattr(figure, fact) for fact in ("metric", "value", "resolution", "note", "source")
        }
    return row


def _published_accuracy(name: str, resolution: int | None) -> PublishedResult | None:
    """The first figure that is the network's own, at this resolution where there is one."""
    own = [figure for figure in published_results(name) if not figure.backbone_of]
    at_resolution = [figure for figure in own if figure.resolution in (None, resolution)]
    return next(iter(at_resolution or own), None)
