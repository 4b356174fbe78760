"""A device known by few measurements, as a mixture of devices that are known by many.

    log latency = intercept + sum over devices of w_d * log(latency on d) + sum over counts of v_k * log(1 + n_k / s_k)

The mixture is linear in the logarithms; ``fit`` finds it as a Gaussian process whose mean is that of all known
devices. ``n_k`` are the counts of ``features.FEATURE_NAMES`` by kind of operation: what no known device tells apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, inf
from typing import TYPE_CHECKING, Any

from hardware_models.cost import Cost, NodeCost
from hardware_models.device_file.codec import KnownDevice
from hardware_models.device_file.document import Commented, Document, Entries, rounded
from hardware_models.device_file.header import read_header
from hardware_models.device_file.number_format import (
    BYTES_PER_ELEMENT,
    DEFAULT_NUMBER_FORMAT,
    NUMBER_FORMAT_KEY,
    read_number_format,
)
from hardware_models.device_file.stated_error import error_table, read_error
from hardware_models.device_file.toml_table import HardwareError, TomlTable
from hardware_models.fragment_sum import FIXED_POINT_SCALE, fixed_point, nodes_of_fragment
from hardware_models.linear.features import FEATURE_NAMES, OperationFeatures, operation_features
from hardware_models.linear.model import (
    LinearModel,
    check_operation_kinds,
    read_executed_graph,
    widen_interval,
)
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import MEMO_LIMIT, memo_put

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MIN_LATENCY_MS = 1e-3
_DIGITS = 8  # of a mixture in a device file: its terms are large beside their sum
_COUNT_UNITS = (1, 10**9, 10**6, 10**6)  # counts as whole numbers: operations, multiply-adds, elements, parameters


class TransferFeatures:
    """What known devices say of graphs, and what these count: exact sums, remembered by fragment."""

    def __init__(self, models: Sequence[LinearModel], kinds: Sequence[str]) -> None:
        import numpy as np

        self.models = tuple(models)
        self.kinds = tuple(kinds)
        self._first_column = {kind: len(models) + i * len(FEATURE_NAMES) for i, kind in enumerate(self.kinds)}
        self._length = len(models) + len(self.kinds) * len(FEATURE_NAMES)
        self._base = np.array([model.rates["latency"].base + MIN_LATENCY_MS for model in self.models])
        self._units = np.array(
            [FIXED_POINT_SCALE] * len(models) + list(_COUNT_UNITS) * len(self.kinds), dtype=np.float64
        )
        self._clear_memo()

    def _clear_memo(self) -> None:
        import numpy as np

        self._operations: dict[OperationFeatures, Any] = {}
        self._row_of_fragment: dict[Fragment, int] = {}
        self._table = np.zeros((256, self._length), dtype=np.int64)  # a row a fragment
        self._uncounted_kinds: list[frozenset[str]] = []  # kinds that are not counted, a set a fragment

    def __getstate__(self) -> dict[str, Any]:
        return {
            k: v
            for k, v in self.__dict__.items()
            if k not in ("_operations", "_row_of_fragment", "_table", "_uncounted_kinds")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clear_memo()

    def of(self, graph: Graph) -> tuple[npt.NDArray[np.float64], frozenset[str]]:
        """Latencies in ms on every known device, then counts by kind; and kinds that are not counted.

        Latencies are a microsecond more, so that none is 0.
        """
        if len(self._row_of_fragment) >= MEMO_LIMIT:
            self._clear_memo()
        row_of = self._row_of_fragment
        rows = []
        for fragment, _, producers, _ in graph.pieces:
            row = row_of.get(fragment)
            rows.append(self._add_fragment(fragment, producers) if row is None else row)
        features = self._table.take(rows, 0).sum(0) / self._units
        features[: len(self.models)] += self._base
        uncounted_kinds = self._uncounted_kinds
        return features, frozenset[str]().union(*[uncounted_kinds[row] for row in rows if uncounted_kinds[row]])

    def _add_fragment(self, fragment: Fragment, producers: tuple[str, ...]) -> int:
        import numpy as np

        row = len(self._row_of_fragment)
        if row == len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        uncounted_kinds = set()
        for node, counts, shapes, _ in nodes_of_fragment(fragment, producers):
            operation = operation_features(node, counts, shapes)
            if operation is None:
                continue
            if operation.kind not in self._first_column:
                uncounted_kinds.add(operation.kind)
            contribution = self._operations.get(operation)
            if contribution is None:
                contribution = self._operation_features(operation)
                memo_put(self._operations, operation, contribution)
            self._table[row] += contribution
        self._row_of_fragment[fragment] = row
        self._uncounted_kinds.append(frozenset(uncounted_kinds))
        return row

    def _operation_features(self, operation: OperationFeatures) -> Any:
        import numpy as np

        values = [fixed_point(model.rates["latency"].price(operation)) for model in self.models]
        values += [0] * (self._length - len(values))
        first = self._first_column.get(operation.kind)
        if first is not None:
            values[first : first + len(FEATURE_NAMES)] = [
                round(count * unit) for count, unit in zip(operation.counts, _COUNT_UNITS, strict=True)
            ]
        return np.array(values, dtype=np.int64)


@dataclass(frozen=True)
class DeviceMixture:
    """The numbers of the formula above. ``devices`` by name, ``counts`` by kind: (v_k, s_k) for each of FEATURES.

    ``factor`` and ``coverage`` are those of ``Rates``; ``largest_gmacs`` is that of any measured network.
    ``errors``: on networks left out, by metric, for the reader of the file.
    """

    intercept: float
    devices: Mapping[str, float]
    counts: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    factor: float | None = None
    coverage: float | None = None
    largest_gmacs: float = inf
    errors: Mapping[str, float] = field(default_factory=dict)


def rounded_mixture(mixture: DeviceMixture) -> DeviceMixture:
    """The mixture in as many digits as device files keep: eight, of factor and size five."""
    return replace(
        mixture,
        intercept=float(f"{mixture.intercept:.{_DIGITS}g}"),
        devices={device: float(f"{weight:.{_DIGITS}g}") for device, weight in mixture.devices.items()},
        counts={
            kind: tuple([(float(f"{v:.{_DIGITS}g}"), float(f"{s:.{_DIGITS}g}")) for v, s in pairs])
            for kind, pairs in mixture.counts.items()
        },
        factor=None if mixture.factor is None else rounded(mixture.factor),
        largest_gmacs=rounded(mixture.largest_gmacs),
    )


# -- the device file -------------------------------------------------------------------------------------------------


def from_table(table: TomlTable, name: str, known_device: KnownDevice) -> TransferModel:
    """The model of a device file of kind ``transferred``. Raises ``HardwareError``."""
    table.text("kind")
    version, executed_graph = table.integer("version"), read_executed_graph(table)
    number_format = read_number_format(table)
    latency, versions = table.table("latency"), table.table("devices")
    mixture = _read_mixture(latency)
    models = []
    for device in mixture.devices:
        model = known_device(device, versions.where)
        assert isinstance(model, LinearModel)
        if versions.integer(device) != model.version:
            raise HardwareError(
                f"{versions.where}: it rests on {device}@{versions.integer(device)}, and here is"
                f" {device}@{model.version}; calibrate it again"
            )
        models.append(model)
    for part in (versions, latency):
        part.finish()
    read_header(table)
    table.finish()
    return TransferModel(name, version, mixture, models, executed_graph=executed_graph, number_format=number_format)


def to_table(model: TransferModel) -> Document:
    """What ``from_table`` reads."""
    mixture = model.mixture
    latency: dict[str, Any] = {"intercept": [mixture.intercept]}
    if mixture.largest_gmacs < inf:
        latency["largest_gmacs"] = mixture.largest_gmacs
    latency |= error_table(mixture.factor, mixture.coverage, mixture.errors)
    weights = {device: [weight] for device, weight in mixture.devices.items()}
    latency["devices"] = Commented(Entries(weights), "Powers of the latencies on those devices")
    for key, position in (("counts", 0), ("scales", 1)):
        numbers = {kind: [pair[position] for pair in pairs] for kind, pairs in mixture.counts.items()}
        latency |= {key: Entries(numbers)} if numbers else {}
    versions = {known.name: known.version for known in model.signals.models}
    return {
        "kind": model.kind,
        "version": model.version,
        NUMBER_FORMAT_KEY: model.number_format,
        "measured": model.executed_graph,
        "devices": Commented(Entries(versions), "The devices it rests on, with their versions"),
        "latency": latency,
    }


def _read_mixture(latency: TomlTable) -> DeviceMixture:
    weights = latency.table("devices")
    devices = {device: weights.numbers(device, 1)[0] for device in weights.names()}
    if not devices:
        raise latency.invalid_value("devices", "a table of one device at least")
    error = read_error(latency)
    return DeviceMixture(
        latency.numbers("intercept", 1)[0],
        devices,
        _read_counts(latency),
        error.factor,
        error.coverage,
        latency.number("largest_gmacs", default=inf),
        error.metrics,
    )


def _read_counts(latency: TomlTable) -> dict[str, tuple[tuple[float, float], ...]]:
    if "counts" not in latency.names() and "scales" not in latency.names():
        return {}
    counts, scales = latency.table("counts"), latency.table("scales")
    check_operation_kinds(latency, counts.names())
    pairs = {}
    for kind in counts.names():
        divisors = scales.numbers(kind, len(FEATURE_NAMES))
        if min(divisors) <= 0:
            raise scales.invalid_value(kind, f"{len(FEATURE_NAMES)} numbers above 0")
        pairs[kind] = tuple(zip(counts.numbers(kind, len(FEATURE_NAMES)), divisors, strict=True))
    scales.finish()
    return pairs


# -- the model -------------------------------------------------------------------------------------------------------


class TransferModel:
    """Prices graphs by what known devices say of them."""

    kind = "transferred"

    def __init__(
        self,
        name: str,
        version: int,
        mixture: DeviceMixture,
        models: Sequence[LinearModel],
        *,
        executed_graph: str = "normal form",
        number_format: str = DEFAULT_NUMBER_FORMAT,
    ) -> None:
        import numpy as np

        self.name = name
        self.version = version
        self.mixture = mixture
        self.executed_graph = executed_graph
        self.number_format = number_format
        self.signals = TransferFeatures(models, tuple(mixture.counts))
        pairs = [pair for kind in mixture.counts for pair in mixture.counts[kind]]
        self._devices = np.array([mixture.devices[model.name] for model in models])
        self._counts = np.array([v for v, _ in pairs])
        self._scales = np.array([s for _, s in pairs])

    def __repr__(self) -> str:
        return f"<TransferredModel {self.name}@{self.version}>"

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference, at the batch that was measured."""
        import numpy as np

        features, uncounted_kinds = self.signals.of(graph)
        device_count = len(self._devices)
        log_ms = self.mixture.intercept + float(self._devices @ np.log(features[:device_count]))
        if len(self._counts):
            log_ms += float(self._counts @ np.log1p(features[device_count:] / self._scales))
        latency_ms = exp(max(-30.0, min(log_ms, 60.0)))
        factor = self.mixture.factor
        if factor is not None:
            factor = widen_interval(factor, graph.macs / 1e9 / self.mixture.largest_gmacs, len(uncounted_kinds))
        return Cost(
            latency_ms,
            f"predicted:{self.name}@{self.version}",
            None if factor is None else latency_ms / factor,
            None if factor is None else latency_ms * factor,
            self.mixture.coverage,
            None,
            graph.params * BYTES_PER_ELEMENT[self.number_format] / 1024,
            tuple(sorted(uncounted_kinds)),
            (),
            _TransferCostDetails(self, graph, latency_ms),
        )


class _TransferCostDetails:
    """A cost's second thoughts. The total is a product of powers, so that shares are those of the known devices."""

    def __init__(self, model: TransferModel, graph: Graph, latency_ms: float) -> None:
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
            total_ms = sum(row.latency_ms for row in rows)
            for row in rows:
                shares[count if row.index is None else row.index] += (
                    weight * row.latency_ms / total_ms if total_ms else 0.0
                )
        unit = self._latency_ms / (sum(shares) or 1.0)
        rows = [row._replace(latency_ms=shares[i] * unit) for i, row in enumerate(tables[0][:count])]
        return [*rows, NodeCost(None, "invoke", (), 0, shares[count] * unit, "overhead")]

    def peak_memory_kib(self) -> float:
        return self._graph.peak_activation_elements * BYTES_PER_ELEMENT[self._model.number_format] / 1024
