"""How numbers, texts and the head of a device file are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hardware_models.device_file.number_format import NUMBER_FORMAT_KEY


def toml_number(value: float) -> str:
    """A number as device files write it; what is too small for them is 0."""
    return f"{value:.5g}" if abs(value) >= 1e-9 else "0"


def toml_string(text: str) -> str:
    """A text as TOML writes it, in one line."""
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    return json.dumps(line, ensure_ascii=False).replace("\x7f", "\\u007f")


def shipped_file(devices: Path, name: str) -> Path:
    """Where the file of a device is below the folder of devices; a new one is put there itself, to be filed by hand."""
    return next(devices.glob(f"*/{name}.toml"), devices / f"{name}.toml")


@dataclass(frozen=True, eq=False)
class Calibration:
    """A device file's text, how it was made, and its errors on networks left out one at a time or in folds."""

    text: str
    kind: str
    measured: str
    errors: dict[str, float]


@dataclass(frozen=True)
class DeviceHeader:
    """What a device file says of itself, whatever its kind."""

    about: str
    number_format: str
    executed_graph: str

    def toml_lines(self, kind: str) -> list[str]:
        return [
            "# Made by nas hw calibrate; the errors are those on networks left out.",
            f'kind = "{kind}"',
            "version = 1",
            f'{NUMBER_FORMAT_KEY} = "{self.number_format}"',
            f"about = {toml_string(self.about)}",
            f'measured = "{self.executed_graph}"',
        ]
