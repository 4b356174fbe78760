"""Measured operations, and whole networks beside them, from a CSV file: what a table is made of.

Its columns are ``operation,space,architecture,latency_ms,number_format,std_ms,source,remark``. A line has either an
operation, as ``FusedOperation.text`` writes it, or a network, as ``latency_csv`` reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import median

from hardware_models.device_file.number_format import BYTES_PER_ELEMENT, DEFAULT_NUMBER_FORMAT
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.measured.latency_csv import csv_row, parse_measured_network, parse_spread, read_lines
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.operation_table.fusion import FusedOperation, parse_operation

COLUMNS = ("operation", "space", "architecture", "latency_ms", "number_format", "std_ms", "source", "remark")


@dataclass(frozen=True)
class MeasuredOperation:
    """An operation measured alone, and how; ``std_ms``: of its rounds, ``None`` where it is not known."""

    operation: FusedOperation
    latency_ms: float
    number_format: str = DEFAULT_NUMBER_FORMAT
    std_ms: float | None = None
    source: str = ""
    remark: str = ""


Measurement = MeasuredNetwork | MeasuredOperation
"""What a calibration starts from."""


def median_per_operation(operations: Iterable[MeasuredOperation]) -> dict[FusedOperation, float]:
    """The median latency of every operation in ms."""
    rows: dict[FusedOperation, list[float]] = {}
    for row in operations:
        rows.setdefault(row.operation, []).append(row.latency_ms)
    return {operation: median(latencies) for operation, latencies in rows.items()}


def read_measured_operations(path: Path, code: Collection[str] = ()) -> list[Measurement]:
    """The lines of the file, operations of one number format, and networks that were measured in it.

    ``code`` is as in ``latency_csv.read_measured_networks``. Raises ``HardwareError`` with the line's number.
    """
    rows: list[Measurement] = []
    formats = set()
    for where, line in read_lines(path):
        number_format = _number_format(line, where)
        formats.add(number_format)
        is_operation = bool(line.get("operation"))
        rows.append(
            _parse_operation_row(line, where, number_format)
            if is_operation
            else parse_measured_network(line, where, code)
        )
    if not any(isinstance(row, MeasuredOperation) for row in rows):
        raise HardwareError(f"{path}: no measured operations; its columns are {', '.join(COLUMNS)}")
    if len(formats) > 1:
        raise HardwareError(f"{path}: a table has one number format, and there are {', '.join(sorted(formats))}")
    return rows


def _number_format(line: Mapping[str, str | None], where: str) -> str:
    number_format = line.get("number_format") or DEFAULT_NUMBER_FORMAT
    if number_format not in BYTES_PER_ELEMENT:
        raise HardwareError(
            f"{where}: number_format must be one of {', '.join(BYTES_PER_ELEMENT)}, not {number_format!r}"
        )
    return number_format


def _parse_operation_row(line: Mapping[str, str | None], where: str, number_format: str) -> MeasuredOperation:
    try:
        operation = parse_operation(line["operation"] or "")
    except HardwareError as error:
        raise HardwareError(f"{where}: {error}") from None
    text = line.get("latency_ms") or ""
    try:
        latency_ms = float(text)
    except ValueError:
        raise HardwareError(f"{where}: latency_ms must be a number, not {text!r}") from None
    if not isfinite(latency_ms) or latency_ms < 0:
        raise HardwareError(f"{where}: latency_ms of an operation must be at least 0, not {text}")
    source, remark = line.get("source") or "", line.get("remark") or ""
    return MeasuredOperation(operation, latency_ms, number_format, parse_spread(line), source, remark)


def operation_row(measured: MeasuredOperation) -> tuple[str, ...]:
    """The line of a measured operation by ``COLUMNS``."""
    std_ms = "" if measured.std_ms is None else f"{measured.std_ms:.3g}"
    figures = (f"{measured.latency_ms:.5g}", measured.number_format, std_ms)
    return (measured.operation.text, "", "", *figures, measured.source, measured.remark)


def network_row(measured: MeasuredNetwork, space: str, architecture: str, number_format: str) -> tuple[str, ...]:
    """The line of a whole network by ``COLUMNS``, with space and architecture as the file is to name them."""
    _, _, latency_ms, *rest = csv_row(measured, space, architecture)
    return ("", space, architecture, latency_ms, number_format, *rest)
