"""A search space at a glance: its choices by stage, and the ranges of its networks' metrics."""

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
from search_spaces.registry import unknown_name
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from search_spaces.space.space import Space

NETWORK_STAGE = "network"  # the stage of choices whose names tell no stage
_GRAPH_METRICS = ("macs", "params", "peak_activation_bytes")
_STAGE_NAME = re.compile(r"([A-Za-z]+_?\d+)_(.+)")  # stage2_width


@dataclass(frozen=True)
class ChoiceRow:
    """Choices of one stage that offer the same options and whose names differ in numbers alone."""

    names: tuple[str, ...]
    label: str
    options: tuple[Any, ...]


@dataclass(frozen=True)
class ChoiceStage:
    """The choices of one part of the network, in the order in which they are first made."""

    name: str
    rows: tuple[ChoiceRow, ...]


@dataclass(frozen=True)
class MetricRange:
    """How far a metric reaches: ``low`` to ``high`` in random networks, ``lowest`` to ``highest`` with mutated ones."""

    low: float
    median: float
    high: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class SpaceRanges:
    """The ``MetricRange`` of every metric over ``samples`` random networks and ``mutations`` mutated ones.

    ``complete`` says that the space is so small that the samples are all of its networks. ``active_fraction`` is the
    fraction of the samples in which each choice is made. ``partly_priced`` counts those that the hardware model priced
    in part by a guess or by its host.
    """

    metrics: Mapping[str, MetricRange]
    samples: int
    mutations: int
    complete: bool
    active_fraction: Mapping[str, float]
    partly_priced: int


@dataclass(frozen=True)
class PublishedMember:
    """A published network of the space: its figures, the options that it has otherwise, and why it has no figures."""

    name: str
    figures: Mapping[str, float]
    other_options: Mapping[str, Any]
    reason: str = ""


# -- stages ------------------------------------------------------------------------------------------------------------


def choice_stages(decisions: Mapping[str, tuple[Any, ...]]) -> tuple[ChoiceStage, ...]:
    """The choices by where they belong, as their names tell: ``stage2.layer0.kernel`` and ``stage2_width`` to stage2.

    Every choice is in exactly one row.
    """
    grouped: dict[str, dict[tuple[str, tuple[Any, ...]], list[str]]] = {}
    for name, options in decisions.items():
        stage, rest = _split_choice_name(name)
        kinds = tuple((type(option).__name__, option) for option in options)  # 1, 1.0 and true are equal
        grouped.setdefault(stage, {}).setdefault((re.sub(r"\d+", "#", rest), kinds), []).append(name)
    return tuple(
        ChoiceStage(
            stage,
            tuple(
                ChoiceRow(tuple(names), _row_label([_split_choice_name(n)[1] for n in names]), decisions[names[0]])
                for names in rows.values()
            ),
        )
        for stage, rows in grouped.items()
    )


def _split_choice_name(name: str) -> tuple[str, str]:
    stage, dot, rest = name.partition(".")
    if dot and stage and rest:
        return stage, rest
    match = _STAGE_NAME.fullmatch(name)
    return (match[1], match[2]) if match else (NETWORK_STAGE, name)


def _row_label(names: list[str]) -> str:
    """One name for several that differ in numbers: ``layer0..3.kernel``; first and last where two numbers differ."""
    if len(names) == 1:
        return names[0]
    numbers = [re.findall(r"\d+", name) for name in names]
    varying = [k for k, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) > 1]
    if len(varying) != 1:
        return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]}, ... {names[-1]}"
    parts = re.split(r"\d+", names[0])
    label_numbers = list(numbers[0])
    label_numbers[varying[0]] = _number_runs([int(row[varying[0]]) for row in numbers])
    return "".join(part + number for part, number in zip(parts, [*label_numbers, ""], strict=True))


def _number_runs(numbers: Iterable[int]) -> str:
    """Whole numbers as runs: ``0..3,5``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}..{b}" for a, b in runs)


# -- ranges ------------------------------------------------------------------------------------------------------------


class _RangeFinder:
    """Metrics of a space's networks, and which were the lowest (sign 1) and the highest (sign -1)."""

    def __init__(self, space: Space, model: HardwareModel | None) -> None:
        self.space = space
        self.model = model
        self.partly_priced = 0
        self.extremes: dict[tuple[str, int], tuple[float, Genotype]] = {}

    def measure(self, genotype: Genotype) -> dict[str, float]:
        """The metrics of a genotype's network, which count for the extremes from now on."""
        metrics, is_partly_priced = network_metrics(self.space.graph(genotype), self.model)
        self.partly_priced += is_partly_priced
        for metric, value in metrics.items():
            for sign in (1, -1):
                extreme = self.extremes.get((metric, sign))
                if extreme is None or sign * value < extreme[0]:
                    self.extremes[metric, sign] = sign * value, genotype
        return metrics

    def hill_climb(self, metric: str, sign: int, steps: int, rng: random.Random) -> None:
        """Mutate the best network so far ``steps`` times, going on from every child that is no worse."""
        best, current = self.extremes[metric, sign]
        for _ in range(steps):
            child = self.space.mutate(current, rng)
            value = sign * self.measure(child)[metric]
            if value <= best:
                best, current = value, child


def network_metrics(graph: Graph, model: HardwareModel | None) -> tuple[dict[str, float], bool]:
    """MACs, parameters, peak activation bytes and latency of a network; and whether the price is in part a guess."""
    metrics: dict[str, float] = {name: getattr(graph, name) for name in _GRAPH_METRICS}
    if model is None:
        return metrics, False
    cost = model.estimate(graph)
    return {**metrics, "latency_ms": cost.latency_ms}, bool(cost.guessed_ops or cost.fallback_ops)


def metric_ranges(
    space: Space, model: HardwareModel | None = None, *, samples: int = 200, seed: int = 0, steps: int | None = None
) -> SpaceRanges:
    """How far MACs, parameters, peak activations (float32) and, with a model, latency reach in a space.

    ``samples`` random networks, each choice uniform over its options, then for each end of each metric a hill climb of
    ``steps`` mutations (default: as many as samples). Its ends are networks of the space, not proven extremes. A space
    of at most ``samples`` networks is enumerated, without a climb.
    Raises ``ValueError`` for fewer than one sample, and what the space and the model raise.
    """
    if samples < 1:
        raise ValueError(f"ranges need at least 1 sample, not {samples}")
    rng = random.Random(seed)
    finder = _RangeFinder(space, model)
    complete = space.size() <= samples
    genotypes = list(islice(space.enumerate(), samples)) if complete else [space.sample(rng) for _ in range(samples)]
    sampled_metrics = [finder.measure(genotype) for genotype in genotypes]
    partly_priced = finder.partly_priced
    steps = 0 if complete else samples if steps is None else steps
    for metric in sampled_metrics[0]:
        for sign in (1, -1):
            finder.hill_climb(metric, sign, steps, rng)
    metrics = {}
    for metric in sampled_metrics[0]:
        values = [figures[metric] for figures in sampled_metrics]
        lowest, highest = finder.extremes[metric, 1][0], -finder.extremes[metric, -1][0]
        metrics[metric] = MetricRange(min(values), median(values), max(values), lowest, highest)
    active_fraction = {
        name: sum(name in genotype for genotype in genotypes) / len(genotypes) for name in space.decisions()
    }
    return SpaceRanges(metrics, len(genotypes), steps * 2 * len(metrics), complete, active_fraction, partly_priced)


def published_members(space: Space, model: HardwareModel | None = None) -> tuple[PublishedMember, ...]:
    """The published networks of a space of the catalog, each with its own options.

    ``other_options`` holds the options that differ from the space's: figures of such a network are not those of a
    member.
    """
    members = []
    for name, row in networks().items():
        if row.space != space.name:
            continue
        own, architecture = network_space(name)
        if own.function is not space.function:
            continue
        options = {*own.options, *space.options}
        other_options = {n: own.option(n) for n in sorted(options) if own.option(n) != space.option(n)}
        try:
            graph = own.graph(own.parse(architecture))
            members.append(PublishedMember(name, network_metrics(graph, model)[0], other_options))
        except (GenotypeError, GraphError, SpaceError) as error:
            members.append(PublishedMember(name, {}, other_options, str(error)))
    return tuple(members)


def select_network(space: Space, network: str, seed: int = 0) -> tuple[str, Graph]:
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
                raise unknown_name("published network", network, list(networks())) from None
            raise
    return f"{space.name}, a random network (seed {seed})", space.graph(space.sample(random.Random(seed)))
