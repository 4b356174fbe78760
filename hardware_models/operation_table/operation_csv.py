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

from hardware_models.device_file.number_format import BYTES, DEFAULT
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.measured.latency_csv import Entry, _entry
from hardware_models.operation_table.fusion import FusedOperation, parse_operation

COLUMNS = ("operation", "space", "architecture", "latency_ms", "number_format", "std_ms", "source", "remark")


@dataclass(frozen=True)
class MeasuredOperations:
    """Latencies in ms of operations, whole networks with theirs, and how both were measured."""

    operations: Mapping[FusedOperation, float]
    networks: tuple[Entry, ...] = ()
    number_format: str = DEFAULT
    source: str = ""
    spaces: tuple[str, ...] = field(default=())


def read_operations(path: Path, code: Collection[str] = ()) -> MeasuredOperations:
    """The lines of the file; of an operation that is there more than once, the median.

    ``code`` is as in ``measured_csv.read_measured``. Raises ``HardwareError`` with the line's number.
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
            operation, latency_ms = _row(line, where)
            rows.setdefault(operation, []).append(latency_ms)
        else:
            networks.append(_entry(line, where, code))
            spaces.append(line.get("space") or "")
    if not rows:
        raise HardwareError(f"{path}: no measured operations; its columns are {', '.join(COLUMNS)}")
    if len(set(formats)) > 1:
        raise HardwareError(f"{path}: a table has one number format, and there are {', '.join(sorted(set(formats)))}")
    middles = {operation: median(values) for operation, values in rows.items()}
    told = ", ".join(dict.fromkeys(filter(None, sources)))
    return MeasuredOperations(middles, tuple(networks), formats[0], told, tuple(dict.fromkeys(filter(None, spaces))))


def _number_format(line: Mapping[str, str | None], where: str) -> str:
    stated = line.get("number_format") or DEFAULT
    if stated not in BYTES:
        raise HardwareError(f"{where}: number_format must be one of {', '.join(BYTES)}, not {stated!r}")
    return stated


def _row(line: Mapping[str, str | None], where: str) -> tuple[FusedOperation, float]:
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
