"""From measured networks to a device file, and from a device and measured networks to how good it is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hardware_models.cost import HardwareModel
from hardware_models.device_file.number_format import DEFAULT, checked_number_format
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.device_file.writer import Calibrated, Stated
from hardware_models.linear.model import LearnedModel, rates_text
from hardware_models.measured.latency_csv import READINGS, Entry, distinct, graph_of, read_as, readings
from hardware_models.measured.prediction_error import scores
from hardware_models.transfer.fit import (
    LEAST_FOR_RATES,
    informative,
    known_devices,
    make_pool,
    own_rates,
    prior_rates,
    transfer,
)
from hardware_models.transfer.model import transferred_text
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]


LEAST = 4


POOL = 200
"""Random networks of each measured space that latencies are standardised over."""


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
