"""From measured operations to a device file of kind ``table``: interpolation, overheads, interval.

Overheads and scale are found on whole networks by non-negative least squares on relative errors, each with a prior: a
scale of 1, overheads of nothing. The interval is that of whole networks, each predicted by a fit without it (the
jackknife of arXiv 1905.02928, section 1.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hardware_models.device_file.toml_table import HardwareError
from hardware_models.device_file.writer import Calibrated, Stated, number, quoted
from hardware_models.measured.latency_csv import Entry, distinct
from hardware_models.measured.prediction_error import COVERAGE, interval_factor, scores
from hardware_models.operation_table.fusion import graph_groups
from hardware_models.operation_table.interpolation import Chosen, by_kind, choose
from hardware_models.operation_table.model import Rows, Whole
from hardware_models.operation_table.operation_csv import MeasuredOperations

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]

LEAST_NETWORKS = 3
"""Fewer whole networks give neither overheads nor an interval."""
_SCATTER = 0.03  # of a whole network's latency that no sum explains, as a share
_SCALE_SPREAD, _OVERHEAD_SPREAD = 0.3, 0.2  # of the scale around 1, and of each overhead as a share of a network


def calibrate_table(measured: MeasuredOperations, name: str, *, about: str = "") -> Calibrated:
    """The device file of measured operations and whole networks. Raises ``HardwareError``."""
    chosen = {kind: choose(*rows) for kind, rows in by_kind(measured.operations).items()}
    rows = Rows(measured.operations, {kind: found.choice for kind, found in chosen.items()})
    entries = distinct(measured.networks)
    whole, errors = fit_whole(rows, entries)
    stated = Stated(about or f"{name}, a table of operations", measured.number_format, "normal form")
    text = table_text(measured, chosen, whole, errors, stated)
    return Calibrated(text, "table", "normal form", errors)


def fit_whole(rows: Rows, entries: Sequence[Entry]) -> tuple[Whole, dict[str, float]]:
    """Overheads, scale and interval from whole networks, with the errors on each when it is left out."""
    import numpy

    if len(entries) < LEAST_NETWORKS:
        return Whole(), {}
    counts = numpy.array([_counts(rows, entry) for entry in entries])
    actual = numpy.array([entry.latency_ms for entry in entries])
    if not (actual > 0).all():
        raise HardwareError("latencies of whole networks must be above 0")
    left_out = numpy.zeros(len(entries))
    for i in range(len(entries)):
        others = numpy.arange(len(entries)) != i
        left_out[i] = counts[i] @ _solve(counts[others], actual[others])
    launch, each, scale = _solve(counts, actual)
    coverage = round(min(COVERAGE, len(entries) / (len(entries) + 1)), 4)  # what so few residuals can promise
    largest = max(entry.graph.macs for entry in entries) / 1e9
    factor = interval_factor(left_out, actual, coverage)
    groups = [group.operation for entry in entries for group in graph_groups(entry.graph)]
    guessed = tuple(sorted({operation.kind for operation in groups if rows.ask(operation)[1]}))
    whole = Whole(float(launch), float(each), float(scale), factor, coverage, largest, guessed)
    return whole, scores(left_out, actual)


def _counts(rows: Rows, entry: Entry) -> tuple[float, float, float]:
    """What the overheads and the scale multiply in one network."""
    asked = [rows.ask(group.operation)[0] for group in graph_groups(entry.graph)]
    return 1.0, float(len(asked)), sum(asked)


def _solve(counts: Floats, actual: Floats) -> Floats:
    """Launch and overhead of an operation in ms, and the scale."""
    import numpy
    from scipy.optimize import nnls

    middle, operations = float(actual.mean()), float(counts[:, 1].mean())
    spread = numpy.array([_OVERHEAD_SPREAD * middle, _OVERHEAD_SPREAD * middle / operations, _SCALE_SPREAD])
    prior = numpy.diag(_SCATTER / spread)
    expected = prior @ numpy.array([0.0, 0.0, 1.0])
    rows = numpy.vstack([counts / actual[:, None], prior])
    found: Floats = nnls(rows, numpy.concatenate([numpy.ones(len(actual)), expected]))[0]
    found[2] = max(found[2], 1e-3)  # an operation is never free
    return found


def table_text(
    measured: MeasuredOperations,
    chosen: Mapping[str, Chosen],
    whole: Whole,
    errors: Mapping[str, float],
    stated: Stated,
) -> str:
    """The device file."""
    lines = stated.head("table")
    lines += [f"source = {quoted(measured.source)}"] if measured.source else []
    lines += ["", "# latency = launch_ms + sum over operations of (per_operation_ms + scale * row)", "[latency]"]
    lines += [f"launch_ms = {number(whole.launch_ms)}", f"per_operation_ms = {number(whole.per_operation_ms)}"]
    lines += [f"scale = {number(whole.scale)}"]
    if whole.factor is not None:
        lines += [f"largest_gmacs = {number(whole.largest_gmacs)}  # of any network that was measured"]
        if whole.guessed:
            kinds_text = ", ".join(map(quoted, whole.guessed))
            lines += [f"guessed = [{kinds_text}]  # beyond the rows in these networks too: the interval holds it"]
        lines += ["", "[latency.error]", f"factor = {number(whole.factor)}", f"coverage = {whole.coverage}"]
        lines += [f"{key} = {value:g}" for key, value in errors.items()]
    lines += ["", "# How each kind is interpolated, and the median error of its rows when they are left out"]
    kinds = by_kind(measured.operations)
    for kind, found in chosen.items():
        choice, error_percent = found.choice, found.error_percent
        lines += [f'[latency.interpolation."{kind}"]', f'trend = "{choice.trend}"', f"reach = {choice.reach}"]
        lines += [f"scatter = {choice.scatter}", f"rows = {len(kinds[kind][0])}"]
        lines += [] if error_percent is None else [f"error_percent = {error_percent:.3g}"]
    lines += ["", "# ms of each operation, measured alone", "[latency.operations]"]
    lines += [f'"{row.text}" = {number(max(ms, 0.0))}' for row, ms in sorted(measured.operations.items())]
    return "\n".join(lines) + "\n"
