"""From measured networks to a device file, and from a device and measured networks to how good it is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from hardware_models.calibration import (
    LEAST_FOR_RATES,
    informative,
    known_devices,
    make_pool,
    own_rates,
    prior_rates,
    transfer,
)
from hardware_models.cost import HardwareModel
from hardware_models.device_file import HardwareError
from hardware_models.learn import number, quoted, rates_text
from hardware_models.learned import LearnedModel
from hardware_models.learning import scores
from hardware_models.measured_csv import READINGS, Entry, graph_of, read_as, readings
from hardware_models.number_format import DEFAULT, KEY, checked_number_format
from hardware_models.transferred import Mixture
from search_spaces.catalog import load_network, networks
from search_spaces.graph import Graph
from search_spaces.space import Genotype, Space

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]

LEAST = 4
POOL = 200
"""Random networks of each measured space that latencies are standardised over."""


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A device file's text, how it was made, and its errors on networks left out one at a time or in folds."""

    text: str
    kind: str
    measured: str
    errors: dict[str, float]


@dataclass(frozen=True)
class Stated:
    """What a device file says of itself, whatever its kind."""

    about: str
    number_format: str
    reading: str

    def head(self, kind: str) -> list[str]:
        return [
            "# Made by nas hw calibrate; the errors are those on networks left out.",
            f'kind = "{kind}"',
            "version = 1",
            f'{KEY} = "{self.number_format}"',
            f"about = {quoted(self.about)}",
            f'measured = "{self.reading}"',
        ]


def background(entries: Sequence[Entry], reading: str, seed: int = 0) -> list[Graph]:
    """Networks like the measured ones: random ones of their spaces, or all published ones where they have none."""
    spaces = {id(e.space): e.space for e in entries if e.space is not None}
    if not spaces:
        return [load_network(name) for name in networks()]
    rng, graphs = random.Random(seed), []
    for space in spaces.values():
        drawn = [space.sample(rng) for _ in range(POOL)]
        graphs += [read_as(space, g, space.graph(g), reading) for g in drawn]
    return graphs


def distinct(entries: Sequence[Entry]) -> list[Entry]:
    """Every network once, with the median of its latencies: what is held out must not be in the fit."""
    latencies: dict[str, list[float]] = {}
    for entry in entries:
        latencies.setdefault(entry.name, []).append(entry.latency_ms)
    first = {e.name: e for e in reversed(entries)}
    return [replace(first[name], latency_ms=median(values)) for name, values in latencies.items()]


def calibrate(
    entries: Sequence[Entry], name: str, *, about: str = "", number_format: str = DEFAULT, seed: int = 0
) -> Calibrated:
    """The device file for measured networks: of the ways there are, the one with the least held-out error.

    Transfer from the known devices, or rates from the prior of a class of processors; from 25 networks on also rates of
    the device's own. Networks of spaces whose
    published measurements ran dead branches are read both ways. ``number_format``: that in which they were measured.
    Raises ``HardwareError``.
    """
    import numpy

    checked_number_format(number_format)
    entries = distinct(entries)
    if len(entries) < LEAST:
        raise HardwareError(
            f"a calibration needs {LEAST} different measured networks at least, not {len(entries)}; ten do well"
        )
    measured = numpy.array([e.latency_ms for e in entries])
    if measured.max() == measured.min():
        raise HardwareError("all networks took equally long: measure smaller and larger ones")
    best: tuple[float, Calibrated] | None = None
    known = known_devices()
    for reading in readings(entries):
        graphs = [graph_of(e, reading) for e in entries]
        others = background(entries, reading, seed)
        stated = Stated(about or f"{name}, calibrated", number_format, reading)
        for candidate in _candidates(graphs, others, measured, known, stated):
            if best is None or candidate[0] < best[0]:
                best = candidate
    assert best is not None
    return best[1]


def _candidates(
    graphs: list[Graph],
    others: list[Graph],
    measured: Floats,
    known: Sequence[LearnedModel],
    stated: Stated,
) -> list[tuple[float, Calibrated]]:
    import numpy

    found = []
    pool = make_pool([*graphs, *others], known)
    moved = transfer(pool, range(len(graphs)), measured)
    errors = scores(moved.held_out, measured)
    text = transferred_text(moved.mixture, pool.signals.models, errors, stated)
    found.append((_miss(moved.held_out, measured), Calibrated(text, "transferred", stated.reading, errors)))
    for kind, rates_of in (("few_rows", prior_rates), ("learned", own_rates)):
        if kind == "learned" and len(graphs) < LEAST_FOR_RATES:
            continue
        rates, held_out = rates_of(graphs, measured)
        errors = scores(numpy.maximum(held_out, 1e-9), measured)
        text = "\n".join([*stated.head(kind), *rates_text("latency", rates, errors)]) + "\n"
        found.append((_miss(held_out, measured), Calibrated(text, kind, stated.reading, errors)))
    return found


def _miss(predicted: Floats, measured: Floats) -> float:
    import numpy

    return float(numpy.sqrt((numpy.log(numpy.maximum(predicted, 1e-9) / measured) ** 2).mean()))


def transferred_text(
    mixture: Mixture,
    models: Sequence[HardwareModel],
    errors: dict[str, float],
    stated: Stated,
) -> str:
    """The device file of a mixture."""
    lines = [*stated.head("transferred"), "", "# The devices it rests on, with their versions"]
    lines += ["[devices]", *(f'"{m.name}" = {getattr(m, "version", 1)}' for m in models)]
    lines += ["", "[latency]", f"intercept = [{mixture.intercept:.8g}]"]
    lines += [f"largest_gmacs = {number(mixture.largest_gmacs)}", "", "[latency.error]"]
    lines += [f"factor = {number(mixture.factor or 1)}", f"coverage = {mixture.coverage}"]
    lines += [f"{key} = {value:g}" for key, value in errors.items()]
    lines += ["", "# Powers of the latencies on those devices", "[latency.devices]"]
    lines += [f'"{device}" = [{weight:.8g}]' for device, weight in mixture.devices.items()]
    for title, place in (("counts", 0), ("scales", 1)):
        lines += ["", f"[latency.{title}]"]
        for kind, pairs in mixture.counts.items():
            lines.append(f'"{kind}" = [{", ".join(f"{pair[place]:.8g}" for pair in pairs)}]')
    return "\n".join(lines) + "\n"


def suggest(space: Space, count: int, *, seed: int = 0) -> list[Genotype]:
    """Which networks of a space to measure: the most informative of 400 random ones, the first the most."""
    rng = random.Random(seed)
    drawn = list(dict.fromkeys(space.sample(rng) for _ in range(2 * POOL)))
    pool = make_pool([space.graph(genotype) for genotype in drawn], known_devices())
    return [drawn[i] for i in informative(pool, count)]


def check(model: HardwareModel, entries: Sequence[Entry]) -> dict[str, float]:
    """How good a model is on measured networks: rank correlations, errors, and how many its intervals hold.

    Raises ``HardwareError``.
    """
    import numpy

    reading = getattr(model, "reading", READINGS[0])
    costs = [model.estimate(graph_of(e, reading)) for e in entries]
    measured = numpy.array([e.latency_ms for e in entries])
    found = scores(numpy.array([c.latency_ms for c in costs]), measured)
    if all(c.latency_low_ms is not None for c in costs):
        held = [c.latency_low_ms <= m <= c.latency_high_ms for c, m in zip(costs, measured, strict=True)]
        found["interval_coverage"] = round(float(sum(held)) / len(held), 4)
        found["stated_coverage"] = costs[0].coverage or 0.0
    return found
