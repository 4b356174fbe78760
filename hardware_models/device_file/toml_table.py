"""Device files: TOML read strictly, so that a wrong key or value is an error that names its place.

A reader asks a ``TomlTable`` for each key it knows; ``TomlTable.finish`` then complains about keys that nobody asked
for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

_MISSING: Any = object()
# Numbers beyond these are mistakes, and would overflow sums
_SMALLEST, _LARGEST = 1e-9, 1e12


class HardwareError(ValueError):
    """A device file that cannot be used; the message names the file and the key and says what to write."""


class TomlTable:
    """One table of a device file: typed access to its keys, with errors that say where they are."""

    def __init__(self, values: dict[str, Any], where: str, prefix: str = "") -> None:
        self.where = where
        self._values = values
        self._prefix = prefix
        self._requested_keys: set[str] = set()

    def _get(self, key: str, default: Any, expected: str) -> Any:
        self._requested_keys.add(key)
        value = self._values.get(key, default)
        if value is _MISSING:
            close = get_close_matches(key, [k for k in self._values if k not in self._requested_keys], n=1)
            hint = f" (there is {close[0]!r}: is it that?)" if close else ""
            raise HardwareError(f"{self.where}: {self._prefix}{key} is missing{hint}; add {expected}")
        return value

    def invalid_value(self, key: str, expected: str) -> HardwareError:
        """The error for a key whose value is not ``expected``."""
        return HardwareError(f"{self.where}: {self._prefix}{key} must be {expected}, not {self._values.get(key)!r}")

    def text(self, key: str) -> str:
        value = self._get(key, _MISSING, "a text")
        if not isinstance(value, str) or not value:
            raise self.invalid_value(key, "a text")
        return value

    def one_of(self, key: str, options: Collection[str]) -> str:
        """One of a few texts."""
        expected = f"one of {', '.join(map(repr, options))}"
        value = self._get(key, _MISSING, expected)
        if not isinstance(value, str) or value not in options:
            raise self.invalid_value(key, expected)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, possibly empty."""
        value = self._get(key, _MISSING, "a list of texts")
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.invalid_value(key, "a list of texts")
        return tuple(value)

    def number(
        self,
        key: str,
        *,
        above: float | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        default: float = _MISSING,
    ) -> float:
        """A number within the limits; without a lower limit of its own, it must be above 0."""
        if above is None and minimum is None:
            above = 0.0
        limits = [f"above {above:g}"] if above is not None else [f"at least {minimum:g}"]
        limits += [f"at most {maximum:g}"] if maximum is not None else []
        expected = f"a number {' and '.join(limits)}"
        value = self._get(key, default, expected)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.invalid_value(key, expected)
        if value and value is not default and not _SMALLEST <= abs(value) <= _LARGEST:
            raise self.invalid_value(key, f"{expected} (and a sensible one: 0, or {_SMALLEST:g} to {_LARGEST:g})")
        too_small = (above is not None and value <= above) or (minimum is not None and value < minimum)
        if too_small or (maximum is not None and value > maximum):
            raise self.invalid_value(key, expected)
        return float(value)

    def numbers(self, key: str, count: int | None = None) -> tuple[float, ...]:
        """A list of numbers, ``count`` of them where that is given."""
        expected = "a list of numbers" if count is None else f"a list of {count} numbers"
        value = self._get(key, _MISSING, expected)
        if not isinstance(value, list) or (count is not None and len(value) != count):
            raise self.invalid_value(key, expected)
        for v in value:
            if not isinstance(v, int | float) or isinstance(v, bool) or not abs(v) <= _LARGEST:
                raise self.invalid_value(key, expected)
        return tuple([float(v) for v in value])

    def optional_number(self, key: str) -> float | None:
        """A number above 0, or ``None`` where the key is not there."""
        self._requested_keys.add(key)
        return self.number(key) if key in self._values else None

    def integer(self, key: str, *, minimum: int = 1) -> int:
        expected = f"a whole number of at least {minimum}"
        value = self._get(key, _MISSING, expected)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= _LARGEST:
            raise self.invalid_value(key, expected)
        return value

    def table(self, key: str) -> TomlTable:
        value = self._get(key, _MISSING, f"a table [{self._prefix}{key}]")
        if not isinstance(value, dict):
            raise self.invalid_value(key, "a table")
        return TomlTable(value, self.where, f"{self._prefix}{key}.")

    def optional_table(self, key: str) -> TomlTable | None:
        self._requested_keys.add(key)
        return self.table(key) if key in self._values else None

    def names(self) -> tuple[str, ...]:
        """All keys, for tables whose keys the writer of the file chooses."""
        return tuple(self._values)

    def finish(self) -> None:
        """Raise ``HardwareError`` for a key that was not asked for."""
        for key in self._values:
            if key not in self._requested_keys:
                close = get_close_matches(key, self._requested_keys, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(self._requested_keys))}"
                raise HardwareError(f"{self.where}: no key {self._prefix}{key}; {hint}")


def parse_device_file(text: str, where: str) -> TomlTable:
    """The top table of a device file's text; ``where`` names it in errors."""
    try:
        return TomlTable(tomllib.loads(text), where)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise HardwareError(f"{where}: not valid TOML: {error}") from None


def read_device_file(path: Path) -> str:
    """The text of a device file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HardwareError(f"cannot read the device file {str(path)!r}: {error}") from None
