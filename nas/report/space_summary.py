"""A search space at a glance: its choices by stage, and how far its networks' figures reach."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from statistics import median
from typing import Any

from hardware_models.cost import HardwareModel
from search_spaces.catalog import network_space
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.published.networks import networks
from search_spaces.registry import unknown
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from search_spaces.space.space import Space

WHOLE = "network"  # the stage of choices whose names tell no stage
_FIGURES = ("macs", "params", "peak_activation_bytes")
_STAGED = re.compile(r"([A-Za-z]+_?\d+)_(.+)")  # stage2_width


@dataclass(frozen=True)
class Row:
    """Choices of one stage that offer the same options and whose names differ in numbers alone."""

    names: tuple[str, ...]
    label: str
    options: tuple[Any, ...]


@dataclass(frozen=True)
class Stage:
    """The choices of one part of the network, in the order in which they are first made."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Range:
    """How far a metric reaches: over random networks, and over all that were looked at, mutated ones included."""

    low: float
    median: float
    high: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Ranges:
    """The ``Range`` of every metric over ``samples`` random networks and ``mutations`` mutated ones.

    ``complete`` says that the space is so small that the samples are all of its networks. ``made`` is the share of
    the samples in which each choice is made. ``partly_priced`` counts those that the hardware model priced in part by
    a guess or by its host.
    """

    metrics: Mapping[str, Range]
    samples: int
    mutations: int
    complete: bool
    made: Mapping[str, float]
    partly_priced: int


@dataclass(frozen=True)
class Reference:
    """A published network of the space: its figures, the options that it has otherwise, and why it has no figures."""

    name: str
    figures: Mapping[str, float]
    otherwise: Mapping[str, Any]
    reason: str = ""


# -- stages ------------------------------------------------------------------------------------------------------------


def stages(decisions: Mapping[str, tuple[Any, ...]]) -> tuple[Stage, ...]:
    """The choices by where they belong, as their names tell: ``stage2.layer0.kernel`` and ``stage2_width`` to stage2.

    Every choice is in exactly one row.
    """
    grouped: dict[str, dict[tuple[str, tuple[Any, ...]], list[str]]] = {}
    for name, options in decisions.items():
        stage, rest = _split(name)
        kinds = tuple((type(option).__name__, option) for option in options)  # 1, 1.0 and true are equal
        grouped.setdefault(stage, {}).setdefault((re.sub(r"\d+", "#", rest), kinds), []).append(name)
    return tuple(
        Stage(
            stage,
            tuple(
                Row(tuple(names), _label([_split(n)[1] for n in names]), decisions[names[0]]) for names in rows.values()
            ),
        )
        for stage, rows in grouped.items()
    )


def _split(name: str) -> tuple[str, str]:
    stage, dot, rest = name.partition(".")
    if dot and stage and rest:
        return stage, rest
    written = _STAGED.fullmatch(name)
    return (written[1], written[2]) if written else (WHOLE, name)


def _label(names: list[str]) -> str:
    """One name for several that differ in numbers: ``layer0..3.kernel``; first and last where two numbers differ."""
    if len(names) == 1:
        return names[0]
    numbers = [re.findall(r"\d+", name) for name in names]
    moving = [k for k, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) > 1]
    if len(moving) != 1:
        return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]}, ... {names[-1]}"
    parts = re.split(r"\d+", names[0])
    written = list(numbers[0])
    written[moving[0]] = _runs([int(row[moving[0]]) for row in numbers])
    return "".join(part + number for part, number in zip(parts, [*written, ""], strict=True))


def _runs(numbers: Iterable[int]) -> str:
    """Whole numbers as runs: ``0..3,5``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}..{b}" for a, b in runs)


# -- ranges ------------------------------------------------------------------------------------------------------------


class _Looker:
    """Figures of a space's networks, and which were the lowest and the highest."""

    def __init__(self, space: Space, model: HardwareModel | None) -> None:
        self.space = space
        self.model = model
        self.partly_priced = 0
        self.ends: dict[tuple[str, int], tuple[float, Genotype]] = {}

    def look(self, genotype: Genotype) -> dict[str, float]:
        found, partly = network_figures(self.space.graph(genotype), self.model)
        self.partly_priced += partly
        for metric, value in found.items():
            for sign in (1, -1):
                known = self.ends.get((metric, sign))
                if known is None or sign * value < known[0]:
                    self.ends[metric, sign] = sign * value, genotype
        return found

    def walk(self, metric: str, sign: int, steps: int, rng: random.Random) -> None:
        """Mutations from the best network so far; one that is no worse is gone on from."""
        best, here = self.ends[metric, sign]
        for _ in range(steps):
            child = self.space.mutate(here, rng)
            value = sign * self.look(child)[metric]
            if value <= best:
                best, here = value, child


def network_figures(graph: Graph, model: HardwareModel | None) -> tuple[dict[str, float], bool]:
    """MACs, parameters, peak activation bytes and latency of a network; and whether the price is in part a guess."""
    found: dict[str, float] = {name: getattr(graph, name) for name in _FIGURES}
    if model is None:
        return found, False
    cost = model.estimate(graph)
    return {**found, "latency_ms": cost.latency_ms}, bool(cost.guessed_ops or cost.fallback_ops)


def ranges(
    space: Space, model: HardwareModel | None = None, *, samples: int = 200, seed: int = 0, steps: int | None = None
) -> Ranges:
    """How far MACs, parameters, peak activations (float32) and, with a model, latency reach in a space.

    ``samples`` random networks, each choice uniform over its options, then for each end of each metric a walk of
    ``steps`` mutations (default: as many as samples) that goes on from what is no worse. Its ends are networks of the
    space, not proven extremes. A space of at most ``samples`` networks is listed whole, without a walk.
    Raises ``ValueError`` for fewer than one sample, and what the space and the model raise.
    """
    if samples < 1:
        raise ValueError(f"ranges need at least 1 sample, not {samples}")
    rng = random.Random(seed)
    looker = _Looker(space, model)
    complete = space.size() <= samples
    drawn = list(islice(space.enumerate(), samples)) if complete else [space.sample(rng) for _ in range(samples)]
    found = [looker.look(genotype) for genotype in drawn]
    partly = looker.partly_priced
    steps = 0 if complete else samples if steps is None else steps
    for metric in found[0]:
        for sign in (1, -1):
            looker.walk(metric, sign, steps, rng)
    metrics = {}
    for metric in found[0]:
        values = [figures[metric] for figures in found]
        lowest, highest = looker.ends[metric, 1][0], -looker.ends[metric, -1][0]
        metrics[metric] = Range(min(values), median(values), max(values), lowest, highest)
    made = {name: sum(name in genotype for genotype in drawn) / len(drawn) for name in space.decisions()}
    return Ranges(metrics, len(drawn), steps * 2 * len(metrics), complete, made, partly)


def references(space: Space, model: HardwareModel | None = None) -> tuple[Reference, ...]:
    """The published networks of a space of the catalog, each with its own options.

    ``otherwise`` holds the options that differ from the space's: figures of such a network are not those of a member.
    """
    found = []
    for name, row in networks().items():
        if row.space != space.name:
            continue
        own, architecture = network_space(name)
        if own.function is not space.function:
            continue
        options = {*own.options, *space.options}
        otherwise = {n: own.option(n) for n in sorted(options) if own.option(n) != space.option(n)}
        try:
            graph = own.graph(own.parse(architecture))
            found.append(Reference(name, network_figures(graph, model)[0], otherwise))
        except (GenotypeError, GraphError, SpaceError) as error:
            found.append(Reference(name, {}, otherwise, str(error)))
    return tuple(found)


def chosen_network(space: Space, network: str, seed: int = 0) -> tuple[str, Graph]:
    """A title and a graph: of a published network, of an architecture of the space, or, of no text, of a random one.

    Raises ``UnknownName`` or ``GenotypeError`` for what is neither, and ``SpaceError`` for a network that cannot be.
    """
    if network in networks():
        own, architecture = network_space(network)
        return network, own.graph(own.parse(architecture))
    if network:
        try:
            return space.name, space.graph(space.parse(network))
        except GenotypeError:
            if get_close_matches(network.lower(), networks()):
                raise unknown("published network", network, list(networks())) from None
            raise
    return f"{space.name}, a random network (seed {seed})", space.graph(space.sample(random.Random(seed)))
