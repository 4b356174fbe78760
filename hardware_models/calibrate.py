"""From measured networks to a device file, and from a device and measured networks to how good it is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hardware_models.catalog import SOURCE_KIND, device_kind, hardware, load_hardware
from hardware_models.cost import HardwareModel
from hardware_models.device_file.number_format import DEFAULT_NUMBER_FORMAT, check_number_format
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.device_file.writer import Calibration, DeviceHeader
from hardware_models.linear.model import LinearModel, rates_toml
from hardware_models.measured.datasets import DEVICE_SOURCES
from hardware_models.measured.latency_csv import (
    EXECUTED_GRAPHS,
    MeasuredNetwork,
    executed_graph_of,
    graph_as_executed,
    median_per_network,
    possible_executed_graphs,
)
from hardware_models.measured.prediction_error import accuracy_metrics
from hardware_models.transfer.fit import (
    MIN_NETWORKS_FOR_RATES,
    fit_own_rates,
    fit_prior_rates,
    fit_transfer,
    network_pool,
    select_measurements,
)
from hardware_models.transfer.model import transfer_model_toml
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


MIN_NETWORKS = 4


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
        return [load_network(name) for name in networks()]
    rng, graphs = random.Random(seed), []
    for space in spaces.values():
        sampled = [space.sample(rng) for _ in range(NETWORKS_PER_SPACE)]
        graphs += [graph_as_executed(space, g, space.graph(g), executed_graph) for g in sampled]
    return graphs


def calibrate(
    entries: Sequence[MeasuredNetwork],
    name: str,
    *,
    about: str = "",
    number_format: str = DEFAULT_NUMBER_FORMAT,
    seed: int = 0,
) -> Calibration:
    """The device file for measured networks: of the ways there are, the one with the least held-out error.

    Transfer from the known devices, or rates from the prior of a class of processors; from 25 networks on also rates of
    the device's own. Networks of spaces whose
    published measurements ran dead branches are read both ways. ``number_format``: that in which they were measured.
    Raises ``HardwareError``.
    """
    import numpy as np

    check_number_format(number_format)
    entries = median_per_network(entries)
    if len(entries) < MIN_NETWORKS:
        raise HardwareError(
            f"a calibration needs {MIN_NETWORKS} different measured networks at least, not {len(entries)}; ten do well"
        )
    measured = np.array([e.latency_ms for e in entries])
    if measured.max() == measured.min():
        raise HardwareError("all networks took equally long: measure smaller and larger ones")
    best: tuple[float, Calibration] | None = None
    sources = source_devices()
    for executed_graph in possible_executed_graphs(entries):
        graphs = [executed_graph_of(e, executed_graph) for e in entries]
        pool_graphs = pool_networks(entries, executed_graph, seed)
        header = DeviceHeader(about or f"{name}, calibrated", number_format, executed_graph)
        for candidate in _candidate_calibrations(graphs, pool_graphs, measured, sources, header):
            if best is None or candidate[0] < best[0]:
                best = candidate
    assert best is not None
    return best[1]


def _candidate_calibrations(
    graphs: list[Graph],
    pool_graphs: list[Graph],
    measured: FloatArray,
    sources: Sequence[LinearModel],
    header: DeviceHeader,
) -> list[tuple[float, Calibration]]:
    import numpy as np

    candidates = []
    pool = network_pool([*graphs, *pool_graphs], sources)
    transfer_fit = fit_transfer(pool, range(len(graphs)), measured)
    errors = accuracy_metrics(transfer_fit.held_out_predictions, measured)
    text = transfer_model_toml(transfer_fit.mixture, pool.signals.models, errors, header)
    candidates.append(
        (
            _log_rmse(transfer_fit.held_out_predictions, measured),
            Calibration(text, "transferred", header.executed_graph, errors),
        )
    )
    for kind, rates_of in (("few_rows", fit_prior_rates), ("learned", fit_own_rates)):
        if kind == "learned" and len(graphs) < MIN_NETWORKS_FOR_RATES:
            continue
        rates, held_out_predictions = rates_of(graphs, measured)
        errors = accuracy_metrics(np.maximum(held_out_predictions, 1e-9), measured)
        text = "\n".join([*header.toml_lines(kind), *rates_toml("latency", rates, errors)]) + "\n"
        candidates.append(
            (_log_rmse(held_out_predictions, measured), Calibration(text, kind, header.executed_graph, errors))
        )
    return candidates


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
