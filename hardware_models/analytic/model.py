"""Latency from first principles: a systolic array, a vector unit, on-chip memory, and a link to the host.

An operation takes the time of its slowest resource and a fixed overhead. Convolutions stream their positions through
tiles of the array, whose rows hold the reduction (kernel times input channels of a group) and whose columns hold
output channels: a depthwise convolution fills a fraction of it. Other operations stream their operands and result
through the vector unit. Weights that do not fit the chip are fetched from outside each time, while the chip
computes. Operations that the compiler does not support run on the host, with a transfer each way.

What it leaves out: tiling of one operation over on-chip memory, overlap between operations other than that prefetch,
layout changes, and thermal limits. Latencies are whole picoseconds, so that a sum does not depend on its order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import accumulate
from math import exp, prod
from statistics import NormalDist
from typing import Any, NamedTuple

from hardware_models.cost import Cost, GraphDetails, NodeCost
from hardware_models.device_file.number_format import BYTES, read_number_format
from hardware_models.device_file.operation_kinds import operation_kind, operation_kinds
from hardware_models.device_file.toml_table import HardwareError, Table
from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import remember
from search_spaces.graph.operations import ACTIVATIONS, OPS, Shape

_PICOSECONDS_PER_MS = 1e9


# -- the facts of a device -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Array:
    """The systolic array. Efficiencies are the share of its cycles that a kind of convolution puts to use."""

    rows: int
    columns: int
    clock_mhz: float
    tile_load_cycles: int
    regular_efficiency: float
    pointwise_efficiency: float
    grouped_efficiency: float


@dataclass(frozen=True)
class Memory:
    """On-chip memory: how much weights and one operation's activations may take, and bytes that move in a cycle.

    ``outside_mb_per_s`` is the rate of the chip's own memory for what does not fit; ``None`` where it has none, and
    fetches that from the host over the link.
    """

    weights_kib: float
    activations_kib: float
    array_bytes_per_cycle: float
    vector_bytes_per_cycle: float
    outside_mb_per_s: float | None


@dataclass(frozen=True)
class Link:
    """The way to the host."""

    mb_per_s: float


@dataclass(frozen=True)
class Overhead:
    """Fixed times: of an inference (and of each return from the host), and of an operation."""

    invoke_us: float
    op_us: float


@dataclass(frozen=True)
class Host:
    """The processor that runs what the chip does not.

    ``detection_ns_per_score`` is the time of a detector's post-processing by class score. It is no part of a graph:
    only comparisons with published latencies add it.
    """

    gmacs_per_s: float
    elements_per_us: float
    detection_ns_per_score: float


@dataclass(frozen=True)
class Operations:
    """Which operation kinds run where.

    ``passes``: how often operands and result of a kind cross the vector unit. ``host``: kinds left to the host.
    ``fused_activations`` cost nothing behind a convolution, linear layer, normalisation or sum. Any other kind is
    guessed at ``guess_passes``.
    """

    passes: dict[str, float]
    host: tuple[str, ...]
    fused_activations: tuple[str, ...]
    guess_passes: float


@dataclass(frozen=True)
class Device:
    """All that the model knows of a device; ``number_format`` says how many bytes an element takes everywhere."""

    array: Array
    memory: Memory
    link: Link
    overhead: Overhead
    host: Host
    operations: Operations
    number_format: str = "int8"

    @property
    def bytes_per_element(self) -> int:
        """Of weights and activations alike."""
        return BYTES[self.number_format]


@dataclass(frozen=True)
class Accuracy:
    """How far predictions were off for networks that were left out of the fit.

    ``log_std`` is the root mean square of ``log(predicted / measured)``; the interval of a prediction covers a
    measurement with probability ``coverage`` where errors are log-normal.
    """

    log_std: float
    coverage: float

    @property
    def factor(self) -> float:
        """The ratio between a prediction and either end of its interval."""
        return exp(self.log_std * NormalDist().inv_cdf(0.5 + self.coverage / 2))


def _known(table: Table, names: Iterable[str], known: Iterable[str], what: str) -> None:
    known = sorted(known)
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise HardwareError(f"{table.where}: operations: no {what} {name!r}; {hint}")


def read_device(table: Table) -> Device:
    """The facts in a device file of kind ``analytic``. Raises ``HardwareError``."""
    array, memory, link = table.table("array"), table.table("memory"), table.table("link")
    overhead, host, operations = table.table("overhead"), table.table("host"), table.table("operations")
    passes = operations.table("passes")
    device = Device(
        array=Array(
            rows=array.whole("rows"),
            columns=array.whole("columns"),
            clock_mhz=array.number("clock_mhz"),
            tile_load_cycles=array.whole("tile_load_cycles", minimum=0),
            regular_efficiency=array.number("regular_efficiency", maximum=1),
            pointwise_efficiency=array.number("pointwise_efficiency", maximum=1),
            grouped_efficiency=array.number("grouped_efficiency", maximum=1),
        ),
        memory=Memory(
            weights_kib=memory.number("weights_kib", minimum=0),
            activations_kib=memory.number("activations_kib", minimum=0),
            array_bytes_per_cycle=memory.number("array_bytes_per_cycle"),
            vector_bytes_per_cycle=memory.number("vector_bytes_per_cycle"),
            outside_mb_per_s=memory.optional_number("outside_mb_per_s"),
        ),
        link=Link(mb_per_s=link.number("mb_per_s")),
        overhead=Overhead(invoke_us=overhead.number("invoke_us", minimum=0), op_us=overhead.number("op_us", minimum=0)),
        host=Host(
            gmacs_per_s=host.number("gmacs_per_s"),
            elements_per_us=host.number("elements_per_us"),
            detection_ns_per_score=host.number("detection_ns_per_score", minimum=0, default=0.0),
        ),
        operations=Operations(
            passes={kind: passes.number(kind, minimum=0) for kind in passes.names()},
            host=operations.texts("host"),
            fused_activations=operations.texts("fused_activations"),
            guess_passes=operations.number("guess_passes"),
        ),
        number_format=read_number_format(table),
    )
    kinds = operation_kinds() - {"input", "reshape", "zero"}
    _known(table, device.operations.passes, kinds - {"conv", "linear"}, "kind of vector operation")
    _known(table, device.operations.host, kinds, "operation kind")
    _known(table, device.operations.fused_activations, ACTIVATIONS, "activation")
    both = set(device.operations.passes) & set(device.operations.host)
    if both:
        raise HardwareError(f"{table.where}: operations: {min(both)!r} is both in passes and in host; leave one")
    for part in (array, memory, link, overhead, host, operations, passes):
        part.finish()
    return device


def read_accuracy(table: Table) -> Accuracy | None:
    """The held-out error in a device file, where it states one."""
    error = table.optional_table("error")
    if error is None:
        return None
    held_out = Accuracy(
        log_std=error.number("held_out_log_std", minimum=0), coverage=error.number("coverage", maximum=0.999)
    )
    for name in ("rows", "mape_percent", "held_out_mape_percent"):  # for the reader of the file
        error.number(name, minimum=0, default=0.0)
    error.number("spearman", minimum=-1, maximum=1, default=0.0)
    error.finish()
    return held_out


def analytic_model(table: Table, name: str) -> AnalyticModel:
    """The model of a device file of kind ``analytic``. Raises ``HardwareError``."""
    table.text("kind")
    version = table.whole("version")
    model = AnalyticModel(name, version, read_device(table), read_accuracy(table))
    table.optional_table("fit")  # fit.py's
    table.finish()
    return model


# -- what an operation asks of a device ------------------------------------------------------------------------------


class Work(NamedTuple):
    """What one node asks of a device: counts that do not depend on how fast anything is.

    ``kind`` is the operation's row in the device file. ``unit`` is ``array``, ``vector``, ``host``, ``link`` or
    ``none``; ``efficiency`` names the array's. ``moved_bytes`` are operands and result in the device's number format,
    ``spilled_bytes`` the part of them that on-chip memory does not hold.
    """

    kind: str
    unit: str
    efficiency: str = ""
    cycles: int = 0
    passes: float = 0.0
    moved_bytes: int = 0
    spilled_bytes: int = 0
    elements: int = 0
    macs: int = 0
    guessed: bool = False


def _array_work(device: Device, node: Node, shapes: tuple[Shape, ...], macs: int, moved: int, spilled: int) -> Work:
    (x,) = shapes
    array = device.array
    if node.op == "linear":
        positions, reduction, columns, groups = prod(node.shape[:-1]), x[-1], node.shape[-1], 1
        efficiency = "pointwise"
    else:
        kernel, groups = node.attrs[1], node.attrs[5]
        positions, reduction, columns = prod(node.shape[1:]), prod(kernel) * x[0] // groups, node.shape[0] // groups
        efficiency = "grouped" if groups > 1 else "regular" if prod(kernel) > 1 else "pointwise"
    # Groups stand side by side in one tile where both their rows and their columns leave room.
    together = max(1, min(array.rows // reduction, array.columns // columns, groups))
    tiles = -(-groups // together) * -(-reduction // array.rows) * -(-columns // array.columns)
    cycles = tiles * max(positions, array.tile_load_cycles)
    return Work(node.op, "array", efficiency, cycles, 0.0, moved, spilled, 0, macs)


def work_of(device: Device, node: Node, shapes: tuple[Shape, ...], macs: int, producer: str) -> Work:
    """What a node asks of a device. ``producer`` is the operation that makes its first operand, or empty."""
    op, operations, each = node.op, device.operations, device.bytes_per_element
    kind = operation_kind(node)
    written = prod(node.shape)
    if op == "input":
        return Work(kind, "link", moved_bytes=written * each)
    if OPS[op].view or op == "zero":
        return Work(kind, "none")
    if kind in ("norm:batch", "layer_scale") and producer in ("conv", "linear", "norm"):  # folded into its weights
        return Work(kind, "none")
    if op == "act" and node.attrs[0] in operations.fused_activations and producer in ("conv", "linear", "norm", "add"):
        return Work(kind, "none")
    moved = (sum(prod(s) for s in shapes) + written) * each
    if kind in operations.host:
        return Work(kind, "host", moved_bytes=moved, elements=written, macs=macs)
    spilled = max(0, moved - int(device.memory.activations_kib * 1024))
    if kind in ("conv", "linear"):
        return _array_work(device, node, shapes, macs, moved, spilled)
    guessed = kind not in operations.passes
    passes = operations.guess_passes if guessed else operations.passes[kind]
    return Work(kind, "vector", "", 0, passes, moved, spilled, written, macs, guessed)


def link_us(device: Device, moved_bytes: float) -> float:
    """Time to move bytes between host and chip."""
    return moved_bytes / device.link.mb_per_s


def outside_us(device: Device, moved_bytes: float) -> float:
    """Time to move bytes that the chip has no room for."""
    return moved_bytes / (device.memory.outside_mb_per_s or device.link.mb_per_s)


def latency_us(device: Device, work: Work) -> tuple[float, str]:
    """The time of one node with its weights on the chip, and what bounds it."""
    unit, clock = work.unit, device.array.clock_mhz
    if unit == "none":
        return 0.0, "fused"
    if unit == "link":
        return link_us(device, work.moved_bytes), "transfer"
    if unit == "host":
        host = device.host
        busy = work.elements / host.elements_per_us + work.macs / (host.gmacs_per_s * 1e3)
        return link_us(device, work.moved_bytes) + busy + device.overhead.invoke_us, "fallback"
    outside = outside_us(device, work.spilled_bytes)
    overhead = device.overhead.op_us
    if unit == "array":
        compute = work.cycles / (clock * getattr(device.array, f"{work.efficiency}_efficiency"))
        memory = work.moved_bytes / (clock * device.memory.array_bytes_per_cycle)
    else:
        # A guess prices multiply-adds at one column of the array.
        compute = work.macs / (clock * device.array.rows)
        memory = work.passes * work.moved_bytes / (clock * device.memory.vector_bytes_per_cycle)
        overhead *= work.passes
    longest, bound = max((compute, "compute"), (memory, "memory"), (outside, "transfer"))
    return longest + overhead, "overhead" if overhead > longest else bound


def _picoseconds(microseconds: float) -> int:
    return round(microseconds * 1e6)


# -- the model -------------------------------------------------------------------------------------------------------


class _Price(NamedTuple):
    """What one fragment costs where its operands come from these producers."""

    picoseconds: int
    weight_bytes: int
    nodes: tuple[tuple[int, int], ...]  # picoseconds and weight bytes of every node
    remarks: tuple[tuple[str, ...], tuple[str, ...]] | None  # kinds guessed, kinds left to the host, if any


class AnalyticModel:
    """Prices graphs on one device. Remembers what each fragment costs, so that a second sight of it is cheap."""

    def __init__(self, name: str, version: int, device: Device, accuracy: Accuracy | None) -> None:
        self.name = name
        self.version = version
        self.device = device
        self.accuracy = accuracy
        self._source = f"predicted:{name}@{version}"
        self._factor = None if accuracy is None else accuracy.factor
        self._weights_bytes = int(device.memory.weights_kib * 1024)
        self._invoke = _picoseconds(device.overhead.invoke_us)
        self._prices: dict[Any, _Price] = {}

    def __repr__(self) -> str:
        return f"<AnalyticModel {self.name}@{self.version}>"

    @property
    def number_format(self) -> str:
        return self.device.number_format

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prices": {}}

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference at batch 1, in the device's number format."""
        prices = self._prices_of(graph)
        total = self._invoke + self._output_picoseconds(graph) + sum([price[0] for price in prices])
        weight_bytes = sum([price[1] for price in prices])
        guessed: tuple[str, ...] = ()
        fallback: tuple[str, ...] = ()
        for remarks in [price[3] for price in prices if price[3] is not None]:
            guessed += remarks[0]
            fallback += remarks[1]
        if weight_bytes > self._weights_bytes:
            total += self._waiting_for_weights(prices)
        latency_ms = total / _PICOSECONDS_PER_MS
        factor = self._factor
        return Cost(
            latency_ms,
            self._source,
            None if factor is None else latency_ms / factor,
            None if factor is None else latency_ms * factor,
            None if self.accuracy is None else self.accuracy.coverage,
            None,
            weight_bytes / 1024,
            tuple(sorted(set(guessed))) if guessed else guessed,
            tuple(sorted(set(fallback))) if fallback else fallback,
            GraphDetails(self, graph, self.device.bytes_per_element),
        )

    def _prices_of(self, graph: Graph) -> list[_Price]:
        """What the pieces of a graph cost, in order."""
        known = self._prices.get
        # A loose activation may fold into what comes before it; a closed fragment is the same everywhere.
        return [
            known(fragment if fragment.closed else (fragment, producers)) or self._price(fragment, producers)
            for fragment, _, producers, _ in graph.pieces
        ]

    def _price(self, fragment: Fragment, producers: tuple[str, ...]) -> _Price:
        nodes = []
        guessed, fallback = set(), set()
        for node, figures in zip(fragment.nodes, fragment.node_figures(), strict=True):
            first = node.inputs[0] if node.inputs else None
            producer = "" if first is None else fragment.nodes[first].op if first >= 0 else producers[-first - 1]
            work = work_of(self.device, node, fragment.operand_shapes(node), figures.macs, producer)
            nodes.append(
                (_picoseconds(latency_us(self.device, work)[0]), figures.params * self.device.bytes_per_element)
            )
            if work.guessed:
                guessed.add(work.kind)
            if work.unit == "host":
                fallback.add(work.kind)
        remarks = (tuple(guessed), tuple(fallback)) if guessed or fallback else None
        price = _Price(sum(n[0] for n in nodes), sum(n[1] for n in nodes), tuple(nodes), remarks)
        remember(self._prices, fragment if fragment.closed else (fragment, producers), price)
        return price

    def _output_picoseconds(self, graph: Graph) -> int:
        """Time to bring the outputs to the host."""
        left = sorted({index for _, index in graph.outputs})
        moved = 0
        for fragment, _, _, base in reversed(graph.pieces):
            if left[0] >= base and len(left) == len(fragment.outputs):  # all of one block's
                moved += fragment.output_elements
                break
            while left and left[-1] >= base:
                moved += prod(fragment.nodes[left.pop() - base].shape)
            if not left:
                break
        return _picoseconds(link_us(self.device, moved * self.device.bytes_per_element))

    def _waiting_for_weights(self, prices: Sequence[_Price]) -> int:
        """Time that the chip waits for weights from outside.

        Weights are kept on the chip in the order of execution until one does not fit; from there on all are fetched,
        while the chip works on what it has.
        """
        held = list(accumulate([price[1] for price in prices]))
        place = bisect_right(held, self._weights_bytes)  # of the first piece that does not fit whole
        if place == len(prices):
            return 0
        fetched = held[-1] - held[place]
        computing = sum([price[0] for price in prices[place + 1 :]])
        kept = held[place] - prices[place][1]
        for picoseconds, weight_bytes in prices[place][2]:
            kept += weight_bytes
            if kept > self._weights_bytes:
                computing += picoseconds
                fetched += weight_bytes
        return max(0, _picoseconds(outside_us(self.device, fetched)) - computing)

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, then invocation, outputs and, where they do not fit, waiting for weights."""
        nodes = graph.nodes
        rows = []
        for index, (node, figures) in enumerate(zip(nodes, graph.figures(), strict=True)):
            producer = nodes[node.inputs[0]].op if node.inputs else ""
            shapes = tuple(nodes[i].shape for i in node.inputs)
            time_us, bound = latency_us(self.device, work_of(self.device, node, shapes, figures.macs, producer))
            time_ms = _picoseconds(time_us) / _PICOSECONDS_PER_MS
            rows.append(NodeCost(index, node.op, node.shape, figures.macs, time_ms, bound))
        for op, picoseconds, bound in (
            ("invoke", self._invoke, "overhead"),
            ("outputs", self._output_picoseconds(graph), "transfer"),
            ("weights", self._waiting_for_weights(self._prices_of(graph)), "transfer"),
        ):
            if picoseconds:
                rows.append(NodeCost(None, op, (), 0, picoseconds / _PICOSECONDS_PER_MS, bound))
        return rows
