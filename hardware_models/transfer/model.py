"""A device known by few measurements, as a mixture of devices that are known by many.

    log latency = intercept + sum over devices of w_d * log(latency on d) + sum over counts of v_k * log(1 + n_k / s_k)

The mixture is linear in the logarithms; ``calibration`` finds it as a Gaussian process whose mean is that of all known
devices. ``n_k`` are the counts of ``operation.FEATURE_NAMES`` by kind of operation: what no known device tells apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf
from typing import TYPE_CHECKING, Any

from hardware_models.cost import Cost, HardwareModel, NodeCost
from hardware_models.device_file.number_format import BYTES_PER_ELEMENT, DEFAULT_NUMBER_FORMAT, read_number_format
from hardware_models.device_file.toml_table import HardwareError, TomlTable
from hardware_models.device_file.writer import DeviceHeader, toml_number
from hardware_models.fragment_sum import FIXED_POINT_SCALE
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
        for fragment, _, _, _ in graph.pieces:
            row = row_of.get(fragment)
            rows.append(self._add_fragment(fragment) if row is None else row)
        features = self._table.take(rows, 0).sum(0) / self._units
        features[: len(self.models)] += self._base
        uncounted_kinds = self._uncounted_kinds
        return features, frozenset[str]().union(*[uncounted_kinds[row] for row in rows if uncounted_kinds[row]])

    def _add_fragment(self, fragment: Fragment) -> int:
        import numpy as np

        row = len(self._row_of_fragment)
        if row == len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        uncounted_kinds = set()
        for node, figures in zip(fragment.nodes, fragment.node_counts(), strict=True):
            operation = operation_features(node, figures, fragment.operand_shapes(node))
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

        values = [round(model.rates["latency"].price(operation) * FIXED_POINT_SCALE) for model in self.models]
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
    """

    intercept: float
    devices: Mapping[str, float]
    counts: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    factor: float | None = None
    coverage: float | None = None
    largest_gmacs: float = inf


def transfer_model(
    table: TomlTable, name: str, load_source_device: Callable[[str, str], HardwareModel]
) -> TransferModel:
    """The model of a device file of kind ``transferred``. Raises ``HardwareError``.

    ``load_source_device`` gives the known device of a name; its second argument names the file in errors.
    """
    table.text("kind")
    version, executed_graph = table.integer("version"), read_executed_graph(table)
    number_format = read_number_format(table)
    latency, versions = table.table("latency"), table.table("devices")
    mixture = _read_mixture(latency)
    models = []
    for device in mixture.devices:
        model = load_source_device(device, versions.where)
        assert isinstance(model, LinearModel)
        if versions.integer(device) != model.version:
            raise HardwareError(
                f"{versions.where}: it rests on {device}@{versions.integer(device)}, and here is"
                f" {device}@{model.version}; calibrate it again"
            )
        models.append(model)
    for part in (versions, latency):
        part.finish()
    table.skip_descriptive_keys()
    table.finish()
    return TransferModel(name, version, mixture, models, executed_graph=executed_graph, number_format=number_format)


def _read_mixture(latency: TomlTable) -> DeviceMixture:
    weights, error = latency.table("devices"), latency.optional_table("error")
    devices = {device: weights.numbers(device, 1)[0] for device in weights.names()}
    if not devices:
        raise latency.invalid_value("devices", "a table of one device at least")
    if error is not None:
        for key in error.names():  # for the reader of the file
            error.number(key, minimum=-1)
    return DeviceMixture(
        latency.numbers("intercept", 1)[0],
        devices,
        _read_counts(latency),
        None if error is None else error.number("factor", minimum=1),
        None if error is None else error.number("coverage", maximum=0.999),
        latency.number("largest_gmacs", default=inf),
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


class TransferModel:
    """Prices graphs by what known devices say of them."""

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


def transfer_model_toml(
    mixture: DeviceMixture,
    models: Sequence[HardwareModel],
    errors: dict[str, float],
    header: DeviceHeader,
) -> str:
    """The device file of a mixture."""
    lines = [*header.toml_lines("transferred"), "", "# The devices it rests on, with their versions"]
    lines += ["[devices]", *(f'"{m.name}" = {getattr(m, "version", 1)}' for m in models)]
    lines += ["", "[latency]", f"intercept = [{mixture.intercept:.8g}]"]
    lines += [f"largest_gmacs = {toml_number(mixture.largest_gmacs)}", "", "[latency.error]"]
    lines += [f"factor = {toml_number(mixture.factor or 1)}", f"coverage = {mixture.coverage}"]
    lines += [f"{key} = {value:g}" for key, value in errors.items()]
    lines += ["", "# Powers of the latencies on those devices", "[latency.devices]"]
    lines += [f'"{device}" = [{weight:.8g}]' for device, weight in mixture.devices.items()]
    for title, position in (("counts", 0), ("scales", 1)):
        lines += ["", f"[latency.{title}]"]
        for kind, pairs in mixture.counts.items():
            lines.append(f'"{kind}" = [{", ".join(f"{pair[position]:.8g}" for pair in pairs)}]')
    return "\n".join(lines) + "\n"
