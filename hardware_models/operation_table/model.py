"""A table of measured operations: rows interpolated between their shapes, and summed over a graph.

    latency = launch + sum over fused operations of (per_operation + scale * row)

A row is the time of an operation measured alone (``isolate``); the three numbers are fitted to whole networks
(``fit``). An operation that lies outside the measured ones of its family is extrapolated, and one of a kind
without any row is priced like the dearest of its like (``linear.model.fallback_rates``); ``Cost.guessed_ops`` names
both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from hardware_models.cost import Cost, GraphCostDetails, NodeCost
from hardware_models.device_file.codec import KnownDevice
from hardware_models.device_file.document import Commented, Document, Entries
from hardware_models.device_file.header import read_header
from hardware_models.device_file.number_format import (
    BYTES_PER_ELEMENT,
    DEFAULT_NUMBER_FORMAT,
    NUMBER_FORMAT_KEY,
    read_number_format,
)
from hardware_models.device_file.stated_error import error_table, read_error
from hardware_models.device_file.toml_table import HardwareError, TomlTable
from hardware_models.fragment_sum import (
    FIXED_POINT_SCALE,
    FragmentCost,
    FragmentCosts,
    GraphCostSum,
    NodePrice,
    fixed_point,
    nodes_of_graph,
    overhead_costs,
    sum_fragment_costs,
    sum_prices,
)
from hardware_models.linear.features import FEATURE_NAMES
from hardware_models.linear.model import Rates, check_operation_kinds, read_unsupported, widen_interval
from hardware_models.operation_table.fusion import (
    FusedOperation,
    fuse_fragment,
    fuse_graph,
    may_fuse_with_producer,
    parse_operation,
)
from hardware_models.operation_table.interpolation import (
    MIN_LATENCY_MS,
    TRENDS,
    InterpolationSettings,
    KindInterpolator,
    rows_by_kind,
)
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put


@dataclass(frozen=True)
class NetworkOverheads:
    """How rows add up to a network. ``factor`` and ``coverage`` are those of ``linear.model.Rates``.

    ``guessed`` are kinds that were guessed in one of the measured networks too: the interval holds that already.
    ``errors``: on networks left out, by metric, for the reader of the file.
    """

    launch_ms: float = 0.0
    per_operation_ms: float = 0.0
    scale: float = 1.0
    factor: float | None = None
    coverage: float | None = None
    largest_gmacs: float = inf
    guessed: tuple[str, ...] = ()
    errors: Mapping[str, float] = field(default_factory=dict)


class OperationTable:
    """Measured rows of all kinds, and what they say of any operation. Remembers what it was asked."""

    def __init__(
        self, rows: Mapping[FusedOperation, float], choices: Mapping[str, InterpolationSettings] | None = None
    ) -> None:
        self.measured = dict(rows)
        self.choices = dict(choices or {})
        self.kinds = {
            kind: KindInterpolator(operations, measured, self.choices.get(kind, InterpolationSettings()))
            for kind, (operations, measured) in rows_by_kind(rows).items()
        }
        # For what has no row
        self.rates = Rates(0.0, {kind: tuple(rows.rates.tolist()) for kind, rows in self.kinds.items()})
        self._predictions: dict[str, tuple[float, bool]] = {}

    def predict(self, operation: FusedOperation) -> tuple[float, bool]:
        """Its row in ms, and whether that is more than an interpolation: a guess."""
        prediction = self._predictions.get(operation.text)
        if prediction is None:
            kind = self.kinds.get(operation.kind)
            if kind is None:
                rates = self.rates.of(operation.kind)
                price = sum([rate * count for rate, count in zip(rates, operation.counts, strict=True)])
                prediction = max(MIN_LATENCY_MS, price), True
            else:
                prediction = kind.price(operation), not kind.covers(operation)
            memo_put(self._predictions, operation.text, prediction)
        return prediction


# -- the device file -------------------------------------------------------------------------------------------------


def from_table(table: TomlTable, name: str, known_device: KnownDevice) -> OperationTableModel:
    """The model of a device file of kind ``table``. Raises ``HardwareError``."""
    table.text("kind")
    version, number_format = table.integer("version"), read_number_format(table)
    if "measured" in table.names() and table.text("measured") != OperationTableModel.executed_graph:
        raise table.invalid_value("measured", f"{OperationTableModel.executed_graph!r}")
    latency = table.table("latency")
    overheads, rows = _read_overheads(latency), _read_operation_table(latency)
    latency.finish()
    unsupported = read_unsupported(table)
    read_header(table)
    table.finish()
    return OperationTableModel(name, version, rows, overheads, number_format=number_format, unsupported=unsupported)


def to_table(model: OperationTableModel) -> Document:
    """What ``from_table`` reads."""
    overheads, rows = model.overheads, model.rows
    latency: dict[str, Any] = {
        "launch_ms": overheads.launch_ms,
        "per_operation_ms": overheads.per_operation_ms,
        "scale": overheads.scale,
    }
    if overheads.largest_gmacs < inf:
        latency["largest_gmacs"] = Commented(overheads.largest_gmacs, "of any network that was measured")
    if overheads.guessed:
        remark = "beyond the rows in these networks too: the interval holds it"
        latency["guessed"] = Commented(overheads.guessed, remark)
    latency |= error_table(overheads.factor, overheads.coverage, overheads.errors)
    if rows.choices:
        choices = {
            kind: _interpolation_table(choice, len(rows.kinds[kind].rows) if kind in rows.kinds else None)
            for kind, choice in rows.choices.items()
        }
        remark = "How each kind is interpolated, and the median error of its rows when they are left out"
        latency["interpolation"] = Commented(Entries(choices), remark)
    operations = {operation.text: ms for operation, ms in sorted(rows.measured.items())}
    latency["operations"] = Commented(Entries(operations), "ms of each operation, measured alone")
    return {
        "kind": model.kind,
        "version": model.version,
        NUMBER_FORMAT_KEY: model.number_format,
        "measured": model.executed_graph,
        "latency": Commented(latency, "latency = launch_ms + sum over operations of (per_operation_ms + scale * row)"),
        **({"unsupported": Entries(model.unsupported)} if model.unsupported else {}),
    }


def _interpolation_table(choice: InterpolationSettings, row_count: int | None) -> Document:
    table: dict[str, Any] = {"trend": choice.trend, "reach": choice.length_scale, "scatter": choice.scatter}
    table |= {} if row_count is None else {"rows": row_count}
    return table if choice.error_percent is None else {**table, "error_percent": choice.error_percent}


def _read_overheads(latency: TomlTable) -> NetworkOverheads:
    guessed = latency.texts("guessed") if "guessed" in latency.names() else ()
    check_operation_kinds(latency, guessed)
    error = read_error(latency)
    return NetworkOverheads(
        latency.number("launch_ms", minimum=0, default=0.0),
        latency.number("per_operation_ms", minimum=0, default=0.0),
        latency.number("scale", default=1.0),
        error.factor,
        error.coverage,
        latency.number("largest_gmacs", default=inf),
        guessed,
        error.metrics,
    )


def _read_operation_table(latency: TomlTable) -> OperationTable:
    operations = latency.table("operations")
    if not operations.names():
        raise latency.invalid_value("operations", "a table of one measured operation at least")
    rows = {}
    for text in operations.names():
        try:
            rows[parse_operation(text)] = operations.number(text, minimum=0)
        except HardwareError as error:
            if str(error).startswith(latency.where):
                raise
            raise HardwareError(f"{latency.where}: latency.operations: {error}") from None
    interpolation = latency.optional_table("interpolation")
    choices = {}
    if interpolation is not None:
        check_operation_kinds(latency, interpolation.names())
        for kind in interpolation.names():
            choices[kind] = _read_interpolation(interpolation.table(kind))
    return OperationTable(rows, choices)


def _read_interpolation(table: TomlTable) -> InterpolationSettings:
    error_percent = table.number("error_percent", minimum=0) if "error_percent" in table.names() else None
    choice = InterpolationSettings(
        table.one_of("trend", TRENDS), table.number("reach"), table.number("scatter"), error_percent
    )
    if "rows" in table.names():  # for the reader of the file
        table.number("rows", minimum=0)
    table.finish()
    return choice


# -- the model -------------------------------------------------------------------------------------------------------


class OperationTableModel:
    """Prices graphs by measured operations. Remembers what each operation and each fragment costs.

    ``unsupported``: kinds of operations that the device cannot run, each with the reason.
    """

    kind = "table"
    executed_graph = "normal form"

    def __init__(
        self,
        name: str,
        version: int,
        rows: OperationTable,
        overheads: NetworkOverheads = NetworkOverheads(),
        *,
        number_format: str = DEFAULT_NUMBER_FORMAT,
        unsupported: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.rows = rows
        self.overheads = overheads
        self.number_format = number_format
        self.unsupported = dict(unsupported or {})
        self._fragment_costs: FragmentCosts[FragmentCost | None] = FragmentCosts(self._fragment_cost)

    def __repr__(self) -> str:
        return f"<TableModel {self.name}@{self.version}, {len(self.rows.measured)} operations>"

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference, at the batch that was measured."""
        price, each, overheads = self._graph_cost(graph), BYTES_PER_ELEMENT[self.number_format], self.overheads
        latency_ms = (fixed_point(overheads.launch_ms) + price.latency) / FIXED_POINT_SCALE
        guessed, factor = set(price.kinds.guessed), overheads.factor
        if factor is not None:
            factor = widen_interval(
                factor, graph.macs / 1e9 / overheads.largest_gmacs, len(guessed.difference(overheads.guessed))
            )
        return Cost(
            latency_ms,
            f"predicted:{self.name}@{self.version}",
            None if factor is None else latency_ms / factor,
            None if factor is None else latency_ms * factor,
            overheads.coverage,
            None,
            graph.params * each / 1024,
            tuple(sorted(guessed)),
            (),
            GraphCostDetails(self, graph, each),
            tuple(sorted(set(price.kinds.unsupported))),
        )

    def _graph_cost(self, graph: Graph) -> GraphCostSum:
        """All operations: by fragments, or in one where one of them folds into what comes before its fragment."""
        costs = self._fragment_costs.of(graph)
        alone = [cost for cost in costs if cost is not None]
        if len(alone) < len(costs):
            alone = [sum_prices([self.price(group.operation) for group in fuse_graph(graph)])]
        return sum_fragment_costs(alone)

    def _fragment_cost(self, fragment: Fragment, producers: tuple[str, ...]) -> FragmentCost | None:
        if may_fuse_with_producer(fragment):
            return None
        return sum_prices([self.price(group.operation) for group in fuse_fragment(fragment)])

    def price(self, operation: FusedOperation) -> NodePrice:
        """What an operation adds to a network."""
        ms, is_guess = self.rows.predict(operation)
        return NodePrice(
            operation.kind,
            fixed_point(self.overheads.per_operation_ms + self.overheads.scale * ms),
            is_guess=is_guess,
            is_unsupported=operation.kind in self.unsupported,
        )

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, what is folded at nothing, then what every inference costs."""
        group_at = {group.nodes[0]: group.operation for group in fuse_graph(graph)}
        rows = []
        for index, (node, counts, _, _) in enumerate(nodes_of_graph(graph)):
            operation = group_at.get(index)
            ms = 0.0 if operation is None else self.price(operation).latency / FIXED_POINT_SCALE
            bound = "fused" if operation is None else self._bound(operation)
            rows.append(NodeCost(index, node.op, node.shape, counts.macs, ms, bound))
        return rows + overhead_costs("invoke", fixed_point(self.overheads.launch_ms))

    def _bound(self, operation: FusedOperation) -> str:
        """Which of the counts the larger part of its kind's rates is for."""
        shares = [r * c for r, c in zip(self.rows.rates.of(operation.kind), operation.counts, strict=True)]
        names = dict(zip(FEATURE_NAMES, ("overhead", "compute", "memory", "memory"), strict=True))
        return names[FEATURE_NAMES[shares.index(max(shares))]]
