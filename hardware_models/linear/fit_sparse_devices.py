"""Fit devices of which few latencies are published, and state the error on networks and families left out.

    python -m hardware_models.linear.fit_sparse_devices pixel1_cpu pixel4_dsp --data ../shared/data --write

Without names, all of ``PLANS``. A plan says where the prior of a device comes from: a class of processors, or a device
that is like it. Held out is each network alone, and each family of networks together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_models.linear.device_priors import PLANS, PRIORS, Plan
from hardware_models.linear.fit import Operations
from hardware_models.linear.fit_published_devices import DEVICES
from hardware_models.linear.model import rates_text
from hardware_models.linear.prior import Prior, Sample, coverage, fit_rates, held_out, predict, sample, scaled, to_rates
from hardware_models.measured.datasets import READERS, Measured
from hardware_models.measured.prediction_error import interval_factor, scores
from hardware_models.measured.published_latencies import Row, published_rows
from search_spaces.registry import import_object, named_row

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]

TABLE = "published_tables/published_latency.csv"
_PARTS = "parts of networks"


@dataclass(frozen=True, eq=False)
class Fitted:
    """A device's unknowns, and its rows with predictions in ms: in the fit, without the network, without its family.

    ``names`` and ``measured`` are networks; single operations where the device has no networks.
    """

    prior: Prior
    unknowns: dict[str, float]
    samples: tuple[Sample, ...]
    names: tuple[str, ...]
    measured: Floats
    predicted: Floats
    without_network: Floats
    without_family: Floats

    @property
    def errors(self) -> dict[str, float]:
        """The ``[latency.error]`` of a device file; its plain names are those of networks left out alone."""
        alone, family = (scores(p, self.measured) for p in (self.without_network, self.without_family))
        found = {**alone, "in_sample_mape_percent": scores(self.predicted, self.measured)["mape_percent"]}
        found["family_mape_percent"] = family["mape_percent"]
        if "spearman" in family:
            found["family_spearman"] = family["spearman"]
        if len(self.measured) > 3:
            found["interval_coverage"] = round(coverage(self.without_network, self.measured), 4)
        return found


@lru_cache(maxsize=64)
def _networks(table: Path, device: str) -> tuple[Row, ...]:
    return tuple(published_rows(table, device))


def _part_samples(plan: Plan, folder: Path, counter: Operations) -> list[Sample]:
    found = []
    for reader, column in (plan.parts or {}).items():
        read: Callable[[Path, int], list[Measured]] = import_object(READERS[reader])
        rows = read(folder, plan.most)
        found += [Sample(counter.of(r.graph), r.values[column], r.name, plan.scatter, part=True) for r in rows]
    return found


@lru_cache(maxsize=64)
def fit_device(name: str, folder: Path) -> Fitted:
    """Fit a device of ``PLANS`` to what ``folder`` holds. Raises ``HardwareError`` and ``UnknownName``."""
    import numpy

    plan: Plan = named_row("device", name, PLANS)
    prior = PRIORS[plan.prior]
    if plan.like:
        prior = scaled(prior, fit_device(plan.like, folder).unknowns, plan.spread)
    counter = Operations()
    rows = _networks(folder / TABLE, name)
    parts = _part_samples(plan, folder, counter)
    networks = [sample(counter, row.graph, row.latency_ms, row.network) for row in rows]
    samples = [*networks, *parts]
    unknowns = {key: float(f"{value:.5g}") for key, value in fit_rates(samples, prior).items()}
    judged = networks or parts
    measured = numpy.array([s.latency_ms for s in judged])
    # Parts stay in every fit but, in five folds, where nothing else is judged
    ring = [f"{_PARTS} {i % 5}" for i in range(len(parts))]
    if networks:
        alone = _left_out(samples, prior, [s.group for s in networks])
        families = [row.family for row in rows]
        family = _left_out(samples, prior, families) if len(set(families)) > 1 else alone
    else:
        alone = family = held_out(samples, prior, ring)
    names = tuple(s.group for s in judged)
    return Fitted(prior, unknowns, tuple(samples), names, measured, predict(judged, prior, unknowns), alone, family)


def _left_out(samples: Sequence[Sample], prior: Prior, groups: Sequence[str]) -> Floats:
    """Predictions of the first samples, which have groups, by fits without their group; parts are in all of them."""
    import numpy

    count = len(groups)
    predicted = numpy.zeros(count)
    for group in dict.fromkeys(groups):
        inside = [i for i, g in enumerate(groups) if g == group]
        outside = [s for i, s in enumerate(samples) if i >= count or groups[i] != group]
        predicted[inside] = predict([samples[i] for i in inside], prior, fit_rates(outside, prior))
    return predicted


def toml_text(name: str, fitted: Fitted) -> str:
    """The device file."""
    plan = PLANS[name]
    factor = interval_factor(fitted.without_network, fitted.measured)
    rates = to_rates(fitted.unknowns, fitted.samples, fitted.prior, factor)
    prior = f"the rates of {plan.like}" if plan.like else f"the prior of a {plan.prior}"
    lines = [
        f"# {plan.about}",
        f"# Written by hardware_models/linear/fit_sparse_devices.py from {len(fitted.names)} rows and {prior}.",
        "# Errors are those of networks left out one at a time; family_ is with all networks of the family left out.",
        'kind = "few_rows"',
        "version = 1",
        f'number_format = "{plan.precision}"',
        f'about = "{plan.about}"',
        f'source = "{plan.source}"',
        'measured = "normal form"',
        "batch = 1",
        f'runtime = "{plan.runtime}"',
        *rates_text("latency", rates, fitted.errors),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hardware_models.linear.fit_sparse_devices", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("devices", nargs="*", help="names of PLANS; default: all")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds published_tables and data sets")
    parser.add_argument("--write", action="store_true", help="write the device files")
    parser.add_argument("--rows", action="store_true", help="print every row with its predictions")
    given = parser.parse_args(arguments)
    for name in given.devices or PLANS:
        fitted = fit_device(name, given.data)
        print(name, fitted.errors, flush=True)
        if given.rows:
            columns = (fitted.measured, fitted.predicted, fitted.without_network, fitted.without_family)
            for network, *row in zip(fitted.names, *columns, strict=True):
                print("  ", network, *(f"{x:.4g}" for x in row))
        if given.write:
            (DEVICES / f"{name}.toml").write_text(toml_text(name, fitted), encoding="utf-8")


if __name__ == "__main__":
    main()
