"""Latency and energy learned from measurements: a sum over operations, each priced by its kind and its counts.

    cost = base + sum over operations of (1 + c) * (a . counts)

``counts`` are those of ``features.FEATURE_NAMES``, ``a >= 0`` a rate for each of them and each kind of operation, and
``c`` a correction of one exact operation that the measurements held (0 for others). Both are found by
``fit.fit_linear``. What runs one after the other adds up: so it is on processors at batch 1, on accelerators
without overlap between layers, and on GPUs that launch kernels from one stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import exp, inf, log, log2
from statistics import median
from typing import Any

from hardware_models.cost import Cost, GraphCostDetails, NodeCost
from hardware_models.device_file.codec import KnownDevice
from hardware_models.device_file.document import Commented, Document, Entries, rounded
from hardware_models.device_file.header import read_header
from hardware_models.device_file.number_format import (
    BYTES_PER_ELEMENT,
    DEFAULT_NUMBER_FORMAT,
    NUMBER_FORMAT_KEY,
    read_number_format,
)
from hardware_models.device_file.operation_kinds import operation_kinds
from hardware_models.device_file.stated_error import error_table, read_error
from hardware_models.device_file.toml_table import HardwareError, TomlTable
from hardware_models.fragment_sum import (
    FIXED_POINT_SCALE,
    FlaggedKinds,
    FragmentCost,
    FragmentCosts,
    NodePrice,
    fixed_point,
    node_costs,
    overhead_costs,
    price_fragment,
    sum_fragment_costs,
)
from hardware_models.linear.features import FEATURE_NAMES, OperationFeatures, operation_features
from search_spaces.graph.fragment import Fragment, Node, NodeCounts
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape

CONVOLUTION_KINDS = ("conv:regular", "conv:pointwise", "conv:depthwise", "conv:grouped")
FIGURE_UNITS = {"latency": "ms", "energy": "mJ"}
_COUNTS_IN_WORDS = (
    "operation",
    "thousand million multiply-adds",
    "million elements moved",
    "million weights",
)
_CORRECTION_DECIMALS = 3
_DENSE_KINDS = ("conv:pointwise", "conv:regular", "linear", "matmul")  # sums over all channels
_MAX_INTERVAL_FACTOR = 100.0


@dataclass(frozen=True)
class Rates:
    """How one figure, latency in ms or energy in mJ, adds up.

    ``kinds``: a rate for each of ``FEATURE_NAMES`` by kind of operation. ``corrections``: by an operation's text, the
    share by which it costs more than its kind says. ``constant``: kinds that every measured network had equally many
    operations of, with their number; their rates are a guess. ``factor``: the ratio between a prediction and either end
    of its interval, which holds a share ``coverage`` of measured networks. ``largest_gmacs``: of any measured network.
    ``errors``: how far predictions were off for networks left out, by metric, for the reader of the file.
    """

    base: float
    kinds: Mapping[str, tuple[float, ...]]
    corrections: Mapping[str, float] = field(default_factory=dict)
    factor: float | None = None
    coverage: float | None = None
    largest_gmacs: float = inf
    constant: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)

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


def rounded_rates(rates: Rates) -> Rates:
    """The rates in as many digits as device files keep: five, corrections three decimals."""
    return replace(
        rates,
        base=rounded(rates.base),
        kinds={kind: tuple([rounded(value) for value in values]) for kind, values in rates.kinds.items()},
        corrections={text: round(value, _CORRECTION_DECIMALS) for text, value in rates.corrections.items()},
        factor=None if rates.factor is None else rounded(rates.factor),
        largest_gmacs=rounded(rates.largest_gmacs),
    )


# -- the device file -------------------------------------------------------------------------------------------------


def from_table(table: TomlTable, name: str, known_device: KnownDevice) -> LinearModel:
    """The model of a device file of kind ``learned``. Raises ``HardwareError``."""
    return linear_model(table, name)


def to_table(model: LinearModel) -> Document:
    """What ``from_table`` reads."""
    return {
        "kind": model.kind,
        "version": model.version,
        NUMBER_FORMAT_KEY: model.number_format,
        "measured": model.executed_graph,
        **{figure: rates_table(figure, rates) for figure, rates in model.rates.items()},
        **({"unsupported": Entries(model.unsupported)} if model.unsupported else {}),
    }


def linear_model(table: TomlTable, name: str) -> LinearModel:
    """The model of a device file of kind ``learned`` or another that states rates of operations. ``HardwareError``."""
    table.text("kind")
    version, executed_graph = table.integer("version"), read_executed_graph(table)
    rates = {"latency": read_rates(table.table("latency"))}
    energy = table.optional_table("energy")
    if energy is not None:
        rates["energy"] = read_rates(energy)
    number_format, unsupported = read_number_format(table), read_unsupported(table)
    read_header(table)
    table.finish()
    return LinearModel(
        name, version, rates, executed_graph=executed_graph, number_format=number_format, unsupported=unsupported
    )


def read_rates(table: TomlTable) -> Rates:
    """The table ``[latency]`` or ``[energy]`` of a device file. Raises ``HardwareError``."""
    kinds, corrections = table.table("kinds"), table.optional_table("corrections")
    constant = table.optional_table("constant")
    check_operation_kinds(table, kinds.names())
    if not kinds.names():
        raise table.invalid_value("kinds", "a table of one kind of operation at least")
    error = read_error(table)
    rates = Rates(
        base=table.number("base", minimum=0),
        kinds={kind: _read_kind_rates(kinds, kind) for kind in kinds.names()},
        corrections={} if corrections is None else {t: corrections.number(t, minimum=-1) for t in corrections.names()},
        factor=error.factor,
        coverage=error.coverage,
        largest_gmacs=table.number("largest_gmacs", default=inf),
        constant={} if constant is None else {kind: constant.integer(kind, minimum=0) for kind in constant.names()},
        errors=error.metrics,
    )
    check_operation_kinds(table, rates.constant)
    table.finish()
    return rates


def rates_table(
    figure: str, rates: Rates, what: Sequence[str] = _COUNTS_IN_WORDS, known: str = "was measured"
) -> Document:
    """What ``read_rates`` reads.

    For the reader of the file, ``what`` says what each of a kind's rates is for, ``known`` of a network that it was
    in the fit.
    """
    unit = FIGURE_UNITS[figure]
    table: dict[str, Any] = {"base": Commented(rates.base, f"{unit} an inference")}
    if rates.largest_gmacs < inf:
        table["largest_gmacs"] = Commented(rates.largest_gmacs, f"of any network that {known}")
    table |= error_table(rates.factor, rates.coverage, rates.errors)
    table["kinds"] = Commented(Entries(rates.kinds), f"{unit} for each {', '.join(what)}")
    if rates.constant:
        remark = "Operations that each measured network had as many of: their rates are a guess"
        table["constant"] = Commented(Entries(rates.constant), remark)
    if rates.corrections:
        remark = "How much more than its kind says one operation costs, as a share"
        table["corrections"] = Commented(Entries(rates.corrections, _CORRECTION_DECIMALS), remark)
    return table


def read_unsupported(table: TomlTable) -> dict[str, str]:
    """Kinds of operations that the device cannot run, each with the reason. Raises ``HardwareError``."""
    reasons = table.optional_table("unsupported")
    unsupported = {} if reasons is None else {kind: reasons.text(kind) for kind in reasons.names()}
    check_operation_kinds(table, unsupported)
    return unsupported


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


def read_executed_graph(table: TomlTable) -> str:
    """What was measured: networks in ``normal form``, or ``as written``, dead branches and all."""
    executed_graph = table.text("measured") if "measured" in table.names() else "normal form"
    if executed_graph not in ("normal form", "as written"):
        raise table.invalid_value("measured", "'normal form' or 'as written'")
    return executed_graph


# -- the model -------------------------------------------------------------------------------------------------------


class LinearModel:
    """Prices graphs by rates that were learned from one device. Remembers what each fragment costs.

    ``unsupported``: kinds of operations that the device cannot run, each with the reason.
    """

    kind = "learned"

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
        return cost_from_sum(
            rates,
            f"predicted:{self.name}@{self.version}",
            (fixed_point(rates.base) + total.latency) / FIXED_POINT_SCALE,
            total.kinds,
            graph.macs / 1e9,
            energy_mj=None if energy is None else (fixed_point(energy.base) + total.energy) / FIXED_POINT_SCALE,
            weights_kib=graph.params * BYTES_PER_ELEMENT[self.number_format] / 1024,
            details=GraphCostDetails(self, graph, BYTES_PER_ELEMENT[self.number_format]),
        )

    def _fragment_cost(self, fragment: Fragment, producers: tuple[str, ...]) -> FragmentCost:
        return price_fragment(self._price, fragment, producers)

    def _price(self, node: Node, counts: NodeCounts, shapes: tuple[Shape, ...], producer: str) -> NodePrice | None:
        operation = operation_features(node, counts, shapes)
        if operation is None:
            return None
        latency, energy, kind = self.rates["latency"], self.rates.get("energy"), operation.kind
        latency_parts = fixed_point(latency.price(operation))
        energy_parts = fixed_point(energy.price(operation)) if energy else 0
        is_guess = kind not in latency.kinds or (energy is not None and kind not in energy.kinds)
        is_unsupported, is_constant = kind in self.unsupported, kind in latency.constant
        return NodePrice(kind, latency_parts, energy_parts, 0, is_guess, is_unsupported, False, is_constant)

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, then what every inference costs."""
        rows = node_costs(graph, self._price, self._bound)
        return rows + overhead_costs("invoke", fixed_point(self.rates["latency"].base))

    def _bound(self, node: Node, counts: NodeCounts, shapes: tuple[Shape, ...], producer: str) -> str:
        """Which of the counts the larger part of an operation's price is for."""
        operation = operation_features(node, counts, shapes)
        assert operation is not None
        return largest_share(self.rates["latency"], operation, ("overhead", "compute", "memory", "memory"))


def largest_share(rates: Rates, operation: OperationFeatures, bounds: Sequence[str]) -> str:
    """Of the ``bounds`` of the counts, the one that the larger part of an operation's price is for."""
    shares = [r * c for r, c in zip(rates.of(operation.kind), operation.counts, strict=True)]
    return bounds[shares.index(max(shares))] if any(shares) else "fused"


def cost_from_sum(
    rates: Rates,
    source: str,
    latency_ms: float,
    kinds: FlaggedKinds,
    gmacs: float,
    *,
    energy_mj: float | None,
    weights_kib: float,
    details: GraphCostDetails,
) -> Cost:
    """The cost of what was summed, with the interval that the rates state.

    More operations of a kind in ``kinds.constant`` than every measured network had are a guess too.
    """
    more_than_measured = {kind for kind, count in rates.constant.items() if kinds.constant.count(kind) > count}
    guessed_kinds = more_than_measured.union(kinds.guessed)
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
        tuple(sorted(set(kinds.unsupported))),
    )
