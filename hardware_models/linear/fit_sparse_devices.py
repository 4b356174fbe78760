"""Fit devices of which few latencies are published, and state the error on networks and families left out.

    python -m hardware_models.linear.fit_sparse_devices pixel1_cpu pixel4_dsp --data ../shared/data --write

Without names, all of ``SPARSE_DEVICES``. A plan says where the prior of a device comes from: a class of processors, or
a device that is like it. Held out is each network alone, and each family of networks together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_models.device_file.writer import shipped_file
from hardware_models.linear.device_priors import RATE_PRIORS, SPARSE_DEVICES, SparseDevice
from hardware_models.linear.fit import OperationCounter
from hardware_models.linear.fit_published_devices import DEVICE_FOLDER
from hardware_models.linear.model import rates_toml
from hardware_models.linear.prior import (
    FitSample,
    RatePrior,
    fit_rates_with_prior,
    held_out_predictions,
    jackknife_coverage,
    network_sample,
    predict,
    prior_from_device,
    to_rates,
)
from hardware_models.measured.datasets import DATASET_READERS, DatasetNetwork
from hardware_models.measured.prediction_error import accuracy_metrics, interval_factor
from hardware_models.measured.published_latencies import PublishedLatency, published_latencies
from search_spaces.registry import import_object, named_row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

PUBLISHED_LATENCIES_CSV = "published_tables/published_latency.csv"
_PARTS_GROUP = "parts of networks"


@dataclass(frozen=True, eq=False)
class SparseDeviceFit:
    """A device's unknowns, and its rows with predictions in ms: in the fit, without the network, without its family.

    ``names`` and ``measured`` are networks; single operations where the device has no networks.
    """

    prior: RatePrior
    unknowns: dict[str, float]
    samples: tuple[FitSample, ...]
    names: tuple[str, ...]
    measured: FloatArray
    predicted: FloatArray
    without_network: FloatArray
    without_family: FloatArray

    @property
    def errors(self) -> dict[str, float]:
        """The ``[latency.error]`` of a device file; its plain names are those of networks left out alone."""
        network_metrics, family = (
            accuracy_metrics(p, self.measured) for p in (self.without_network, self.without_family)
        )
        metrics = {
            **network_metrics,
            "in_sample_mape_percent": accuracy_metrics(self.predicted, self.measured)["mape_percent"],
        }
        metrics["family_mape_percent"] = family["mape_percent"]
        if "spearman" in family:
            metrics["family_spearman"] = family["spearman"]
        if len(self.measured) > 3:
            metrics["interval_coverage"] = round(jackknife_coverage(self.without_network, self.measured), 4)
        return metrics


@lru_cache(maxsize=64)
def _published_latencies(table: Path, device: str) -> tuple[PublishedLatency, ...]:
    return tuple(published_latencies(table, device))


def _part_measurements(plan: SparseDevice, folder: Path, counter: OperationCounter) -> list[FitSample]:
    samples = []
    for reader, column in (plan.part_readers or {}).items():
        read: Callable[[Path, int], list[DatasetNetwork]] = import_object(DATASET_READERS[reader])
        rows = read(folder, plan.max_rows)
        samples += [FitSample(counter.of(r.graph), r.values[column], r.name, plan.scatter, part=True) for r in rows]
    return samples


@lru_cache(maxsize=64)
def fit_sparse_device(name: str, folder: Path) -> SparseDeviceFit:
    """Fit a device of ``SPARSE_DEVICES`` to what ``folder`` holds. Raises ``HardwareError`` and ``UnknownName``."""
    import numpy as np

    plan: SparseDevice = named_row("device", name, SPARSE_DEVICES)
    prior = RATE_PRIORS[plan.prior]
    if plan.base_device:
        prior = prior_from_device(prior, fit_sparse_device(plan.base_device, folder).unknowns, plan.spread)
    counter = OperationCounter()
    rows = _published_latencies(folder / PUBLISHED_LATENCIES_CSV, name)
    part_readers = _part_measurements(plan, folder, counter)
    networks = [network_sample(counter, row.graph, row.latency_ms, row.network) for row in rows]
    samples = [*networks, *part_readers]
    unknowns = {key: float(f"{value:.5g}") for key, value in fit_rates_with_prior(samples, prior).items()}
    evaluated_samples = networks or part_readers
    measured = np.array([s.latency_ms for s in evaluated_samples])
    # Parts stay in every fit but, in five folds, where nothing else is judged
    part_folds = [f"{_PARTS_GROUP} {i % 5}" for i in range(len(part_readers))]
    if networks:
        without_network_ms = _held_out_by_group(samples, prior, [s.group for s in networks])
        families = [row.family for row in rows]
        without_family_ms = (
            _held_out_by_group(samples, prior, families) if len(set(families)) > 1 else without_network_ms
        )
    else:
        without_network_ms = without_family_ms = held_out_predictions(samples, prior, part_folds)
    names = tuple(s.group for s in evaluated_samples)
    return SparseDeviceFit(
        prior,
        unknowns,
        tuple(samples),
        names,
        measured,
        predict(evaluated_samples, prior, unknowns),
        without_network_ms,
        without_family_ms,
    )


def _held_out_by_group(samples: Sequence[FitSample], prior: RatePrior, groups: Sequence[str]) -> FloatArray:
    """Predictions of the first samples, which have groups, by fits without their group; parts are in all of them."""
    import numpy as np

    count = len(groups)
    predicted = np.zeros(count)
    for group in dict.fromkeys(groups):
        inside = [i for i, g in enumerate(groups) if g == group]
        outside = [s for i, s in enumerate(samples) if i >= count or groups[i] != group]
        predicted[inside] = predict([samples[i] for i in inside], prior, fit_rates_with_prior(outside, prior))
    return predicted


def sparse_device_toml(name: str, fitted: SparseDeviceFit) -> str:
    """The device file."""
    plan = SPARSE_DEVICES[name]
    factor = interval_factor(fitted.without_network, fitted.measured)
    rates = to_rates(fitted.unknowns, fitted.samples, fitted.prior, factor)
    prior = f"the rates of {plan.base_device}" if plan.base_device else f"the prior of a {plan.prior}"
    lines = [
        f"# {plan.about}",
        f"# Written by hardware_models/linear/fit_sparse_devices.py from {len(fitted.names)} rows and {prior}.",
        "# Errors are those of networks left out one at a time; family_ is with all networks of the family left out.",
        'kind = "few_rows"',
        "version = 1",
        f'number_format = "{plan.precision}"',
        *([f'device = "{plan.device}"'] if plan.device else []),
        f'about = "{plan.about}"',
        f'source = "{plan.source}"',
        'measured = "normal form"',
        "batch = 1",
        f'runtime = "{plan.runtime}"',
        *rates_toml("latency", rates, fitted.errors),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hardware_models.linear.fit_sparse_devices", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("devices", nargs="*", help="names of SPARSE_DEVICES; default: all")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds published_tables and data sets")
    parser.add_argument("--write", action="store_true", help="write the device files")
    parser.add_argument("--rows", action="store_true", help="print every row with its predictions")
    options = parser.parse_args(arguments)
    for name in options.devices or SPARSE_DEVICES:
        fitted = fit_sparse_device(name, options.data)
        print(name, fitted.errors, flush=True)
        if options.rows:
            columns = (fitted.measured, fitted.predicted, fitted.without_network, fitted.without_family)
            for network, *row in zip(fitted.names, *columns, strict=True):
                print("  ", network, *(f"{x:.4g}" for x in row))
        if options.write:
            shipped_file(DEVICE_FOLDER, name).write_text(sparse_device_toml(name, fitted), encoding="utf-8")


if __name__ == "__main__":
    main()
