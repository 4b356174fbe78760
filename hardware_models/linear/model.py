"""Latency and energy learned from measurements: a sum over operations, each priced by its kind and its counts.

    cost = base + sum over operations of (1 + c) * (a . counts)

``counts`` are those of ``features.FEATURE_NAMES``, ``a >= 0`` a rate for each of them and each kind of operation, and
``c`` a correction of one exact operation that the measurements held (0 for others). Both are found by
``fit.fit_linear``. What runs one after the other adds up: so it is on processors at batch 1, on accelerators
without overlap between layers, and on GPUs that launch kernels from one stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import exp, inf, log, log2
from statistics import median

from hardware_models.cost import Cost, GraphCostDetails, NodeCost
from hardware_models.device_file.number_format import BYTES_PER_ELEMENT, DEFAULT_NUMBER_FORMAT, read_number_format
from hardware_models.device_file.operation_kinds import operation_kinds
from hardware_models.device_file.toml_table import HardwareError, TomlTable
from hardware_models.device_file.writer import toml_number
from hardware_models.fragment_sum import FIXED_POINT_SCALE, FragmentCost, FragmentCosts, sum_fragment_costs
from hardware_models.linear.features import FEATURE_NAMES, OperationFeatures, operation_features
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph

FIGURE_METRICS = {"latency": "latency_ms", "energy": "energy_mj"}
CONVOLUTION_KINDS = ("conv:regular", "conv:pointwise", "conv:depthwise", "conv:grouped")
_DENSE_KINDS = ("conv:pointwise", "conv:regular", "linear", "matmul")  # sums over all channels
_MAX_INTERVAL_FACTOR = 100.0


@dataclass(frozen=True)
class Rates:
    """How one figure, latency in ms or energy in mJ, adds up.

    ``kinds``: a rate for each of ``FEATURE_NAMES`` by kind of operation. ``corrections``: by an operation's text, the
    share by which it costs more than its kind says. ``constant``: kinds that every measured network had equally many
    operations of, with their number; their rates are a guess. ``factor``: the ratio between a prediction and either end
    of its interval, which holds a share ``coverage`` of measured networks. ``largest_gmacs``: of any measured network.
    """

    base: float
    kinds: Mapping[str, tuple[float, ...]]
    corrections: Mapping[str, float] = field(default_factory=dict)
    factor: float | None = None
    coverage: float | None = None
    largest_gmacs: float = inf
    constant: Mapping[str, int] = field(default_factory=dict)

    def of(self, kind: str) -> tuple[float, ...]:
        """The rates of a kind; those of its like where it was not measured."""
        return self.kinds.get(kind) or fallback_rates(kind, self.kinds)

    def interval_factor(self, gmacs: float, guessed: int) -> float | None:
        """The interval of a network: wider by a half for each kind that is guessed, and beyond what was measured."""
        return None if self.factor is None else widen_interval(self.factor, gmacs / self.largest_gmacs, guessed)

    def price(self, operation: OperationFeatures) -> float:
        """The cost of one operation."""
        rates = self.of(operation.kind)
        price = sum([rate * count for rate, count in zip(rates, operation.counts, strict=True)])
        return price * (1 + self.corrections.get(operation.text, 0.0))


def widen_interval(factor: float, size: float, guessed: int) -> float:
    """The factor of an interval, to a power: a half more for each guessed kind, one more for each doubling in size.

    ``size``: multiply-adds of the network by those of the largest that was measured.
    """
    power = 1 + 0.5 * guessed + (log2(size) if size > 1 else 0.0)
    return max(factor, min(exp(min(power * log(factor), 700.0)), _MAX_INTERVAL_FACTOR))


def fallback_rates(kind: str, kinds: Mapping[str, tuple[float, ...]]) -> tuple[float, ...]:
    """Rates of a kind that was not measured, from those of its like: the dearest of each rate.

    Dense operations (regular and 1x1 convolutions, linear layers, matrix products) are alike, as are all convolutions,
    and kinds of the same operation. Where none of these costs anything: the median of each rate among light kinds that
    have it, and at last the dearest of all.
    """
    other_rates = {k: rates for k, rates in kinds.items() if k != kind and any(rates)}
    family = kind.partition(":")[0]
    similar_rates = [r for k, r in other_rates.items() if kind.startswith(_DENSE_KINDS) and k.startswith(_DENSE_KINDS)]
    if not similar_rates:
        similar_rates = [r for k, r in other_rates.items() if k.partition(":")[0] == family]
    if not similar_rates and family not in ("conv", "linear", "matmul"):
        light_rates = [r for k, r in other_rates.items() if not k.startswith((*_DENSE_KINDS, "conv"))]
        if light_rates:
            return tuple(
                median([rate for rate in column if rate] or [0.0]) for column in zip(*light_rates, strict=True)
            )
    similar_rates = similar_rates or list(other_rates.values()) or [(0.0,) * len(FEATURE_NAMES)]
    return tuple(max(column) for column in zip(*similar_rates, strict=True))


def read_rates(table: TomlTable) -> Rates:
    """The table ``[latency]`` or ``[energy]`` of a device file. Raises ``HardwareError``."""
    kinds, corrections = table.table("kinds"), table.optional_table("corrections")
    error, constant = table.optional_table("error"), table.optional_table("constant")
    check_operation_kinds(table, kinds.names())
    if not kinds.names():
        raise table.invalid_value("kinds", "a table of one kind of operation at least")
    rates = Rates(
        base=table.number("base", minimum=0),
        kinds={kind: _read_kind_rates(kinds, kind) for kind in kinds.names()},
        corrections={} if corrections is None else {t: corrections.number(t, minimum=-1) for t in corrections.names()},
        factor=None if error is None else error.number("factor", minimum=1),
        coverage=None if error is None else error.number("coverage", maximum=0.999),
        largest_gmacs=table.number("largest_gmacs", default=inf),
        constant={} if constant is None else {kind: constant.integer(kind, minimum=0) for kind in constant.names()},
    )
    check_operation_kinds(table, rates.constant)
    if error is not None:
        for name in error.names():  # for the reader of the file
            error.number(name, minimum=-1)
    table.finish()
    return rates


def check_operation_kinds(table: TomlTable, kinds: Iterable[str]) -> None:
    """Raise ``HardwareError`` for a kind that no operation has."""
    operation_kinds_with_convolutions = (operation_kinds() - {"conv", "conv:3d"}) | set(CONVOLUTION_KINDS)
    for kind in kinds:
        if kind.removesuffix(":3d") not in operation_kinds_with_convolutions:
            close = get_close_matches(kind, operation_kinds_with_convolutions, n=1)
            hint = (
                f"did you mean {close[0]!r}?"
                if close
                else f"known: {', '.join(sorted(operation_kinds_with_convolutions))}"
            )
            raise HardwareError(f"{table.where}: no kind of operation {kind!r}; {hint}")


def _read_kind_rates(table: TomlTable, key: str) -> tuple[float, ...]:
    values = table.numbers(key, len(FEATURE_NAMES))
    if min(values) < 0:
        raise table.invalid_value(key, f"{len(FEATURE_NAMES)} numbers of at least 0")
    return values


def linear_model(table: TomlTable, name: str) -> LinearModel:
    """The model of a device file of kind ``learned``. Raises ``HardwareError``."""
    table.text("kind")
    version, executed_graph = table.integer("version"), read_executed_graph(table)
    rates = {"latency": read_rates(table.table("latency"))}
    energy = table.optional_table("energy")
    if energy is not None:
        rates["energy"] = read_rates(energy)
    number_format = read_number_format(table)
    unsupported_table = table.optional_table("unsupported")
    unsupported = (
        {} if unsupported_table is None else {kind: unsupported_table.text(kind) for kind in unsupported_table.names()}
    )
    check_operation_kinds(table, unsupported)
    table.skip_descriptive_keys()
    table.finish()
    return LinearModel(
        name, version, rates, executed_graph=executed_graph, number_format=number_format, unsupported=unsupported
    )


def read_executed_graph(table: TomlTable) -> str:
    """What was measured: networks in ``normal form``, or ``as written``, dead branches and all."""
    executed_graph = table.text("measured") if "measured" in table.names() else "normal form"
    if executed_graph not in ("normal form", "as written"):
        raise table.invalid_value("measured", "'normal form' or 'as written'")
    return executed_graph


class LinearModel:
    """Prices graphs by rates that were learned from one device. Remembers what each fragment costs.

    ``unsupported``: kinds of operations that the device cannot run, each with the reason.
    """

    def __init__(
        self,
        name: str,
        version: int,
        rates: Mapping[str, Rates],
        *,
        executed_graph: str = "normal form",
        number_format: str = DEFAULT_NUMBER_FORMAT,
        unsupported: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.rates = dict(rates)
        self.executed_graph = executed_graph
        self.number_format = number_format
        self.unsupported = dict(unsupported or {})
        self._fragment_costs = FragmentCosts(self._fragment_cost)

    def __repr__(self) -> str:
        return f"<LearnedModel {self.name}@{self.version}>"

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference, at the batch that was measured."""
        rates, energy = self.rates["latency"], self.rates.get("energy")
        total = sum_fragment_costs(self._fragment_costs.of(graph))
        energy_mj = (
            None if energy is None else (round(energy.base * FIXED_POINT_SCALE) + total.energy) / FIXED_POINT_SCALE
        )
        return cost_from_sum(
            rates,
            f"predicted:{self.name}@{self.version}",
            total._replace(latency=round(rates.base * FIXED_POINT_SCALE) + total.latency),
            graph.macs / 1e9,
            energy_mj=energy_mj,
            weights_kib=graph.params * BYTES_PER_ELEMENT[self.number_format] / 1024,
            details=GraphCostDetails(self, graph, BYTES_PER_ELEMENT[self.number_format]),
        )

    def _fragment_cost(self, fragment: Fragment, producers: tuple[str, ...]) -> FragmentCost:
        rates, energy = self.rates["latency"], self.rates.get("energy")
        latency_total = energy_total = 0
        kinds = []
        for node, figures in zip(fragment.nodes, fragment.node_counts(), strict=True):
            operation = operation_features(node, figures, fragment.operand_shapes(node))
            if operation is None:
                continue
            latency_total += round(rates.price(operation) * FIXED_POINT_SCALE)
            energy_total += round(energy.price(operation) * FIXED_POINT_SCALE) if energy else 0
            kinds.append(operation.kind)
        return FragmentCost(
            latency_total,
            energy_total,
            guessed=tuple(sorted({k for k in kinds if any(k not in r.kinds for r in self.rates.values())})),
            unsupported=tuple(sorted(self.unsupported.keys() & set(kinds))),
            constant=tuple([k for k in kinds if k in rates.constant]),
        )

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, then what every inference costs."""
        nodes, latency = graph.nodes, self.rates["latency"]
        rows = []
        for index, (node, figures) in enumerate(zip(nodes, graph.node_counts(), strict=True)):
            operation = operation_features(node, figures, tuple(nodes[i].shape for i in node.inputs))
            if operation is None:
                rows.append(NodeCost(index, node.op, node.shape, figures.macs, 0.0, "fused"))
                continue
            ms = round(latency.price(operation) * FIXED_POINT_SCALE) / FIXED_POINT_SCALE
            rows.append(NodeCost(index, node.op, node.shape, figures.macs, ms, _bound(latency, operation)))
        if latency.base:
            rows.append(
                NodeCost(None, "invoke", (), 0, round(latency.base * FIXED_POINT_SCALE) / FIXED_POINT_SCALE, "overhead")
            )
        return rows


def _bound(rates: Rates, operation: OperationFeatures) -> str:
    """Which of the counts the larger part of an operation's price is for."""
    shares = [r * c for r, c in zip(rates.of(operation.kind), operation.counts, strict=True)]
    names = ("overhead", "compute", "memory", "memory")
    return names[shares.index(max(shares))] if any(shares) else "fused"


def cost_from_sum(
    rates: Rates,
    source: str,
    total: FragmentCost,
    gmacs: float,
    *,
    energy_mj: float | None,
    weights_kib: float,
    details: GraphCostDetails,
) -> Cost:
    """The cost of what was summed, with the interval that the rates state.

    More operations of a kind in ``total.constant`` than every measured network had are a guess too.
    """
    latency_ms = total.latency / FIXED_POINT_SCALE
    more_than_measured = {kind for kind, count in rates.constant.items() if total.constant.count(kind) > count}
    guessed_kinds = more_than_measured.union(total.guessed)
    factor = rates.interval_factor(gmacs, len(guessed_kinds))
    return Cost(
        latency_ms,
        source,
        None if factor is None else latency_ms / factor,
        None if factor is None else latency_ms * factor,
        rates.coverage,
        energy_mj,
        weights_kib,
        tuple(sorted(guessed_kinds)),
        (),
        details,
        tuple(sorted(set(total.unsupported))),
    )


def rates_toml(figure: str, rates: Rates, errors: Mapping[str, float]) -> list[str]:
    """The tables ``[latency]`` or ``[energy]`` of a device file, as lines."""
    unit = "ms" if figure == "latency" else "mJ"
    lines = ["", f"[{figure}]", f"base = {toml_number(rates.base)}  # {unit} an inference"]
    if rates.largest_gmacs < inf:
        lines += [f"largest_gmacs = {toml_number(rates.largest_gmacs)}  # of any network that was measured"]
    lines += [""]
    if rates.factor is not None:
        lines += [f"[{figure}.error]", f"factor = {toml_number(rates.factor)}", f"coverage = {rates.coverage}"]
        lines += [f"{name} = {value:g}" for name, value in errors.items()]
    lines += [
        "",
        f"# {unit} for each operation, thousand million multiply-adds, million elements moved, million weights",
    ]
    lines += [f"[{figure}.kinds]"]
    lines += [f'"{kind}" = [{", ".join(map(toml_number, values))}]' for kind, values in rates.kinds.items()]
    if rates.constant:
        lines += ["", "# Operations that each measured network had as many of: their rates are a guess"]
        lines += [f"[{figure}.constant]", *(f'"{kind}" = {count}' for kind, count in rates.constant.items())]
    if rates.corrections:
        lines += ["", "# How much more than its kind says one operation costs, as a share", f"[{figure}.corrections]"]
        lines += [f'"{text}" = {value:.3f}' for text, value in rates.corrections.items()]
    return lines
