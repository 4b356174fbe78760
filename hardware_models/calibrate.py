"""From measurements to a model of the device, and from a model and measured networks to how good it is."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_models.catalog import SOURCE_KIND, device_kind, hardware, load_hardware
from hardware_models.cost import HardwareModel
from hardware_models.device_file.header import DeviceHeader
from hardware_models.device_file.number_format import DEFAULT_NUMBER_FORMAT, check_number_format
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.linear.model import LinearModel, rounded_rates
from hardware_models.linear.prior import LinearPriorModel
from hardware_models.measured.datasets import DEVICE_SOURCES
from hardware_models.measured.latency_csv import (
    EXECUTED_GRAPHS,
    executed_graph_of,
    graph_as_executed,
    possible_executed_graphs,
    read_measured_networks,
)
from hardware_models.measured.network import MeasuredNetwork, median_per_network
from hardware_models.measured.prediction_error import accuracy_metrics
from hardware_models.operation_table.fit import fit_operation_table
from hardware_models.operation_table.model import OperationTableModel
from hardware_models.operation_table.operation_csv import (
    MeasuredOperation,
    Measurement,
    median_per_operation,
    read_measured_operations,
)
from hardware_models.transfer.fit import (
    MIN_NETWORKS_FOR_RATES,
    fit_own_rates,
    fit_prior_rates,
    fit_transfer,
    network_pool,
    select_measurements,
)
from hardware_models.transfer.model import TransferModel, rounded_mixture
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks as published_networks
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


MIN_NETWORKS = 4
_CALIBRATION_REMARKS = ("Made by nas hw calibrate; the errors are those on networks left out.",)
NETWORKS_PER_SPACE = 200
"""Random networks of each measured space that latencies are standardised over."""


def source_devices() -> list[LinearModel]:
    """The known devices that transfer rests on: all named ones that were learned from measurements of many networks.

    Sums over devices round differently in another order, so the order is kept in which published device files were
    calibrated: NAS-Bench's and FBNet's sources as ``DEVICE_SOURCES`` has them, the Note10 in front; others follow.
    """
    order = {name: index for index, name in enumerate(("note10", *(n for n in DEVICE_SOURCES if n != "note10")))}
    # By the kind in their files: a transferred device would load all that it rests on
    names = [name for name in hardware() if device_kind(name) == SOURCE_KIND]
    models = [load_hardware(name) for name in sorted(names, key=lambda name: (order.get(name, len(order)), name))]
    return [model for model in models if isinstance(model, LinearModel)]


def pool_networks(entries: Sequence[MeasuredNetwork], executed_graph: str, seed: int = 0) -> list[Graph]:
    """Networks like the measured ones: random ones of their spaces, or all published ones where they have none."""
    spaces = {id(e.space): e.space for e in entries if e.space is not None}
    if not spaces:
        return [load_network(name) for name in published_networks()]
    rng, graphs = random.Random(seed), []
    for space in spaces.values():
        sampled = [space.sample(rng) for _ in range(NETWORKS_PER_SPACE)]
        graphs += [graph_as_executed(space, g, space.graph(g), executed_graph) for g in sampled]
    return graphs


@dataclass(frozen=True, eq=False)
class Calibration:
    """A model made from measurements, what its file says of it, and its errors on networks left out."""

    model: LinearModel | LinearPriorModel | OperationTableModel | TransferModel
    header: DeviceHeader
    errors: Mapping[str, float]

    @property
    def kind(self) -> str:
        """The kind of its device file."""
        return self.model.kind

    @property
    def executed_graph(self) -> str:
        """Whether the measured networks ran in normal form or as written."""
        return self.model.executed_graph


def read_measurements(path: Path, code: Collection[str] = (), *, operations: bool = False) -> Sequence[Measurement]:
    """The lines of a CSV file: networks, or with ``operations`` these and networks beside them. ``HardwareError``."""
    return read_measured_operations(path, code) if operations else read_measured_networks(path, code)


def calibrate(
    measurements: Sequence[Measurement],
    name: str,
    *,
    about: str = "",
    number_format: str | None = None,
    seed: int = 0,
) -> Calibration:
    """The model of a device from what was measured on it: of the ways there are, the one with the least held-out error.

    Measured operations give a table of them, whose overheads are those of the networks beside them. Networks alone give
    a transfer from the known devices, or rates from the prior of a class of processors; from 25 networks on also rates
    of the device's own. Networks of spaces whose published measurements ran dead branches are read both ways.
    ``number_format``: that in which they were measured; default: what the operations say, else float32. Raises
    ``HardwareError``.
    """
    measured_in = _number_format(measurements, number_format)
    networks = median_per_network([m for m in measurements if isinstance(m, MeasuredNetwork)])
    operations = [m for m in measurements if isinstance(m, MeasuredOperation)]
    if operations:
        model = fit_operation_table(name, median_per_operation(operations), networks, measured_in)
        source = ", ".join(dict.fromkeys(filter(None, [m.source for m in measurements])))
        header = DeviceHeader(about or f"{name}, a table of operations", source, remarks=_CALIBRATION_REMARKS)
        return Calibration(model, header, model.overheads.errors)
    _check_networks(networks)
    sources = source_devices()
    ways = [
        candidate
        for executed_graph in possible_executed_graphs(networks)
        for candidate in _candidates(networks, name, sources, executed_graph, measured_in, seed)
    ]
    best = min(ways, key=lambda candidate: candidate.log_rmse)  # the first of equals
    header = DeviceHeader(about or f"{name}, calibrated", remarks=_CALIBRATION_REMARKS)
    return Calibration(best.model, header, best.errors)


def _number_format(measurements: Sequence[Measurement], asked_for: str | None) -> str:
    formats = {m.number_format for m in measurements if isinstance(m, MeasuredOperation)}
    if asked_for is not None:
        check_number_format(asked_for)
        if formats - {asked_for}:
            raise HardwareError(f"operations were measured in {', '.join(sorted(formats))}, not in {asked_for}")
        return asked_for
    if len(formats) > 1:
        raise HardwareError(f"a table has one number format, and there are {', '.join(sorted(formats))}")
    return formats.pop() if formats else DEFAULT_NUMBER_FORMAT


def _check_networks(networks: Sequence[MeasuredNetwork]) -> None:
    if len(networks) < MIN_NETWORKS:
        raise HardwareError(
            f"a calibration needs {MIN_NETWORKS} different measured networks at least, not {len(networks)}; ten do well"
        )
    if len({network.latency_ms for network in networks}) == 1:
        raise HardwareError("all networks took equally long: measure smaller and larger ones")


@dataclass(frozen=True, eq=False)
class _Candidate:
    """One way to a model, and its error on the networks, each left out in turn."""

    model: LinearModel | LinearPriorModel | TransferModel
    errors: Mapping[str, float]
    log_rmse: float


def _candidates(
    networks: Sequence[MeasuredNetwork],
    name: str,
    sources: Sequence[LinearModel],
    executed_graph: str,
    number_format: str,
    seed: int,
) -> Iterator[_Candidate]:
    """The models that networks give where they ran as ``executed_graph`` says, in as many digits as files keep."""
    import numpy as np

    graphs = [executed_graph_of(network, executed_graph) for network in networks]
    measured = np.array([network.latency_ms for network in networks])
    pool = network_pool([*graphs, *pool_networks(networks, executed_graph, seed)], sources)
    transfer = fit_transfer(pool, range(len(graphs)), measured)
    errors = accuracy_metrics(transfer.held_out_predictions, measured)
    mixture = rounded_mixture(replace(transfer.mixture, errors=errors))
    transferred = TransferModel(
        name, 1, mixture, pool.signals.models, executed_graph=executed_graph, number_format=number_format
    )
    yield _Candidate(transferred, errors, _log_rmse(transfer.held_out_predictions, measured))
    for with_prior in (True, False):
        if not with_prior and len(graphs) < MIN_NETWORKS_FOR_RATES:
            continue
        rates, held_out = (fit_prior_rates if with_prior else fit_own_rates)(graphs, measured)
        errors = accuracy_metrics(np.maximum(held_out, 1e-9), measured)
        model = LinearModel(
            name,
            1,
            {"latency": rounded_rates(replace(rates, errors=errors))},
            executed_graph=executed_graph,
            number_format=number_format,
        )
        yield _Candidate(LinearPriorModel(model) if with_prior else model, errors, _log_rmse(held_out, measured))


def _log_rmse(predicted: FloatArray, measured: FloatArray) -> float:
    import numpy as np

    return float(np.sqrt((np.log(np.maximum(predicted, 1e-9) / measured) ** 2).mean()))


def suggest_networks(space: Space, count: int, *, seed: int = 0) -> list[Genotype]:
    """Which networks of a space to measure: the most informative of 400 random ones, the first the most."""
    rng = random.Random(seed)
    sampled = list(dict.fromkeys(space.sample(rng) for _ in range(2 * NETWORKS_PER_SPACE)))
    pool = network_pool([space.graph(genotype) for genotype in sampled], source_devices())
    return [sampled[i] for i in select_measurements(pool, count)]


def check_model(model: HardwareModel, entries: Sequence[MeasuredNetwork]) -> dict[str, float]:
    """How good a model is on measured networks: rank correlations, errors, and how many its intervals hold.

    Raises ``HardwareError``.
    """
    import numpy as np

    executed_graph = getattr(model, "executed_graph", EXECUTED_GRAPHS[0])
    costs = [model.estimate(executed_graph_of(e, executed_graph)) for e in entries]
    measured = np.array([e.latency_ms for e in entries])
    metrics = accuracy_metrics(np.array([c.latency_ms for c in costs]), measured)
    if all(c.latency_low_ms is not None for c in costs):
        inside_interval = [c.latency_low_ms <= m <= c.latency_high_ms for c, m in zip(costs, measured, strict=True)]
        metrics["interval_coverage"] = round(float(sum(inside_interval)) / len(inside_interval), 4)
        metrics["stated_coverage"] = costs[0].coverage or 0.0
    return metrics
