"""Keys of what was probed: digests of rounded numbers, and when two of them are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

KEY_PREFIX = "probe-1:"
CELLS_PER_E_FOLD = 1e6  # cells of a grid for each factor e: six significant digits
TOLERANCE = 1e-7  # of two raw values of one key, relative to the larger


class ProbeError(Exception):
    """A thing that cannot be probed: it cannot be copied, fails, takes too long, or is not the same twice."""


@dataclass(frozen=True, eq=False)
class ProbeKey:
    """The key of a run. ``text`` and ``alternate`` are digests of ``values`` on two grids offset by half a cell.

    Values that differ by rounding noise alone may straddle a border of one grid, not of both: look a key up under
    either text and confirm with ``same_key``. Keys have no ``==``, for they are equal within a tolerance only.
    """

    text: str
    alternate: str
    values: tuple[float, ...]


def same_key(x: ProbeKey, y: ProbeKey) -> bool:
    """Whether two keys are equal: on either grid, and in the values behind it."""
    return (x.text == y.text or x.alternate == y.alternate) and values_close(x.values, y.values)


def values_close(x: Sequence[float], y: Sequence[float]) -> bool:
    """Whether all values are equal within ``TOLERANCE``, or a billionth of the largest."""
    floor = 1e-9 * max(map(abs, (*x, *y)), default=0.0)
    return len(x) == len(y) and all(
        abs(a - b) <= max(TOLERANCE * max(abs(a), abs(b)), floor) for a, b in zip(x, y, strict=True)
    )


def parts_digest(*parts: object) -> bytes:
    """Sixteen bytes of what the parts' ``repr`` says."""
    return blake2b(repr(parts).encode(), digest_size=16).digest()


def grid_cells(values: Sequence[float], offset: float, digits: float = CELLS_PER_E_FOLD) -> NDArray[np.int64]:
    """Sign and rounded logarithm: cells of one relative width, without borders at powers of ten. ``(2, n)``."""
    array = np.asarray(values, dtype=np.float64)
    sizes = np.abs(array)
    logs = np.log(np.where(sizes > 0, sizes, 1.0))
    return np.stack([np.sign(array), np.floor(logs * digits + offset)]).astype("<i8")


def probe_key_of(kind: str, structure: object, values: Sequence[float]) -> ProbeKey:
    """The key of a kind of subject, of the structure of its outputs and of their values."""

    def text(grid: str, offset: float) -> str:
        return KEY_PREFIX + parts_digest(kind, structure, grid, grid_cells(values, offset).tobytes()).hex()

    return ProbeKey(text("a", 0.0), text("b", 0.5), tuple(values))
