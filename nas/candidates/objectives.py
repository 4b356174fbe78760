"""What is minimised or maximised, and the hard limits: metrics by name, and how users write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nas.candidates.metrics import (
    METRICS_THAT_MAY_BE_ZERO,
    UNIT_FACTORS,
    Direction,
    ObjectiveError,
    metric_name,
    metric_row,
)


@dataclass(frozen=True)
class Objective:
    """A metric to minimise or maximise; ``latency_ms@pixel3_cpu`` is that of one of several devices."""

    metric: str
    direction: Direction

    @classmethod
    def parse(cls, text: str) -> Objective:
        """``latency``, ``map``, ``params:min``, ``macs:max``: a metric and, where it is not the usual, a direction."""
        name, _, direction_text = text.partition(":")
        metric = metric_name(name.strip())
        directions: dict[str, Direction] = {
            "": metric_row(metric).direction,
            "min": "minimize",
            "minimize": "minimize",
            "max": "maximize",
            "maximize": "maximize",
        }
        if direction_text.strip() not in directions:
            raise ObjectiveError(f"objective {text!r}: the direction is min or max, not {direction_text!r}")
        return cls(metric, directions[direction_text.strip()])

    def loss(self, metrics: Mapping[str, float]) -> float:
        """The metric, turned so that less is better."""
        value = metrics[self.metric]
        return value if self.direction == "minimize" else -value


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
        """How far the limit is broken, as a share of it (of a limit of 0: by how much); 0 where it holds."""
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


def parse_objectives(
    objectives: Sequence[str | Objective] | None, trained: bool, quality: str = "map"
) -> tuple[Objective, ...]:
    """Objectives as given; by default latency and ``quality``, or the zero-cost score where nothing is trained."""
    if not objectives:
        objectives = ("latency_ms", quality if trained else "score")
    parsed = tuple(o if isinstance(o, Objective) else Objective.parse(o) for o in objectives)
    names = [o.metric for o in parsed]
    if len(set(names)) != len(names):
        raise ObjectiveError(f"an objective is named twice: {', '.join(names)}")
    if not trained and any(metric_row(n).origin == "quality" for n in names):
        raise ObjectiveError("an objective needs training, but nothing is to be trained; raise --train")
    return parsed
