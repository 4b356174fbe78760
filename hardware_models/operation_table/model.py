"""A table of measured operations: rows interpolated between their shapes, and summed over a graph.

    latency = launch + sum over fused operations of (per_operation + scale * row)

A row is the time of an operation measured alone (``operations_alone``); the three numbers are fitted to whole networks
(``table_fit``). An operation that lies outside the measured ones of its family is extrapolated, and one of a kind
without any row is priced like the dearest of its like (``learned.guess_for``); ``Cost.guessed_ops`` names both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from hardware_models.cost import Cost, GraphDetails, NodeCost
from hardware_models.device_file.number_format import BYTES, DEFAULT, read_number_format
from hardware_models.device_file.toml_table import HardwareError, Table
from hardware_models.linear.features import FEATURES
from hardware_models.linear.model import PARTS, Rates, known_kinds, widened
from hardware_models.operation_table.fusion import (
    FusedOperation,
    Group,
    fragment_groups,
    graph_groups,
    parse_operation,
    reaches_out,
)
from hardware_models.operation_table.interpolation import LEAST_MS, TRENDS, Choice, Kind, by_kind
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import remember


@dataclass(frozen=True)
class Whole:
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


class Rows:
    """Measured rows of all kinds, and what they say of any operation. Remembers what it was asked."""

    def __init__(self, rows: Mapping[FusedOperation, float], choices: Mapping[str, Choice] | None = None) -> None:
        self.measured = dict(rows)
        self.choices = dict(choices or {})
        self.kinds = {
            kind: Kind(operations, measured, self.choices.get(kind, Choice()))
            for kind, (operations, measured) in by_kind(rows).items()
        }
        # For what has no row
        self.rates = Rates(0.0, {kind: tuple(rows.rates.tolist()) for kind, rows in self.kinds.items()})
        self._known: dict[str, tuple[float, bool]] = {}

    def ask(self, operation: FusedOperation) -> tuple[float, bool]:
        """Its row in ms, and whether that is more than an interpolation: a guess."""
        known = self._known.get(operation.text)
        if known is None:
            kind = self.kinds.get(operation.kind)
            if kind is None:
                rates = self.rates.of(operation.kind)
                price = sum([rate * count for rate, count in zip(rates, operation.counts, strict=True)])
                known = max(LEAST_MS, price), True
            else:
                known = kind.price(operation), not kind.covers(operation)
            remember(self._known, operation.text, known)
        return known


def table_model(table: Table, name: str) -> TableModel:
    """The model of a device file of kind ``table``. Raises ``HardwareError``."""
    table.text("kind")
    version, number_format = table.whole("version"), read_number_format(table)
    if "measured" in table.names() and table.text("measured") != "normal form":
        raise table.wrong("measured", "'normal form'")
    latency = table.table("latency")
    whole, rows = _read_whole(latency), _read_rows(latency)
    latency.finish()
    cannot = table.optional_table("unsupported")
    unsupported = {} if cannot is None else {kind: cannot.text(kind) for kind in cannot.names()}
    known_kinds(table, unsupported)
    table.about()
    table.finish()
    return TableModel(name, version, rows, whole, number_format=number_format, unsupported=unsupported)


def _read_whole(latency: Table) -> Whole:
    error = latency.optional_table("error")
    guessed = latency.texts("guessed") if "guessed" in latency.names() else ()
    known_kinds(latency, guessed)
    if error is not None:
        for key in error.names():  # for the reader of the file
            error.number(key, minimum=-1)
    return Whole(
        latency.number("launch_ms", minimum=0, default=0.0),
        latency.number("per_operation_ms", minimum=0, default=0.0),
        latency.number("scale", default=1.0),
        None if error is None else error.number("factor", minimum=1),
        None if error is None else error.number("coverage", maximum=0.999),
        latency.number("largest_gmacs", default=inf),
        guessed,
    )


def _read_rows(latency: Table) -> Rows:
    operations = latency.table("operations")
    if not operations.names():
        raise latency.wrong("operations", "a table of one measured operation at least")
    rows = {}
    for text in operations.names():
        try:
            rows[parse_operation(text)] = operations.number(text, minimum=0)
        except HardwareError as error:
            if str(error).startswith(latency.where):
                raise
            raise HardwareError(f"{latency.where}: latency.operations: {error}") from None
    stated = latency.optional_table("interpolation")
    choices = {}
    if stated is not None:
        known_kinds(latency, stated.names())
        for kind in stated.names():
            choices[kind] = _read_choice(stated.table(kind))
    return Rows(rows, choices)


def _read_choice(table: Table) -> Choice:
    choice = Choice(table.one_of("trend", TRENDS), table.number("reach"), table.number("scatter"))
    for key in ("rows", "error_percent"):  # for the reader of the file
        if key in table.names():
            table.number(key, minimum=0)
    table.finish()
    return choice


class _Price(NamedTuple):
    """What a run of operations costs, in whole billionths, and its kinds that need a word."""

    parts: int
    guessed: tuple[str, ...]
    unsupported: tuple[str, ...]


class TableModel:
    """Prices graphs by measured operations. Remembers what each operation and each fragment costs.

    ``unsupported``: kinds of operations that the device cannot run, each with the reason.
    """

    reading = "normal form"

    def __init__(
        self,
        name: str,
        version: int,
        rows: Rows,
        whole: Whole = Whole(),
        *,
        number_format: str = DEFAULT,
        unsupported: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.rows = rows
        self.whole = whole
        self.number_format = number_format
        self.unsupported = dict(unsupported or {})
        self._prices: dict[Fragment, _Price | None] = {}

    def __repr__(self) -> str:
        return f"<TableModel {self.name}@{self.version}, {len(self.rows.measured)} operations>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prices": {}}

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference, at the batch that was measured."""
        price, each, whole = self._summed(graph), BYTES[self.number_format], self.whole
        latency_ms = (round(whole.launch_ms * PARTS) + price.parts) / PARTS
        guessed, factor = set(price.guessed), whole.factor
        if factor is not None:
            factor = widened(factor, graph.macs / 1e9 / whole.largest_gmacs, len(guessed.difference(whole.guessed)))
        return Cost(
            latency_ms,
            f"predicted:{self.name}@{self.version}",
            None if factor is None else latency_ms / factor,
            None if factor is None else latency_ms * factor,
            whole.coverage,
            None,
            graph.params * each / 1024,
            tuple(sorted(guessed)),
            (),
            GraphDetails(self, graph, each),
            tuple(sorted(set(price.unsupported))),
        )

    def _summed(self, graph: Graph) -> _Price:
        """All operations: by fragments, or node by node where one of them folds into what comes before it."""
        parts = 0
        guessed: tuple[str, ...] = ()
        unsupported: tuple[str, ...] = ()
        for piece in graph.pieces:
            fragment = piece.fragment
            price = self._prices[fragment] if fragment in self._prices else self._price(fragment)
            if price is None:
                return self._sum(graph_groups(graph))
            parts += price.parts
            if price.guessed:
                guessed += price.guessed
            if price.unsupported:
                unsupported += price.unsupported
        return _Price(parts, guessed, unsupported)

    def _price(self, fragment: Fragment) -> _Price | None:
        price = None if reaches_out(fragment) else self._sum(fragment_groups(fragment))
        remember(self._prices, fragment, price)
        return price

    def _sum(self, groups: list[Group]) -> _Price:
        asked = [(group.operation, *self.price(group.operation)) for group in groups]
        guessed = {operation.kind for operation, _, guess in asked if guess}
        cannot = {operation.kind for operation, _, _ in asked} & self.unsupported.keys()
        return _Price(sum(parts for _, parts, _ in asked), tuple(sorted(guessed)), tuple(sorted(cannot)))

    def price(self, operation: FusedOperation) -> tuple[int, bool]:
        """What an operation adds to a network, in whole billionths of a ms, and whether that is a guess."""
        ms, guess = self.rows.ask(operation)
        return round((self.whole.per_operation_ms + self.whole.scale * ms) * PARTS), guess

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, what is folded at nothing, then what every inference costs."""
        at = {group.nodes[0]: group.operation for group in graph_groups(graph)}
        found = []
        for index, (node, figures) in enumerate(zip(graph.nodes, graph.figures(), strict=True)):
            operation = at.get(index)
            parts = 0 if operation is None else self.price(operation)[0]
            bound = "fused" if operation is None else self._bound(operation)
            found.append(NodeCost(index, node.op, node.shape, figures.macs, parts / PARTS, bound))
        if self.whole.launch_ms:
            launch = round(self.whole.launch_ms * PARTS) / PARTS
            found.append(NodeCost(None, "invoke", (), 0, launch, "overhead"))
        return found

    def _bound(self, operation: FusedOperation) -> str:
        """Which of the counts the larger part of its kind's rates is for."""
        shares = [r * c for r, c in zip(self.rows.rates.of(operation.kind), operation.counts, strict=True)]
        names = dict(zip(FEATURES, ("overhead", "compute", "memory", "memory"), strict=True))
        return names[FEATURES[shares.index(max(shares))]]
