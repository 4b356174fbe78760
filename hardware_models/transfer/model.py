"""A device known by few measurements, as a mixture of devices that are known by many.

    log latency = intercept + sum over devices of w_d * log(latency on d) + sum over counts of v_k * log(1 + n_k / s_k)

The mixture is linear in the logarithms; ``calibration`` finds it as a Gaussian process whose mean is that of all known
devices. ``n_k`` are the counts of ``operation.FEATURES`` by kind of operation: what no known device tells apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf
from typing import TYPE_CHECKING, Any

from hardware_models.cost import Cost, HardwareModel, NodeCost
from hardware_models.device_file.number_format import BYTES, DEFAULT, read_number_format
from hardware_models.device_file.toml_table import HardwareError, Table
from hardware_models.device_file.writer import Stated, number
from hardware_models.linear.features import FEATURES, Operation, operation_of
from hardware_models.linear.model import PARTS, LearnedModel, known_kinds, read_reading, widened
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import MEMO_LIMIT, remember
from search_spaces.registry import unknown

if TYPE_CHECKING:
    import numpy
    import numpy.typing

LEAST_MS = 1e-3
_WHOLE = (1, 10**9, 10**6, 10**6)  # counts as whole numbers: operations, multiply-adds, elements, parameters


class Signals:
    """What known devices say of graphs, and what these count: exact sums, remembered by fragment."""

    def __init__(self, models: Sequence[LearnedModel], kinds: Sequence[str]) -> None:
        import numpy

        self.models = tuple(models)
        self.kinds = tuple(kinds)
        self._first = {kind: len(models) + i * len(FEATURES) for i, kind in enumerate(self.kinds)}
        self._length = len(models) + len(self.kinds) * len(FEATURES)
        self._base = numpy.array([model.rates["latency"].base + LEAST_MS for model in self.models])
        self._units = numpy.array([PARTS] * len(models) + list(_WHOLE) * len(self.kinds), dtype=numpy.float64)
        self._forget()

    def _forget(self) -> None:
        import numpy

        self._operations: dict[Operation, Any] = {}
        self._place: dict[Fragment, int] = {}
        self._table = numpy.zeros((256, self._length), dtype=numpy.int64)  # a row a fragment
        self._other: list[frozenset[str]] = []  # kinds that are not counted, a set a fragment

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_operations", "_place", "_table", "_other")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def of(self, graph: Graph) -> tuple[numpy.typing.NDArray[numpy.float64], frozenset[str]]:
        """Latencies in ms on every known device, then counts by kind; and kinds that are not counted.

        Latencies are a microsecond more, so that none is 0.
        """
        if len(self._place) >= MEMO_LIMIT:
            self._forget()
        place = self._place
        rows = []
        for fragment, _, _, _ in graph.pieces:
            row = place.get(fragment)
            rows.append(self._look(fragment) if row is None else row)
        signal = self._table.take(rows, 0).sum(0) / self._units
        signal[: len(self.models)] += self._base
        other = self._other
        return signal, frozenset[str]().union(*[other[row] for row in rows if other[row]])

    def _look(self, fragment: Fragment) -> int:
        import numpy

        row = len(self._place)
        if row == len(self._table):
            self._table = numpy.concatenate([self._table, numpy.zeros_like(self._table)])
        other = set()
        for node, figures in zip(fragment.nodes, fragment.node_figures(), strict=True):
            operation = operation_of(node, figures, fragment.operand_shapes(node))
            if operation is None:
                continue
            if operation.kind not in self._first:
                other.add(operation.kind)
            known = self._operations.get(operation)
            if known is None:
                known = self._signal(operation)
                remember(self._operations, operation, known)
            self._table[row] += known
        self._place[fragment] = row
        self._other.append(frozenset(other))
        return row

    def _signal(self, operation: Operation) -> Any:
        import numpy

        found = [round(model.rates["latency"].price(operation) * PARTS) for model in self.models]
        found += [0] * (self._length - len(found))
        first = self._first.get(operation.kind)
        if first is not None:
            found[first : first + len(FEATURES)] = [
                round(count * whole) for count, whole in zip(operation.counts, _WHOLE, strict=True)
            ]
        return numpy.array(found, dtype=numpy.int64)


@dataclass(frozen=True)
class Mixture:
    """The numbers of the formula above. ``devices`` by name, ``counts`` by kind: (v_k, s_k) for each of FEATURES.

    ``factor`` and ``coverage`` are those of ``Rates``; ``largest_gmacs`` is that of any measured network.
    """

    intercept: float
    devices: Mapping[str, float]
    counts: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    factor: float | None = None
    coverage: float | None = None
    largest_gmacs: float = inf


def transferred_model(table: Table, name: str) -> TransferredModel:
    """The model of a device file of kind ``transferred``. Raises ``HardwareError``."""
    table.text("kind")
    version, reading = table.whole("version"), read_reading(table)
    number_format = read_number_format(table)
    latency, versions = table.table("latency"), table.table("devices")
    mixture = _read_mixture(latency)
    models = [_known_device(device, versions) for device in mixture.devices]
    for part in (versions, latency):
        part.finish()
    table.about()
    table.finish()
    return TransferredModel(name, version, mixture, models, reading=reading, number_format=number_format)


def _read_mixture(latency: Table) -> Mixture:
    weights, error = latency.table("devices"), latency.optional_table("error")
    devices = {device: weights.numbers(device, 1)[0] for device in weights.names()}
    if not devices:
        raise latency.wrong("devices", "a table of one device at least")
    if error is not None:
        for key in error.names():  # for the reader of the file
            error.number(key, minimum=-1)
    return Mixture(
        latency.numbers("intercept", 1)[0],
        devices,
        _read_counts(latency),
        None if error is None else error.number("factor", minimum=1),
        None if error is None else error.number("coverage", maximum=0.999),
        latency.number("largest_gmacs", default=inf),
    )


def _read_counts(latency: Table) -> dict[str, tuple[tuple[float, float], ...]]:
    if "counts" not in latency.names() and "scales" not in latency.names():
        return {}
    counts, scales = latency.table("counts"), latency.table("scales")
    known_kinds(latency, counts.names())
    pairs = {}
    for kind in counts.names():
        divisors = scales.numbers(kind, len(FEATURES))
        if min(divisors) <= 0:
            raise scales.wrong(kind, f"{len(FEATURES)} numbers above 0")
        pairs[kind] = tuple(zip(counts.numbers(kind, len(FEATURES)), divisors, strict=True))
    scales.finish()
    return pairs


def _known_device(device: str, versions: Table) -> LearnedModel:
    from hardware_models.catalog import hardware, load_hardware
    from hardware_models.device_facts import facts_of

    if device not in hardware():
        raise HardwareError(f"{versions.where}: {unknown('hardware', device, list(hardware()))}")
    version = versions.whole(device)
    facts = facts_of(device)
    if facts["kind"] != "learned":
        raise HardwareError(f"{versions.where}: {device!r} is no learned device; name one that is")
    if facts["version"] != version:
        raise HardwareError(
            f"{versions.where}: it rests on {device}@{version}, and here is {device}@{facts['version']};"
            " calibrate it again"
        )
    model = load_hardware(device)
    assert isinstance(model, LearnedModel)
    return model


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
        number_format: str = DEFAULT,
    ) -> None:
        import numpy

        self.name = name
        self.version = version
        self.mixture = mixture
        self.reading = reading
        self.number_format = number_format
        self.signals = Signals(models, tuple(mixture.counts))
        pairs = [pair for kind in mixture.counts for pair in mixture.counts[kind]]
        self._devices = numpy.array([mixture.devices[model.name] for model in models])
        self._counts = numpy.array([v for v, _ in pairs])
        self._scales = numpy.array([s for _, s in pairs])

    def __repr__(self) -> str:
        return f"<TransferredModel {self.name}@{self.version}>"

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference, at the batch that was measured."""
        import numpy

        signal, other = self.signals.of(graph)
        known = len(self._devices)
        log_ms = self.mixture.intercept + float(self._devices @ numpy.log(signal[:known]))
        if len(self._counts):
            log_ms += float(self._counts @ numpy.log1p(signal[known:] / self._scales))
        latency_ms = exp(max(-30.0, min(log_ms, 60.0)))
        factor = self.mixture.factor
        if factor is not None:
            factor = widened(factor, graph.macs / 1e9 / self.mixture.largest_gmacs, len(other))
        return Cost(
            latency_ms,
            f"predicted:{self.name}@{self.version}",
            None if factor is None else latency_ms / factor,
            None if factor is None else latency_ms * factor,
            self.mixture.coverage,
            None,
            graph.params * BYTES[self.number_format] / 1024,
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
        return self._graph.peak_activation_elements * BYTES[self._model.number_format] / 1024


def transferred_text(
    mixture: Mixture,
    models: Sequence[HardwareModel],
    errors: dict[str, float],
    stated: Stated,
) -> str:
    """The device file of a mixture."""
    lines = [*stated.head("transferred"), "", "# The devices it rests on, with their versions"]
    lines += ["[devices]", *(f'"{m.name}" = {getattr(m, "version", 1)}' for m in models)]
    lines += ["", "[latency]", f"intercept = [{mixture.intercept:.8g}]"]
    lines += [f"largest_gmacs = {number(mixture.largest_gmacs)}", "", "[latency.error]"]
    lines += [f"factor = {number(mixture.factor or 1)}", f"coverage = {mixture.coverage}"]
    lines += [f"{key} = {value:g}" for key, value in errors.items()]
    lines += ["", "# Powers of the latencies on those devices", "[latency.devices]"]
    lines += [f'"{device}" = [{weight:.8g}]' for device, weight in mixture.devices.items()]
    for title, place in (("counts", 0), ("scales", 1)):
        lines += ["", f"[latency.{title}]"]
        for kind, pairs in mixture.counts.items():
            lines.append(f'"{kind}" = [{", ".join(f"{pair[place]:.8g}" for pair in pairs)}]')
    return "\n".join(lines) + "\n"
