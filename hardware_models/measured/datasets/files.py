"""Reading a data set's files, with errors that say what is missing, and its table as measured networks."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_models.device_file.toml_table import HardwareError
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import pandas as pd


def read_csv(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV file, packed or not; the columns in ``text`` as texts. Raises ``HardwareError``."""
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=dict.fromkeys(text, str))
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise HardwareError(f"cannot read the measurements {str(path)!r}: {error}") from None


def subsample(frame: pd.DataFrame, max_rows: int) -> pd.DataFrame:
    """At most so many of its rows, the same ones every time."""
    return frame if len(frame) <= max_rows else frame.sample(max_rows, random_state=0).sort_index()


def networks_by_column(rows: Iterable[tuple[str, Graph, Mapping[str, float]]]) -> dict[str, list[MeasuredNetwork]]:
    """From networks with their latencies in ms by column: by column, the networks whose latency is above 0."""
    networks: dict[str, list[MeasuredNetwork]] = {}
    for name, graph, latencies in rows:
        for column, latency_ms in latencies.items():
            measured = networks.setdefault(column, [])
            if latency_ms > 0:  # not so where it is missing, which is nan
                measured.append(MeasuredNetwork(name, graph, latency_ms))
    return networks
