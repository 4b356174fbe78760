"""Measured operations, and whole networks beside them, from a CSV file: what a table is made of.

Its columns are ``operation,space,architecture,latency_ms,number_format,std_ms,source,remark``. A line has either an
operation, as ``FusedOperation.text`` writes it, or a network, as ``measured_csv`` reads it.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from statistics import median

from hardware_models.device_file.number_format import BYTES_PER_ELEMENT, DEFAULT_NUMBER_FORMAT
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.measured.latency_csv import MeasuredNetwork, parse_measured_network
from hardware_models.operation_table.fusion import FusedOperation, parse_operation

COLUMNS = ("operation", "space", "architecture", "latency_ms", "number_format", "std_ms", "source", "remark")


@dataclass(frozen=True)
class MeasuredOperations:
    """Latencies in ms of operations, whole networks with theirs, and how both were measured."""

    operations: Mapping[FusedOperation, float]
    networks: tuple[MeasuredNetwork, ...] = ()
    number_format: str = DEFAULT_NUMBER_FORMAT
    source: str = ""
    spaces: tuple[str, ...] = field(default=())


def read_measured_operations(path: Path, code: Collection[str] = ()) -> MeasuredOperations:
    """The lines of the file; of an operation that is there more than once, the median.

    ``code`` is as in ``measured_csv.read_measured_networks``. Raises ``HardwareError`` with the line's number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = [(f"{path}:{reader.line_num}", line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HardwareError(f"cannot read the measurements {str(path)!r}: {error}") from None
    rows: dict[FusedOperation, list[float]] = {}
    networks, formats, sources, spaces = [], [], [], []
    for where, line in lines:
        formats.append(_number_format(line, where))
        sources.append(line.get("source") or "")
        if line.get("operation"):
            operation, latency_ms = _parse_operation_row(line, where)
            rows.setdefault(operation, []).append(latency_ms)
        else:
            networks.append(parse_measured_network(line, where, code))
            spaces.append(line.get("space") or "")
    if not rows:
        raise HardwareError(f"{path}: no measured operations; its columns are {', '.join(COLUMNS)}")
    if len(set(formats)) > 1:
        raise HardwareError(f"{path}: a table has one number format, and there are {', '.join(sorted(set(formats)))}")
    medians = {operation: median(values) for operation, values in rows.items()}
    source_text = ", ".join(dict.fromkeys(filter(None, sources)))
    return MeasuredOperations(
        medians, tuple(networks), formats[0], source_text, tuple(dict.fromkeys(filter(None, spaces)))
    )


def _number_format(line: Mapping[str, str | None], where: str) -> str:
    number_format = line.get("number_format") or DEFAULT_NUMBER_FORMAT
    if number_format not in BYTES_PER_ELEMENT:
        raise HardwareError(
            f"{where}: number_format must be one of {', '.join(BYTES_PER_ELEMENT)}, not {number_format!r}"
        )
    return number_format


def _parse_operation_row(line: Mapping[str, str | None], where: str) -> tuple[FusedOperation, float]:
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
    return operation, latency_ms
