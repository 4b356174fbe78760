"""From few published latencies to a device: rates from a prior, errors on networks and families left out, its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_models.device_file.header import DeviceHeader
from hardware_models.linear.device_priors import RATE_PRIORS, SPARSE_DEVICES, SparseDevice
from hardware_models.linear.fit import OperationCounter
from hardware_models.linear.model import LinearModel, rounded_rates
from hardware_models.linear.prior import (
    LinearPriorModel,
    PriorDesign,
    fit_rates_with_prior,
    held_out_predictions,
    jackknife_coverage,
    predict,
    prior_design,
    prior_from_device,
    to_rates,
)
from hardware_models.measured.datasets import dataset_networks
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.measured.prediction_error import accuracy_metrics, interval_factor
from hardware_models.measured.published_latencies import family, published_latencies
from search_spaces.registry import named_row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

PUBLISHED_LATENCIES_CSV = "published_tables/published_latency.csv"
_FIT_PROGRAM = "hardware_models/linear/fit_sparse_devices.py"
_PARTS_GROUP = "parts of networks"


@dataclass(frozen=True, eq=False)
class SparseDeviceFit:
    """A device's unknowns, and its rows with predictions in ms: in the fit, without the network, without its family.

    ``names`` and ``measured`` are networks; single operations where the device has no networks.
    """

    design: PriorDesign
    unknowns: dict[str, float]
    names: tuple[str, ...]
    measured: FloatArray
    predicted: FloatArray
    without_network: FloatArray
    without_family: FloatArray

    @property
    def errors(self) -> dict[str, float]:
        """The ``[latency.error]`` of a device file; its plain names are those of networks left out alone."""
        network_metrics, family_metrics = (
            accuracy_metrics(p, self.measured) for p in (self.without_network, self.without_family)
        )
        metrics = {
            **network_metrics,
            "in_sample_mape_percent": accuracy_metrics(self.predicted, self.measured)["mape_percent"],
        }
        metrics["family_mape_percent"] = family_metrics["mape_percent"]
        if "spearman" in family_metrics:
            metrics["family_spearman"] = family_metrics["spearman"]
        if len(self.measured) > 3:
            metrics["interval_coverage"] = round(jackknife_coverage(self.without_network, self.measured), 4)
        return metrics


@lru_cache(maxsize=64)
def _published_latencies(table: Path, device: str) -> tuple[MeasuredNetwork, ...]:
    return tuple(published_latencies(table, device))


def _measured_parts(plan: SparseDevice, folder: Path) -> list[MeasuredNetwork]:
    readers = (plan.part_readers or {}).items()
    return [part for reader, column in readers for part in dataset_networks(reader, folder, plan.max_rows)[column]]


@lru_cache(maxsize=64)
def fit_sparse_device(name: str, folder: Path) -> SparseDeviceFit:
    """Fit a device of ``SPARSE_DEVICES`` to what ``folder`` holds. Raises ``HardwareError`` and ``UnknownName``."""
    plan: SparseDevice = named_row("device", name, SPARSE_DEVICES)
    prior = RATE_PRIORS[plan.prior]
    if plan.base_device:
        prior = prior_from_device(prior, fit_sparse_device(plan.base_device, folder).unknowns, plan.spread)
    networks, parts = _published_latencies(folder / PUBLISHED_LATENCIES_CSV, name), _measured_parts(plan, folder)
    design = prior_design([*networks, *parts], prior, OperationCounter(), part_scatter=plan.scatter)
    unknowns = {key: float(f"{value:.5g}") for key, value in fit_rates_with_prior(design).items()}
    judged = networks or tuple(parts)
    if networks:
        without_network_ms = held_out_predictions(design, [network.name for network in networks])
        families = [family(network.name) for network in networks]
        without_family_ms = held_out_predictions(design, families) if len(set(families)) > 1 else without_network_ms
    else:  # parts stay in every fit but, in five folds, where nothing else is judged
        part_folds = [f"{_PARTS_GROUP} {i % 5}" for i in range(len(parts))]
        without_network_ms = without_family_ms = held_out_predictions(design, part_folds)
    judged_design = design.of(range(len(judged)))
    return SparseDeviceFit(
        design,
        unknowns,
        tuple([network.name for network in judged]),
        judged_design.latencies_ms,
        predict(judged_design, unknowns),
        without_network_ms,
        without_family_ms,
    )


def sparse_device(name: str, fitted: SparseDeviceFit) -> tuple[DeviceHeader, LinearPriorModel]:
    """What is written into the device file: its header, and the model in as many digits as the file keeps."""
    plan = SPARSE_DEVICES[name]
    factor = interval_factor(fitted.without_network, fitted.measured)
    rates = replace(to_rates(fitted.unknowns, fitted.design, factor), errors=fitted.errors)
    prior = f"the rates of {plan.base_device}" if plan.base_device else f"the prior of a {plan.prior}"
    header = DeviceHeader(
        plan.about,
        plan.source,
        plan.device,
        batch=1,
        runtime=plan.runtime,
        remarks=(
            plan.about,
            f"Written by {_FIT_PROGRAM} from {len(fitted.names)} rows and {prior}.",
            "Errors are those of networks left out one at a time; family_ is with all networks of the family left out.",
        ),
    )
    model = LinearModel(name, 1, {"latency": rounded_rates(rates)}, number_format=plan.precision)
    return header, LinearPriorModel(model)


def rows_of(fitted: SparseDeviceFit) -> Sequence[tuple[str, float, float, float, float]]:
    """Each judged network with its latency and its predictions in ms: in the fit, without it, without its family."""
    columns = (fitted.measured, fitted.predicted, fitted.without_network, fitted.without_family)
    return list(zip(fitted.names, *(column.tolist() for column in columns), strict=True))
