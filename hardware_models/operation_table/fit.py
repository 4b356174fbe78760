"""From measured operations to a model of kind ``table``: interpolation, overheads, interval.

Overheads and scale are found on whole networks by non-negative least squares on relative errors, each with a prior: a
scale of 1, overheads of nothing. The interval is that of whole networks, each predicted by a fit without it (the
jackknife of arXiv 1905.02928, section 1.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hardware_models.device_file.document import rounded
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.measured.network import MeasuredNetwork, median_per_network
from hardware_models.measured.prediction_error import accuracy_metrics, attainable_coverage, interval_factor
from hardware_models.operation_table.fusion import FusedOperation, fuse_graph
from hardware_models.operation_table.interpolation import InterpolationSettings, rows_by_kind, select_interpolation
from hardware_models.operation_table.model import NetworkOverheads, OperationTable, OperationTableModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

MIN_NETWORKS = 3
"""Fewer whole networks give neither overheads nor an interval."""
_NETWORK_NOISE_STD = 0.03  # of a whole network's latency that no sum explains, as a share
_SCALE_SPREAD, _OVERHEAD_SPREAD = 0.3, 0.2  # of the scale around 1, and of each overhead as a share of a network


def fit_operation_table(
    name: str, operations: Mapping[FusedOperation, float], networks: Sequence[MeasuredNetwork], number_format: str
) -> OperationTableModel:
    """The model of measured operations, in ms, and whole networks, in as many digits as its file keeps.

    Raises ``HardwareError``.
    """
    choices = {kind: select_interpolation(*rows) for kind, rows in rows_by_kind(operations).items()}
    overheads = fit_overheads(OperationTable(operations, choices), median_per_network(networks))
    rows = OperationTable(
        {operation: rounded(max(ms, 0.0)) for operation, ms in operations.items()},
        {kind: _rounded_choice(choice) for kind, choice in choices.items()},
    )
    return OperationTableModel(name, 1, rows, _rounded_overheads(overheads), number_format=number_format)


def _rounded_choice(choice: InterpolationSettings) -> InterpolationSettings:
    error_percent = choice.error_percent
    return choice if error_percent is None else replace(choice, error_percent=rounded(error_percent, 3))


def _rounded_overheads(overheads: NetworkOverheads) -> NetworkOverheads:
    return replace(
        overheads,
        launch_ms=rounded(overheads.launch_ms),
        per_operation_ms=rounded(overheads.per_operation_ms),
        scale=rounded(overheads.scale),
        factor=None if overheads.factor is None else rounded(overheads.factor),
        largest_gmacs=rounded(overheads.largest_gmacs),
    )


def fit_overheads(rows: OperationTable, entries: Sequence[MeasuredNetwork]) -> NetworkOverheads:
    """Overheads, scale and interval from whole networks, with the errors on each when it is left out."""
    import numpy as np

    if len(entries) < MIN_NETWORKS:
        return NetworkOverheads()
    counts = np.array([_overhead_counts(rows, entry) for entry in entries])
    actual = np.array([entry.latency_ms for entry in entries])
    if not (actual > 0).all():
        raise HardwareError("latencies of whole networks must be above 0")
    left_out = np.zeros(len(entries))
    for i in range(len(entries)):
        others = np.arange(len(entries)) != i
        left_out[i] = counts[i] @ _solve_overheads(counts[others], actual[others])
    launch, each, scale = _solve_overheads(counts, actual)
    coverage = round(attainable_coverage(len(entries)), 4)  # what so few residuals can promise
    largest = max(entry.graph.macs for entry in entries) / 1e9
    factor = interval_factor(left_out, actual, coverage)
    groups = [group.operation for entry in entries for group in fuse_graph(entry.graph)]
    guessed = tuple(sorted({operation.kind for operation in groups if rows.predict(operation)[1]}))
    errors = accuracy_metrics(left_out, actual)
    return NetworkOverheads(float(launch), float(each), float(scale), factor, coverage, largest, guessed, errors)


def _overhead_counts(rows: OperationTable, entry: MeasuredNetwork) -> tuple[float, float, float]:
    """What the overheads and the scale multiply in one network."""
    latencies_ms = [rows.predict(group.operation)[0] for group in fuse_graph(entry.graph)]
    return 1.0, float(len(latencies_ms)), sum(latencies_ms)


def _solve_overheads(counts: FloatArray, actual: FloatArray) -> FloatArray:
    """Launch and overhead of an operation in ms, and the scale."""
    import numpy as np
    from scipy.optimize import nnls

    mean_ms, operations = float(actual.mean()), float(counts[:, 1].mean())
    spread = np.array([_OVERHEAD_SPREAD * mean_ms, _OVERHEAD_SPREAD * mean_ms / operations, _SCALE_SPREAD])
    prior = np.diag(_NETWORK_NOISE_STD / spread)
    expected = prior @ np.array([0.0, 0.0, 1.0])
    rows = np.vstack([counts / actual[:, None], prior])
    solution: FloatArray = nnls(rows, np.concatenate([np.ones(len(actual)), expected]))[0]
    solution[2] = max(solution[2], 1e-3)  # an operation is never free
    return solution
