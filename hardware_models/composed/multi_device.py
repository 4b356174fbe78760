"""Several hardware models at once: what a network costs on each device, and on the worst of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardware_models.catalog import load_hardware, resolve_name
from hardware_models.cost import Cost, HardwareModel, NodeCost
from hardware_models.device_file.number_format import number_format_of
from hardware_models.device_file.toml_table import HardwareError
from search_spaces.graph.graph import Graph
from search_spaces.registry import unknown_name

HardwareSpec = str | Path | HardwareModel | Sequence[str | Path | HardwareModel]


@dataclass(frozen=True)
class MultiDeviceCost(Cost):
    """The worst of several devices' costs, figure by figure; ``devices`` holds each one's own by label.

    A figure is ``None`` where one device does not say it. The interval holds the worst latency where every device's
    holds its own, so that its coverage is that of all of them at once (Bonferroni): 1 less the sum of their errors.
    Operations that a device cannot run, guesses and leaves to its host are named with the device.
    """

    devices: Mapping[str, Cost] = field(default_factory=dict)


class MultiDeviceModel:
    """A hardware model made of others: ``estimate`` gives a ``MultiDeviceCost``."""

    def __init__(self, models: Mapping[str, HardwareModel]) -> None:
        self.models = dict(models)

    def __repr__(self) -> str:
        return f"<SeveralDevices {', '.join(self.models)}>"

    @property
    def name(self) -> str:
        """The devices' labels; from the fourth on, how many."""
        labels = list(self.models)
        return "+".join(labels if len(labels) <= 3 else [*labels[:2], f"{len(labels) - 2}-more"])

    @property
    def number_format(self) -> str | None:
        """The one of all devices; ``None`` where they differ, or where one does not state its own."""
        formats = {number_format_of(model) for model in self.models.values()}
        return formats.pop() if len(formats) == 1 else None

    def with_model(self, label: str, model: HardwareModel) -> MultiDeviceModel:
        """The same devices with another model for one of them."""
        return MultiDeviceModel({**self.models, label: model})

    def estimate(self, graph: Graph) -> MultiDeviceCost:
        """What ``graph`` costs on each device."""
        costs = {label: model.estimate(graph) for label, model in self.models.items()}
        device_costs = list(costs.values())
        coverages = [c.coverage for c in device_costs]
        return MultiDeviceCost(
            latency_ms=max(c.latency_ms for c in device_costs),
            source="+".join([device_costs[0].source, *(c.source.partition(":")[2] for c in device_costs[1:])]),
            latency_low_ms=_worst([c.latency_low_ms for c in device_costs]),
            latency_high_ms=_worst([c.latency_high_ms for c in device_costs]),
            coverage=None if None in coverages else max(0.0, 1.0 - sum(1.0 - (c or 0.0) for c in coverages)),
            energy_mj=_worst([c.energy_mj for c in device_costs]),
            weights_kib=_worst([c.weights_kib for c in device_costs]),
            guessed_ops=_ops_by_device(costs, lambda c: c.guessed_ops),
            fallback_ops=_ops_by_device(costs, lambda c: c.fallback_ops),
            unsupported_ops=_ops_by_device(costs, lambda c: c.unsupported_ops),
            details=_WorstDeviceDetails(device_costs),
            devices=costs,
        )


class _WorstDeviceDetails:
    """The breakdown is that of the device that takes longest, the memory the most on any."""

    def __init__(self, costs: Sequence[Cost]) -> None:
        self._costs = costs

    def breakdown(self) -> list[NodeCost]:
        return max(self._costs, key=lambda c: c.latency_ms).breakdown()

    def peak_memory_kib(self) -> float | None:
        return _worst([c.peak_memory_kib for c in self._costs])


def _worst(values: Sequence[float | None]) -> float | None:
    stated = [v for v in values if v is not None]
    return max(stated) if len(stated) == len(values) else None


def _ops_by_device(costs: Mapping[str, Cost], of: Callable[[Cost], tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(f"{op} on {label}" for label, cost in costs.items() for op in of(cost))


def device_labels(hardware: HardwareModel) -> tuple[str, ...]:
    """What a search's several devices are called; empty where there is only one."""
    return tuple(hardware.models) if isinstance(hardware, MultiDeviceModel) else ()


def hardware_text(hw: HardwareSpec) -> str:
    """The hardware as a text that ``load_hardware_models`` reads again; empty for what is none."""
    if isinstance(hw, str | Path):
        return str(hw)
    if isinstance(hw, Sequence) and all(isinstance(one, str | Path) for one in hw):
        return ",".join(str(one) for one in hw)
    return ""


def load_hardware_models(hw: HardwareSpec) -> HardwareModel:
    """One hardware model, or several: ``"pixel3_cpu,samsung_s7"`` or a list of names, files and models.

    Devices are called by their names in the table (``v100:int8`` is ``v100_int8``), files and models by their own.
    Raises ``UnknownName`` and ``HardwareError`` as ``load_hardware``, the latter also for two devices of one name.
    """
    parts: list[Any]
    if isinstance(hw, str):
        parts = [part.strip() for part in hw.split(",")] if "," in hw else [hw]
    elif isinstance(hw, Sequence):
        parts = list(hw)
    else:
        parts = [hw]
    if not parts or "" in parts:
        raise HardwareError(f"hardware {hw!r} names no device in one place; write it as pixel3_cpu,samsung_s7")
    if len(parts) == 1:
        return load_hardware(parts[0])
    models: dict[str, HardwareModel] = {}
    for part in parts:
        model = load_hardware(part)
        is_table_name = isinstance(part, str) and not part.endswith(".toml")
        label = resolve_name(part) if is_table_name else model.name
        if label in models:
            raise HardwareError(f"two devices are called {label!r}; name each once, or rename one's file")
        models[label] = model
    return MultiDeviceModel(models)


def check_device_metrics(names: Sequence[str], hardware: HardwareModel) -> None:
    """Raise for a metric of a device that is not searched for: ``UnknownName``, or ``HardwareError`` for one device."""
    labels = device_labels(hardware)
    for name in names:
        metric, at, device = name.partition("@")
        if not at or device in labels:
            continue
        if not labels:
            raise HardwareError(f"{name}: there is one device, {hardware.name}, so say {metric} alone")
        raise unknown_name("device", device, list(labels))
