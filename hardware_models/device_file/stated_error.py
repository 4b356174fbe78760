"""How far off a device file says that its predictions are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hardware_models.device_file.document import Document
from hardware_models.device_file.toml_table import TomlTable


class StatedError(NamedTuple):
    """The interval that a device file states, and its errors on networks left out, by metric."""

    factor: float | None
    coverage: float | None
    metrics: dict[str, float]


def read_error(figure: TomlTable) -> StatedError:
    """The table ``error`` of a figure; of one without it nothing is known. Raises ``HardwareError``."""
    error = figure.optional_table("error")
    if error is None:
        return StatedError(None, None, {})
    factor, coverage = error.number("factor", minimum=1), error.number("coverage", maximum=0.999)
    metrics = {name: error.number(name, minimum=-1) for name in error.names() if name not in ("factor", "coverage")}
    return StatedError(factor, coverage, metrics)


def error_table(factor: float | None, coverage: float | None, metrics: Mapping[str, float]) -> Document:
    """What ``read_error`` reads, as the table of a figure; empty where there is no interval."""
    return {} if factor is None else {"error": {"factor": factor, "coverage": coverage, **metrics}}
