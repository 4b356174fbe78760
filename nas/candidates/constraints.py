"""Hard constraints: bounds on metrics, how they are written, and how far a candidate violates them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nas.candidates.metrics import METRICS_THAT_MAY_BE_ZERO, UNIT_FACTORS, ObjectiveError, metric_name, metric_row


@dataclass(frozen=True)
class Limit:
    """A hard limit on a metric that is known before training: ``metric <= bound`` or, with ``at_least``, ``>=``."""

    metric: str
    bound: float
    at_least: bool = False

    @classmethod
    def parse(cls, text: str) -> Limit:
        """``latency<=7ms``, ``params<=5M``, ``latency@pixel3_cpu<=60ms``, ``macs>=100M``, ``fallback_ops<=0``."""
        match = re.fullmatch(r"\s*(\w+(?:@[\w.+-]+)?)\s*(<=|>=|<|>|=+)\s*([0-9][0-9.eE+-]*)\s*([A-Za-z]*)\s*", text)
        if match is None:
            raise ObjectiveError(f"limit {text!r} is not of the form latency<=7ms")
        metric = metric_name(match[1])
        if match[2] not in ("<=", ">=", "<", ">"):
            raise ObjectiveError(f"limit {text!r}: use <= or >=")
        units = UNIT_FACTORS[metric_row(metric).unit]
        unit = match[4].lower()
        if unit and unit not in units:
            raise ObjectiveError(
                f"limit {text!r}: {metric} is given in {', '.join(u for u in units if u)}, not {match[4]!r}"
            )
        try:
            bound = float(match[3]) * units.get(unit, 1.0)
        except ValueError:
            raise ObjectiveError(f"limit {text!r}: {match[3]!r} is no number") from None
        return cls._validated(metric, bound, match[2][0] == ">")

    @classmethod
    def _validated(cls, metric: str, bound: float, at_least: bool) -> Limit:
        if metric_row(metric).origin == "quality":
            raise ObjectiveError(
                f"a limit on {metric} cannot be checked before training; make it an objective, or filter result.front"
            )
        if not bound > 0 and not (bound == 0 and not at_least and metric.partition("@")[0] in METRICS_THAT_MAY_BE_ZERO):
            raise ObjectiveError(f"the limit on {metric} must be above zero, not {bound:g}")
        return cls(metric, bound, at_least)

    def constraint_violation(self, metrics: Mapping[str, float]) -> float:
        """How far the limit is broken, as a fraction of it (of a limit of 0: by how much); 0 where it holds."""
        value = metrics[self.metric]
        if self.bound == 0:
            return max(0.0, value)
        return max(0.0, (1 - value / self.bound) if self.at_least else (value / self.bound - 1))

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {repr(self.bound).removesuffix('.0')}"


def parse_limits(limits: Mapping[str, float] | Iterable[str | Limit] | None) -> tuple[Limit, ...]:
    """Limits from ``{"latency_ms": 7.0}`` (at most), or texts such as ``latency<=7ms``."""
    if limits is None:
        return ()
    if isinstance(limits, str):
        limits = [limits]
    if isinstance(limits, Mapping):
        return tuple(Limit._validated(metric_name(name), float(bound), False) for name, bound in limits.items())
    return tuple(limit if isinstance(limit, Limit) else Limit.parse(limit) for limit in limits)
