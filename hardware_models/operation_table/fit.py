"""From measured operations to a device file of kind ``table``: interpolation, overheads, interval.

Overheads and scale are found on whole networks by non-negative least squares on relative errors, each with a prior: a
scale of 1, overheads of nothing. The interval is that of whole networks, each predicted by a fit without it (the
jackknife of arXiv 1905.02928, section 1.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hardware_models.device_file.toml_table import HardwareError
from hardware_models.device_file.writer import Calibration, DeviceHeader, toml_number, toml_string
from hardware_models.measured.latency_csv import MeasuredNetwork, median_per_network
from hardware_models.measured.prediction_error import accuracy_metrics, attainable_coverage, interval_factor
from hardware_models.operation_table.fusion import fuse_graph
from hardware_models.operation_table.interpolation import SelectedInterpolation, rows_by_kind, select_interpolation
from hardware_models.operation_table.model import NetworkOverheads, OperationTable
from hardware_models.operation_table.operation_csv import MeasuredOperations

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

MIN_NETWORKS = 3
"""Fewer whole networks give neither overheads nor an interval."""
_NETWORK_NOISE_STD = 0.03  # of a whole network's latency that no sum explains, as a share
_SCALE_SPREAD, _OVERHEAD_SPREAD = 0.3, 0.2  # of the scale around 1, and of each overhead as a share of a network


def calibrate_operation_table(measured: MeasuredOperations, name: str, *, about: str = "") -> Calibration:
    """The device file of measured operations and whole networks. Raises ``HardwareError``."""
    chosen = {kind: select_interpolation(*rows) for kind, rows in rows_by_kind(measured.operations).items()}
    rows = OperationTable(measured.operations, {kind: selected.choice for kind, selected in chosen.items()})
    entries = median_per_network(measured.networks)
    overheads, errors = fit_overheads(rows, entries)
    header = DeviceHeader(about or f"{name}, a table of operations", measured.number_format, "normal form")
    text = operation_table_toml(measured, chosen, overheads, errors, header)
    return Calibration(text, "table", "normal form", errors)


def fit_overheads(
    rows: OperationTable, entries: Sequence[MeasuredNetwork]
) -> tuple[NetworkOverheads, dict[str, float]]:
    """Overheads, scale and interval from whole networks, with the errors on each when it is left out."""
    import numpy as np

    if len(entries) < MIN_NETWORKS:
        return NetworkOverheads(), {}
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
    overheads = NetworkOverheads(float(launch), float(each), float(scale), factor, coverage, largest, guessed)
    return overheads, accuracy_metrics(left_out, actual)


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


def operation_table_toml(
    measured: MeasuredOperations,
    chosen: Mapping[str, SelectedInterpolation],
    overheads: NetworkOverheads,
    errors: Mapping[str, float],
    header: DeviceHeader,
) -> str:
    """The device file."""
    lines = header.toml_lines("table")
    lines += [f"source = {toml_string(measured.source)}"] if measured.source else []
    lines += ["", "# latency = launch_ms + sum over operations of (per_operation_ms + scale * row)", "[latency]"]
    lines += [
        f"launch_ms = {toml_number(overheads.launch_ms)}",
        f"per_operation_ms = {toml_number(overheads.per_operation_ms)}",
    ]
    lines += [f"scale = {toml_number(overheads.scale)}"]
    if overheads.factor is not None:
        lines += [f"largest_gmacs = {toml_number(overheads.largest_gmacs)}  # of any network that was measured"]
        if overheads.guessed:
            kinds_text = ", ".join(map(toml_string, overheads.guessed))
            lines += [f"guessed = [{kinds_text}]  # beyond the rows in these networks too: the interval holds it"]
        lines += [
            "",
            "[latency.error]",
            f"factor = {toml_number(overheads.factor)}",
            f"coverage = {overheads.coverage}",
        ]
        lines += [f"{key} = {value:g}" for key, value in errors.items()]
    lines += ["", "# How each kind is interpolated, and the median error of its rows when they are left out"]
    kinds = rows_by_kind(measured.operations)
    for kind, selected in chosen.items():
        choice, error_percent = selected.choice, selected.error_percent
        lines += [f'[latency.interpolation."{kind}"]', f'trend = "{choice.trend}"', f"reach = {choice.length_scale}"]
        lines += [f"scatter = {choice.scatter}", f"rows = {len(kinds[kind][0])}"]
        lines += [] if error_percent is None else [f"error_percent = {error_percent:.3g}"]
    lines += ["", "# ms of each operation, measured alone", "[latency.operations]"]
    lines += [f'"{row.text}" = {toml_number(max(ms, 0.0))}' for row, ms in sorted(measured.operations.items())]
    return "\n".join(lines) + "\n"
