"""A device known by few measurements, as a mixture of devices that are known by many.

    log latency = intercept + sum over devices of w_d * log(latency on d) + sum over counts of v_k * log(1 + n_k / s_k)

The mixture is linear in the logarithms; ``calibration`` finds it as a Gaussian process whose mean is that of all known
devices. ``n_k`` are the counts of ``operation.FEATURES`` by kind of operation: what no known device tells apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from typing import TYPE_CHECKING, Any

from hardware_models.cost import Cost, NodeCost
from hardware_models.device_file import HardwareError, Table
from hardware_models.learned import PARTS, LearnedModel, read_reading
from hardware_models.operation import FEATURES, operation_of
from search_spaces.graph import Fragment, Graph, remember

if TYPE_CHECKING:
    import numpy
    import numpy.typing

LEAST_MS = 1e-3
_WHOLE = (1, 10**9, 10**6, 10**6)  # counts as whole numbers: operations, multiply-adds, elements, parameters


class Signals:
    """What known devices say of graphs, and what these count: exact sums, remembered by fragment."""

    def __init__(self, models: Sequence[LearnedModel], kinds: Sequence[str]) -> None:
        self.models = tuple(models)
        self.kinds = tuple(kinds)
        self._first = {kind: len(models) + i * len(FEATURES) for i, kind in enumerate(self.kinds)}
        self._length = len(models) + len(self.kinds) * len(FEATURES)
        self._seen: dict[Fragment, tuple[Any, frozenset[str]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_seen": {}}

    def of(self, graph: Graph) -> tuple[numpy.typing.NDArray[numpy.float64], frozenset[str]]:
        """Latencies in ms on every known device, then counts by kind; and kinds that are not counted.

        Latencies are a microsecond more, so that none is 0.
        """
        import numpy

        total = numpy.zeros(self._length, dtype=numpy.int64)
        other: frozenset[str] = frozenset()
        for piece in graph.pieces:
            known = self._seen.get(piece.fragment)
            if known is None:
                known = self._look(piece.fragment)
            total += known[0]
            if known[1]:
                other |= known[1]
        signal = total.astype(numpy.float64)
        signal[: len(self.models)] /= PARTS
        signal[: len(self.models)] += [model.rates["latency"].base + LEAST_MS for model in self.models]
        signal[len(self.models) :] /= _WHOLE * len(self.kinds)
        return signal, other

    def _look(self, fragment: Fragment) -> tuple[Any, frozenset[str]]:
        import numpy

        found = numpy.zeros(self._length, dtype=numpy.int64)
        other = set()
        for place, model in enumerate(self.models):
            found[place] = model.latency_parts(fragment)
        for node, figures in zip(fragment.nodes, fragment.node_figures(), strict=True):
            operation = operation_of(node, figures, fragment.operand_shapes(node))
            if operation is None:
                continue
            first = self._first.get(operation.kind)
            if first is None:
                other.add(operation.kind)
                continue
            for i, (count, whole) in enumerate(zip(operation.counts, _WHOLE, strict=True)):
                found[first + i] += round(count * whole)
        known = found, frozenset(other)
        remember(self._seen, fragment, known)
        return known


@dataclass(frozen=True)
class Mixture:
    """The numbers of the formula above. ``devices`` by name, ``counts`` by kind: (v_k, s_k) for each of FEATURES."""

    intercept: float
    devices: Mapping[str, float]
    counts: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    factor: float | None = None
    coverage: float | None = None


def transferred_model(table: Table, name: str) -> TransferredModel:
    """The model of a device file of kind ``transferred``. Raises ``HardwareError``."""
    from hardware_models.catalog import load_hardware

    table.text("kind")
    version, reading = table.whole("version"), read_reading(table)
    bytes_each = table.number("bytes_per_element", default=1.0)
    latency = table.table("latency")
    weights, versions = latency.table("devices"), table.table("devices")
    counts, scales = latency.optional_table("counts"), latency.optional_table("scales")
    error = latency.optional_table("error")
    devices = {device: _any_number(weights, device) for device in weights.names()}
    pairs: dict[str, tuple[tuple[float, float], ...]] = {}
    for kind in counts.names() if counts and scales else ():
        assert counts is not None
        assert scales is not None
        pairs[kind] = tuple(zip(counts.numbers(kind, len(FEATURES)), scales.numbers(kind, len(FEATURES)), strict=True))
        if min(scale for _, scale in pairs[kind]) <= 0:
            raise scales.wrong(kind, f"{len(FEATURES)} numbers above 0")
    models = []
    for device in devices:
        model = load_hardware(device)
        if not isinstance(model, LearnedModel):
            raise HardwareError(f"{table.where}: {device!r} is no learned device")
        if model.version != versions.whole(device):
            raise HardwareError(
                f"{table.where}: it rests on {device}@{versions.whole(device)}, and here is {device}@{model.version};"
                " calibrate it again"
            )
        models.append(model)
    mixture = Mixture(
        latency.numbers("intercept", 1)[0],
        devices,
        pairs,
        None if error is None else error.number("factor", minimum=1),
        None if error is None else error.number("coverage", maximum=0.999),
    )
    if error is not None:
        for key in error.names():
            error.number(key, minimum=-1)
        error.finish()
    table.about()
    latency.finish()
    table.finish()
    return TransferredModel(name, version, mixture, models, reading=reading, bytes_per_element=bytes_each)


def _any_number(table: Table, key: str) -> float:
    return table.numbers(key, 1)[0]


class TransferredModel:
    """Prices graphs by what known devices say of them."""

    def __init__(
        self,
        name: str,
        version: int,
        mixture: Mixture,
        models: Sequence[LearnedModel],
        *,
        reading: str = "normal form",
        bytes_per_element: float = 1.0,
    ) -> None:
        import numpy

        self.name = name
        self.version = version
        self.mixture = mixture
        self.reading = reading
        self.bytes_per_element = bytes_per_element
        self.signals = Signals(models, tuple(mixture.counts))
        pairs = [pair for kind in mixture.counts for pair in mixture.counts[kind]]
        self._devices = numpy.array([mixture.devices[model.name] for model in models])
        self._counts = numpy.array([v for v, _ in pairs])
        self._scales = numpy.array([s for _, s in pairs])

    def __repr__(self) -> str:
        return f"<TransferredModel {self.name}@{self.version}>"

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference as it was measured."""
        import numpy

        signal, other = self.signals.of(graph)
        known = len(self._devices)
        log_ms = self.mixture.intercept + float(self._devices @ numpy.log(signal[:known]))
        if len(self._counts):
            log_ms += float(self._counts @ numpy.log1p(signal[known:] / self._scales))
        latency_ms = exp(min(log_ms, 60.0))
        factor = self.mixture.factor
        return Cost(
            latency_ms,
            f"predicted:{self.name}@{self.version}",
            None if factor is None else latency_ms / factor,
            None if factor is None else latency_ms * factor,
            self.mixture.coverage,
            None,
            graph.params * self.bytes_per_element / 1024,
            tuple(sorted(other)),
            (),
            _Details(self, graph, latency_ms),
        )


class _Details:
    """A cost's second thoughts. The total is a product of powers, so that shares are those of the known devices."""

    def __init__(self, model: TransferredModel, graph: Graph, latency_ms: float) -> None:
        self._model = model
        self._graph = graph
        self._latency_ms = latency_ms

    def breakdown(self) -> list[NodeCost]:
        """Every row in proportion to its mean share on the known devices, by their weight."""
        weights = [abs(w) for w in self._model.mixture.devices.values()]
        tables = [m.breakdown(self._graph) for m in self._model.signals.models]
        count = len(self._graph.nodes)
        shares = [0.0] * (count + 1)
        for weight, rows in zip(weights, tables, strict=True):
            whole = sum(row.latency_ms for row in rows)
            for row in rows:
                shares[count if row.index is None else row.index] += weight * row.latency_ms / whole if whole else 0.0
        unit = self._latency_ms / (sum(shares) or 1.0)
        rows = [row._replace(latency_ms=shares[i] * unit) for i, row in enumerate(tables[0][:count])]
        return [*rows, NodeCost(None, "invoke", (), 0, shares[count] * unit, "overhead")]

    def peak_memory_kib(self) -> float:
        return self._graph.peak_activation_elements * self._model.bytes_per_element / 1024
