"""Reading a data set's files, with errors that say what is missing."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_models.device_file.toml_table import HardwareError

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
