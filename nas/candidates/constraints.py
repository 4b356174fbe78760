"""Hard constraints: bounds on metrics, how they are written, and how far a candidate violates them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

from nas.candidates.metrics import (
    METRICS,
    METRICS_THAT_MAY_BE_ZERO,
    UNIT_FACTORS,
    MetricTable,
    ObjectiveError,
    metric_name,
    metric_row,
)


@dataclass(frozen=True)
class Limit:
    """A hard limit on a metric: ``metric <= bound`` or, with ``at_least``, ``>=``.

    One on a quality holds until the quality is known, which is when the network is trained.
    """

    metric: str
    bound: float
    at_least: bool = False

    @classmethod
    def parse(cls, text: str, metrics: MetricTable = METRICS) -> Limit:
        """``latency<=7ms``, ``params<=5M``, ``latency@pixel3_cpu<=60ms``, ``macs>=100M``, ``accuracy>=0.9``."""
        match = re.fullmatch(r"\s*(\w+(?:@[\w.+-]+)?)\s*(<=|>=|<|>|=+)\s*(-?[0-9][0-9.eE+-]*)\s*([A-Za-z]*)\s*", text)
        if match is None:
            raise ObjectiveError(f"limit {text!r} is not of the form latency<=7ms")
        metric = metric_name(match[1], metrics)
        if match[2] not in ("<=", ">=", "<", ">"):
            raise ObjectiveError(f"limit {text!r}: use <= or >=")
        units = UNIT_FACTORS[metric_row(metric, metrics).unit]
        unit = match[4].lower()
        if unit and unit not in units:
            raise ObjectiveError(
                f"limit {text!r}: {metric} is given in {', '.join(u for u in units if u)}, not {match[4]!r}"
            )
        try:
            bound = float(match[3]) * units.get(unit, 1.0)
        except ValueError:
            raise ObjectiveError(f"limit {text!r}: {match[3]!r} is no number") from None
        return cls._validated(metric, bound, match[2][0] == ">", metrics)

    @classmethod
    def _validated(cls, metric: str, bound: float, at_least: bool, metrics: MetricTable) -> Limit:
        if not isfinite(bound):
            raise ObjectiveError(f"the limit on {metric} must be a finite number, not {bound:g}")
        of_quality = metric_row(metric, metrics).origin == "quality"
        may_be_zero = metric.partition("@")[0] in METRICS_THAT_MAY_BE_ZERO and not at_least
        if not of_quality and not bound > 0 and not (bound == 0 and may_be_zero):
            raise ObjectiveError(f"the limit on {metric} must be above zero, not {bound:g}")
        return cls(metric, bound, at_least)

    def constraint_violation(self, figures: Mapping[str, float]) -> float:
        """How far the limit is broken, as a fraction of it (of a limit of 0: by how much); 0 where it holds.

        It holds for a metric that is not among the figures: a quality of what is not trained yet.
        """
        if self.metric not in figures:
            return 0.0
        value = figures[self.metric]
        if self.bound > 0:
            return max(0.0, (1 - value / self.bound) if self.at_least else (value / self.bound - 1))
        excess = value - self.bound
        return max(0.0, -excess if self.at_least else excess) / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {repr(self.bound).removesuffix('.0')}"


def parse_limits(
    limits: str | Mapping[str, float] | Iterable[str | Limit] | None, metrics: MetricTable = METRICS
) -> tuple[Limit, ...]:
    """Limits from ``{"latency_ms": 7.0}``, or texts such as ``latency<=7ms``.

    A number in a mapping is the most that is allowed, or, of a metric that is maximised, the least.
    """
    if limits is None:
        return ()
    if isinstance(limits, str):
        limits = [limits]
    if isinstance(limits, Mapping):
        return tuple(
            _limit_of_pair(metric_name(name, metrics), float(bound), metrics) for name, bound in limits.items()
        )
    return tuple(limit if isinstance(limit, Limit) else Limit.parse(limit, metrics) for limit in limits)


def _limit_of_pair(metric: str, bound: float, metrics: MetricTable) -> Limit:
    row = metric_row(metric, metrics)
    return Limit._validated(metric, bound, row.origin == "quality" and row.direction == "maximize", metrics)
