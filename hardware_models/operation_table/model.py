"""A table of measured operations: rows interpolated between their shapes, and summed over a graph.

    latency = launch + sum over fused operations of (per_operation + scale * row)

A row is the time of an operation measured alone (``operations_alone``); the three numbers are fitted to whole networks
(``table_fit``). An operation that lies outside the measured ones of its family is extrapolated, and one of a kind
without any row is priced like the dearest of its like (``learned.fallback_rates``); ``Cost.guessed_ops`` names both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from hardware_models.cost import Cost, GraphCostDetails, NodeCost
from hardware_models.device_file.number_format import BYTES_PER_ELEMENT, DEFAULT_NUMBER_FORMAT, read_number_format
from hardware_models.device_file.toml_table import HardwareError, TomlTable
from hardware_models.fragment_sum import FIXED_POINT_SCALE, FragmentCost, sum_fragment_costs
from hardware_models.linear.features import FEATURE_NAMES
from hardware_models.linear.model import Rates, check_operation_kinds, widen_interval
from hardware_models.operation_table.fusion import (
    FusedOperation,
    FusionGroup,
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
    """How rows add up to a network. ``factor`` and ``coverage`` are those of ``learned.Rates``.

    ``guessed`` are kinds that were guessed in one of the measured networks too: the interval holds that already.
    """

    launch_ms: float = 0.0
    per_operation_ms: float = 0.0
    scale: float = 1.0
    factor: float | None = None
    coverage: float | None = None
    largest_gmacs: float = inf
    guessed: tuple[str, ...] = ()


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


def operation_table_model(table: TomlTable, name: str) -> OperationTableModel:
    """The model of a device file of kind ``table``. Raises ``HardwareError``."""
    table.text("kind")
    version, number_format = table.integer("version"), read_number_format(table)
    if "measured" in table.names() and table.text("measured") != "normal form":
        raise table.invalid_value("measured", "'normal form'")
    latency = table.table("latency")
    overheads, rows = _read_overheads(latency), _read_operation_table(latency)
    latency.finish()
    unsupported_table = table.optional_table("unsupported")
    unsupported = (
        {} if unsupported_table is None else {kind: unsupported_table.text(kind) for kind in unsupported_table.names()}
    )
    check_operation_kinds(table, unsupported)
    table.skip_descriptive_keys()
    table.finish()
    return OperationTableModel(name, version, rows, overheads, number_format=number_format, unsupported=unsupported)


def _read_overheads(latency: TomlTable) -> NetworkOverheads:
    error = latency.optional_table("error")
    guessed = latency.texts("guessed") if "guessed" in latency.names() else ()
    check_operation_kinds(latency, guessed)
    if error is not None:
        for key in error.names():  # for the reader of the file
            error.number(key, minimum=-1)
    return NetworkOverheads(
        latency.number("launch_ms", minimum=0, default=0.0),
        latency.number("per_operation_ms", minimum=0, default=0.0),
        latency.number("scale", default=1.0),
        None if error is None else error.number("factor", minimum=1),
        None if error is None else error.number("coverage", maximum=0.999),
        latency.number("largest_gmacs", default=inf),
        guessed,
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
    choice = InterpolationSettings(table.one_of("trend", TRENDS), table.number("reach"), table.number("scatter"))
    for key in ("rows", "error_percent"):  # for the reader of the file
        if key in table.names():
            table.number(key, minimum=0)
    table.finish()
    return choice


class OperationTableModel:
    """Prices graphs by measured operations. Remembers what each operation and each fragment costs.

    ``unsupported``: kinds of operations that the device cannot run, each with the reason.
    """

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
        self._fragment_costs: dict[Fragment, FragmentCost | None] = {}

    def __repr__(self) -> str:
        return f"<TableModel {self.name}@{self.version}, {len(self.rows.measured)} operations>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fragment_costs": {}}

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference, at the batch that was measured."""
        price, each, overheads = self._graph_cost(graph), BYTES_PER_ELEMENT[self.number_format], self.overheads
        latency_ms = (round(overheads.launch_ms * FIXED_POINT_SCALE) + price.latency) / FIXED_POINT_SCALE
        guessed, factor = set(price.guessed), overheads.factor
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
            tuple(sorted(set(price.unsupported))),
        )

    def _graph_cost(self, graph: Graph) -> FragmentCost:
        """All operations: by fragments, or node by node where one of them folds into what comes before it."""
        costs: list[FragmentCost] = []
        for piece in graph.pieces:
            fragment = piece.fragment
            cost = self._fragment_costs[fragment] if fragment in self._fragment_costs else self._fragment_cost(fragment)
            if cost is None:
                return self._groups_cost(fuse_graph(graph))
            costs.append(cost)
        return sum_fragment_costs(costs)

    def _fragment_cost(self, fragment: Fragment) -> FragmentCost | None:
        price = None if may_fuse_with_producer(fragment) else self._groups_cost(fuse_fragment(fragment))
        memo_put(self._fragment_costs, fragment, price)
        return price

    def _groups_cost(self, groups: list[FusionGroup]) -> FragmentCost:
        group_costs = [(group.operation, *self.price(group.operation)) for group in groups]
        guessed = {operation.kind for operation, _, guess in group_costs if guess}
        unsupported = {operation.kind for operation, _, _ in group_costs} & self.unsupported.keys()
        return FragmentCost(
            sum(parts for _, parts, _ in group_costs),
            guessed=tuple(sorted(guessed)),
            unsupported=tuple(sorted(unsupported)),
        )

    def price(self, operation: FusedOperation) -> tuple[int, bool]:
        """What an operation adds to a network, in whole billionths of a ms, and whether that is a guess."""
        ms, guess = self.rows.predict(operation)
        return round((self.overheads.per_operation_ms + self.overheads.scale * ms) * FIXED_POINT_SCALE), guess

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, what is folded at nothing, then what every inference costs."""
        group_at = {group.nodes[0]: group.operation for group in fuse_graph(graph)}
        node_costs = []
        for index, (node, figures) in enumerate(zip(graph.nodes, graph.node_counts(), strict=True)):
            operation = group_at.get(index)
            parts = 0 if operation is None else self.price(operation)[0]
            bound = "fused" if operation is None else self._bound(operation)
            node_costs.append(NodeCost(index, node.op, node.shape, figures.macs, parts / FIXED_POINT_SCALE, bound))
        if self.overheads.launch_ms:
            launch = round(self.overheads.launch_ms * FIXED_POINT_SCALE) / FIXED_POINT_SCALE
            node_costs.append(NodeCost(None, "invoke", (), 0, launch, "overhead"))
        return node_costs

    def _bound(self, operation: FusedOperation) -> str:
        """Which of the counts the larger part of its kind's rates is for."""
        shares = [r * c for r, c in zip(self.rows.rates.of(operation.kind), operation.counts, strict=True)]
        names = dict(zip(FEATURE_NAMES, ("overhead", "compute", "memory", "memory"), strict=True))
        return names[FEATURE_NAMES[shares.index(max(shares))]]
