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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from itertools import accumulate
from math import exp, prod
from statistics import NormalDist
from typing import NamedTuple

from hardware_models.cost import Cost, GraphCostDetails, NodeCost
from hardware_models.device_file.codec import KnownDevice
from hardware_models.device_file.document import Document, Entries
from hardware_models.device_file.header import read_header
from hardware_models.device_file.number_format import BYTES_PER_ELEMENT, NUMBER_FORMAT_KEY, read_number_format
from hardware_models.device_file.operation_kinds import computing_kinds, operation_kind
from hardware_models.device_file.toml_table import HardwareError, TomlTable
from hardware_models.fragment_sum import (
    FIXED_POINT_SCALE,
    FragmentCost,
    FragmentCosts,
    NodePrice,
    node_costs,
    overhead_costs,
    price_fragment,
    sum_fragment_costs,
)
from search_spaces.graph.fragment import Fragment, Node, NodeCounts
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import ACTIVATIONS, OPS, Shape

_METRICS = ("rows", "mape_percent", "held_out_mape_percent", "spearman")
_MOST_OF_METRIC = {"spearman": 1.0}


# -- the facts of a device -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SystolicArray:
    """The systolic array. Efficiencies are the share of its cycles that a kind of convolution puts to use."""

    rows: int
    columns: int
    clock_mhz: float
    tile_load_cycles: int
    regular_efficiency: float
    pointwise_efficiency: float
    grouped_efficiency: float


@dataclass(frozen=True)
class OnChipMemory:
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
class HostLink:
    """The way to the host."""

    mb_per_s: float


@dataclass(frozen=True)
class FixedOverheads:
    """Fixed times: of an inference (and of each return from the host), and of an operation."""

    invoke_us: float
    op_us: float


@dataclass(frozen=True)
class HostProcessor:
    """The processor that runs what the chip does not.

    ``detection_ns_per_score`` is the time of a detector's post-processing by class score. It is no part of a graph:
    only comparisons with published latencies add it.
    """

    gmacs_per_s: float
    elements_per_us: float
    detection_ns_per_score: float


@dataclass(frozen=True)
class OperationPlacement:
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
class AnalyticDevice:
    """All that the model knows of a device; ``number_format`` says how many bytes an element takes everywhere."""

    array: SystolicArray
    memory: OnChipMemory
    link: HostLink
    overhead: FixedOverheads
    host: HostProcessor
    operations: OperationPlacement
    number_format: str = "int8"
    bytes_per_element: int = field(init=False, repr=False)  # of weights and activations alike

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes_per_element", BYTES_PER_ELEMENT[self.number_format])


@dataclass(frozen=True)
class HeldOutError:
    """How far predictions were off for networks that were left out of the fit.

    ``log_std`` is the root mean square of ``log(predicted / measured)``; the interval of a prediction covers a
    measurement with probability ``coverage`` where errors are log-normal. ``metrics``: other errors by name, for the
    reader of the file.
    """

    log_std: float
    coverage: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def factor(self) -> float:
        """The ratio between a prediction and either end of its interval."""
        return exp(self.log_std * NormalDist().inv_cdf(0.5 + self.coverage / 2))


def _check_names(table: TomlTable, names: Iterable[str], allowed: Iterable[str], what: str) -> None:
    allowed = sorted(allowed)
    for name in names:
        if name not in allowed:
            close = get_close_matches(name, allowed, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(allowed)}"
            raise HardwareError(f"{table.where}: operations: no {what} {name!r}; {hint}")


def read_analytic_device(table: TomlTable) -> AnalyticDevice:
    """The facts in a device file of kind ``analytic``. Raises ``HardwareError``."""
    array, memory, link = table.table("array"), table.table("memory"), table.table("link")
    overhead, host, operations = table.table("overhead"), table.table("host"), table.table("operations")
    passes = operations.table("passes")
    device = AnalyticDevice(
        array=SystolicArray(
            rows=array.integer("rows"),
            columns=array.integer("columns"),
            clock_mhz=array.number("clock_mhz"),
            tile_load_cycles=array.integer("tile_load_cycles", minimum=0),
            regular_efficiency=array.number("regular_efficiency", maximum=1),
            pointwise_efficiency=array.number("pointwise_efficiency", maximum=1),
            grouped_efficiency=array.number("grouped_efficiency", maximum=1),
        ),
        memory=OnChipMemory(
            weights_kib=memory.number("weights_kib", minimum=0),
            activations_kib=memory.number("activations_kib", minimum=0),
            array_bytes_per_cycle=memory.number("array_bytes_per_cycle"),
            vector_bytes_per_cycle=memory.number("vector_bytes_per_cycle"),
            outside_mb_per_s=memory.optional_number("outside_mb_per_s"),
        ),
        link=HostLink(mb_per_s=link.number("mb_per_s")),
        overhead=FixedOverheads(
            invoke_us=overhead.number("invoke_us", minimum=0), op_us=overhead.number("op_us", minimum=0)
        ),
        host=HostProcessor(
            gmacs_per_s=host.number("gmacs_per_s"),
            elements_per_us=host.number("elements_per_us"),
            detection_ns_per_score=host.number("detection_ns_per_score", minimum=0, default=0.0),
        ),
        operations=OperationPlacement(
            passes={kind: passes.number(kind, minimum=0) for kind in passes.names()},
            host=operations.texts("host"),
            fused_activations=operations.texts("fused_activations"),
            guess_passes=operations.number("guess_passes"),
        ),
        number_format=read_number_format(table),
    )
    kinds = computing_kinds()
    array_kinds = {op for op, operation in OPS.items() if operation.weighs_inputs}
    _check_names(table, device.operations.passes, kinds - array_kinds, "kind of vector operation")
    _check_names(table, device.operations.host, kinds, "operation kind")
    _check_names(table, device.operations.fused_activations, ACTIVATIONS, "activation")
    duplicates = set(device.operations.passes) & set(device.operations.host)
    if duplicates:
        raise HardwareError(f"{table.where}: operations: {min(duplicates)!r} is both in passes and in host; leave one")
    for part in (array, memory, link, overhead, host, operations, passes):
        part.finish()
    return device


def read_held_out_error(table: TomlTable) -> HeldOutError | None:
    """The held-out error in a device file, where it states one."""
    error = table.optional_table("error")
    if error is None:
        return None
    log_std, coverage = error.number("held_out_log_std", minimum=0), error.number("coverage", maximum=0.999)
    metrics = {
        name: error.number(name, minimum=-1 if name == "spearman" else 0, maximum=_MOST_OF_METRIC.get(name))
        for name in _METRICS
        if name in error.names()
    }
    error.finish()
    return HeldOutError(log_std, coverage, metrics)


# -- the device file -------------------------------------------------------------------------------------------------


def from_table(table: TomlTable, name: str, known_device: KnownDevice) -> AnalyticModel:
    """The model of a device file of kind ``analytic``. Raises ``HardwareError``."""
    table.text("kind")
    version = table.integer("version")
    model = AnalyticModel(name, version, read_analytic_device(table), read_held_out_error(table))
    table.optional_table("fit")  # fit.py's
    read_header(table)
    table.finish()
    return model


def to_table(model: AnalyticModel) -> Document:
    """What ``from_table`` reads; the priors of ``fit.py`` are no part of the model."""
    device, error = model.device, model.accuracy
    memory, operations = asdict(device.memory), asdict(device.operations)
    if device.memory.outside_mb_per_s is None:
        del memory["outside_mb_per_s"]
    del operations["passes"]
    return {
        "kind": model.kind,
        "version": model.version,
        NUMBER_FORMAT_KEY: device.number_format,
        "array": asdict(device.array),
        "memory": memory,
        "link": asdict(device.link),
        "overhead": asdict(device.overhead),
        "host": asdict(device.host),
        "operations": {**operations, "passes": Entries(device.operations.passes)},
        **({} if error is None else {"error": _error_table(error)}),
    }


def _error_table(error: HeldOutError) -> Document:
    return {**error.metrics, "held_out_log_std": error.log_std, "coverage": error.coverage}


# -- what an operation asks of a device ------------------------------------------------------------------------------


class NodeWork(NamedTuple):
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


def _systolic_array_work(
    device: AnalyticDevice, node: Node, shapes: tuple[Shape, ...], macs: int, moved: int, spilled: int
) -> NodeWork:
    array, product = device.array, OPS[node.op].product
    assert product is not None
    groups, positions, reduction, columns, places, _ = product(shapes, node.attrs, node.shape)
    efficiency = "grouped" if groups > 1 else "regular" if places > 1 else "pointwise"
    # Groups stand side by side in one tile where both their rows and their columns leave room.
    groups_per_tile = max(1, min(array.rows // reduction, array.columns // columns, groups))
    tiles = -(-groups // groups_per_tile) * -(-reduction // array.rows) * -(-columns // array.columns)
    cycles = tiles * max(positions, array.tile_load_cycles)
    return NodeWork(node.op, "array", efficiency, cycles, 0.0, moved, spilled, 0, macs)


def node_work(device: AnalyticDevice, node: Node, shapes: tuple[Shape, ...], macs: int, producer: str) -> NodeWork:
    """What a node asks of a device. ``producer`` is the operation that makes its first operand, or empty."""
    op, operations, element_bytes = OPS[node.op], device.operations, device.bytes_per_element
    kind = operation_kind(node)
    if node.op == "input":
        return NodeWork(kind, "link", moved_bytes=prod(node.shape) * element_bytes)
    if op.view or op.source:
        return NodeWork(kind, "none")
    if op.fuses and producer in OPS:
        before = OPS[producer]
        if before.absorbs_affine and op.affine(node.attrs):
            return NodeWork(kind, "none")
        if op.activation and before.absorbs_activation and kind.partition(":")[2] in operations.fused_activations:
            return NodeWork(kind, "none")
    output_elements = prod(node.shape)
    moved = (sum(map(prod, shapes)) + output_elements) * element_bytes
    if kind in operations.host:
        return NodeWork(kind, "host", moved_bytes=moved, elements=output_elements, macs=macs)
    spilled = max(0, moved - int(device.memory.activations_kib * 1024))
    if op.weighs_inputs and kind == node.op:  # not those over three spatial axes, which are a kind of their own
        return _systolic_array_work(device, node, shapes, macs, moved, spilled)
    guessed = kind not in operations.passes
    passes = operations.guess_passes if guessed else operations.passes[kind]
    return NodeWork(kind, "vector", "", 0, passes, moved, spilled, output_elements, macs, guessed)


def host_transfer_us(device: AnalyticDevice, moved_bytes: float) -> float:
    """Time to move bytes between host and chip."""
    return moved_bytes / device.link.mb_per_s


def off_chip_transfer_us(device: AnalyticDevice, moved_bytes: float) -> float:
    """Time to move bytes that the chip has no room for."""
    return moved_bytes / (device.memory.outside_mb_per_s or device.link.mb_per_s)


def node_latency_us(device: AnalyticDevice, work: NodeWork) -> tuple[float, str]:
    """The time of one node with its weights on the chip, and what bounds it."""
    unit, clock = work.unit, device.array.clock_mhz
    if unit == "none":
        return 0.0, "fused"
    if unit == "link":
        return host_transfer_us(device, work.moved_bytes), "transfer"
    if unit == "host":
        host = device.host
        compute_us = work.elements / host.elements_per_us + work.macs / (host.gmacs_per_s * 1e3)
        return host_transfer_us(device, work.moved_bytes) + compute_us + device.overhead.invoke_us, "fallback"
    outside = off_chip_transfer_us(device, work.spilled_bytes)
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


# -- the model -------------------------------------------------------------------------------------------------------


def _picoseconds(microseconds: float) -> int:
    """The unit of ``FragmentCost``: whole billionths of a millisecond."""
    return round(microseconds * 1e6)


class AnalyticModel:
    """Prices graphs on one device. Remembers what each fragment costs, so that a second sight of it is cheap."""

    kind = "analytic"

    def __init__(self, name: str, version: int, device: AnalyticDevice, accuracy: HeldOutError | None) -> None:
        self.name = name
        self.version = version
        self.device = device
        self.accuracy = accuracy
        self._source = f"predicted:{name}@{version}"
        self._factor = None if accuracy is None else accuracy.factor
        self._weight_capacity_bytes = int(device.memory.weights_kib * 1024)
        self._invoke_picoseconds = _picoseconds(device.overhead.invoke_us)
        # A loose activation may fold into what comes before it; a closed fragment is the same everywhere.
        self._fragment_costs = FragmentCosts(self._fragment_cost, by_producers=True)

    def __repr__(self) -> str:
        return f"<AnalyticModel {self.name}@{self.version}>"

    @property
    def number_format(self) -> str:
        return self.device.number_format

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference at batch 1, in the device's number format."""
        costs = self._fragment_costs.of(graph)
        total = sum_fragment_costs(costs)
        picoseconds = self._invoke_picoseconds + self._output_transfer_picoseconds(graph) + total.latency
        if total.weight_bytes > self._weight_capacity_bytes:
            picoseconds += self._weight_stall_picoseconds(costs)
        latency_ms = picoseconds / FIXED_POINT_SCALE
        factor, kinds = self._factor, total.kinds
        return Cost(
            latency_ms,
            self._source,
            None if factor is None else latency_ms / factor,
            None if factor is None else latency_ms * factor,
            None if self.accuracy is None else self.accuracy.coverage,
            None,
            total.weight_bytes / 1024,
            tuple(sorted(set(kinds.guessed))) if kinds.guessed else (),
            tuple(sorted(set(kinds.fallback))) if kinds.fallback else (),
            GraphCostDetails(self, graph, self.device.bytes_per_element),
        )

    def _fragment_cost(self, fragment: Fragment, producers: tuple[str, ...]) -> FragmentCost:
        return price_fragment(self._price, fragment, producers, keep_nodes=True)

    def _price(self, node: Node, counts: NodeCounts, shapes: tuple[Shape, ...], producer: str) -> NodePrice:
        device = self.device
        work = node_work(device, node, shapes, counts.macs, producer)
        latency = 0 if work.unit == "none" else _picoseconds(node_latency_us(device, work)[0])
        weight_bytes = counts.params * device.bytes_per_element
        return NodePrice(work.kind, latency, 0, weight_bytes, work.guessed, False, work.unit == "host")

    def _bound(self, node: Node, counts: NodeCounts, shapes: tuple[Shape, ...], producer: str) -> str:
        return node_latency_us(self.device, node_work(self.device, node, shapes, counts.macs, producer))[1]

    def _output_transfer_picoseconds(self, graph: Graph) -> int:
        """Time to bring the outputs to the host."""
        output_nodes = sorted({index for _, index in graph.outputs})
        moved = 0
        for fragment, _, _, base in reversed(graph.pieces):
            if output_nodes[0] >= base and len(output_nodes) == len(fragment.outputs):  # all of one block's
                moved += fragment.output_elements
                break
            while output_nodes and output_nodes[-1] >= base:
                moved += prod(fragment.nodes[output_nodes.pop() - base].shape)
            if not output_nodes:
                break
        return _picoseconds(host_transfer_us(self.device, moved * self.device.bytes_per_element))

    def _weight_stall_picoseconds(self, costs: Sequence[FragmentCost]) -> int:
        """Time that the chip waits for weights from outside.

        Weights are kept on the chip in the order of execution until one does not fit; from there on all are fetched,
        while the chip works on what it has.
        """
        cumulative_bytes = list(accumulate([cost.weight_bytes for cost in costs]))
        first_streamed = bisect_right(
            cumulative_bytes, self._weight_capacity_bytes
        )  # of the first piece that does not fit whole
        if first_streamed == len(costs):
            return 0
        streamed_bytes = cumulative_bytes[-1] - cumulative_bytes[first_streamed]
        compute_picoseconds = sum([cost.latency for cost in costs[first_streamed + 1 :]])
        resident_bytes = cumulative_bytes[first_streamed] - costs[first_streamed].weight_bytes
        for picoseconds, weight_bytes in costs[first_streamed].nodes:
            resident_bytes += weight_bytes
            if resident_bytes > self._weight_capacity_bytes:
                compute_picoseconds += picoseconds
                streamed_bytes += weight_bytes
        return max(0, _picoseconds(off_chip_transfer_us(self.device, streamed_bytes)) - compute_picoseconds)

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, then invocation, outputs and, where they do not fit, waiting for weights."""
        stall = self._weight_stall_picoseconds(self._fragment_costs.of(graph))
        return [
            *node_costs(graph, self._price, self._bound),
            *overhead_costs("invoke", self._invoke_picoseconds),
            *overhead_costs("outputs", self._output_transfer_picoseconds(graph), "transfer"),
            *overhead_costs("weights", stall, "transfer"),
        ]
