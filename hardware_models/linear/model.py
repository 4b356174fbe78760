"""Latency and energy learned from measurements: a sum over operations, each priced by its kind and its counts.

    cost = base + sum over operations of (1 + c) * (a . counts)

``counts`` are those of ``operation.FEATURES``, ``a >= 0`` a rate for each of them and each kind of operation, and ``c``
a correction of one exact operation that the measurements held (0 for others). Both are found by ``learning.fit``. What
runs one after the other adds up: so it is on processors at batch 1, on accelerators without overlap between layers, and
on GPUs that launch kernels from one stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import exp, inf, log, log2
from statistics import median
from typing import Any

from hardware_models.cost import Cost, GraphDetails, NodeCost
from hardware_models.device_file.number_format import BYTES, DEFAULT, read_number_format
from hardware_models.device_file.operation_kinds import operation_kinds
from hardware_models.device_file.toml_table import HardwareError, Table
from hardware_models.device_file.writer import number
from hardware_models.linear.features import FEATURES, Operation, operation_of
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import remember

PARTS = 10**9  # a figure is summed in whole billionths, so that its sum does not depend on the order
METRICS = {"latency": "latency_ms", "energy": "energy_mj"}
CONVOLUTIONS = ("conv:regular", "conv:pointwise", "conv:depthwise", "conv:grouped")
_DENSE = ("conv:pointwise", "conv:regular", "linear", "matmul")  # sums over all channels
_WIDEST = 100.0


@dataclass(frozen=True)
class Rates:
    """How one figure, latency in ms or energy in mJ, adds up.

    ``kinds``: a rate for each of ``FEATURES`` by kind of operation. ``corrections``: by an operation's text, the share
    by which it costs more than its kind says. ``constant``: kinds that every measured network had equally many
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
        return self.kinds.get(kind) or guess_for(kind, self.kinds)

    def interval_factor(self, gmacs: float, guessed: int) -> float | None:
        """The interval of a network: wider by a half for each kind that is guessed, and beyond what was measured."""
        return None if self.factor is None else widened(self.factor, gmacs / self.largest_gmacs, guessed)

    def price(self, operation: Operation) -> float:
        """The cost of one operation."""
        rates = self.of(operation.kind)
        price = sum([rate * count for rate, count in zip(rates, operation.counts, strict=True)])
        return price * (1 + self.corrections.get(operation.text, 0.0))


def widened(factor: float, size: float, guessed: int) -> float:
    """The factor of an interval, to a power: a half more for each guessed kind, one more for each doubling in size.

    ``size``: multiply-adds of the network by those of the largest that was measured.
    """
    power = 1 + 0.5 * guessed + (log2(size) if size > 1 else 0.0)
    return max(factor, min(exp(min(power * log(factor), 700.0)), _WIDEST))


def guess_for(kind: str, kinds: Mapping[str, tuple[float, ...]]) -> tuple[float, ...]:
    """Rates of a kind that was not measured, from those of its like: the dearest of each rate.

    Dense operations (regular and 1x1 convolutions, linear layers, matrix products) are alike, as are all convolutions,
    and kinds of the same operation. Where none of these costs anything: the median of each rate among light kinds that
    have it, and at last the dearest of all.
    """
    others = {k: rates for k, rates in kinds.items() if k != kind and any(rates)}
    family = kind.partition(":")[0]
    alike = [r for k, r in others.items() if kind.startswith(_DENSE) and k.startswith(_DENSE)]
    if not alike:
        alike = [r for k, r in others.items() if k.partition(":")[0] == family]
    if not alike and family not in ("conv", "linear", "matmul"):
        light = [r for k, r in others.items() if not k.startswith((*_DENSE, "conv"))]
        if light:
            return tuple(median([rate for rate in column if rate] or [0.0]) for column in zip(*light, strict=True))
    alike = alike or list(others.values()) or [(0.0,) * len(FEATURES)]
    return tuple(max(column) for column in zip(*alike, strict=True))


def read_rates(table: Table) -> Rates:
    """The table ``[latency]`` or ``[energy]`` of a device file. Raises ``HardwareError``."""
    kinds, corrections = table.table("kinds"), table.optional_table("corrections")
    error, constant = table.optional_table("error"), table.optional_table("constant")
    known_kinds(table, kinds.names())
    if not kinds.names():
        raise table.wrong("kinds", "a table of one kind of operation at least")
    rates = Rates(
        base=table.number("base", minimum=0),
        kinds={kind: _rates(kinds, kind) for kind in kinds.names()},
        corrections={} if corrections is None else {t: corrections.number(t, minimum=-1) for t in corrections.names()},
        factor=None if error is None else error.number("factor", minimum=1),
        coverage=None if error is None else error.number("coverage", maximum=0.999),
        largest_gmacs=table.number("largest_gmacs", default=inf),
        constant={} if constant is None else {kind: constant.whole(kind, minimum=0) for kind in constant.names()},
    )
    known_kinds(table, rates.constant)
    if error is not None:
        for name in error.names():  # for the reader of the file
            error.number(name, minimum=-1)
    table.finish()
    return rates


def known_kinds(table: Table, kinds: Iterable[str]) -> None:
    """Raise ``HardwareError`` for a kind that no operation has."""
    known = (operation_kinds() - {"conv", "conv:3d"}) | set(CONVOLUTIONS)
    for kind in kinds:
        if kind.removesuffix(":3d") not in known:
            close = get_close_matches(kind, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
            raise HardwareError(f"{table.where}: no kind of operation {kind!r}; {hint}")


def _rates(table: Table, key: str) -> tuple[float, ...]:
    values = table.numbers(key, len(FEATURES))
    if min(values) < 0:
        raise table.wrong(key, f"{len(FEATURES)} numbers of at least 0")
    return values


def learned_model(table: Table, name: str) -> LearnedModel:
    """The model of a device file of kind ``learned``. Raises ``HardwareError``."""
    table.text("kind")
    version, reading = table.whole("version"), read_reading(table)
    rates = {"latency": read_rates(table.table("latency"))}
    energy = table.optional_table("energy")
    if energy is not None:
        rates["energy"] = read_rates(energy)
    number_format = read_number_format(table)
    cannot = table.optional_table("unsupported")
    unsupported = {} if cannot is None else {kind: cannot.text(kind) for kind in cannot.names()}
    known_kinds(table, unsupported)
    table.about()
    table.finish()
    return LearnedModel(name, version, rates, reading=reading, number_format=number_format, unsupported=unsupported)


def read_reading(table: Table) -> str:
    """What was measured: networks in ``normal form``, or ``as written``, dead branches and all."""
    reading = table.text("measured") if "measured" in table.names() else "normal form"
    if reading not in ("normal form", "as written"):
        raise table.wrong("measured", "'normal form' or 'as written'")
    return reading


class _Price:
    """What one fragment costs, in whole billionths, and kinds of its operations that need a word."""

    __slots__ = ("constant", "energy", "guessed", "latency", "unsupported")

    def __init__(self) -> None:
        self.latency = 0
        self.energy = 0
        self.guessed: tuple[str, ...] = ()
        self.unsupported: tuple[str, ...] = ()
        self.constant: tuple[str, ...] = ()  # one for each operation


class LearnedModel:
    """Prices graphs by rates that were learned from one device. Remembers what each fragment costs.

    ``unsupported``: kinds of operations that the device cannot run, each with the reason.
    """

    def __init__(
        self,
        name: str,
        version: int,
        rates: Mapping[str, Rates],
        *,
        reading: str = "normal form",
        number_format: str = DEFAULT,
        unsupported: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.rates = dict(rates)
        self.reading = reading
        self.number_format = number_format
        self.unsupported = dict(unsupported or {})
        self._prices: dict[Fragment, _Price] = {}

    def __repr__(self) -> str:
        return f"<LearnedModel {self.name}@{self.version}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prices": {}}

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference, at the batch that was measured."""
        rates, energy = self.rates["latency"], self.rates.get("energy")
        latency_parts = round(rates.base * PARTS)
        energy_parts = round(energy.base * PARTS) if energy else 0
        guessed: tuple[str, ...] = ()
        unsupported: tuple[str, ...] = ()
        constant: tuple[str, ...] = ()
        params = macs = 0
        prices = self._prices
        for fragment, _, _, _ in graph.pieces:
            price = prices.get(fragment) or self._price(fragment)
            latency_parts += price.latency
            energy_parts += price.energy
            params += fragment.params
            macs += fragment.macs
            if price.guessed:
                guessed += price.guessed
            if price.constant:
                constant += price.constant
            if price.unsupported:
                unsupported += price.unsupported
        return priced(
            rates,
            f"predicted:{self.name}@{self.version}",
            latency_parts,
            macs / 1e9,
            guessed,
            constant,
            unsupported,
            energy_mj=energy_parts / PARTS if energy else None,
            weights_kib=params * BYTES[self.number_format] / 1024,
            details=GraphDetails(self, graph, BYTES[self.number_format]),
        )

    def _price(self, fragment: Fragment) -> _Price:
        rates, energy = self.rates["latency"], self.rates.get("energy")
        price, kinds = _Price(), []
        for node, figures in zip(fragment.nodes, fragment.node_figures(), strict=True):
            operation = operation_of(node, figures, fragment.operand_shapes(node))
            if operation is None:
                continue
            price.latency += round(rates.price(operation) * PARTS)
            price.energy += round(energy.price(operation) * PARTS) if energy else 0
            kinds.append(operation.kind)
        price.guessed = tuple(sorted({k for k in kinds if any(k not in r.kinds for r in self.rates.values())}))
        price.unsupported = tuple(sorted(self.unsupported.keys() & set(kinds)))
        price.constant = tuple([k for k in kinds if k in rates.constant])
        remember(self._prices, fragment, price)
        return price

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, then what every inference costs."""
        nodes, latency = graph.nodes, self.rates["latency"]
        rows = []
        for index, (node, figures) in enumerate(zip(nodes, graph.figures(), strict=True)):
            operation = operation_of(node, figures, tuple(nodes[i].shape for i in node.inputs))
            if operation is None:
                rows.append(NodeCost(index, node.op, node.shape, figures.macs, 0.0, "fused"))
                continue
            ms = round(latency.price(operation) * PARTS) / PARTS
            rows.append(NodeCost(index, node.op, node.shape, figures.macs, ms, _bound(latency, operation)))
        if latency.base:
            rows.append(NodeCost(None, "invoke", (), 0, round(latency.base * PARTS) / PARTS, "overhead"))
        return rows


def _bound(rates: Rates, operation: Operation) -> str:
    """Which of the counts the larger part of an operation's price is for."""
    shares = [r * c for r, c in zip(rates.of(operation.kind), operation.counts, strict=True)]
    names = ("overhead", "compute", "memory", "memory")
    return names[shares.index(max(shares))] if any(shares) else "fused"


def priced(
    rates: Rates,
    source: str,
    parts: int,
    gmacs: float,
    guessed: Sequence[str],
    constant: Sequence[str],
    unsupported: Sequence[str],
    *,
    energy_mj: float | None,
    weights_kib: float,
    details: GraphDetails,
) -> Cost:
    """The cost of what was summed: ``parts`` billionths of a ms, with the interval that the rates state.

    ``guessed`` are kinds without rates, ``constant`` one kind for each operation that every measured network has
    equally: more of it than there was is a guess too.
    """
    latency_ms = parts / PARTS
    told = {kind for kind, number in rates.constant.items() if constant.count(kind) > number}.union(guessed)
    factor = rates.interval_factor(gmacs, len(told))
    return Cost(
        latency_ms,
        source,
        None if factor is None else latency_ms / factor,
        None if factor is None else latency_ms * factor,
        rates.coverage,
        energy_mj,
        weights_kib,
        tuple(sorted(told)),
        (),
        details,
        tuple(sorted(set(unsupported))),
    )


def rates_text(figure: str, rates: Rates, errors: Mapping[str, float]) -> list[str]:
    """The tables ``[latency]`` or ``[energy]`` of a device file, as lines."""
    unit = "ms" if figure == "latency" else "mJ"
    lines = ["", f"[{figure}]", f"base = {number(rates.base)}  # {unit} an inference"]
    if rates.largest_gmacs < inf:
        lines += [f"largest_gmacs = {number(rates.largest_gmacs)}  # of any network that was measured"]
    lines += [""]
    if rates.factor is not None:
        lines += [f"[{figure}.error]", f"factor = {number(rates.factor)}", f"coverage = {rates.coverage}"]
        lines += [f"{name} = {value:g}" for name, value in errors.items()]
    lines += [
        "",
        f"# {unit} for each operation, thousand million multiply-adds, million elements moved, million weights",
    ]
    lines += [f"[{figure}.kinds]"]
    lines += [f'"{kind}" = [{", ".join(map(number, values))}]' for kind, values in rates.kinds.items()]
    if rates.constant:
        lines += ["", "# Operations that each measured network had as many of: their rates are a guess"]
        lines += [f"[{figure}.constant]", *(f'"{kind}" = {count}' for kind, count in rates.constant.items())]
    if rates.corrections:
        lines += ["", "# How much more than its kind says one operation costs, as a share", f"[{figure}.corrections]"]
        lines += [f'"{text}" = {value:.3f}' for text, value in rates.corrections.items()]
    return lines
