"""Addresses of devices: ``name?option=value`` or ``scheme://user@host:port/path?option=value``."""

from __future__ import annotations

import re
from difflib import get_close_matches
from urllib.parse import parse_qsl

from evaluators.devices.device import AddressError
from evaluators.devices.timing import TimingPlan

_AUTHORITY = re.compile(r"(?:(?P<user>[A-Za-z0-9_.-]+)@)?(?P<host>[A-Za-z0-9_.:\[\]-]+)")


class Address:
    """The parts of an address. Options are read one by one; ``finish`` refuses those that were not read.

    ``device`` is the name or scheme, ``authority`` what stands between ``://`` and the first slash, ``path`` what
    follows.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        head, _, query = text.partition("?")
        self.device, separator, location = head.partition("://")
        self.authority, _, self.path = location.partition("/") if separator else ("", "", "")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError:
            raise AddressError(
                f"{text!r}: the question mark must be followed by name=value pairs, joined by &"
            ) from None
        self._options = dict(pairs)
        self._option_names: list[str] = []
        if len(self._options) != len(pairs):
            raise AddressError(f"{text!r} gives an option twice")

    def text_option(self, name: str, default: str = "") -> str:
        """An option as text."""
        self._option_names.append(name)
        return self._options.pop(name, default)

    def choice(self, name: str, options: tuple[str, ...]) -> str:
        """One of ``options``; the first by default."""
        value = self.text_option(name, options[0])
        if value not in options:
            raise AddressError(f"{self.text!r}: {name} must be {' or '.join(options)}, not {value!r}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        value = self.text_option(name, str(default))
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            raise AddressError(f"{self.text!r}: {name} must be a number from {low:g} to {high:g}, not {value!r}")
        return number

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        number = self.number(name, default, low, high)
        if number != int(number):
            raise AddressError(f"{self.text!r}: {name} must be a whole number, not {number}")
        return int(number)

    def cpus(self) -> list[int]:
        """``cpus=0,2``: the processors to run on; empty for all."""
        value = self.text_option("cpus")
        if not re.fullmatch(r"(\d{1,4}(,\d{1,4})*)?", value):
            raise AddressError(f"{self.text!r}: cpus must be numbers joined by commas, not {value!r}")
        return [int(part) for part in value.split(",") if part]

    def plan(self) -> TimingPlan:
        """When to stop repeating: options ``precision_of_median``, ``min_repeats``, ``max_repeats``, ``max_s``."""
        plan = TimingPlan()
        return TimingPlan(
            warmup_runs=self.integer("warmup_runs", plan.warmup_runs, 0, 10_000),
            warmup_s=self.number("warmup_s", plan.warmup_s, 0, 600),
            precision=self.number("precision_of_median", plan.precision, 0.0001, 1),
            min_repeats=self.integer("min_repeats", plan.min_repeats, 3, 100_000),
            max_repeats=self.integer("max_repeats", plan.max_repeats, 3, 100_000),
            max_s=self.number("max_s", plan.max_s, 0.001, 3600),
        )

    def timeout_s(self, default: float = 120.0) -> float:
        """The limit of one whole measurement."""
        return self.number("timeout_s", default, 0.1, 86_400)

    def user_host_port(self, default_port: int) -> tuple[str, str, int]:
        """User (may be empty), host and port. Raises ``AddressError``."""
        match = _AUTHORITY.fullmatch(self.authority)
        if match is None:
            raise AddressError(f"{self.text!r}: expected {self.device}://user@host:port, letters, digits and .-_ alone")
        host, port = match["host"], str(default_port)
        if host.startswith("["):
            host, _, port_suffix = host[1:].partition("]")
            port = port_suffix[1:] if port_suffix else port
        elif host.count(":") == 1:
            host, _, port = host.partition(":")
        if not host or host.startswith("-") or not port.isdecimal() or not 0 < int(port) < 65536:
            raise AddressError(f"{self.text!r}: {self.authority!r} is no host with a port from 1 to 65535")
        return match["user"] or "", host, int(port)

    def reject_authority(self) -> None:
        """Raise ``AddressError`` where the address names a host or path, which this device does not have."""
        if self.authority or self.path:
            raise AddressError(f"{self.text!r}: {self.device} takes options alone, as in {self.device}?threads=1")

    def finish(self) -> None:
        """Raise ``AddressError`` for options that were not read."""
        for name in self._options:
            close_matches = get_close_matches(name, self._option_names, 1)
            option_list = f"known: {', '.join(self._option_names) or 'none'}"
            hint = f"did you mean {close_matches[0]}?" if close_matches else option_list
            raise AddressError(f"{self.text!r}: {self.device} has no option {name!r}; {hint}")
